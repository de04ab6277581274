"""Included allowance: once a month and user, from the app's account, consumed before what was paid for."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.billing.models import CreditLot
from apps.billing.months import month_after, month_of, start_of
from apps.billing.services.allowances import (
    EXHAUSTED,
    GRANTED,
    GRANTED_BEFORE,
    REFUSED,
    ensure_allowance,
    fund_allowance,
    fundable,
    monthly_allowance,
    set_monthly_allowance,
)
from apps.billing.services.credits import draw, expire_lots, unused_paid
from apps.billing.services.risk_actions import take_action
from apps.core.clock import now
from apps.core.errors import BadRequest, InsufficientFunds, NotFound
from apps.core.money import nano_from_usd
from apps.ledger.models import AccountKind, Wallet
from apps.ledger.queries import account_id, balance
from apps.ledger.services.accounts import freeze_wallet, open_account
from apps.ledger.services.transfers import grant
from tests.billing.credit_factories import ACTOR, NOW, assert_drawn, assert_proven, given, paid, remaining, spend
from tests.features.factories import make_app, make_user
from tests.gateway.api_factories import Api, code_of, make_api, make_developer_token, make_stranger
from tests.ledger.factories import at_once, money, take

pytestmark = pytest.mark.django_db
USD = nano_from_usd
APRIL = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def app_with(allowance: int = 100, *, funds: int = 1000) -> Any:
    app = make_app()
    set_monthly_allowance(app.id, allowance, now=NOW, actor=ACTOR)
    if funds:
        pool = open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=app.id, now=NOW)
        grant(pool, funds, idempotency_key=f"pool:{app.id}", now=NOW, actor=ACTOR)
    return app


def wallet_of(user: str) -> int:
    return open_account(kind=AccountKind.END_USER, owner_id=user, now=NOW)


def pool_of(app: Any) -> int:
    return balance(account_id(AccountKind.APP_ALLOWANCE, app.id) or 0).posted


def state(user: str, at: datetime = NOW) -> str:
    given = ensure_allowance(user, now=at)
    assert given is not None
    return given.state


def test_month_begins_and_ends_in_utc():
    december = month_of(datetime(2026, 12, 31, 23, 59, tzinfo=UTC))
    assert start_of(december) == datetime(2026, 12, 1, tzinfo=UTC)
    assert start_of(month_after(december)) == datetime(2027, 1, 1, tzinfo=UTC)
    assert month_of(datetime.fromisoformat("2026-04-01T01:00:00+02:00")) == date(2026, 3, 1)


def test_allowance_is_given_once_a_month_and_expires_at_its_end():
    app = app_with(100)
    user = make_user(app)

    assert [state(user), state(user), state(user, APRIL - timedelta(seconds=1))] == [
        *(GRANTED, GRANTED_BEFORE, GRANTED_BEFORE)
    ]
    lot = CreditLot.objects.get()
    assert (lot.kind, lot.amount_nano, lot.expires_at) == ("allowance", 100, APRIL)

    assert state(user, APRIL) == GRANTED
    assert money(wallet_of(user)) == (200, 0)
    assert expire_lots(now=APRIL) == 1
    assert money(wallet_of(user)) == (100, 0)
    assert pool_of(app) == 900
    assert_drawn(wallet_of(user))


def test_allowance_is_consumed_before_what_was_paid_and_the_unused_rest_returns():
    app = app_with(100)
    user = make_user(app)
    wallet = wallet_of(user)
    paid(wallet, 500, "top_1")
    state(user)

    spend(wallet, 60, "req_1")
    draw(wallet, now=NOW)
    assert remaining(wallet) == {"allowance": 40, "paid": 500}

    spend(wallet, 90, "req_2")
    draw(wallet, now=NOW)
    assert remaining(wallet) == {"paid": 450}
    expire_lots(now=APRIL)
    assert (money(wallet), pool_of(app)) == ((450, 0), 900)

    state(user, APRIL)
    spend(wallet, 30, "req_3")
    expire_lots(now=datetime(2026, 5, 1, tzinfo=UTC))
    assert (money(wallet), pool_of(app)) == ((450, 0), 870)
    assert_drawn(wallet)


def test_without_funds_nothing_is_given_until_there_are_some():
    app = app_with(100, funds=99)
    user = make_user(app)

    assert state(user) == EXHAUSTED
    assert money(wallet_of(user)) == (0, 0)
    grant(account_id(AccountKind.APP_ALLOWANCE, app.id) or 0, 1, idempotency_key="more", now=NOW, actor=ACTOR)
    assert state(user) == GRANTED


def test_frozen_pool_gives_nothing():
    app = app_with()
    freeze_wallet(account_id(AccountKind.APP_ALLOWANCE, app.id) or 0, now=NOW, actor=ACTOR)

    assert state(make_user(app)) == EXHAUSTED


def test_who_has_no_allowance():
    app = app_with()
    assert ensure_allowance(make_user(make_app()), now=NOW) is None
    assert ensure_allowance(make_user(app, "device", anonymous=True), now=NOW) is None
    assert ensure_allowance("usr_none", now=NOW) is None
    set_monthly_allowance(app.id, 0, now=NOW, actor=ACTOR)
    assert ensure_allowance(make_user(app), now=NOW) is None
    assert not CreditLot.objects.exists()


def test_another_amount_is_for_those_who_have_not_had_this_months():
    app = app_with(100)
    early, late = make_user(app, "early"), make_user(app, "late")
    state(early)
    set_monthly_allowance(app.id, 300, now=NOW, actor=ACTOR)

    assert (state(early), state(late)) == (GRANTED_BEFORE, GRANTED)
    assert (money(wallet_of(early)), money(wallet_of(late))) == ((100, 0), (300, 0))
    assert_proven()


def test_setting_what_cannot_be():
    with pytest.raises(NotFound):
        set_monthly_allowance("app_none", 1, now=NOW, actor=ACTOR)
    with pytest.raises(BadRequest):
        set_monthly_allowance(make_app().id, -1, now=NOW, actor=ACTOR)


@pytest.mark.django_db(transaction=True)
def test_sessions_at_once_are_given_one_allowance():
    app = app_with(100)
    user = make_user(app)

    results = at_once([lambda: state(user)] * 8)

    assert set(results) <= {GRANTED, GRANTED_BEFORE}
    assert GRANTED in results
    assert money(wallet_of(user)) == (100, 0)
    assert (pool_of(app), CreditLot.objects.count()) == (900, 1)
    assert_drawn(wallet_of(user))


@pytest.mark.django_db(transaction=True)
def test_users_at_once_never_take_more_than_there_is():
    app = app_with(100, funds=350)
    users = [make_user(app, f"user-{number}") for number in range(10)]

    results = at_once([lambda user=user: state(user) for user in users])

    assert sorted(results) == [*[EXHAUSTED] * 7, *[GRANTED] * 3]
    assert pool_of(app) == 50
    assert_proven()


# Over the API.


def sign_in(api: Api, user: str = "zoe") -> dict[str, Any]:
    answer = api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": api.user_token(user)})
    assert answer.status_code == 201, answer.content
    content: dict[str, Any] = answer.json()
    return content


def test_developer_sets_funds_and_users_get_the_allowance(api: Api) -> None:
    api.world.virtual_key(usd="10")
    app = f"/v1/apps/{api.app_id}"
    headers = {"authorization": f"Bearer {api.developer_token}"}

    def patch(body: Any) -> Any:
        return api.client.patch(app, body, content_type="application/json", headers=headers)

    shown = patch({"monthly_allowance_usd": "0.25", "name": "Renamed"}).json()
    assert (shown["monthly_allowance_usd"], shown["name"]) == ("0.2500", "Renamed")
    assert "allowance" in sign_in(api)
    assert sign_in(api)["allowance"]["state"] == EXHAUSTED

    funds, body = f"{app}/allowance-funds", {"amount_usd": "4"}
    assert code_of(api.post(funds, body, api.developer_token)) == (400, "missing_idempotency_key")
    for _ in range(2):
        answer = api.post(funds, body, api.developer_token, idempotency_key="fund-1")
        assert (answer.status_code, answer.json()["allowance_funds_usd"]) == (201, "4.0000")
    again = api.post(funds, {"amount_usd": "5"}, api.developer_token, idempotency_key="fund-1")
    assert code_of(again) == (409, "idempotency_key_reused")
    much = api.post(funds, {"amount_usd": "7"}, api.developer_token, idempotency_key="fund-2")
    assert code_of(much) == (402, "insufficient_funds")
    for amount in ("0", "-1", "x", None):
        wrong = api.post(funds, {"amount_usd": amount}, api.developer_token, idempotency_key="fund-3")
        assert wrong.status_code == 400

    given = sign_in(api)
    end = start_of(month_after(month_of(now()))).isoformat()
    assert given["allowance"] == {"state": GRANTED, "amount_usd": "0.2500", "expires_at": end, "message": None}
    assert sign_in(api)["allowance"]["state"] == GRANTED_BEFORE
    assert sign_in(api)["balance_usd"] == "0.2500"
    credits = api.get("/v1/user/wallet", given["session_token"]).json()["credits"]
    assert credits == [{"kind": "allowance", "remaining_usd": "0.2500", "expires_at": end}]
    lots = api.get("/v1/user/credits", given["session_token"]).json()["data"]
    assert [(lot["kind"], lot["expires_at"]) for lot in lots] == [("allowance", end)]
    assert api.get(app, api.developer_token).json()["allowance_funds_usd"] == "3.7500"
    wallet = api.get(f"/v1/developers/{api.developer_id}/wallet", api.developer_token).json()
    assert wallet["balance_usd"] == "6.0000"
    assert patch({"monthly_allowance_usd": "x"}).status_code == 400
    assert_proven()


def developer_wallet(api: Api) -> int:
    return open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=api.developer_id, now=now())


def test_only_what_was_paid_for_funds_allowances(api: Api) -> None:
    """Else a promotion would become revenue, through users of the developer's own app."""
    wallet, funds = developer_wallet(api), f"/v1/apps/{api.app_id}/allowance-funds"
    given(wallet, USD("5"))
    refused = api.post(funds, {"amount_usd": "1"}, api.developer_token, idempotency_key="f1")
    assert code_of(refused) == (402, "insufficient_funds")
    paid(wallet, USD("3"), "top_1")
    too_much = api.post(funds, {"amount_usd": "3.5"}, api.developer_token, idempotency_key="f2")
    assert code_of(too_much) == (402, "insufficient_funds")
    for _ in range(2):
        moved = api.post(funds, {"amount_usd": "2"}, api.developer_token, idempotency_key="f3")
        assert (moved.status_code, moved.json()["allowance_funds_usd"]) == (201, "2.0000")
    assert remaining(wallet) == {"promo": USD("5"), "paid": USD("1")}
    assert fundable(api.developer_id) == USD("1")
    spend(wallet, USD("5.5"), "s1")  # spends the promotion first, and half of the rest
    assert fundable(api.developer_id) == USD("0.5")
    draw(wallet, now=NOW)
    assert_drawn(wallet)


