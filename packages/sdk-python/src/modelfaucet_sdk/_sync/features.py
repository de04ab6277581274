# Made from _async/features.py by scripts/unasync.py: change that one.
"""Typed features: input in, output out; the gateway makes the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modelfaucet_sdk._sync.streams import Stream
from modelfaucet_sdk.answers import FeatureAssembler, feature_result
from modelfaucet_sdk.calls import Call, call, given, with_wish
from modelfaucet_sdk.results import FeatureResult, Record, read_object

if TYPE_CHECKING:
    from modelfaucet_sdk._sync.client import Faucet


class Feature:
    """One feature of the app."""

    def __init__(self, key: str, faucet: Faucet) -> None:
        self.key = key
        self._faucet = faucet

    def __call__(
        self,
        input: Mapping[str, Any],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        **wish: Any,
    ) -> FeatureResult:
        """Return what the feature answers; `wish` is what is asked of the route (`policy`, `prefer`, …).

        A repetition with the same `idempotency_key` answers the same and costs nothing.
        """
        answer = self._faucet.request(
            self._call(input, model, max_tokens, idempotency_key, timeout, wish, stream=False)
        )
        return feature_result(answer.body, answer.headers)

    def describe(self) -> Record:
        """Return what it takes and gives: `input` and `output` schemas, `default_model`, `privacy_mode`."""
        return read_object((self._faucet.request(call("GET", "features", self.key))).body)

    def stream(
        self,
        input: Mapping[str, Any],
        *,
        model: str | None = None,
        max_tokens: int | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        **wish: Any,
    ) -> Stream[FeatureResult]:
        """Return the answer as a stream, for a `with` block."""
        made = self._call(input, model, max_tokens, idempotency_key, timeout, wish, stream=True)
        return Stream(lambda: self._faucet.open(made), FeatureAssembler)

    def _call(
        self,
        input: Mapping[str, Any],
        model: str | None,
        max_tokens: int | None,
        key: str | None,
        timeout: float | None,
        wish: Mapping[str, Any],
        *,
        stream: bool,
    ) -> Call:
        mode = self._faucet.mode
        if mode == "local":
            raise ValueError("a feature's prompt is made by the gateway; in mode 'local' nothing is sent there: chat()")
        body = {"input": dict(input), **given(model=model, max_tokens=max_tokens), "stream": stream}
        content = with_wish(body, mode=mode, wish=wish)
        return call("POST", "features", self.key, json=content, keyed=True, idempotency_key=key, timeout=timeout)
