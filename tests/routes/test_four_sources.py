"""One session, four sources of keys: who serves the same call, what it costs, and what is told of it."""

from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.core.money import nano_from_usd, usd
from apps.features.services.apps import set_app_terms
from apps.features.services.terms import TermsInput
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from apps.usage.models import UsageCharge
from apps.vault.services.credentials import disable_credential
from tests.live import ACTOR, MODEL, TIER, World, differences, rate_all
from tests.provider_double import ProviderDouble
from tests.routes.conftest import Notice

BY: dict[str, Any] = {"actor": ACTOR}
USER, DEVELOPER, PLATFORM = "sk-user-1", "sk-developer-1", "sk-double-0"
FEE, GATEWAY_FEE = 1_500_000, 700_000


def set_terms(world: World, **terms: Any) -> None:
    values = {"markup_bps": 4_000, "share_bps": 4_000, "byok_fee": FEE, "gateway_fee": GATEWAY_FEE, **terms}
    set_app_terms(app_id=world.app_id, terms=TermsInput(**values), now=now(), **BY)


def weight(double: ProviderDouble) -> int:
    """Return what the provider bills for its last call, in millionths of a nano-USD."""
    usage = double.requests[-1].usage
    return int(usage["prompt_tokens"]) * TIER.input + int(usage["completion_tokens"]) * TIER.output


def half_up(number: int, by: int) -> int:
    return (2 * number + by) // (2 * by)


def developer_earned(world: World) -> int:
    return balance(open_account(kind=AccountKind.DEVELOPER, owner_id=world.developer_id, now=now())).posted


def check_receipts(world: World, request_ids: list[str], prices: list[int], bill: int) -> None:
    """Check that one user's receipts say by which source each call was served, and for how much."""
    sources = ("byok", "developer_key", "platform")
    for request_id, mode, price in zip(request_ids, sources, prices, strict=True):
        answer = httpx.get(f"{world.base_url}/v1/receipts/{request_id}", headers=world.headers(), timeout=10)
        assert answer.status_code == 200, answer.text
        receipt = answer.json()
        assert (receipt["route_mode"], receipt["policy"]) == (mode, "byok_first")
        assert nano_from_usd(receipt["price_usd"]) == price
        passed_over = {entry["mode"] for entry in receipt["routing"]["rejected"]}
        assert passed_over == set(sources[: sources.index(mode)])
        assert ("provider_bill_usd" in answer.text) == (mode == "byok")
        if mode == "byok":
            assert usd(bill) in answer.text
        assert "cred_" not in answer.text and "sk-" not in answer.text


