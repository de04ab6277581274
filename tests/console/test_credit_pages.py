"""Pages of the prepaid credit: bought, given back, topped up by itself, moved to apps."""

from datetime import timedelta
from typing import Any

import pytest

from apps.billing.models.top_ups import TopUp
from apps.billing.queries.top_ups import auto_top_up_of, card_of
from apps.billing.services.notices import notify
from apps.billing.services.promos import create_promo_code
from apps.core import addresses
from apps.core.clock import now
from apps.developers.models import Role
from apps.features.services.apps import create_app
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.ledger.services.accounts import open_account
from tests.billing.credit_factories import given, paid
from tests.billing.risk_factories import top_up
from tests.console.neighbours import make_neighbour
from tests.console.page_checks import assert_only_for, assert_same_queries, queries, text_of
from tests.console.seats import ACTOR, House, make_house
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.django_db
CENT = 10_000_000
USD = 100 * CENT
MONEY = (Role.OWNER, Role.ADMIN, Role.FINANCE)
PAGES = (
    "credit",
    "credit/buy",
    "credit/automatic",
    "credit/code",
    "credit/allowances",
    "credit/entries",
    "credit/top-ups",
)


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    addresses.forget()


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def account_of(house: House) -> int:
    return open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=house.developer_id, now=now())


def has(house: House) -> int:
    return balance(account_of(house)).posted


def key_of(house: House, path: str) -> str:
    """Return the key that the form of a page holds."""
    found: str = house.owner.get(house.url(path)).context["form"]["key"].value()
    return found


def buy(house: House, amount: str = "25", **more: Any) -> Any:
    asked = {"key": key_of(house, "credit/buy"), "amount": amount, "method": "checkout", **more}
    return house.owner.post(house.url("credit/buy"), asked)


def pay(house: House, stripe: FakeStripe, deliver: Any, amount: str = "25", **more: Any) -> TopUp:
    """Buy credit on Stripe's page, and have it noticed."""
    assert buy(house, amount, **more).status_code == 302
    row = TopUp.objects.latest("created_at")
    assert row.checkout_session_id is not None
    stripe.pay(row.checkout_session_id)
    deliver()
    return TopUp.objects.get(pk=row.pk)


def test_who_sees_the_pages_of_money(house: House) -> None:
    assert_only_for(house, MONEY, *PAGES)


def test_pages_take_few_queries_however_many_rows(house: House) -> None:
    account = account_of(house)

    def add(number: int) -> None:
        paid(account, USD, f"top_up_{number}", now=now())
        given(account, USD, expires_at=now() + timedelta(days=number), now=now())
        notify(account, "credit_expiring", period_key=str(number), data={"remaining_usd": "1.0000"}, now=now())
        top_up(account, now(), status="expired")
        create_app(developer_id=house.developer_id, name=f"App {number}", now=now(), actor=ACTOR)

    house.owner.get(house.url("credit"))
    for path in PAGES:
        queries(house.owner, house.url(path))
    numbers = iter(range(1, 1000))
    for path in PAGES:
        assert_same_queries(house.owner, house.url(path), lambda _: add(next(numbers)))


def test_page_shows_what_there_is_and_of_what_kind(house: House) -> None:
    account = account_of(house)
    given(account, 3 * USD, expires_at=now() + timedelta(days=9), now=now())
    paid(account, 5 * USD, "top_up_1", now=now())
    shown = text_of(house.owner.get(house.url("credit")))
    assert "$8.00" in shown and "Bought" in shown and "Promotion" in shown
    assert f"{now() + timedelta(days=9):%Y-%m-%d}" in shown
    assert "This instance takes no payments yet" in shown
    listed = text_of(house.owner.get(house.url("credit/entries")))
    assert "+$5.00" in listed and "Credit bought" in listed


