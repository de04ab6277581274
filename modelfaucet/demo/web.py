"""A web process of the demo: uvicorn on a socket that the supervisor listens on (`… --fd N`)."""

import socket
import sys

import uvicorn

from apps.gateway.bridges.protocol import MAX_FRAME_BYTES
from modelfaucet.protocol import BoundedHeads

# Below the supervisor's patience, so that open streams are ended by the server and not by force.
GRACEFUL_SECONDS = 10


def main() -> None:
    listening = socket.socket(fileno=int(sys.argv[2]))
    config = uvicorn.Config(
        "modelfaucet.asgi:application",
        http=BoundedHeads,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,  # streams of small frames: it costs more than it saves
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,  # TRUSTED_PROXIES decides whom to believe, not uvicorn's own list
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
