"""Connected accounts, transfers to them, and payouts to banks."""

import secrets
from typing import Any

from tests.fakestripe.faults import Fault, invalid, missing, required
from tests.fakestripe.payments import available, post
from tests.fakestripe.routes import merged, routes
from tests.fakestripe.state import Object, State

PLATFORM = "acct_platform"

routes.listing("/v1/payouts", "payout", "status", "destination")
routes.single("/v1/payouts", "payout")
routes.single("/v1/transfers", "transfer")
routes.listing("/v1/transfers", "transfer", "transfer_group", "destination")


def account_of(state: State, account_id: Any, param: str = "account") -> Object:
    row = state.objects.get(account_id)
    if row is None or row["object"] != "account":
        raise missing("account", str(account_id), param)
    return row


@routes("POST", "/v1/accounts")
def create_account(state: State, params: Object) -> Object:
    capabilities = params.get("capabilities", {})
    asked = [name for name, value in capabilities.items() if value.get("requested")]
    row = state.add(
        "acct",
        "account",
        business_profile=params.get("business_profile", {}),
        business_type=params.get("business_type"),
        capabilities=dict.fromkeys(asked, "inactive"),
        charges_enabled=False,
        controller=params.get("controller", {}) | {"type": "application"},
        country=params.get("country", "US"),
        default_currency="usd",
        details_submitted=False,
        email=params.get("email"),
        external_accounts={"object": "list", "data": [], "has_more": False, "url": "/v1/accounts/external_accounts"},
        future_requirements={},
        metadata=params.get("metadata", {}),
        payouts_enabled=False,
        requirements={
            "alternatives": [],
            "current_deadline": None,
            "currently_due": ["external_account", "tos_acceptance.date"],
            "disabled_reason": "requirements.past_due",
            "errors": [],
            "eventually_due": ["external_account", "tos_acceptance.date"],
            "past_due": ["external_account", "tos_acceptance.date"],
            "pending_verification": [],
        },
        settings=params.get("settings")
        or {"payouts": {"schedule": {"delay_days": 2, "interval": "daily"}, "debit_negative_balances": True}},
        tos_acceptance={"date": None},
        type=params.get("type", "none"),
    )
    state.owners[row["id"]] = None
    return row


@routes("GET", "/v1/accounts/{id}")
def account(state: State, params: Object, account_id: str) -> Object:
    if account_id == PLATFORM:
        return own_account(state, params)
    row = account_of(state, account_id)
    if row.get("_deauthorized"):
        message = f"The provided key does not have access to account '{account_id}' (or that account does not exist)."
        raise Fault(403, message, code="account_invalid")
    return row


@routes("GET", "/v1/account")
def own_account(state: State, params: Object) -> Object:
    if state.account is not None:
        return account_of(state, state.account)
    return {
        "id": PLATFORM,
        "object": "account",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "US",
        "created": 1_500_000_000,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "operator@example.com",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "ModelFaucet", "timezone": "Etc/UTC"}, "branding": {}},
        "type": "standard",
    }


@routes("GET", "/v1/accounts")
def accounts(state: State, params: Object) -> Object:
    return state.page(state.all("account"), params, "/v1/accounts")


@routes("POST", "/v1/accounts/{id}")
def update_account(state: State, params: Object, account_id: str) -> Object:
    row = merged(account(state, {}, account_id), params, "metadata", "email", "business_profile")
    emit(state, "account.updated", row, row["id"])
    return row


@routes("DELETE", "/v1/accounts/{id}")
def delete_account(state: State, params: Object, account_id: str) -> Object:
    account_of(state, account_id)
    del state.objects[account_id]
    return {"id": account_id, "object": "account", "deleted": True}


@routes("POST", "/v1/account_links")
def create_link(state: State, params: Object) -> Object:
    account_of(state, params.get("account"))
    for name in ("refresh_url", "return_url", "type"):
        if name not in params:
            raise required(name)
    now = state.clock.now()
    url = f"https://connect.stripe.com/setup/e/{params['account']}/{secrets.token_hex(6)}"
    return {"object": "account_link", "created": now, "expires_at": now + 300, "url": url}


