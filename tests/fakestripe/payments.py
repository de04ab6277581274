"""Customers, cards, payment intents, charges, refunds, disputes, and the balance that they move."""

import secrets
from typing import Any

from tests.fakestripe.faults import Fault, invalid, missing, required
from tests.fakestripe.routes import merged, routes
from tests.fakestripe.state import Object, State

# Stripe's own names of test cards, and how they behave.
TEST_CARDS = {
    "pm_card_visa": "ok",
    "pm_card_mastercard": "ok",
    "pm_card_chargeDeclined": "card_declined",
    "pm_card_visa_chargeDeclined": "card_declined",
    "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
    "pm_card_chargeCustomerFail": "card_declined",
    "pm_card_authenticationRequired": "requires_action",
    "pm_card_authenticationRequiredOnSetup": "ok",
}
DISPUTE_FEE = 1500

for path, kind, filters in (
    ("/v1/customers", "customer", ("email",)),
    ("/v1/payment_intents", "payment_intent", ("customer",)),
    ("/v1/charges", "charge", ("customer", "payment_intent", "transfer_group")),
    ("/v1/refunds", "refund", ("charge", "payment_intent")),
    ("/v1/disputes", "dispute", ("charge", "payment_intent")),
    ("/v1/balance_transactions", "balance_transaction", ("type", "source", "currency")),
    ("/v1/setup_intents", "setup_intent", ("customer", "payment_method")),
):
    if kind != "balance_transaction":
        routes.listing(path, kind, *filters)
    routes.single(path, kind)
routes.single("/v1/payment_methods", "payment_method")


# ---- the balance ----


def post(
    state: State,
    amount: int,
    type: str,
    source: str | None,
    *,
    fee: int = 0,
    category: str | None = None,
    text: str = "",
) -> Object:
    """Book an amount of cents (after which `available` holds `amount - fee` more) as a balance transaction."""
    fees = [{"amount": fee, "application": None, "currency": "usd", "description": "Stripe fees", "type": "stripe_fee"}]
    return state.add(
        "txn",
        "balance_transaction",
        amount=amount,
        available_on=state.clock.now() if state.instant else state.clock.now() + 2 * 86400,
        balance_type="payments",
        currency="usd",
        description=text or None,
        exchange_rate=None,
        fee=fee,
        fee_details=fees if fee else [],
        net=amount - fee,
        reporting_category=category or type,
        source=source,
        status="available" if state.instant else "pending",
        type=type,
    )


def available(state: State) -> int:
    """Return the present account's balance that can be sent, in cents."""
    now = state.clock.now()
    return sum(row["net"] for row in state.all("balance_transaction") if row["available_on"] <= now or row["net"] < 0)


@routes("GET", "/v1/balance")
def balance(state: State, params: Object) -> Object:
    total = sum(row["net"] for row in state.all("balance_transaction"))
    ready = available(state)
    return {
        "object": "balance",
        "available": [{"amount": ready, "currency": "usd", "source_types": {"card": ready}}],
        "pending": [{"amount": total - ready, "currency": "usd", "source_types": {"card": total - ready}}],
        "livemode": state.livemode,
    }


@routes("GET", "/v1/balance_transactions")
def balance_transactions(state: State, params: Object) -> Object:
    rows = state.all("balance_transaction")
    for name in ("type", "source", "currency"):
        if name in params:
            rows = [row for row in rows if row[name] == params[name]]
    if "payout" in params:
        payout = state.get("payout", params["payout"], "payout")
        rows = [row for row in rows if row["id"] in payout["_settles"] or row["id"] == payout["balance_transaction"]]
    return state.page(rows, params, "/v1/balance_transactions")


# ---- customers and their cards ----


