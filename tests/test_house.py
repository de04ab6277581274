"""The rules of the house that import-linter and ruff cannot see."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps as registry
from django.contrib import admin
from django.db import models

ROOT = Path(__file__).parent.parent
ROOMS = sorted(path.parent.name for path in ROOT.glob("apps/*/apps.py"))
# Below the doors there is no clock: `now` is an argument. Doors, tasks, commands and the clock itself may read it.
CLOCK = re.compile(r"\b(timezone\.now|datetime\.now|datetime\.utcnow|date\.today|clock import now)\b")
TIMELESS = ("models.py", "queries.py", "services/")
SPLIT = "".join  # the words looked for must not stand in this file
REGISTRIES = (
    SPLIT(["pypi", ".org"]),
    SPLIT(["files.python", "hosted.org"]),
    SPLIT(["registry.npm", "js.org"]),
    SPLIT(["registry.yarn", "pkg.com"]),
    SPLIT(["index", "-url"]),
)


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def sources(*roots: str) -> list[Path]:
    return sorted(path for root in roots for path in (ROOT / root).rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[1] if parts[0] == "apps" else parts[0]


def imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every import, `name` empty for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)


def is_choice(module: str, name: str) -> bool:
    """Tell whether an import is of a set of words, such as AccountKind: a name, not a table."""
    found = getattr(importlib.import_module(module), name, None)
    return isinstance(found, type) and issubclass(found, models.Choices)


def test_import_contracts_hold() -> None:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_only_a_rooms_own_code_touches_its_models() -> None:
    strangers = []
    for path in sources("apps", "modelfaucet"):
        for module, name in imports(ast.parse(path.read_text())):
            match = re.fullmatch(r"apps\.(\w+)(\.models(?:\..*)?)?", module)
            touches = match and (match[2] or name == "models")
            if match and touches and match[1] != room_of(path) and not is_choice(module, name):
                strangers.append(f"{path.relative_to(ROOT)} imports {module}")
    assert strangers == []


def test_no_model_is_fetched_by_name_across_rooms() -> None:
    found = []
    for path in sources("apps", "modelfaucet"):
        if "migrations" in path.parts:
            continue
        for label in re.findall(r"get_model\(\s*[\"'](\w+)", path.read_text()):
            if label in ROOMS and label != room_of(path):
                found.append(f"{path.relative_to(ROOT)}: {label}")
    assert found == []


def own_models() -> list[type[models.Model]]:
    return [model for model in registry.get_models() if model._meta.app_label in ROOMS]


def test_keys_between_rooms_leave_nothing_behind_and_protect() -> None:
    wrong = []
    for model in own_models():
        for field in model._meta.get_fields():
            if not isinstance(field, models.ForeignKey):
                continue
            if field.related_model._meta.app_label == model._meta.app_label:
                continue
            if field.remote_field.related_name != "+" or field.remote_field.on_delete is not models.PROTECT:
                wrong.append(str(field))
    assert wrong == []


def test_every_table_is_in_the_admin() -> None:
    assert [model.__name__ for model in own_models() if not admin.site.is_registered(model)] == []


def test_models_have_no_signals_no_save_logic_and_no_default_order() -> None:
    wrong = [model.__name__ for model in own_models() if "save" in vars(model) or model._meta.ordering]
    assert wrong == []
    # Django's, not those of a risk score.
    hooks = re.compile(r"from django\S* import .*\bsignals\b|django[\w.]*\.signals|@receiver")
    assert [str(path) for path in sources("apps") if hooks.search(path.read_text())] == []


def test_there_is_no_clock_below_the_doors() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources("apps")
        if path.relative_to(ROOT / "apps" / room_of(path)).as_posix().startswith(TIMELESS)
        for match in CLOCK.finditer(path.read_text())
    ]
    assert wrong == []


def test_no_committed_file_names_a_registry() -> None:
    found = []
    for path in committed():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {word}" for word in REGISTRIES if word in text]
    assert found == []


def pins(lock: str) -> dict[str, str]:
    """Return each line that pins a version, with the text up to the next one (its hashes)."""
    text = (ROOT / lock).read_text()
    heads = list(re.finditer(r"^[A-Za-z0-9][^\s=]*==[^\\\n]*", text, re.MULTILINE))
    ends = [head.start() for head in heads[1:]] + [len(text)]
    return {head[0].strip(): text[head.end() : end] for head, end in zip(heads, ends, strict=True)}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_pin_has_its_hashes(lock: str) -> None:
    assert [pin for pin, rest in pins(lock).items() if "--hash=sha256:" not in rest] == []


def test_dev_lock_holds_the_whole_base_lock() -> None:
    # Without markers: another requirement may want the same version on more platforms.
    base, dev = (
        {(head.partition(" ;")[0], hashes) for head, hashes in pins(lock).items()}
        for lock in ("requirements.lock", "requirements-dev.lock")
    )
    assert base <= dev
