"""The SDK for Python before the real gateway: its two clients behind one face."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any

import modelfaucet_sdk as sdk

from apps.catalog.services.offers import add_model, add_offer, update_offer
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.features.queries import app_by_id
from apps.vault.services.app_secrets import issue_app_secret
from tests.gateway.api_factories import make_developer_token
from tests.live import ACTOR, MODEL, TIER, World

EMBEDDER = "embedder"
REPLY = {
    "models": {"default": MODEL},
    "input": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
    "prompt": {"user": "Answer: {{ input.text }}"},
}
MOOD = {
    "models": {"default": MODEL},
    "output": {"kind": "json", "schema": {"type": "object", "required": ["mood"]}},
    "prompt": {"user": "Mood of {{ input.text }}"},
}


@dataclass
class Driver:
    """One kind of client: what it returns is awaited where it has to be, on one loop."""

    is_async: bool
    world: World
    app_id: str
    app_secret: str
    developer_token: str
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    made: list[Any] = field(default_factory=list)

    def client(self, *, url: str = "", **credentials: Any) -> Any:
        """Return a client of the world's gateway (or of `url`), by default with the world's session."""
        given = credentials or {"session_token": self.world.token}
        kind = sdk.AsyncFaucet if self.is_async else sdk.Faucet
        faucet = kind(url or self.world.base_url, self.app_id, **given)
        self.made.append(faucet)
        return faucet

    def backend(self, **more: Any) -> Any:
        """Return a client with the app's secret."""
        return self.client(app_secret=self.app_secret, **more)

    def do(self, found: Any) -> Any:
        """Return what a call returned, or what it comes to."""
        return self.loop.run_until_complete(_value(found)) if isawaitable(found) else found

    def rows(self, found: Any, most: int | None = None) -> list[Any]:
        """Return what an iterator yields, at most `most` of it."""
        rows: list[Any] = []
        while most is None or len(rows) < most:
            try:
                rows.append(self.do(found.__anext__()) if self.is_async else next(found))
            except (StopAsyncIteration, StopIteration):
                break
        return rows

    @contextmanager
    def within(self, stream: Any) -> Iterator[Any]:
        """Be in the `with` block of a stream."""
        self.do(stream.__aenter__() if self.is_async else stream.__enter__())
        try:
            yield stream
        finally:
            self.do((stream.__aexit__ if self.is_async else stream.__exit__)(None, None, None))

    def parallel(self, *calls: Callable[[], Any]) -> list[Any]:
        """Return what several calls at once come to."""
        if self.is_async:

            async def gather() -> list[Any]:
                return list(await asyncio.gather(*(call() for call in calls)))

            return self.loop.run_until_complete(gather())
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(calls)) as pool:
            return [future.result() for future in [pool.submit(call) for call in calls]]

    def end(self) -> None:
        if self.loop.is_closed():
            return
        for faucet in self.made:
            self.do(faucet.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


async def _value(found: Any) -> Any:
    return await found


def make_driver(world: World, *, is_async: bool) -> Driver:
    """Return a driver for the world's app: with its public id, its secret and a developer token."""
    info = app_by_id(world.app_id)
    assert info is not None
    secret = issue_app_secret(world.app_id, now=now(), actor=ACTOR)
    return Driver(is_async, world, info.public_id, secret, make_developer_token(world.developer_id))


def offer_json(world: World) -> None:
    """Have the world's provider answer in JSON, too."""
    update_offer(world.offers[0], capabilities=("chat", "stream", "tools", "json"), now=now(), actor=ACTOR)


def offer_embeddings() -> None:
    """Have the world's provider offer a model for embeddings."""
    moment = now()
    known: dict[str, Any] = {"now": moment, "actor": ACTOR}
    add_model(id=EMBEDDER, name=EMBEDDER, **known)
    offer = add_offer(
        provider="double-0",
        model=EMBEDDER,
        upstream_model=EMBEDDER,
        capabilities=("embeddings",),
        tokenizer="o200k_base",
        **known,
    )
    publish_price(offer, [TIER], moment, "test", **known)
