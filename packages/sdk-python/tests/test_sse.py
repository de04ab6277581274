"""The parser of server-sent events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfaucet_sdk.sse import Event, EventDecoder, EventTooLarge

# Whatever can confuse a parser of lines, and characters of several bytes.
PIECES = st.sampled_from(
    ["data: a", "data:b", "data", "event: x", ": note", ":", "id: 7", "retry: 1", "", "\n", "\r", "\r\n", "é水🎈", "﻿"]
)
STREAMS = st.lists(PIECES).map("".join).map(str.encode)


def decode(*pieces: bytes) -> list[Event]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def test_events_have_names_and_lines_of_data() -> None:
    stream = b"event: feature.done\ndata: one\ndata: two\n\n: modelfaucet {}\n\ndata:[DONE]\n\n"
    assert decode(stream) == [
        Event("one\ntwo", "feature.done"),
        Event("modelfaucet {}", is_comment=True),
        Event("[DONE]"),
    ]


def test_event_that_does_not_end_is_none() -> None:
    assert decode(b"data: half") == []


def test_name_without_data_is_no_event_and_does_not_stay() -> None:
    assert decode(b"event: a\n\ndata: b\n\n") == [Event("b")]


@given(STREAMS, st.data())
def test_however_the_bytes_are_cut_the_events_are_the_same(stream: bytes, data: st.DataObject) -> None:
    places = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]
    assert decode(*pieces) == decode(stream)
    assert decode(*(bytes([byte]) for byte in stream)) == decode(stream)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])), min_size=1))
def test_what_was_written_is_read(lines: list[str]) -> None:
    for end in ("\n", "\r", "\r\n"):
        stream = "".join(f"data: {line}{end}" for line in lines) + end
        assert decode(stream.encode()) == [Event("\n".join(lines))]


@given(st.binary())
def test_no_bytes_break_it(stream: bytes) -> None:
    assert decode(stream) == decode(stream[: len(stream) // 2], stream[len(stream) // 2 :])


def test_event_without_end_is_refused() -> None:
    decoder = EventDecoder(most=100)
    decoder.feed(b"data: " + b"x" * 90)
    with pytest.raises(EventTooLarge):
        decoder.feed(b"x" * 20)
    many = EventDecoder(most=100)
    with pytest.raises(EventTooLarge):
        many.feed(b"data: xxxxxxxx\n" * 20)
    fine = EventDecoder(most=100)
    assert len(fine.feed(b"data: xxxxxxxx\n\n" * 20)) == 20
