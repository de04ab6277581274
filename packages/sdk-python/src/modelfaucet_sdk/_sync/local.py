# Made from _async/local.py by scripts/unasync.py: change that one.
"""Local models: the bridge on this machine, and what the gateway knows of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import httpx

from modelfaucet_sdk._sync.resources import Resource, Sender
from modelfaucet_sdk._sync.streams import Stream
from modelfaucet_sdk._sync.transport import Transport
from modelfaucet_sdk.answers import ChatAssembler, TellingAssembler, chat_result, embeddings_result
from modelfaucet_sdk.calls import Call, base_of, call, given
from modelfaucet_sdk.errors import BridgeError, FaucetError
from modelfaucet_sdk.reports import BATCH, ReportBuffer, is_refused_for_now, make_report
from modelfaucet_sdk.results import ChatResult, EmbeddingsResult, Record, Usage, read_object, utc_now
from modelfaucet_sdk.retries import RetryPolicy

BRIDGE_URL = "http://127.0.0.1:19088"
_LOCAL = {"x-modelfaucet-route-mode": "local"}


class Bridge:
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
        http_client: httpx.Client | None = None,
    ) -> None:
        self.url = base_of(url)
        self.reports = ReportBuffer(reports)
        self._token = token
        client = http_client or httpx.Client(timeout=httpx.Timeout(timeout, connect=3), trust_env=False)
        self._transport = Transport(self.url, client, RetryPolicy(retries=0), BridgeError)
        self._root = Transport(self.url.removesuffix("/v1"), client, RetryPolicy(retries=0), BridgeError)

    def status(self) -> Record:
        """Return how the bridge is, with a token its endpoints too. Raises BridgeError: there is none."""
        answer = self._root.send(call("GET", "status"), self._token)
        return read_object(answer.body)

    def models(self) -> Sequence[Record]:
        """Return the models that it serves."""
        answer = self._transport.send(call("GET", "models"), self._token)
        found: Sequence[Record] = read_object(answer.body)["data"]
        return found

    def chat(self, made: Call) -> ChatResult:
        began = utc_now()
        answer = self._transport.send(made, self._token)
        result = chat_result(answer.body, {**answer.headers, **_LOCAL})
        self._note(answer.headers, result.model, began, result.usage)
        return result

    def embeddings(self, made: Call) -> EmbeddingsResult:
        began = utc_now()
        answer = self._transport.send(made, self._token)
        result = embeddings_result(answer.body, {**answer.headers, **_LOCAL})
        self._note(answer.headers, result.model, began, result.usage)
        return result

    def stream(self, made: Call) -> Stream[ChatResult]:
        began = utc_now()

        def assembling(headers: Mapping[str, str]) -> ChatAssembler:
            told = {**headers, **_LOCAL}
            return TellingAssembler(told, lambda result: self._note(headers, result.model, began, result.usage))

        return Stream(lambda: self._transport.open(made, self._token), assembling)

    def _note(self, headers: Mapping[str, str], model: str, began: datetime, usage: Usage) -> None:
        if headers.get("x-faucet-reported") != "bridge":
            self.reports.add(make_report(model=model, started_at=began, ended_at=utc_now(), usage=usage))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


class Local(Resource):
    """What the gateway knows of the end user's local models: their endpoints, bridges and usage."""

    def __init__(self, send: Sender, bridge: Bridge | None) -> None:
        super().__init__(send)
        self.endpoints = LocalEndpoints(send)
        self.bridges = Bridges(send)
        self._bridge = bridge

    def report(self, reports: Iterable[Mapping[str, Any]]) -> Sequence[Record]:
        """Report calls that local models served (see `make_report`), up to 100; return what became of each.

        A report that the gateway has already is a `duplicate` and charged once.
        """
        body = {"reports": [dict(report) for report in reports]}
        made = call("POST", "local", "usage-reports", json=body, repeatable=True)
        found: Sequence[Record] = (self._object(made))["data"]
        return found

    def flush(self) -> int:
        """Report what waits at the bridge and return how many of it the gateway took (or had)."""
        taken = 0
        while self._bridge is not None and (batch := self._bridge.reports.waiting(BATCH)):
            told = [row for row in self.report(batch) if not is_refused_for_now(row)]
            self._bridge.reports.settle({row["report_id"] for row in told})
            taken += sum(row["state"] != "rejected" for row in told)
            if len(told) < len(batch):
                break
        return taken

    def try_flush(self) -> None:
        """Report what waits, or keep it where that does not work now."""
        try:
            self.flush()
        except (FaucetError, ValueError):
            pass  # ValueError: a client without a session


class LocalEndpoints(Resource):
    """Where the end user's local models are. The gateway keeps this and never calls it."""

    def list(self) -> Record:
        """Return a page of them."""
        return self._object(call("GET", "local", "endpoints"))

    def get(self, endpoint_id: str) -> Record:
        """Return one of them."""
        return self._object(call("GET", "local", "endpoints", endpoint_id))

    def add(
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
        return self._object(call("POST", "local", "endpoints", json=body))

    def update(self, endpoint_id: str, **members: Any) -> Record:
        """Change members of one."""
        return self._object(call("PATCH", "local", "endpoints", endpoint_id, json=members))

    def remove(self, endpoint_id: str) -> None:
        """Forget one."""
        self._nothing(call("DELETE", "local", "endpoints", endpoint_id))


class Bridges(Resource):
    """The end user's bridges, through which the gateway reaches local models."""

    def list(self) -> Record:
        """Return a page of them, with `connected` and `models`."""
        return self._object(call("GET", "local", "bridges"))

    def create(self, name: str) -> Record:
        """Make one; the answer's `token`, for `modelfaucet-bridge connect`, is shown this once."""
        return self._object(call("POST", "local", "bridges", json={"name": name}))

    def revoke(self, bridge_id: str) -> None:
        """Revoke one at once."""
        self._nothing(call("DELETE", "local", "bridges", bridge_id))
