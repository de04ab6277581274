"""A server on a socket of its own that says what a test wants, byte for byte."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterable


class Answering:
    """Answers each connection with `parts`, `pause` seconds before each, and keeps what was asked."""

    def __init__(self, *parts: bytes, pause: float = 0.0) -> None:
        self.parts: Iterable[bytes] = parts
        self.pause = pause
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            request = b""
            while b"\r\n\r\n" not in request:
                got = client.recv(65536)
                if not got:
                    return
                request += got
            self.requests.append(request)
            for part in self.parts:
                time.sleep(self.pause)
                client.sendall(part)


def answer(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    """Return a whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
