"""Usage for the gateway: reported once, whatever fails in between, and without a word of what was said."""

import json
from collections.abc import Callable

import pytest
from support import CANARY, Bench, Inbox, ModelServer, until

SESSION = "mf_sess_0123456789abcdef"


@pytest.fixture
def connected(bench: Bench, serve: Callable[..., ModelServer], inbox: Inbox) -> Bench:
    bench.channel("box", serve("ollama", ("m", "breaks", "endless")))
    bench.run("connect", "--gateway", inbox.url, "--reports-only")
    bench.start()
    bench.ready("m")
    return bench


def reports(inbox: Inbox) -> list[dict[str, object]]:
    return list(inbox.reports.values())


def test_a_call_with_a_session_is_reported(connected: Bench, inbox: Inbox) -> None:
    answer = connected.chat("m", headers={"x-faucet-session": SESSION})
    assert answer.headers["x-faucet-reported"] == "bridge"
    until(lambda: inbox.reports)
    ((session, report_id), report) = next(iter(inbox.reports.items()))
    assert session == f"Bearer {SESSION}" and report["report_id"] == report_id
    assert {key: report[key] for key in ("model", "endpoint_kind", "input_tokens", "output_tokens", "status")} == {
        "model": "m",
        "endpoint_kind": "ollama",
        "input_tokens": 1000,
        "output_tokens": 500,
        "status": "ok",
    }
    allowed = {"report_id", "model", "endpoint_kind", "input_tokens", "output_tokens", "cache_read_tokens"}
    assert {*report} <= allowed | {"reasoning_tokens", "status", "error_code", "latency_ms", "started_at"}
    assert CANARY not in json.dumps([str(item) for item in inbox.got])
    until(lambda: not list((connected.home / "spool").glob("*.json")))


@pytest.mark.parametrize("headers", [{}, {"x-faucet-session": SESSION, "x-faucet-gateway": "https://other.example"}])
def test_a_call_without_a_session_of_this_gateway_is_not(
    connected: Bench, inbox: Inbox, headers: dict[str, str]
) -> None:
    answer = connected.chat("m", headers=headers)
    assert "x-faucet-reported" not in answer.headers
    assert not list((connected.home / "spool").glob("*.json")) and not inbox.reports


def test_a_stream_is_reported_and_a_failed_call_too(connected: Bench, inbox: Inbox) -> None:
    connected.chat("m", stream=True, headers={"x-faucet-session": SESSION})
    connected.chat("breaks", stream=True, headers={"x-faucet-session": SESSION})
    until(lambda: len(inbox.reports) == 2)
    assert {(each["status"], each.get("error_code")) for each in reports(inbox)} == {
        ("ok", None),
        ("error", "channel_lost"),
    }


def test_a_report_outlives_a_kill_and_counts_once(connected: Bench, inbox: Inbox) -> None:
    inbox.drop_answers = 1  # the gateway takes it, and its answer is lost
    connected.chat("m", headers={"x-faucet-session": SESSION})
    until(lambda: len(inbox.got) >= 1)
    connected.stop(kill=True)
    inbox.failing = 1
    connected.start()
    until(lambda: not list((connected.home / "spool").glob("*.json")), seconds=20)
    assert len(inbox.reports) == 1 and len(inbox.got) >= 3
    assert SESSION not in "".join(
        path.read_text() for path in connected.home.rglob("*.json") if "secrets" not in path.name
    )


def test_reports_wait_while_the_gateway_is_down(connected: Bench, inbox: Inbox) -> None:
    inbox.failing = 2
    for _ in range(3):
        connected.chat("m", headers={"x-faucet-session": SESSION})
    until(lambda: len(inbox.reports) == 3, seconds=20)
    assert connected.status()["reports_rejected"] == 0


def test_a_report_that_is_refused_is_set_aside(connected: Bench, inbox: Inbox) -> None:
    connected.chat("m", headers={"x-faucet-session": "mf_sess_expired"})
    until(lambda: connected.status()["reports_rejected"] == 1)
    assert connected.status()["reports_pending"] == 0


def test_a_report_whose_fee_is_not_covered_is_sent_again(connected: Bench, inbox: Inbox) -> None:
    inbox.unpaid = 2
    connected.chat("m", headers={"x-faucet-session": SESSION})
    until(lambda: len(inbox.reports) == 1, seconds=20)
    until(lambda: not list((connected.home / "spool").glob("*.json")))
    assert inbox.unpaid == 0 and connected.status()["reports_rejected"] == 0


def test_leaving_the_gateway(connected: Bench, inbox: Inbox) -> None:
    assert connected.status()["gateway"] == inbox.url
    connected.run("disconnect")
    until(lambda: connected.status()["gateway"] is None)
    assert "x-faucet-reported" not in connected.chat("m", headers={"x-faucet-session": SESSION}).headers


def test_a_token_of_something_else_is_no_bridges(bench: Bench) -> None:
    assert "begins with mf_brg_" in bench.run("connect", "--gateway", "https://g.example", "--token", "x", ok=False)
    assert "not an http" in bench.run("connect", "--gateway", "g.example", "--token", "mf_brg_x", ok=False)