def test_entries_are_paged(house: House) -> None:
    account = account_of(house)
    for number in range(26):
        paid(account, USD + number * CENT, f"top_up_{number}", now=now())
    first = house.owner.get(house.url("credit/entries"))
    assert "$1.00" not in text_of(first) and "$1.25" in text_of(first)
    older = text_of(house.owner.get(house.url("credit/entries"), {"before": first.context["next"]}))
    assert "$1.00" in older and "$1.25" not in older
    for odd in ("x", "-1", "9" * 30):
        assert "$1.25" in text_of(house.owner.get(house.url("credit/entries"), {"before": odd}))


def test_credit_is_bought_on_the_page_of_stripe_and_leads_back(
    house: House, fakestripe: FakeStripe, deliver: Any
) -> None:
    sent = buy(house)
    assert sent.status_code == 302
    row = TopUp.objects.get()
    assert (sent["location"], row.amount_cents) == (row.checkout_url, 2_500)
    assert row.return_url == f"http://testserver{house.url('credit')}"
    assert row.checkout_session_id is not None
    waiting = text_of(house.owner.get(house.url(f"credit/top-ups/{row.id}")))
    assert "not paid yet" in waiting and "Go on paying" in waiting
    fakestripe.pay(row.checkout_session_id)
    # The receipt asks Stripe: nobody who has paid waits for a webhook.
    assert "$25.00" in text_of(house.owner.get(house.url(f"credit/top-ups/{row.id}")))
    assert has(house) == 25 * USD
    deliver()
    assert has(house) == 25 * USD
    assert "paid" in text_of(house.owner.get(house.url("credit")))


def test_amount_that_is_not_sold_is_refused_beside_its_field(house: House, fakestripe: FakeStripe) -> None:
    for amount in ("0.5", "1000000", "10.001", "ten", ""):
        answered = buy(house, amount)
        assert answered.status_code == 200, amount
        assert answered.context["form"].errors["amount"], amount
    assert not TopUp.objects.exists()


def test_saved_card_is_charged_once_a_form(house: House, fakestripe: FakeStripe, deliver: Any) -> None:
    pay(house, fakestripe, deliver, save_card="on")
    key = key_of(house, "credit/buy")
    for _ in range(2):
        answered = house.owner.post(
            house.url("credit/buy"), {"key": key, "amount": "10", "method": "saved_card"}, follow=True
        )
        assert "your credit is there" in text_of(answered)
    assert has(house) == 35 * USD


def test_declined_card_is_told_and_the_form_can_be_sent_again(
    house: House, fakestripe: FakeStripe, deliver: Any
) -> None:
    pay(house, fakestripe, deliver, save_card="on")
    card = card_of(account_of(house))
    assert card is not None
    fakestripe.set_card(card.payment_method_id, "card_declined")
    answered = buy(house, "10", method="saved_card")
    assert answered.status_code == 200 and answered.context["form"].non_field_errors()
    fakestripe.set_card(card.payment_method_id, "ok")
    again = {"key": answered.context["form"]["key"].value(), "amount": "10", "method": "saved_card"}
    assert house.owner.post(house.url("credit/buy"), again).status_code == 302
    assert has(house) == 35 * USD


def test_nothing_is_bought_where_payments_are_off(house: House) -> None:
    answered = house.owner.post(house.url("credit/buy"), {"key": "k" * 12, "amount": "10", "method": "checkout"})
    assert "takes no payments yet" in text_of(answered)
    assert not TopUp.objects.exists()


def test_what_was_not_used_is_given_back(house: House, fakestripe: FakeStripe, deliver: Any) -> None:
    row = pay(house, fakestripe, deliver)
    path = f"credit/top-ups/{row.id}"
    assert "$25.00 of it was not used" in text_of(house.owner.get(house.url(path)))
    too_much = house.owner.post(house.url(path), {"key": key_of(house, path), "amount": "26"})
    assert too_much.status_code == 200 and too_much.context["form"].errors
    key = key_of(house, path)
    for _ in range(2):
        assert house.owner.post(house.url(path), {"key": key, "amount": "10"}).status_code == 302
    assert has(house) == 15 * USD
    assert "Refunds" in text_of(house.owner.get(house.url(path)))


