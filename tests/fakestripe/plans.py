"""Products, prices, subscriptions and their invoices."""

import secrets
from datetime import UTC, datetime
from typing import Any

from tests.fakestripe import payments
from tests.fakestripe.faults import Fault, invalid, required
from tests.fakestripe.routes import merged, routes
from tests.fakestripe.state import Object, State

for path, kind, filters in (
    ("/v1/products", "product", ("active",)),
    ("/v1/prices", "price", ("active", "product", "type", "currency", "lookup_key")),
    ("/v1/subscriptions", "subscription", ("customer",)),
    ("/v1/invoices", "invoice", ("customer", "status")),
):
    routes.single(path, kind)
    if kind not in ("subscription", "invoice", "price"):
        routes.listing(path, kind, *filters)


@routes("POST", "/v1/products")
def create_product(state: State, params: Object) -> Object:
    if "name" not in params:
        raise required("name")
    if params.get("id") in state.objects:
        raise invalid("Product already exists.", code="resource_already_exists", param="id")
    row = state.add(
        "prod",
        "product",
        id=params.get("id"),
        active=params.get("active", True),
        default_price=None,
        description=params.get("description"),
        images=[],
        marketing_features=[],
        metadata=params.get("metadata", {}),
        name=params["name"],
        package_dimensions=None,
        shippable=None,
        statement_descriptor=None,
        tax_code=params.get("tax_code"),
        type="service",
        unit_label=None,
        updated=state.clock.now(),
        url=None,
    )
    if "default_price_data" in params:
        row["default_price"] = make_price(state, row["id"], params["default_price_data"])["id"]
    state.emit("product.created", row)
    return row


@routes("POST", "/v1/products/{id}")
def update_product(state: State, params: Object, object_id: str) -> Object:
    row = merged(
        state.get("product", object_id),
        params,
        "metadata",
        "name",
        "active",
        "description",
        "tax_code",
        "default_price",
    )
    state.emit("product.updated", row)
    return row


@routes("GET", "/v1/products/{id}/features")
def product_features(state: State, params: Object, object_id: str) -> Object:
    state.get("product", object_id)
    return state.page([], params, f"/v1/products/{object_id}/features")


@routes("GET", "/v1/prices")
def list_prices(state: State, params: Object) -> Object:
    rows = state.all("price")
    for name in ("active", "product", "type", "currency"):
        if name in params:
            rows = [row for row in rows if row[name] == params[name]]
    if "lookup_keys" in params:
        rows = [row for row in rows if row["lookup_key"] in params["lookup_keys"]]
    return state.page(rows, params, "/v1/prices")


@routes("POST", "/v1/prices")
def create_price(state: State, params: Object) -> Object:
    if "product_data" in params:
        product = create_product(state, params["product_data"])["id"]
    elif "product" in params:
        product = state.get("product", params["product"], "product")["id"]
    else:
        raise required("product")
    row = make_price(state, product, params)
    state.emit("price.created", row)
    return row


@routes("POST", "/v1/prices/{id}")
def update_price(state: State, params: Object, object_id: str) -> Object:
    row = state.get("price", object_id)
    if "lookup_key" in params:
        _take_lookup_key(state, params["lookup_key"], move=params.get("transfer_lookup_key", False))
    merged(row, params, "metadata", "active", "nickname", "lookup_key")
    state.emit("price.updated", row)
    return row


def _take_lookup_key(state: State, key: str | None, *, move: bool) -> None:
    holders = [row for row in state.all("price") if key and row["lookup_key"] == key]
    if holders and not move:
        raise invalid(f"A price (`{holders[0]['id']}`) already uses that lookup key.", param="lookup_key")
    for row in holders:
        row["lookup_key"] = None


