"""POST /v1/features/{key} over real sockets: prompted here, metered, and only for whom the feature is."""

import json
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import update_offer
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.services.features import create_feature, disable_feature
from apps.features.services.manifests import put_manifest
from apps.features.services.tokens import open_session
from tests.live import ACTOR, MODEL, World, differences, rate_all, wait_until
from tests.provider_double import Behaviour, ProviderDouble

REPLY = f"""
models: {{default: {MODEL}}}
output: {{max_tokens: 60}}
input: {{type: object, properties: {{text: {{type: string}}}}, required: [text]}}
prompt: {{system: Be kind., user: "Answer: {{{{ input.text }}}}"}}
"""
JSON = f"""
models: {{default: {MODEL}}}
output: {{kind: json, schema: {{type: object}}}}
prompt: {{user: "x {{{{ input.text }}}}"}}
"""
BY: dict[str, Any] = {"actor": ACTOR}


def make(world: World, key: str = "reply", source: str = REPLY) -> str:
    feature_id = create_feature(app_id=world.app_id, key=key, name=key, now=now(), **BY)
    put_manifest(feature_id=feature_id, source=source, source_format="yaml", may_price=True, now=now(), **BY)
    return feature_id


def call(world: World, key: str = "reply", *, token: str = "", headers: Any = None, **body: Any) -> httpx.Response:
    sent = {"input": {"text": "Hello?"}, **body}
    authorization = {"authorization": f"Bearer {token or world.token}", **(headers or {})}
    return httpx.post(f"{world.base_url}/v1/features/{key}", json=sent, headers=authorization, timeout=30)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, str(response.json()["error"]["code"])


def test_call_is_prompted_metered_and_charged(world: World, double: ProviderDouble) -> None:
    make(world)
    answer = call(world)
    assert answer.status_code == 200, answer.text
    result = answer.json()
    sent = double.requests[-1].body
    assert sent["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Answer: Hello?"},
    ]
    assert "input" not in sent and sent["max_tokens"] == 60
    assert (result["object"], result["feature"], result["output"]) == (
        "feature.result",
        "reply",
        double.requests[-1].text,
    )
    event = world.wait_for_event()
    assert (event.endpoint, event.feature_key, event.request_id) == ("features", "reply", result["request_id"])
    assert event.request_id == answer.headers["x-request-id"]
    assert nano_from_usd(answer.headers["x-modelfaucet-price-usd"]) > 0
    rate_all()
    assert differences() == []


