"""Promo codes: who may redeem them, once, and what they bring."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from apps.billing.models import CreditLot, PromoCode, PromoRedemption
from apps.billing.services.credits import redeem_code
from apps.billing.services.promos import create_promo_code, end_promo_code
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, FaucetError, NotFound
from apps.core.money import nano_from_usd
from apps.features.services.tokens import revoke_session
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from tests.billing.credit_factories import ACTOR, NOW, assert_drawn, assert_proven
from tests.features.factories import make_app, make_user
from tests.gateway.api_factories import Api, code_of, make_api, make_developer_token, make_stranger
from tests.ledger.factories import at_once, money

pytestmark = pytest.mark.django_db
ADDRESS = "/v1/user/promo-codes"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def code(text: str = "WELCOME", amount: int = 500, **particulars: Any) -> str:
    return create_promo_code(text, amount=amount, **{"now": NOW, "actor": ACTOR, **particulars})


def wallet(app: Any = None, name: str = "alice") -> int:
    user = make_user(app or make_app(), name)
    return open_account(kind=AccountKind.END_USER, owner_id=user, now=NOW)


def redeem(account: int, text: str = "WELCOME", at: Any = NOW) -> str:
    return redeem_code(account, text, now=at, actor=ACTOR)


def refusal(account: int, text: str = "WELCOME", at: Any = NOW) -> str:
    with pytest.raises(FaucetError) as refused:
        redeem(account, text, at)
    return refused.value.code


def test_code_brings_credit_that_expires_once():
    code(credit_days=30)
    account = wallet()

    lot = CreditLot.objects.get(pk=redeem(account, " wel come "))

    assert (lot.kind, lot.amount_nano, lot.expires_at) == ("promo", 500, NOW + timedelta(days=30))
    assert refusal(account) == "promo_used"
    assert money(account) == (500, 0)
    assert PromoCode.objects.get().redemptions == 1
    assert_drawn(account)


def test_code_that_is_unknown_to_come_over_or_used_up():
    account = wallet()
    code("SOON", valid_from=NOW + timedelta(days=1))
    code("SHORT", valid_until=NOW + timedelta(days=1))
    code("ONCE", max_redemptions=1)
    redeem(wallet(name="bob"), "ONCE")

    assert refusal(account, "NOTHING") == "promo_unknown"
    assert refusal(account, "x'; --") == "promo_unknown"
    assert refusal(account, "SOON") == "promo_unknown"
    assert refusal(account, "SHORT", NOW + timedelta(days=1)) == "promo_expired"
    assert refusal(account, "ONCE") == "promo_exhausted"
    assert money(account) == (0, 0)
    assert_proven()


def test_code_for_one_app_developer_or_audience():
    ours, theirs = make_app(), make_app()
    code("APPS", app_id=ours.id)
    code("DEVS-USERS", developer_id=ours.developer_id)
    code("BUILDERS", audience="developer")
    code("ONE-BUILDER", audience="developer", developer_id=ours.developer_id)
    user, stranger = wallet(ours), wallet(theirs)
    builder = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=ours.developer_id, now=NOW)
    other = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=theirs.developer_id, now=NOW)
    revenue = open_account(kind=AccountKind.DEVELOPER, owner_id=ours.developer_id, now=NOW)

    for text, may in (
        ("APPS", {user}),
        ("DEVS-USERS", {user}),
        ("BUILDERS", {builder, other}),
        ("ONE-BUILDER", {builder}),
    ):
        for account in (user, stranger, builder, other, revenue):
            if account in may:
                redeem(account, text)
            else:
                assert refusal(account, text) == "promo_unknown"
    assert_proven()


def test_code_that_would_fill_a_wallet_above_its_maximum(settings: Settings):
    settings.MAX_BALANCE_USD = 1
    code(amount=nano_from_usd("0.60"))
    code("MORE", amount=nano_from_usd("0.60"))
    account = wallet()
    redeem(account)

    assert refusal(account, "MORE") == "balance_limit"
    assert PromoCode.objects.get(code="MORE").redemptions == 0
    settings.MAX_BALANCE_USD = 0
    redeem(account, "MORE")


def test_code_that_was_ended_keeps_what_it_gave():
    promo = code()
    account = wallet()
    redeem(account)

    assert end_promo_code(promo, now=NOW, actor=ACTOR)
    assert not end_promo_code(promo, now=NOW, actor=ACTOR)
    assert refusal(wallet(name="bob")) == "promo_expired"
    assert money(account) == (500, 0)
    with pytest.raises(NotFound):
        end_promo_code("promo_none", now=NOW, actor=ACTOR)


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "abc"},
        {"text": "x" * 41},
        {"text": "with'quote"},
        {"amount": 0},
        {"max_redemptions": 0},
        {"valid_until": NOW},
        {"credit_days": 0},
        {"app_id": "app_none"},
        {"audience": "all"},
        {"audience": "developer", "app_id": "app_1"},
    ],
)
def test_code_that_cannot_be_made(wrong: dict[str, Any]):
    with pytest.raises(BadRequest):
        code(**wrong)
    assert not PromoCode.objects.exists()


def test_code_is_made_once():
    code()
    with pytest.raises(Conflict) as refused:
        code("welcome")
    assert refused.value.code == "already_exists"


@pytest.mark.django_db(transaction=True)
def test_last_redemption_at_once_is_one():
    code(max_redemptions=3)
    app = make_app()
    accounts = [wallet(app, f"user-{number}") for number in range(10)]

    results = at_once([lambda account=account: redeem(account) for account in accounts])

    refused = [result.code for result in results if isinstance(result, FaucetError)]
    assert refused == ["promo_exhausted"] * 7
    assert sum(money(account)[0] for account in accounts) == 1500
    assert (PromoCode.objects.get().redemptions, PromoRedemption.objects.count()) == (3, 3)
    assert_proven()


@pytest.mark.django_db(transaction=True)
def test_one_wallet_at_once_redeems_once():
    code()
    account = wallet()

    results = at_once([lambda: redeem(account)] * 8)

    assert sorted(getattr(result, "code", "lot") for result in results) == ["lot", *["promo_used"] * 7]
    assert money(account) == (500, 0)
    assert_drawn(account)


# Over the API.


def test_user_redeems_over_the_api(api: Api) -> None:
    code(amount=nano_from_usd("0.50"), valid_from=now() - timedelta(days=1))
    answer = api.post(ADDRESS, {"code": "welcome"}, api.world.token)
    assert answer.status_code == 201
    assert (answer.json()["amount_usd"], answer.json()["kind"]) == ("0.5000", "promo")
    assert answer.json()["balance_usd"] == "10.5000"
    assert code_of(api.post(ADDRESS, {"code": "WELCOME"}, api.world.token)) == (409, "promo_used")
    assert code_of(api.post(ADDRESS, {"code": "NOTHING"}, api.world.token)) == (404, "promo_unknown")
    assert code_of(api.post(ADDRESS, {}, api.world.token)) == (400, "missing_parameter")
    assert code_of(api.post(ADDRESS, {"code": 5}, api.world.token)) == (400, "invalid_type")
    assert code_of(api.post(ADDRESS, {"code": "a\0bcd"}, api.world.token)) == (400, "invalid_type")
    shown = api.get("/v1/user/wallet", api.world.token).json()["credits"]
    assert [credit["kind"] for credit in shown] == ["promo", "other"]


def test_guesses_are_counted(api: Api, settings: Settings) -> None:
    settings.PROMO_ATTEMPTS = "3/hour"
    other = api.world.new_session("carol")
    for number in range(3):
        assert code_of(api.post(ADDRESS, {"code": f"GUESS-{number}"}, api.world.token)) == (404, "promo_unknown")
    answer = api.post(ADDRESS, {"code": "GUESS-4"}, api.world.token)
    assert code_of(answer) == (429, "rate_limited")
    assert int(answer["retry-after"]) > 0
    # Another user from the same address has no more luck.
    assert code_of(api.post(ADDRESS, {"code": "GUESS-5"}, other.token)) == (429, "rate_limited")


def test_who_may_not_redeem(api: Api) -> None:
    code(valid_from=now() - timedelta(days=1))
    body = {"code": "WELCOME"}
    assert code_of(api.post(ADDRESS, body)) == (401, "missing_token")
    assert code_of(api.post(ADDRESS, body, api.world.virtual_key())) == (403, "end_user_required")
    other = api.world.new_session("carol")
    from apps.features.queries import authenticate

    revoke_session(session_id=authenticate(other.token, now=now()).id, now=now(), actor=ACTOR)
    assert api.post(ADDRESS, body, other.token).status_code == 401
    assert not PromoRedemption.objects.exists()


def test_developer_redeems_for_prepaid_credit(api: Api) -> None:
    code(amount=nano_from_usd("5"), audience="developer", valid_from=now() - timedelta(days=1))
    address = f"/v1/developers/{api.developer_id}/promo-codes"
    _, _, stranger = make_stranger()
    reader = make_developer_token(api.developer_id, ["billing:read"])
    body = {"code": "WELCOME"}
    assert code_of(api.post(address, body, stranger)) == (404, "developer_not_found")
    assert code_of(api.post(address, body, reader)) == (403, "insufficient_scope")
    assert code_of(api.post(ADDRESS, body, api.world.token)) == (404, "promo_unknown")

    assert api.post(address, body, api.developer_token).json()["balance_usd"] == "5.0000"

    shown = api.get(f"/v1/developers/{api.developer_id}/wallet", reader).json()
    assert (shown["balance_usd"], [credit["kind"] for credit in shown["credits"]]) == ("5.0000", ["promo"])
    lots = api.get(f"/v1/developers/{api.developer_id}/credits", reader).json()["data"]
    assert [(lot["kind"], lot["remaining_usd"]) for lot in lots] == [("promo", "5.0000")]
    for path in ("wallet", "credits"):
        assert code_of(api.get(f"/v1/developers/{api.developer_id}/{path}", stranger))[0] == 404
    assert_proven()
