"""Budgets, requests and tokens per minute, and the ledger that they are rebuilt from."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import Bench, ModelServer

from modelfaucet_bridge.config import Channel, Price
from modelfaucet_bridge.ledger import Entry, Ledger
from modelfaucet_bridge.limits import Budgets, Rates
from modelfaucet_bridge.money import Tokens, nano_from_usd, usd
from modelfaucet_bridge.policies import Call, Outcome, Refused

NOVEMBER, DECEMBER = 1_795_000_000.0, 1_797_000_000.0  # in November and in December 2026
CALL_COST = 600 * 2_000 + 400 * 500 + 500 * 8_000  # nano-USD of the model server's usage at the prices below


def entry(at: float, *, channel: str = "c", cost: int | None = 0, tokens: int = 10, status: int = 200) -> Entry:
    return Entry(at, f"r{at}", channel, "m", "chat", status, 5, tokens, 0, cost_nano_usd=cost)


def call_of(channel: Channel, **body: object) -> Call:
    return Call("r", "chat", "m", channel, dict(body), False, NOVEMBER, input_estimate=100)


def priced(bench: Bench, server: ModelServer, *more: str, key: str = "sk-upstream-1") -> None:
    bench.channel("cloud", server, "--secret-ref", "keychain:cloud", *more)
    bench.run("keychain", "set", "cloud", secret=key)
    bench.run("channels", "price", "cloud", "m", "--input", "2", "--output", "8", "--cache-read", "0.5")


def test_a_call_costs_what_its_tokens_cost() -> None:
    price = Price(nano_from_usd("2"), nano_from_usd("8"), nano_from_usd("0.5"))
    assert price.cost(Tokens(1000, 500, cache_read=400)) == CALL_COST == 5_400_000
    assert price.cost(Tokens(1, 0)) == 2_000
    assert Price(1, 1).cost(Tokens(1, 0)) == 1  # less than a nano-dollar is not nothing


@pytest.mark.parametrize("text", ["-1", "x", "0.0000000001", "NaN", "Infinity", None])
def test_what_is_no_amount(text: object) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        nano_from_usd(text)


def test_small_amounts_can_be_seen() -> None:
    assert [usd(0), usd(1_500_000_000), usd(5_400_000), usd(2_000), usd(None)] == [
        "$0.00",
        "$1.50",
        "$0.005400",
        "$0.000002",
        "unknown",
    ]


def test_a_budget_stops_calls_and_survives_a_kill(bench: Bench, serve: Callable[..., ModelServer]) -> None:
    server = serve(models=("m",), key="sk-upstream-1")
    priced(bench, server, "--budget", "0.01", "--hard-stop")
    bench.start()
    bench.ready("m")
    assert [bench.chat("m", stream=each).status_code for each in (False, True)] == [200, 200]
    refused = bench.chat("m")
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")
    assert bench.endpoint("cloud")["month"]["spent_nano_usd"] == 2 * CALL_COST
    bench.stop(kill=True)
    bench.start()
    assert bench.chat("m").json()["error"]["code"] == "budget_exceeded"
    assert len(server.calls) == 2
    assert [line["status"] for line in bench.ledger()] == [200, 200, 402, 402]
    month = bench.endpoint("cloud")["month"]
    assert (month["spent_nano_usd"], month["calls"], month["failures"]) == (2 * CALL_COST, 4, 2)


def test_an_unknown_price_is_never_nothing(bench: Bench, serve: Callable[..., ModelServer]) -> None:
    server = serve("vllm", ("m",))
    bench.channel("box", server, "--budget", "5")
    bench.start()
    bench.ready("m")
    assert bench.chat("m").status_code == 200
    assert bench.ledger()[0]["cost_nano_usd"] is None
    assert bench.endpoint("box")["month"]["calls_of_unknown_price"] == 1
    bench.run("channels", "set", "box", "--hard-stop")
    bench.ask("POST", "/admin/refresh")
    refused = bench.chat("m")
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "price_unknown")
    assert "1 of unknown price" in bench.run("status")


def test_requests_per_minute_with_the_seconds_to_wait(bench: Bench, serve: Callable[..., ModelServer]) -> None:
    server = serve("vllm", ("m",))
    bench.channel("box", server, "--rpm", "2")
    bench.start()
    bench.ready("m")
    assert [bench.chat("m").status_code for _ in range(3)] == [200, 200, 429]
    bench.stop()
    bench.start()  # a restart is no way around it
    bench.ready("m")
    refused = bench.chat("m")
    assert refused.json()["error"]["code"] == "rpm_exceeded"
    assert 20 <= int(refused.headers["retry-after"]) <= 60
    assert bench.endpoint("box")["minute"]["requests"] == 2


def test_tokens_per_minute_are_a_soft_limit() -> None:
    clock = [NOVEMBER]
    rates = Rates(lambda: clock[0])
    channel = Channel("c", "vllm", "http://127.0.0.1/v1", tpm=100)
    done = Outcome(200, None, Tokens(70, 10), 0, 5)

    async def run() -> None:
        for seconds in (0, 20):  # the second one passes: 80 tokens were used
            clock[0] = NOVEMBER + seconds
            await rates.before_call(call_of(channel))
            await rates.after_call(call_of(channel), done)
        with pytest.raises(Refused) as refused:
            await rates.before_call(call_of(channel))
        assert (refused.value.code, refused.value.status) == ("tpm_exceeded", 429)
        assert refused.value.retry_after == 40  # when the first 80 are a minute past
        clock[0] = NOVEMBER + 60
        await rates.before_call(call_of(channel))

    asyncio.run(run())


def budgets_of(ledger: Ledger, clock: list[float]) -> tuple[Budgets, list[tuple[str, int]]]:
    raised: list[tuple[str, int]] = []
    return Budgets(ledger, lambda c, period, at, spent: raised.append((period, at)), lambda: clock[0]), raised


def test_calls_under_way_count_as_what_they_may_cost(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, max_bytes=10_000, keep_months=2, now=NOVEMBER)
    budgets, _ = budgets_of(ledger, [NOVEMBER])
    price = {"m": Price(nano_from_usd("1"), nano_from_usd("1"))}
    channel = Channel("c", "openai_compatible", "https://p.example/v1", budget=1_000_000, hard_stop=True, prices=price)

    async def run() -> None:
        first = call_of(channel, max_tokens=900)  # 100 of input and 900 of output: all of the budget
        await budgets.before_call(first)
        with pytest.raises(Refused, match="used up"):
            await budgets.before_call(call_of(channel))
        await budgets.after_call(first, Outcome(200, None, Tokens(1, 1), 2_000, 1))
        await budgets.before_call(call_of(channel))

    asyncio.run(run())


def test_thresholds_and_a_new_month(tmp_path: Path) -> None:
    clock = [NOVEMBER]
    ledger = Ledger(tmp_path, max_bytes=10_000, keep_months=2, now=NOVEMBER)
    budgets, raised = budgets_of(ledger, clock)
    channel = Channel("c", "openai_compatible", "https://p.example/v1", budget=1_000, hard_stop=True)
    for cost, expected in ((799, []), (1, [80]), (150, [80, 95]), (50, [80, 95, 100])):
        ledger.record(entry(clock[0], cost=cost))
        raised.clear()
        budgets.check(channel)
        assert [at for _, at in raised] == expected
    clock[0] = DECEMBER
    raised.clear()
    budgets.check(channel)
    assert raised == []
    ledger.record(entry(DECEMBER, cost=900))
    budgets.check(channel)
    assert raised == [("2026-12", 80)]
    ledger.close()


def test_the_ledger_rotates_and_forgets_old_months(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, max_bytes=1_000, keep_months=2, now=NOVEMBER)
    (tmp_path / "calls-2026-09.001.jsonl").write_text("{}\n")
    (tmp_path / "calls-2026-10.001.jsonl").write_text("{}\n")
    for number in range(9):
        ledger.record(entry(NOVEMBER + number, cost=7))
    names = [path.name for path in ledger.files()]
    assert names == ["calls-2026-10.001.jsonl", *(f"calls-2026-11.{part:03d}.jsonl" for part in (1, 2, 3))]
    assert all(path.stat().st_size <= 1_000 for path in ledger.files())
    assert {path.stat().st_mode & 0o777 for path in ledger.files("2026-11")} == {0o600}
    ledger.close()
    again = Ledger(tmp_path, max_bytes=1_000, keep_months=2, now=NOVEMBER)
    assert (again.month("c", NOVEMBER).spent, again.month("c", NOVEMBER).calls) == (63, 9)
    assert again.month("c", DECEMBER).spent == 0


def test_a_line_cut_off_by_a_crash_costs_no_other(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, max_bytes=10_000, keep_months=2, now=NOVEMBER)
    ledger.record(entry(NOVEMBER, cost=7))
    ledger.close()
    path = ledger.files()[0]
    path.write_text(path.read_text() + '{"at": 17950')
    again = Ledger(tmp_path, max_bytes=10_000, keep_months=2, now=NOVEMBER)
    again.record(entry(NOVEMBER, cost=5))
    again.close()
    last = Ledger(tmp_path, max_bytes=10_000, keep_months=2, now=NOVEMBER)
    assert last.month("c", NOVEMBER).spent == 12


def test_what_could_be_a_text_is_not_written_as_a_name(bench: Bench, serve: Callable[..., ModelServer]) -> None:
    bench.channel("box", serve("vllm", ("m",)))
    bench.start()
    bench.ready("m")
    bench.chat("write me a poem about my boss")
    assert [line["model"] for line in bench.ledger()] == ["?"]
    assert json.dumps(bench.ledger()).count("boss") == 0
    assert abs(bench.ledger()[0]["at"] - time.time()) < 30
