"""The rules that classify tasks, against hand-labelled samples; those marked `apart` were not tuned on."""

import re
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from apps.catalog.models import TaskClass
from apps.features.manifest import TASK_CLASSES
from apps.gateway.classify import classify, classify_request
from apps.gateway.wire import parse_chat

LINES = Path(__file__).with_name("classify_samples.tsv").read_text().splitlines()
SAMPLES = [(label, text.replace("\\n", "\n"), use) for label, text, use in (line.split("\t") for line in LINES)]
FILLER = "It rained on the quay, and nobody came to fetch the boxes. "


def pad(text: str) -> str:
    return re.sub(r"\{pad (\d+)\}", lambda found: (FILLER * (int(found[1]) // len(FILLER) + 1))[: int(found[1])], text)


def share(use: str | None = None) -> float:
    chosen = [(label, classify(pad(text))) for label, text, used in SAMPLES if use in (None, used)]
    return sum(label == found for label, found in chosen) / len(chosen)


def test_samples_are_many_and_of_every_class() -> None:
    counts = Counter(label for label, _, _ in SAMPLES)
    assert len(SAMPLES) >= 200
    assert set(counts) == set(TaskClass.values) == set(TASK_CLASSES)
    assert min(counts.values()) >= 10
    assert sum(use == "apart" for _, _, use in SAMPLES) >= 0.3 * len(SAMPLES)
    assert sum(not text.isascii() for _, text, _ in SAMPLES) >= 50


def test_at_least_85_percent_of_the_samples_are_classified_right() -> None:
    assert share() >= 0.85


def test_samples_that_were_kept_apart_are_not_behind() -> None:
    assert share("apart") >= 0.85


def test_same_words_get_the_same_class() -> None:
    for _, text, _ in SAMPLES:
        assert classify(pad(text)) == classify(pad(text))


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([{"role": "user", "content": "Write a haiku about rain"}], "writing"),
        (
            [
                {"role": "user", "content": "Write a haiku about rain"},
                {"role": "assistant", "content": "…"},
                {"role": "user", "content": "Now a Python function that counts its syllables"},
            ],
            "code",
        ),
        (
            [
                {"role": "system", "content": "Classify the sentiment of what the user says."},
                {"role": "user", "content": "it broke after a week"},
            ],
            "classification",
        ),
        ([{"role": "user", "content": [{"type": "text", "text": "Summarize this"}, {"type": "image_url"}]}], "summary"),
        ([{"role": "user", "content": "x" * 26_000}, {"role": "user", "content": "y" * 26_000}], "long_context"),
        ([{"role": "user", "content": None}], "question"),
    ],
)
def test_request_is_classified_by_its_last_user_message(messages: list[object], expected: str) -> None:
    assert classify_request(parse_chat(msgspec.json.encode({"model": "auto", "messages": messages}))) == expected


def test_prompt_of_two_kilobytes_takes_less_than_30_microseconds() -> None:
    body = msgspec.json.encode(
        {"messages": [{"role": "user", "content": f"Summarize this: {FILLER * 34}"[:2_000] + " Thank you!"}]}
    )
    request = parse_chat(body)
    best = float("inf")
    for _ in range(50):
        began = time.thread_time()
        for _ in range(40):
            classify_request(request)
        best = min(best, (time.thread_time() - began) / 40)
    assert best < 30e-6