def test_an_overdraft_and_what_is_held_fund_no_allowance(api: Api) -> None:
    wallet = developer_wallet(api)
    paid(wallet, USD("3"), "top_1")
    Wallet.objects.filter(pk=wallet).update(overdraft=USD("100"))
    take("req_1", wallet, USD("2"))
    assert fundable(api.developer_id) == USD("1")
    with pytest.raises(InsufficientFunds):
        fund_allowance(api.app_id, USD("1") + 1, idempotency_key="k", now=NOW, actor=ACTOR)


def test_what_no_allowance_took_comes_back(api: Api) -> None:
    wallet, funds = developer_wallet(api), f"/v1/apps/{api.app_id}/allowance-funds"
    paid(wallet, USD("3"), "top_1")
    assert api.post(funds, {"amount_usd": "3"}, api.developer_token, idempotency_key="f").status_code == 201
    back = f"{funds}/withdraw"
    assert code_of(api.post(back, {"amount_usd": "1"}, api.developer_token)) == (400, "missing_idempotency_key")
    too_much = api.post(back, {"amount_usd": "3.1"}, api.developer_token, idempotency_key="w0")
    assert code_of(too_much) == (402, "insufficient_funds")
    for _ in range(2):
        answer = api.post(back, {"amount_usd": "1"}, api.developer_token, idempotency_key="w1")
        assert (answer.status_code, answer.json()["allowance_funds_usd"]) == (201, "2.0000")
    assert remaining(wallet) == {"other": USD("1")}
    assert unused_paid(wallet, "top_1") == 0  # it is not refunded
    assert fundable(api.developer_id) == USD("1")
    assert_drawn(wallet)
    _, _, stranger = make_stranger()
    assert code_of(api.post(back, {"amount_usd": "1"}, stranger, idempotency_key="k")) == (404, "app_not_found")
    reader = make_developer_token(api.developer_id, ["billing:read"])
    assert code_of(api.post(back, {"amount_usd": "1"}, reader, idempotency_key="k")) == (403, "insufficient_scope")


