"""Local models and a person's own provider keys behind one OpenAI-compatible address on their machine.

The rooms, from the bottom up:

    config   the file bridge.toml: channels, prices, limits, alerts, origins (secrets are references only)
    secrets  the operating system's keychain, else a file that only its owner may read
    ledger   one line of JSON per call, and what a month has cost
    limits   budgets, requests and tokens per minute, alerts
    backends what a channel can do: health, models, a call
    server   the HTTP face: /v1, /status, /pair, /ui
    relay    the same calls, from a gateway over a WebSocket that this machine dials
    cli      the command `modelfaucet-bridge`
"""

__version__ = "0.1.0"
