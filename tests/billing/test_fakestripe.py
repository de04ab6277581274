"""The fake Stripe: it holds only as far as it does what Stripe does, so it is tested with the library unmodified."""

from typing import Any

import pytest
import stripe as library

from tests.fakestripe import FakeStripe
from tests.fakestripe.checked import hints_of, params_class
from tests.fakestripe.routes import routes


@pytest.fixture
def api(fakestripe: FakeStripe) -> library.StripeClient:
    """Give the library's own client; it closes with the fake."""
    return library.StripeClient(fakestripe.key, base_addresses={"api": fakestripe.url}, max_network_retries=0)


def make_session(api: library.StripeClient, **params: Any) -> Any:
    line = {"quantity": 2, "price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Credit"}}}
    given: Any = {"mode": "payment", "success_url": "https://example.com/ok", "line_items": [line], **params}
    return api.v1.checkout.sessions.create(given)


def paid(api: library.StripeClient, stripe: FakeStripe) -> str:
    """Return the charge of ten dollars that a person has paid."""
    session = stripe.pay(make_session(api).id)
    return str(stripe.objects[session["payment_intent"]]["latest_charge"])


def make_account(api: library.StripeClient, stripe: FakeStripe) -> str:
    made = api.v1.accounts.create(
        {"country": "US", "capabilities": {"transfers": {"requested": True}}, "metadata": {"developer": "dev_1"}}
    )
    return str(stripe.onboard(made.id)["id"])


def types(stripe: FakeStripe) -> list[str]:
    return [event["type"] for event in stripe.webhooks.pending]


# ---- it is Stripe's API ----


@pytest.mark.parametrize(("method", "template"), routes.templates())
def test_every_call_has_the_librarys_parameters(method: str, template: str) -> None:
    assert hints_of(params_class(method, template)) is not None


def test_unknown_parameters_and_words_are_refused(api: library.StripeClient) -> None:
    for params, param in (
        ({"amont": 1}, "amont"),
        ({"amount": "ten"}, "amount"),
        ({"payment_intent": "pi_1", "reason": "because"}, "reason"),
        ({"payment_intent": "pi_1", "metadata": {"k": "x" * 501}}, "metadata"),
    ):
        with pytest.raises(library.InvalidRequestError) as caught:
            api.v1.refunds.create(params)  # type: ignore[arg-type]
        assert caught.value.param == param
    with pytest.raises(library.InvalidRequestError, match=r"line_items\[0\]\[price_data\]\[nam\]"):
        make_session(api, line_items=[{"quantity": 1, "price_data": {"nam": "x"}}])
    with pytest.raises(library.InvalidRequestError, match="Unrecognized request URL"):
        api.raw_request("get", "/v1/nothing_like_it")


def test_a_wrong_key_is_refused(fakestripe: FakeStripe) -> None:
    stranger = library.StripeClient("sk_test_other", base_addresses={"api": fakestripe.url}, max_network_retries=0)
    with pytest.raises(library.AuthenticationError):
        stranger.v1.balance.retrieve()


