"""Requests: what is replaced, what stays byte for byte, and what cannot be redacted."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.gateway.privacy import DETECTORS, Redactor, Restorer
from apps.gateway.privacy.detect import Match, detect, merge

PII = "a@b.co"


def members(**values: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in values.items()}


def plain(redacted: dict[str, msgspec.Raw]) -> dict[str, Any]:
    return {name: json.loads(bytes(raw)) for name, raw in redacted.items()}


def redact(redactor: Redactor | None = None, **values: Any) -> dict[str, Any]:
    return plain((redactor or Redactor()).redact_members(members(**values)))


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": content}]


def restore(redactor: Redactor, text: str) -> str:
    body = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]}).encode()
    return str(json.loads(redactor.restorer().restore_json(body))["choices"][0]["message"]["content"])


def test_the_same_value_has_the_same_placeholder() -> None:
    redactor = Redactor()
    assert redactor.redact_text("a@b.co, c@d.co and a@b.co") == "[EMAIL_1], [EMAIL_2] and [EMAIL_1]"
    assert redactor.redact_text("c@d.co") == "[EMAIL_2]"
    assert redactor.originals == {"[EMAIL_1]": "a@b.co", "[EMAIL_2]": "c@d.co"}
    assert redactor.counts == {"email": 4}


def test_every_kind_has_a_placeholder_that_is_put_back() -> None:
    text = (
        "a@b.co +14155552671 4111111111111111 DE89370400440532013000 11010519491231002X 10.1.2.3 "
        "sk-1234567890abcdef1234567890abcdef 10 Downing Street"
    )
    redactor = Redactor()
    redacted = redactor.redact_text(text)
    assert redacted == "[EMAIL_1] [PHONE_1] [CARD_1] [IBAN_1] [ID_CARD_1] [IP_1] [KEY_1] [ADDRESS_1]"
    assert set(redactor.counts) == set(DETECTORS)
    assert restore(redactor, redacted) == text


def test_only_the_named_detectors_are_asked() -> None:
    redactor = Redactor(detectors=("phone",))
    assert redactor.redact_text("a@b.co +14155552671") == "a@b.co [PHONE_1]"


def test_unknown_detector_is_refused() -> None:
    with pytest.raises(ValueError, match="no detector: emial"):
        Redactor(detectors=("email", "emial"))


def test_overlapping_matches_become_one_and_nothing_found_is_left() -> None:
    assert merge([Match(0, 4, "phone"), Match(2, 12, "card")]) == [Match(0, 12, "card")]
    assert merge([Match(0, 8, "ip"), Match(0, 8, "email")]) == [Match(0, 8, "email")]
    assert merge([Match(6, 9, "ip"), Match(0, 3, "ip"), Match(2, 7, "key")]) == [Match(0, 9, "key")]
    assert [match.kind for match in detect("11010519491231002X 4111111111111111")] == ["chinese_id", "card"]


def test_a_literal_that_reads_like_a_placeholder_survives_in_any_order() -> None:
    for text in ("[EMAIL_1] a@b.co", "a@b.co [EMAIL_1]", "[EMAIL_1] a@b.co [EMAIL_2] c@d.co [EMAIL_3] [TEXT_1]"):
        redactor = Redactor()
        pieces = [redactor.redact_text(piece) for piece in text.split(" ")]
        assert "@" not in "".join(pieces)
        assert restore(redactor, " ".join(pieces)) == text
    redactor = Redactor()
    assert redactor.redact_text("[EMAIL_1] is a@b.co") == "[EMAIL_1] is [EMAIL_2]"
    assert redactor.redact_text("[EMAIL_2]") == "[TEXT_1]"
    assert redactor.counts == {"email": 1}


def test_a_literal_in_a_tool_is_kept_off() -> None:
    redactor = Redactor()
    tools = [{"type": "function", "function": {"name": "send", "description": "to: [EMAIL_1]"}}]
    redacted = redact(redactor, messages=user(PII), tools=tools)
    assert redacted["messages"][0]["content"] == "[EMAIL_2]"
    assert redacted["tools"] == tools


pieces = st.one_of(
    st.sampled_from(
        ["a@b.co", "[EMAIL_1]", "[EMAIL_2]", "[TEXT_1]", "[FIELD_1]", "+14155552671", "[", "]", "EMAIL_1", "_"]
    ),
    st.text(alphabet='ab1[]_E@."\\{}: \n号', max_size=8),
)


@given(st.lists(st.lists(pieces, max_size=8).map("".join), min_size=1, max_size=4))
def test_any_text_survives_the_round_trip(texts: list[str]) -> None:
    redactor = Redactor(sensitive_fields=("b",))
    redacted = [redactor.redact_text(text) for text in texts]
    restorer = Restorer(redactor.originals)
    for text, masked in zip(texts, redacted, strict=True):
        if not _is_json(text):
            assert restorer._restore(masked, is_json=False) == text
        elif not redactor.counts.get("field"):  # a masked field may have held something other than a string
            assert json.loads(restorer._restore(masked, is_json=True)) == json.loads(text)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except ValueError:
        return False


# -- where ----------------------------------------------------------------------------------------------------------


def test_a_request_without_personal_data_is_the_one_that_was_given() -> None:
    given = members(
        model="m", messages=[*user("hello"), {"role": "tool", "tool_call_id": "x", "content": '{"a": 1}'}], n=1
    )
    redacted = Redactor().redact_members(given)
    assert all(redacted[name] is raw for name, raw in given.items())


def test_string_content_and_text_parts() -> None:
    messages = [
        {"role": "system", "content": f"for {PII}"},
        *user([{"type": "text", "text": PII, "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "x"}]),
        {"role": "assistant", "content": None, "refusal": PII, "reasoning_content": PII, "name": PII},
    ]
    redactor = Redactor()
    assert redact(redactor, messages=messages)["messages"] == json.loads(json.dumps(messages).replace(PII, "[EMAIL_1]"))
    assert redactor.unredactable is False


def test_identifiers_of_the_conversation_stay() -> None:
    call = {"id": "call_13812345678", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a@b.co", "content": "ok"},
    ]
    assert redact(messages=messages)["messages"] == messages


def test_tool_call_arguments_stay_valid_json() -> None:
    arguments = (
        '{ "to" : "a@b.co",\n "n": 1.10, "body": "say \\"hi\\" to \\u0063@d.co", "tel": 13812345678, "x": [1, null]}'
    )
    calls = [
        {"id": "1", "type": "function", "function": {"name": "send", "arguments": arguments}},
        {"id": "2", "type": "custom", "custom": {"name": "sql", "input": f"select '{PII}'"}},
    ]
    redacted = redact(messages=[{"role": "assistant", "content": None, "tool_calls": calls}])["messages"][0][
        "tool_calls"
    ]
    assert redacted[0]["function"]["arguments"] == (
        '{ "to" : "[EMAIL_1]",\n "n": 1.10, "body": "say \\"hi\\" to [EMAIL_2]", "tel": "[PHONE_1]", "x": [1, null]}'
    )
    assert redacted[1]["custom"]["input"] == "select '[EMAIL_1]'"


def test_arguments_that_are_no_json_are_redacted_as_text() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "send", "arguments": f'{{"to": "{PII}'}}
    redacted = redact(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}])
    assert redacted["messages"][0]["tool_calls"][0]["function"]["arguments"] == '{"to": "[EMAIL_1]'


def test_tool_results_with_escaped_text() -> None:
    result = json.dumps({"地址": "北京市朝阳区建国路88号", "inner": json.dumps({"mail": "x\ta@b.co"})})
    assert "\\u" in result
    redacted = redact(messages=[{"role": "tool", "tool_call_id": "1", "content": result}])["messages"][0]["content"]
    assert json.loads(redacted)["地址"] == "[ADDRESS_1]"
    assert json.loads(json.loads(redacted)["inner"]) == {"mail": "x\t[EMAIL_1]"}


def test_members_beside_the_messages() -> None:
    values = {
        "user": PII,
        "metadata": {"mail": PII, "n": "1"},
        "prediction": {"type": "content", "content": [{"type": "text", "text": PII}]},
        "input": [PII, "x"],
        "stop": [PII],
        "documents": [{"text": PII}],
        "temperature": 0.5,
        "seed": 13812345678,
    }
    redactor = Redactor()
    assert redact(redactor, **values) == json.loads(json.dumps(values).replace(PII, "[EMAIL_1]"))
    assert redactor.unredactable is False


def test_what_the_app_wrote_is_left_alone() -> None:
    values = {
        "tools": [{"type": "function", "function": {"name": "f", "description": PII}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"description": PII}}},
        "model": PII,
    }
    assert redact(**values) == values


def test_names_in_json_are_redacted_too() -> None:
    assert Redactor().redact_text('{"a@b.co": 1}') == '{"[EMAIL_1]": 1}'


@pytest.mark.parametrize(
    "values",
    [
        {"messages": user([{"type": "image_url", "image_url": {"url": "https://x/y.png"}}])},
        {"messages": user([{"type": "text", "text": "x"}, {"type": "file", "file": {"file_data": "data:,x"}}])},
        {"messages": user([{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}])},
        {"messages": user([{"type": "what_is_this"}])},
        {"messages": user([{"type": ["odd"]}])},
        {"messages": [{"role": "assistant", "content": "x", "audio": {"id": "1"}}]},
        {"input": [1, 2, 3]},
        {"input": [[1, 2], [3]]},
    ],
)
def test_what_is_no_text_is_reported(values: dict[str, Any]) -> None:
    redactor = Redactor()
    assert redact(redactor, **values) == values
    assert redactor.unredactable is True


# -- sensitive fields -----------------------------------------------------------------------------------------------


def test_sensitive_fields_are_masked_wholly_in_any_case() -> None:
    redactor = Redactor(sensitive_fields=("password", "Medical"))
    text = '{"PassWord": "hunter2", "medical": {"a": [1, {"b": "c"}]}, "password": null, "x": {"MEDICAL": 3.5}}'
    redacted = redactor.redact_text(text)
    assert json.loads(redacted) == {
        "PassWord": "[FIELD_1]",
        "medical": "[FIELD_2]",
        "password": None,
        "x": {"MEDICAL": "[FIELD_3]"},
    }
    assert redactor.counts == {"field": 3}
    assert redactor.originals["[FIELD_2]"] == '{"a": [1, {"b": "c"}]}'


@pytest.mark.parametrize("role", ["user", "tool"])
def test_sensitive_fields_in_messages(role: str) -> None:
    redactor = Redactor(sensitive_fields=("ssn",))
    message = {"role": role, "tool_call_id": "1", "content": '[{"ssn": "12"}, {"ssn": "12"}, {"ssn": 12, "ok": "ssn"}]'}
    content = redact(redactor, messages=[message])["messages"][0]["content"]
    assert content == '[{"ssn": "[FIELD_1]"}, {"ssn": "[FIELD_1]"}, {"ssn": "[FIELD_1]", "ok": "ssn"}]'


def test_sensitive_fields_in_arguments_inputs_and_prose() -> None:
    redactor = Redactor(sensitive_fields=("name",))
    call = {"id": "1", "type": "function", "function": {"name": "send", "arguments": '{"name": "Ann"}'}}
    message = {"role": "assistant", "content": 'got {"name": "Ann", "age": 3} and "name" of', "tool_calls": [call]}
    redacted = redact(redactor, messages=[message])["messages"][0]
    assert redacted["tool_calls"][0]["function"] == {"name": "send", "arguments": '{"name": "[FIELD_1]"}'}
    assert redacted["content"] == 'got {"name": "[FIELD_1]", "age": 3} and "name" of'
    assert redactor.redact_value({"name": ["Ann"], "note": PII, "n": 1.5}) == {
        "name": "[FIELD_2]",
        "note": "[EMAIL_1]",
        "n": 1.5,
    }


def test_half_a_character_in_json_does_no_harm() -> None:
    assert Redactor().redact_text('{"a": "\\ud83d a@b.co"}') == '{"a": "\\ud83d [EMAIL_1]"}'


def test_deep_json_does_no_harm() -> None:
    text = "[" * 50_000 + '"a@b.co"' + "]" * 50_000
    assert "@" not in Redactor().redact_text(text)
    deep = msgspec.Raw(b'{"x":' * 900 + b'"a@b.co"' + b"}" * 900)
    assert b"@" not in bytes(Redactor().redact_members({"metadata": deep})["metadata"])


# -- conversations --------------------------------------------------------------------------------------------------


def test_a_growing_conversation_keeps_its_placeholders() -> None:
    first = user("a@b.co")
    thinking = {"type": "thinking", "thinking": "The user [EMAIL_1]", "signature": "sig"}
    second = [
        *first,
        {"role": "assistant", "content": "hi a@b.co", "thinking_blocks": [thinking]},
        *user("and [EMAIL_1], c@d.co"),
    ]
    assert redact(messages=first)["messages"] == redact(messages=second)["messages"][:1]
    redacted = redact(messages=second)["messages"]
    assert redacted[1] == {"role": "assistant", "content": "hi [EMAIL_1]", "thinking_blocks": [thinking]}
    assert redacted[2]["content"] == "and [TEXT_1], [EMAIL_2]"


def test_thinking_that_was_shown_to_the_user_goes_back_as_it_was_signed() -> None:
    thinking = {"type": "thinking", "thinking": "The user a@b.co", "signature": "a@b.co"}
    messages = [*user("a@b.co"), {"role": "assistant", "content": "x", "thinking_blocks": [thinking]}]
    block = redact(messages=messages)["messages"][1]["thinking_blocks"][0]
    assert block == {"type": "thinking", "thinking": "The user [EMAIL_1]", "signature": "a@b.co"}


def test_known_values_are_masked_wherever_they_stand_in_any_case() -> None:
    redactor = Redactor(values=["Jane Roe", "Roe", 'a "b"'])
    text = 'JANE ROE met Roe: {"x": "a \\"b\\""} and Monroe'
    redacted = redactor.redact_text(text)
    assert redacted == '[FIELD_1] met [FIELD_2]: {"x": "[FIELD_3]"} and Mon[FIELD_4]'
    assert restore(redactor, redacted) == text
    assert redactor.counts == {"field": 4}
    assert redact(Redactor(values=["Li"]), messages=user([{"type": "text", "text": "Li"}]))["messages"] == user(
        [{"type": "text", "text": "[FIELD_1]"}]
    )


def test_short_known_values_do_not_break_longer_words() -> None:
    redactor = Redactor(values=["42", "Li", "王"])
    assert redactor.redact_text("Li is 42y, 142 lions; 王先生") == "[FIELD_1] is [FIELD_2]y, 142 lions; [FIELD_3]先生"


def test_known_values_in_json_and_among_letters_that_change_their_length() -> None:
    redactor = Redactor(values=["Jane"])
    assert redactor.redact_text('{"who": "jane", "n": 1}') == '{"who": "[FIELD_1]", "n": 1}'
    assert Redactor(values=["jane"]).redact_text("İ jane") == "İ [FIELD_1]"


@pytest.mark.parametrize(
    ("values", "text"), [([f"v{n}" for n in range(1_001)], "x"), (["aaa", "aa", "a"], "a " * 100_001)]
)
def test_too_many_known_values_cannot_be_redacted(values: list[str], text: str) -> None:
    redactor = Redactor(values=values)
    redactor.redact_text(text)
    assert redactor.unredactable


@given(st.lists(st.text("ab[]1_EMAIL ", max_size=6), max_size=4), st.text("abc[]1_EMAIL ", max_size=60))
def test_known_values_come_back(values: list[str], text: str) -> None:
    redactor = Redactor(values=values)
    redacted = redactor.redact_text(text)
    assert restore(redactor, redacted) == text
    assert len(redacted) <= len(text) + redactor.growth
