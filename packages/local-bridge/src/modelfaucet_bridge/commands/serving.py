"""What `start` does."""

import logging
import logging.handlers
import os
import socket
import sys
from typing import Any

import click
import uvicorn

from modelfaucet_bridge.app import Bridge
from modelfaucet_bridge.checks import base_url
from modelfaucet_bridge.commands.common import said_plainly
from modelfaucet_bridge.home import home, private_directory
from modelfaucet_bridge.policies import PolicyError
from modelfaucet_bridge.server import build

LOG_BYTES, LOG_FILES = 2_000_000, 3


def serve(host: str, port: int) -> None:
    """Serve at an address until stopped. Ends the command if that cannot be."""
    try:
        with said_plainly():
            bridge = Bridge(home())
    except PolicyError as error:
        raise click.ClickException(str(error)) from None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise click.ClickException(f"{host}:{port} cannot be used: {error.strerror}") from None
    _log()
    bridge.bind(host, listener.getsockname()[1])
    url = base_url(bridge.config)
    click.echo(f"Serving   {url}/v1")
    click.echo(f"Page      {url}/ui?key={bridge.page_keys.new_key()}  (works once; again: modelfaucet-bridge ui)")
    click.echo("Token     modelfaucet-bridge token")
    sys.stdout.flush()
    options: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "lifespan": "on"}
    server = uvicorn.Server(uvicorn.Config(build(bridge), timeout_graceful_shutdown=5, **options))
    server.run(sockets=[listener])


def _log() -> None:
    """Log to the terminal and to a file of its own. Nothing that is logged quotes a request."""
    directory = private_directory(home() / "logs")
    previous = os.umask(0o077)
    try:
        to_file = logging.handlers.RotatingFileHandler(
            directory / "bridge.log", maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8"
        )
    finally:
        os.umask(previous)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
        handlers=[to_file, logging.StreamHandler()],
    )
    for name in (
        "httpx",
        "httpcore",
        "websockets",
        "uvicorn.access",
    ):  # they would write addresses, and one is a secret
        logging.getLogger(name).setLevel(logging.WARNING)