@routes("POST", "/v1/accounts/{id}/login_links")
def login_link(state: State, params: Object, account_id: str) -> Object:
    if not account_of(state, account_id)["details_submitted"]:
        raise invalid("Cannot create a login link for an account that has not completed onboarding.")
    return {
        "object": "login_link",
        "created": state.clock.now(),
        "url": f"https://connect.stripe.com/express/{account_id}",
    }


def emit(state: State, type: str, row: Object, account_id: str) -> None:
    """Tell the platform of something that happened at a connected account."""
    before, state.account = state.account, account_id
    try:
        state.emit(type, row)
    finally:
        state.account = before


def onboard(state: State, row: Object) -> None:
    """Let the developer give Stripe everything that it wants to know."""
    row |= {"details_submitted": True, "charges_enabled": True, "payouts_enabled": True}
    row["capabilities"] = dict.fromkeys(row["capabilities"], "active")
    row["requirements"] |= {"currently_due": [], "eventually_due": [], "past_due": [], "disabled_reason": None}
    bank = {
        "id": f"ba_{secrets.token_hex(8)}",
        "object": "bank_account",
        "account": row["id"],
        "bank_name": "STRIPE TEST BANK",
        "country": "US",
        "currency": "usd",
        "default_for_currency": True,
        "last4": "6789",
        "metadata": {},
        "status": "new",
    }
    row["external_accounts"]["data"] = [bank]
    emit(state, "account.updated", row, row["id"])


def restrict(state: State, row: Object, reason: str) -> None:
    """Let Stripe stop an account's transfers and payouts."""
    row |= {"payouts_enabled": False, "charges_enabled": False}
    row["capabilities"] = dict.fromkeys(row["capabilities"], "inactive")
    row["requirements"] |= {"disabled_reason": reason}
    emit(state, "account.updated", row, row["id"])


# ---- transfers ----


