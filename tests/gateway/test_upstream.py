import asyncio
import json
import time

import pytest

from apps.gateway.upstream import (
    UpstreamBroken,
    UpstreamConnectError,
    UpstreamTimeout,
    UpstreamTooLarge,
    parse_url,
)
from apps.gateway.upstream.wire import request_head
from tests.gateway.upstream_helpers import LOOPS, open_pool, run, send, until
from tests.provider_double import Behaviour, ProviderDouble

LIMIT = 1_000_000


@pytest.fixture(params=sorted(LOOPS))
def loop(request):
    return request.param


@pytest.fixture
def double():
    with ProviderDouble() as double:
        yield double


def content_of(stream: bytes) -> str:
    """Return the text of an SSE stream; assert that it is whole."""
    events = [line[6:] for line in stream.decode().splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    return "".join(choice["delta"].get("content") or "" for event in events for choice in json.loads(event)["choices"])


async def read_stream(response) -> bytes:
    return b"".join([chunk async for chunk in response.chunks()])


def test_json_answer_is_read_whole(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url)
            assert response.status == 200
            assert response.headers[b"x-request-id"] == b"double-1"
            answer = json.loads(await response.read(LIMIT))
            assert answer["usage"] == double.requests[0].usage
            assert await response.next() == b""
            assert pool.idle_connections == 1

    run(loop, test)
    headers = double.requests[0].headers
    assert headers["host"] == f"127.0.0.1:{double.port}"
    assert headers["accept-encoding"] == "identity"
    assert headers["authorization"] == "Bearer sk-test"


@pytest.mark.parametrize(
    "behaviour",
    ["normal", "crlf", "comments", "split-character", "usage-split", "fast", "one", "eof", "close", "interim"],
)
def test_stream_arrives_whole(loop, double, behaviour):
    own = {
        "one": Behaviour(one_byte_writes=True),
        "eof": Behaviour(framing="eof"),
        "close": Behaviour(connection_close=True),
        "interim": Behaviour(informational=True),
    }
    double.script(own.get(behaviour, behaviour))

    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url, stream=True, stream_options={"include_usage": True})
            assert response.status == 200
            stream = await read_stream(response)
            assert content_of(stream) == double.requests[0].text
            assert b'"prompt_tokens"' in stream
            assert pool.idle_connections == (behaviour not in {"eof", "close"})

    run(loop, test)


def test_chunks_come_as_they_are_sent(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url, "[[slow chunks=5 interval=0.05]]", stream=True)
            times = [time.monotonic() async for _ in response.chunks()]
            assert len(times) >= 5
            assert times[-1] - times[0] > 0.15

    run(loop, test)


def test_burst_is_read_in_groups_and_nothing_waits_at_its_end(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url, "[[fast chunks=500]]", stream=True)
            chunks = [chunk async for chunk in response.chunks()]
            assert content_of(b"".join(chunks)) == double.requests[0].text
            assert len(chunks) < 300
            assert pool.idle_connections == 1
            started = time.monotonic()
            await read_stream(await send(pool, double.base_url, "[[fast]]", stream=True))
            assert time.monotonic() - started < 2

    run(loop, test)


