"""End users' own models: bridges dial out to `/v1/bridge`, and calls are answered over their sockets.

`protocol` the frames, pure · `consumer` the Channels consumer of a socket · `link` one socket of this process ·
`post` between web processes · `hub` what a process knows of both · `answer` one call's answer, read as a provider's ·
`targets` what a bridge can stand in for, pure. docs/relay.md describes the protocol.
"""
