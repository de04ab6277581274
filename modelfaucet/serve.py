"""A web process in production: `python -m modelfaucet.serve HOST PORT`."""

import sys

import uvicorn

from apps.gateway.bridges.protocol import MAX_FRAME_BYTES
from modelfaucet.protocol import BoundedHeads

# Streams get their time to end when the process is told to stop.
GRACEFUL_SECONDS = 60


def main() -> None:
    host, port = sys.argv[1:3]
    uvicorn.run(
        "modelfaucet.asgi:application",
        host=host,
        port=int(port),
        http=BoundedHeads,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,  # streams of small frames: it costs more than it saves
        access_log=False,
        server_header=False,
        proxy_headers=False,  # TRUSTED_PROXIES decides whom to believe, not uvicorn's own list
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


if __name__ == "__main__":
    main()
