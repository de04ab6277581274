"""Local models: the bridge on this machine, and what the gateway knows of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

from modelfaucet_sdk._async.resources import AsyncResource, AsyncSender
from modelfaucet_sdk._async.streams import AsyncStream
from modelfaucet_sdk._async.transport import AsyncTransport
from modelfaucet_sdk.answers import ChatAssembler, TellingAssembler, chat_result, embeddings_result
from modelfaucet_sdk.calls import Call, base_of, call, given
from modelfaucet_sdk.errors import BridgeError, FaucetError
from modelfaucet_sdk.reports import BATCH, ReportBuffer, is_refused_for_now, make_report
from modelfaucet_sdk.results import ChatResult, EmbeddingsResult, Record, Usage, read_object, utc_now
from modelfaucet_sdk.retries import RetryPolicy

BRIDGE_URL = "http://127.0.0.1:19088"
_LOCAL = {"x-modelfaucet-route-mode": "local"}


class AsyncBridge:
    """The bridge on this machine (`modelfaucet-bridge`), or anything else that speaks OpenAI's chat completions.

    `token` is the bridge's `mf_local_…`. Usage that the bridge does not report itself waits in the file `reports`, or
    in memory, and is reported by `local.flush()` and when the client is closed.
    """

    def __init__(
        self,
        token: str | None,
        url: str = BRIDGE_URL,
        *,
        reports: str | os.PathLike[str] | None = None,
        timeout: float = 300,
        http_client: httpx.AsyncClient | None = None,
    ) -> None:
        self.url = base_of(url)
        self.reports = ReportBuffer(reports)
        self._token = token
        client = http_client or httpx.AsyncClient(timeout=httpx.Timeout(timeout, connect=3), trust_env=False)
        self._transport = AsyncTransport(self.url, client, RetryPolicy(retries=0), BridgeError)
        self._root = AsyncTransport(self.url.removesuffix("/v1"), client, RetryPolicy(retries=0), BridgeError)

    async def status(self) -> Record:
        """Return how the bridge is, with a token its endpoints too. Raises BridgeError: there is none."""
        answer = await self._root.send(call("GET", "status"), self._token)
        return read_object(answer.body)

    async def models(self) -> Sequence[Record]:
        """Return the models that it serves."""
        answer = await self._transport.send(call("GET", "models"), self._token)
        found: Sequence[Record] = read_object(answer.body)["data"]
        return found

    async def chat(self, made: Call) -> ChatResult:
        began = utc_now()
        answer = await self._transport.send(made, self._token)
        result = chat_result(answer.body, {**answer.headers, **_LOCAL})
        self._note(answer.headers, result.model, began, result.usage)
        return result

    async def embeddings(self, made: Call) -> EmbeddingsResult:
        began = utc_now()
        answer = await self._transport.send(made, self._token)
        result = embeddings_result(answer.body, {**answer.headers, **_LOCAL})
        self._note(answer.headers, result.model, began, result.usage)
        return result

    def stream(self, made: Call) -> AsyncStream[ChatResult]:
        began = utc_now()

        def assembling(headers: Mapping[str, str]) -> ChatAssembler:
            told = {**headers, **_LOCAL}
            return TellingAssembler(told, lambda result: self._note(headers, result.model, began, result.usage))

        return AsyncStream(lambda: self._transport.open(made, self._token), assembling)

    def _note(self, headers: Mapping[str, str], model: str, began: datetime, usage: Usage) -> None:
        if headers.get("x-faucet-reported") != "bridge":
            self.reports.add(make_report(model=model, started_at=began, ended_at=utc_now(), usage=usage))

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


class AsyncLocal(AsyncResource):
    """What the gateway knows of the end user's local models: their endpoints, bridges and usage."""

    def __init__(self, send: AsyncSender, bridge: AsyncBridge | None) -> None:
        super().__init__(send)
        self.endpoints = AsyncLocalEndpoints(send)
        self.bridges = AsyncBridges(send)
        self._bridge = bridge

    async def report(self, reports: Iterable[Mapping[str, Any]]) -> Sequence[Record]:
        """Report calls that local models served (see `make_report`), up to 100; return what became of each.

        A report that the gateway has already is a `duplicate` and charged once.
        """
        body = {"reports": [dict(report) for report in reports]}
        made = call("POST", "local", "usage-reports", json=body, repeatable=True)
        found: Sequence[Record] = (await self._object(made))["data"]
        return found

    async def flush(self) -> int:
        """Report what waits at the bridge and return how many of it the gateway took (or had)."""
        taken = 0
        while self._bridge is not None and (batch := self._bridge.reports.waiting(BATCH)):
            told = [row for row in await self.report(batch) if not is_refused_for_now(row)]
            self._bridge.reports.settle({row["report_id"] for row in told})
            taken += sum(row["state"] != "rejected" for row in told)
            if len(told) < len(batch):
                break
        return taken

    async def try_flush(self) -> None:
        """Report what waits, or keep it where that does not work now."""
        try:
            await self.flush()
        except (FaucetError, ValueError):
            pass  # ValueError: a client without a session


class AsyncLocalEndpoints(AsyncResource):
    """Where the end user's local models are. The gateway keeps this and never calls it."""

    async def list(self) -> Record:
        """Return a page of them."""
        return await self._object(call("GET", "local", "endpoints"))

    async def get(self, endpoint_id: str) -> Record:
        """Return one of them."""
        return await self._object(call("GET", "local", "endpoints", endpoint_id))

    async def add(
        self,
        name: str,
        *,
        kind: str,
        base_url: str,
        models: Sequence[Mapping[str, Any]] = (),
        bridge_id: str | None = None,
    ) -> Record:
        """Register one. `kind`: ollama, vllm, lm_studio, llama_cpp or openai_compatible."""
        body = given(name=name, kind=kind, base_url=base_url, models=[dict(m) for m in models], bridge_id=bridge_id)
        return await self._object(call("POST", "local", "endpoints", json=body))

    async def update(self, endpoint_id: str, **members: Any) -> Record:
        """Change members of one."""
        return await self._object(call("PATCH", "local", "endpoints", endpoint_id, json=members))

    async def remove(self, endpoint_id: str) -> None:
        """Forget one."""
        await self._nothing(call("DELETE", "local", "endpoints", endpoint_id))


class AsyncBridges(AsyncResource):
    """The end user's bridges, through which the gateway reaches local models."""

    async def list(self) -> Record:
        """Return a page of them, with `connected` and `models`."""
        return await self._object(call("GET", "local", "bridges"))

    async def create(self, name: str) -> Record:
        """Make one; the answer's `token`, for `modelfaucet-bridge connect`, is shown this once."""
        return await self._object(call("POST", "local", "bridges", json={"name": name}))

    async def revoke(self, bridge_id: str) -> None:
        """Revoke one at once."""
        await self._nothing(call("DELETE", "local", "bridges", bridge_id))
