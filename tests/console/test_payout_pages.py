"""Pages of payouts: what is payable and why, asking for it, where it goes."""

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from apps.billing.models.payouts import Payout
from apps.billing.services.payout_accounts import account_info, stop_payouts, use_bank_details
from apps.billing.services.payout_reviews import reject
from apps.core import addresses
from apps.core.clock import now
from apps.developers.models import Role
from tests.billing.payout_factories import BANK, LONG_AGO, earn, operator, proposed
from tests.console.neighbours import make_neighbour
from tests.console.page_checks import assert_only_for, assert_same_queries, queries, text_of
from tests.console.seats import ACTOR, House, make_house
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.django_db(transaction=True)
MONEY = (Role.OWNER, Role.ADMIN, Role.FINANCE)
PAGES = ("payouts", "payouts/request", "payouts/account", "payouts/account/bank")
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    addresses.forget()


@pytest.fixture
def house(transactional_db: None) -> House:
    return make_house()


@pytest.fixture
def earner(house: House) -> House:
    """Give a house with bank details, 100 USD that have matured and 7 that have not."""
    use_bank_details(house.developer_id, BANK, now=now(), actor=ACTOR)
    earn(house.developer_id, "100", ago=LONG_AGO)
    earn(house.developer_id, "7", ago=DAY)
    return house


def test_who_sees_the_payouts(house: House) -> None:
    assert_only_for(house, MONEY, *PAGES)


def test_pages_take_few_queries_however_many_rows(earner: House) -> None:
    for path in PAGES:
        queries(earner.owner, earner.url(path))

    def add(number: int) -> None:
        earn(earner.developer_id, "100", ago=LONG_AGO)
        earn(earner.developer_id, "1", ago=number * DAY)
        made = proposed(earner.developer_id, origin="operator")
        reject(made, reason="a test", now=now(), actor=operator())

    assert_same_queries(earner.owner, earner.url("payouts"), add)
    queries(earner.owner, earner.url(f"payouts/{Payout.objects.latest('created_at').pk}"))


def test_payable_is_explained_line_by_line(earner: House) -> None:
    earn(earner.developer_id, "40", ago=60 * DAY)  # matured, and under the reserve of 5 %
    answered = earner.owner.get(earner.url("payouts"))
    found, shown = answered.context["found"], text_of(answered)
    assert (found.balance, found.immature, found.reserve) == (147 * 10**9, 7 * 10**9, 2 * 10**9)
    assert found.balance - found.immature - found.reserve == found.payable
    for amount in ("$147.00", "−$7.00", "−$2.00", "$138.00"):
        assert amount in shown, amount
    assert f"{found.maturing[0][0]:%Y-%m-%d}" in shown
    html = answered.content.decode()
    assert 'data-chart="bars"' in html and 'data-value="7.0000"' in html


def test_page_says_what_is_missing_before_anything_can_be_paid(house: House) -> None:
    shown = text_of(house.owner.get(house.url("payouts")))
    assert "Say where your money goes" in shown and "Ask for a payout" not in shown
    assert "Nothing was paid out yet" in shown


def test_payout_is_asked_for_once(earner: House) -> None:
    url = earner.url("payouts/request")
    too_much = earner.owner.post(url, {"amount": "5000"})
    assert too_much.status_code == 200 and too_much.context["form"].errors["amount"]
    sent = earner.owner.post(url, {"amount": "60"})
    row = Payout.objects.get()
    assert sent["location"] == earner.url(f"payouts/{row.pk}")
    assert (row.amount_nano, row.requested_by.startswith("user:")) == (60 * 10**9, True)
    shown = text_of(earner.owner.get(sent["location"]))
    assert "waits for the operator" in shown and "Payout of $60.00" in shown
    assert "Ask for a payout" not in text_of(earner.owner.get(earner.url("payouts")))
    again = earner.owner.post(url, {"amount": ""})
    assert again.context["form"].non_field_errors()
    assert Payout.objects.count() == 1


def test_everything_payable_is_asked_for_where_no_amount_is_named(earner: House) -> None:
    payable = earner.owner.get(earner.url("payouts")).context["found"].payable
    earner.owner.post(earner.url("payouts/request"), {"amount": ""})
    assert Payout.objects.get().amount_nano == payable


def test_others_see_and_ask_nothing(earner: House) -> None:
    made = proposed(earner.developer_id)
    neighbour = make_neighbour()
    assert neighbour.owner.get(f"/console/{neighbour.developer_id}/payouts/{made}").status_code == 404
    assert neighbour.owner.post(earner.url("payouts/request"), {"amount": "60"}).status_code == 404
    assert earner.member(Role.ANALYST).post(earner.url("payouts/request"), {"amount": "60"}).status_code == 403
    assert Payout.objects.count() == 1


def test_bank_details_are_given_and_never_shown_again(house: House) -> None:
    url = house.url("payouts/account/bank")
    assert house.owner.post(url, {**BANK, "iban": ""}).context["form"].errors
    assert house.owner.post(url, {**BANK, "country": "de"})["location"] == house.url("payouts/account")
    assert account_info(house.developer_id).ready
    answered = house.owner.get(house.url("payouts/account"))
    assert "ends in 3000" in text_of(answered) and BANK["iban"] not in answered.content.decode()
    assert BANK["iban"] not in house.owner.get(url).content.decode()


def test_stripe_is_joined_and_what_it_requires_is_shown(house: House, fakestripe: FakeStripe, settings: Any) -> None:
    settings.PUBLIC_BASE_URL = "https://ai.example.com"
    url = house.url("payouts/account/stripe")
    assert house.owner.post(url, {"country": "Germany"}).context["form"].errors["country"]
    sent = house.owner.post(url, {"country": "us"})
    assert sent.status_code == 302 and sent["location"].startswith("http")
    account = account_info(house.developer_id)
    assert account.stripe_account_id is not None and not account.ready
    fakestripe.onboard(account.stripe_account_id)
    back = house.owner.get(house.url("payouts/account?back=1"))
    assert "Stripe pays out" in text_of(back)
    fakestripe.restrict(account.stripe_account_id)
    restricted = text_of(house.owner.get(house.url("payouts/account?back=1")))
    assert "rejected.fraud" in restricted
    assert house.owner.get(url).status_code == 405
    assert reverse("console:payout-connect", args=[house.developer_id]) == url


def test_stripe_cannot_be_joined_where_payments_are_off(house: House) -> None:
    answered = house.owner.post(house.url("payouts/account/stripe"), {"country": "US"})
    assert answered.status_code == 200 and "takes no payments yet" in text_of(answered)


def test_stopped_payouts_are_told(earner: House) -> None:
    stop_payouts(earner.developer_id, reason="we look at something", now=now(), actor=operator())
    assert "we look at something" in text_of(earner.owner.get(earner.url("payouts")))
    assert earner.owner.post(earner.url("payouts/request"), {"amount": "60"}).context["form"].non_field_errors()
