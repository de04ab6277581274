"""Whatever a call's receipt can say, people are told in words: nothing reaches them as a bare code."""

import re
from pathlib import Path

from django.conf import settings

from apps.catalog.models import TaskClass
from apps.console.call_words import failure_words, policy_words, reason_words, route_words, task_words
from apps.gateway.routing import reasons
from apps.gateway.routing.orders import POLICIES
from apps.usage.rate import ROUTE_MODES


def documented_failures() -> set[str]:
    """Return the codes of providers' failures that the reference lists."""
    text = (Path(settings.BASE_DIR) / "docs" / "reference" / "errors.md").read_text()
    section = text.partition("## Providers\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))


def test_every_code_of_a_route_has_words() -> None:
    rejections = {value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}
    assert len(rejections) > 20
    assert {code for code in rejections if reason_words(code) == code} == set()
    for operator in (False, True):
        assert [name for name in POLICIES if policy_words(name, operator=operator) == name] == []
        assert [mode for mode in ROUTE_MODES if route_words(mode, operator=operator) == mode] == []


def test_every_failure_of_a_provider_has_words() -> None:
    codes = documented_failures()
    assert len(codes) > 20
    assert {code for code in codes if failure_words(code) == code} == set()
    assert failure_words("made_by_a_later_version") == "made_by_a_later_version"


def test_every_class_of_tasks_has_words() -> None:
    assert [task_words(name) for name in TaskClass.values] == TaskClass.labels
    assert task_words("of_a_later_version") == "of_a_later_version" and task_words(None) == ""


def test_keys_are_the_reader_s_or_the_developer_s() -> None:
    assert route_words("developer_key") == "your key"
    assert route_words("developer_key", operator=True) == "developer’s key"
