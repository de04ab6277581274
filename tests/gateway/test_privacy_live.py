"""Privacy over real sockets: what a cloud provider sees, what the caller gets back, and what is refused."""

import json
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import update_offer
from apps.core.clock import now
from apps.features.queries import features_of_app
from apps.features.services.features import create_feature
from apps.features.services.manifests import put_manifest
from apps.gateway.tokens import count_tokens
from tests.live import ACTOR, MODEL, World, differences, rate_all
from tests.provider_double import Behaviour, ProviderDouble

EMAIL = "jane.roe@example.com"
PHONE = "+44 20 7946 0958"
REDACT = "privacy: {mode: redact_before_cloud}"
BY: dict[str, Any] = {"actor": ACTOR}
TOOLS = [{"type": "function", "function": {"name": "send", "parameters": {"type": "object"}}}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}


def publish(world: World, source: str, key: str = "default") -> None:
    """Give a feature of the app a manifest before anybody has called it."""
    ids = {feature.key: feature.id for feature in features_of_app(world.app_id)}
    if key not in ids:
        ids[key] = create_feature(app_id=world.app_id, key=key, name=key, now=now(), **BY)
    put_manifest(feature_id=ids[key], source=source, source_format="yaml", may_price=True, now=now(), **BY)


def post(world: World, path: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    return httpx.post(f"{world.base_url}{path}", json=body, headers=world.headers(**headers), timeout=30)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, str(response.json()["error"]["code"])


def sse(*deltas: dict[str, Any], finish: str = "stop") -> Behaviour:
    """Return a stream of these deltas, cut exactly so."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    chunks = [{**head, "choices": [choice]} for choice in choices] + [{**head, "choices": [], "usage": usage}]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    return Behaviour(raw=body.encode(), content_type="text/event-stream")


def content_of(text: str) -> str:
    """Return what a chat completion's stream says."""
    chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def assert_settled(world: World, redactions: int) -> None:
    event = world.wait_for_event()
    assert (event.redactions, event.outcome) == (redactions, "finished")
    rate_all()
    assert differences() == []


def test_chat_is_redacted_for_the_provider_and_restored_for_the_caller(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    double.script(Behaviour(text="I wrote to [EMAIL_1] and rang [PHONE_1]; [EMAIL_7] is unknown."))
    answer = world.chat(f"Write to {EMAIL}, ring {PHONE}, then {EMAIL} again.")
    assert answer.status_code == 200, answer.text
    said = answer.json()["choices"][0]["message"]["content"]
    assert said == f"I wrote to {EMAIL} and rang {PHONE}; [EMAIL_7] is unknown."
    sent = double.requests[0].body["messages"][0]["content"]
    assert sent == "Write to [EMAIL_1], ring [PHONE_1], then [EMAIL_1] again."
    assert EMAIL.encode() not in double.requests[0].raw_body
    assert_settled(world, 3)


def test_without_personal_data_nothing_changes(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    body = world.body("Hello", temperature=0.5)
    answer = post(world, "/v1/chat/completions", body)
    assert answer.status_code == 200
    sent = dict(double.requests[0].body)
    assert {name: sent[name] for name in body} == body
    assert_settled(world, 0)


def test_mode_allow_redacts_nothing(world: World, double: ProviderDouble) -> None:
    assert world.chat(f"Write to {EMAIL}").status_code == 200
    assert double.requests[0].body["messages"][0]["content"] == f"Write to {EMAIL}"
    assert_settled(world, 0)


def test_policy_privacy_first_redacts_for_a_cloud(world: World, double: ProviderDouble) -> None:
    double.script(Behaviour(text="Done: [EMAIL_1]"))
    answer = world.chat(f"Write to {EMAIL}", modelfaucet={"policy": "privacy_first"})
    assert answer.json()["choices"][0]["message"]["content"] == f"Done: {EMAIL}"
    assert double.requests[0].body["messages"][0]["content"] == "Write to [EMAIL_1]"
    assert_settled(world, 1)


def test_named_detectors_and_fields_are_what_is_masked(world: World, double: ProviderDouble) -> None:
    publish(world, "privacy: {mode: redact_before_cloud, detectors: [email], sensitive_fields: [name]}")
    world.chat(json.dumps({"Name": "Jane", "to": EMAIL, "phone": PHONE}))
    sent = json.loads(double.requests[0].body["messages"][0]["content"])
    assert sent == {"Name": "[FIELD_1]", "to": "[EMAIL_1]", "phone": PHONE}
    assert_settled(world, 2)


def test_stream_restores_a_placeholder_split_over_chunks(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    double.script(
        sse(*({"content": piece} for piece in ("To ", "[", "EMA", "IL_1", "] and [EM", "PTY] [PHONE_", "1]")))
    )
    with world.stream(f"Write to {EMAIL} or {PHONE}") as response:
        text = response.read().decode()
    assert content_of(text) == f"To {EMAIL} and [EMPTY] {PHONE}"
    assert text.rstrip().endswith("data: [DONE]")
    assert_settled(world, 2)


def test_stream_that_ends_within_a_placeholder_loses_nothing(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    events = sse({"content": "To [EMAIL"}).raw.split(b"\n\n")
    without_finish = b"\n\n".join([events[0], *events[2:]])
    double.script(Behaviour(raw=without_finish, content_type="text/event-stream"))
    with world.stream(f"Write to {EMAIL}") as response:
        text = response.read().decode()
    assert content_of(text) == "To [EMAIL"
    assert text.rstrip().endswith("data: [DONE]")


def test_arguments_of_a_streamed_tool_call_stay_valid_json(world: World, double: ProviderDouble) -> None:
    publish(world, "privacy: {mode: redact_before_cloud, sensitive_fields: [note]}")
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "send", "arguments": ""}}
    pieces = ('{"to": "[EM', 'AIL_1]", "note"', ': "[FIELD', '_1]"}')
    deltas = [{"tool_calls": [call]}] + [
        {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces
    ]
    double.script(sse(*deltas, finish="tool_calls"))
    asked = json.dumps({"to": EMAIL, "note": 'He said "hi"\n'})
    with world.stream(asked, tools=TOOLS) as response:
        lines = response.read().decode().splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    calls = [made for chunk in chunks for each in chunk["choices"] for made in each["delta"].get("tool_calls", ())]
    assert json.loads("".join(made["function"]["arguments"] for made in calls)) == {
        "to": EMAIL,
        "note": 'He said "hi"\n',
    }
    assert double.requests[0].body["tools"] == TOOLS
    assert_settled(world, 2)


def test_results_and_arguments_in_the_conversation_are_redacted(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    call = {"id": "c", "type": "function", "function": {"name": "find", "arguments": json.dumps({"q": EMAIL})}}
    messages = [
        {"role": "user", "content": "Who is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": json.dumps({"mail": EMAIL})},
    ]
    assert post(world, "/v1/chat/completions", {"model": MODEL, "messages": messages}).status_code == 200
    assert EMAIL.encode() not in double.requests[0].raw_body
    assert double.requests[0].raw_body.count(b"[EMAIL_1]") == 2


@pytest.mark.parametrize("stream", [False, True])
def test_messages_of_anthropic(world: World, double: ProviderDouble, stream: bool) -> None:
    publish(world, REDACT)
    double.script(sse({"content": "To [EMAI"}, {"content": "L_1]."}) if stream else Behaviour(text="To [EMAIL_1]."))
    body = {
        "model": MODEL,
        "max_tokens": 50,
        "system": f"You serve {EMAIL}.",
        "messages": [{"role": "user", "content": [{"type": "text", "text": f"Ring {PHONE}"}]}],
        "stream": stream,
    }
    answer = post(world, "/v1/messages", body)
    assert answer.status_code == 200, answer.text
    if stream:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        said = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    else:
        said = answer.json()["content"][0]["text"]
    assert said == f"To {EMAIL}."
    assert EMAIL.encode() not in double.requests[0].raw_body and b"7946" not in double.requests[0].raw_body
    assert_settled(world, 2)


@pytest.mark.parametrize("stream", [False, True])
def test_responses_of_openai(world: World, double: ProviderDouble, stream: bool) -> None:
    publish(world, REDACT)
    double.script(sse({"content": "To [EMAI"}, {"content": "L_1]."}) if stream else Behaviour(text="To [EMAIL_1]."))
    body = {"model": MODEL, "instructions": "Be kind.", "input": f"Write to {EMAIL}", "stream": stream, "store": False}
    answer = post(world, "/v1/responses", body)
    assert answer.status_code == 200, answer.text
    if stream:
        events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
        said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        result = events[-1]["response"]
    else:
        result = answer.json()
        said = result["output"][0]["content"][0]["text"]
    assert said == f"To {EMAIL}." == result["output"][0]["content"][0]["text"]
    assert EMAIL.encode() not in double.requests[0].raw_body
    assert_settled(world, 1)


def test_sensitive_input_of_a_feature_is_masked_wherever_the_prompt_shows_it(
    world: World, double: ProviderDouble
) -> None:
    publish(
        world,
        f"""
models: {{default: {MODEL}}}
privacy: {{mode: redact_before_cloud, sensitive_fields: [name, age]}}
prompt:
  system: "Speak of {{{{ input.patient.name | upper }}}} kindly, 142 times."
  user: "{{{{ input.patient.name }}}} ({{{{ input.patient.age }}}}y): {{{{ input.text }}}}"
""",
        key="care",
    )
    double.script(Behaviour(text="Dear [FIELD_2]"))
    body = {"input": {"patient": {"name": "Jane Roe", "age": 42}, "text": "jane roe is unwell"}}
    answer = post(world, "/v1/features/care", body)
    assert answer.status_code == 200, answer.text
    system, user = (message["content"] for message in double.requests[0].body["messages"])
    assert system == "Speak of [FIELD_1] kindly, 142 times."
    assert user == "[FIELD_2] ([FIELD_3]y): [FIELD_4] is unwell"
    assert answer.json()["output"] == "Dear Jane Roe"
    assert_settled(world, 4)


def test_embeddings_are_redacted(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    update_offer(world.offers[0], capabilities=("embeddings",), now=now(), **BY)
    answer = post(world, "/v1/embeddings", {"model": MODEL, "input": [f"Mail {EMAIL}", "plain"]})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 2
    assert double.embeddings[0].body["input"] == ["Mail [EMAIL_1]", "plain"]
    assert_settled(world, 1)


def test_tokens_in_place_of_text_are_refused(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    update_offer(world.offers[0], capabilities=("embeddings",), now=now(), **BY)
    assert code(post(world, "/v1/embeddings", {"model": MODEL, "input": [1, 2, 3]})) == (400, "redaction_impossible")
    assert not double.embeddings


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [("refuse", (400, "redaction_impossible")), ("local_only", (503, "local_bridge_unavailable"))],
)
def test_what_cannot_be_redacted_reaches_no_cloud(
    world: World, double: ProviderDouble, fallback: str, expected: tuple[int, str]
) -> None:
    publish(world, f"privacy: {{mode: redact_before_cloud, fallback: {fallback}}}")
    update_offer(world.offers[0], capabilities=("chat", "stream", "vision"), now=now(), **BY)
    before = world.balance()
    body = {"model": MODEL, "messages": [{"role": "user", "content": [{"type": "text", "text": "What?"}, IMAGE]}]}
    # With the same Idempotency-Key twice: a call that is refused keeps none.
    for _ in range(2):
        assert code(post(world, "/v1/chat/completions", body, idempotency_key="k")) == expected
    assert not double.requests and not double.other_requests
    assert world.balance() == before


@pytest.mark.parametrize("member", ['"user": "\\ud800x"', '"metadata": {"a": "\\ud800x"}', '"stop": ["\\ud800"]'])
def test_half_a_character_where_nobody_looks_is_refused(world: World, double: ProviderDouble, member: str) -> None:
    publish(world, REDACT)
    body = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "Hi {EMAIL}"}}], {member}}}'
    answer = httpx.post(f"{world.base_url}/v1/chat/completions", content=body, headers=world.headers(), timeout=30)
    assert answer.status_code == 200 or code(answer) == (400, "invalid_json")
    assert EMAIL not in "".join(request.raw_body.decode() for request in double.requests)


def test_local_only_reaches_no_cloud(world: World, double: ProviderDouble) -> None:
    publish(world, "privacy: {mode: local_only}")
    for path, body in (
        ("/v1/chat/completions", world.body("Hi")),
        ("/v1/chat/completions", world.body("Hi", modelfaucet={"policy": "platform_pool"})),
        ("/v1/messages", world.body("Hi", max_tokens=5)),
        ("/v1/responses", {"model": MODEL, "input": "Hi"}),
        ("/v1/embeddings", {"model": MODEL, "input": "Hi"}),
    ):
        assert code(post(world, path, body)) == (503, "local_bridge_unavailable")
    assert not double.requests and not double.embeddings and not double.other_requests


def test_replay_gives_the_restored_answer(world: World, double: ProviderDouble) -> None:
    publish(world, REDACT)
    double.script(Behaviour(text="To [EMAIL_1]"))
    first = world.chat(f"Write to {EMAIL}", headers={"idempotency-key": "once"})
    again = world.chat(f"Write to {EMAIL}", headers={"idempotency-key": "once"})
    assert first.content == again.content and EMAIL.encode() in again.content
    assert len(double.requests) == 1


def test_redacted_prompt_is_held_for_where_it_is_longer(world: World, double: ProviderDouble) -> None:
    publish(world, "privacy: {mode: redact_before_cloud, sensitive_fields: [a]}")
    short = json.dumps([{"a": "x"}] * 200)
    double.script(Behaviour(usage="missing", text="ok"))
    quote = post(world, "/v1/estimate", world.body(short, max_tokens=5)).json()
    answer = world.chat(short, max_tokens=5)
    assert answer.status_code == 200
    sent = double.requests[0].body["messages"][0]["content"]
    assert sent.count("[FIELD_1]") == 200
    assert quote["prompt_tokens"] > count_tokens(sent, "o200k_base") > count_tokens(short, "o200k_base")
    assert_settled(world, 200)


def test_prompt_hash_is_kept_where_asked_and_tells_equal_prompts(world: World, double: ProviderDouble) -> None:
    publish(world, "privacy: {prompt_hash: true}")
    answers = [world.chat("Hello"), world.chat("Hello", temperature=0), world.chat("Hello!")]
    hashes = [world.event(answer).prompt_hash for answer in answers]
    assert hashes[0] == hashes[1] != hashes[2]
    assert all(hash_ is not None and len(hash_) == 64 for hash_ in hashes)
    messages = json.dumps([{"content": "Hello", "role": "user"}], indent=2)
    spelt = f'{{"model": "{MODEL}", "messages": {messages}}}'
    again = httpx.post(f"{world.base_url}/v1/chat/completions", content=spelt, headers=world.headers(), timeout=30)
    assert world.event(again).prompt_hash == hashes[0]


def test_prompt_hash_is_not_kept_unasked(world: World, double: ProviderDouble) -> None:
    assert world.event(world.chat("Hello")).prompt_hash is None