def make_price(state: State, product: str, params: Object) -> Object:
    for name in ("currency", "unit_amount"):
        if name not in params:
            raise required(name)
    if not isinstance(params["unit_amount"], int) or params["unit_amount"] < 0:
        raise invalid("Invalid non-negative integer", code="parameter_invalid_integer", param="unit_amount")
    _take_lookup_key(state, params.get("lookup_key"), move=params.get("transfer_lookup_key", False))
    recurring = params.get("recurring")
    if recurring is not None:
        if recurring.get("interval") not in ("day", "week", "month", "year"):
            raise invalid("Invalid recurring[interval]", param="recurring[interval]")
        recurring = {
            "interval_count": 1,
            "meter": None,
            "trial_period_days": None,
            "usage_type": "licensed",
        } | recurring
    return state.add(
        "price",
        "price",
        active=True,
        billing_scheme="per_unit",
        currency=params["currency"],
        custom_unit_amount=None,
        lookup_key=params.get("lookup_key"),
        metadata=params.get("metadata", {}),
        nickname=params.get("nickname"),
        product=product,
        recurring=recurring,
        tax_behavior=params.get("tax_behavior", "unspecified"),
        tiers_mode=None,
        transform_quantity=None,
        type="recurring" if recurring else "one_time",
        unit_amount=params["unit_amount"],
        unit_amount_decimal=str(params["unit_amount"]),
    )


def lines_of(state: State, items: Any, *, recurring: bool) -> list[Object]:
    """Return the lines of a checkout session, making prices and products from what was given in place."""
    if not items:
        raise required("line_items")
    lines = []
    for number, item in enumerate(items):
        param = f"line_items[{number}]"
        if "price" in item:
            price = state.get("price", item["price"], f"{param}[price]")
            if not price["active"]:
                raise invalid("The price specified is inactive.", param=f"{param}[price]")
        elif "price_data" in item:
            data = item["price_data"]
            if "product_data" in data:
                product = create_product(state, data["product_data"])["id"]
            elif "product" in data:
                product = state.get("product", data["product"], f"{param}[price_data][product]")["id"]
            else:
                raise required(f"{param}[price_data][product_data]")
            price = make_price(state, product, data)
        else:
            raise required(f"{param}[price]")
        if recurring and price["recurring"] is None and number == 0:
            raise invalid("You must provide at least one recurring price in `subscription` mode.", param="line_items")
        if not recurring and price["recurring"] is not None:
            raise invalid("You specified `payment` mode but passed a recurring price.", param="mode")
        quantity = item.get("quantity")
        if not isinstance(quantity, int) or quantity < 1:
            raise invalid("Quantity is required.", param=f"{param}[quantity]")
        amount = price["unit_amount"] * quantity
        name = state.objects[price["product"]]["name"]
        lines.append(
            {
                "id": f"li_{secrets.token_hex(9)}",
                "object": "item",
                "created": state.clock.now(),
                "amount_discount": 0,
                "amount_subtotal": amount,
                "amount_tax": 0,
                "amount_total": amount,
                "currency": price["currency"],
                "description": name,
                "price": state.answer(price, ()),
                "quantity": quantity,
            }
        )
    return lines


def _after(moment: int, recurring: Object) -> int:
    """Return when a period that begins at `moment` ends."""
    count, interval = recurring["interval_count"], recurring["interval"]
    if interval in ("day", "week"):
        return moment + count * 86400 * (7 if interval == "week" else 1)
    at = datetime.fromtimestamp(moment, UTC)
    months = at.month - 1 + count * (12 if interval == "year" else 1)
    year, month = at.year + months // 12, months % 12 + 1
    for day in range(at.day, 27, -1):
        try:
            return int(at.replace(year=year, month=month, day=day).timestamp())
        except ValueError:
            continue
    return int(at.replace(year=year, month=month).timestamp())


