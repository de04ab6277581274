"""An answer of Gemini's as a canonical chat completion."""

import hashlib
from typing import Any

from apps.gateway.metering import BrokenAnswer
from apps.gateway.providers.answers import (
    Message,
    completion,
    count,
    encode,
    is_count,
    objects,
    text_of,
    tool_call,
    usage,
)
from apps.gateway.providers.sse import read_object

# Words that mean a filter; what is in none of the lists is the model's failure (MALFORMED_FUNCTION_CALL, …).
_FILTERED = frozenset(
    {
        *("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "MODEL_ARMOR", "ESCALATION"),
        *("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION"),
    }
)
_REASONS = {"STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length"}


def read_content(body: bytes, *, created: int) -> bytes:
    """Return the chat completion. Raises BrokenAnswer where `body` is no answer."""
    answer = read_object(body)
    candidates = objects(answer.get("candidates"))
    if not candidates and not is_blocked(answer):
        raise BrokenAnswer("no candidates")
    identity = text_of(answer.get("responseId"))
    choices = []
    for place, candidate in enumerate(candidates):
        index = index_of(candidate, place)
        said = Message()
        for part in parts_of(candidate):
            call = part.get("functionCall")
            if isinstance(call, dict):
                made = call_of(call, part, f"{identity}/{created}/{index}/{len(said.tool_calls)}")
                said.tool_calls.append(made)
            elif text := text_of(part.get("text")):
                (said.reasoning if part.get("thought") is True else said.text).append(text)
        reason = finish_reason(candidate.get("finishReason"), has_calls=bool(said.tool_calls))
        choices.append(said.as_choice(index, reason or "error", read_logprobs(candidate)))
    return completion(
        chat_id(identity),
        created,
        text_of(answer.get("modelVersion")),
        choices or [Message().as_choice(0, "content_filter")],
        read_usage(answer.get("usageMetadata")),
    )


def chat_id(identity: str) -> str:
    """Return the id of a completion; `identity` is Gemini's responseId."""
    return f"chatcmpl-{identity or 'gemini'}"


def is_blocked(answer: dict[str, Any]) -> bool:
    """Tell whether the prompt was refused: then there are no candidates."""
    feedback = answer.get("promptFeedback")
    return isinstance(feedback, dict) and isinstance(feedback.get("blockReason"), str)


def index_of(candidate: dict[str, Any], place: int) -> int:
    """Return a candidate's index, which the first one often goes without."""
    index = candidate.get("index")
    return index if is_count(index) and isinstance(index, int) else place


def parts_of(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of a candidate, none where a filter took them."""
    content = candidate.get("content")
    return objects(content.get("parts")) if isinstance(content, dict) else []


def call_of(call: dict[str, Any], part: dict[str, Any], seed: str) -> dict[str, Any]:
    """Return a canonical tool call. Gemini often gives it no id; then one is made from `seed`."""
    arguments = call.get("args")
    identity = text_of(call.get("id")) or "call_" + hashlib.blake2b(seed.encode(), digest_size=12).hexdigest()
    return tool_call(
        identity,
        text_of(call.get("name")),
        encode(arguments if isinstance(arguments, dict) else {}).decode(),
        text_of(part.get("thoughtSignature")) or None,
    )


def finish_reason(reason: Any, *, has_calls: bool) -> str | None:
    """Return OpenAI's word for a finish reason, None while there is none."""
    if not isinstance(reason, str) or not reason:
        return None
    if reason in _FILTERED:
        return "content_filter"
    known = _REASONS.get(reason, "error")
    return "tool_calls" if known == "stop" and has_calls else known


def read_usage(metadata: Any) -> dict[str, Any] | None:
    """Return canonical usage, None where it was not reported.

    Cached tokens lie inside promptTokenCount, the results of Google's own tools and thoughts outside of the counts
    that they are billed with.
    """
    if not isinstance(metadata, dict) or not is_count(metadata.get("promptTokenCount")):
        return None
    prompt = metadata["promptTokenCount"] + count(metadata.get("toolUsePromptTokenCount"))
    thoughts = count(metadata.get("thoughtsTokenCount"))
    return usage(
        prompt=prompt,
        cached=min(count(metadata.get("cachedContentTokenCount")), prompt),
        written=0,
        completion=count(metadata.get("candidatesTokenCount")) + thoughts,
        reasoning=thoughts,
    )


def read_logprobs(candidate: dict[str, Any]) -> dict[str, Any] | None:
    """Return OpenAI's logprobs, None where there are none."""
    result = candidate.get("logprobsResult")
    if not isinstance(result, dict):
        return None
    chosen, tops = objects(result.get("chosenCandidates")), objects(result.get("topCandidates"))
    content = []
    for place, token in enumerate(chosen):
        others = objects(tops[place].get("candidates")) if place < len(tops) else []
        content.append(_logprob(token) | {"top_logprobs": [_logprob(other) for other in others]})
    return {"content": content, "refusal": None} if content else None


def _logprob(token: dict[str, Any]) -> dict[str, Any]:
    text, value = text_of(token.get("token")), token.get("logProbability")
    return {
        "token": text,
        "logprob": value if isinstance(value, int | float) and not isinstance(value, bool) else 0.0,
        "bytes": list(text.encode()),
    }
