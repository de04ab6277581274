"""What we write in other formats than our own, read by those clients it is written for, with strict types."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apps.core.errors import NotFound, ProviderFailed
from apps.gateway.formats.base import ClientFormat
from apps.gateway.formats.messages import MESSAGES
from apps.gateway.formats.responses import RESPONSES
from apps.gateway.wire import ChatRequest
from tests.clients.conftest import HERE
from tests.clients.environment import client_python
from tests.gateway.formats.reading import encode
from tests.gateway.formats.shapes import START, STREAMS, USAGE, WHOLE, chunk

# The first test may have to install the clients.
pytestmark = pytest.mark.timeout(400)

Check = Callable[..., dict[str, Any]]
FORMATS: dict[str, tuple[ClientFormat, dict[str, Any]]] = {
    "messages": (
        MESSAGES,
        {
            "max_tokens": 2000,
            "messages": [{"role": "user", "content": "Hi"}],
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        },
    ),
    "responses": (
        RESPONSES,
        {
            "input": "Hi",
            "instructions": "Be brief.",
            "metadata": {"a": "b"},
            "tools": [{"type": "function", "name": "get_weather", "parameters": {}, "strict": None}],
            "tool_choice": "auto",
            "text": {"verbosity": "low"},
            "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content"],
        },
    ),
}


def parsed(name: str) -> tuple[ClientFormat, ChatRequest]:
    form, body = FORMATS[name]
    return form, form.parse(json.dumps({"model": "m", **body}).encode())


@pytest.fixture(scope="module")
def check(clients: Path) -> Iterator[Check]:
    command = [client_python(clients), str(HERE / "format_checks.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(name: str, body: bytes, *, stream: bool, status: int = 200) -> dict[str, Any]:
            assert process.stdin is not None
            assert process.stdout is not None
            given = {"format": name, "body": body.decode(), "stream": stream, "status": status}
            process.stdin.write(json.dumps(given) + "\n")
            process.stdin.flush()
            reply = json.loads(process.stdout.readline())
            assert "fault" not in reply, reply["fault"]
            result: dict[str, Any] = reply["result"]
            return result

        yield ask
        process.stdin.close()  # type: ignore[union-attr]
        process.wait(10)


def agrees(found: Any, ours: Any) -> None:
    """Fail where a client read something else than we wrote; it may add what it derives or leaves empty."""
    if isinstance(ours, dict):
        for name, value in ours.items():
            agrees(found.get(name), value)
    elif isinstance(ours, list):
        assert len(found) == len(ours)
        for one, other in zip(found, ours, strict=True):
            agrees(one, other)
    else:
        assert found == ours


@pytest.mark.parametrize("shape", WHOLE)
@pytest.mark.parametrize("name", FORMATS)
def test_whole_answers(check: Check, name: str, shape: str) -> None:
    form, request = parsed(name)
    body = form.answer(WHOLE[shape], request, request_id="req_1", usage=USAGE)
    agrees(check(name, body, stream=False), json.loads(body))


@pytest.mark.parametrize("shape", STREAMS)
@pytest.mark.parametrize("name", FORMATS)
def test_streams(check: Check, name: str, shape: str) -> None:
    form, request = parsed(name)
    body = encode(form.encoder(request, request_id="req_1"), STREAMS[shape])
    found = check(name, body, stream=True)
    last = json.loads(body.rpartition(b"data: ")[2])
    if name == "messages":
        assert (found["kinds"][0], found["kinds"][-1]) == ("message_start", "message_stop")
        assert found["usage"]["input_tokens"] == USAGE.input
        assert found["stop_reason"]
    elif last["type"] == "response.completed":
        agrees(found, last["response"])
    else:
        assert found["kinds"][-1] == "response.incomplete"


def test_what_a_client_puts_together_is_what_was_said(check: Check) -> None:
    for name, text in (("text", "Grüße, 你好"), ("thinking, signed", "There.")):
        form, request = parsed("messages")
        found = check("messages", encode(form.encoder(request, request_id="req_1"), STREAMS[name]), stream=True)
        assert "".join(block.get("text") or "" for block in found["content"]) == text
        form, request = parsed("responses")
        found = check("responses", encode(form.encoder(request, request_id="req_1"), STREAMS[name]), stream=True)
        assert found["output_text"] == text


def test_errors(check: Check) -> None:
    error = NotFound("No such model.", code="model_not_found", param="model")
    body = json.dumps(MESSAGES.error(error, "req_1")).encode()
    found = check("messages", body, stream=False, status=404)
    assert (found["error"], found["type"]) == ("NotFoundError", "not_found_error")
    assert found["body"]["error"]["code"] == "model_not_found"
    broken = ProviderFailed("It broke.", code="provider_broke_off")
    form, request = parsed("messages")
    encoder = form.encoder(request, request_id="req_1")
    assert encoder is not None
    found = check("messages", encoder.feed(START + chunk(content="a")) + encoder.fail(broken), stream=True)
    assert (found["error"], found["type"]) == ("APIStatusError", "api_error")
    form, request = parsed("responses")
    encoder = form.encoder(request, request_id="req_1")
    assert encoder is not None
    found = check("responses", encoder.feed(START + chunk(content="a")) + encoder.fail(broken), stream=True)
    assert found["kinds"][-1] == "response.failed"
