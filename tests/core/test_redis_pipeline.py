"""The pipelined connection: answers in order, one write a turn, and nobody waits for a server that is away."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import hiredis
import pytest
import redis

from apps.core.redis_pipeline import MAX_WAITING, RedisLost, RedisPipeline, pack
from tests.gateway.upstream_helpers import LOOPS, run, server_tls

Play = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=sorted(LOOPS))
def play(request: pytest.FixtureRequest) -> Play:
    """Give what runs a test, in each of the loops that a server may have."""
    return lambda story: run(request.param, story)


def ask(pipeline: RedisPipeline, *words: str | int) -> "asyncio.Future[Any]":
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    pipeline.send(pack(*words), future.set_result)
    return future


def test_answers_come_in_order_and_errors_are_answers(play: Play, redis_url: str) -> None:
    async def story() -> None:
        pipeline = RedisPipeline(redis_url, timeout=5)
        await pipeline.open()
        replies = await asyncio.gather(
            ask(pipeline, "SET", "a", 1),
            ask(pipeline, "INCR", "a"),
            ask(pipeline, "LPUSH", "a", "x"),
            ask(pipeline, "GET", "none"),
            ask(pipeline, "MGET", "a", "none"),
        )
        assert replies[:2] == [b"OK", 2]
        assert isinstance(replies[2], hiredis.ReplyError)
        assert replies[3:] == [None, [b"2", None]]
        assert pipeline.connected
        await pipeline.close()
        assert isinstance(await ask(pipeline, "PING"), RedisLost)

    play(story)


def test_the_address_says_user_password_and_database(play: Play, redis_url: str) -> None:
    async def story() -> None:
        split = urlsplit(redis_url)
        right = split._replace(netloc=f"visitor:p%40ss@{split.hostname}:{split.port}")
        pipeline = RedisPipeline(urlunsplit(right), timeout=5)
        await pipeline.open()
        assert await ask(pipeline, "ACL", "WHOAMI") == b"visitor"
        assert f"db={split.path[1:]}" in (await ask(pipeline, "CLIENT", "INFO")).decode().split()
        await pipeline.close()
        wrong = RedisPipeline(urlunsplit(split._replace(netloc=f"visitor:x@{split.hostname}:{split.port}")))
        await wrong.open()
        assert not wrong.connected
        await wrong.close()

    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("visitor", enabled=True, passwords=["+p@ss"], categories=["+@all"], keys=["*"])
        try:
            play(story)
        finally:
            client.acl_deluser("visitor")


class Host:
    """A server that does what a test says; counts what it read."""

    def __init__(self, serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._serve = serve
        self.connections = 0

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()


def test_what_is_sent_in_one_turn_is_written_together(play: Play) -> None:
    async def story() -> None:
        reads = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(65_536):
                reads.append(data.count(b"PING"))
                # Answers that are split anywhere.
                for byte in b"+PONG\r\n" * data.count(b"PING"):
                    writer.write(bytes([byte]))
                    await writer.drain()

        async with Host(serve) as url:
            pipeline = RedisPipeline(url, timeout=5)
            await pipeline.open()
            assert await asyncio.gather(*(ask(pipeline, "PING") for _ in range(50))) == [b"PONG"] * 50
            assert reads == [50]
            await pipeline.close()

    play(story)


@pytest.mark.parametrize("answer", [b"-READONLY You can't write against a read only replica.\r\n", b"HTTP/1.1 400\r\n"])
def test_a_server_that_is_no_use_is_left_and_tried_again(play: Play, answer: bytes) -> None:
    async def story() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(65_536)
            writer.write(answer)
            await reader.read()

        host = Host(serve)
        async with host as url:
            pipeline = RedisPipeline(url, timeout=5)
            await pipeline.open()
            first, second = await asyncio.gather(ask(pipeline, "PING"), ask(pipeline, "PING"))
            assert isinstance(first, Exception)
            assert isinstance(second, RedisLost)
            async with asyncio.timeout(5):
                while host.connections < 2 or not pipeline.connected:
                    await asyncio.sleep(0.01)
            await pipeline.close()

    play(story)


def test_a_refused_greeting_is_no_connection(play: Play, redis_url: str) -> None:
    async def story() -> None:
        pipeline = RedisPipeline(redis_url, timeout=5, greeting=[pack("SCRIPT", "LOAD", "not Lua at all")])
        await pipeline.open()
        assert not pipeline.connected
        await pipeline.close()

    play(story)


def test_a_busy_loop_is_not_taken_for_a_silent_server(play: Play, redis_url: str) -> None:
    async def story() -> None:
        pipeline = RedisPipeline(redis_url, timeout=0.2)
        await pipeline.open()
        future = ask(pipeline, "PING")
        await asyncio.sleep(0)  # it is written
        with socket.socket() as idle, pytest.raises(TimeoutError):  # the loop stands still
            idle.settimeout(0.5)
            idle.bind(("127.0.0.1", 0))
            idle.listen()
            idle.accept()
        assert await future == b"PONG"
        assert pipeline.connected
        await pipeline.close()

    play(story)


def test_more_commands_than_a_server_can_take_are_not_queued(play: Play) -> None:
    async def story() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with Host(serve) as url:
            pipeline = RedisPipeline(url)
            await pipeline.open()
            futures = [ask(pipeline, "PING") for _ in range(MAX_WAITING + 5)]
            assert [future.done() for future in futures[-6:]] == [False] + [True] * 5
            assert all(isinstance(reply, RedisLost) for reply in await asyncio.gather(*futures))
            await pipeline.close()

    play(story)


def test_unix_socket_and_tls(play: Play, tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(b"+PONG\r\n" * data.count(b"PING"))
        writer.close()

    async def story() -> None:
        path = tmp_path / "redis.sock"
        server = await asyncio.start_unix_server(answer, path)
        pipeline = RedisPipeline(f"unix://{path}", timeout=5)
        await pipeline.open()
        assert await ask(pipeline, "PING") == b"PONG"
        await pipeline.close()
        server.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_tls(tmp_path, ["127.0.0.1"])[0])
        port = server.sockets[0].getsockname()[1]
        for query, works in (
            (f"?ssl_ca_certs={tmp_path}/server.pem", True),
            ("?ssl_cert_reqs=none", True),
            ("", False),
        ):
            pipeline = RedisPipeline(f"rediss://127.0.0.1:{port}{query}", timeout=5)
            await pipeline.open()
            assert pipeline.connected is works
            if works:
                assert await ask(pipeline, "PING") == b"PONG"
            await pipeline.close()
        server.close()

    play(story)
