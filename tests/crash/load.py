"""Clients under load that write down what they were given, so that it can be compared with what they were charged."""

import asyncio
import json
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from tests.live import MODEL

NOTE = ": modelfaucet "
# What is asked, how often, and whether as a stream; the double reads the directives.
KINDS = (
    ("json", 5, False, "[[delay=0.03]] hello"),
    ("json slow", 2, False, "[[delay=0.4]] hello"),
    ("json without usage", 1, False, "[[usage-missing]] hello"),
    ("json empty", 1, False, "[[empty]] hello"),
    ("json refused", 1, False, "[[status-500]] hello"),
    ("stream", 4, True, "[[chunks=8 interval=0.01]] hello"),
    ("stream slow", 3, True, "[[chunks=12 interval=0.08]] hello"),
    ("stream without usage", 1, True, "[[chunks=8 usage=missing]] hello"),
    ("stream that breaks", 1, True, "[[chunks=8 fail=close-within]] hello"),
    ("stream that is left", 1, True, "[[chunks=30 interval=0.05]] hello"),
    ("keyed json", 1, False, "[[delay=0.1]] hello"),
    ("keyed stream", 1, True, "[[chunks=6 interval=0.02]] hello"),
)


@dataclass
class Told:
    """One request as its client saw it.

    `complete`: the answer was delivered to its end. `refused`: the client was told in so many words that it is
    not served. `price` is what it was told, in USD; None where the answer never came to that.
    """

    kind: str
    request_id: str = ""
    status: int = 0
    complete: bool = False
    refused: bool = False
    replayed: bool = False
    price: Decimal | None = None
    key: str = ""


@dataclass
class Load:
    """Clients in a thread of their own, each with one request at a time, until they are told to stop."""

    base_url: str
    tokens: Sequence[str]
    clients: int = 12
    seed: int = 0
    told: list[Told] = field(default_factory=list)
    unreachable: int = 0
    faults: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let each client finish what it is waiting for, then end."""
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "a client waits in vain"
        if self.faults:
            raise AssertionError("a client was answered what no client understands") from self.faults[0]

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=self.base_url, timeout=40, limits=limits) as http:
            await asyncio.gather(*(self._client(http, number) for number in range(self.clients)))

    async def _client(self, http: httpx.AsyncClient, number: int) -> None:
        dice = random.Random(f"{self.seed}-{number}")
        token = self.tokens[number % len(self.tokens)]
        while not self._stopping.is_set():
            kind, _, stream, text = dice.choices(KINDS, [each[1] for each in KINDS])[0]
            key = f"key-{number}-{dice.random()}" if kind.startswith("keyed") else ""
            while True:
                told = Told(kind, key=key)
                try:
                    await self._call(http, told, token, stream, text)
                except httpx.TransportError:
                    if not told.request_id:
                        self.unreachable += 1
                        await asyncio.sleep(0.05)
                except Exception as error:
                    self.faults.append(error)
                    return
                if told.request_id:
                    self.told.append(told)
                # A client that knows the key asks again until it has its answer.
                if not key or told.complete or (self._stopping.is_set() and not told.status):
                    break

    async def _call(self, http: httpx.AsyncClient, told: Told, token: str, stream: bool, text: str) -> None:
        headers = {"authorization": f"Bearer {token}"} | ({"idempotency-key": told.key} if told.key else {})
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "stream": stream}
        async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer:
            told.status = answer.status_code
            told.request_id = answer.headers["x-request-id"]
            told.replayed = "idempotent-replayed" in answer.headers
            if answer.status_code != 200:
                error = json.loads(await answer.aread())["error"]
                assert error["request_id"] == told.request_id
                told.refused = True
            elif stream:
                await self._read_stream(answer, told)
            else:
                assert json.loads(await answer.aread())["choices"]
                told.complete = True
                told.price = _price(answer.headers)

    async def _read_stream(self, answer: httpx.Response, told: Told) -> None:
        events = 0
        async for line in answer.aiter_lines():
            if line.startswith(NOTE):
                note: Mapping[str, Any] = json.loads(line.removeprefix(NOTE))
                told.price = Decimal(note["price_usd"]) if "price_usd" in note else None
            elif line == "data: [DONE]":
                told.complete = True
            elif line.startswith("data: "):
                told.refused = told.refused or "error" in json.loads(line[6:])
                events += 1
                if told.kind == "stream that is left" and events == 4:
                    return


def _price(headers: httpx.Headers) -> Decimal | None:
    price = headers.get("x-modelfaucet-price-usd")
    return Decimal(price) if price is not None else None
