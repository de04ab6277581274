"""Run the test suite of the `openai` package's own source distribution against this server, the double behind it.

    python -m tests.clients.openai_suite

The suite is taken as it is; where its server stands is told by TEST_API_BASE_URL. Two things it takes for granted of a
server are given to it here: its literal API key is replaced by a token of ours (by openai_suite_plugin.py), and the
models it names are offered. Prints what passes and, for what does not, why; the exit status is 0 if that is as
EXPECTED says.
"""

import logging
import os
import subprocess
import sys
import tarfile
import venv
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OPENAI = "3.52.0"
# What the suite imports beside the client itself.
NEEDS = ("pytest==9.2.0", "pytest-asyncio==1.5.0", "rich==15.0.0", f"openai[aiohttp]=={OPENAI}")
CHAT_MODEL, EMBEDDING_MODEL = "gpt-6-astra", "text-embedding-3-small"
FILES = ("chat/test_completions", "test_responses", "test_embeddings", "test_models")

# What does not pass, by file: the test's subject, what its failure says, and why that is right.
EXPECTED: dict[str, tuple[tuple[str, str, str], ...]] = {
    "chat/test_completions": (
        ("retrieve", "404 - There is no GET", "a stored completion: none is stored, so there is none of that id"),
        ("update", "404 - There is no POST", "a stored completion: none is stored, so there is none of that id"),
        ("delete", "404 - There is no DELETE", "a stored completion: none is stored, so there is none of that id"),
    ),
    "test_responses": (
        ("create", "'input' is required", "sends neither input nor model; OpenAI's own server refuses that too"),
        ("create", "'previous_response_id' is not supported", "goes on with a stored response: none is stored"),
        ("retrieve", "404 - There is no GET", "a stored response: none is stored"),
        ("delete", "404 - There is no DELETE", "a stored response: none is stored"),
        ("cancel", "404 - There is no POST", "a response in the background: none is made there"),
        ("compact", "404 - There is no POST", "a summary that only OpenAI's own models can read"),
    ),
    "test_embeddings": (
        (
            "create",
            "invalid for expected schema",
            "strict mode asks for base64 and then takes nothing but an array of numbers; as OpenAI's server does, "
            "ours answers as it is asked (the client of Node relies on that)",
        ),
    ),
    "test_models": (("delete", "405 - ", "a fine-tuned model: models are the operator's"),),
}


def cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelfaucet" / f"openai-suite-{OPENAI}"
    home.mkdir(parents=True, exist_ok=True)
    return home


def prepare(home: Path) -> Path:
    """Download the source distribution and make its environment, once; return its directory."""
    source = home / f"openai-{OPENAI}"
    if not (home / "ready").exists():
        venv.create(home / "env", with_pip=True, clear=True)
        pip = [str(home / "env" / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "install", *NEEDS], check=True)
        only = ["download", "--no-deps", "--no-binary", "openai", "--dest", str(home), f"openai=={OPENAI}"]
        subprocess.run([*pip, *only], check=True)
        with tarfile.open(home / f"openai-{OPENAI}.tar.gz") as archive:
            archive.extractall(home, filter="data")
        (home / "ready").touch()
    return source


def run_suite(home: Path, source: Path, *, base_url: str, token: str) -> dict[str, dict[str, str]]:
    """Run the suite; return by file and test what went wrong, "" for what passed."""
    report = home / "report.xml"
    report.unlink(missing_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTEST_"))}
    environment |= {
        "TEST_API_BASE_URL": base_url,
        "MODELFAUCET_TOKEN": token,
        "PYTHONPATH": str(HERE),
        "DEFER_PYDANTIC_BUILD": "false",
    }
    command = [
        str(home / "env" / "bin" / "python"),
        "-m",
        "pytest",
        "-o",
        "addopts=",
        "-p",
        "openai_suite_plugin",
        "-q",
    ]
    command += ["-p", "no:cacheprovider", "--tb=line", f"--junitxml={report}"]
    command += [f"tests/api_resources/{name}.py" for name in FILES]
    subprocess.run(command, cwd=source, env=environment, check=False, stdout=subprocess.DEVNULL)
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 (a file that we had made)
        name = case.attrib["classname"].removeprefix("tests.api_resources.").rpartition(".")[0].replace(".", "/")
        wrong = [each.attrib.get("message", "failed") for each in case if each.tag in ("failure", "error", "skipped")]
        is_async = "Async" in case.attrib["classname"]
        found[name][f"{'async ' if is_async else ''}{case.attrib['name']}"] = wrong[0] if wrong else ""
    return found


def subject(test: str) -> str:
    """Return what a test is about: `retrieve` of `test_raw_response_retrieve_overload_1[loose]`."""
    name = test.removeprefix("async ").partition("[")[0].removeprefix("test_")
    for form in ("method_", "raw_response_", "streaming_response_", "path_params_"):
        name = name.removeprefix(form)
    return name.partition("_")[0]


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def judge(found: dict[str, dict[str, str]]) -> bool:
    """Print what passes and what does not; tell whether that is as expected."""
    good = True
    for name in FILES:
        tests, expected = found.get(name, {}), EXPECTED[name]
        passed = [test for test, wrong in tests.items() if not wrong]
        say(f"\n{name}: {len(passed)} of {len(tests)} pass")
        good = good and bool(tests)
        for about, count in Counter(map(subject, passed)).items():
            say(f"  pass  {about:10} {count:3}")
        failed: dict[tuple[str, str], list[str]] = defaultdict(list)
        for test, wrong in tests.items():
            if wrong:
                failed[subject(test), wrong.strip().splitlines()[0][:150]].append(test)
        for (about, wrong), names in failed.items():
            reason = next((why for what, text, why in expected if what == about and text in wrong), None)
            good = good and reason is not None
            say(f"  {'----' if reason else 'FAIL'}  {about:10} {len(names):3}  {reason or names[0]}\n{'':24}{wrong}")
    return good


def main() -> int:
    home = cache()
    source = prepare(home)
    sys.path.insert(0, str(ROOT))
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from django.conf import settings
    from django.db import connections
    from django.test.utils import get_runner

    from tests.live import Server
    from tests.provider_double import ProviderDouble

    logging.disable(logging.WARNING)  # every refusal is one
    runner: Any = get_runner(settings)(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    try:
        with ProviderDouble() as double:
            settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}",)
            with Server() as server:
                token = offer_models(server.base_url, double.base_url)
                found = run_suite(home, source, base_url=f"{server.base_url}/v1", token=token)
    finally:
        connections.close_all()
        for connection in connections.all():
            connection.close_pool()  # type: ignore[attr-defined]
        runner.teardown_databases(databases)
    return 0 if judge(found) else 1


def offer_models(base_url: str, provider_url: str) -> str:
    """Offer the models that the suite names; return a token of a funded user."""
    from tests.clients.conftest import offer
    from tests.live import make_world

    world = make_world(base_url, provider_url, usd="1000")
    for name, capabilities in ((CHAT_MODEL, ("chat", "stream", "tools")), (EMBEDDING_MODEL, ("embeddings",))):
        offer(provider_url, name, capabilities=capabilities)
    return world.token


if __name__ == "__main__":
    sys.exit(main())
