"""The SDK for Python against the real gateway: keys, money, usage, receipts, local models; each client in turn."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import modelfaucet_sdk as sdk
import pytest

from apps.billing import stripe_api
from apps.billing.services.promos import create_promo_code
from apps.catalog.services.offers import add_provider
from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.services.terms import TermsInput
from apps.usage.models import UsageEvent
from tests.core.answering import Answering, answer
from tests.fakestripe import FakeStripe
from tests.live import ACTOR, Server, World, make_world, notice, rate_all
from tests.packages.sdk_python import Driver, make_driver
from tests.packages.test_sdk_python import failure
from tests.provider_double import ProviderDouble

MODELS = {"id": "llama3", "context_window": 8192}
KEY, NEWER = "sk-theirs-0123456789abcdef-WXYZ", "sk-newer-0123456789abcdef-QRST"
FEES = TermsInput(markup_bps=4_000, share_bps=4_000, byok_fee=nano_from_usd("0.0015"), local_fee=nano_from_usd("0.002"))


@pytest.fixture
def world(server: Server, double: ProviderDouble) -> World:
    """Give an app that charges fees."""
    return make_world(server.base_url, double.base_url, terms=FEES)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def driver(world: World, request: pytest.FixtureRequest) -> Iterator[Driver]:
    addresses.forget()
    driver = make_driver(world, is_async=request.param)
    yield driver
    driver.end()


@pytest.fixture
def provider(settings: Any, double: ProviderDouble) -> Iterator[Answering]:
    """Give a provider `theirs` that takes every key."""
    with Answering(answer(200)) as server:
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{server.port}", f"127.0.0.1:{double.port}")
        address = f"http://127.0.0.1:{server.port}/v1"
        known: dict[str, Any] = {"resale_allowed": False, "trains_on_data": True, "now": now(), "actor": ACTOR}
        add_provider(id="theirs", name="Theirs", base_url=address, **known)
        yield server


def test_own_keys_are_kept_tried_changed_and_erased(driver: Driver, provider: Answering) -> None:
    keys = driver.client().keys
    made = driver.do(keys.add("theirs", KEY, label="Mine", monthly_budget_usd="5", weight=None))
    assert (made["hint"], made["validation"]["result"], made["fee"]["fee_usd"]) == ("WXYZ", "ok", "0.0015")
    assert KEY not in f"{made!r}{made}"
    assert driver.do(keys.get(made["id"]))["monthly_budget_usd"] == "5.0000"
    changed = driver.do(keys.update(made["id"], label="Ours", monthly_budget_usd=None, status="disabled"))
    assert (changed["label"], changed["monthly_budget_usd"], changed["status"]) == ("Ours", None, "disabled")
    driver.do(keys.update(made["id"], status="active"))
    assert driver.do(keys.validate(made["id"]))["validation"]["result"] == "ok"
    newer = driver.do(keys.rotate(made["id"], NEWER))
    assert (newer["hint"], newer["replaces"]) == ("QRST", made["id"])
    other = driver.do(keys.add("theirs", KEY))
    page = driver.do(keys.list(limit=1))
    assert [row["id"] for row in page["data"]] == [other["id"]] and page["has_more"]
    assert {newer["id"], other["id"]} <= {row["id"] for row in driver.rows(keys.walk())}
    driver.do(keys.remove(newer["id"]))
    assert isinstance(failure(driver, lambda: keys.get(newer["id"])), sdk.NotFoundError)
    assert failure(driver, lambda: keys.update(other["id"], secret=NEWER)).param == "secret"
    stranger = driver.client(session_token=driver.world.new_session().token).keys
    assert isinstance(failure(driver, lambda: stranger.get(other["id"])), sdk.NotFoundError)


def test_own_key_serves_in_its_mode_for_the_fee_that_was_accepted(driver: Driver, server: Server) -> None:
    world = driver.world
    world.key("end_user", "sk-alice")
    notice(server)
    faucet = driver.client(session_token=world.token, mode="byok")
    told = {fee["mode"]: fee for fee in driver.do(faucet.fees.list())["fees"]}
    assert told["byok"]["fee_usd"] == "0.0015" and not told["byok"]["acknowledged"]
    assert driver.do(faucet.chat("Hi")).route_mode == "platform"
    assert driver.do(faucet.fees.accept("byok", told["byok"]["fee_usd"]))["fee_usd"] == "0.0015"
    notice(server)
    served = driver.do(faucet.chat("Hi"))
    assert (served.route_mode, str(served.price_usd)) == ("byok", "0.0015")
    faucet.mode = "platform"
    assert driver.do(faucet.chat("Hi")).route_mode == "platform"
    changed = failure(driver, lambda: faucet.fees.accept("byok", "0.0001"))
    assert isinstance(changed, sdk.ConflictError) and changed.code == "fee_changed"
    assert isinstance(failure(driver, lambda: faucet.fees.subscribe("nothing", 1)), sdk.NotFoundError)
    assert isinstance(failure(driver, lambda: faucet.fees.cancel("fsub_nothing")), sdk.NotFoundError)


def test_virtual_keys_are_issued_used_and_revoked(driver: Driver, server: Server, double: ProviderDouble) -> None:
    driver.world.virtual_key(usd="1")
    keys = driver.client(developer_token=driver.developer_token).virtual_keys
    made = driver.do(keys.create("CI", feature_key="default"))
    assert made["key"].startswith("mf_key_") and made["key"] not in repr(made)
    engineer = driver.client(virtual_key=made["key"])
    assert driver.do(engineer.chat("Hi")).text == double.requests[0].text
    assert driver.do(engineer.wallet.get())["owner"] == "developer_credit"
    assert made["id"] in {row["id"] for row in driver.do(keys.list(limit=50))["data"]}
    assert made["id"] in {row["id"] for row in driver.rows(keys.walk())}
    driver.do(keys.revoke(made["id"]))
    notice(server)
    refused = failure(driver, lambda: engineer.chat("Hi"))
    assert isinstance(refused, sdk.AuthenticationError) and refused.code == "token_revoked"
    with pytest.raises(ValueError, match="developer_token"):
        driver.do(driver.client().virtual_keys.list())


def test_wallet_budget_and_pages_are_the_end_users(driver: Driver) -> None:
    faucet = driver.client(session_token=driver.world.token, language="zh-CN")
    wallet = driver.do(faucet.wallet.get(limit=5))
    assert (wallet["available_usd"], wallet["calls"]) == ("10.0000", [])
    create_promo_code("WELCOME", amount=nano_from_usd("0.5"), now=now(), actor=ACTOR)
    lot = driver.do(faucet.wallet.redeem("WELCOME"))
    assert (lot["amount_usd"], lot["balance_usd"]) == ("0.5000", "10.5000")
    assert [lot["amount_usd"] for lot in driver.rows(faucet.wallet.credits())] == ["10.0000", "0.5000"]
    assert failure(driver, lambda: faucet.wallet.redeem("NOTHING")).code == "promo_unknown"
    budget = driver.do(faucet.budget.set(daily_usd="1.5", monthly_usd=20))
    assert (budget["daily"]["amount_usd"], budget["monthly"]["amount_usd"]) == ("1.5000", "20.0000")
    assert driver.do(faucet.budget.set(daily_usd=None))["daily"] is None
    assert driver.do(faucet.budget.get())["monthly"]["remaining_usd"] == "20.0000"
    link = driver.do(faucet.page_link(embed=True))
    assert "/me/open/mf_page_" in link["url"] and "mf_page_" not in repr(link)
    assert driver.do(faucet.fees.list())["language"].startswith("zh")


@pytest.fixture
def fakestripe(settings: Any) -> Iterator[FakeStripe]:
    """Give a Stripe on loopback that our settings point to."""
    with FakeStripe() as stripe:
        settings.STRIPE_ENABLED, settings.STRIPE_LIVEMODE = True, False
        settings.STRIPE_SECRET_KEY, settings.STRIPE_API_HOST = stripe.key, stripe.url
        settings.STRIPE_API_VERSION, settings.STRIPE_TIMEOUT = stripe.api_version, 2.0
        yield stripe
        stripe_api.forget_clients()


def test_credit_is_bought_once_a_key(driver: Driver, fakestripe: FakeStripe) -> None:
    top_ups = driver.client().top_ups
    first = driver.do(top_ups.create("20", idempotency_key="buy-1"))
    assert first["status"] == "open" and first["checkout_url"] and first["credit_usd"] == "20.0000"
    assert driver.do(top_ups.create("20", idempotency_key="buy-1"))["id"] == first["id"]
    second = driver.do(top_ups.create(10, save_card=True))
    assert [row["id"] for row in driver.do(top_ups.list())["data"]] == [second["id"], first["id"]]
    assert [row["id"] for row in driver.rows(top_ups.walk())] == [second["id"], first["id"]]
    assert driver.do(top_ups.get(first["id"]))["refunds"] == []
    assert failure(driver, lambda: top_ups.refund(first["id"], 5, reason="no need")).code == "not_refundable"
    assert failure(driver, lambda: top_ups.create(20, method="saved_card")).code == "no_saved_card"
    assert driver.do(top_ups.auto()) == {"object": "auto_top_up", "enabled": False}
    automatic = {"threshold_usd": 2, "amount_usd": 10, "monthly_cap_usd": 50}
    assert failure(driver, lambda: top_ups.set_auto(**automatic)).code == "no_saved_card"
    assert isinstance(failure(driver, lambda: top_ups.card()), sdk.NotFoundError)
    assert isinstance(failure(driver, lambda: top_ups.forget_card()), sdk.NotFoundError)
    assert isinstance(failure(driver, lambda: top_ups.stop_auto()), sdk.NotFoundError)


def test_usage_and_receipts_tell_of_every_call(driver: Driver) -> None:
    faucet = driver.client(session_token=driver.world.token, developer_token=driver.developer_token)
    results = [driver.do(faucet.chat(f"Hi {number}")) for number in range(3)]
    driver.world.balance()
    rate_all()
    ids = {result.request_id for result in results}  # what ended within the same milliseconds has no certain order
    page = driver.do(faucet.usage.list(limit=2, model=results[0].meta.served_model))
    assert {row["request_id"] for row in page["data"]} < ids and page["totals"]["calls"] == 3
    assert len(page["data"]) == 2 and page["has_more"]
    assert sorted(row["request_id"] for row in driver.rows(faucet.usage.walk(limit=1))) == sorted(ids)
    told = driver.do(faucet.usage.of_app(limit=2, since="2026-01-01"))
    assert told["totals"]["calls"] == 3 and told["has_more"]
    assert sorted(row["request_id"] for row in driver.rows(faucet.usage.walk_app(limit=1))) == sorted(ids)
    assert driver.do(faucet.usage.daily(driver.world.developer_id))["object"] == "cost_daily"
    one = results[0].request_id
    assert one.encode() in driver.do(faucet.usage.export_csv(since="2026-01-01"))
    mine, developers = (driver.do(get(one)) for get in (faucet.receipts.get, faucet.receipts.get_as_developer))
    assert mine["request_id"] == developers["request_id"] == one and set(mine) != set(developers)
    stranger = driver.client(session_token=driver.world.new_session().token)
    assert isinstance(failure(driver, lambda: stranger.receipts.get(one)), sdk.NotFoundError)


def test_models_estimates_and_anything_else_can_be_asked_for(driver: Driver) -> None:
    faucet = driver.client(session_token=driver.world.token, developer_token=driver.developer_token)
    models = driver.do(faucet.models.list())
    assert driver.do(faucet.models.get(models[0]["id"])) == models[0]
    estimate = driver.do(faucet.estimate("Hi", model=models[0]["id"]))
    assert nano_from_usd(estimate["max_price_usd"]) > 0 and not UsageEvent.objects.exists()
    app = driver.do(faucet.ask("GET", "apps", driver.app_id, by="developer"))
    assert app["id"] == driver.world.app_id
    assert driver.do(faucet.ask("GET", "contacts", by="nobody"))["object"] == "contacts"


def test_local_endpoints_and_bridges_are_noted(driver: Driver) -> None:
    local = driver.client().local
    bridge = driver.do(local.bridges.create("Laptop"))
    assert bridge["token"].startswith("mf_brg_") and bridge["token"] not in repr(bridge)
    assert [row["connected"] for row in driver.do(local.bridges.list())["data"]] == [False]
    noted = driver.do(
        local.endpoints.add(
            "Ollama",
            kind="ollama",
            base_url="http://127.0.0.1:11434",
            models=[{"id": "llama3"}],
            bridge_id=bridge["id"],
        )
    )
    assert driver.do(local.endpoints.update(noted["id"], name="Mine"))["name"] == "Mine"
    assert driver.do(local.endpoints.get(noted["id"]))["models"][0]["id"] == "llama3"
    assert len(driver.do(local.endpoints.list())["data"]) == 1
    driver.do(local.endpoints.remove(noted["id"]))
    assert isinstance(failure(driver, lambda: local.endpoints.get(noted["id"])), sdk.NotFoundError)
    driver.do(local.bridges.revoke(bridge["id"]))
    assert driver.do(local.bridges.list())["data"] == []


def test_local_mode_asks_the_bridge_alone_and_reports_once(
    driver: Driver, double: ProviderDouble, tmp_path: Path
) -> None:
    """The double stands where the bridge does: both speak OpenAI's chat completions."""
    world = driver.world
    world.acknowledge("local")
    path = tmp_path / "reports.jsonl"
    kind = sdk.AsyncBridge if driver.is_async else sdk.Bridge
    bridge = kind("mf_local_test", double.url, reports=path)
    faucet = driver.client(session_token=world.token, mode="local", bridge=bridge)
    whole = driver.do(faucet.chat("A secret", policy="local_first"))
    streamed = driver.do(faucet.stream("Another secret").until_done())
    assert (whole.text, whole.route_mode, streamed.route_mode) == (double.requests[0].text, "local", "local")
    assert all(sent.headers["authorization"] == "Bearer mf_local_test" for sent in double.requests)
    assert "modelfaucet" not in double.requests[0].body and not UsageEvent.objects.exists()
    kept = path.read_text()
    assert len(kept.splitlines()) == 2 and "secret" not in kept
    again = driver.client(session_token=world.token, bridge=kind(None, double.url, reports=path))
    assert driver.do(again.local.flush()) == 2
    path.write_text(kept)  # as after a crash before the answer was noted
    third = driver.client(session_token=world.token, bridge=kind(None, double.url, reports=path))
    assert driver.do(third.local.flush()) == 2 and path.read_text() == ""
    events = list(UsageEvent.objects.filter(route_mode="local"))
    assert [event.price_nano for event in events] == [FEES.local_fee] * 2
    assert {event.output_tokens for event in events} == {whole.usage.output_tokens, streamed.usage.output_tokens}
    with pytest.raises(ValueError, match="gateway"):
        driver.do(faucet.feature("reply")({"text": "x"}))
    report = sdk.make_report(
        model="m", started_at=now() - timedelta(days=30), ended_at=now(), usage=sdk.Usage(1, 1), error_code="lost"
    )
    assert [row["state"] for row in driver.do(faucet.local.report([report]))] == ["rejected"]
    assert json.loads(kept.splitlines()[0])["report_id"] not in path.read_text()
    driver.do(bridge.close())


def test_bridge_that_is_not_there_is_said_and_nothing_goes_elsewhere(driver: Driver, double: ProviderDouble) -> None:
    bridge = (sdk.AsyncBridge if driver.is_async else sdk.Bridge)("mf_local_test", "http://127.0.0.1:9")
    faucet = driver.client(session_token=driver.world.token, mode="local", bridge=bridge)
    for call in (lambda: faucet.chat("A secret"), lambda: faucet.stream("A secret").until_done(), bridge.status):
        assert isinstance(failure(driver, call), sdk.BridgeError)
    with pytest.raises(ValueError, match="bridge"):
        driver.do(driver.client(session_token=driver.world.token, mode="local").chat("A secret"))
    assert double.requests == [] and not UsageEvent.objects.exists()
    driver.do(bridge.close())