def test_strangers_and_the_wrong_scope(api: Api) -> None:
    _, _, stranger = make_stranger()
    reader = make_developer_token(api.developer_id, ["apps:read", "billing:read"])
    app = f"/v1/apps/{api.app_id}"

    def patch(token: str) -> Any:
        return api.client.patch(
            app, {"monthly_allowance_usd": "1"}, content_type="application/json", headers={"authorization": token}
        )

    assert code_of(api.get(app, stranger)) == (404, "app_not_found")
    assert code_of(patch(f"Bearer {stranger}")) == (404, "app_not_found")
    assert code_of(patch(f"Bearer {reader}")) == (403, "insufficient_scope")
    body = {"amount_usd": "1"}
    funds = f"{app}/allowance-funds"
    assert code_of(api.post(funds, body, stranger, idempotency_key="k")) == (404, "app_not_found")
    assert code_of(api.post(funds, body, reader, idempotency_key="k")) == (403, "insufficient_scope")
    assert monthly_allowance(api.app_id) == 0


def test_app_is_made_with_an_allowance(api: Api) -> None:
    body = {"name": "Second", "monthly_allowance_usd": "0.10"}
    made = api.post(f"/v1/developers/{api.developer_id}/apps", body, api.developer_token)
    assert (made.status_code, made.json()["monthly_allowance_usd"]) == (201, "0.1000")


def test_allowance_is_refused_to_whom_an_operator_suspended(api: Api) -> None:
    set_monthly_allowance(api.app_id, nano_from_usd("1"), now=now(), actor=ACTOR)
    api.fund_allowance("10")
    take_action("app", api.app_id, "suspend", reason="farming", now=now(), actor=ACTOR)

    given = sign_in(api)

    assert (given["allowance"]["state"], given["balance_usd"]) == (REFUSED, "0.0000")


def test_device_allowance_is_a_lot_that_does_not_expire(api: Api) -> None:
    from apps.features.services.apps import update_app

    update_app(app_id=api.app_id, anonymous_allowance=nano_from_usd("0.02"), now=now(), actor=ACTOR)
    api.fund_allowance("1")
    body = {"public_app_id": api.public_id, "device_id": "device-1"}
    token = api.post("/v1/sessions", body).json()["session_token"]

    shown = api.get("/v1/user/wallet", token).json()["credits"]
    assert shown == [{"kind": "allowance", "remaining_usd": "0.0200", "expires_at": None}]
    assert code_of(api.post("/v1/user/promo-codes", {"code": "WELCOME"}, token)) == (403, "proof_required")
    assert_proven()