@routes("POST", "/v1/customers")
def create_customer(state: State, params: Object) -> Object:
    row = state.add(
        "cus",
        "customer",
        address=params.get("address"),
        balance=0,
        currency=None,
        default_source=None,
        delinquent=False,
        description=params.get("description"),
        discount=None,
        email=params.get("email"),
        invoice_prefix=secrets.token_hex(4).upper(),
        invoice_settings={
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        metadata=params.get("metadata", {}),
        name=params.get("name"),
        next_invoice_sequence=1,
        phone=params.get("phone"),
        preferred_locales=[],
        shipping=None,
        tax_exempt="none",
        test_clock=None,
    )
    if "payment_method" in params:
        attach(state, params["payment_method"], row["id"])
    state.emit("customer.created", row)
    return row


@routes("POST", "/v1/customers/{id}")
def update_customer(state: State, params: Object, object_id: str) -> Object:
    row = state.get("customer", object_id)
    if (default := params.get("invoice_settings", {}).get("default_payment_method")) is not None:
        row["invoice_settings"]["default_payment_method"] = default or None
    merged(row, params, "metadata", "email", "name", "description", "address", "phone", "tax_exempt")
    state.emit("customer.updated", row)
    return row


@routes("DELETE", "/v1/customers/{id}")
def delete_customer(state: State, params: Object, object_id: str) -> Object:
    row = state.get("customer", object_id)
    del state.objects[object_id]
    state.emit("customer.deleted", row)
    return {"id": object_id, "object": "customer", "deleted": True}


def make_card(state: State, behaviour: str = "ok", customer: str | None = None, last4: str = "4242") -> Object:
    """Make a card that does as `behaviour` says (see `FakeStripe.card`)."""
    card = {
        "brand": "visa",
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": "visa",
        "exp_month": 12,
        "exp_year": 2040,
        "fingerprint": secrets.token_hex(8),
        "funding": "credit",
        "generated_from": None,
        "last4": last4,
        "networks": {"available": ["visa"], "preferred": None},
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }
    details = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
    return state.add(
        "pm",
        "payment_method",
        allow_redisplay="unspecified",
        billing_details=details,
        card=card,
        customer=customer,
        metadata={},
        type="card",
        _behaviour=behaviour,
    )


def method(state: State, given: Any, param: str = "payment_method") -> Object:
    """Return a payment method by its id; the name of a test card makes one."""
    if given in TEST_CARDS:
        return make_card(state, TEST_CARDS[given])
    return state.get("payment_method", given, param)


@routes("POST", "/v1/payment_methods")
def create_method(state: State, params: Object) -> Object:
    if params.get("type") != "card":
        raise invalid("The fake knows cards only.", param="type")
    return make_card(state)


@routes("POST", "/v1/payment_methods/{id}/attach")
def attach_method(state: State, params: Object, object_id: str) -> Object:
    if "customer" not in params:
        raise required("customer")
    return attach(state, object_id, params["customer"])


def attach(state: State, given: str, customer: str) -> Object:
    state.get("customer", customer, "customer")
    row = method(state, given)
    row["customer"] = customer
    state.emit("payment_method.attached", row)
    return row


@routes("POST", "/v1/payment_methods/{id}/detach")
def detach_method(state: State, params: Object, object_id: str) -> Object:
    row = state.get("payment_method", object_id)
    if row["customer"] is None:
        raise invalid("The payment method you provided is not attached to a customer so detachment is impossible.")
    row["customer"] = None
    state.emit("payment_method.detached", row)
    return row


@routes("GET", "/v1/payment_methods")
def list_methods(state: State, params: Object) -> Object:
    rows = [row for row in state.all("payment_method") if row["customer"] == params.get("customer")]
    return state.page(rows, params, "/v1/payment_methods")


@routes("GET", "/v1/customers/{id}/payment_methods")
def customer_methods(state: State, params: Object, customer: str) -> Object:
    state.get("customer", customer)
    rows = [row for row in state.all("payment_method") if row["customer"] == customer]
    return state.page(rows, params, f"/v1/customers/{customer}/payment_methods")


@routes("POST", "/v1/setup_intents")
def create_setup_intent(state: State, params: Object) -> Object:
    row = make_setup_intent(state, params.get("customer"), params.get("metadata", {}))
    if "payment_method" in params:
        row["payment_method"] = method(state, params["payment_method"])["id"]
        row["status"] = "requires_confirmation"
    if params.get("confirm"):
        succeed_setup(state, row)
    return row


def make_setup_intent(state: State, customer: str | None, metadata: Object) -> Object:
    row = state.add(
        "seti",
        "setup_intent",
        application=None,
        cancellation_reason=None,
        client_secret=f"seti_secret_{secrets.token_hex(8)}",
        customer=customer,
        description=None,
        last_setup_error=None,
        latest_attempt=None,
        mandate=None,
        metadata=metadata,
        next_action=None,
        on_behalf_of=None,
        payment_method=None,
        payment_method_types=["card"],
        status="requires_payment_method",
        usage="off_session",
    )
    state.emit("setup_intent.created", row)
    return row


def succeed_setup(state: State, row: Object) -> None:
    card = state.get("payment_method", row["payment_method"])
    if row["customer"]:
        attach(state, card["id"], row["customer"])
    row["status"] = "succeeded"
    state.emit("setup_intent.succeeded", row)


# ---- payment intents and charges ----


@routes("POST", "/v1/payment_intents")
def create_intent(state: State, params: Object) -> Object:
    for name in ("amount", "currency"):
        if name not in params:
            raise required(name)
    row = make_intent(state, params["amount"], params)
    if params.get("confirm"):
        _confirm(state, row, params)
    return row


def make_intent(state: State, amount: int, params: Object) -> Object:
    """Make a payment intent of some cents that nobody has paid yet."""
    if not isinstance(amount, int) or amount < 50:
        raise invalid("Amount must be at least $0.50 usd", code="amount_too_small", param="amount")
    if amount > 99_999_999:
        raise invalid("Amount must be no more than $999,999.99", code="amount_too_large", param="amount")
    customer = params.get("customer")
    if customer is not None:
        state.get("customer", customer, "customer")
    card = method(state, params["payment_method"]) if params.get("payment_method") else None
    types = params.get("payment_method_types") or ["card"]
    row = state.add(
        "pi",
        "payment_intent",
        amount=amount,
        amount_capturable=0,
        amount_details={"tip": {}},
        amount_received=0,
        application=None,
        application_fee_amount=None,
        automatic_payment_methods=params.get("automatic_payment_methods"),
        canceled_at=None,
        cancellation_reason=None,
        capture_method=params.get("capture_method", "automatic_async"),
        client_secret="pi_secret_" + secrets.token_hex(8),
        confirmation_method="automatic",
        currency=params.get("currency", "usd"),
        customer=customer,
        description=params.get("description"),
        last_payment_error=None,
        latest_charge=None,
        metadata=params.get("metadata", {}),
        next_action=None,
        on_behalf_of=None,
        payment_method=card and card["id"],
        payment_method_options={},
        payment_method_types=types,
        processing=None,
        receipt_email=params.get("receipt_email"),
        review=None,
        setup_future_usage=params.get("setup_future_usage"),
        shipping=None,
        source=None,
        statement_descriptor=params.get("statement_descriptor"),
        statement_descriptor_suffix=params.get("statement_descriptor_suffix"),
        status="requires_confirmation" if card else "requires_payment_method",
        transfer_data=None,
        transfer_group=params.get("transfer_group"),
    )
    state.emit("payment_intent.created", row)
    return row


@routes("POST", "/v1/payment_intents/{id}")
def update_intent(state: State, params: Object, object_id: str) -> Object:
    row = state.get("payment_intent", object_id)
    if "amount" in params and row["status"] not in ("requires_payment_method", "requires_confirmation"):
        raise invalid(
            "The amount of a payment that is under way cannot change.", code="payment_intent_unexpected_state"
        )
    return merged(row, params, "metadata", "description", "amount", "transfer_group", "receipt_email")


@routes("POST", "/v1/payment_intents/{id}/confirm")
def confirm_intent(state: State, params: Object, object_id: str) -> Object:
    row = state.get("payment_intent", object_id)
    if row["status"] in ("succeeded", "canceled", "processing"):
        message = f"This PaymentIntent's status is {row['status']}; it cannot be confirmed."
        raise Fault(400, message, code="payment_intent_unexpected_state", payment_intent=state.answer(row, ()))
    if "payment_method" in params:
        row["payment_method"] = method(state, params["payment_method"])["id"]
    _confirm(state, row, params)
    return row


@routes("POST", "/v1/payment_intents/{id}/cancel")
def cancel_intent(state: State, params: Object, object_id: str) -> Object:
    row = state.get("payment_intent", object_id)
    if row["status"] in ("succeeded", "canceled", "processing"):
        raise invalid(
            f"You cannot cancel this PaymentIntent because it has a status of {row['status']}.",
            code="payment_intent_unexpected_state",
        )
    row |= {
        "status": "canceled",
        "canceled_at": state.clock.now(),
        "cancellation_reason": params.get("cancellation_reason"),
    }
    state.emit("payment_intent.canceled", row)
    return row


def _confirm(state: State, row: Object, params: Object) -> None:
    if row["payment_method"] is None:
        raise invalid("You cannot confirm this PaymentIntent because it's missing a payment method.")
    card = state.get("payment_method", row["payment_method"])
    if card["customer"] not in (None, row["customer"]):
        raise invalid("The payment method belongs to another customer.", param="payment_method")
    behaviour = card["_behaviour"]
    if behaviour == "requires_action":
        if not params.get("off_session") and not params.get("error_on_requires_action"):
            row["status"] = "requires_action"
            row["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
            state.emit("payment_intent.requires_action", row)
            return
        fail(state, row, card, "authentication_required", "authentication_required")
    if behaviour in ("card_declined", "insufficient_funds"):
        fail(state, row, card, "card_declined", "generic_decline" if behaviour == "card_declined" else behaviour)
    if behaviour == "expired_card":
        fail(state, row, card, "expired_card", "expired_card")
    if behaviour == "processing":
        row["status"] = "processing"
        state.emit("payment_intent.processing", row)
        return
    succeed(state, row, card)


def fail(state: State, row: Object, card: Object, code: str, decline: str, *, answer: bool = True) -> None:
    """Let a payment fail, as a charge that failed; raise Stripe's 402 if somebody waits for an `answer`."""
    message = "Your card was declined." if code == "card_declined" else f"Your card was declined ({code})."
    charge = make_charge(state, row, card, status="failed", failure_code=code, failure_message=message)
    shown = state.answer(card, ())
    problem = {
        "charge": charge["id"],
        "code": code,
        "decline_code": decline,
        "doc_url": f"https://stripe.com/docs/error-codes/{code}",
        "message": message,
        "payment_method": shown,
        "type": "card_error",
    }
    row |= {"status": "requires_payment_method", "latest_charge": charge["id"], "payment_method": None}
    row["last_payment_error"] = problem
    state.emit("charge.failed", charge)
    state.emit("payment_intent.payment_failed", row)
    if answer:
        told = {name: value for name, value in problem.items() if name not in ("message", "type")}
        raise Fault(402, message, type="card_error", payment_intent=state.answer(row, ()), **told)


def make_charge(state: State, intent: Object, card: Object, *, status: str = "succeeded", **fields: Any) -> Object:
    """Make the charge of a payment intent; it moves the balance if it succeeded."""
    paid = status == "succeeded"
    charge = state.add(
        "ch",
        "charge",
        amount=intent["amount"],
        amount_captured=intent["amount"] if paid else 0,
        amount_refunded=0,
        application=None,
        application_fee=None,
        application_fee_amount=None,
        balance_transaction=None,
        billing_details=card["billing_details"],
        calculated_statement_descriptor="MODELFAUCET",
        captured=paid,
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        disputed=False,
        failure_balance_transaction=None,
        failure_code=None,
        failure_message=None,
        fraud_details={},
        metadata=dict(intent["metadata"]),
        on_behalf_of=None,
        outcome={"network_status": "approved_by_network", "risk_level": "normal", "type": "authorized"},
        paid=paid,
        payment_intent=intent["id"],
        payment_method=card["id"],
        payment_method_details={"card": card["card"], "type": "card"},
        receipt_email=None,
        receipt_number=None,
        receipt_url="https://pay.stripe.com/receipts/fake",
        refunded=False,
        review=None,
        shipping=None,
        source=None,
        source_transfer=None,
        statement_descriptor=None,
        statement_descriptor_suffix=None,
        status=status,
        transfer_data=None,
        transfer_group=intent["transfer_group"],
    )
    charge |= fields
    charge["_refunds"] = lambda: state.page(
        [row for row in state.all("refund") if row["charge"] == charge["id"]], {}, f"/v1/charges/{charge['id']}/refunds"
    )
    if paid:
        fee = -(-intent["amount"] * 29 // 1000) + 30
        charge["balance_transaction"] = post(state, intent["amount"], "charge", charge["id"], fee=fee)["id"]
    return charge


def succeed(state: State, row: Object, card: Object) -> Object:
    """Let a payment succeed, and keep the card for its customer where that was asked for."""
    if row["setup_future_usage"] and row["customer"] and card["customer"] is None:
        attach(state, card["id"], row["customer"])
    charge = make_charge(state, row, card)
    row |= {
        "status": "succeeded",
        "amount_received": row["amount"],
        "latest_charge": charge["id"],
        "payment_method": card["id"],
        "next_action": None,
        "last_payment_error": None,
    }
    state.emit("charge.succeeded", charge)
    state.emit("payment_intent.succeeded", row)
    return charge


@routes("POST", "/v1/charges/{id}")
def update_charge(state: State, params: Object, object_id: str) -> Object:
    return merged(state.get("charge", object_id), params, "metadata", "description", "transfer_group")


# ---- refunds ----


@routes("POST", "/v1/refunds")
def create_refund(state: State, params: Object) -> Object:
    if "charge" in params:
        charge = state.get("charge", params["charge"], "charge")
    elif "payment_intent" in params:
        intent = state.get("payment_intent", params["payment_intent"], "payment_intent")
        if intent["latest_charge"] is None or intent["status"] != "succeeded":
            raise invalid("This PaymentIntent does not have a successful charge to refund.", param="payment_intent")
        charge = state.get("charge", intent["latest_charge"])
    else:
        raise invalid("One of the following params should be provided for this request: payment_intent or charge.")
    return refund(state, charge, params)


def refund(state: State, charge: Object, params: Object) -> Object:
    """Give a charge's money back, whole or in part; `refund_status` says how that goes."""
    if charge["disputed"] and any(
        row["charge"] == charge["id"] and row["status"] != "won" for row in state.all("dispute")
    ):
        raise invalid(f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed")
    left = charge["amount"] - charge["amount_refunded"]
    if left <= 0:
        raise invalid(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    amount = params.get("amount", left)
    if not isinstance(amount, int) or amount < 1:
        raise invalid("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if amount > left:
        raise invalid(
            f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount on charge", param="amount"
        )
    reason = params.get("reason")
    if reason not in (None, "duplicate", "fraudulent", "requested_by_customer"):
        raise invalid("Invalid reason", param="reason")
    row = state.add(
        "re",
        "refund",
        amount=amount,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        destination_details={"card": {"type": "refund"}, "type": "card"},
        metadata=params.get("metadata", {}),
        payment_intent=charge["payment_intent"],
        reason=reason,
        receipt_number=None,
        source_transfer_reversal=None,
        status=state.refund_status,
        transfer_reversal=None,
    )
    row["balance_transaction"] = post(state, -amount, "refund", row["id"])["id"]
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    state.emit("refund.created", row)
    state.emit("charge.refunded", charge)
    return row


@routes("POST", "/v1/refunds/{id}")
def update_refund(state: State, params: Object, object_id: str) -> Object:
    row = merged(state.get("refund", object_id), params, "metadata")
    state.emit("refund.updated", row)
    return row


def finish_refund(state: State, row: Object, *, failed: str | None = None) -> None:
    """Let a refund succeed, or fail after all: then the money is back in the balance."""
    if failed is None:
        row["status"] = "succeeded"
        state.emit("refund.updated", row)
        return
    row |= {"status": "failed", "failure_reason": failed}
    row["failure_balance_transaction"] = post(state, row["amount"], "refund_failure", row["id"])["id"]
    charge = state.get("charge", row["charge"])
    charge["amount_refunded"] -= row["amount"]
    charge["refunded"] = False
    state.emit("refund.updated", row)
    state.emit("refund.failed", row)


# ---- disputes ----


def open_dispute(state: State, charge: Object, amount: int | None, reason: str, *, inquiry: bool) -> Object:
    """Let the holder of a card dispute a charge; an inquiry takes no money yet."""
    row = state.add(
        "du",
        "dispute",
        amount=amount or charge["amount"],
        balance_transactions=[],
        charge=charge["id"],
        currency=charge["currency"],
        enhanced_eligibility_types=[],
        evidence={},
        evidence_details={
            "due_by": state.clock.now() + 7 * 86400,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=inquiry,
        metadata={},
        payment_intent=charge["payment_intent"],
        payment_method_details={"card": {"brand": "visa", "case_type": "chargeback", "network_reason_code": "10.4"}},
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    charge["disputed"] = True
    state.emit("charge.dispute.created", row)
    if not inquiry:
        withdraw(state, row)
    return row


def withdraw(state: State, row: Object) -> None:
    """Take a dispute's money from the balance, with its fee."""
    moved = post(state, -row["amount"], "adjustment", row["id"], fee=DISPUTE_FEE, category="dispute")
    row["balance_transactions"].append(state.answer(moved, ()))
    state.emit("charge.dispute.funds_withdrawn", row)


def close_dispute(state: State, row: Object, outcome: str) -> Object:
    """End a dispute: won gives the money back (never the fee), lost and warning_closed do not move any.

    One that was lost may still be won: the bank changes its mind in arbitration.
    """
    if row["status"] in ("won", "warning_closed") or row["status"] == outcome:
        raise invalid("This dispute is already closed.")
    row["status"] = outcome
    charge = state.objects[row["charge"]]
    if outcome == "won":
        moved = post(state, row["amount"], "adjustment", row["id"], category="dispute_reversal")
        row["balance_transactions"].append(state.answer(moved, ()))
        state.emit("charge.dispute.funds_reinstated", row)
    if outcome == "warning_closed":
        charge["disputed"] = False
    state.emit("charge.dispute.closed", row)
    return row


@routes("POST", "/v1/disputes/{id}")
def update_dispute(state: State, params: Object, object_id: str) -> Object:
    row = state.get("dispute", object_id)
    if row["status"] not in ("needs_response", "warning_needs_response"):
        raise invalid("This dispute takes no evidence any more.")
    merged(row, params, "metadata")
    if "evidence" in params:
        row["evidence"] |= params["evidence"]
        row["evidence_details"]["has_evidence"] = True
        if params.get("submit", True):
            row["evidence_details"]["submission_count"] += 1
            row["status"] = "under_review" if row["status"] == "needs_response" else "warning_under_review"
    state.emit("charge.dispute.updated", row)
    return row


@routes("POST", "/v1/disputes/{id}/close")
def accept_dispute(state: State, params: Object, object_id: str) -> Object:
    return close_dispute(state, state.get("dispute", object_id), "lost")


# ---- tax ----


@routes("POST", "/v1/tax/calculations")
def calculate_tax(state: State, params: Object) -> Object:
    """Answer with the tax that the fake's `tax_bps` makes of each line."""
    lines = params.get("line_items") or []
    if not lines:
        raise required("line_items")
    for line in lines:
        if "amount" not in line:
            raise required("line_items[0][amount]")
    subtotal = sum(line["amount"] for line in lines)
    tax = sum(line["amount"] * state.tax_bps // 10_000 for line in lines)
    row = state.add(
        "taxcalc",
        "tax.calculation",
        amount_total=subtotal + tax,
        currency=params.get("currency", "usd"),
        customer=params.get("customer"),
        customer_details=params.get("customer_details", {}),
        expires_at=state.clock.now() + 90 * 86400,
        tax_amount_exclusive=tax,
        tax_amount_inclusive=0,
        tax_breakdown=[],
        tax_date=state.clock.now(),
    )
    del row["created"]  # Stripe shows none
    return row


@routes("POST", "/v1/tax/transactions/create_from_calculation")
def record_tax(state: State, params: Object) -> Object:
    state.get("tax.calculation", params.get("calculation"), "calculation")
    if any(row["reference"] == params.get("reference") for row in state.all("tax.transaction")):
        raise invalid(
            "A tax transaction with this reference exists.", code="resource_already_exists", param="reference"
        )
    return state.add(
        "tax",
        "tax.transaction",
        currency="usd",
        customer=None,
        metadata=params.get("metadata", {}),
        reference=params.get("reference"),
        reversal=None,
        type="transaction",
    )


@routes("GET", "/v1/events/{id}")
def event(state: State, params: Object, object_id: str) -> Object:
    row = state.objects.get(object_id)
    if row is None or row["object"] != "event" or state.owners[object_id] != state.account:
        raise missing("event", object_id)
    return row


@routes("GET", "/v1/events")
def events(state: State, params: Object) -> Object:
    rows = state.all("event")
    if "type" in params:
        rows = [row for row in rows if row["type"] == params["type"]]
    if "types" in params:
        rows = [row for row in rows if row["type"] in params["types"]]
    return state.page(rows, params, "/v1/events")
