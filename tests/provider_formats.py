"""How the provider double writes one answer: OpenAI's format (and Azure's), Anthropic's, Gemini's, and embeddings.

Written from the providers' documentation, apart from the adapters that are tested against it. Requests are checked as
strictly as the real APIs do: what they would refuse, `faults` names.
"""

import base64
import hashlib
import json
import re
import struct
from collections.abc import Iterator
from typing import Any

from tests.provider_answers import Answer, Behaviour, count_tokens

Json = dict[str, Any]

_TOOL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_ANTHROPIC = {
    *("model", "max_tokens", "messages", "system", "stream", "temperature", "top_p", "top_k", "stop_sequences"),
    *("tools", "tool_choice", "thinking", "metadata", "output_config", "cache_control", "service_tier"),
}
_GEMINI = {
    *("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "safetySettings", "cachedContent")
}
_GEMINI_CONFIG = {
    *("maxOutputTokens", "candidateCount", "temperature", "topP", "topK", "seed", "presencePenalty"),
    *("frequencyPenalty", "stopSequences", "responseLogprobs", "logprobs", "responseMimeType"),
    *("responseJsonSchema", "thinkingConfig"),
}


def format_of(path: str) -> str | None:
    """Return the format that a POST to this path (without its query) is in, None where it is none of a model's."""
    if path.endswith("/chat/completions"):
        return "azure" if "/openai/" in path else "openai"
    if path.endswith("/messages"):
        return "anthropic"
    if path.endswith((":generateContent", ":streamGenerateContent")):
        return "gemini"
    if path.endswith("/embeddings"):
        return "embeddings"
    return "gemini-embeddings" if path.endswith(":batchEmbedContents") else None


class OpenAIFormat:
    """The answer as chat completions has it."""

    def __init__(self, body: Json, path: str, headers: dict[str, str]) -> None:
        self.body, self.path, self.headers = body, path, headers

    def plain(self) -> Json:
        """Return the request in OpenAI's form, as far as it decides the answer."""
        return self.body

    def fault(self) -> tuple[int, str] | None:
        """Return the status and the words with which the real API would refuse the request, None for a good one."""
        if "/openai/" in self.path and "api-key" not in self.headers:
            return 401, "Access denied due to missing api-key"
        return None

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))

    def whole(self, answer: Answer) -> Json:
        return answer.whole()

    def frames(self, answer: Answer) -> Iterator[bytes]:
        for event in answer.events():
            yield b"data: " + event

    def end(self) -> bytes | None:
        return b"data: [DONE]"

    def error_frame(self) -> bytes:
        return frame({"error": {"message": "the double broke", "type": "server_error", "code": 500}})

    def error(self, status: int, message: str) -> Json:
        kind = "rate_limit_exceeded" if status == 429 else "double_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": kind}}


