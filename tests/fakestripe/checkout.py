"""Checkout sessions: a person pays on Stripe's page, here by a control of the fake."""

import secrets
from typing import Any

from tests.fakestripe import payments, plans
from tests.fakestripe.faults import invalid, required
from tests.fakestripe.routes import merged, routes
from tests.fakestripe.state import Object, State

KIND = "checkout.session"
routes.single("/v1/checkout/sessions", KIND)
routes.listing("/v1/checkout/sessions", KIND, "payment_intent", "subscription", "customer", "status")


@routes("POST", "/v1/checkout/sessions")
def create_session(state: State, params: Object) -> Object:
    mode = params.get("mode")
    if mode not in ("payment", "subscription", "setup"):
        raise required("mode") if mode is None else invalid("Invalid mode", param="mode")
    ui_mode = params.get("ui_mode", "hosted_page")
    if ui_mode == "hosted_page" and "success_url" not in params:
        raise required("success_url")
    customer = params.get("customer")
    if customer is not None:
        row = state.get("customer", customer, "customer")
        if "customer_email" in params:
            raise invalid("You may only specify one of these parameters: customer, customer_email.")
        auto = params.get("automatic_tax", {}).get("enabled")
        saves = params.get("customer_update", {}).get("address") == "auto"
        if auto and mode != "setup" and row["address"] is None and not saves:
            raise invalid(
                "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address "
                "to the Customer or set either customer_update[address] to 'auto' or customer_update[shipping] to "
                "'auto' to save the address entered in Checkout to the Customer.",
                code="customer_tax_location_invalid",
            )
    lines = [] if mode == "setup" else plans.lines_of(state, params.get("line_items"), recurring=mode == "subscription")
    subtotal = sum(line["amount_subtotal"] for line in lines)
    if mode == "payment" and subtotal < 50:
        raise invalid(
            "The Checkout Session's total amount due must add up to at least $0.50 usd", code="amount_too_small"
        )
    session_id = f"cs_{'live' if state.livemode else 'test'}_{secrets.token_hex(20)}"
    expires_at = params.get("expires_at", state.clock.now() + 86400)
    if not state.clock.now() + 1790 <= expires_at <= state.clock.now() + 86_410:
        raise invalid("expires_at must be between 30 minutes and 24 hours after Checkout Session creation.")
    row = state.add(
        "cs",
        KIND,
        id=session_id,
        after_expiration=None,
        allow_promotion_codes=params.get("allow_promotion_codes"),
        amount_subtotal=None if mode == "setup" else subtotal,
        amount_total=None if mode == "setup" else subtotal,
        automatic_tax={
            "enabled": bool(params.get("automatic_tax", {}).get("enabled")),
            "liability": None,
            "provider": None,
            "status": "requires_location_inputs" if params.get("automatic_tax", {}).get("enabled") else None,
        },
        billing_address_collection=params.get("billing_address_collection"),
        cancel_url=params.get("cancel_url"),
        client_reference_id=params.get("client_reference_id"),
        client_secret=None,
        consent=None,
        consent_collection=None,
        currency=None if mode == "setup" else "usd",
        custom_fields=[],
        custom_text={},
        customer=customer,
        customer_creation=params.get("customer_creation"),
        customer_details=None,
        customer_email=params.get("customer_email"),
        expires_at=expires_at,
        invoice=None,
        invoice_creation=params.get("invoice_creation"),
        locale=params.get("locale"),
        metadata=params.get("metadata", {}),
        mode=mode,
        payment_intent=None,
        payment_link=None,
        payment_method_collection="always",
        payment_method_options={},
        payment_method_types=params.get("payment_method_types", ["card"]),
        payment_status="no_payment_required" if mode == "setup" else "unpaid",
        setup_intent=None,
        shipping_address_collection=None,
        shipping_cost=None,
        shipping_options=[],
        status="open",
        submit_type=params.get("submit_type"),
        subscription=None,
        success_url=params.get("success_url"),
        return_url=params.get("return_url"),
        total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        ui_mode=ui_mode,
        url=f"https://checkout.stripe.com/c/pay/{session_id}",
        _lines=lines,
        _intent=params.get("payment_intent_data", {}),
        _subscription=params.get("subscription_data", {}),
        _setup=params.get("setup_intent_data", {}),
    )
    row["_line_items"] = lambda: line_items(state, {}, session_id)
    if mode == "setup":
        made = payments.make_setup_intent(state, customer, row["_setup"].get("metadata", {}))
        row["setup_intent"] = made["id"]
    return row


@routes("GET", "/v1/checkout/sessions/{id}/line_items")
def line_items(state: State, params: Object, session_id: str) -> Object:
    row = state.get(KIND, session_id)
    return state.page(row["_lines"], params, f"/v1/checkout/sessions/{session_id}/line_items")


