"""What a provider's format cannot say is refused by the name that the client gave it, in every client format."""

import json
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import update_offer, update_provider
from apps.core.clock import now
from apps.core.errors import BadRequest, NotFound
from apps.gateway.formats.reading import in_clients_words
from apps.gateway.formats.responses.format import ResponsesFormat
from tests.live import ACTOR, MODEL, World
from tests.provider_double import Behaviour, ProviderDouble

CHAT, MESSAGES, RESPONSES, FEATURE = "chat/completions", "messages", "responses", "features/picture"
IMAGE = "https://pictures.example/cat.png"
PICTURE = {"user": "Answer in JSON: {{ input.text }}"}


def asks(path: str) -> dict[str, Any]:
    """Return a request with a link to an image in its second message of a user, which Gemini does not fetch."""
    if path == CHAT:
        parts = [{"type": "image_url", "image_url": {"url": IMAGE}}]
        return {"messages": [*_turns(), {"role": "user", "content": parts}]}
    if path == MESSAGES:
        block = {"type": "image", "source": {"type": "url", "url": IMAGE}}
        turn = {"role": "user", "content": [{"type": "text", "text": "Look:"}, block]}
        return {"system": "Be kind.", "max_tokens": 50, "messages": [*_turns(), turn]}
    turn = {"role": "user", "content": [{"type": "input_image", "image_url": IMAGE}]}
    return {"instructions": "Be kind.", "input": [*_turns(), turn]}


def _turns() -> list[dict[str, Any]]:
    return [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]


def speak(world: World, adapter: str, double: ProviderDouble) -> None:
    update_offer(world.offers[0], capabilities=["chat", "stream", "vision", "json"], now=now(), actor=ACTOR)
    update_provider("double-0", adapter=adapter, base_url=double.base_url_of(adapter), now=now(), actor=ACTOR)


def post(world: World, path: str, body: dict[str, Any]) -> httpx.Response:
    content = body if path.startswith("features/") else {"model": MODEL, **body}
    return httpx.post(f"{world.base_url}/v1/{path}", json=content, headers=world.headers(), timeout=30)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "param"), [(CHAT, "messages[2].content[0]"), (MESSAGES, "messages[2]"), (RESPONSES, "input[2]")]
)
def test_message_is_named_as_the_client_sent_it(
    world: World, double: ProviderDouble, path: str, param: str, stream: bool
) -> None:
    speak(world, "gemini", double)
    answer = post(world, path, {**asks(path), "stream": stream})
    error = answer.json()["error"]
    assert answer.status_code == 400, answer.text
    assert f"'{param}' cannot be served by this provider" in error["message"]
    assert "messages[3]" not in error["message"]
    if path != MESSAGES:  # Anthropic's errors have neither
        assert (error["code"], error["param"]) == ("unsupported_by_provider", param)
    assert double.requests == []


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (
            RESPONSES,
            {"input": "x", "text": {"format": {"type": "json_object"}}},
            "text.format",
        ),
        (FEATURE, {"input": {"text": "x"}}, "output"),
    ],
)
def test_member_is_named_as_the_client_calls_it(
    world: World, double: ProviderDouble, path: str, body: dict[str, Any], param: str
) -> None:
    speak(world, "anthropic", double)
    world.manifest("picture", models={"default": MODEL}, prompt=PICTURE, output={"kind": "json"})
    error = post(world, path, body).json()["error"]
    assert (error["code"], error["param"]) == ("unsupported_by_provider", param)
    assert error["message"].startswith(f"'{param}' ")
    assert double.requests == []


def test_features_input_is_named_where_the_provider_refuses_what_was_made_of_it(
    world: World, double: ProviderDouble
) -> None:
    world.manifest("picture", models={"default": MODEL}, prompt={"system": "Be kind.", **PICTURE})
    refusal = {"error": {"message": "Invalid 'messages[1].content'.", "param": "messages[1].content"}}
    double.script(Behaviour(status=400, raw=json.dumps(refusal).encode()))
    error = post(world, FEATURE, {"input": {"text": "x"}}).json()["error"]
    assert (error["code"], error["param"]) == ("provider_rejected_request", "input")
    assert "messages" not in error["message"]


def test_tools_of_a_narrowed_choice_are_not_named_by_a_number_that_is_not_the_clients() -> None:
    tools = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("a", "b")]
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "b"}]}
    for more, param in (({}, "tools[0]"), ({"tool_choice": choice}, "tools")):
        request = ResponsesFormat().parse(json.dumps({"input": "x", "tools": tools, **more}).encode())
        error = BadRequest("'tools[0].function' is wrong.", code="invalid_type", param="tools[0].function")
        told = in_clients_words(error, request.client)
        assert (told.param, told.message) == (param, f"'{param}' is wrong.")


def test_other_errors_and_requests_in_chat_form_stay_as_they_are() -> None:
    missing, wrong = NotFound("No."), BadRequest("'messages[0]' is wrong.", param="messages[0]")
    request = ResponsesFormat().parse(b'{"input": "x"}')
    assert in_clients_words(missing, request.client) is missing
    assert in_clients_words(wrong, {}) is wrong
    far = BadRequest("No.", param="messages.[7].content")
    assert in_clients_words(far, request.client).param == "messages.[7].content"
    assert in_clients_words(BadRequest("No.", param="messages.[0].content"), request.client).param == "input"