@routes("POST", "/v1/subscriptions")
def create_subscription(state: State, params: Object) -> Object:
    customer = state.get("customer", params.get("customer"), "customer")
    items = params.get("items")
    if not items:
        raise required("items")
    card_id = params.get("default_payment_method") or customer["invoice_settings"]["default_payment_method"]
    behaviour = params.get("payment_behavior", "allow_incomplete")
    if card_id is None and behaviour != "default_incomplete":
        raise invalid(
            "This customer has no attached payment source or default payment method.", code="resource_missing"
        )
    card = state.get("payment_method", card_id) if card_id else None
    return make_subscription(
        state,
        customer["id"],
        items,
        None if behaviour == "default_incomplete" else card,
        tax_cents=0,
        metadata=params.get("metadata", {}),
        params=params,
    )


def make_subscription(
    state: State,
    customer: str,
    items: list[Object],
    card: Object | None,
    *,
    tax_cents: int,
    metadata: Object,
    params: Object,
) -> Object:
    """Make a subscription with its first invoice; without a card, or with one that is declined, it is incomplete."""
    now = state.clock.now()
    trial = params.get("trial_period_days")
    row = state.add(
        "sub",
        "subscription",
        application=None,
        application_fee_percent=None,
        automatic_tax={"enabled": bool(params.get("automatic_tax", {}).get("enabled")), "liability": None},
        billing_cycle_anchor=now,
        billing_mode={"type": "flexible"},
        billing_thresholds=None,
        cancel_at=None,
        cancel_at_period_end=False,
        canceled_at=None,
        cancellation_details={"comment": None, "feedback": None, "reason": None},
        collection_method="charge_automatically",
        currency="usd",
        customer=customer,
        days_until_due=None,
        default_payment_method=card and card["id"],
        default_source=None,
        default_tax_rates=[],
        description=params.get("description"),
        discounts=[],
        ended_at=None,
        items={"object": "list", "data": [], "has_more": False, "url": "/v1/subscription_items"},
        latest_invoice=None,
        metadata=metadata,
        next_pending_invoice_item_invoice=None,
        on_behalf_of=None,
        pause_collection=None,
        payment_settings={"payment_method_options": None, "payment_method_types": None},
        pending_invoice_item_interval=None,
        pending_setup_intent=None,
        pending_update=None,
        schedule=None,
        start_date=now,
        status="incomplete",
        test_clock=None,
        transfer_data=None,
        trial_end=now + trial * 86400 if trial else None,
        trial_settings={"end_behavior": {"missing_payment_method": "create_invoice"}},
        trial_start=now if trial else None,
    )
    for item in items:
        price = state.get("price", item.get("price"), "items[0][price]")
        if price["recurring"] is None:
            raise invalid("The price specified is set to `type=one_time`.", param="items[0][price]")
        end = row["trial_end"] or _after(now, price["recurring"])
        row["items"]["data"].append(_item(state, row["id"], price, item.get("quantity", 1), now, end))
    state.emit("customer.subscription.created", row)
    invoice = make_invoice(state, row, "subscription_create", 0 if trial else tax_cents, free=bool(trial))
    if trial:
        row["status"] = "trialing"
    elif card is not None:
        collect(state, invoice, card, answer=False)
    return row


def _item(state: State, subscription: str, price: Object, quantity: int, begin: int, end: int) -> Object:
    return {
        "id": f"si_{secrets.token_hex(7)}",
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": state.clock.now(),
        "current_period_end": end,
        "current_period_start": begin,
        "discounts": [],
        "metadata": {},
        "price": state.answer(price, ()),
        "quantity": quantity,
        "subscription": subscription,
        "tax_rates": [],
    }