def test_top_up_of_somebody_else_does_not_exist(house: House, fakestripe: FakeStripe, deliver: Any) -> None:
    row = pay(house, fakestripe, deliver)
    neighbour = make_neighbour()
    url = f"/console/{neighbour.developer_id}/credit/top-ups/{row.id}"
    assert neighbour.owner.get(url).status_code == 404
    assert neighbour.owner.post(url, {"key": "k" * 12, "amount": "1"}).status_code == 404
    assert house.owner.get(house.url("credit/top-ups/top_none")).status_code == 404


def test_automatic_top_up_is_set_and_ended(house: House, fakestripe: FakeStripe, deliver: Any) -> None:
    url = house.url("credit/automatic")
    asked = {"threshold": "5", "amount_cents": "20", "monthly_cap_cents": "100"}
    assert house.owner.post(url, asked).context["form"].non_field_errors()  # no card is saved
    pay(house, fakestripe, deliver, save_card="on")
    assert house.owner.post(url, asked)["location"] == url
    auto = auto_top_up_of(account_of(house))
    assert auto is not None
    assert (auto.enabled, auto.threshold, auto.amount_cents, auto.monthly_cap_cents) == (True, 5 * USD, 2_000, 10_000)
    assert "4242" in text_of(house.owner.get(url))
    house.owner.post(house.url("credit/automatic/off"))
    auto = auto_top_up_of(account_of(house))
    assert auto is not None and not auto.enabled
    assert house.owner.get(house.url("credit/automatic/off")).status_code == 405


def test_card_is_removed_after_a_question(house: House, fakestripe: FakeStripe, deliver: Any) -> None:
    pay(house, fakestripe, deliver, save_card="on")
    assert "4242" in text_of(house.owner.get(house.url("credit/card/remove")))
    assert house.member(Role.ANALYST).post(house.url("credit/card/remove")).status_code == 403
    assert card_of(account_of(house)) is not None
    house.owner.post(house.url("credit/card/remove"))
    assert card_of(account_of(house)) is None


def test_promo_code_is_redeemed_once(house: House) -> None:
    who: dict[str, Any] = {"now": now() - timedelta(days=1), "actor": ACTOR}
    create_promo_code("WELCOME", amount=7 * USD, audience="developer", **who)
    wrong = house.owner.post(house.url("credit/code"), {"code": "NOTHING"})
    assert wrong.status_code == 200 and wrong.context["form"].errors["code"]
    assert house.owner.post(house.url("credit/code"), {"code": "welcome"})["location"] == house.url("credit")
    assert has(house) == 7 * USD
    assert house.owner.post(house.url("credit/code"), {"code": "WELCOME"}).context["form"].errors["code"]


def test_guesses_of_codes_are_counted(house: House, settings: Any) -> None:
    settings.PROMO_ATTEMPTS = "2/hour"
    for _ in range(2):
        house.owner.post(house.url("credit/code"), {"code": "NOTHING"})
    answered = house.owner.post(house.url("credit/code"), {"code": "NOTHING"})
    assert "Too many codes" in text_of(answered)


def test_credit_is_moved_to_the_allowance_of_an_app_once_a_form(house: House) -> None:
    paid(account_of(house), 10 * USD, "top_up_1", now=now())
    asked = {"key": key_of(house, "credit/allowances"), "app": house.app_id, "amount": "4"}
    for _ in range(2):
        assert house.owner.post(house.url("credit/allowances"), asked).status_code == 302
    allowance = account_id(AccountKind.APP_ALLOWANCE, house.app_id)
    assert allowance is not None
    assert (has(house), balance(allowance).posted) == (6 * USD, 4 * USD)
    more = {"key": key_of(house, "credit/allowances"), "app": house.app_id, "amount": "100"}
    assert house.owner.post(house.url("credit/allowances"), more).status_code == 200
    others = {**more, "app": make_neighbour().app_id, "amount": "1"}
    assert house.owner.post(house.url("credit/allowances"), others).context["form"].errors["app"]
    assert has(house) == 6 * USD
