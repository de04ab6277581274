"""What must not happen: other machines, readable files, secrets in settings, prompts on the disk."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support import CANARY, Bench, Inbox, ModelServer, until


def test_the_checklist_of_a_new_bridge(bench: Bench) -> None:
    said = bench.run("security")
    assert [line.split()[1] for line in said.splitlines() if line.startswith("ok")] == [
        "bind",
        "token",
        "files",
        "settings",
        "origins",
        "remote",
    ]
    assert "warn  keychain" in said  # of the file fallback


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        (lambda text: text.replace('host = "127.0.0.1"', 'host = "0.0.0.0"'), "bind"),
        (lambda text: "allow_remote = true\n" + text.replace('host = "127.0.0.1"', 'host = "0.0.0.0"'), "bind"),
        (lambda text: text.replace("origins = []", 'origins = ["http://app.example"]'), "origins"),
        (lambda text: text + "\n# sk-abcdefghijklmnop1234\n", "settings"),
        (lambda text: text + '\n[alerts.a]\nkind = "feishu"\nurl = "https://open.feishu.cn/hook/x"\n', "settings"),
        (
            lambda text: text + '\n[channels.a]\nbase_url = "http://api.example/v1"\nsecret_ref = "env:A"\n',
            "channels",
        ),
        (lambda text: text + '\n[gateway]\nurl = "http://gateway.example"\n', "gateway"),
        (lambda text: text + "\nbroken =\n", "settings"),
    ],
)
def test_what_fails_the_checklist(bench: Bench, change: Callable[[str], str], subject: str) -> None:
    bench.settings(change)
    said = bench.run("security", ok=False)
    assert bench.returned == 1
    assert [line.split()[1] for line in said.splitlines() if line.startswith("fail")] == [subject]
    assert "sk-abcdefghijklmnop1234" not in said


def test_files_that_others_can_read_fail(bench: Bench) -> None:
    os.chmod(bench.home / "secrets.json", 0o644)
    os.chmod(bench.home, 0o755)
    said = bench.run("security", ok=False)
    assert f"chmod 600 {bench.home}/secrets.json" in said and f"chmod 700 {bench.home}" in said


def test_a_weak_token_of_the_environment_fails(bench: Bench) -> None:
    bench.environment["MODELFAUCET_LOCAL_TOKEN"] = "please-change"
    assert "too easy to guess" in bench.run("security", ok=False)
    assert "too short" in bench.run("start", "--host", "0.0.0.0", "--allow-remote", ok=False)


def test_other_machines_are_let_in_only_when_said(bench: Bench, tmp_path: Path) -> None:
    assert "--allow-remote" in bench.run("start", "--host", "0.0.0.0", "--port", "0", ok=False)
    bench.settings(lambda text: text.replace('host = "127.0.0.1"', 'host = "100.64.0.7"'))
    assert "--allow-remote" in bench.run("start", ok=False)
    other = Bench(tmp_path / "new")
    assert "run `modelfaucet-bridge init`" in other.run("start", ok=False)
    other.init()
    other.run("keychain", "delete", "local-token")
    assert "there is no token" in other.run("start", "--host", "0.0.0.0", "--allow-remote", ok=False)


def test_two_bridges_do_not_share_a_directory(bench: Bench) -> None:
    bench.start()
    assert "running over" in bench.run("start", "--port", "0", ok=False)


def test_a_command_without_a_running_bridge(bench: Bench) -> None:
    bench.settings(lambda text: text.replace("port = 19088", "port = 9"))
    assert "not running" in bench.run("status", ok=False)
    assert bench.returned == 3


def test_no_prompt_and_no_key_is_in_any_file(
    bench: Bench, serve: Callable[..., ModelServer], inbox: Inbox, tmp_path: Path
) -> None:
    """Every way that a call can end, and then every byte that the bridge has written."""
    models = ("m", "no-usage", "breaks", "busy", "html", "text-embed")
    bench.channel("box", serve("vllm", models), "--rpm", "9")
    bench.channel("dead", serve("vllm", ("gone",)), "--model", "gone")
    bench.run(
        "channels", "add", "cloud", "--base-url", "http://127.0.0.1:9/v1", "--secret-ref", "env:CLOUD", "--model", "x"
    )
    bench.environment["CLOUD"] = "sk-canary-key-of-the-user"
    bench.run("connect", "--gateway", inbox.url, "--reports-only")
    bench.start()
    bench.ready("m")
    session = {"x-faucet-session": "mf_sess_canary_session"}
    inbox.failing = 1000  # reports stay in the spool
    for model in (*models[:5], "x", CANARY + " nobody", f"cloud/{CANARY} nobody"):
        for stream in (False, True):
            bench.chat(model, stream=stream, headers=session)
    bench.ask("POST", "/v1/embeddings", json={"model": "text-embed", "input": CANARY})
    bench.ask("POST", "/v1/responses", json={"model": "m", "input": CANARY})
    bench.ask("POST", "/v1/chat/completions", content=f'{{"model": "m", "{CANARY}'.encode())
    until(lambda: list((bench.home / "spool").glob("*.json")))
    bench.stop()
    written = [path for path in bench.home.rglob("*") if path.is_file()]
    assert {"bridge.log", "stderr"} <= {path.name for path in written} and len(written) > 10
    for path in written:
        content = path.read_bytes()
        for secret in (CANARY.encode(), b"Hello there", b"word0", b"sk-canary-key"):
            assert secret not in content, (path.name, secret)
        if path.name != "secrets.json":
            assert b"mf_sess_canary" not in content and bench.token.encode() not in content, path.name
    assert CANARY not in json.dumps([str(item) for item in inbox.got])
    open_to_others = [path for path in bench.home.rglob("*") if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert [path for path in open_to_others if path.suffix != ".lock" and path.name != "stderr"] == []
