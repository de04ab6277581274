"""The code that the console shows for a first call, run as it stands with OpenAI's own libraries."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.test import Client as Browser

from apps.usage.models import UsageEvent
from tests.clients.environment import client_python
from tests.console.seats import new_person
from tests.live import World

# The first test may have to install the clients.
pytestmark = pytest.mark.timeout(400)


def snippet(browser: Browser, world: World, language: str, template: str) -> str:
    """Sign up, make an app, and return the code that its page shows."""
    url = browser.post("/console/new", {"name": "Engines"})["location"]
    given = {"name": "Diary", "template": template, "model": "faucet-demo", "language": language}
    address = browser.post(url, given)["location"]
    feature = template.partition(".")[0] or "default"
    page = browser.post(address, {"language": language, "feature": feature})
    shown: str = page.context["snippets"][0].code
    return shown


@pytest.mark.parametrize("template", ["", "summary.en", "reply.en"])
@pytest.mark.parametrize("language", ["python", "javascript"])
def test_code_works_as_it_stands(
    client_world: World, clients: Path, tmp_path: Path, settings: Any, language: str, template: str
) -> None:
    settings.ALLOWED_HOSTS, settings.PUBLIC_BASE_URL = ["*"], client_world.base_url
    settings.STARTER_CREDIT_USD = "1.00"
    code = snippet(new_person("ada")[0], client_world, language, template)
    (tmp_path / "node_modules").symlink_to(clients / "node_modules")
    file = tmp_path / ("call.py" if language == "python" else "call.mjs")
    file.write_text(code)
    program = client_python(clients) if language == "python" else str(clients / "bin" / "node")
    run = subprocess.run([program, str(file)], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0 and run.stdout.strip(), run.stderr
    event = UsageEvent.objects.get()
    assert (event.outcome, event.feature_key) == ("finished", template.partition(".")[0] or "default")
