"""Documentation that cannot drift: what the code has, the pages have."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import URLPattern, URLResolver, get_resolver

from apps.gateway.endpoints import FEATURES_PATH, MODELS_PATH, ROUTES
from modelfaucet import env
from tests.test_house import ROOMS, ROOT, sources

REFERENCE = ROOT / "docs" / "reference"
HEADINGS = ("Owns", "Does not own", "Words", "Invariants", "Talks to")
# Codes that are kept in our own rows and never sent to a client.
INTERNAL = {"client_left", "process_died"}


def read(name: str) -> str:
    return (REFERENCE / name).read_text()


@pytest.mark.parametrize("variable", env.VARIABLES.values(), ids=lambda variable: variable.name)
def test_setting_is_documented(variable: env.Variable) -> None:
    default = f"`{variable.default}`" if variable.default else "–"
    assert f"| `{variable.name}` | {default} | {variable.help} |\n" in read("settings.md")
    assert f"# {variable.help}\n#{variable.name}={variable.default}\n" in (ROOT / ".env.example").read_text()


def test_no_setting_is_documented_that_does_not_exist() -> None:
    told = re.findall(r"^\| `([A-Z][A-Z_]+)`", read("settings.md"), re.MULTILINE)
    offered = re.findall(r"^#([A-Z][A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(offered) == sorted(env.VARIABLES)


def codes(tree: ast.AST) -> Iterator[str]:
    """Yield every string that is given to a `code` argument or stands as a class's `default_code`.

    Not those of a form's ValidationError, which nobody sees, nor of a condition on a column.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if (getattr(node.func, "id", None) or getattr(node.func, "attr", "")) in ("Q", "ValidationError"):
                continue
            for keyword in node.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)
            if isinstance(node.func, ast.Name) and node.func.id == "Failure" and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)
        elif isinstance(node, ast.Assign):
            names = [getattr(element, "id", "") for element in getattr(node.targets[0], "elts", [])]
            if "default_code" in names and isinstance(node.value, ast.Tuple):
                value = node.value.elts[names.index("default_code")]
                if isinstance(value, ast.Constant):
                    yield str(value.value)


def test_every_error_code_is_documented() -> None:
    used = {code for path in sources("apps") for code in codes(ast.parse(path.read_text()))} - INTERNAL
    told = set(re.findall(r"^\| `([a-z_]+)`", read("errors.md"), re.MULTILINE))
    assert used - told == set()


def test_every_command_is_documented() -> None:
    own = {name for name, app in get_commands().items() if app.startswith(("apps.", "modelfaucet"))}
    told = set(re.findall(r"^## `(\w+)`", read("commands.md"), re.MULTILINE))
    assert own == told


def addresses(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield path
        elif isinstance(entry, URLResolver):
            yield from addresses(entry, path)


def test_every_address_of_the_api_is_documented() -> None:
    django = {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path) for path in addresses(get_resolver())}
    own = {path for path in django if path.startswith("/v1/") and path != "/v1/"}
    own |= {*ROUTES, f"{MODELS_PATH}/{{model}}", f"{FEATURES_PATH}/{{key}}"}
    told = set(re.findall(r"`(?:GET|POST|PATCH|PUT|DELETE) (/v1/[^`]*)`", read("api.md")))
    assert own == told


def test_every_system_check_is_documented() -> None:
    used = {
        match for path in sources("apps", "modelfaucet") for match in re.findall(r"mf\.[EWI]\d{3}", path.read_text())
    }
    assert used - set(re.findall(r"mf\.[EWI]\d{3}", read("checks.md"))) == set()


@pytest.mark.parametrize("room", ROOMS)
def test_room_says_what_it_is(room: str) -> None:
    path = ROOT / "apps" / room / "README.md"
    assert path.exists(), f"{path.relative_to(ROOT)} is missing"
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    assert [heading for heading in HEADINGS if not re.search(rf"^[#*\s]*{heading}\b", text, re.MULTILINE)] == []


def test_links_between_pages_at_the_root_lead_somewhere() -> None:
    broken = []
    for page in ROOT.glob("*.md"):
        for link in re.findall(r"\]\((?!https?:|mailto:|#)([^)#\s]+)", page.read_text()):
            if not (page.parent / link).exists():
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_changelog_begins_with_what_is_unreleased() -> None:
    headings = re.findall(r"^## (.*)$", Path(ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
