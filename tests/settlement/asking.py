"""One question to the gateway, whole or streamed, with what came back taken apart."""

import json
from dataclasses import dataclass, field
from typing import Any

import httpx

from apps.usage.models import UsageEvent
from tests.live import World


@dataclass
class Answered:
    """An answer: for a stream its JSON events and the gateway's own comment; for JSON the body as the one event."""

    status: int
    headers: httpx.Headers
    raw: bytes
    events: list[dict[str, Any]] = field(default_factory=list)
    note: dict[str, Any] = field(default_factory=dict)
    done: bool = False

    @property
    def error(self) -> dict[str, Any]:
        """Return the error that the answer, or the stream's last event, is."""
        error: dict[str, Any] = self.events[-1]["error"]
        return error

    @property
    def text(self) -> str:
        """Return the text of the first choice."""
        parts = []
        for event in self.events:
            for choice in event.get("choices", []):
                said = choice.get("delta") or choice.get("message") or {}
                if choice["index"] == 0:
                    parts.append(said.get("content") or "")
        return "".join(parts)

    @property
    def price_usd(self) -> str:
        """Return the price that the client was told."""
        return str(self.note["price_usd"] if self.note else self.headers["x-modelfaucet-price-usd"])

    @property
    def estimated(self) -> bool:
        """Tell whether the client was told that the price is estimated."""
        return bool(self.note["estimated"] if self.note else self.headers.get("x-modelfaucet-estimated") == "true")

    def event(self) -> UsageEvent:
        """Return the usage event of this answer; there is exactly one."""
        return UsageEvent.objects.get(request_id=self.headers["x-request-id"])


def ask(
    world: World,
    text: str = "Say hello",
    *,
    stream: bool,
    headers: dict[str, str] | None = None,
    content: bytes | None = None,
    **body: Any,
) -> Answered:
    """Send one chat completion and return what came of it."""
    with httpx.stream(
        "POST",
        f"{world.base_url}/v1/chat/completions",
        content=content if content is not None else json.dumps(world.body(text, stream=stream, **body)),
        headers=world.headers(**{"content_type": "application/json", **(headers or {})}),
        timeout=30,
    ) as response:
        return read(response.status_code, response.headers, response.read())


def read(status: int, headers: httpx.Headers, raw: bytes) -> Answered:
    """Take an answer apart."""
    answered = Answered(status, headers, raw)
    if not headers["content-type"].startswith("text/event-stream"):
        answered.events.append(json.loads(raw))
        return answered
    for event in raw.decode().split("\n\n"):
        if event.startswith("data: [DONE]"):
            answered.done = True
        elif event.startswith("data: "):
            answered.events.append(json.loads(event[6:]))
        elif event.startswith(": modelfaucet "):
            answered.note = json.loads(event[len(": modelfaucet ") :])
    return answered
