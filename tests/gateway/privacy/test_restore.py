"""Answers: the values come back, in one piece or in streams that are cut anywhere."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.gateway.privacy import Restorer
from apps.gateway.privacy import restore as module

ORIGINALS = {"[EMAIL_1]": "a@b.co", "[EMAIL_12]": "c@d.co", "[FIELD_1]": 'say "hi"\n\\ é', "[TEXT_1]": "[EMAIL_1]"}
SHOWN = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: dict[str, Any], *, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({**SHOWN, "choices": [choice], **more}, separators=(",", ":")).encode() + b"\n\n"


def say(text: str, **more: Any) -> bytes:
    return chunk({"content": text}, **more)


def chunks(data: bytes) -> list[dict[str, Any]]:
    payloads = [event.removeprefix(b"data: ") for event in data.split(b"\n\n") if event.startswith(b"data: ")]
    return [json.loads(payload) for payload in payloads if payload != b"[DONE]"]


def gathered(data: bytes) -> dict[tuple[Any, ...], str]:
    """Return the texts of a stream by choice and place."""
    texts: dict[tuple[Any, ...], str] = defaultdict(str)
    for event in chunks(data):
        for choice in event["choices"]:
            for name, value in choice["delta"].items():
                if name == "tool_calls":
                    for call in value:
                        kind = "function" if "function" in call else "custom"
                        for key, text in call.get(kind, {}).items():
                            texts[choice["index"], kind, call["index"], key] += text
                elif isinstance(value, str):
                    texts[choice["index"], name] += value
    return {place: text for place, text in texts.items() if text}


def stream(events: Iterable[bytes], originals: dict[str, str] = ORIGINALS, **more: Any) -> bytes:
    restorer = Restorer(originals, **more)
    return b"".join([*map(restorer.feed, events), restorer.flush()])


def answer(message: dict[str, Any]) -> bytes:
    return json.dumps({"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def restored(message: dict[str, Any], originals: dict[str, str] = ORIGINALS) -> dict[str, Any]:
    whole = json.loads(Restorer(originals).restore_json(answer(message)))
    return dict(whole["choices"][0]["message"])


# -- whole answers --------------------------------------------------------------------------------------------------


def test_every_text_of_a_message_is_restored() -> None:
    message = {
        "role": "assistant",
        "content": "to [EMAIL_1] and [EMAIL_12], not [EMAIL_2]",
        "reasoning_content": "[EMAIL_1]",
        "refusal": "[EMAIL_1]",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": "[FIELD_1]"}'}},
            {"id": "2", "type": "custom", "custom": {"name": "g", "input": "[FIELD_1]"}},
        ],
        "function_call": {"name": "f", "arguments": '{"x": "[EMAIL_1]"}'},
    }
    result = restored(message)
    assert result["content"] == "to a@b.co and c@d.co, not [EMAIL_2]"
    assert result["reasoning_content"] == result["refusal"] == "a@b.co"
    assert json.loads(result["tool_calls"][0]["function"]["arguments"]) == {"x": ORIGINALS["[FIELD_1]"]}
    assert result["tool_calls"][1]["custom"]["input"] == ORIGINALS["[FIELD_1]"]
    assert json.loads(result["function_call"]["arguments"]) == {"x": "a@b.co"}


def test_content_that_is_json_stays_json() -> None:
    assert json.loads(restored({"content": ' {"x": "[FIELD_1]"}'})["content"]) == {"x": ORIGINALS["[FIELD_1]"]}
    assert json.loads(restored({"content": '["[FIELD_1]"]'})["content"]) == [ORIGINALS["[FIELD_1]"]]
    assert restored({"content": "[FIELD_1]"})["content"] == ORIGINALS["[FIELD_1]"]


def test_content_in_parts_is_restored() -> None:
    assert restored({"content": [{"type": "text", "text": "[EMAIL_1]"}]})["content"] == [
        {"type": "text", "text": "a@b.co"}
    ]


def test_what_was_put_back_is_not_read_again() -> None:
    assert restored({"content": "[TEXT_1]"})["content"] == "[EMAIL_1]"


def test_signed_thinking_is_left_alone() -> None:
    blocks = [{"type": "thinking", "thinking": "[EMAIL_1]", "signature": "s"}]
    assert restored({"content": "[EMAIL_1]", "thinking_blocks": blocks}) == {
        "content": "a@b.co",
        "thinking_blocks": blocks,
    }


@pytest.mark.parametrize(
    "body",
    [answer({"content": "[EMAIL_7] _"}), b"", b"not json [EMAIL_1]", b'{"error": "[EMAIL_1]"}', b"[" * 9_000 + b"_"],
)
def test_a_body_without_our_placeholders_is_returned_as_it_came(body: bytes) -> None:
    assert Restorer(ORIGINALS).restore_json(body) is body


def test_an_escaped_bracket_is_one() -> None:
    assert (
        json.loads(Restorer(ORIGINALS).restore_json(answer({"content": "X1]"}).replace(b"X", b"\\u005bEMAIL\\u005f")))[
            "choices"
        ][0]["message"]["content"]
        == "a@b.co"
    )


def test_an_answer_does_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GROWTH", 250)
    assert restored({"content": "[FIELD_1]" * 4}, {"[FIELD_1]": "x" * 109})["content"] == "x" * 218 + "[FIELD_1]" * 2


# -- streams --------------------------------------------------------------------------------------------------------


def test_a_placeholder_in_pieces_is_restored_at_once_when_it_ends() -> None:
    restorer = Restorer(ORIGINALS)
    assert gathered(restorer.feed(say("to [EM"))) == {(0, "content"): "to "}
    assert restorer.feed(say("AIL_1")) == b""
    assert gathered(restorer.feed(say("] and"))) == {(0, "content"): "a@b.co and"}
    assert restorer.flush() == b""


def test_no_more_is_held_than_may_be_a_placeholder() -> None:
    restorer = Restorer(ORIGINALS)
    restorer.feed(say("so "))
    for text, shown in (("a [b", "a [b"), ("x [EX", "x [EX"), ("[EMAIL_1", ""), ("3", "[EMAIL_13"), ("] [[", "] [")):
        assert gathered(restorer.feed(say(text))).get((0, "content"), "") == shown
    assert gathered(restorer.flush()) == {(0, "content"): "["}


def test_events_that_need_no_change_are_the_bytes_that_came() -> None:
    odd = b'data: {"choices": [ {"index":0, "delta" :{"content":"x"}} ]}\n\n'
    events = [
        chunk({"role": "assistant", "content": ""}),
        b": ping\n\n",
        odd,
        say("a list [1]"),
        chunk({"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": ""}}]}),
        chunk({}, finish="stop"),
        b'data: {"choices":[],"usage":{"prompt_tokens":1}}\n\n',
        b"data: not json [\n\n",
        b"data: [DONE]\n\n",
    ]
    restorer = Restorer(ORIGINALS)
    assert [restorer.feed(event) for event in events] == events
    assert restorer.flush() == b""


def test_without_placeholders_nothing_is_looked_at() -> None:
    assert stream([say("[EMAIL_1]")], {}) == say("[EMAIL_1]")


def test_held_text_comes_ahead_of_the_finish_reason() -> None:
    out = chunks(stream([say("so [EMAIL"), chunk({}, finish="stop")]))
    assert [choice["choices"][0]["delta"] for choice in out] == [{"content": "so "}, {"content": "[EMAIL"}, {}]
    assert out[1] == {**SHOWN, "choices": [{"index": 0, "delta": {"content": "[EMAIL"}, "finish_reason": None}]}
    assert out[2]["choices"][0]["finish_reason"] == "stop"


def test_text_beside_the_finish_reason_is_not_held() -> None:
    out = chunks(stream([say("so [EM"), say("AIL_1] [EM", finish="length")]))
    assert out[-1]["choices"][0] == {"index": 0, "delta": {"content": "a@b.co [EM"}, "finish_reason": "length"}


def test_held_text_comes_ahead_of_the_end_marker_and_of_a_broken_end() -> None:
    assert stream([say("[EM"), b"data: [DONE]\n\n"]).endswith(b"data: [DONE]\n\n")
    assert gathered(stream([say("[EM"), b"data: [DONE]\n\n"])) == {(0, "content"): "[EM"}
    assert gathered(stream([say("x [EM"), say("AIL_1]").rstrip()])) == {(0, "content"): "x a@b.co"}


def test_a_chunk_with_more_than_held_text_is_kept() -> None:
    out = chunks(stream([chunk({"role": "assistant", "content": "[EM"}, usage={"prompt_tokens": 1}), say("AIL_1]")]))
    assert out[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    out = chunks(stream([say("[EM", usage={"prompt_tokens": 1}), say("AIL_1]")]))
    assert (out[0]["choices"], out[0]["usage"]) == ([], {"prompt_tokens": 1})
    assert gathered(stream([say("[EM"), say("AIL_1]")])) == {(0, "content"): "a@b.co"}


def test_reasoning_is_let_go_before_the_content_begins() -> None:
    out = chunks(stream([chunk({"reasoning_content": "[EM"}), say("AIL_1]")]))
    assert [event["choices"][0]["delta"] for event in out] == [{"reasoning_content": "[EM"}, {"content": "AIL_1]"}]
    both = chunks(
        stream([chunk({"reasoning_content": "[EM"}), chunk({"reasoning_content": "AIL_1] [EM", "content": "x"})])
    )
    assert both[-1]["choices"][0]["delta"] == {"reasoning_content": "a@b.co [EM", "content": "x"}


def test_an_empty_content_beside_reasoning_ends_nothing() -> None:
    deltas = [{"reasoning_content": "[EM", "content": ""}, {"reasoning_content": "AIL_1]", "content": ""}]
    assert gathered(stream(map(chunk, deltas))) == {(0, "reasoning_content"): "a@b.co"}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "function": {"arguments": arguments}, **more}]}


def test_arguments_of_calls_that_alternate_are_escaped() -> None:
    deltas = [
        call(0, "", id="1"),
        call(0, '{"x": "[FIE'),
        call(1, '{"y": "[EMA', id="2"),
        call(0, 'LD_1]"}'),
        call(1, 'IL_1]"}'),
    ]
    texts = gathered(stream([*map(chunk, deltas), chunk({}, finish="tool_calls")]))
    assert json.loads(texts[0, "function", 0, "arguments"]) == {"x": ORIGINALS["[FIELD_1]"]}
    assert json.loads(texts[0, "function", 1, "arguments"]) == {"y": "a@b.co"}


def test_streamed_json_stays_json() -> None:
    for text in ('{"x": "[FIELD_1]"}', ' \n ["[FIELD_1]"]', '[ "[FIELD_1]"]'):
        expected = restored({"content": text})["content"]
        assert json.loads(expected)
        assert gathered(stream(say(sign) for sign in text)) == {(0, "content"): expected}
        assert gathered(stream([say(text[:5]), say(""), say(text[5:])])) == {(0, "content"): expected}


def test_choices_are_kept_apart() -> None:
    events = [say("[EM", index=0), say("[EMAI", index=1), say("AIL_1]", index=0), say("L_12]", index=1)]
    assert gathered(stream(events, choices=2)) == {(0, "content"): "a@b.co", (1, "content"): "c@d.co"}


def test_two_choices_in_one_chunk() -> None:
    choices = [
        {"index": n, "delta": {"content": text}, "finish_reason": None} for n, text in enumerate(("[EMAIL_", "x"))
    ]
    event = b"data: " + json.dumps({**SHOWN, "choices": choices}).encode() + b"\n\n"
    out = stream([event, say("1]")], choices=2)
    assert gathered(out) == {(0, "content"): "a@b.co", (1, "content"): "x"}
    assert [choice["index"] for choice in chunks(out)[0]["choices"]] == [1]


def test_a_stream_does_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_GROWTH", 250)
    texts = gathered(stream([say("[FIELD_1]")] * 4, {"[FIELD_1]": "x" * 109}))
    assert texts == {(0, "content"): "x" * 218 + "[FIELD_1]" * 2}


texts = st.lists(
    st.sampled_from(
        [*ORIGINALS, "[EMAIL_2]", "[EMAIL_", "[", "]", '{"', "word ", "é好😀", "\n", "[[", "1]", "EMAIL_1]", " "]
    ),
    max_size=12,
).map("".join)
FIELDS = ("reasoning_content", "content", "arguments 0", "arguments 1")


@st.composite
def cut(draw: st.DrawFn) -> tuple[dict[tuple[int, str], str], list[bytes], list[int]]:
    """Draw texts for two choices, the events that stream them in pieces, and where reads of the stream end."""
    wanted = {(index, field): draw(texts) for index in range(2) for field in FIELDS}
    queues: list[list[dict[str, Any]]] = []
    for index in range(2):
        queue: list[dict[str, Any]] = []
        for field in FIELDS[:2]:
            queue += [{field: piece} for piece in draw(in_pieces(wanted[index, field]))]
        calls = [[call(n, piece) for piece in draw(in_pieces(wanted[index, f"arguments {n}"]))] for n in range(2)]
        queue += draw(woven(calls))
        queues.append(queue)
    tagged = [[(index, delta) for delta in queue] for index, queue in enumerate(queues)]
    events = [chunk(delta, index=index) for index, delta in draw(woven(tagged))]
    events += [chunk({}, index=index, finish="stop") for index in range(2)]
    size = sum(map(len, events))
    return wanted, events, sorted(draw(st.lists(st.integers(0, size), max_size=8)))


@st.composite
def in_pieces(draw: st.DrawFn, text: str) -> list[str]:
    ends = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


@st.composite
def woven(draw: st.DrawFn, queues: list[list[Any]]) -> list[Any]:
    """Merge queues in any order that keeps each in its own."""
    turns = draw(st.permutations([number for number, queue in enumerate(queues) for _ in queue]))
    iterators = [iter(queue) for queue in queues]
    return [next(iterators[number]) for number in turns]


@given(cut())
def test_any_cut_of_a_stream_gives_the_whole_restored_texts(drawn: tuple[Any, list[bytes], list[int]]) -> None:
    wanted, events, ends = drawn
    data = b"".join(events)
    reads = [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    expected = {}
    for (index, field), text in wanted.items():
        name, _, number = field.partition(" ")
        message = call(int(number), text) if number else {name: text}
        result = restored(message)
        value = result["tool_calls"][0]["function"]["arguments"] if number else result[name]
        if value:
            expected[(index, "function", int(number), "arguments") if number else (index, name)] = value
    for out in (stream(events, choices=2), stream(reads, choices=2)):
        assert gathered(out) == expected
        for index in range(2):
            said = [choice for event in chunks(out) for choice in event["choices"] if choice["index"] == index]
            assert [choice["finish_reason"] for choice in said] == [None] * (len(said) - 1) + ["stop"]