@routes("POST", "/v1/checkout/sessions/{id}")
def update_session(state: State, params: Object, session_id: str) -> Object:
    return merged(state.get(KIND, session_id), params, "metadata")


@routes("POST", "/v1/checkout/sessions/{id}/expire")
def expire_session(state: State, params: Object, session_id: str) -> Object:
    row = state.get(KIND, session_id)
    if row["status"] != "open":
        raise invalid("Only Checkout Sessions with a status of `open` can be expired.")
    return expire(state, row)


def expire(state: State, row: Object) -> Object:
    row |= {"status": "expired", "url": None}
    state.emit("checkout.session.expired", row)
    return row


def complete(
    state: State, row: Object, *, tax_cents: int, behaviour: str, customer_address: Object | None, card: Any = None
) -> Object:
    """Let a person finish a session with a card that does as `behaviour` says ("processing": paid later)."""
    if row["status"] != "open" or row["expires_at"] <= state.clock.now():
        raise AssertionError(f"{row['id']} is {row['status']} or its time is over: nobody can pay it any more")
    address = customer_address or {"city": None, "country": "US", "line1": None, "postal_code": "94110", "state": "CA"}
    row["customer_details"] = {
        "address": address,
        "email": row["customer_email"] or "person@example.com",
        "name": "Pat Person",
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [],
    }
    needs_customer = row["mode"] == "subscription" or row["customer_creation"] == "always"
    if row["customer"] is None and needs_customer:
        row["customer"] = payments.create_customer(state, {"email": row["customer_details"]["email"]})["id"]
    card = card or payments.make_card(state, behaviour)
    if row["mode"] == "setup":
        return _set_up(state, row, card)
    if tax_cents:
        row["total_details"]["amount_tax"] = tax_cents
        row["amount_total"] = row["amount_subtotal"] + tax_cents
    if row["automatic_tax"]["enabled"]:
        row["automatic_tax"] |= {"status": "complete", "provider": "stripe"}
    if row["mode"] == "subscription":
        return _subscribe(state, row, card, tax_cents)
    return _pay(state, row, card)


def _set_up(state: State, row: Object, card: Object) -> Object:
    intent = state.objects[row["setup_intent"]]
    intent["payment_method"] = card["id"]
    payments.succeed_setup(state, intent)
    row |= {"status": "complete", "url": None}
    state.emit("checkout.session.completed", row)
    return row


def _pay(state: State, row: Object, card: Object) -> Object:
    if row["payment_intent"] is None:
        made = payments.make_intent(state, row["amount_total"], {**row["_intent"], "customer": row["customer"]})
        row["payment_intent"] = made["id"]
    intent = state.objects[row["payment_intent"]]
    behaviour = card["_behaviour"]
    if behaviour == "processing":
        intent |= {"status": "processing", "payment_method": card["id"]}
        row |= {"status": "complete", "url": None}
        state.emit("payment_intent.processing", intent)
        state.emit("checkout.session.completed", row)
    elif behaviour == "ok":
        payments.succeed(state, intent, card)
        row |= {"status": "complete", "payment_status": "paid", "url": None}
        state.emit("checkout.session.completed", row)
    else:
        # The person stays on the page and may try another card: the session is open still.
        payments.fail(state, intent, card, "card_declined", "generic_decline", answer=False)
    return row


def finish_async(state: State, row: Object, *, paid: bool) -> Object:
    """Let a payment that takes days come, or fail after all."""
    intent = state.objects[row["payment_intent"]]
    if intent["status"] != "processing":
        raise AssertionError(f"{row['id']} is not under way: {intent['status']}")
    card = state.objects[intent["payment_method"]]
    if paid:
        payments.succeed(state, intent, card)
        row["payment_status"] = "paid"
        state.emit("checkout.session.async_payment_succeeded", row)
    else:
        payments.fail(state, intent, card, "payment_method_provider_decline", "generic_decline", answer=False)
        state.emit("checkout.session.async_payment_failed", row)
    return row


def _subscribe(state: State, row: Object, card: Object, tax_cents: int) -> Object:
    payments.attach(state, card["id"], row["customer"])
    data = row["_subscription"]
    prices = [{"price": line["price"]["id"], "quantity": line["quantity"]} for line in row["_lines"]]
    made = plans.make_subscription(
        state, row["customer"], prices, card, tax_cents=tax_cents, metadata=data.get("metadata", {}), params=data
    )
    row |= {
        "status": "complete",
        "payment_status": "paid",
        "url": None,
        "subscription": made["id"],
        "invoice": made["latest_invoice"],
    }
    state.emit("checkout.session.completed", row)
    return row
