"""Discovery, health, capabilities; the commands for channels and secrets; policies of others."""

import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Bench, ModelServer, until

from modelfaucet_bridge.config import ConfigError, parse

Serve = Callable[..., ModelServer]


def test_servers_are_found_by_what_they_are(tmp_path: Path, serve: Serve) -> None:
    bench = Bench(tmp_path / "home")
    bench.init(discover=True)
    kinds = {
        "ollama": serve("ollama", ("llama3", "nomic-embed")),
        "lm_studio": serve("lm_studio", ("qwen-vl",)),
        "vllm": serve("vllm", ("mistral",)),
        "llama_cpp": serve("openai_compatible", ("stranger",)),  # another program at llama.cpp's port
    }
    lines = "".join(f'{kind} = "{server.base_url}"\n' for kind, server in kinds.items())
    bench.settings(lambda text: text + f"\n[discovery.endpoints]\n{lines}")
    bench.settings(lambda text: text.replace("[discovery]", "[discovery]\nseconds = 1"))
    bench.start()
    try:
        bench.ready("llama3", "nomic-embed", "qwen-vl", "nomic", "mistral")
        found = {each["name"]: each for each in bench.status()["endpoints"]}
        assert {*found} == {"ollama", "lm_studio", "vllm"}
        models = {model["id"]: model for each in found.values() for model in each["models"]}
        assert models["llama3"]["capabilities"] == ["chat", "tools", "vision", "reasoning"]
        assert models["llama3"]["context_window"] == 8192
        assert models["nomic-embed"]["capabilities"] == models["nomic"]["capabilities"] == ["embeddings"]
        assert models["qwen-vl"]["capabilities"] == ["chat", "tools", "vision"]
        assert models["mistral"]["context_window"] == 4096
        assert found["vllm"]["health"]["state"] == "up" and found["vllm"]["found"]
        kinds["vllm"].served.stop()
        until(lambda: bench.endpoint("vllm")["health"]["state"] == "down")
        assert "no answer" in bench.run("status")
        bench.run("channels", "disable", "ollama")
        until(lambda: "ollama" not in [each["name"] for each in bench.status()["endpoints"]])
    finally:
        bench.stop()


def test_llama_cpp_says_what_it_has_room_for(bench: Bench, serve: Serve) -> None:
    bench.channel("cpp", serve("llama_cpp", ("tiny",)))
    bench.start()
    bench.ready("tiny")
    (model,) = bench.endpoint("cpp")["models"]
    assert (model["context_window"], model["capabilities"]) == (2048, ["chat", "vision"])


def test_a_channel_is_disabled_enabled_and_removed_as_it_runs(bench: Bench, serve: Serve) -> None:
    bench.channel("box", serve("vllm", ("m",)))
    bench.start()
    bench.ready("m")
    bench.run("channels", "disable", "box")
    until(lambda: bench.chat("m").status_code == 503)
    bench.run("channels", "enable", "box")
    until(lambda: bench.chat("m").status_code == 200)
    assert '"calls": ' in bench.run("channels", "list", "--json")
    bench.run("channels", "remove", "box")
    until(lambda: "no_channel" in bench.chat("m").text)
    assert "there is no channel box" in bench.run("channels", "remove", "box", ok=False)


def test_settings_that_are_wrong_change_nothing(bench: Bench, serve: Serve) -> None:
    bench.channel("box", serve("vllm", ("m",)))
    bench.start()
    bench.ready("m")
    bench.settings(lambda text: text + "\nnonsense = true\n")
    until(lambda: bench.status()["problem"])
    assert bench.chat("m").status_code == 200
    assert "nonsense" in bench.run("doctor", ok=False)


