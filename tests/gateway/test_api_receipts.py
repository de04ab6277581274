"""GET /v1/receipts/{request_id}: who sees what of a call."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.catalog.queries import load_catalog
from apps.core.clock import now
from apps.developers.models import Scope
from apps.features.queries import authenticate, load_terms
from apps.features.services.apps import set_app_terms
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import issue_virtual_key, revoke_session
from apps.ledger.models import LedgerEntry
from apps.usage.rate import Overheads, rate
from tests.gateway.api_factories import (
    TOKENS,
    Api,
    code_of,
    make_api,
    make_developer_token,
    make_stranger,
    settle_call,
)
from tests.live import ACTOR, MODEL, rate_all

pytestmark = pytest.mark.django_db

COST, PRICE, MARGIN, SHARE, REST = "0.0060675", "0.0084945", "0.002427", "0.0009708", "0.0014562"
ROUTING = {
    "policy": "cheapest_sufficient",
    "requested_model": "auto",
    "rule": 1,
    "task_class": "summary",
    "targets": [{"candidate": "double-0/upstream-model", "mode": "platform"}],
    "rejected": [{"candidate": "double-3/m", "mode": "platform", "reason": "resale_not_allowed"}],
}
DECIDED = {
    "policy": "cheapest_sufficient",
    "task_class": "summary",
    "routing": ROUTING,
    "manifest_id": "man_1",
    "redactions": 2,
    "degraded": True,
    "output_cap": 300,
    "estimated": True,
}
LIST_PRICE = {"from_tokens": 0, "input": "3.0000", "cache_read": "0.3000", "cache_write": "3.7500", "output": "15.0000"}
RATES = {"from_tokens": 0, "input": "4.2000", "cache_read": "0.4200", "cache_write": "5.2500", "output": "21.0000"}

# What only some may see, wherever in the receipt it stands.
OF_THE_DEVELOPER = {
    *("developer_usd", "margin_usd", "cost_usd", "infra_usd", "payment_usd", "list_price", "markup_bps", "share_bps"),
    *("transaction_id", "end_user_id", "developer_id", "app_id", "principal_id", "manifest_id"),
}
OF_THE_OPERATOR = {
    *("credential_id", "platform_usd", "loss_usd", "discount_bps", "list_tiers", "terms_id", "account_id"),
    *("prompt_hash", "rating_error", "payment_bps"),
}


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def receipt(api: Api, request_id: str, token: str | None = None) -> dict[str, Any]:
    response = api.get(f"/v1/receipts/{request_id}", token or api.world.token)
    assert response.status_code == 200, response.content
    content: dict[str, Any] = response.json()
    return content


def staff(*permissions: str) -> Client:
    """Log a member of the operator's staff in and return the browser."""
    user = User.objects.create_user(f"staff-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def seen_by_operator(request_id: str) -> dict[str, Any]:
    response = staff("view_usageevent").get(f"/v1/receipts/{request_id}")
    assert response.status_code == 200, response.content
    content: dict[str, Any] = response.json()
    return content


def keys_of(value: Any) -> set[str]:
    """Return every member's name in a JSON value."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    if not isinstance(value, dict):
        return set()
    return set(value) | set().union(*map(keys_of, value.values()))


def terms_of(api: Api, **terms: Any) -> None:
    set_app_terms(app_id=api.app_id, terms=TermsInput(**terms), now=now(), actor=ACTOR)


def call_in(api: Api, mode: str, *, token: str = "", charged: bool = True, **row: Any) -> str:
    """Settle a call in a route mode, priced as `rate` does."""
    token = token or api.world.token
    price = load_catalog(now=now()).offers[MODEL][0].price
    terms = authenticate(token, now=now()).terms
    charge = rate(TOKENS, price, terms, mode=mode, overheads=Overheads(), charged=charged)
    values = {"price_nano": charge.price, "cost_nano": charge.cost, "provider_bill_nano": charge.provider_bill}
    return settle_call(token, route_mode=mode, charged=charged, **values, **row)


def test_receipt_of_the_end_user(api: Api) -> None:
    request_id = settle_call(api.world.token, **DECIDED)
    rate_all()
    found = receipt(api, request_id)
    times = {name: found.pop(name) for name in ("started_at", "at", "rated_at")}
    assert all(datetime.fromisoformat(value).tzinfo is not None for value in times.values())
    version = found["pricing"].pop("price_version_id")
    assert version.startswith("pv_")
    assert found == {
        "object": "receipt",
        "request_id": request_id,
        "audience": "end_user",
        "endpoint": "chat.completions",
        "stream": False,
        "feature_key": "default",
        "requested_model": MODEL,
        "served_model": "upstream-model",
        "provider": "double-0",
        "route_mode": "platform",
        "policy": "cheapest_sufficient",
        "task_class": "summary",
        "routing": {"rule": 1, "targets": ROUTING["targets"], "rejected": ROUTING["rejected"]},
        "attempts": [{"provider": "double-9", "model": "m", "code": "down", "status": 503, "ms": 4}],
        "outcome": "finished",
        "charged": True,
        "finish_reason": "stop",
        "status": 200,
        "error_code": None,
        "tokens": {
            "input": 1000,
            "cache_read": 100,
            "cache_write": 10,
            "output": 200,
            "reasoning": 50,
            "total": 1310,
        },
        "estimated": True,
        "degraded": True,
        "shortened": True,
        "output_cap": 300,
        "cache": None,
        "redactions": 2,
        "currency": "usd",
        "price_usd": PRICE,
        "pricing": {
            "basis": "tokens",
            "per_request_usd": None,
            "cache_price_bps": None,
            "unit": "usd per 1,000,000 tokens",
            "rates": RATES,
        },
        "split": {"state": "posted", "price_usd": PRICE},
        "rated": True,
        "first_byte_ms": 40,
        "duration_ms": 80,
    }
    assert keys_of(found).isdisjoint(OF_THE_DEVELOPER | OF_THE_OPERATOR)


def test_receipt_of_the_developer(api: Api) -> None:
    request_id = settle_call(api.world.token, **DECIDED)
    rate_all()
    found = receipt(api, request_id, api.developer_token)
    assert found["audience"] == "developer"
    assert (found["app_id"], found["developer_id"]) == (api.app_id, api.developer_id)
    assert found["end_user_id"] == api.world.end_user_id
    assert found["principal_id"].startswith("sess_") and found["manifest_id"] == "man_1"
    assert (found["pricing"]["list_price"], found["pricing"]["rates"]) == (LIST_PRICE, RATES)
    assert (found["pricing"]["markup_bps"], found["pricing"]["share_bps"]) == (4000, 4000)
    split = found["split"]
    entries = LedgerEntry.objects.filter(transaction_id=int(split.pop("transaction_id")))
    assert sum(entry.amount for entry in entries) == 0 and entries.count() == 4
    assert split == {
        "state": "posted",
        "price_usd": PRICE,
        "cost_usd": COST,
        "infra_usd": "0.0000",
        "payment_usd": "0.0000",
        "margin_usd": MARGIN,
        "developer_usd": SHARE,
    }
    assert keys_of(found).isdisjoint(OF_THE_OPERATOR)
    assert "cred_" not in str(found)


def test_receipt_of_the_operator(api: Api) -> None:
    request_id = settle_call(api.world.token, prompt_hash="ab" * 32, **DECIDED)
    rate_all()
    found = seen_by_operator(request_id)
    assert found["audience"] == "operator"
    assert keys_of(found) >= (OF_THE_OPERATOR | OF_THE_DEVELOPER)
    assert found["credential_id"] == found["attempts"][0]["credential_id"] == "cred_secret"
    assert found["account_id"] == api.world.account_id and found["prompt_hash"] == "ab" * 32
    assert (found["split"]["platform_usd"], found["split"]["loss_usd"]) == (REST, "0.0000")
    assert found["pricing"]["list_tiers"] == [LIST_PRICE] and found["pricing"]["discount_bps"] == 0
    assert load_terms([found["pricing"]["terms_id"]])


def test_receipt_of_a_virtual_key_is_for_its_own_calls(api: Api) -> None:
    token = api.world.virtual_key(usd="5")
    other, _ = issue_virtual_key(app_id=api.app_id, name="other", now=now(), actor=ACTOR)
    request_id = settle_call(token)
    of_a_user = settle_call(api.world.token)
    rate_all()
    found = receipt(api, request_id, token)
    assert (found["audience"], found["price_usd"]) == ("virtual_key", PRICE)
    assert found["split"] == {"state": "posted", "price_usd": PRICE}
    assert keys_of(found).isdisjoint(OF_THE_DEVELOPER | OF_THE_OPERATOR)
    assert code_of(api.get(f"/v1/receipts/{request_id}", other)) == (404, "receipt_not_found")
    assert code_of(api.get(f"/v1/receipts/{of_a_user}", token)) == (404, "receipt_not_found")


def test_receipt_before_rating_has_a_price_and_a_pending_split(api: Api) -> None:
    request_id = settle_call(api.world.token)
    shown = [
        receipt(api, request_id),
        receipt(api, request_id, api.developer_token),
        seen_by_operator(request_id),
    ]
    for found in shown:
        assert (found["split"], found["rated"], found["rated_at"]) == ({"state": "pending"}, False, None)
        assert found["price_usd"] == PRICE
    rate_all()
    assert receipt(api, request_id, api.developer_token)["split"]["developer_usd"] == SHARE


def test_receipt_that_rating_set_aside(api: Api) -> None:
    request_id = settle_call(api.world.token, price_nano=5)  # not what rate() makes of it
    rate_all()
    assert receipt(api, request_id)["split"] == {"state": "set_aside"}
    assert "rated" in seen_by_operator(request_id)["rating_error"]


def test_receipt_of_a_call_on_the_users_own_key(api: Api) -> None:
    terms_of(api, byok_fee=1_500_000, share_bps=4000)
    request_id = call_in(api, "byok")
    rate_all()
    mine, theirs = receipt(api, request_id), receipt(api, request_id, api.developer_token)
    assert mine["pricing"]["basis"] == "fee" and mine["pricing"]["per_request_usd"] == "0.0015"
    assert mine["pricing"]["rates"] is None
    # The bill of the key's owner is the owner's: the developer does not see it.
    assert mine["split"] == {"state": "posted", "price_usd": "0.0015", "provider_bill_usd": COST}
    assert "provider_bill_usd" not in theirs["split"]
    assert (theirs["split"]["cost_usd"], theirs["split"]["developer_usd"]) == ("0.0000", "0.0006")
    assert seen_by_operator(request_id)["split"]["provider_bill_usd"] == COST


@pytest.mark.parametrize(
    ("terms", "basis", "per_request", "price", "share"),
    [
        ({"developer_pricing": "markup_share"}, "tokens", None, PRICE, "0.0070383"),
        (
            {"developer_pricing": "own_price", "own_price": 9_000_000, "gateway_fee": 1_000_000},
            *("fixed", "0.0090"),
            *("0.0090", "0.0080"),
        ),
        ({"developer_pricing": "fee_only", "gateway_fee": 1_000_000}, "fee", "0.0010", "0.0010", "0.0000"),
    ],
    ids=["markup share", "own price", "fee only"],
)
def test_receipt_of_a_call_on_the_developers_key(
    api: Api, terms: dict[str, Any], basis: str, per_request: str | None, price: str, share: str
) -> None:
    terms_of(api, markup_bps=4000, share_bps=4000, **terms)
    request_id = call_in(api, "developer_key")
    rate_all()
    mine, theirs = receipt(api, request_id), receipt(api, request_id, api.developer_token)
    assert (mine["pricing"]["basis"], mine["pricing"]["per_request_usd"]) == (basis, per_request)
    assert mine["split"] == {"state": "posted", "price_usd": price}
    assert mine["pricing"]["rates"] == (RATES if basis == "tokens" else None)
    assert (theirs["split"]["provider_bill_usd"], theirs["split"]["developer_usd"]) == (COST, share)


def test_receipt_of_a_call_at_a_fixed_price(api: Api) -> None:
    terms_of(api, platform_pricing="fixed", fixed_price=6_000_000, share_bps=4000)
    request_id = call_in(api, "platform")
    rate_all()
    pricing = receipt(api, request_id)["pricing"]
    assert (pricing["basis"], pricing["per_request_usd"], pricing["rates"]) == ("fixed", "0.0060", None)


def test_receipt_of_an_answer_from_the_cache(api: Api) -> None:
    cached = {"cache": "exact", "cache_price_bps": 5000, "price_nano": 4_247_250, "cost_nano": 0}
    request_id = settle_call(api.world.token, **cached)
    rate_all()
    found = receipt(api, request_id)
    assert (found["cache"], found["pricing"]["cache_price_bps"], found["price_usd"]) == ("exact", 5000, "0.00424725")
    assert receipt(api, request_id, api.developer_token)["split"]["cost_usd"] == "0.0000"


def test_receipt_of_a_call_that_nobody_served(api: Api) -> None:
    request_id = settle_call(
        api.world.token,
        charged=False,
        outcome="not_served",
        status=502,
        error_code="all_providers_failed",
        finish_reason=None,
        first_byte_ms=None,
        **{f"{kind}_tokens": 0 for kind in ("input", "cache_read", "cache_write", "output", "reasoning")},
        price_nano=0,
        cost_nano=0,
    )
    rate_all()
    found = receipt(api, request_id)
    assert (found["outcome"], found["charged"], found["error_code"]) == ("not_served", False, "all_providers_failed")
    assert (found["price_usd"], found["tokens"]["total"]) == ("0.0000", 0)
    assert found["attempts"][0]["code"] == "down"
    assert receipt(api, request_id, api.developer_token)["split"]["transaction_id"] is None  # no money moved


def test_receipt_of_an_abandoned_call(api: Api) -> None:
    request_id = settle_call(
        api.world.token,
        charged=False,
        outcome="abandoned",
        status=0,
        error_code="process_died",
        attempts=[],
        estimated=True,
    )
    rate_all()
    found = receipt(api, request_id)
    assert (found["routing"], found["policy"], found["attempts"]) == (None, None, [])
    assert (found["price_usd"], found["split"]) == ("0.0000", {"state": "posted", "price_usd": "0.0000"})
    assert seen_by_operator(request_id)["split"]["loss_usd"] == COST


def test_receipt_is_none_of_a_strangers_business(api: Api) -> None:
    request_id = settle_call(api.world.token)
    neighbour = api.world.new_session("bob")
    _, _, strange = make_stranger()
    missing = api.get("/v1/receipts/req_unknown", api.world.token)
    for token in (neighbour.token, strange, api.world.virtual_key()):
        response = api.get(f"/v1/receipts/{request_id}", token)
        assert code_of(response) == (404, "receipt_not_found")
        assert response.json()["error"]["message"] == missing.json()["error"]["message"]
    assert code_of(missing) == (404, "receipt_not_found")
    assert code_of(api.get("/v1/receipts/req%00", api.world.token)) == (404, "receipt_not_found")


def test_receipt_is_shown_to_another_session_of_the_same_user(api: Api) -> None:
    request_id = settle_call(api.world.token)
    again = api.world.new_session("alice")
    assert again.token != api.world.token
    assert receipt(api, request_id, again.token)["request_id"] == request_id


def test_receipt_needs_a_token_that_is_valid(api: Api) -> None:
    request_id = settle_call(api.world.token)
    address = f"/v1/receipts/{request_id}"
    assert code_of(api.get(address)) == (401, "missing_token")
    assert code_of(api.get(address, "mf_dev_wrong")) == (401, "invalid_token")
    blind = make_developer_token(api.developer_id, [Scope.REVENUE_READ])
    assert code_of(api.get(address, blind)) == (403, "insufficient_scope")
    revoke_session(session_id=authenticate(api.world.token, now=now()).id, now=now(), actor=ACTOR)
    assert api.get(address, api.world.token).status_code == 401


def test_receipt_takes_staff_with_the_permission_alone(api: Api) -> None:
    address = f"/v1/receipts/{settle_call(api.world.token)}"
    assert staff("view_usageevent").get(address).status_code == 200
    assert code_of(staff("view_app").get(address)) == (401, "missing_token")
    outsider = Client()
    outsider.force_login(User.objects.create_user("visitor"))
    assert code_of(outsider.get(address)) == (401, "missing_token")
    # A token decides by itself: a member of staff who tries a user's token sees what the user sees.
    tried = staff("view_usageevent").get(address, headers={"authorization": f"Bearer {api.world.token}"})
    assert tried.json()["audience"] == "end_user"
    inactive = staff("view_usageevent")
    User.objects.update(is_active=False)
    assert inactive.get(address).status_code == 401


def test_receipt_takes_a_few_queries(api: Api) -> None:
    request_id = settle_call(api.world.token)
    rate_all()
    receipt(api, request_id)
    with CaptureQueriesContext(connection) as captured:
        receipt(api, request_id)
    assert len(captured) == 2  # who asks, and the call with its charge; prices and terms never change
