"""What is sent."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import modelfaucet_sdk as sdk
from modelfaucet_sdk.calls import base_of, call, chat_body, messages_of, with_wish
from modelfaucet_sdk.reports import ReportBuffer, is_refused_for_now, make_report
from modelfaucet_sdk.results import utc_now

ROOT = Path(__file__).parents[1]


def test_parts_of_an_address_are_escaped() -> None:
    assert call("GET", "receipts", "../wallet?x").path == "receipts/..%2Fwallet%3Fx"


def test_one_key_stays_with_a_call_and_differs_from_the_next_ones() -> None:
    one, two = (call("POST", "chat", json={}, keyed=True) for _ in range(2))
    assert one.repeatable and one.headers["idempotency-key"] != two.headers["idempotency-key"]
    assert call("POST", "chat", json={}, keyed=True, idempotency_key="mine").headers == {"idempotency-key": "mine"}
    assert not call("POST", "keys", json={}).repeatable and call("GET", "keys").repeatable


def test_body_is_not_shown() -> None:
    assert "secret prompt" not in repr(call("POST", "chat", json={"x": "secret prompt"}))


def test_modes_ask_for_their_routes() -> None:
    def asked(mode: Any, **body: Any) -> Any:
        return chat_body(messages_of("x"), mode=mode, stream=False, body=body).get("modelfaucet")

    assert asked("auto") is None and asked("local", policy="local_first") is None
    assert asked("platform") == {"policy": "platform_pool"}
    assert asked("byok", max_price_usd=0.02) == {"prefer": "byok", "max_price_usd": "0.02"}
    assert asked("auto", require=["tools"], temperature=1) == {"require": ["tools"]}
    with pytest.raises(ValueError, match="mode"):
        with_wish({}, mode="cloud", wish={})  # type: ignore[arg-type]  # the mistake that is tested


def test_stream_asks_for_usage_unless_told_otherwise() -> None:
    def options(**body: Any) -> Any:
        return chat_body(messages_of("x", "be kind"), mode="auto", stream=True, body=body)["stream_options"]

    assert options() == {"include_usage": True}
    assert options(stream_options={"include_usage": False, "y": 1}) == {"include_usage": False, "y": 1}


def test_address_is_taken_with_and_without_v1() -> None:
    assert base_of("https://ai.example.com/") == base_of(" https://ai.example.com/v1/") == "https://ai.example.com/v1"
    for wrong in ("ai.example.com", "ftp://x", "https://user:password@x"):
        with pytest.raises(ValueError):
            base_of(wrong)


@pytest.mark.parametrize("kind", [sdk.Faucet, sdk.AsyncFaucet])
def test_contradicting_credentials_are_refused(kind: Any) -> None:
    for wrong in (
        {"session_token": "a", "virtual_key": "b"},
        {"user_token": "a", "app_id": "x", "session_token": "b"},
        {"user_token": "a"},
        {"device_id": "a"},
        {"mode": "cloud"},
    ):
        with pytest.raises(ValueError):
            kind("https://x", **wrong)
    with pytest.raises(ValueError, match="app_secret"):
        kind("https://x", "app_pub_x").for_user("u")


@pytest.mark.parametrize(
    ("told", "again"),
    [
        ({"state": "accepted"}, False),
        ({"state": "rejected", "error": {"code": "invalid_report"}}, False),
        ({"state": "rejected", "error": {"code": "insufficient_funds"}}, True),
        ({"state": "rejected", "error": None}, False),
    ],
)
def test_report_is_sent_again_where_it_may_be_taken_later(told: dict[str, Any], again: bool) -> None:
    assert is_refused_for_now(told) is again


def test_reports_wait_in_their_file_until_they_are_settled(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "reports.jsonl"
    buffer = ReportBuffer(path)
    moment = utc_now()
    for number in range(3):
        usage = sdk.Usage(10, 5, cached_tokens=4, reasoning_tokens=9)
        buffer.add(make_report(model=f"m{number}", started_at=moment, ended_at=moment, usage=usage))
    with path.open("a") as file:
        file.write('{"report_id": "cut of')
    again = ReportBuffer(path)
    assert again.waiting() == buffer.waiting() and len(again.waiting(2)) == 2
    first = again.waiting(1)[0]
    assert (first["input_tokens"], first["cache_read_tokens"], first["reasoning_tokens"]) == (6, 4, 5)
    again.settle({first["report_id"]})
    assert [report["model"] for report in ReportBuffer(path).waiting()] == ["m1", "m2"]
    assert set(json.loads(path.read_text().splitlines()[0])) == {
        *("report_id", "model", "endpoint_kind", "input_tokens", "output_tokens", "cache_read_tokens"),
        *("reasoning_tokens", "status", "latency_ms", "started_at"),
    }


def test_synchronous_client_is_what_the_asynchronous_one_makes() -> None:
    import subprocess

    run = subprocess.run(  # noqa: S603 (our own script)
        [sys.executable, str(ROOT / "scripts" / "unasync.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_version_is_the_packages() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    assert f'\nversion = "{sdk.__version__}"\n' in text
    assert f"## {sdk.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