def test_a_comment_of_the_person_stays(bench: Bench) -> None:
    bench.settings(lambda text: text + "\n# mine: do not touch\n")
    bench.run("channels", "add", "openai", "--base-url", "https://api.openai.com/v1", "--budget", "20", "--rpm", "60")
    bench.run("channels", "set", "openai", "--budget", "none", "--rpm", "0", "--tpm", "1000", "--model", "gpt-5")
    text = (bench.home / "bridge.toml").read_text()
    assert "# mine: do not touch" in text and "monthly_budget_usd" not in text and "rpm" not in text
    assert "tpm = 1000" in text and "gpt-5" in text
    assert (bench.home / "bridge.toml").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"channels": {"a": {}}}, "channels.a.base_url: is missing"),
        ({"channels": {"a": {"base_url": "http://u:p@h/v1"}}}, "use secret_ref"),
        ({"channels": {"a": {"base_url": "ftp://h"}}}, "not an http"),
        ({"channels": {"a": {"base_url": "http://h", "secret_ref": "sk-123"}}}, "never the secret"),
        ({"channels": {"a": {"base_url": "http://h", "secret": "sk-123"}}}, "channels.a.secret: is not a setting"),
        ({"channels": {"a": {"base_url": "http://h", "rpm": 0}}}, "channels.a.rpm"),
        ({"channels": {"a": {"base_url": "http://h", "monthly_budget_usd": "-1"}}}, "not an amount"),
        ({"channels": {"a": {"base_url": "http://h", "alert_at": [0]}}}, "per cents"),
        ({"channels": {"a/b": {"base_url": "http://h"}}}, "no slash"),
        ({"origins": ["*"]}, "not an origin"),
        ({"origins": ["https://a.example/path"]}, "not an origin"),
        ({"port": "80"}, "port: is not a whole number"),
        ({"alerts": {"a": {"url": "https://h", "url_ref": "env:X"}}}, "either url or url_ref"),
    ],
)
def test_what_settings_cannot_say(content: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse(content)


def test_secrets_are_in_the_keychain_and_nowhere_else(tmp_path: Path, serve: Serve) -> None:
    bench, key = Bench(tmp_path / "home"), "sk-upstream-in-the-keychain"
    bench.environment |= {
        "PYTHON_KEYRING_BACKEND": "keyring_in_file.Keyring",
        "TEST_KEYRING": str(tmp_path / "operating-system"),
        "AKCP_SECRET": key,
    }

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "modelfaucet_bridge", *arguments]
        return subprocess.run(command, env=bench.environment, capture_output=True, text=True, check=True).stdout

    assert "Warning" not in run("init")
    run("keychain", "set", "cloud")
    assert key in (tmp_path / "operating-system").read_text()
    assert not (bench.home / "secrets.json").exists()
    assert key not in "".join(path.read_text() for path in bench.home.rglob("*") if path.is_file())
    assert run("keychain", "list").split()[0] == "cloud"
    assert "secrets are in the keychain" in run("security")
    run("keychain", "delete", "cloud")
    assert key not in (tmp_path / "operating-system").read_text()


def test_a_missing_or_refused_key_is_said_plainly(bench: Bench, serve: Serve) -> None:
    server = serve(models=("m",), key="sk-right")
    said = bench.run(
        "channels", "add", "cloud", "--base-url", server.base_url, "--secret-ref", "keychain:cloud", "--model", "m"
    )
    assert "keychain set cloud" in said
    bench.start()
    missing = bench.chat("m")
    assert (missing.status_code, missing.json()["error"]["code"]) == (503, "channel_key_missing")
    bench.run("keychain", "set", "cloud", secret="sk-wrong")
    until(lambda: "channel_key_refused" in bench.chat("m").text)
    bench.run("keychain", "set", "cloud", secret="sk-right")
    until(lambda: bench.chat("m").status_code == 200)
    assert "sk-right" not in bench.run("status") + bench.run("doctor") + bench.run("channels", "list")


POLICY = """
    from modelfaucet_bridge.policies import Refused

    class Quiet:
        async def before_call(self, call):
            if "forbidden" in str(call.body):
                raise Refused(403, "not_here", "Not at this hour.")
            call.body["max_tokens"] = 7

        async def after_call(self, call, outcome):
            with open({log!r}, "a") as file:
                file.write(f"{{outcome.status}} {{outcome.tokens.total}}\\n")
            raise RuntimeError("a policy of others may fail")
"""


def test_policies_of_others_take_part_when_named(bench: Bench, serve: Serve, tmp_path: Path) -> None:
    plugin, log = tmp_path / "plugin", tmp_path / "log"
    (plugin / "office_hours-1.0.dist-info").mkdir(parents=True)
    (plugin / "office_hours.py").write_text(textwrap.dedent(POLICY.format(log=str(log))))
    entry = "[modelfaucet_bridge.policies]\noffice-hours = office_hours:Quiet\n"
    (plugin / "office_hours-1.0.dist-info" / "entry_points.txt").write_text(entry)
    (plugin / "office_hours-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: office-hours\n")
    server = serve("vllm", ("m",))
    bench.channel("box", server)
    bench.environment["PYTHONPATH"] += f":{plugin}"
    bench.start()
    bench.ready("m")
    assert bench.chat("m", text="forbidden").status_code == 200  # it is installed, and nobody has asked for it
    bench.stop()
    bench.settings(lambda text: text + '\n[policies]\nenabled = ["office-hours"]\n')
    bench.start()
    bench.ready("m")
    refused = bench.chat("m", text="forbidden")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_here")
    assert bench.chat("m").status_code == 200
    assert server.calls[-1][2]["max_tokens"] == 7 and len(server.calls) == 2
    assert log.read_text() == "200 1500\n"
    assert [line["error_code"] for line in bench.ledger()] == [None, "not_here", None]


def test_a_policy_that_is_not_installed_is_an_error(bench: Bench) -> None:
    bench.settings(lambda text: text + '\n[policies]\nenabled = ["nobody"]\n')
    assert "no installed package has a policy 'nobody'" in bench.run("doctor", ok=False)
    assert "nobody" in bench.run("start", ok=False)


def test_the_ledgers_lines_are_what_the_readme_says(bench: Bench, serve: Serve) -> None:
    bench.channel("box", serve("vllm", ("m",)))
    bench.start()
    bench.ready("m")
    bench.chat("m")
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    shown = json.loads(next(line for line in readme.splitlines() if line.startswith('{"time"')))
    assert [*shown] == [*bench.ledger()[0]]
