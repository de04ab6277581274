"""POST /v1/features/{key}: a caller gives typed input, and its feature's manifest makes the prompt of it.

Pure, as every format is; unlike the others, one is made for each feature. What it answers is text, or JSON that is
checked against the manifest's schema. A model that answers otherwise was paid for all the same: its text is handed on,
with the problem named.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from apps.core.errors import BadRequest, FaucetError, NotFound
from apps.features.manifest import Manifest, Prompt
from apps.features.prompts import PromptProblem, render
from apps.features.queries import Principal
from apps.features.schemas import Schema
from apps.gateway.formats.events import first_choice, own_id, read_answer, read_chunks, text_or, texts_of, write_event
from apps.gateway.formats.reading import NULL, canonical, given, missing, translate
from apps.gateway.metering import BrokenAnswer
from apps.gateway.wire import MAX_TOKENS, ChatRequest, read_whole_number, wrong
from apps.usage.rate import Tokens

# The last event of a stream repeats the whole answer, so it is kept (characters).
MAX_KEPT = 64_000_000
_SAME = ("model", "stream", "modelfaucet")
_READ = frozenset({*_SAME, "input", "max_tokens"})
_encode = msgspec.json.Encoder().encode


def feature_format(principal: Principal) -> "FeatureFormat":
    """Return the format of the feature that a principal calls. Raises NotFound (feature_without_prompt)."""
    if principal.manifest.prompt is None:
        raise NotFound(
            f"The feature '{principal.feature_key}' has no prompt; call /v1/chat/completions.",
            code="feature_without_prompt",
        )
    return FeatureFormat(principal.feature_key, principal.manifest, principal.manifest.prompt)


class FeatureFormat:
    """One typed feature."""

    endpoint = "features"

    def __init__(self, key: str, manifest: Manifest, prompt: Prompt) -> None:
        self._key = key
        self._manifest = manifest
        self._prompt = prompt

    def parse(self, body: bytes) -> ChatRequest:
        """Return the canonical request. Raises BadRequest naming the member of the input that is wrong."""
        return translate(body, self._read)

    def _read(self, members: dict[str, msgspec.Raw]) -> ChatRequest:
        for name in members:
            if name not in _READ:
                raise BadRequest(f"'{name}' is not taken here.", code="unknown_parameter", param=name)
        value = given(members, "input")
        if value is None:
            raise missing("input")
        self._check(value)
        out: dict[str, Any] = {name: members[name] for name in _SAME if members.get(name, NULL) != NULL}
        out["messages"] = self._messages(value)
        if self._manifest.output.kind == "json":
            out["response_format"] = self._response_format()
        return canonical(
            out,
            origins=["input"] * len(out["messages"]),
            names={"response_format": "output"},  # the manifest's member, which its answers have, too
            client={
                "format": "feature",
                "sensitive": tuple(_sensitive(value, self._manifest.privacy.sensitive_fields)),
            },
            max_output=read_whole_number(members, "max_tokens", least=1, most=MAX_TOKENS),
            ignored=(),
        )

    def _check(self, value: object) -> None:
        if not isinstance(value, dict):
            raise wrong("input", "an object")
        if self._manifest.input is None:
            return
        problem = _schema(_encode(self._manifest.input)).problem(value, "input")
        if problem is not None:
            raise BadRequest(f"{problem[0]}: {problem[1]}.", code="invalid_input", param=problem[0])

    def _messages(self, value: object) -> list[dict[str, str]]:
        try:
            system, user = render(self._prompt.system, value), render(self._prompt.user, value)
        except PromptProblem as problem:
            raise BadRequest(str(problem), code="invalid_input", param="input") from problem
        messages = [{"role": "system", "content": system}] if system.strip() else []
        for example in self._prompt.examples:
            messages.append({"role": "user", "content": example.user})
            messages.append({"role": "assistant", "content": example.assistant})
        return [*messages, {"role": "user", "content": user}]

    def _response_format(self) -> dict[str, Any]:
        schema = self._manifest.output.schema
        if schema is None:
            return {"type": "json_object"}
        return {"type": "json_schema", "json_schema": {"name": self._key, "schema": schema}}

    def answer(self, canonical: bytes, request: ChatRequest, *, request_id: str, usage: Tokens) -> bytes:
        """Return a whole answer. Raises BrokenAnswer where `canonical` is no chat completion."""
        answer, choice, message = read_answer(canonical)
        return _encode(self.result(answer, choice, message, texts_of(message), request_id, usage))

    def encoder(self, request: ChatRequest, *, request_id: str) -> "FeatureEncoder":
        return FeatureEncoder(self, request_id)

    def error(self, error: FaucetError, request_id: str | None) -> dict[str, Any]:
        return error.envelope(request_id)

    def error_event(self, error: FaucetError, request_id: str | None) -> bytes:
        return write_event("error", error.envelope(request_id))

    def result(
        self,
        answer: Mapping[str, Any],
        choice: Mapping[str, Any],
        message: Mapping[str, Any],
        text: str,
        request_id: str,
        usage: Tokens,
    ) -> dict[str, Any]:
        """Return what a call of the feature answers; `answer` is a chat completion, or a chunk of one."""
        output, problem = self._output(text)
        created = answer.get("created")
        refusal = message.get("refusal")
        return {
            "id": own_id("fres", request_id),
            "object": "feature.result",
            "created": created if isinstance(created, int) else 0,
            "request_id": request_id,
            "feature": self._key,
            "model": text_or(answer.get("model"), ""),
            "output": output,
            "output_problem": problem,
            "refusal": refusal if isinstance(refusal, str) and refusal else None,
            "finish_reason": text_or(choice.get("finish_reason"), "stop"),
            "usage": {
                "input_tokens": usage.prompt,
                "input_tokens_details": {
                    "cached_tokens": usage.cache_read,
                    "cache_write_tokens": usage.cache_write,
                },
                "output_tokens": usage.output,
                "output_tokens_details": {"reasoning_tokens": usage.reasoning},
                "total_tokens": usage.prompt + usage.output,
            },
        }

    def _output(self, text: str) -> tuple[Any, str | None]:
        """Return the output, and what is wrong with it; then it is the text as the model wrote it."""
        output = self._manifest.output
        if output.kind == "text":
            return text, None
        try:
            value = msgspec.json.decode(_unfenced(text))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return text, "not_json"
        if output.schema is not None and _schema(_encode(output.schema)).problem(value, "output") is not None:
            return text, "not_of_schema"
        return value, None


class FeatureEncoder:
    """One streamed answer: `feature.delta` events with text, and one `feature.done` with the whole result."""

    def __init__(self, feature: FeatureFormat, request_id: str) -> None:
        self._feature = feature
        self._request_id = request_id
        self._first: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}
        self._text: list[str] = []
        self._refusal: list[str] = []
        self._kept = 0

    def feed(self, events: bytes) -> bytes:
        out: list[bytes] = []
        for chunk in read_chunks(events):
            if chunk is None:
                out.append(b": keep-alive\n\n")
                continue
            self._first = self._first or chunk
            choice = first_choice(chunk)
            if isinstance(choice.get("finish_reason"), str):
                self._choice = {"finish_reason": choice["finish_reason"]}
            delta = choice.get("delta")
            if not isinstance(delta, dict):
                continue
            if isinstance(refusal := delta.get("refusal"), str):
                self._keep(self._refusal, refusal)
            if text := texts_of(delta):
                self._keep(self._text, text)
                out.append(write_event("feature.delta", {"text": text}))
        return b"".join(out)

    def finish(self, note: Mapping[str, object], *, usage: Tokens) -> bytes:
        message = {"refusal": "".join(self._refusal)}
        result = self._feature.result(self._first, self._choice, message, "".join(self._text), self._request_id, usage)
        return write_event("feature.done", {**result, "modelfaucet": note})

    def fail(self, error: FaucetError) -> bytes:
        return self._feature.error_event(error, self._request_id)

    def _keep(self, texts: list[str], text: str) -> None:
        self._kept += len(text)
        if self._kept > MAX_KEPT:
            raise BrokenAnswer("an answer without end")
        texts.append(text)


@lru_cache(maxsize=1_000)
def _schema(encoded: bytes) -> Schema:
    return Schema(msgspec.json.decode(encoded))


def _unfenced(text: str) -> str:
    """Return JSON without the code fence in which many models wrap it."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") + 1 : -3]
    return text


def _sensitive(value: object, fields: tuple[str, ...]) -> Iterator[str]:
    """Yield the texts under members of the input that the manifest calls sensitive, by name in any case."""
    names = {name.casefold() for name in fields}
    waiting: list[tuple[object, bool]] = [(value, False)] if names else []
    while waiting:
        found, within = waiting.pop()
        if isinstance(found, dict):
            waiting += ((member, within or name.casefold() in names) for name, member in found.items())
        elif isinstance(found, list):
            waiting += ((item, within) for item in found)
        elif within and found is not None and found != "":
            yield found if isinstance(found, str) else _encode(found).decode()