def test_stream_ends_with_the_settled_result(world: World, double: ProviderDouble) -> None:
    make(world)
    with httpx.stream(
        "POST",
        f"{world.base_url}/v1/features/reply",
        json={"input": {"text": "x"}, "stream": True},
        headers=world.headers(),
        timeout=30,
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        blocks = [block for block in response.read().decode().split("\n\n") if block.startswith("event: ")]
    names = [block.split("\n")[0] for block in blocks]
    assert set(names[:-1]) == {"event: feature.delta"} and names[-1] == "event: feature.done"
    said = [json.loads(block.split("data: ", 1)[1]) for block in blocks]
    done = said.pop()
    assert "".join(piece["text"] for piece in said) == done["output"] == double.requests[-1].text
    event = world.wait_for_event()
    assert done["request_id"] == done["modelfaucet"]["request_id"] == event.request_id
    assert done["usage"]["output_tokens"] == event.output_tokens
    assert done["modelfaucet"]["price_usd"]


def test_stream_that_breaks_off_ends_with_an_error_and_costs_nothing(world: World, double: ProviderDouble) -> None:
    make(world)
    before = world.balance()
    double.script(Behaviour(fail="close-within"))
    answer = call(world, stream=True)
    last = [block for block in answer.text.split("\n\n") if block.startswith("event: ")][-1]
    assert last.startswith("event: error\n")
    wait_until(lambda: world.balance().available == before.available)


@pytest.mark.parametrize("body", [{"input": {}}, {"input": {"text": 5}}, {"messages": []}, {"input": []}])
def test_refused_input_reaches_no_provider(world: World, double: ProviderDouble, body: dict[str, Any]) -> None:
    make(world)
    assert call(world, **body).status_code == 400
    assert not double.requests


def test_token_for_one_feature_calls_no_other(world: World, double: ProviderDouble) -> None:
    make(world)
    make(world, "other", REPLY)
    bound = open_session(
        app_id=world.app_id,
        feature_key="other",
        end_user_id=world.end_user_id,
        assurance="user_token",
        ttl=600,
        now=now(),
    ).token
    assert call(world, "other", token=bound).json()["feature"] == "other"
    assert code(call(world, "reply", token=bound)) == (403, "feature_not_allowed")
    assert code(call(world, "reply", token="mf_sess_unknown")) == (401, "invalid_token")
    assert code(call(world, "none")) == (404, "feature_not_found")
    assert code(call(world, "default")) == (404, "feature_without_prompt")
    assert call(world, "reply", token=world.virtual_key(usd="1")).json()["feature"] == "reply"
    assert len(double.requests) == 2


def test_switch_of_the_feature_and_new_manifest_act_within_a_second(world: World, double: ProviderDouble) -> None:
    feature_id = make(world)
    assert call(world).status_code == 200
    put_manifest(
        feature_id=feature_id,
        source=REPLY.replace("Be kind.", "Be brief."),
        source_format="yaml",
        may_price=False,
        now=now(),
        **BY,
    )

    def brief() -> bool:
        call(world)
        return bool(double.requests[-1].body["messages"][0]["content"] == "Be brief.")

    wait_until(brief)
    disable_feature(feature_id=feature_id, now=now(), **BY)
    wait_until(lambda: call(world).status_code == 403)
    assert code(call(world)) == (403, "feature_disabled")
    assert world.chat().status_code == 200


def test_json_answer_needs_a_model_that_can(world: World, double: ProviderDouble) -> None:
    make(world, source=JSON)
    assert call(world).status_code >= 400
    assert not double.requests


def test_json_answer_that_does_not_fit_is_told_and_charged(world: World, double: ProviderDouble) -> None:
    update_offer(world.offers[0], capabilities=("chat", "stream", "json"), now=now(), **BY)
    make(world, source=JSON)
    answer = call(world)
    assert double.requests[-1].body["response_format"]["type"] == "json_schema"
    assert answer.json()["output"] == double.requests[-1].text
    assert answer.json()["output_problem"] == "not_json"
    assert nano_from_usd(answer.headers["x-modelfaucet-price-usd"]) > 0


def shape(world: World, key: str, token: str = "") -> httpx.Response:
    headers = {"authorization": f"Bearer {token or world.token}"}
    return httpx.get(f"{world.base_url}/v1/features/{key}", headers=headers)


def test_shape_of_a_feature_keeps_its_prompt_unless_it_may_run_locally(world: World) -> None:
    make(world)
    answer = shape(world, "reply")
    assert answer.json() == {
        "object": "feature",
        "key": "reply",
        "privacy_mode": "allow",
        "default_model": MODEL,
        "max_output_tokens": 60,
        "input": {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]},
        "output": {"kind": "text", "schema": None},
        "prompt": None,
    }
    assert "Be kind" not in answer.text
    make(world, "secret", REPLY + "privacy: {mode: local_only}\n")
    make(world, "first", REPLY + "routing: {policy: local_first}\n")
    make(world, "cloud", REPLY + "routing: {policy: byok_first}\n")
    for key in ("secret", "first"):
        assert shape(world, key).json()["prompt"] == {"system": "Be kind.", "user": "Answer: {{ input.text }}"}
    assert shape(world, "cloud").json()["prompt"] is None


def test_shape_of_a_feature_is_for_those_who_may_call_it(world: World) -> None:
    make(world, "secret", REPLY + "privacy: {mode: local_only}\n")
    assert code(shape(world, "none")) == (404, "feature_not_found")
    assert code(shape(world, "secret", "mf_sess_stranger")) == (401, "invalid_token")
    other = open_session(
        app_id=world.app_id,
        feature_key="default",
        end_user_id=world.end_user_id,
        assurance="user_token",
        ttl=60,
        now=now(),
    )
    assert code(shape(world, "secret", other.token)) == (403, "feature_not_allowed")
