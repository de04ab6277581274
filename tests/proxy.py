"""A way to the database, or to another server, that can be interrupted."""

import contextlib
import select
import socket
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from apps.gateway.writers import connection_parameters


class Proxy:
    """A TCP proxy: `refusing` closes new connections, `silent` swallows what goes through, `deaf` only the answers.

    `address` is the server's, as (host, port); without it, that of the test's database.
    """

    def __init__(self, address: tuple[str, int] | None = None) -> None:
        self._host, self._server_port = _address(connection_parameters()) if address is None else address
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.refusing = self.silent = self.deaf = False
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @classmethod
    def before_database(cls, url: str) -> "Proxy":
        """Return a proxy before the database at `url`."""
        return cls(_address(conninfo_to_dict(url)))

    def database_url(self, url: str) -> str:
        """Return how to reach the database at `url` by way of here."""
        address = conninfo_to_dict(url)
        credentials = quote(str(address.get("user") or ""), safe="")
        if password := address.get("password"):
            credentials += f":{quote(str(password), safe='')}"
        return f"postgres://{credentials}@127.0.0.1:{self.port}/{address.get('dbname') or ''}"

    def cut(self) -> None:
        """End every connection."""
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def go_away(self) -> None:
        """End every connection, and each new one at once."""
        self.refusing = True
        self.cut()

    def heal(self) -> None:
        """Forward again as if nothing had been."""
        self.refusing = self.silent = self.deaf = False

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.refusing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refusing:
                    client.close()
                    continue
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._server_port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{self._host}/.s.PGSQL.{self._server_port}")
        return server

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, self._connect() as server:
            other = {client: server, server: client}
            self._open |= other.keys()
            try:
                if self.refusing:  # since it was accepted
                    return
                while True:
                    for end in select.select(list(other), [], [])[0]:
                        data = end.recv(65_536)
                        if not data:
                            return
                        if not self.silent and not (self.deaf and end is server):
                            other[end].sendall(data)
            finally:
                self._open -= other.keys()


def _address(parameters: Mapping[str, Any]) -> tuple[str, int]:
    return str(parameters.get("host") or "127.0.0.1"), int(parameters.get("port") or 5432)
