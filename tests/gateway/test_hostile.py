"""Callers who mean no good: nothing is served unpaid, nothing is learned, nobody else waits."""

import asyncio
import gc
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.core.errors import Unauthorized
from apps.features.services.tokens import issue_virtual_key, revoke_virtual_key
from apps.gateway.formats.chat import CHAT
from apps.gateway.serving import parse
from apps.gateway.snapshots import Snapshots
from apps.vault.models import ProviderCredential
from apps.vault.services.credentials import add_credential, disable_credential
from tests.live import ACTOR, Server, World, wait_until


def test_credentials_are_not_named_where_none_can_serve(world: World) -> None:
    credential = ProviderCredential.objects.get()
    disable_credential(credential.id, now=now(), actor=ACTOR)
    other = add_credential(
        owner_class="platform",
        provider="double-0",
        label="other",
        secret="sk-other",
        models_allowed=["other-model"],
        now=now(),
        actor=ACTOR,
    )
    answer = world.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_route_available")
    assert "model_not_allowed_for_credential" in answer.text
    assert other not in answer.text


def test_millions_of_parts_stop_nobody_else() -> None:
    body = b'{"messages":[{"role":"user","content":[' + b",".join([b"{}"] * 3_000_000) + b"]}]}"

    async def longest_stall() -> tuple[float, float]:
        stalls, task = [0.0], asyncio.create_task(parse(CHAT.parse, body))
        begun = last = time.perf_counter()
        while not task.done():
            await asyncio.sleep(0.001)
            stalls.append(time.perf_counter() - last)
            last = time.perf_counter()
        return max(stalls), last - begun

    stall, whole = asyncio.run(longest_stall())
    assert stall < whole / 2


PAGES = ["/", "/admin/login/", "/v1/sessions", "/nowhere"]


@pytest.mark.parametrize("path", PAGES)
def test_body_of_any_size_is_not_kept_for_any_page(server: Server, path: str) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(200):
            sent += 100_000
            yield b"x" * 100_000

    try:
        answer = httpx.post(f"{server.base_url}{path}", content=endless(), timeout=20)
    except httpx.WriteError:
        return  # the connection was closed on us
    assert answer.status_code == 413


@pytest.mark.parametrize("path", PAGES)
def test_body_that_never_ends_is_not_waited_for(server: Server, settings: Any, path: str) -> None:
    settings.BODY_TIMEOUT = 0.5
    with socket.create_connection(server.socket.getsockname(), timeout=5) as client:
        client.sendall(f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{{".encode())
        answer = b""
        while not answer.rstrip().endswith(b"}"):  # head and body may come apart
            piece = client.recv(65_536)
            assert piece
            answer += piece
        assert b"body_timeout" in answer


def test_kill_switch_acts_while_every_connection_for_keys_is_taken(world: World, server: Server) -> None:
    key, key_id = issue_virtual_key(app_id=world.app_id, name="test", now=now(), actor=ACTOR)
    headers = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{world.base_url}/v1/models", headers=headers).status_code == 200
    runtime = server.gateway._runtime
    assert runtime is not None

    async def take_all() -> list[Any]:
        return [await runtime.pool.getconn() for _ in range(runtime.pool.max_size)]

    taken = asyncio.run_coroutine_threadsafe(take_all(), runtime.loop).result(10)
    try:
        revoke_virtual_key(key_id=key_id, now=now(), actor=ACTOR)
        wait_until(lambda: httpx.get(f"{world.base_url}/v1/models", headers=headers).status_code == 401, 1)
    finally:
        for connection in taken:
            asyncio.run_coroutine_threadsafe(runtime.pool.putconn(connection), runtime.loop).result(10)


class Baggage:
    """Stands for a request: its headers, its body, its connection."""


def baggage() -> int:
    gc.collect()
    return sum(isinstance(thing, Baggage) for thing in gc.get_objects())


async def ask(snapshots: Snapshots, token: str) -> None:
    request = Baggage()
    await snapshots.caller(token, at=0.0, address=str)
    del request


@pytest.mark.django_db(transaction=True)
def test_refusals_remembered_keep_no_request_alive() -> None:
    async def refused(snapshots: Snapshots) -> None:
        for token in ("mf_key_one", "mf_key_two", "mf_key_one"):
            with pytest.raises(Unauthorized):
                await ask(snapshots, token)

    async def run() -> int:
        snapshots = Snapshots()
        await asyncio.create_task(refused(snapshots))
        left = baggage()
        for _ in range(100):  # the thread that looked for the token lets go of its own copy a moment later
            if not left:
                break
            await asyncio.sleep(0.05)
            left = baggage()
        return left

    assert asyncio.run(run()) == 0
