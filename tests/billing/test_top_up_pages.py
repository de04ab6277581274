"""The pages that Stripe leads back to, and the admin of top-ups."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from apps.billing.models.top_ups import Refund
from apps.billing.queries.top_ups import TopUpInfo, refunds_of
from apps.core import addresses
from apps.ledger.models import LedgerTransaction
from tests.billing.conftest import Deliver
from tests.billing.top_up_factories import Payer, assert_proven, charge_of, get, make_payer, row_of, session_of
from tests.console.factories import Page
from tests.fakestripe import FakeStripe

LANGUAGES = ("en", "zh-hans")


@pytest.fixture
def payer(transactional_db: None, fakestripe: FakeStripe) -> Payer:
    addresses.forget()
    return make_payer(fakestripe)


def done(client: Client, top_up: TopUpInfo, language: str = "en") -> Any:
    return client.get(f"/top-ups/{top_up.id}/done", headers={"accept-language": language})


def test_page_credits_before_any_webhook(payer: Payer, client: Client, deliver: Deliver) -> None:
    top_up = payer.start(1050, return_url="https://app.example.com/back")
    payer.pay(top_up, tax_cents=95)
    response = done(client, top_up)
    assert response.status_code == 200
    for text in ("your credit is there", "$10.50", "$0.95", "$11.45", 'href="https://app.example.com/back"'):
        assert text in response.text
    assert "refresh" not in response.headers
    assert "no-store" in response["cache-control"]
    done(client, top_up)
    deliver()
    assert LedgerTransaction.objects.filter(kind="top_up").count() == 1
    assert_proven()


def test_page_waits_by_itself_and_not_for_ever(payer: Payer, client: Client) -> None:
    top_up = payer.start()
    payer.stripe.pay_later(session_of(top_up))
    response = done(client, top_up)
    assert "on its way" in response.text
    assert response["refresh"] == f"5; url=/top-ups/{top_up.id}/done?looks=1"
    for looks, refresh in (("1", "5;"), ("20", "15;"), ("30", None), ("999", None), ("-1", "5;"), ("x", "5;")):
        found = client.get(f"/top-ups/{top_up.id}/done", {"looks": looks}).headers.get("refresh")
        assert found is None if refresh is None else found.startswith(refresh)
    payer.stripe.succeed_async(session_of(top_up))
    assert "your credit is there" in done(client, top_up).text


def test_page_while_stripe_is_out_of_reach(payer: Payer, client: Client) -> None:
    top_up = payer.start()
    payer.pay(top_up)
    payer.stripe.fail_next("error", method="GET", path="/v1/checkout/sessions")
    response = done(client, top_up)
    assert (response.status_code, "refresh" in response.headers) == (200, True)
    assert "your credit is there" in done(client, top_up).text


def test_page_of_a_payment_that_failed_and_of_one_that_differs(payer: Payer, client: Client) -> None:
    failed, differs = payer.start(), payer.start()
    payer.stripe.expire(session_of(failed))
    assert "did not come about" in done(client, failed).text
    payer.pay(differs)
    payer.stripe.objects[session_of(differs)]["currency"] = "eur"
    response = done(client, differs)
    assert "Somebody will look at it" in response.text
    assert "refresh" not in response.headers


def test_page_after_leaving(payer: Payer, client: Client, deliver: Deliver) -> None:
    top_up = payer.start()
    response = client.get(f"/top-ups/{top_up.id}/canceled")
    assert "Nothing was paid" in response.text
    paid = payer.bought(deliver)
    response = client.get(f"/top-ups/{paid.id}/canceled")
    assert (response.status_code, response["location"]) == (302, f"/top-ups/{paid.id}/done")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("state", ["paid", "open", "expired"])
def test_pages_have_nothing_inline_and_tell_no_more_than_they_must(
    payer: Payer, client: Client, deliver: Deliver, language: str, state: str
) -> None:
    top_up = payer.start()
    if state == "paid":
        payer.pay(top_up)
    if state == "expired":
        payer.stripe.expire(session_of(top_up))
    response = done(client, top_up, language)
    page = Page(response.text)
    assert page.inline == []
    assert [address for address in page.addresses if not address.startswith(("/", "#"))] == []
    row = row_of(top_up)
    secrets = (
        row.owner_id,
        row.checkout_session_id,
        row.payment_intent_id,
        row.charge_id,
        row.receipt_url,
        "stripe.com",
    )
    assert [secret for secret in secrets if secret and secret in response.text] == []
    assert 'content="noindex"' in response.text
    assert f'<html lang="{language}"' in response.text


def test_page_of_no_top_up(payer: Payer, client: Client) -> None:
    for path in ("/top-ups/top_x/done", "/top-ups/top_x/canceled", "/top-ups/a%00b/done"):
        assert client.get(path).status_code == 404
    assert client.post(f"/top-ups/{payer.start().id}/done").status_code == 405


def test_page_with_payments_off(payer: Payer, client: Client, settings: Any, deliver: Deliver) -> None:
    paid, waiting = payer.bought(deliver), payer.start()
    settings.STRIPE_ENABLED = False
    assert "your credit is there" in done(client, paid).text
    response = done(client, waiting)
    assert (response.status_code, "Payments are off" in response.text) == (503, True)


def test_page_does_not_ask_stripe_without_end(payer: Payer, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.console.top_ups.LOOKS", "2/minute")
    top_up = payer.start()
    for _ in range(4):
        assert done(client, top_up).status_code == 200
    assert len(payer.stripe.calls_to("GET", f"/v1/checkout/sessions/{session_of(top_up)}")) == 2


# ---- the admin ----


def change_url(top_up: TopUpInfo) -> str:
    return reverse("admin:billing_topup_change", args=[top_up.id])


def act(client: Client, model: str, action: str, *ids: str) -> Any:
    url = reverse(f"admin:billing_{model}_changelist")
    return client.post(url, {"action": action, "_selected_action": ids}, follow=True)


def test_operator_refunds_with_a_reason(payer: Payer, admin_client: Client, deliver: Deliver) -> None:
    top_up = payer.bought(deliver)
    page = admin_client.get(change_url(top_up))
    assert "10.00" in page.text
    key = page.context["adminform"].form["refund_key"].value()
    form = {"refund_usd": "4", "refund_reason": "", "refund_key": key}
    assert "Say why." in admin_client.post(change_url(top_up), form).text
    form["refund_reason"] = "asked by mail"
    for _ in range(2):
        admin_client.post(change_url(top_up), form)
    (refund,) = refunds_of(top_up.id)
    assert (refund.source, refund.amount_cents, refund.reason) == ("operator", 400, "asked by mail")
    assert payer.cents == 600
    form |= {"refund_usd": "4.001", "refund_key": "other"}
    assert "Whole cents." in admin_client.post(change_url(top_up), form).text
    form |= {"refund_usd": "100"}
    assert "can be refunded" in admin_client.post(change_url(top_up), form, follow=True).text
    assert "1 × refund asked for" in act(admin_client, "topup", "refund_unused", top_up.id).text
    assert payer.cents == 0
    assert_proven()


def test_operator_settles_and_sees_problems(payer: Payer, admin_client: Client) -> None:
    paid, differs = payer.start(), payer.start()
    payer.pay(paid)
    payer.pay(differs)
    payer.stripe.objects[session_of(differs)]["currency"] = "eur"
    assert "2 × settled" in act(admin_client, "topup", "settle_now", paid.id, differs.id).text
    assert get(paid).status == "paid"
    listed = admin_client.get(reverse("admin:billing_topup_changelist"), {"problem": "1"}).text
    assert differs.id in listed and paid.id not in listed
    assert "the currency is eur" in listed


def test_operator_settles_refunds_and_disputes(payer: Payer, admin_client: Client, deliver: Deliver) -> None:
    payer.stripe.state.refund_status = "pending"
    top_up, disputed = payer.bought(deliver), payer.bought(deliver)
    admin_client.post(change_url(top_up), {"refund_usd": "4", "refund_reason": "x", "refund_key": "k"})
    refund = Refund.objects.get()
    payer.stripe.succeed_refund(refund.stripe_refund_id or "")
    assert "1 × settled" in act(admin_client, "refund", "settle_now", refund.id).text
    assert Refund.objects.get().status == "succeeded"
    found = payer.stripe.open_dispute(charge_of(disputed))
    deliver()
    payer.stripe.close_dispute(found["id"], "won")
    from apps.billing.models.disputes import Dispute

    assert "1 × settled" in act(admin_client, "dispute", "settle_now", Dispute.objects.get().id).text
    assert Dispute.objects.get().status == "won"
    for model in ("topup", "refund", "dispute", "billingcustomer", "autotopup", "disputeclawback"):
        assert admin_client.get(reverse(f"admin:billing_{model}_changelist")).status_code == 200