@routes("POST", "/v1/transfers")
def create_transfer(state: State, params: Object) -> Object:
    for name in ("currency", "destination"):
        if name not in params:
            raise required(name)
    amount = params.get("amount")
    if not isinstance(amount, int) or amount < 1:
        raise invalid("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    target = account_of(state, params["destination"], "destination")
    if target.get("_deauthorized"):
        raise missing("destination", params["destination"], "destination")
    if target["capabilities"].get("transfers") != "active":
        raise invalid(
            "Your destination account needs to have at least one of the following capabilities enabled: transfers, "
            "crypto_transfers, legacy_payments",
            code="insufficient_capabilities_for_transfer",
        )
    source = params.get("source_transaction")
    if source is not None:
        state.get("charge", source, "source_transaction")
    elif amount > available(state):
        raise invalid(
            "You have insufficient available funds in your Stripe account. Try adding funds directly to your "
            "available balance by creating Charges using the 4000000000000077 test card.",
            code="balance_insufficient",
        )
    row = state.add(
        "tr",
        "transfer",
        amount=amount,
        amount_reversed=0,
        balance_transaction=None,
        currency=params["currency"],
        description=params.get("description"),
        destination=target["id"],
        destination_payment=None,
        metadata=params.get("metadata", {}),
        reversals={"object": "list", "data": [], "has_more": False, "url": "/v1/transfers/reversals"},
        reversed=False,
        source_transaction=source,
        source_type="card",
        transfer_group=params.get("transfer_group"),
    )
    row["balance_transaction"] = post(state, -amount, "transfer", row["id"])["id"]
    state.account = target["id"]
    try:
        payment = state.add("py", "charge", amount=amount, currency="usd", paid=True, source_transfer=row["id"])
        payment |= {"balance_transaction": post(state, amount, "payment", payment["id"])["id"], "status": "succeeded"}
    finally:
        state.account = None
    row["destination_payment"] = payment["id"]
    state.emit("transfer.created", row)
    return row


@routes("POST", "/v1/transfers/{id}")
def update_transfer(state: State, params: Object, object_id: str) -> Object:
    row = merged(state.get("transfer", object_id), params, "metadata", "description")
    state.emit("transfer.updated", row)
    return row


@routes("POST", "/v1/transfers/{id}/reversals")
def create_reversal(state: State, params: Object, transfer_id: str) -> Object:
    row = state.get("transfer", transfer_id)
    left = row["amount"] - row["amount_reversed"]
    amount = params.get("amount", left)
    if not isinstance(amount, int) or not 0 < amount <= left:
        raise invalid(f"Reversal amount is greater than the {left} cents that are left.", param="amount")
    made = state.add(
        "trr",
        "transfer_reversal",
        amount=amount,
        balance_transaction=None,
        currency=row["currency"],
        destination_payment_refund=None,
        metadata=params.get("metadata", {}),
        source_refund=None,
        transfer=transfer_id,
    )
    made["balance_transaction"] = post(state, amount, "transfer_refund", made["id"])["id"]
    row["amount_reversed"] += amount
    row["reversed"] = row["amount_reversed"] == row["amount"]
    row["reversals"]["data"].insert(0, state.answer(made, ()))
    state.account = row["destination"]
    try:
        post(state, -amount, "payment_refund", row["destination_payment"])
    finally:
        state.account = None
    state.emit("transfer.reversed", row)
    return made


@routes("GET", "/v1/transfers/{id}/reversals")
def reversals(state: State, params: Object, transfer_id: str) -> Object:
    rows = [row for row in state.all("transfer_reversal") if row["transfer"] == transfer_id]
    return state.page(rows, params, f"/v1/transfers/{transfer_id}/reversals")


# ---- payouts ----


@routes("POST", "/v1/payouts")
def create_payout(state: State, params: Object) -> Object:
    if not isinstance(params.get("amount"), int):
        raise required("amount")
    return make_payout(state, params["amount"], automatic=False, params=params)


def make_payout(state: State, amount: int | None, *, automatic: bool, params: Object) -> Object:
    """Send the present account's money to its bank."""
    ready = available(state)
    amount = ready if amount is None else amount
    if amount < 1 or amount > ready:
        raise invalid(
            "You have insufficient funds in your Stripe account for this transfer.", code="balance_insufficient"
        )
    settled = [row["id"] for row in state.all("balance_transaction") if not row.get("_paid_out")]
    for object_id in settled:
        state.objects[object_id]["_paid_out"] = True
    row = state.add(
        "po",
        "payout",
        amount=amount,
        application_fee=None,
        application_fee_amount=None,
        arrival_date=state.clock.now() + 2 * 86400,
        automatic=automatic,
        balance_transaction=None,
        currency="usd",
        description=params.get("description"),
        destination="ba_fake",
        failure_balance_transaction=None,
        failure_code=None,
        failure_message=None,
        metadata=params.get("metadata", {}),
        method=params.get("method", "standard"),
        original_payout=None,
        payout_method=None,
        reconciliation_status="completed" if automatic else "not_applicable",
        reversed_by=None,
        source_type="card",
        statement_descriptor=None,
        status="pending",
        trace_id=None,
        type="bank_account",
        _settles=settled,
    )
    moved = post(state, -amount, "payout", row["id"])
    moved["_paid_out"] = True
    row["balance_transaction"] = moved["id"]
    state.emit("payout.created", row)
    return row


@routes("POST", "/v1/payouts/{id}/cancel")
def cancel_payout(state: State, params: Object, payout_id: str) -> Object:
    row = state.get("payout", payout_id)
    if row["status"] != "pending":
        raise invalid("Only pending payouts can be canceled.")
    row["status"] = "canceled"
    post(state, row["amount"], "payout_cancel", row["id"])
    state.emit("payout.canceled", row)
    return row


def finish_payout(state: State, row: Object, *, failure: str | None = None) -> Object:
    """Let a payout arrive, or fail: also one that is `paid` already, as banks do for five business days."""
    if failure is None:
        row["status"] = "paid"
        state.emit("payout.paid", row)
        return row
    row |= {"status": "failed", "failure_code": failure, "failure_message": "The bank account could not be credited."}
    row["failure_balance_transaction"] = post(state, row["amount"], "payout_failure", row["id"])["id"]
    state.emit("payout.failed", row)
    return row
