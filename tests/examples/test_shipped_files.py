"""What goes to other people's machines (bundles, packages, examples) holds no secret and runs no code made of text."""

import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_house import ROOT

TEXTS = {".js", ".mjs", ".cjs", ".ts", ".py", ".json", ".html", ".css", ".md", ".csv", ".txt", ".toml", ".yaml", ".map"}
# Real secrets are longer than the `sk-of-ada-0001` of a page of documentation; a prefix followed by `…` is none.
SECRETS = {
    "token of ours": re.compile(r"\bmf_(?:app|dev|sess|key|brg|local)_[A-Za-z0-9_-]{16,}"),
    "OpenAI or Anthropic key": re.compile(r"\bsk-(?:[a-z0-9]+-)*[A-Za-z0-9_]{20,}"),
    "Stripe key": re.compile(r"\b(?:sk|rk|whsec)_(?:live_|test_)?[A-Za-z0-9]{20,}"),
    "Google key": re.compile(r"\bAIza[0-9A-Za-z_-]{30,}"),
    "AWS key": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "GitHub token": re.compile(r"\bgh[pousr]_[A-Za-z0-9]{30,}"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
}
MADE_CODE = re.compile(r"(?<![.\w])eval\s*\(|\bnew\s+Function\s*\(|\bset(?:Timeout|Interval)\s*\(\s*[\"'`]")
SAMPLES = {
    "token of ours": "mf_app_" + "a1B2" * 8,
    "OpenAI or Anthropic key": "sk-ant-api03-" + "a1B2" * 8,
    "Stripe key": "sk_live_" + "a1B2" * 6,
    "Google key": "AIza" + "a1B2" * 9,
    "AWS key": "AKIA" + "A1B2" * 4,
    "GitHub token": "ghp_" + "a1B2" * 9,
    "private key": "-----BEGIN " + "RSA PRIVATE KEY-----",
}


def shipped() -> Iterator[tuple[str, str]]:
    """Yield (name, text) of the SDK that gateways serve, of what packages were built here, and of the examples."""
    known = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "static/sdk", "examples"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    files = [ROOT / name for name in known if name]
    files += [path for path in ROOT.glob("packages/*/dist/**/*") if "node_modules" not in path.parts]
    files += ROOT.glob("packages/dist/*")
    for path in files:
        if path.is_file():
            yield from texts_of(path)


def texts_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of a file, or of the files in an archive, whose tests make tokens up."""
    name = str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name
    if path.name.endswith((".tgz", ".tar.gz")):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                if content is not None and is_looked_at(member.name):
                    yield f"{name}:{member.name}", content.read().decode(errors="replace")
    elif path.suffix in {".whl", ".zip"}:
        with zipfile.ZipFile(path) as packed:
            for inner in packed.namelist():
                if is_looked_at(inner):
                    yield f"{name}:{inner}", packed.read(inner).decode(errors="replace")
    elif path.suffix in TEXTS:
        yield name, path.read_text(errors="replace")


def is_looked_at(name: str) -> bool:
    return Path(name).suffix in TEXTS and "tests" not in Path(name).parts


def findings(name: str, text: str) -> list[str]:
    """Return what must not be in a shipped file, a line each; prose may name `eval`."""
    found = [f"{name}: {what} {match[0][:12]}…" for what, form in SECRETS.items() for match in form.finditer(text)]
    if Path(name).suffix in {".js", ".mjs", ".cjs", ".html", ".py", ".ts"}:
        found += [f"{name}: {match[0]}" for match in MADE_CODE.finditer(text)]
    return found


def test_shipped_files_hold_no_secret_and_make_no_code() -> None:
    texts = list(shipped())
    names = " ".join(name for name, _ in texts)
    for part in (
        "static/sdk/0.1.0/faucet.js",
        "components.js",
        "examples/browser-extension/popup.js",
        "examples/crm/crm.py",
    ):
        assert part in names
    assert [each for name, text in texts for each in findings(name, text)] == []


@pytest.mark.parametrize("kind", SECRETS)
def test_scan_finds_a_secret(kind: str) -> None:
    assert any(kind in each for each in findings("app.js", f'const key = "{SAMPLES[kind]}";'))


@pytest.mark.parametrize("code", ["eval(text)", "new Function('a', text)", "setTimeout('go()', 1)"])
def test_scan_finds_code_made_of_text(code: str) -> None:
    assert findings("app.js", f"const x = 1; {code}")


def test_scan_looks_into_packages(tmp_path: Path) -> None:
    wheel, sdist = tmp_path / "a.whl", tmp_path / "a.tar.gz"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("a/b.py", SAMPLES["Google key"])
    (tmp_path / "b.js").write_text("eval(x)")
    with tarfile.open(sdist, "w:gz") as archive:
        archive.add(tmp_path / "b.js", "a/b.js")
    assert [bool(findings(*each)) for path in (wheel, sdist) for each in texts_of(path)] == [True, True]