def test_burst_can_be_aborted_while_it_rests(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            for _ in range(20):
                # More than six reads can hold: what was read to its end would be kept, not closed.
                response = await send(pool, double.base_url, "[[fast chunks=20000]]", stream=True)
                for _ in range(6):
                    await response.next()
                response.abort()
            await until(lambda: pool.open_connections == 0)

    run(loop, test)


def test_connection_is_used_again_last_in_first_out(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            pair = [await send(pool, double.base_url), await send(pool, double.base_url)]
            for response in pair:
                await response.read(LIMIT)
            assert pool.idle_connections == 2
            for _ in range(5):
                await (await send(pool, double.base_url)).read(LIMIT)

    run(loop, test)
    assert double.connections_opened == 2
    assert {recorded.connection for recorded in double.requests[2:]} == {2}


def test_no_more_connections_are_kept_than_allowed(loop, double):
    async def test():
        async with open_pool(double.port, max_idle_per_host=2) as pool:
            responses = [await send(pool, double.base_url) for _ in range(4)]
            for response in responses:
                await response.read(LIMIT)
            assert pool.idle_connections == 2
            await until(lambda: pool.open_connections == 2)

    run(loop, test)


def test_connection_closed_while_idle_is_not_used(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            await (await send(pool, double.base_url)).read(LIMIT)
            double.close_idle_connections()
            time.sleep(0.05)  # the loop has no chance to notice: only the look before sending does
            response = await send(pool, double.base_url)
            assert response.status == 200
            await response.read(LIMIT)
            double.close_idle_connections()
            await until(lambda: pool.open_connections == 0)

    run(loop, test)
    assert double.connections_opened == 2


def test_kept_connection_closed_in_answer_is_not_tried_again(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            await (await send(pool, double.base_url)).read(LIMIT)
            with pytest.raises(UpstreamBroken) as caught:
                await send(pool, double.base_url, "[[close-before]]")
            assert caught.value.reused
            assert caught.value.bytes_received == 0
            assert not caught.value.safe_to_retry

    run(loop, test)
    assert len(double.requests) == 2


@pytest.mark.parametrize(("timeout", "kept"), [(b"1", 0), (b"60", 1)])
def test_keep_alive_header_limits_rest(loop, timeout, kept):
    async def serve(reader, writer):
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nkeep-alive: timeout=%b, max=9\r\n\r\nok" % timeout)

    run(loop, lambda: against(serve, b"ok", expect_idle=kept))


def test_connection_that_rested_too_long_is_closed(loop, double, monkeypatch):
    monkeypatch.setattr("apps.gateway.upstream.connection.KEEP_ALIVE_SECONDS", 0.2)

    async def test():
        async with open_pool(double.port, idle_timeout=0.4) as pool:
            await (await send(pool, double.base_url)).read(LIMIT)
            assert pool.open_connections == 1
            await until(lambda: pool.open_connections == 0)

    run(loop, test)


async def against(serve, expected=b"", expect_idle=None, limit=LIMIT, **options):
    """Send one request to a server of a few lines and return what was read."""

    async def quietly(reader, writer):
        try:
            await serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(quietly, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        async with open_pool(port, **options) as pool:
            response = await send(pool, f"http://127.0.0.1:{port}/v1")
            data = await response.read(limit)
            assert data == expected
            if expect_idle is not None:
                assert pool.idle_connections == expect_idle
    finally:
        server.close()


@pytest.mark.parametrize(
    ("answer", "expected", "idle"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old", 0),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"ok", 0),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"", 1),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", 1),
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", b"", 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\ntrailer: 1\r\n\r\n", b"ok", 1),
    ],
    ids=["http-1.0", "second-answer", "empty", "no-content", "redirect", "trailer"],
)
def test_odd_but_valid_answers_are_read(loop, answer, expected, idle):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if answer.startswith(b"HTTP/1.0"):
            writer.close()
        await reader.read()

    run(loop, lambda: against(serve, expected, idle))


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot-a-size\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x8b",
        b"HTTP/1.1 200 OK\r\n" + b"x-much: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nff\r\nshort",
        b"HTTP/1.1 200",
    ],
    ids=["ssh", "two-lengths", "negative", "chunk-size", "upgrade", "gzip", "endless-head", "short", "chunk", "head"],
)
def test_malformed_answer_is_broken(loop, answer):
    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    with pytest.raises(UpstreamBroken) as caught:
        run(loop, lambda: against(serve))
    assert caught.value.bytes_received > 0


@pytest.mark.parametrize("name", ["close-before", "reset-before", "garbage"])
def test_failure_before_the_head_is_broken(loop, double, name):
    async def test():
        async with open_pool(double.port) as pool:
            with pytest.raises(UpstreamBroken) as caught:
                await send(pool, double.base_url, f"[[{name}]]")
            assert not caught.value.safe_to_retry
            await until(lambda: pool.open_connections == 0)

    run(loop, test)


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        *(("close-within", True), ("close-within", False), ("reset-within", True), ("reset-within", False)),
        ("truncate", False),
    ],
)
def test_failure_within_the_answer_comes_after_what_was_received(loop, double, name, stream):
    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url, f"[[{name}]]", stream=stream)
            received = b""
            with pytest.raises(UpstreamBroken) as caught:
                async for chunk in response.chunks():
                    received += chunk
            assert received
            assert caught.value.bytes_received > len(received)

    run(loop, test)