def make_invoice(state: State, subscription: Object, why: str, tax_cents: int, *, free: bool = False) -> Object:
    """Make the open invoice of a subscription's present period; one of nothing is paid at once."""
    now = state.clock.now()
    lines = []
    for item in subscription["items"]["data"]:
        price = item["price"]
        amount = 0 if free else price["unit_amount"] * item["quantity"]
        lines.append(
            {
                "id": f"il_{secrets.token_hex(9)}",
                "object": "line_item",
                "amount": amount,
                "currency": "usd",
                "description": state.objects[price["product"]]["name"],
                "discount_amounts": [],
                "discountable": True,
                "discounts": [],
                "livemode": state.livemode,
                "metadata": dict(subscription["metadata"]),
                "parent": {
                    "invoice_item_details": None,
                    "subscription_item_details": {
                        "invoice_item": None,
                        "proration": False,
                        "proration_details": None,
                        "subscription": subscription["id"],
                        "subscription_item": item["id"],
                    },
                    "type": "subscription_item_details",
                },
                "period": {"start": item["current_period_start"], "end": item["current_period_end"]},
                "pretax_credit_amounts": [],
                "pricing": {
                    "price_details": {"price": price["id"], "product": price["product"]},
                    "type": "price_details",
                    "unit_amount_decimal": price["unit_amount_decimal"],
                },
                "quantity": item["quantity"],
                "subtotal": amount,
                "taxes": [],
            }
        )
    subtotal = sum(line["amount"] for line in lines)
    total = subtotal + tax_cents
    customer = state.objects[subscription["customer"]]
    row = state.add(
        "in",
        "invoice",
        account_country="US",
        account_name="ModelFaucet",
        account_tax_ids=None,
        amount_due=total,
        amount_overpaid=0,
        amount_paid=0,
        amount_remaining=total,
        amount_shipping=0,
        application=None,
        attempt_count=0,
        attempted=False,
        auto_advance=True,
        automatic_tax={"enabled": subscription["automatic_tax"]["enabled"], "liability": None, "status": None},
        automatically_finalizes_at=None,
        billing_reason=why,
        collection_method="charge_automatically",
        currency="usd",
        custom_fields=None,
        customer=subscription["customer"],
        customer_address=customer["address"],
        customer_email=customer["email"],
        customer_name=customer["name"],
        customer_phone=None,
        customer_shipping=None,
        customer_tax_exempt="none",
        customer_tax_ids=[],
        default_payment_method=None,
        default_source=None,
        default_tax_rates=[],
        description=None,
        discounts=[],
        due_date=None,
        effective_at=now,
        ending_balance=0,
        footer=None,
        from_invoice=None,
        hosted_invoice_url="https://invoice.stripe.com/i/fake",
        invoice_pdf="https://pay.stripe.com/invoice/fake/pdf",
        issuer={"type": "self"},
        last_finalization_error=None,
        latest_revision=None,
        lines={"object": "list", "data": lines, "has_more": False, "url": "/v1/invoices/lines"},
        metadata={},
        next_payment_attempt=None,
        number=f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}",
        on_behalf_of=None,
        parent={
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        payment_settings={"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        period_end=now,
        period_start=subscription["start_date"] if why == "subscription_create" else now,
        post_payment_credit_notes_amount=0,
        pre_payment_credit_notes_amount=0,
        receipt_number=None,
        shipping_cost=None,
        shipping_details=None,
        starting_balance=0,
        statement_descriptor=None,
        status="open",
        status_transitions={"finalized_at": now, "marked_uncollectible_at": None, "paid_at": None, "voided_at": None},
        subtotal=subtotal,
        subtotal_excluding_tax=subtotal,
        test_clock=None,
        total=total,
        total_discount_amounts=[],
        total_excluding_tax=subtotal,
        total_pretax_credit_amounts=[],
        total_taxes=[
            {
                "amount": tax_cents,
                "tax_behavior": "exclusive",
                "tax_rate_details": None,
                "taxability_reason": "standard_rated",
                "taxable_amount": subtotal,
                "type": "tax_rate_details",
            }
        ]
        if tax_cents
        else [],
        webhooks_delivered_at=now,
        _attempts=[],
    )
    row["_payments"] = lambda: {
        "object": "list",
        "data": [paid for paid in state.all("invoice_payment") if paid["invoice"] == row["id"]],
        "has_more": False,
        "url": "/v1/invoice_payments",
    }
    customer["next_invoice_sequence"] += 1
    subscription["latest_invoice"] = row["id"]
    state.emit("invoice.created", row)
    state.emit("invoice.finalized", row)
    if total == 0:
        _settle(state, row)
    return row


def collect(state: State, invoice: Object, card: Object, *, answer: bool = True) -> None:
    """Try to take an invoice's money from a card."""
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    subscription = _subscription_of(state, invoice)
    intent = payments.make_intent(
        state, invoice["amount_remaining"], {"customer": invoice["customer"], "description": "Subscription update"}
    )
    at = {"canceled_at": None, "paid_at": None}
    paid = state.add(
        "inpay",
        "invoice_payment",
        amount_paid=None,
        amount_requested=invoice["amount_remaining"],
        currency="usd",
        invoice=invoice["id"],
        is_default=True,
        payment={"payment_intent": intent["id"], "type": "payment_intent"},
        status="open",
        status_transitions=at,
    )
    if card["_behaviour"] == "ok":
        payments.succeed(state, intent, card)
        paid |= {"amount_paid": paid["amount_requested"], "status": "paid"}
        at["paid_at"] = state.clock.now()
        state.emit("invoice_payment.paid", paid)
        _settle(state, invoice)
        return
    try:
        payments.fail(state, intent, card, "card_declined", "generic_decline")
    except Fault:
        if invoice["billing_reason"] == "subscription_cycle":
            invoice["next_payment_attempt"] = state.clock.now() + 3 * 86400
        state.emit("invoice.payment_failed", invoice)
        if subscription is not None and subscription["status"] == "active":
            subscription["status"] = "past_due"
            state.emit("customer.subscription.updated", subscription, previous_attributes={"status": "active"})
        if answer:
            raise


def _subscription_of(state: State, invoice: Object) -> Object | None:
    return state.objects.get(invoice["parent"]["subscription_details"]["subscription"])


def _settle(state: State, invoice: Object) -> None:
    invoice |= {
        "status": "paid",
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempted": True,
        "next_payment_attempt": None,
    }
    invoice["status_transitions"]["paid_at"] = state.clock.now()
    state.emit("invoice.paid", invoice)
    state.emit("invoice.payment_succeeded", invoice)
    subscription = _subscription_of(state, invoice)
    if subscription is not None and subscription["status"] in ("incomplete", "past_due", "unpaid"):
        before, subscription["status"] = subscription["status"], "active"
        state.emit("customer.subscription.updated", subscription, previous_attributes={"status": before})


def renew(state: State, subscription: Object, *, tax_cents: int = 0) -> Object:
    """Let a subscription's next period begin: a new invoice, paid by its card if that is not declined."""
    if subscription["cancel_at_period_end"]:
        return end(state, subscription)
    for item in subscription["items"]["data"]:
        item["current_period_start"] = item["current_period_end"]
        item["current_period_end"] = _after(item["current_period_start"], item["price"]["recurring"])
    if subscription["status"] == "trialing":
        subscription["status"] = "active"
    state.emit("customer.subscription.updated", subscription, previous_attributes={})
    invoice = make_invoice(state, subscription, "subscription_cycle", tax_cents)
    card = state.objects.get(subscription["default_payment_method"] or "")
    if card is not None and invoice["status"] == "open":
        collect(state, invoice, card, answer=False)
    return invoice


def end(state: State, subscription: Object) -> Object:
    """End a subscription now."""
    now = state.clock.now()
    subscription |= {"status": "canceled", "canceled_at": subscription["canceled_at"] or now, "ended_at": now}
    state.emit("customer.subscription.deleted", subscription)
    return subscription


@routes("GET", "/v1/subscriptions")
def list_subscriptions(state: State, params: Object) -> Object:
    rows = [row for row in state.all("subscription") if params.get("customer") in (None, row["customer"])]
    status = params.get("status")
    if status is None:
        rows = [row for row in rows if row["status"] != "canceled"]
    elif status != "all":
        rows = [row for row in rows if row["status"] == status]
    if "price" in params:
        rows = [row for row in rows if any(item["price"]["id"] == params["price"] for item in row["items"]["data"])]
    return state.page(rows, params, "/v1/subscriptions")


@routes("POST", "/v1/subscriptions/{id}")
def update_subscription(state: State, params: Object, object_id: str) -> Object:
    row = state.get("subscription", object_id)
    if row["status"] == "canceled":
        raise invalid("A canceled subscription can only update its cancellation_details.")
    for change in params.get("items", []):
        item = next((item for item in row["items"]["data"] if item["id"] == change.get("id")), None)
        if item is None:
            raise invalid(f"No such subscription item: '{change.get('id')}'", code="resource_missing", param="items[0]")
        if "price" in change:
            item["price"] = state.answer(state.get("price", change["price"], "items[0][price]"), ())
        item["quantity"] = change.get("quantity", item["quantity"])
    if "cancel_at_period_end" in params:
        row["cancel_at_period_end"] = params["cancel_at_period_end"]
        row["canceled_at"] = state.clock.now() if params["cancel_at_period_end"] else None
        ends = row["items"]["data"][0]["current_period_end"]
        row["cancel_at"] = ends if params["cancel_at_period_end"] else None
    merged(row, params, "metadata", "default_payment_method", "description", "pause_collection")
    state.emit("customer.subscription.updated", row, previous_attributes={})
    return row


@routes("DELETE", "/v1/subscriptions/{id}")
def cancel_subscription(state: State, params: Object, object_id: str) -> Object:
    row = state.get("subscription", object_id)
    if row["status"] == "canceled":
        raise Fault(404, f"No such subscription: '{object_id}'", code="resource_missing", param="id")
    return end(state, row)


@routes("GET", "/v1/invoices")
def list_invoices(state: State, params: Object) -> Object:
    rows = state.all("invoice")
    for name in ("customer", "status"):
        if name in params:
            rows = [row for row in rows if row[name] == params[name]]
    if "subscription" in params:
        wanted = params["subscription"]
        rows = [row for row in rows if row["parent"]["subscription_details"]["subscription"] == wanted]
    return state.page(rows, params, "/v1/invoices")


@routes("POST", "/v1/invoices/{id}/pay")
def pay_invoice(state: State, params: Object, object_id: str) -> Object:
    row = state.get("invoice", object_id)
    if row["status"] != "open":
        raise invalid("Invoice is already paid." if row["status"] == "paid" else "Invoice is not open.")
    subscription = _subscription_of(state, row)
    given = params.get("payment_method") or (subscription or {}).get("default_payment_method")
    if given is None:
        raise invalid("There is no default payment method set on this Customer or Invoice.", code="missing")
    collect(state, row, payments.method(state, given))
    return row


@routes("POST", "/v1/invoices/{id}/void")
def void_invoice(state: State, params: Object, object_id: str) -> Object:
    row = state.get("invoice", object_id)
    if row["status"] not in ("open", "uncollectible"):
        raise invalid("You can only pass in open invoices.")
    row["status"] = "void"
    state.emit("invoice.voided", row)
    return row


@routes("GET", "/v1/invoice_payments")
def list_invoice_payments(state: State, params: Object) -> Object:
    rows = state.all("invoice_payment")
    if "invoice" in params:
        rows = [row for row in rows if row["invoice"] == params["invoice"]]
    if (wanted := params.get("payment", {}).get("payment_intent")) is not None:
        rows = [row for row in rows if row["payment"]["payment_intent"] == wanted]
    return state.page(rows, params, "/v1/invoice_payments")


@routes("POST", "/v1/billing_portal/sessions")
def portal(state: State, params: Object) -> Object:
    state.get("customer", params.get("customer"), "customer")
    return state.add(
        "bps",
        "billing_portal.session",
        configuration="bpc_fake",
        customer=params["customer"],
        flow=None,
        locale=None,
        on_behalf_of=None,
        return_url=params.get("return_url"),
        url="https://billing.stripe.com/p/session/fake",
    )
