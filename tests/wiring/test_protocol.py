"""Heads of requests without end: the connection is closed, and others go on."""

import socket
import time

import httpx
import pytest

from modelfaucet import protocol
from tests.live import Server


def test_endless_headers_are_cut_off(server: Server) -> None:
    for line in (b"x-%d: %s\r\n" % (1, b"y" * 1_000), b"y" * 1_000):
        with socket.create_connection(server.socket.getsockname(), timeout=10) as client:
            client.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: ")
            with pytest.raises(OSError, match=r"reset|pipe"):
                for _ in range(20_000):
                    client.sendall(line)
    assert httpx.get(f"{server.base_url}/v1/models").status_code == 401


def test_head_that_never_ends_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    whole, part = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n", b"GET / HTTP/1.1\r\n"
    for first, then in ((b"", b""), (part, b"host: "), (whole, part)):
        with socket.create_connection(server.socket.getsockname(), timeout=20) as client:
            client.sendall(first)
            time.sleep(0.1)
            client.sendall(then)
            begun = time.monotonic()
            try:
                while client.recv(65_536):
                    pass
            except ConnectionResetError:
                pass
            assert time.monotonic() - begun < 10


def test_connection_is_kept_for_the_next_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    with httpx.Client(base_url=server.base_url) as client:
        for _ in range(4):
            answer = client.post("/v1/sessions", json={"device_id": "x" * 100_000}, headers={"x-long": "y" * 30_000})
            assert answer.status_code in (400, 413)
            time.sleep(0.2)