def test_silence_before_the_head_times_out(loop, double):
    async def test():
        async with open_pool(double.port, first_byte_timeout=0.2) as pool:
            with pytest.raises(UpstreamTimeout) as caught:
                await send(pool, double.base_url, "[[stall-before]]")
            assert caught.value.phase == "first_byte"
            await until(lambda: double.requests[0].closed_by_peer_at)

    run(loop, test)


def test_silence_within_the_answer_times_out(loop, double):
    async def test():
        async with open_pool(double.port, idle_timeout=0.2) as pool:
            response = await send(pool, double.base_url, "[[stall-within]]", stream=True)
            received = b""
            with pytest.raises(UpstreamTimeout) as caught:
                async for chunk in response.chunks():
                    received += chunk
            assert caught.value.phase == "idle"
            assert b"Hello" in received

    run(loop, test)


def test_slow_answer_within_the_idle_timeout_is_read(loop, double):
    async def test():
        async with open_pool(double.port, idle_timeout=0.3, first_byte_timeout=0.3) as pool:
            response = await send(pool, double.base_url, "[[slow chunks=6 interval=0.1]]", stream=True)
            assert content_of(await read_stream(response)) == double.requests[0].text

    run(loop, test)


def test_deadline_ends_a_lively_answer(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            started = time.monotonic()
            response = await send(pool, double.base_url, "[[slow chunks=200 interval=0.02]]", stream=True, seconds=0.3)
            with pytest.raises(UpstreamTimeout) as caught:
                await read_stream(response)
            assert caught.value.phase == "deadline"
            assert 0.3 <= time.monotonic() - started < 3  # the answer takes four
            with pytest.raises(UpstreamTimeout) as caught:
                await send(pool, double.base_url, seconds=-1)
            assert caught.value.safe_to_retry

    run(loop, test)


def test_answer_beyond_the_limit_is_refused(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            with pytest.raises(UpstreamTooLarge):
                await (await send(pool, double.base_url)).read(100)
            with pytest.raises(UpstreamTooLarge):
                await (await send(pool, double.base_url, "[[enormous]]", stream=True)).read(LIMIT)
            await until(lambda: double.in_flight == 0)
            assert not double.requests[1].completed

    run(loop, test)


def test_stalled_reader_holds_the_provider_back(loop, double):
    async def test():
        async with open_pool(double.port, idle_timeout=2) as pool:
            response = await send(pool, double.base_url, "[[enormous]]", stream=True)
            await asyncio.sleep(2.5)  # longer than the idle timeout: the silence is ours
            first = len(await response.next())
            assert first < 600_000
            assert double.requests[0].bytes_written < 15_000_000
            rest = await read_stream(response)
            assert first + len(rest) > 20_000_000

    run(loop, test)


def test_abort_closes_at_once(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url, "[[slow chunks=100 interval=0.02]]", stream=True)
            await response.next()
            response.abort()
            aborted_at = time.monotonic()
            response.abort()
            await until(lambda: double.requests[0].closed_by_peer_at)
            assert double.requests[0].closed_by_peer_at - aborted_at < 0.3
            await until(lambda: pool.open_connections == 0)

    run(loop, test)


def test_context_manager_aborts_what_was_not_read(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            with await send(pool, double.base_url, "[[slow]]", stream=True) as response:
                await response.next()
            await until(lambda: double.requests[0].closed_by_peer_at)
            with await send(pool, double.base_url) as response:
                await response.read(LIMIT)
            assert pool.idle_connections == 1

    run(loop, test)


def test_abort_after_the_end_leaves_the_connection_to_its_next_user(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            first = await send(pool, double.base_url)
            await first.read(LIMIT)
            second = await send(pool, double.base_url, "[[slow chunks=3]]", stream=True)
            first.abort()
            assert content_of(await read_stream(second)) == double.requests[1].text

    run(loop, test)
    assert double.connections_opened == 1


@pytest.mark.parametrize("name", ["stall-before", "stall-within"])
def test_cancellation_leaves_nothing_open(loop, double, name):
    async def exchange(pool):
        response = await send(pool, double.base_url, f"[[{name}]]", stream=True)
        await read_stream(response)

    async def test():
        async with open_pool(double.port) as pool:
            task = asyncio.create_task(exchange(pool))
            await until(lambda: double.in_flight == 1)
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(lambda: pool.open_connections == 0)
            await until(lambda: double.requests[0].closed_by_peer_at)

    run(loop, test)


def test_refused_connection_is_safe_to_retry(loop, double):
    double.refuse_connections()

    async def test():
        async with open_pool(double.port) as pool:
            with pytest.raises(UpstreamConnectError) as caught:
                await send(pool, double.base_url)
            assert caught.value.safe_to_retry
            assert caught.value.reason == "refused"

    run(loop, test)


def test_address_inside_the_network_is_refused(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            for url in (
                "http://127.0.0.1:1/v1",
                "http://localhost:8000",
                "http://inner.example.com/",
                "ftp://x.example",
            ):
                with pytest.raises(UpstreamConnectError) as caught:
                    await send(pool, url)
                assert caught.value.reason == "address"

    run(loop, test)


def test_many_at_once_share_what_is_free(loop, double):
    async def test():
        async def one(number):
            response = await send(pool, double.base_url, f"[[slow chunks=4 interval=0.005 text={number}]]", stream=True)
            assert content_of(await read_stream(response)) == "word0 word1 word2 word3 "

        async with open_pool(double.port) as pool:
            for _ in range(2):
                await asyncio.gather(*map(one, range(50)))
            assert pool.idle_connections == pool.open_connections <= 50

    run(loop, test)
    assert len(double.requests) == 100


def test_large_request_is_sent_whole(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url, "x" * 3_000_000)
            await response.read(LIMIT)

    run(loop, test)
    assert len(double.requests[0].body["messages"][0]["content"]) == 3_000_000


def test_closing_the_pool_ends_what_is_under_way(loop, double):
    async def test():
        async with open_pool(double.port) as pool:
            response = await send(pool, double.base_url, "[[stall-within]]", stream=True)
            reading = asyncio.create_task(read_stream(response))
            await asyncio.sleep(0.05)
            await pool.close()
            with pytest.raises(UpstreamBroken):
                await reading
            with pytest.raises(UpstreamConnectError):
                await send(pool, double.base_url)

    run(loop, test)


def test_request_head_is_ours_to_frame():
    url = parse_url("https://api.example.com/v1/chat?x=1")
    head = request_head(url, [(b"authorization", b"Bearer k")], 12, "POST")
    assert head == (
        b"POST /v1/chat?x=1 HTTP/1.1\r\nhost: api.example.com\r\naccept-encoding: identity\r\n"
        b"content-length: 12\r\nauthorization: Bearer k\r\n\r\n"
    )


@pytest.mark.parametrize(
    "header", [(b"x", b"a\r\nhost: evil"), (b"x\n", b"a"), (b"x", b"\0"), (b"Host", b"evil"), (b"content-length", b"1")]
)
def test_header_that_smuggles_is_refused(header):
    with pytest.raises(ValueError, match="header"):
        request_head(parse_url("https://api.example.com/"), [header], 0, "POST")
