"""The unmodified `openai` client of Node, with only `baseURL` and key changed, before the demo provider."""

import json
import subprocess
from pathlib import Path

import pytest

from apps.usage.models import UsageEvent
from tests.clients.conftest import HERE
from tests.clients.test_openai import charged
from tests.live import MODEL, World, wait_until

pytestmark = pytest.mark.timeout(400)


def test_node_client(client_world: World, clients: Path) -> None:
    command = [str(clients / "bin" / "node"), str(HERE / "node_calls.mjs"), str(clients)]
    run = subprocess.run(
        [*command, f"{client_world.base_url}/v1", client_world.token],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    wait_until(lambda: UsageEvent.objects.count() == 4, 15)  # the stream that was left is read to its end
    answer, stream, tool, left = charged()
    assert result["answer"]["request_id"] == answer.request_id
    assert float(result["answer"]["price"]) * 10**9 == answer.charge.price_nano > 0
    assert result["stream"]["text"] == result["answer"]["choices"][0]["message"]["content"]
    assert result["stream"]["usage"]["completion_tokens"] == stream.output_tokens
    assert result["tool"] == {"name": "get_weather", "arguments": {"city": "Lisbon"}}
    assert tool.finish_reason == "tool_calls"
    assert set(result["models"]) == {"faucet-demo", MODEL}
    error = result["error"]
    assert (error["name"], error["status"], error["code"]) == ("AuthenticationError", 401, "invalid_token")
    assert error["request_id"].startswith("req_")
    assert (result["left"], left.outcome, left.charged) == (5, "client_left", True)
