"""How much a wallet may hold, and spend a day: by the settings, or by what an operator set for it."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from apps.billing.models import WalletLimit
from apps.billing.services.credits import check_balance_limit
from apps.billing.services.wallet_limits import bind_daily_spend, max_balance_of, set_wallet_limit
from apps.core.errors import BadRequest, NotFound
from apps.core.models import ForgottenCaller
from apps.core.money import NANO_PER_USD
from apps.ledger.models import AccountKind
from apps.usage.budgets.queries import load_budgets, load_own_budgets, owned_budgets
from apps.usage.services.budgets import create_budget, update_budget
from tests.billing.credit_factories import ACTOR, NOW, account, paid
from tests.features.factories import make_app, make_user
from tests.gateway.api_factories import Api, make_api
from tests.ledger.factories import sql
from tests.live import World, wait_until
from tests.provider_double import ProviderDouble

pytestmark = pytest.mark.django_db
USD = NANO_PER_USD


def limit(account_id: int, **values: Any) -> None:
    given = {"max_balance": None, "daily_spend": None, "low_balance": None, **values}
    set_wallet_limit(account_id, **given, now=NOW, actor=ACTOR)


def test_maximum_is_the_setting_or_the_wallets_own(settings: Settings):
    settings.MAX_BALANCE_USD, settings.MAX_DEVELOPER_BALANCE_USD = 5, 0
    user, developer = account(), account("dev_1", kind=AccountKind.DEVELOPER_CREDIT)
    platform = account("operator", kind=AccountKind.PLATFORM)
    assert [max_balance_of(each) for each in (user, developer, platform)] == [5 * USD, None, None]

    limit(user, max_balance=7 * USD)
    assert max_balance_of(user) == 7 * USD
    limit(user)
    assert max_balance_of(user) == 5 * USD
    with pytest.raises(NotFound):
        max_balance_of(0)


def test_credit_above_the_maximum_is_refused(settings: Settings):
    settings.MAX_BALANCE_USD = 5
    user = account()
    paid(user, 3 * USD, "top_1")

    check_balance_limit(user, 2 * USD, now=NOW)
    with pytest.raises(BadRequest) as refused:
        check_balance_limit(user, 2 * USD + 1, now=NOW)
    assert refused.value.code == "balance_limit"
    assert (refused.value.details or {})["room_usd"] == "2.0000"


@pytest.mark.parametrize("wrong", [{"max_balance": -1}, {"daily_spend": 0}, {"low_balance": 10**18}])
def test_limit_that_cannot_be(wrong: dict[str, int]):
    with pytest.raises(BadRequest) as refused:
        limit(account(), **wrong)
    assert refused.value.code == "invalid_amount"
    assert not WalletLimit.objects.exists()


def test_only_users_and_developers_have_limits():
    with pytest.raises(BadRequest) as refused:
        limit(account("operator", kind=AccountKind.PLATFORM), max_balance=1)
    assert refused.value.code == "no_such_limit"


# A day's spend.


def caps_of(user: str) -> list[tuple[int, bool]]:
    return [(cap.amount, cap.enabled) for cap in owned_budgets("end_user", [user], now=NOW) if cap.period == "day"]


def test_default_binds_and_follows_the_setting(settings: Settings):
    user = make_user(make_app())
    settings.DAILY_SPEND_USD = 0
    bind_daily_spend(user, now=NOW)
    assert caps_of(user) == []

    for amount, caps in (
        (3, [(3 * USD, True)]),
        (4, [(4 * USD, True)]),
        (0, [(4 * USD, False)]),
        (2, [(2 * USD, True)]),
    ):
        settings.DAILY_SPEND_USD = amount
        bind_daily_spend(user, now=NOW)
        assert caps_of(user) == caps


def test_default_is_loaded_with_its_user_and_makes_only_that_one_be_forgotten(settings: Settings):
    settings.DAILY_SPEND_USD = 3
    user = make_user(make_app())
    ForgottenCaller.objects.all().delete()
    ((before,),) = sql("SELECT number FROM policy_epoch")

    bind_daily_spend(user, now=NOW)

    assert sql("SELECT number FROM policy_epoch") == [(before,)]
    assert list(ForgottenCaller.objects.values_list("kind", "subject_id")) == [("end_user", user)]
    call = {"developer_id": "dev_1", "app_id": "app_1", "feature_key": "default", "end_user_id": user}
    assert len(load_own_budgets(user).for_scopes(**call)) == 1
    assert load_budgets().for_scopes(**call) == ()
    with CaptureQueriesContext(connection) as captured:
        bind_daily_spend(user, now=NOW)
    assert len(captured) == 1


def test_wallets_own_limit_stays_whatever_the_setting(settings: Settings):
    settings.DAILY_SPEND_USD = 3
    user = make_user(make_app())
    wallet = account(user)
    bind_daily_spend(user, now=NOW)

    limit(wallet, daily_spend=USD)
    bind_daily_spend(user, now=NOW)
    assert caps_of(user) == [(USD, True)]

    limit(wallet)
    assert caps_of(user) == [(3 * USD, True)]
    settings.DAILY_SPEND_USD = 5
    bind_daily_spend(user, now=NOW)
    assert caps_of(user) == [(5 * USD, True)]


def test_cap_that_an_operator_set_by_hand_stays(settings: Settings):
    settings.DAILY_SPEND_USD = 3
    user = make_user(make_app())
    made = create_budget(scope="end_user", scope_id=user, period="day", amount=USD, now=NOW, actor="user:1")
    bind_daily_spend(user, now=NOW)
    assert caps_of(user) == [(USD, True)]
    update_budget(made, enabled=False, now=NOW, actor="user:1")
    bind_daily_spend(user, now=NOW)
    assert caps_of(user) == [(USD, False)]


def test_developers_limit_is_a_budget_of_all_calls_of_their_apps(settings: Settings):
    developer = make_app().developer_id
    limit(account(developer, kind=AccountKind.DEVELOPER_CREDIT), daily_spend=USD)

    (cap,) = owned_budgets("developer", [developer], now=NOW)
    assert (cap.amount, cap.hard, cap.period, cap.developer_id) == (USD, True, "day", None)


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def test_session_binds_its_user(api: Api, settings: Settings) -> None:
    settings.DAILY_SPEND_USD = 3
    answer = api.post("/v1/sessions", {"public_app_id": api.public_id, "user_token": api.user_token()})
    assert caps_of(answer.json()["end_user_id"]) == [(3 * USD, True)]


@pytest.mark.django_db(transaction=True)
def test_default_refuses_the_call_that_would_spend_more(
    world: World, double: ProviderDouble, settings: Settings
) -> None:
    assert world.chat(max_tokens=20).status_code == 200
    # Less than a call may cost: what is spent today already counts from when the limit is there.
    limit(world.account_id, daily_spend=1000)

    wait_until(lambda: world.chat(max_tokens=20).status_code == 402)

    refused = world.chat(max_tokens=20).json()["error"]
    assert (refused["code"], refused["details"]["scope"]) == ("budget_exceeded", "end_user")


# By operators.


def test_operator_limits_a_wallet_and_takes_it_back(admin_client: Client) -> None:
    user = make_user(make_app())
    wallet = account(user)
    add = reverse("admin:billing_walletlimit_add")
    form = {"account_id": wallet, "max_balance": "7.5", "daily_spend": "0.25", "low_balance": ""}
    assert admin_client.post(add, form).status_code == 302
    row = WalletLimit.objects.get()
    assert (row.max_balance_nano, row.daily_spend_nano, row.low_balance_nano) == (7_500_000_000, 250_000_000, None)
    assert caps_of(user) == [(250_000_000, True)]

    change = reverse("admin:billing_walletlimit_change", args=[wallet])
    assert "0.2500" in admin_client.get(change).text
    form = {"max_balance": "", "daily_spend": "", "low_balance": "0"}
    assert admin_client.post(change, form).status_code == 302
    row.refresh_from_db()
    assert (row.max_balance_nano, row.daily_spend_nano, row.low_balance_nano) == (None, None, 0)
    assert caps_of(user) == [(250_000_000, False)]


def test_operator_grants_once_though_the_form_is_sent_twice(admin_client: Client) -> None:
    wallet = account()
    page = reverse("admin:billing_creditlot_add")
    lot_id = admin_client.get(page).context["adminform"].form["lot_id"].value()
    form = {
        "account_id": wallet,
        "kind": "grant",
        "amount": "1.5",
        "reason": "A sorry",
        "lot_id": lot_id,
        "expires_at_0": "",
        "expires_at_1": "",
    }
    for _ in range(2):
        assert admin_client.post(page, form).status_code == 302
    assert sql("SELECT posted FROM wallets WHERE account_id = %s", wallet) == [(1_500_000_000,)]
    assert sql("SELECT id, kind, reference FROM credit_lots") == [(lot_id, "grant", "A sorry")]
    assert "1.5000" in admin_client.get(reverse("admin:billing_creditlot_change", args=[lot_id])).text

    assert admin_client.post(page, {**form, "lot_id": "lot_2", "reason": ""}).status_code == 200
    past = {**form, "lot_id": "lot_3", "expires_at_0": "2020-01-01", "expires_at_1": "00:00"}
    refused = admin_client.post(page, past, follow=True)
    assert "This expiry is in the past." in refused.text
    assert sql("SELECT count(*) FROM credit_lots") == [(1,)]


def test_operator_makes_and_ends_a_promo_code(admin_client: Client) -> None:
    form = {
        "code": "spring",
        "amount": "2",
        "audience": "end_user",
        "max_redemptions": "10",
        "credit_days": "30",
        "valid_from_0": "",
        "valid_from_1": "",
        "valid_until_0": "",
        "valid_until_1": "",
    }
    assert admin_client.post(reverse("admin:billing_promocode_add"), form).status_code == 302
    ((promo, code, amount),) = sql("SELECT id, code, amount_nano FROM promo_codes")
    assert (code, amount) == ("SPRING", 2 * USD)
    assert admin_client.get(reverse("admin:billing_promocode_change", args=[promo])).status_code == 200
    page = reverse("admin:billing_promocode_changelist")
    answer = admin_client.post(page, {"action": "end", "_selected_action": [promo]}, follow=True)
    assert answer.status_code == 200
    assert sql("SELECT valid_until IS NOT NULL FROM promo_codes") == [(True,)]


def test_clerk_without_permission_grants_nothing(client: Client) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.post(reverse("admin:billing_creditlot_add"), {}).status_code == 403
