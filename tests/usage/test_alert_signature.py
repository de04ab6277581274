"""The examples that the reference gives for verifying an alert take what is posted, and nothing else."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from apps.core.clock import now
from apps.usage.services.alerts import signed
from apps.vault.secrets import Secret
from tests.test_house import ROOT

PAGE = (ROOT / "docs" / "reference" / "budgets.md").read_text()
BODY = '{"type": "budget.alert", "data": {"spent_usd": "4", "name": "é"}}'.encode()
Check = Callable[[str, dict[str, str], bytes], bool]


def example(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def by_python() -> Check:
    names: dict[str, Check] = {}
    exec(example("python"), names)  # noqa: S102 (what the page tells its readers to run)
    return names["is_genuine"]


def by_node(folder: Path) -> Check:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    script = folder / "check.mjs"
    ask = "const [s, h, b] = process.argv.slice(2);"
    tell = 'console.log(isGenuine(s, JSON.parse(h), Buffer.from(b, "utf8")));'
    script.write_text(f"{example('js')}\n{ask}\n{tell}\n")

    def check(secret: str, headers: dict[str, str], body: bytes) -> bool:
        arguments = [node, str(script), secret, json.dumps(headers), body.decode()]
        run = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30)
        return run.stdout.strip() == "true"

    return check


@pytest.mark.parametrize("language", ["python", "node"])
def test_example_takes_what_is_posted_and_nothing_else(tmp_path: Path, language: str) -> None:
    check = by_python() if language == "python" else by_node(tmp_path)
    moment = now()
    headers = signed(Secret("whsec_right"), "alert_7", BODY, moment)
    assert check("whsec_right", headers, BODY)
    assert not check("whsec_wrong", headers, BODY)
    assert not check("whsec_right", headers, BODY.replace(b"4", b"5"))
    assert not check("whsec_right", {**headers, "webhook-id": "alert_8"}, BODY)
    assert not check("whsec_right", {**headers, "webhook-signature": "v1="}, BODY)
    old = signed(Secret("whsec_right"), "alert_7", BODY, moment - timedelta(minutes=10))
    assert not check("whsec_right", old, BODY)
