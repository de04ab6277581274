"""Answers and streams as results."""

import base64
import json
import struct
from decimal import Decimal
from typing import Any

import pytest

import modelfaucet_sdk as sdk
from modelfaucet_sdk.answers import ChatAssembler, FeatureAssembler, chat_result, embeddings_result
from modelfaucet_sdk.results import Record, read_session, utc_now
from modelfaucet_sdk.sse import Event

HEADERS = {
    "x-request-id": "req_1",
    "x-modelfaucet-price-usd": "0.0003",
    "x-modelfaucet-route-mode": "byok",
    "idempotent-replayed": "true",
}


def chunk(delta: dict[str, Any], **more: Any) -> Event:
    return Event(json.dumps({"model": "m", "choices": [{"index": 0, "delta": delta}], **more}))


def test_whole_answer_is_read() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    message = {"role": "assistant", "content": "Hi", "tool_calls": [call]}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    body = {"model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage}
    result = chat_result(json.dumps(body).encode(), HEADERS)
    assert (result.text, str(result), result.model, result.finish_reason) == ("Hi", "Hi", "m", "tool_calls")
    assert result.usage == sdk.Usage(9, 2, 4) and result.usage.total_tokens == 11
    assert (result.price_usd, result.request_id, result.route_mode) == (Decimal("0.0003"), "req_1", "byok")
    assert result.meta.replayed and result.message == message
    assert result.tool_calls[0].parsed() == {"at": 1}


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b"1"])
def test_answer_of_something_else_is_an_error(body: bytes) -> None:
    with pytest.raises(sdk.UnavailableError):
        chat_result(body, {})


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [None]}, {"choices": [{"message": None}]}])
def test_empty_answer_is_an_empty_result(body: dict[str, Any]) -> None:
    assert chat_result(json.dumps(body).encode(), {}).text == ""


def test_stream_makes_parts_and_a_result() -> None:
    assembler = ChatAssembler({"x-request-id": "req_1"})
    tool = [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"a"'}}]
    more = [{"index": 0, "function": {"arguments": ": 1}"}}]
    parts: list[Any] = []
    for event in (
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({"tool_calls": tool}),
        chunk({"tool_calls": more}),
        Event('{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'),
        Event('{"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}'),
        Event("keep-alive", is_comment=True),
        Event("modelfaucet {nonsense", is_comment=True),
        Event('modelfaucet {"request_id": "req_9", "price_usd": "0.01", "estimated": true}', is_comment=True),
        Event("[DONE]"),
    ):
        assert not assembler.is_done
        parts += assembler.take(event)
    assert assembler.is_done
    called = sdk.ToolCall("c1", "look", '{"a": 1}')
    assert parts == [
        sdk.TextPart("Hel"),
        sdk.TextPart("lo"),
        sdk.UsagePart(sdk.Usage(3, 2)),
        sdk.ToolCallPart(called),
    ]
    result = assembler.result()
    assert (result.text, result.price_usd, result.request_id) == ("Hello", Decimal("0.01"), "req_9")
    assert result.tool_calls == (called,) and result.message["tool_calls"][0]["function"]["name"] == "look"
    assert result.meta.estimated and result.usage == sdk.Usage(3, 2)


def test_error_in_a_stream_is_raised() -> None:
    error = Event('{"error": {"message": "lost", "type": "api_error", "code": "provider_failed"}}')
    with pytest.raises(sdk.UnavailableError) as caught:
        ChatAssembler({}).take(error)
    assert caught.value.code == "provider_failed"
    with pytest.raises(sdk.UnavailableError):
        FeatureAssembler({}).take(Event(error.data, "error"))
    with pytest.raises(sdk.UnavailableError):
        ChatAssembler({}).take(Event("{not json"))


def test_feature_stream_ends_with_its_result() -> None:
    assembler = FeatureAssembler(HEADERS)
    assert assembler.take(Event('{"text": "Po"}', "feature.delta")) == [sdk.TextPart("Po")]
    note = {"request_id": "req_5", "price_usd": "0.5"}
    done = {
        "output": {"mood": "good"},
        "output_problem": None,
        "feature": "f",
        "request_id": "req_5",
        "modelfaucet": note,
    }
    assembler.take(Event(json.dumps(done), "feature.done"))
    result = assembler.result()
    assert assembler.is_done and result.output == {"mood": "good"} and result.text == '{"mood": "good"}'
    assert (result.request_id, result.price_usd) == ("req_5", Decimal("0.5"))


def test_embeddings_come_in_order_as_numbers_or_base64() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -1.0)).decode()
    rows = [{"index": 1, "embedding": packed}, {"index": 0, "embedding": [1, 2.5]}]
    body = json.dumps({"model": "e", "data": rows, "usage": {"prompt_tokens": 4}}).encode()
    result = embeddings_result(body, HEADERS)
    assert result.vectors == ((1.0, 2.5), (0.5, -1.0)) and result.usage.input_tokens == 4
    for wrong in ("@@", None, ["a"]):
        with pytest.raises(sdk.UnavailableError):
            embeddings_result(json.dumps({"data": [{"index": 0, "embedding": wrong}]}).encode(), {})


def test_secrets_are_not_printed() -> None:
    record = Record({"id": "vk_1", "key": "mf_key_secret", "hint": "cret"})
    assert "mf_key_secret" not in f"{record!r} {record}" and record["key"] == "mf_key_secret"
    opened = {
        "session_id": "sess_1",
        "session_token": "mf_sess_secret",
        "expires_in": 60,
        "end_user_id": "usr_1",
        "available_modes": ["platform"],
        "balance_usd": "1.5",
        "available_usd": "1.5",
    }
    session = read_session(opened, utc_now())
    assert "mf_sess_secret" not in repr(session) and session.token == "mf_sess_secret"
    faucet = sdk.Faucet("https://x.example", "app_pub_x", app_secret="mf_app_secret", developer_token="mf_dev_secret")
    bridge = sdk.Bridge("mf_local_secret")
    assert "secret" not in f"{faucet!r} {bridge!r}"
    with pytest.raises(sdk.UnavailableError):
        read_session({"session_id": "x"}, utc_now())
    faucet.close()
    bridge.close()