def test_same_call_is_served_by_each_source_in_turn(world: World, double: ProviderDouble, noticed: Notice) -> None:
    set_terms(world)
    world.manifest(routing={"policy": "byok_first"})
    own = world.key("end_user", USER)
    developers = world.key("developer", DEVELOPER)
    world.acknowledge()
    noticed()
    told = []

    def call(source: str, mode: str, price: int, *, cost: int, bill: int, rejected: set[tuple[str, str]]) -> None:
        answer = world.chat("Say hello")
        assert answer.status_code == 200, answer.text
        assert double.keys_used()[-1] == source
        assert answer.headers["x-modelfaucet-route-mode"] == mode
        assert nano_from_usd(answer.headers["x-modelfaucet-price-usd"]) == price
        event = world.event(answer)
        assert (event.route_mode, event.policy, event.price_nano) == (mode, "byok_first", price)
        assert (event.cost_nano, event.provider_bill_nano) == (cost, bill)
        assert event.routing["targets"][0] == {"candidate": f"double-0/{MODEL}", "mode": mode}
        reasons = {(entry["mode"], entry["reason"]) for entry in event.routing["rejected"]}
        assert reasons == rejected
        assert "cred_" not in str(event.routing)
        told.append(answer.headers["x-request-id"])

    world.chat("Say hello")
    spent = half_up(weight(double), 1_000_000)
    retail = half_up(weight(double) * 14_000, 1_000_000 * 10_000)
    double.requests.clear()
    call(USER, "byok", FEE, cost=0, bill=spent, rejected=set())
    disable_credential(own, now=now(), **BY)
    noticed()
    call(DEVELOPER, "developer_key", GATEWAY_FEE, cost=0, bill=spent, rejected={("byok", "no_credential")})
    disable_credential(developers, now=now(), **BY)
    noticed()
    missing = {("byok", "no_credential"), ("developer_key", "no_credential")}
    call(PLATFORM, "platform", retail, cost=spent, bill=0, rejected=missing)
    assert double.keys_used() == [USER, DEVELOPER, PLATFORM]

    world.manifest(routing={"policy": "byok_first"}, privacy={"mode": "local_only"})
    noticed()
    answer = world.chat("Say hello")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "local_bridge_unavailable"
    assert len(double.requests) == 3

    rate_all()
    assert differences() == []
    charges = {charge.event.request_id: charge for charge in UsageCharge.objects.select_related("event")}
    assert [charges[request_id].price_nano for request_id in told] == [FEE, GATEWAY_FEE, retail]
    assert world.balance().posted == nano_from_usd("10") - 2 * FEE - GATEWAY_FEE - retail
    check_receipts(world, told, [FEE, GATEWAY_FEE, retail], spent)
    # A share of the fee on the user's key (twice called), nothing of the gateway fee, a share of the margin.
    assert developer_earned(world) == 2 * (FEE * 4 // 10) + (retail - spent) * 4 // 10


@pytest.mark.parametrize("fee", [0, 1, 123_456_789])
def test_call_on_ones_own_key_costs_the_disclosed_fee_to_the_nano_dollar(
    world: World, double: ProviderDouble, noticed: Notice, fee: int
) -> None:
    set_terms(world, byok_fee=fee)
    world.manifest(routing={"policy": "byok_first", "platform_fallback": False})
    world.key("end_user", USER)
    noticed()
    refused = world.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "fee_not_acknowledged")
    assert not double.requests
    assert world.acknowledge() == fee
    noticed()
    for text, more in (
        ("Say hello", {}),
        ("[[chunks=40]] Say a lot", {}),
        ("[[cached]] Say it again", {}),
        ("[[prompt_tokens=900000 completion_tokens=900]] Say what is dear", {"max_tokens": 5}),
        ("[[usage-missing]] Say no number", {}),
    ):
        whole = world.chat(text, **more)
        assert nano_from_usd(whole.headers["x-modelfaucet-price-usd"]) == fee
        with world.stream(text, **more) as response:
            note = [line for line in response.read().decode().split("\n") if line.startswith(": modelfaucet ")]
        assert f'"price_usd":"{whole.headers["x-modelfaucet-price-usd"]}"' in note[0].replace(" ", "")
        assert world.event(whole).route_mode == "byok"
    before = world.balance()
    empty = world.chat("[[empty]] Say nothing")
    assert nano_from_usd(empty.headers["x-modelfaucet-price-usd"]) == 0  # what is no answer costs no fee
    assert world.balance().available == before.available
    rate_all()
    assert {charge.price_nano for charge in UsageCharge.objects.all()} == {fee, 0}
    assert world.balance().posted == nano_from_usd("10") - 10 * fee


def test_fee_that_rose_is_acknowledged_again_before_the_key_is_used(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    set_terms(world, byok_fee=5)
    world.manifest(routing={"policy": "byok_first"})
    world.key("end_user", USER)
    world.acknowledge()
    noticed()
    assert world.chat().headers["x-modelfaucet-route-mode"] == "byok"
    set_terms(world, byok_fee=6)
    noticed()
    answer = world.chat()
    assert answer.headers["x-modelfaucet-route-mode"] == "platform"
    rejected = world.event(answer).routing["rejected"]
    assert {"candidate": f"double-0/{MODEL}", "mode": "byok", "reason": "fee_not_acknowledged"} in rejected
    world.acknowledge()
    noticed()
    answer = world.chat()
    assert answer.headers["x-modelfaucet-route-mode"] == "byok"
    assert world.event(answer).price_nano == 6
    assert double.keys_used() == [USER, PLATFORM, USER]


@pytest.mark.parametrize("pricing", ["fee_only", "markup_share", "own_price"])
def test_developers_key_is_priced_as_the_developer_chose(
    world: World, double: ProviderDouble, noticed: Notice, pricing: str
) -> None:
    set_terms(world, developer_pricing=pricing, own_price=9_000_000)
    world.manifest(routing={"policy": "developer_key_first", "platform_fallback": False})
    world.key("developer", DEVELOPER)
    noticed()
    answer = world.chat()
    assert (answer.status_code, double.keys_used()) == (200, [DEVELOPER])
    bill = half_up(weight(double), 1_000_000)
    marked_up = half_up(weight(double) * 14_000, 1_000_000 * 10_000)
    price, developer = {
        "fee_only": (GATEWAY_FEE, 0),
        "markup_share": (marked_up, bill + (marked_up - bill) * 4 // 10),
        "own_price": (9_000_000, 9_000_000 - GATEWAY_FEE),
    }[pricing]
    assert nano_from_usd(answer.headers["x-modelfaucet-price-usd"]) == price
    event = world.event(answer)
    assert (event.route_mode, event.price_nano, event.cost_nano) == ("developer_key", price, 0)
    assert event.provider_bill_nano == bill
    rate_all()
    assert developer_earned(world) == developer
    assert world.balance().posted == nano_from_usd("10") - price
