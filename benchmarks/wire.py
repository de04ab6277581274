"""The bytes of the benchmark: what the clients ask and what the fake provider answers.

Both ends know them beforehand, so that neither spends time on making or parsing JSON, and so that an answer
can be checked without trusting the server in between.
"""

import json

MODEL = "bench"
CHUNKS = 100  # events of a stream: CHUNKS - 1 with text, then the one with the finish reason
PACE = 0.02  # seconds between two events of a paced stream
STREAM_SECONDS = (CHUNKS - 1) * PACE
WORD = "faucet-drop "  # the text of every event; counted in what arrives
ANSWER = "The quick brown fox jumps over the lazy dog, again and again. " * 4
USAGE = {"prompt_tokens": 42, "completion_tokens": CHUNKS, "total_tokens": 42 + CHUNKS}
HUGE_BYTES = 400_000_000  # a stream nobody reads to its end

PROMPT = (
    "Summarise the following paragraph in one sentence for a reader who is in a hurry: a gateway stands between "
    "applications and language models, meters what passes, and splits the price between those who earned it."
)


def request_body(kind: str) -> bytes:
    """Return the body of a chat completion of `kind`: json, sse, paced or huge.

    The kind travels in the prompt, the one thing that every gateway passes on untouched.
    """
    body = {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": f"{PROMPT} kind={kind}"},
        ],
        "max_tokens": 256,
        "temperature": 0.7,
    }
    if kind != "json":
        body["stream"] = True
    return json.dumps(body, separators=(",", ":")).encode()


def json_answer() -> bytes:
    """Return the whole HTTP answer to a request without a stream."""
    body = json.dumps(
        {
            "id": "chatcmpl-benchmark0000000000000000",
            "object": "chat.completion",
            "created": 1_760_000_000,
            "model": MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": ANSWER, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": USAGE,
            "system_fingerprint": "fp_benchmark",
        },
        separators=(",", ":"),
    ).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def frame(payload: bytes) -> bytes:
    """Wrap `payload` as one HTTP/1.1 chunk."""
    return b"%x\r\n%s\r\n" % (len(payload), payload)


def _event(choices: list[dict], usage: dict | None, with_usage: bool) -> bytes:
    event = {
        "id": "chatcmpl-benchmark0000000000000000",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": MODEL,
        "system_fingerprint": "fp_benchmark",
        "choices": choices,
    }
    if with_usage:
        event["usage"] = usage  # OpenAI: null on every event but the last, when usage was asked for
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def stream_frames(with_usage: bool) -> list[bytes]:
    """Return the CHUNKS writes of a stream, each an HTTP chunk of its own, the last with what ends it."""
    frames = []
    for number in range(CHUNKS - 1):
        delta = {"content": WORD} if number else {"role": "assistant", "content": WORD}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        frames.append(frame(_event([choice], None, with_usage)))
    end = frame(_event([{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}], None, with_usage))
    if with_usage:
        end += frame(_event([], USAGE, True))
    frames.append(end + frame(b"data: [DONE]\n\n") + b"0\r\n\r\n")
    return frames


def huge_frame() -> bytes:
    """Return one event of a stream that nobody reads to its end: 64 kB of text."""
    choice = {"index": 0, "delta": {"content": "x" * 65_536}, "logprobs": None, "finish_reason": None}
    return frame(_event([choice], None, False))


def unchunk(body: bytes) -> bytes | None:
    """Return `body` without its chunk framing, or None when the framing is broken or incomplete."""
    parts, at = [], 0
    while True:
        line_end = body.find(b"\r\n", at)
        if line_end < 0:
            return None
        try:
            size = int(body[at:line_end].split(b";")[0], 16)
        except ValueError:
            return None
        at = line_end + 2
        if size == 0:
            return b"".join(parts) if body[at:] == b"\r\n" else None
        if body[at + size : at + size + 2] != b"\r\n":
            return None
        parts.append(body[at : at + size])
        at += size + 2


def complete_stream(events: bytes) -> bool:
    """Tell whether `events` hold every word, the finish reason and the end mark."""
    return (
        events.count(WORD.encode()) == CHUNKS - 1
        and (b'"finish_reason":"stop"' in events or b'"finish_reason": "stop"' in events)
        and b"data: [DONE]" in events[-60:]
    )