def test_what_it_shows_is_what_the_library_knows(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    everything(api, fakestripe)
    unknown: dict[str, set[str]] = {}
    seen = set()
    for row in fakestripe.objects.values():
        kind = library._object_classes.get_object_class("V1", row["object"])
        seen.add(row["object"])
        known = set(kind.__annotations__)
        if extra := {name for name in row if not name.startswith("_")} - known:
            unknown[row["object"]] = extra
    assert unknown == {}
    assert len(seen) >= 22


def everything(api: library.StripeClient, stripe: FakeStripe) -> None:
    """Make at least one object of every kind."""
    stripe.fund(5000)
    charge = paid(api, stripe)
    stripe.fail_refund(api.v1.refunds.create({"charge": charge, "amount": 100}).id)
    stripe.close_dispute(stripe.open_dispute(charge)["id"], "won")
    account = make_account(api, stripe)
    transfer = api.v1.transfers.create({"amount": 300, "currency": "usd", "destination": account})
    stripe.reverse_transfer(transfer.id, 100)
    payout = stripe.start_payout(account)["id"]
    stripe.finish_payout(payout)
    stripe.fail_payout(payout)
    subscription = subscribe(api, stripe)
    stripe.renew(subscription)
    stripe.pay(make_session(api, mode="setup", currency="usd", line_items=[]).id)
    api.v1.webhook_endpoints.create({"url": "https://example.com", "enabled_events": ["invoice.paid"]})
    api.v1.billing_portal.sessions.create({"customer": stripe.all("customer")[0]["id"]})
    api.v1.tax.calculations.create({"currency": "usd", "line_items": [{"amount": 1000, "reference": "a"}]})


# ---- idempotency, lists, expanding ----


def test_a_key_is_answered_once(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    first = api.v1.customers.create({"name": "a"}, {"idempotency_key": "k"})
    assert api.v1.customers.create({"name": "a"}, {"idempotency_key": "k"}).id == first.id
    with pytest.raises(library.IdempotencyError):
        api.v1.customers.create({"name": "b"}, {"idempotency_key": "k"})
    with pytest.raises(library.IdempotencyError):
        api.v1.products.create({"name": "a"}, {"idempotency_key": "k"})
    fakestripe.clock.advance(25 * 3600)
    assert api.v1.customers.create({"name": "b"}, {"idempotency_key": "k"}).id != first.id


def test_a_refusal_is_kept_under_its_key_and_bad_parameters_are_not(
    api: library.StripeClient, fakestripe: FakeStripe
) -> None:
    account = make_account(api, fakestripe)
    params: Any = {"amount": 500, "currency": "usd", "destination": account}
    for _ in range(2):
        with pytest.raises(library.InvalidRequestError) as caught:
            api.v1.transfers.create(params, {"idempotency_key": "k"})
        assert caught.value.code == "balance_insufficient"
        fakestripe.fund(1000)
    assert api.v1.transfers.create(params, {"idempotency_key": "k2"}).amount == 500
    with pytest.raises(library.InvalidRequestError):
        api.v1.refunds.create({"amount": "x"}, {"idempotency_key": "k3"})  # type: ignore[typeddict-item]
    assert api.v1.customers.create({}, {"idempotency_key": "k3"}).id


def test_an_error_after_the_fact_is_replayed(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    fakestripe.fail_next("error_after", method="POST", path="/v1/customers")
    for _ in range(2):
        with pytest.raises(library.APIError):
            api.v1.customers.create({}, {"idempotency_key": "k"})
    assert len(fakestripe.all("customer")) == 1


def test_lists_have_pages(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    made = [api.v1.customers.create({}).id for _ in range(5)]
    page = api.v1.customers.list({"limit": 2})
    assert ([row.id for row in page.data], page.has_more) == ([made[4], made[3]], True)
    page = api.v1.customers.list({"limit": 2, "starting_after": made[1]})
    assert ([row.id for row in page.data], page.has_more) == ([made[0]], False)
    assert [row.id for row in api.v1.customers.list({"limit": 2}).auto_paging_iter()] == made[::-1]
    page = api.v1.customers.list({"ending_before": made[2], "limit": 1})
    assert ([row.id for row in page.data], page.has_more) == ([made[3]], True)
    future = fakestripe.clock.now() + 10
    assert api.v1.customers.list({"created": {"gte": future}}).data == []
    with pytest.raises(library.InvalidRequestError):
        api.v1.customers.list({"limit": 101})


def test_members_are_expanded(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    session = make_session(api)
    fakestripe.pay(session.id)
    got = api.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent.latest_charge.balance_transaction", "line_items"]}
    )
    assert got.payment_intent.latest_charge.balance_transaction.net == 1000 - 59
    assert got.line_items.data[0].amount_total == 1000
    listed = api.v1.balance_transactions.list({"expand": ["data.source"]})
    assert listed.data[0].source.object == "charge"
    with pytest.raises(library.InvalidRequestError, match="cannot be expanded"):
        api.v1.checkout.sessions.retrieve(session.id, {"expand": ["nothing"]})


# ---- payments ----


def test_a_session_is_paid_with_tax(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    session = make_session(api, automatic_tax={"enabled": True}, payment_intent_data={"metadata": {"top_up": "t"}})
    assert (session.status, session.payment_status, session.payment_intent) == ("open", "unpaid", None)
    fakestripe.pay(session.id, tax_cents=80)
    got = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (got.status, got.payment_status, got.url) == ("complete", "paid", None)
    assert (got.amount_subtotal, got.amount_total, got.total_details.amount_tax) == (1000, 1080, 80)
    assert (got.payment_intent.amount_received, got.payment_intent.metadata["top_up"]) == (1080, "t")
    assert types(fakestripe)[-3:] == ["charge.succeeded", "payment_intent.succeeded", "checkout.session.completed"]
    with pytest.raises(AssertionError):
        fakestripe.pay(session.id)


def test_a_customer_without_address_needs_it_saved_for_tax(api: library.StripeClient) -> None:
    customer = api.v1.customers.create({}).id
    with pytest.raises(library.InvalidRequestError) as caught:
        make_session(api, customer=customer, automatic_tax={"enabled": True})
    assert caught.value.code == "customer_tax_location_invalid"
    assert (
        make_session(
            api, customer=customer, automatic_tax={"enabled": True}, customer_update={"address": "auto"}
        ).customer
        == customer
    )


def test_a_session_that_is_declined_stays_open(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    session = make_session(api)
    fakestripe.fail_payment(session.id)
    assert api.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert types(fakestripe)[-1] == "payment_intent.payment_failed"
    fakestripe.pay(session.id)
    assert fakestripe.available_cents == 1000 - 59


@pytest.mark.parametrize("arrives", [True, False])
def test_a_payment_that_takes_days(api: library.StripeClient, fakestripe: FakeStripe, arrives: bool) -> None:
    session = make_session(api)
    fakestripe.pay_later(session.id)
    got = api.v1.checkout.sessions.retrieve(session.id)
    assert (got.status, got.payment_status) == ("complete", "unpaid")
    assert fakestripe.available_cents == 0
    (fakestripe.succeed_async if arrives else fakestripe.fail_async)(session.id)
    got = api.v1.checkout.sessions.retrieve(session.id)
    assert got.payment_status == ("paid" if arrives else "unpaid")
    assert types(fakestripe)[-1] == f"checkout.session.async_payment_{'succeeded' if arrives else 'failed'}"


def test_a_session_expires(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    session = make_session(api)
    assert api.v1.checkout.sessions.expire(session.id).status == "expired"
    with pytest.raises(library.InvalidRequestError):
        api.v1.checkout.sessions.expire(session.id)
    assert types(fakestripe)[-1] == "checkout.session.expired"


def test_a_card_is_saved_and_charged_off_session(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    customer = api.v1.customers.create({}).id
    session = make_session(api, customer=customer, payment_intent_data={"setup_future_usage": "off_session"})
    fakestripe.pay(session.id)
    card = api.v1.customers.payment_methods.list(customer).data[0]
    assert (card.card.brand, card.card.last4) == ("visa", "4242")
    params: Any = {
        "amount": 700,
        "currency": "usd",
        "customer": customer,
        "payment_method": card.id,
        "confirm": True,
        "off_session": True,
    }
    assert api.v1.payment_intents.create(params).status == "succeeded"
    for behaviour, code in (("requires_action", "authentication_required"), ("card_declined", "card_declined")):
        fakestripe.set_card(card.id, behaviour)
        with pytest.raises(library.CardError) as caught:
            api.v1.payment_intents.create(params)
        assert caught.value.code == code
        assert caught.value.json_body["error"]["payment_intent"]["status"] == "requires_payment_method"  # type: ignore[index]
    api.v1.payment_methods.detach(card.id)
    assert api.v1.customers.payment_methods.list(customer).data == []


def test_a_card_is_set_up_without_paying(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    customer = api.v1.customers.create({}).id
    session = make_session(api, mode="setup", customer=customer, currency="usd", line_items=[])
    fakestripe.pay(session.id)
    got = api.v1.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
    assert (got.payment_status, got.setup_intent.status) == ("no_payment_required", "succeeded")
    assert api.v1.payment_methods.retrieve(got.setup_intent.payment_method).customer == customer


def test_refunds_are_kept_within_what_was_paid(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    charge = paid(api, fakestripe)
    api.v1.refunds.create({"charge": charge, "amount": 400})
    with pytest.raises(library.InvalidRequestError, match="greater than unrefunded"):
        api.v1.refunds.create({"charge": charge, "amount": 601})
    last = fakestripe.refund_in_dashboard(charge)
    assert last["amount"] == 600
    with pytest.raises(library.InvalidRequestError) as caught:
        api.v1.refunds.create({"charge": charge})
    assert caught.value.code == "charge_already_refunded"
    assert fakestripe.available_cents == -59
    fakestripe.fail_refund(last["id"])
    assert fakestripe.available_cents == 600 - 59
    assert api.v1.charges.retrieve(charge, {"expand": ["refunds"]}).amount_refunded == 400


def test_disputes_move_money_and_keep_refunds_off(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    charge = paid(api, fakestripe)
    dispute = fakestripe.open_dispute(charge)
    assert fakestripe.available_cents == -59 - 1500
    with pytest.raises(library.InvalidRequestError) as caught:
        api.v1.refunds.create({"charge": charge})
    assert caught.value.code == "charge_disputed"
    assert api.v1.disputes.update(dispute["id"], {"evidence": {"product_description": "x"}}).status == "under_review"
    fakestripe.close_dispute(dispute["id"], "won")
    assert fakestripe.available_cents == 1000 - 59 - 1500
    assert len(api.v1.disputes.retrieve(dispute["id"]).balance_transactions) == 2
    assert types(fakestripe)[-2:] == ["charge.dispute.funds_reinstated", "charge.dispute.closed"]


def test_an_inquiry_takes_money_only_when_it_escalates(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    inquiry = fakestripe.open_dispute(paid(api, fakestripe), inquiry=True)
    assert fakestripe.available_cents == 1000 - 59
    fakestripe.escalate_dispute(inquiry["id"])
    assert fakestripe.available_cents == -59 - 1500
    assert fakestripe.close_dispute(inquiry["id"], "lost")["status"] == "lost"


# ---- connected accounts ----


def test_transfers_need_money_and_an_account_that_may_have_it(
    api: library.StripeClient, fakestripe: FakeStripe
) -> None:
    made = api.v1.accounts.create({"country": "US", "capabilities": {"transfers": {"requested": True}}})
    fakestripe.fund(1000)
    params: Any = {"amount": 600, "currency": "usd", "destination": made.id, "transfer_group": "po_1"}
    with pytest.raises(library.InvalidRequestError) as caught:
        api.v1.transfers.create(params)
    assert caught.value.code == "insufficient_capabilities_for_transfer"
    assert api.v1.account_links.create(
        {"account": made.id, "refresh_url": "https://a", "return_url": "https://b", "type": "account_onboarding"}
    ).url
    fakestripe.onboard(made.id)
    transfer = api.v1.transfers.create(params)
    with pytest.raises(library.InvalidRequestError) as caught:
        api.v1.transfers.create(params)
    assert caught.value.code == "balance_insufficient"
    assert [row.id for row in api.v1.transfers.list({"transfer_group": "po_1"}).data] == [transfer.id]
    assert api.v1.transfers.list({"transfer_group": "po_2"}).data == []
    assert api.v1.balance.retrieve(options={"stripe_account": made.id}).available[0].amount == 600
    fakestripe.reverse_transfer(transfer.id, 200)
    got = api.v1.transfers.retrieve(transfer.id)
    assert (got.amount_reversed, got.reversed) == (200, False)
    assert fakestripe.available_cents == 600


def test_a_payout_that_was_paid_can_fail(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    account = make_account(api, fakestripe)
    fakestripe.fund(1000)
    api.v1.transfers.create({"amount": 600, "currency": "usd", "destination": account})
    payout = fakestripe.start_payout(account)["id"]
    fakestripe.finish_payout(payout)
    options: Any = {"stripe_account": account}
    assert api.v1.payouts.retrieve(payout, options=options).status == "paid"
    with pytest.raises(library.InvalidRequestError):
        api.v1.payouts.retrieve(payout)  # it is not ours
    fakestripe.fail_payout(payout)
    got = api.v1.payouts.retrieve(payout, options=options)
    assert (got.status, got.failure_code) == ("failed", "account_closed")
    told = [(event["type"], event.get("account")) for event in fakestripe.webhooks.pending[-3:]]
    assert told == [("payout.created", account), ("payout.paid", account), ("payout.failed", account)]


def test_our_own_payout_settles_what_came_before(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    charge = paid(api, fakestripe)
    payout = fakestripe.start_payout()["id"]
    settled = api.v1.balance_transactions.list({"payout": payout}).data
    assert {row.source for row in settled} == {charge, payout}
    assert fakestripe.available_cents == 0


# ---- subscriptions ----


def subscribe(api: library.StripeClient, stripe: FakeStripe) -> str:
    product = api.v1.products.create({"name": "Pro"}).id
    price = api.v1.prices.create(
        {"product": product, "currency": "usd", "unit_amount": 2900, "recurring": {"interval": "month"}}
    ).id
    session = make_session(
        api,
        mode="subscription",
        line_items=[{"price": price, "quantity": 1}],
        subscription_data={"metadata": {"developer": "dev_1"}},
    )
    return str(stripe.pay(session.id, tax_cents=200)["subscription"])


def test_a_subscription_renews_falls_behind_and_ends(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    subscription = subscribe(api, fakestripe)
    got = api.v1.subscriptions.retrieve(subscription, {"expand": ["latest_invoice.payments"]})
    first = got.latest_invoice
    assert (got.status, got.metadata["developer"]) == ("active", "dev_1")
    assert (first.status, first.billing_reason, first.total, first.subtotal) == (
        "paid",
        "subscription_create",
        3100,
        2900,
    )
    assert first.total_taxes[0].amount == 200
    assert first.parent.subscription_details.subscription == subscription
    assert first.payments.data[0].payment.payment_intent in fakestripe.objects
    invoice = fakestripe.renew(subscription)
    assert (invoice["status"], invoice["billing_reason"]) == ("paid", "subscription_cycle")
    card = api.v1.subscriptions.retrieve(subscription).default_payment_method
    fakestripe.set_card(card, "card_declined")
    invoice = fakestripe.renew(subscription)
    assert (invoice["status"], invoice["attempt_count"]) == ("open", 1)
    assert api.v1.subscriptions.retrieve(subscription).status == "past_due"
    fakestripe.set_card(card, "ok")
    assert api.v1.invoices.pay(invoice["id"]).status == "paid"
    assert api.v1.subscriptions.retrieve(subscription).status == "active"
    api.v1.subscriptions.update(subscription, {"cancel_at_period_end": True})
    assert fakestripe.renew(subscription)["status"] == "canceled"
    assert api.v1.subscriptions.list({}).data == []
    assert len(api.v1.invoices.list({"subscription": subscription}).data) == 3


# ---- deliveries ----


def test_deliveries_are_signed_as_the_library_reads_them(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    account = make_account(api, fakestripe)
    api.v1.customers.create({})
    theirs, ours = fakestripe.deliveries
    hooks = fakestripe.webhooks
    event = library.Webhook.construct_event(ours.body, ours.signature, hooks.secret)
    assert (event.type, event.api_version) == ("customer.created", fakestripe.api_version)
    assert library.Webhook.construct_event(theirs.body, theirs.signature, hooks.connect_secret).account == account
    with pytest.raises(library.SignatureVerificationError):
        library.Webhook.construct_event(theirs.body, theirs.signature, hooks.secret)
    assert fakestripe.deliveries == []


def test_deliveries_go_astray(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    hooks = fakestripe.webhooks

    def told() -> list[str]:
        for name in ("a", "b"):
            api.v1.products.create({"name": name})
        return [delivery.event["data"]["object"]["name"] for delivery in fakestripe.deliveries]

    assert told() == ["a", "b"]
    hooks.duplicate = True
    assert told() == ["a", "a", "b", "b"]
    hooks.duplicate, hooks.reorder = False, True
    assert told() == ["b", "a"]
    hooks.reorder, hooks.drop = False, {"product.created"}
    assert told() == []
    hooks.drop, hooks.delay = False, True
    assert told() == []
    hooks.delay = False
    assert told() == ["a", "b", "a", "b"]


def test_events_can_be_asked_for(api: library.StripeClient, fakestripe: FakeStripe) -> None:
    api.v1.customers.create({})
    listed = api.v1.events.list({"type": "customer.created"}).data
    assert [row.id for row in listed] == [delivery.event["id"] for delivery in fakestripe.deliveries]
    assert api.v1.events.retrieve(listed[0].id).data.object["object"] == "customer"
