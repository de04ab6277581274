"""The Chinese pages are complete: whatever the pages and their scripts say is translated, and compiled."""

import ast
import gettext
import re
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.pofile import read_po
from django.apps import apps
from django.conf import settings as project
from django.contrib.admin import site
from django.contrib.admin.utils import label_for_field
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.translation.template import templatize

from apps.console import texts
from tests.console.factories import Demo, Page

ROOT = Path(project.BASE_DIR)
CATALOGUE = ROOT / "modelfaucet" / "locale" / "zh_Hans" / "LC_MESSAGES" / "django"
# What is the same in every language.
NAMES = {
    "ModelFaucet",
    "EN",
    "English",
    "中文",
    "简体中文",
    "curl",
    "Python",
    "JavaScript",
    "API",
    "Token",
    "·",
    "+",
    "–",
}
SHORT = {"ID", "Stripe ID", "RPM", "TPM"}
ROOMS = ("billing", "catalog", "core", "developers", "features", "ledger", "usage", "vault")
KEYWORDS = {
    **DEFAULT_KEYWORDS,
    **{f"{name}_lazy": numbers for name, numbers in DEFAULT_KEYWORDS.items()},
    "gettext_noop": None,
    "__": None,
}
# A call as Django writes it for xgettext, with its first message.
SAID = re.compile(r"\b(?:n?gettext|_)\(u?('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
PLACES = re.compile(r"%\((\w+)\)s|\{(\w+)\}|%s")


def catalogue() -> Catalog:
    with CATALOGUE.with_suffix(".po").open("rb") as file:
        return read_po(file, locale="zh_Hans")


def messages() -> dict[str, str]:
    """Return the catalogue's source: translations by message; of one in two numbers, by its singular."""
    found: dict[str, str] = {}
    for message in catalogue():
        assert not message.fuzzy or not message.id, message.id
        many = isinstance(message.id, tuple)
        found[message.id[0] if many else message.id] = message.string[0] if many else message.string
    return found


def said_by_the_pages() -> set[str]:
    """Return every message in the templates."""
    paths = [*(ROOT / "templates").rglob("*.html"), *(ROOT / "apps").rglob("templates/**/*.html")]
    calls = (SAID.findall(templatize(path.read_text())) for path in paths)
    return {ast.literal_eval(message) for found in calls for message in found}


def said_by_the_code() -> set[str]:
    """Return every message in the console, the admin and the models."""
    found: set[str] = set()
    for path in (*(ROOT / "apps").rglob("*.py"), *(ROOT / "modelfaucet").rglob("*.py")):
        with path.open("rb") as file:
            for _line, message, _comments, _context in extract("python", file, keywords=KEYWORDS):
                found.add(message[0] if isinstance(message, tuple) else message)
    return found


def test_every_message_is_translated() -> None:
    known, said = messages(), said_by_the_pages() | said_by_the_code()
    assert len(said_by_the_pages()) > 50 and len(said_by_the_code()) > 300
    assert sorted(message for message in said if not known.get(message)) == []


def test_catalogue_keeps_nothing_that_nobody_says() -> None:
    assert messages().keys() - {""} <= said_by_the_pages() | said_by_the_code()


def test_translations_fill_in_the_same_words() -> None:
    known = messages()
    del known[""]
    wrong = [m for m, zh in known.items() if sorted(PLACES.findall(m)) != sorted(PLACES.findall(zh))]
    assert wrong == []


def test_compiled_catalogue_is_the_source() -> None:
    with CATALOGUE.with_suffix(".mo").open("rb") as file:
        compiled: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    source = {message: text for message, text in messages().items() if message}
    # One in two numbers is (singular, 0): Chinese has one form.
    found = {key[0] if isinstance(key, tuple) else key: text for key, text in compiled.items()}
    assert {message: text for message, text in found.items() if message} == source


@pytest.mark.parametrize("demo", [True, False])
def test_chinese_page_says_everything_in_chinese(client: Client, demo_app: Demo, settings: Any, demo: bool) -> None:
    settings.DEMO = demo
    html = client.get("/", headers={"accept-language": "zh-CN"}).content.decode()
    assert '<html lang="zh-hans"' in html
    verbs = {"GET", "POST", "test-model"}
    english = [text for text in Page(html).text if not re.search(r"[一-鿿]", text)]
    assert set(english) <= NAMES | verbs


def test_scripts_say_everything_in_chinese() -> None:
    with translation.override("zh-hans"):
        assert [text for text in texts.strings().values() if not re.search(r"[一-鿿]", text)] == []


def test_scripts_say_nothing_that_the_page_does_not_give_them() -> None:
    said = set()
    for path in (ROOT / "static" / "console" / "js").glob("*.js"):
        said |= set(re.findall(r"\b(?:say|words)\(\"(\w+)\"", path.read_text()))
    given = texts.strings().keys()
    assert {name for name in said if name not in given} <= {"broken", "offline"}
    assert {"broken_title", "offline_title"} <= given


def test_tables_and_columns_have_chinese_names() -> None:
    own = [model for room in ROOMS for model in apps.get_app_config(room).get_models()]
    assert len(own) > 80
    with translation.override("zh-hans"):
        names = {
            f"{model._meta.label}.{name}": str(text)
            for model in own
            for name, text in [
                ("one", model._meta.verbose_name),
                ("many", model._meta.verbose_name_plural),
                *((field.name, field.verbose_name) for field in model._meta.concrete_fields),
            ]
        }
    english = {name: text for name, text in names.items() if not re.search(r"[一-鿿]", text)}
    assert {name: text for name, text in english.items() if text not in SHORT} == {}


def test_admin_lists_tables_and_columns_in_chinese(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:index"), headers={"accept-language": "zh-CN"})
    rooms = page.context["app_list"]
    names = {str(name) for room in rooms for name in (room["name"], *(table["name"] for table in room["models"]))}
    with translation.override("zh-hans"):
        columns = {
            f"{model._meta.label}.{column}": str(label_for_field(column, model, table))
            for model, table in site._registry.items()
            if model._meta.app_label in ROOMS
            for column in table.list_display
        }
    assert len(names) > 80 and len(columns) > 400
    assert [name for name in names if not re.search(r"[一-鿿]", name)] == []
    assert {name: text for name, text in columns.items() if not re.search(r"[一-鿿]", text) and text not in SHORT} == {}