class AnthropicFormat(OpenAIFormat):
    def plain(self) -> Json:
        messages = [{"role": "system", "content": self.body.get("system")}] if self.body.get("system") else []
        messages += self.body.get("messages") or []
        tools = [{"function": {"name": tool["name"]}} for tool in self.body.get("tools") or []]
        plain = {"model": self.body.get("model"), "messages": messages, "stream": self.streams}
        return plain | ({"tools": tools} if tools else {})

    def fault(self) -> tuple[int, str] | None:
        body = self.body
        if "x-api-key" not in self.headers:
            return 401, "x-api-key header is required"
        if self.headers.get("anthropic-version") != "2023-06-01":
            return 400, "anthropic-version: header is required"
        if unknown := sorted(body.keys() - _ANTHROPIC):
            return 400, f"{unknown[0]}: Extra inputs are not permitted"
        if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
            return 400, "max_tokens: Field required"
        budget = (body.get("thinking") or {}).get("budget_tokens")
        if budget is not None and not 1024 <= budget < body["max_tokens"]:
            return 400, "thinking.budget_tokens: must be at least 1024 and less than max_tokens"
        if not body.get("messages") or body["messages"][0]["role"] != "user":
            return 400, 'messages: first message must use the "user" role'
        return self._fault_in_messages()

    def _fault_in_messages(self) -> tuple[int, str] | None:
        open_calls: set[str] = set()
        for place, message in enumerate(self.body["messages"]):
            where = f"messages.{place}"
            if message["role"] not in ("user", "assistant"):
                return 400, f"{where}.role: Input should be 'user' or 'assistant'"
            blocks = message["content"]
            if isinstance(blocks, str):
                blocks = [{"type": "text", "text": blocks}]
            if any(block["type"] == "text" and not block["text"] for block in blocks):
                return 400, f"{where}: text content blocks must be non-empty"
            results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
            if results != open_calls:
                return 400, f"{where}: each tool_use must have a single tool_result in the next message"
            calls = [block for block in blocks if block["type"] == "tool_use"]
            if any(
                not re.fullmatch(r"[a-zA-Z0-9_-]+", call["id"]) or type(call["input"]) is not dict for call in calls
            ):
                return 400, f"{where}: tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
            open_calls = {call["id"] for call in calls}
        return None

    def _content(self, answer: Answer) -> list[Json]:
        blocks: list[Json] = []
        if answer.behaviour.reasoning:
            blocks.append({"type": "thinking", "thinking": answer.behaviour.reasoning, "signature": "c2lnbmVk"})
        if answer.text:
            blocks.append({"type": "text", "text": answer.text})
        if answer.behaviour.tool_call:
            call = answer.tool_call()
            arguments = json.loads(call["function"]["arguments"])
            blocks.append({"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": arguments})
        return blocks

    def _head(self, answer: Answer) -> Json:
        model = answer.behaviour.model or self.body.get("model")
        return {"id": "msg_double", "type": "message", "role": "assistant", "model": model, "content": []}

    def _usage(self, answer: Answer) -> Json | None:
        if answer.behaviour.raw_usage is not None or answer.behaviour.usage == "missing":
            return answer.behaviour.raw_usage
        usage, cached = answer.usage, answer.behaviour.cached_tokens
        return {
            "input_tokens": usage["prompt_tokens"] - cached,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": cached,
            "output_tokens": usage["completion_tokens"],
            "output_tokens_details": {"thinking_tokens": answer.behaviour.reasoning_tokens},
        }

    def _ending(self, answer: Answer) -> Json:
        reasons = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
        reason = answer.behaviour.finish_reason
        return {"stop_reason": reasons.get(reason, reason) if reason else None, "stop_sequence": None}

    def whole(self, answer: Answer) -> Json:
        made = self._head(answer) | {"content": self._content(answer)} | self._ending(answer)
        used = self._usage(answer)
        return made if used is None else made | {"usage": used}

    def frames(self, answer: Answer) -> Iterator[bytes]:
        used = self._usage(answer)
        start = self._head(answer) | {"stop_reason": None, "stop_sequence": None}
        if used is not None:
            start["usage"] = used | ({"output_tokens": 1} if used.get("output_tokens") else {})
        yield _named({"type": "message_start", "message": start})
        yield _named({"type": "ping"})
        for place, block in enumerate(self._content(answer)):
            empty, deltas = self._pieces(block, answer)
            yield _named({"type": "content_block_start", "index": place, "content_block": empty})
            for delta in deltas:
                yield _named({"type": "content_block_delta", "index": place, "delta": delta})
            yield _named({"type": "content_block_stop", "index": place})
        end: Json = {"type": "message_delta", "delta": self._ending(answer)}
        if used is not None:
            end["usage"] = {"output_tokens": used.get("output_tokens", 0)} | {
                name: used[name] for name in ("output_tokens_details",) if name in used
            }
        yield _named(end)

    def _pieces(self, block: Json, answer: Answer) -> tuple[Json, list[Json]]:
        if block["type"] == "text":
            return {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in answer.pieces]
        if block["type"] == "thinking":
            words = re.findall(r"\S+\s*", block["thinking"])
            deltas = [{"type": "thinking_delta", "thinking": word} for word in words]
            return block | {"thinking": "", "signature": ""}, [
                *deltas,
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        text = json.dumps(block["input"])
        pieces = ["", *(text[start : start + 8] for start in range(0, len(text), 8))]
        return block | {"input": {}}, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]

    def end(self) -> bytes | None:
        return _named({"type": "message_stop"})

    def error_frame(self) -> bytes:
        return _named({"type": "error", "error": {"type": "overloaded_error", "message": "the double broke"}})

    def error(self, status: int, message: str) -> Json:
        kinds = {
            400: "invalid_request_error",
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
            529: "overloaded_error",
        }
        kind = kinds.get(status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_double"}


class GeminiFormat(OpenAIFormat):
    @property
    def streams(self) -> bool:
        return self.path.partition("?")[0].endswith(":streamGenerateContent")

    def plain(self) -> Json:
        body = self.body
        messages = [
            {"role": "assistant" if content.get("role") == "model" else "user", "content": content.get("parts")}
            for content in body.get("contents") or []
        ]
        if instruction := body.get("systemInstruction"):
            messages.insert(0, {"role": "system", "content": instruction.get("parts")})
        model = self.path.partition("/models/")[2].partition(":")[0]
        names = [each["name"] for tool in body.get("tools") or [] for each in tool.get("functionDeclarations") or []]
        n = (body.get("generationConfig") or {}).get("candidateCount", 1)
        plain = {"model": model, "messages": messages, "n": n, "stream": self.streams}
        return plain | ({"tools": [{"function": {"name": name}} for name in names]} if names else {})

    def fault(self) -> tuple[int, str] | None:
        body = self.body
        if "x-goog-api-key" not in self.headers:
            return 403, "Method doesn't allow unregistered callers"
        if self.streams and "alt=sse" not in self.path:
            return 400, "the double streams with alt=sse only"
        unknown = sorted(body.keys() - _GEMINI) + sorted((body.get("generationConfig") or {}).keys() - _GEMINI_CONFIG)
        if unknown:
            return 400, f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.'
        calls = 0
        for content in body.get("contents") or []:
            if content.get("role") not in ("user", "model") or not content.get("parts"):
                return 400, "Please use a valid role: user, model."
            results = sum("functionResponse" in part for part in content["parts"])
            if results != calls:
                return 400, "the number of function response parts is to equal that of function call parts"
            calls = sum("functionCall" in part for part in content["parts"])
        return None if body.get("contents") else (400, "contents is not specified")

    def _envelope(self, answer: Answer) -> Json:
        model = answer.behaviour.model or self.plain()["model"]
        return {"modelVersion": model, "responseId": "double-1"}

    def _usage(self, answer: Answer) -> Json:
        behaviour = answer.behaviour
        if behaviour.raw_usage is not None:
            return {"usageMetadata": behaviour.raw_usage}
        if behaviour.usage == "missing":
            return {}
        prompt, completion = answer.usage["prompt_tokens"], answer.usage["completion_tokens"]
        thoughts = min(behaviour.reasoning_tokens, completion)
        used = {
            "promptTokenCount": prompt,
            "candidatesTokenCount": completion - thoughts,
            "totalTokenCount": prompt + completion,
        }
        more = {"cachedContentTokenCount": behaviour.cached_tokens, "thoughtsTokenCount": thoughts}
        return {"usageMetadata": used | {name: count for name, count in more.items() if count}}

    def _reason(self, answer: Answer) -> Json:
        words = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}
        reason = answer.behaviour.finish_reason
        return {"finishReason": words.get(reason, "MALFORMED_FUNCTION_CALL")} if reason else {}

    def _call_part(self, answer: Answer) -> Json:
        call = answer.tool_call()["function"]
        made = {"name": call["name"], "args": json.loads(call["arguments"])}
        return {"functionCall": made, "thoughtSignature": "c2lnbmVk"}

    def whole(self, answer: Answer) -> Json:
        parts: list[Json] = []
        if answer.behaviour.reasoning:
            parts.append({"text": answer.behaviour.reasoning, "thought": True})
        if answer.text:
            parts.append({"text": answer.text})
        if answer.behaviour.tool_call:
            parts.append(self._call_part(answer))
        candidates = [
            {"index": index, "content": {"role": "model", "parts": parts}, **self._reason(answer)}
            for index in range(answer.choices)
        ]
        return self._envelope(answer) | {"candidates": candidates} | self._usage(answer)

    def frames(self, answer: Answer) -> Iterator[bytes]:
        parts = [{"text": word, "thought": True} for word in re.findall(r"\S+\s*", answer.behaviour.reasoning)]
        parts += [{"text": piece} for piece in answer.pieces]
        if answer.behaviour.tool_call:
            parts.append(self._call_part(answer))
        head, used = self._envelope(answer), self._usage(answer)
        for part in parts:
            for index in range(answer.choices):
                content = {"role": "model", "parts": [part]}
                yield frame(head | {"candidates": [{"index": index, "content": content}]} | used)
        if answer.behaviour.fail == "no-done":
            return  # the stream's end is its last finish reason
        for index in range(answer.choices):
            candidate = {"index": index, "content": {"role": "model", "parts": [{"text": ""}]}, **self._reason(answer)}
            yield frame(head | {"candidates": [candidate]} | used)

    def end(self) -> bytes | None:
        return None

    def error_frame(self) -> bytes:
        return frame({"error": {"code": 503, "message": "the double broke", "status": "UNAVAILABLE"}})

    def error(self, status: int, message: str) -> Json:
        words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
        words |= {429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}
        return {"error": {"code": status, "message": message, "status": words.get(status, "UNAVAILABLE")}}


