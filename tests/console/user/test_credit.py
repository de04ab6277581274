"""Buying credit on an end user's pages: Stripe's page, the saved card, refunds, promo codes, payments off."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from apps.billing.models.top_ups import TopUp
from apps.billing.queries.top_ups import auto_top_up_of, card_of, refunds_of
from apps.console.user.credit import BuyForm
from apps.core.ids import new_id
from apps.ledger.queries import balance
from tests.billing.conftest import deliver, fakestripe
from tests.console.user.factories import ORIGIN, Visitor, allow_origin, other_user
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.django_db
CENT = 10_000_000

__all__ = ["deliver", "fakestripe"]


def cents(visitor: Visitor) -> int:
    return balance(visitor.world.account_id).posted // CENT


def pay(stripe: FakeStripe, visitor: Visitor, top_up: TopUp) -> None:
    """Pay on Stripe's page, and come back to ours, which asks Stripe."""
    assert top_up.checkout_session_id
    stripe.pay(top_up.checkout_session_id)
    visitor.get(f"top-ups/{top_up.id}")


def bought(stripe: FakeStripe, visitor: Visitor, *, save_card: str = "") -> TopUp:
    assert visitor.post("buy", {"preset": "1000", "save_card": save_card}, page="buy").status_code == 302
    top_up = TopUp.objects.order_by("-id")[0]
    pay(stripe, visitor, top_up)
    top_up.refresh_from_db()
    assert top_up.status == "paid"
    return top_up


def test_payments_that_are_off_are_said_to_be(visitor: Visitor) -> None:
    page = visitor.text("buy")
    assert "Payments are off" in page
    assert 'name="preset"' not in page
    assert visitor.post("buy", {"amount": "10"}).status_code == 200
    assert not TopUp.objects.exists()


def test_preset_leads_to_stripe_and_back_to_the_wallet(visitor: Visitor, fakestripe: FakeStripe) -> None:
    answered = visitor.post("buy", {"preset": "1000"}, page="buy")
    top_up = TopUp.objects.get()
    assert (answered.status_code, answered["location"]) == (302, top_up.checkout_url)
    assert urlsplit(top_up.return_url).path == visitor.base
    assert cents(visitor) == 1_000
    pay(fakestripe, visitor, top_up)
    assert cents(visitor) == 2_000
    page = visitor.text(f"top-ups/{top_up.id}")
    assert "$10.00" in page
    assert "Ask for a refund" in page
    assert top_up.id in visitor.text("buy")


def test_frame_shows_a_way_to_pay_in_a_window_of_its_own(visitor: Visitor, fakestripe: FakeStripe) -> None:
    allow_origin(visitor, ORIGIN)
    visitor.enter(embed=True)
    answered = visitor.post("buy", {"amount": "12.50"}, page="buy")
    top_up = TopUp.objects.get()
    assert answered["location"] == f"{visitor.base}top-ups/{top_up.id}"
    page = visitor.get(f"top-ups/{top_up.id}")
    assert top_up.checkout_url.replace("&", "&amp;") in page.content.decode()
    assert 'target="_blank"' in page.content.decode()
    assert page["Refresh"] == "5"
    assert (top_up.amount_cents, top_up.return_url) == (1250, "")


@pytest.mark.parametrize("amount", ["", "0", "1.001", "x", "100000000"])
def test_amount_that_cannot_be_bought_is_refused(visitor: Visitor, fakestripe: FakeStripe, amount: str) -> None:
    answered = visitor.post("buy", {"amount": amount}, page="buy")
    assert (answered.status_code, 'class="errors"' in answered.content.decode()) == (200, True)
    assert not TopUp.objects.exists()


def test_saved_card_is_charged_once_however_often_the_form_is_sent(visitor: Visitor, fakestripe: FakeStripe) -> None:
    bought(fakestripe, visitor, save_card="on")
    assert "•••• " in visitor.text("buy")
    form = {"preset": "1000", "method": "saved_card", "once": new_id("key")}
    first = visitor.post("buy", form, page="buy")
    again = visitor.post("buy", form, page="buy")
    assert first["location"] == again["location"]
    assert cents(visitor) == 3_000
    values = {"threshold": "2", "amount": "10", "monthly_cap": "50"}
    assert visitor.post("auto-top-up", values, page="buy").status_code == 302
    found = auto_top_up_of(visitor.world.account_id)
    assert found is not None
    assert (found.enabled, found.amount_cents, found.monthly_cap_cents) == (True, 1000, 5000)
    visitor.post("auto-top-up", {"to": "off"}, page="buy")
    assert not auto_top_up_of(visitor.world.account_id).enabled  # type: ignore[union-attr]
    visitor.post("card/forget", page="buy")
    assert card_of(visitor.world.account_id) is None


def test_unused_credit_is_refunded_once(visitor: Visitor, fakestripe: FakeStripe) -> None:
    top_up = bought(fakestripe, visitor)
    path = f"top-ups/{top_up.id}/refund"
    assert "$10.00 of this purchase" in visitor.text(path)
    assert visitor.post(path, {"amount": "11"}, page="buy").status_code == 200
    form = {"amount": "4", "once": new_id("key")}
    for _ in range(2):
        assert visitor.post(path, form, page="buy").status_code == 302
    assert [row.amount_cents for row in refunds_of(top_up.id)] == [400]
    assert cents(visitor) == 1_600


def test_purchases_of_others_do_not_exist(visitor: Visitor, fakestripe: FakeStripe) -> None:
    top_up = bought(fakestripe, visitor)
    other = other_user(visitor)
    for path in (f"top-ups/{top_up.id}", f"top-ups/{top_up.id}/refund"):
        assert other.get(path).status_code == 404
    assert other.post(f"top-ups/{top_up.id}/refund", {"amount": "1"}, page="buy").status_code == 404
    assert top_up.id not in other.text("buy")


def test_card_is_forgotten_when_its_owner_leaves(visitor: Visitor, fakestripe: FakeStripe) -> None:
    top_up = bought(fakestripe, visitor, save_card="on")
    assert f"top-ups/{top_up.id}/refund" in visitor.text("delete")
    assert "Your data is deleted" in visitor.post("delete", {"word": "delete", "forfeit": "on"}).content.decode()
    assert card_of(visitor.world.account_id) is None


def test_promo_code_that_does_not_exist_is_refused_beside_the_field(visitor: Visitor) -> None:
    answered = visitor.post("promo", {"code": "NOTHING"}, page="buy")
    assert (answered.status_code, 'class="errors"' in answered.content.decode()) == (200, True)
    assert visitor.get("promo").status_code == 405


def test_form_of_buying_wants_an_amount() -> None:
    form: Any = BuyForm({"preset": "", "amount": ""})
    assert not form.is_valid()
    assert list(form.errors) == ["amount"]
