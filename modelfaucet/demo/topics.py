"""What the demo provider knows about ModelFaucet: `topics.toml`, read once."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Topic:
    """Something that can be asked about; each language holds a short form and what the large model adds to it."""

    keywords: tuple[str, ...]
    english: tuple[str, str]
    chinese: tuple[str, str]


def _topic(entry: dict[str, Any]) -> Topic:
    (english, more_english), (chinese, more_chinese) = entry["english"], entry["chinese"]
    return Topic(tuple(entry["keywords"]), (english, more_english), (chinese, more_chinese))


_ALL = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
GREETING, THANKS, SELF = (_topic(_ALL[name]) for name in ("greeting", "thanks", "self"))
TOPICS = tuple(map(_topic, _ALL["topic"]))