FORMATS = {"openai": OpenAIFormat, "azure": OpenAIFormat, "anthropic": AnthropicFormat, "gemini": GeminiFormat}


def frame(event: Json) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode()


def _named(event: Json) -> bytes:
    return b"event: " + event["type"].encode() + b"\n" + frame(event)


def vector(text: str, dimensions: int) -> list[float]:
    """Return the double's embedding of a text: the same for the same text, of length 1."""
    raw = hashlib.shake_256(text.encode()).digest(dimensions)
    values = [byte / 127.5 - 1 for byte in raw]
    length = sum(value * value for value in values) ** 0.5 or 1.0
    return [value / length for value in values]


def embed(form: str, body: Json, behaviour: Behaviour) -> Json:
    """Return the double's answer to an embeddings call of either format."""
    if form == "gemini-embeddings":
        requests = body["requests"]
        texts = [part["text"] for each in requests for part in each["content"]["parts"]]
        dimensions = requests[0].get("outputDimensionality", 8)
        return {"embeddings": [{"values": vector(text, dimensions)} for text in texts]}
    given = body.get("input")
    texts = [given] if isinstance(given, str) else [str(each) for each in given or []]
    vectors: list[Any] = [vector(text, body.get("dimensions") or 8) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{len(each)}f", *each)).decode() for each in vectors]
    tokens = behaviour.prompt_tokens
    if tokens is None:
        tokens = sum(count_tokens(text) for text in texts)
    answer: Json = {
        "object": "list",
        "data": [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)],
        "model": behaviour.model or body.get("model"),
    }
    if behaviour.usage == "missing":
        return answer
    used = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer | {"usage": used if behaviour.raw_usage is None else behaviour.raw_usage}
