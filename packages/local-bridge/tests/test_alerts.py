"""Alerts: Feishu's signature, Standard Webhooks, retries, and that each arrives once."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path

import httpx
import pytest
from support import Bench, Inbox

from modelfaucet_bridge.alerts import Alerts
from modelfaucet_bridge.config import Channel, Destination
from modelfaucet_bridge.keychain import Keychain
from modelfaucet_bridge.webhooks import feishu_sign

CHANNEL = Channel("cloud", "openai_compatible", "https://p.example/v1", budget=20_000_000_000)


def feishu(bench: Bench, inbox: Inbox, *, signed: bool = True) -> None:
    bench.run("keychain", "set", "bot", secret=f"{inbox.url}/open-apis/bot/v2/hook/very-secret-id")
    more = []
    if signed:
        bench.run("keychain", "set", "bot-secret", secret="s3cret")
        more = ["--secret-ref", "keychain:bot-secret"]
    bench.run("alerts", "add", "team", "--kind", "feishu", "--url-ref", "keychain:bot", *more)


def test_the_signature_is_the_documented_one() -> None:
    # As Feishu's guide computes it in Python: hmac.new(f"{timestamp}\n{secret}".encode(), digestmod=sha256).
    expected = base64.b64encode(hmac.new(b"1599360473\ndemo", digestmod=hashlib.sha256).digest()).decode()
    assert feishu_sign("demo", 1599360473) == expected


@pytest.mark.parametrize("command", [("alerts", "test"), ("feishu:test",)])
def test_a_test_alert_arrives_signed(bench: Bench, inbox: Inbox, command: tuple[str, ...]) -> None:
    feishu(bench, inbox)
    said = bench.run(*command)
    assert "team: delivered" in said and "very-secret-id" not in said
    path, _, body = inbox.got[0]
    message = json.loads(body)
    assert path.endswith("/very-secret-id")
    assert message["sign"] == feishu_sign("s3cret", int(message["timestamp"]))
    assert abs(int(message["timestamp"]) - time.time()) < 60
    assert (message["msg_type"], message["card"]["header"]["template"]) == ("interactive", "blue")


def test_a_bot_that_answers_200_and_no(bench: Bench, inbox: Inbox) -> None:
    feishu(bench, inbox, signed=False)
    inbox.bot_code = 19021
    said = bench.run("alerts", "test", ok=False)
    assert "failed: the bot answered code 19021" in said and "signature" in said and "very-secret-id" not in said
    assert "sign" not in json.loads(inbox.got[0][2])


def test_a_bot_of_the_environment(bench: Bench, inbox: Inbox) -> None:
    bench.environment["FEISHU_WEBHOOK_URL"] = f"{inbox.url}/hook"
    assert "feishu-env: delivered" in bench.run("feishu:test")


def test_nowhere_to_send_to(bench: Bench) -> None:
    assert "nowhere to send" in bench.run("alerts", "test", ok=False)
    bench.run("alerts", "add", "x", "--url-ref", "keychain:none")
    assert "there is no secret at keychain:none" in bench.run("alerts", "test", ok=False)
    assert "either url or url_ref" in bench.run("alerts", "add", "y", ok=False)
    bench.run("alerts", "remove", "x")
    assert bench.run("alerts", "list") == ""


def deliver(
    home: Path, destinations: list[Destination], *, raises: int = 1, rounds: int = 1, clock: list[float]
) -> Alerts:
    keychain = Keychain(home, "file")
    keychain.keep("hook", "whsec_" + base64.b64encode(b"key-of-24-bytes-or-so").decode())
    alerts = Alerts(home / "alerts.json", keychain, lambda: clock[0])
    alerts.use(tuple(destinations))
    for _ in range(raises):
        alerts.raise_budget(CHANNEL, "2026-11", 80, 16_000_000_000)

    async def run() -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            for _ in range(rounds):
                await alerts.deliver_due(client)
                clock[0] += 4000

    asyncio.run(run())
    return alerts


def test_a_webhook_is_tried_again_with_the_same_id_and_then_no_more(tmp_path: Path, inbox: Inbox) -> None:
    inbox.failing = 2
    clock = [time.time()]
    hook = Destination("hook", "webhook", url=f"{inbox.url}/hook", secret_ref="keychain:hook")
    alerts = deliver(tmp_path, [hook], raises=3, rounds=5, clock=clock)
    assert len(inbox.got) == 3  # two failures, one success, nothing for what was raised twice more
    assert {headers["webhook-id"] for _, headers, _ in inbox.got} == {"budget:cloud:2026-11:80"}
    _, headers, body = inbox.got[-1]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = base64.b64encode(hmac.new(b"key-of-24-bytes-or-so", signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{digest}"
    event = json.loads(body)
    assert (event["type"], event["data"]["threshold_percent"]) == ("budget.threshold", 80)
    assert (event["data"]["spent_usd"], event["data"]["budget_usd"]) == (16.0, 20.0)
    assert alerts.recent()[0].delivered == ["hook"] and alerts.recent()[0].failures == {}


def test_a_restart_sends_what_was_not_sent_and_nothing_twice(tmp_path: Path, inbox: Inbox) -> None:
    clock = [time.time()]
    good = Destination("good", "webhook", url=f"{inbox.url}/good")
    dead = Destination("dead", "webhook", url="http://127.0.0.1:9/dead")
    alerts = deliver(tmp_path, [good, dead], clock=clock)
    assert "no answer" in alerts.recent()[0].failures["dead"]
    moved = Destination("dead", "webhook", url=f"{inbox.url}/revived")
    deliver(tmp_path, [good, moved], clock=clock)
    assert [path for path, _, _ in inbox.got] == ["/good", "/revived"]
    assert (tmp_path / "alerts.json").stat().st_mode & 0o777 == 0o600


def test_an_alert_is_given_up_after_days(tmp_path: Path, inbox: Inbox) -> None:
    inbox.failing = 1000
    clock = [time.time()]
    deliver(tmp_path, [Destination("hook", "webhook", url=f"{inbox.url}/hook")], rounds=200, clock=clock)
    assert 30 < len(inbox.got) < 90  # three days, about one an hour, and then no more
