"""/v1/developers/{id}/payouts and /payout-account."""

from typing import Any

import pytest
from django.test import Client

from apps.billing.services.payout_accounts import stop_payouts, use_bank_details
from apps.billing.services.payout_reviews import approve, hold, mark_paid, reject
from apps.billing.services.payouts import run_proposals
from apps.core import addresses
from apps.core.clock import now
from tests.billing.payout_factories import BANK, NOW, WHY, earn, operator
from tests.fakestripe import FakeStripe
from tests.gateway.api_factories import (
    Api,
    code_of,
    error_of,
    make_api,
    make_developer_token,
    make_stranger,
    settle_call,
)
from tests.live import rate_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client, settings: Any) -> Api:
    settings.PAYOUT_RESERVE_BPS = 0
    return make_api(client)


def ready(api: Api, amount: str = "100") -> None:
    use_bank_details(api.developer_id, BANK, now=NOW, actor="token:dtok_1")
    earn(api.developer_id, amount)


def path(api: Api, rest: str = "payouts") -> str:
    return f"/v1/developers/{api.developer_id}/{rest}"


def ask(api: Api, **body: Any) -> Any:
    return api.post(path(api), body, api.developer_token)


def account(api: Api, query: str = "") -> dict[str, Any]:
    response = api.get(path(api, "payout-account") + query, api.developer_token)
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def test_a_developer_follows_a_payout_from_request_to_arrival(api: Api) -> None:
    ready(api)
    made = ask(api, amount_usd="60.00")
    assert made.status_code == 201
    content = made.json()
    assert (content["status"], content["amount_usd"], content["requested"]) == ("pending", "60.0000", True)
    payout_id = content["id"]

    def status() -> str:
        found = api.get(f"{path(api)}/{payout_id}", api.developer_token).json()
        assert api.get(path(api), api.developer_token).json()["data"] == [found]
        return str(found["status"])

    assert status() == "pending"
    approve(payout_id, actor=operator(), **WHY)
    assert status() == "approved"
    mark_paid(payout_id, reference="B-7", actor=operator(), **WHY)
    assert status() == "paid"
    assert account(api)["payable_usd"] == "40.0000"
    assert code_of(ask(api)) == (409, "payout_period_used")


def test_held_and_rejected_are_shown(api: Api) -> None:
    ready(api)
    payout_id = ask(api).json()["id"]
    hold(payout_id, actor=operator(), **WHY)
    assert api.get(f"{path(api)}/{payout_id}", api.developer_token).json()["status"] == "held"
    reject(payout_id, actor=operator(), **WHY)
    assert api.get(f"{path(api)}/{payout_id}", api.developer_token).json()["status"] == "rejected"


def test_the_list_has_pages(api: Api) -> None:
    ready(api)
    for _ in range(3):
        reject(ask(api).json()["id"], actor=operator(), **WHY)
    first = api.get(f"{path(api)}?limit=2", api.developer_token).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    second = api.get(f"{path(api)}?limit=2&cursor={first['next_cursor']}", api.developer_token).json()
    assert (len(second["data"]), second["has_more"]) == (1, False)
    ids = [row["id"] for row in first["data"] + second["data"]]
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"amount_usd": 60}, "amount_usd"),
        ({"amount_usd": "x"}, "amount_usd"),
        ({"amount_usd": "1e40"}, "amount_usd"),
        ({"amount_usd": "60.001"}, "amount"),
        ({"amount_usd": "101"}, "amount"),
    ],
)
def test_a_bad_amount_is_refused(api: Api, body: Any, param: str) -> None:
    ready(api)
    response = ask(api, **body)
    assert (response.status_code, error_of(response)["param"]) == (400, param)


def test_asking_without_an_account_or_while_stopped_is_refused(api: Api) -> None:
    earn(api.developer_id, "100")
    assert code_of(ask(api)) == (409, "payout_account_not_ready")
    use_bank_details(api.developer_id, BANK, now=NOW, actor="x")
    stop_payouts(api.developer_id, reason="x", now=NOW, actor="user:1")
    assert code_of(ask(api)) == (409, "payouts_stopped")
    assert account(api)["stopped"] is True


def test_an_empty_account_says_what_there_is(api: Api) -> None:
    found = account(api)
    assert (found["rail"], found["ready"], found["payable_usd"]) == (None, False, "0.0000")
    assert (found["minimum_usd"], found["hold_days"], found["maturing"]) == ("25.0000", 30, [])
    settle_call(api.world.token)
    rate_all()
    found = account(api)
    assert [line["amount_usd"] for line in found["maturing"]] == ["0.0009708"]
    assert (found["maturing_usd"], found["payable_usd"]) == ("0.0009708", "0.0000")
    run_proposals(now=now())
    assert account(api)["not_proposed_because"] == "no_account"


