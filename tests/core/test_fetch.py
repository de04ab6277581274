import itertools
import ssl
import time

import pytest

from apps.core import fetch as module
from apps.core.fetch import FetchFailed, fetch
from apps.core.outbound import AddressNotAllowed
from tests.core.answering import Answering, answer
from tests.core.test_outbound import HOSTILE, NAMES
from tests.gateway.upstream_helpers import server_tls
from tests.provider_double import ProviderDouble


def names(host: str, port: int) -> list[str]:
    return NAMES.get(host, ["93.184.215.14"])


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_url_is_not_fetched(url: str) -> None:
    with pytest.raises(AddressNotAllowed):
        fetch(url, seconds=0.5, allowed_private=(), lookup=names)


def test_answer_is_returned_with_its_time() -> None:
    with Answering(answer(401, b'{"error": 1}')) as server:
        found = fetch(
            f"http://127.0.0.1:{server.port}/v1/models",
            headers={"authorization": "Bearer x"},
            allowed_private={f"127.0.0.1:{server.port}"},
        )
    assert (found.status, found.body) == (401, b'{"error": 1}')
    assert 0 <= found.ms < 5000
    (request,) = server.requests
    assert request.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"authorization: Bearer x\r\n" in request.replace(b"Authorization", b"authorization")


def test_name_that_changes_its_answer_is_vetted_at_the_connection() -> None:
    """Innocent when it is checked, loopback when it is called: the address connected to is one that was vetted."""
    with Answering(answer(200)) as server:
        asked = itertools.chain([["93.184.215.14"]], itertools.repeat(["127.0.0.1"]))
        next(asked)
        with pytest.raises(AddressNotAllowed):
            fetch(
                f"http://rebind.example.com:{server.port}/", allowed_private=(), lookup=lambda host, port: next(asked)
            )
        assert server.connections == 0


def test_name_is_asked_for_once_and_its_address_is_connected_to() -> None:
    with Answering(answer(200)) as server:
        answers = [["127.0.0.1"]]
        endpoint = f"vllm.example.com:{server.port}"
        found = fetch(f"http://{endpoint}/", allowed_private={endpoint}, lookup=lambda host, port: answers.pop())
    assert found.status == 200
    assert answers == []
    assert f"host: {endpoint}".encode() in server.requests[0].lower()


def test_next_address_is_tried_where_one_does_not_answer() -> None:
    with Answering(answer(200)) as server:
        endpoint = f"vllm.example.com:{server.port}"
        found = fetch(
            f"http://{endpoint}/", allowed_private={endpoint}, lookup=lambda host, port: ["127.9.9.9", "127.0.0.1"]
        )
    assert found.status == 200


def test_redirect_is_an_answer_and_is_not_followed() -> None:
    with Answering(answer(200)) as inner:
        with Answering(answer(302, b"", f"location: http://127.0.0.1:{inner.port}/")) as server:
            private = {f"127.0.0.1:{server.port}", f"127.0.0.1:{inner.port}"}
            assert fetch(f"http://127.0.0.1:{server.port}/", allowed_private=private).status == 302
        assert inner.connections == 0


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Answering(answer(200, b"proxy")) as proxy, Answering(answer(200, b"itself")) as server:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        found = fetch(f"http://127.0.0.1:{server.port}/", allowed_private={f"127.0.0.1:{server.port}"})
    assert found.body == b"itself"


@pytest.mark.parametrize(
    "parts",
    [
        [b"H", b"T", b"T", b"P"] * 20,  # its status line, byte by byte
        [b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n", *[b"x"] * 80],
        [b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 80],
    ],
)
def test_answer_that_trickles_ends_at_the_deadline(parts: list[bytes]) -> None:
    with Answering(*parts, pause=0.1) as server:
        begun = time.monotonic()
        with pytest.raises(FetchFailed) as caught:
            fetch(f"http://127.0.0.1:{server.port}/", seconds=0.4, allowed_private={f"127.0.0.1:{server.port}"})
        assert time.monotonic() - begun < 6  # the answer takes eight
    # A status line that is none may be refused before the time is over.
    assert caught.value.reason in ("timeout", "broken")


def test_name_that_does_not_resolve_in_time_ends_at_the_deadline() -> None:
    def slow(host: str, port: int) -> list[str]:
        time.sleep(1)
        return ["93.184.215.14"]

    with pytest.raises(FetchFailed, match="timeout"):
        fetch("http://api.example.com/", seconds=0.2, allowed_private=(), lookup=slow)


def test_no_more_of_a_body_is_read_than_is_wanted() -> None:
    endless = [b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 1000] * 10_000]
    with Answering(*endless) as server:
        found = fetch(f"http://127.0.0.1:{server.port}/", most=1500, allowed_private={f"127.0.0.1:{server.port}"})
    assert found.body == b"x" * 1500


@pytest.mark.parametrize(
    ("parts", "reason"), [([], "broken"), ([b"nonsense\r\n\r\n"], "broken"), ([b"HTTP/1.1 200 OK\r\nconte"], "broken")]
)
def test_answer_that_is_none_is_a_failure(parts: list[bytes], reason: str) -> None:
    with Answering(*parts) as server, pytest.raises(FetchFailed) as caught:
        fetch(f"http://127.0.0.1:{server.port}/", allowed_private={f"127.0.0.1:{server.port}"})
    assert caught.value.reason == reason


def test_nobody_there_and_no_such_name_are_unreachable() -> None:
    with Answering() as server:
        port = server.port
    with pytest.raises(FetchFailed, match="unreachable"):
        fetch(f"http://127.0.0.1:{port}/", allowed_private={f"127.0.0.1:{port}"})

    def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    with pytest.raises(FetchFailed, match="unreachable"):
        fetch("http://api.example.com/", allowed_private=(), lookup=unknown)


def test_certificate_must_be_the_names_own(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, client = server_tls(tmp_path, ["api.provider.test"])
    with ProviderDouble(tls=server) as double:

        def status(host: str) -> int:
            endpoint = f"{host}:{double.port}"
            return fetch(
                f"https://{endpoint}/v1/models", allowed_private={endpoint}, lookup=lambda *_: ["127.0.0.1"]
            ).status

        with pytest.raises(FetchFailed, match="tls"):  # nobody we trust vouches for it
            status("api.provider.test")
        monkeypatch.setattr(module, "_trusted", lambda: client)
        assert isinstance(client, ssl.SSLContext)
        assert status("api.provider.test") in (200, 404)
        with pytest.raises(FetchFailed, match="tls"):
            status("other.provider.test")