def test_revenue_says_what_is_maturing_and_payable(api: Api) -> None:
    ready(api)
    settle_call(api.world.token)
    rate_all()
    found = api.get(path(api, "revenue"), api.developer_token).json()
    assert (found["payable_usd"], found["maturing_usd"]) == ("100.0000", "0.0009708")
    assert (found["matured_usd"], found["balance_usd"]) == ("100.0000", "100.0009708")


def test_a_payout_is_broken_down_by_app(api: Api) -> None:
    ready(api)
    settle_call(api.world.token, at=now().replace(year=now().year - 1))
    rate_all()
    part, _ = sorted(ask(api).json()["by_app"], key=lambda part: part["app_id"] != api.app_id)
    assert part == {
        "app_id": api.app_id,
        "calls": 1,
        "retail_price_usd": "0.0084945",
        "channel_revenue_usd": "0.0009708",
    }


def test_bank_details_are_taken_and_not_shown(api: Api) -> None:
    response = api.post(path(api, "payout-account"), {"rail": "manual", "bank_details": BANK}, api.developer_token)
    assert response.status_code == 200
    assert (response.json()["ready"], response.json()["bank_details_hint"]) == (True, "3000")
    assert b"DE89" not in response.content
    bad = api.post(path(api, "payout-account"), {"rail": "manual", "bank_details": {}}, api.developer_token)
    assert code_of(bad) == (400, "invalid_bank_details")


def test_onboarding_leads_to_stripe_and_back(api: Api, fakestripe: FakeStripe) -> None:
    body = {"rail": "stripe", "country": "US", "return_url": "https://dev.example/back"}
    response = api.post(path(api, "payout-account"), body, api.developer_token)
    assert response.status_code == 200, response.content
    found = response.json()
    assert found["onboarding_url"].startswith("https://connect.stripe.com/")
    fakestripe.onboard(found["stripe_account_id"])
    assert account(api)["ready"] is False
    assert account(api, "?refresh=1")["ready"] is True


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"rail": "cash"},
        {"rail": "manual"},
        {"rail": "manual", "bank_details": "x"},
        {"rail": "stripe"},
        {"rail": "stripe", "country": "US"},
        {"rail": "stripe", "country": "usa", "return_url": "https://dev.example"},
        {"rail": "stripe", "country": "US", "return_url": "http://dev.example"},
    ],
)
def test_a_bad_account_is_refused(api: Api, fakestripe: FakeStripe, body: Any) -> None:
    response = api.post(path(api, "payout-account"), body, api.developer_token)
    assert response.status_code == 400, response.content
    assert error_of(response)["code"]


def test_onboarding_with_stripe_off_says_so(api: Api, settings: Any) -> None:
    settings.STRIPE_ENABLED = False
    body = {"rail": "stripe", "country": "US", "return_url": "https://dev.example/back"}
    assert code_of(api.post(path(api, "payout-account"), body, api.developer_token)) == (503, "payments_off")


def test_a_stranger_sees_nothing(api: Api) -> None:
    ready(api)
    payout_id = ask(api).json()["id"]
    other, _, token = make_stranger()
    for rest in ("payouts", f"payouts/{payout_id}", "payout-account"):
        assert code_of(api.get(path(api, rest), token)) == (404, "developer_not_found")
    for rest in ("payouts", "payout-account"):
        assert code_of(api.post(path(api, rest), {"rail": "manual"}, token)) == (404, "developer_not_found")
    assert code_of(api.get(f"/v1/developers/{other}/payouts/{payout_id}", token)) == (404, "payout_not_found")
    assert code_of(api.get(f"{path(api)}/pay_a%00b", api.developer_token)) == (404, "payout_not_found")


def test_each_address_needs_its_scope(api: Api) -> None:
    ready(api)
    reads = make_developer_token(api.developer_id, ["payouts:read"])
    others = make_developer_token(api.developer_id, ["billing:write", "revenue:read"])
    assert api.get(path(api), reads).status_code == 200
    for rest in ("payouts", "payout-account"):
        assert code_of(api.get(path(api, rest), others)) == (403, "insufficient_scope")
        assert code_of(api.post(path(api, rest), {}, reads)) == (403, "insufficient_scope")
        assert code_of(api.get(path(api, rest))) == (401, "missing_token")


def test_changes_are_limited(api: Api, settings: Any) -> None:
    settings.PAYOUT_CHANGES = "2/hour"
    addresses.forget()
    ready(api)
    codes = [code_of(ask(api, amount_usd="1")) for _ in range(3)]
    assert codes[:2] == [(400, "below_minimum")] * 2
    assert codes[2] == (429, "rate_limited")
