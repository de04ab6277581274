"""What is done about each type of Stripe's events. A type that is not here is marked handled as "ignored".

A handler is called outside any transaction, at least once, in any order: it is keyed by the OBJECT's id, asks Stripe
for the object's present state and acts on that. It raises `Later` for what is not known here yet, and whatever else
went wrong; both are tried again after a growing pause.
"""

from importlib import import_module

from apps.billing.services.events import Event, Handler, Later

__all__ = ["CONNECT_HANDLERS", "HANDLERS", "Event", "Handler", "Later"]


def _lazily(module: str, name: str) -> Handler:
    """Return the handler `name` of a service's module, imported when it is needed: those modules import this one."""

    def handle(event: Event) -> None:
        getattr(import_module(f"apps.billing.services.{module}"), name)(event)

    return handle


# Events of our own account.
HANDLERS: dict[str, Handler] = {
    "charge.dispute.closed": _lazily("disputes", "on_dispute"),
    "charge.dispute.created": _lazily("disputes", "on_dispute"),
    "charge.dispute.funds_reinstated": _lazily("disputes", "on_dispute"),
    "charge.dispute.funds_withdrawn": _lazily("disputes", "on_dispute"),
    "charge.dispute.updated": _lazily("disputes", "on_dispute"),
    "charge.refund.updated": _lazily("refunds", "on_refund"),
    "checkout.session.async_payment_failed": _lazily("top_up_events", "on_checkout_session"),
    "checkout.session.async_payment_succeeded": _lazily("top_up_events", "on_checkout_session"),
    "checkout.session.completed": _lazily("top_up_events", "on_checkout_session"),
    "checkout.session.expired": _lazily("top_up_events", "on_checkout_session"),
    "customer.subscription.created": _lazily("plan_invoices", "on_subscription"),
    "customer.subscription.deleted": _lazily("plan_invoices", "on_subscription"),
    "customer.subscription.paused": _lazily("plan_invoices", "on_subscription"),
    "customer.subscription.resumed": _lazily("plan_invoices", "on_subscription"),
    "customer.subscription.updated": _lazily("plan_invoices", "on_subscription"),
    "invoice.paid": _lazily("plan_invoices", "on_invoice"),
    "invoice.payment_failed": _lazily("plan_invoices", "on_invoice"),
    "payment_intent.canceled": _lazily("top_up_events", "on_payment_intent"),
    "payment_intent.payment_failed": _lazily("top_up_events", "on_payment_intent"),
    "payment_intent.processing": _lazily("top_up_events", "on_payment_intent"),
    "payment_intent.succeeded": _lazily("top_up_events", "on_payment_intent"),
    "refund.created": _lazily("refunds", "on_refund"),
    "refund.failed": _lazily("refunds", "on_refund"),
    "refund.updated": _lazily("refunds", "on_refund"),
    "transfer.reversed": _lazily("payout_events", "on_transfer"),
    "transfer.updated": _lazily("payout_events", "on_transfer"),
}

# Events of connected accounts. Apart from ours: who owns one makes sessions, refunds and payouts of it as they like,
# with our metadata in them if they like.
CONNECT_HANDLERS: dict[str, Handler] = {
    "account.application.deauthorized": _lazily("payout_events", "on_deauthorized"),
    "account.updated": _lazily("payout_events", "on_account"),
    "payout.canceled": _lazily("payout_events", "on_bank_payout"),
    "payout.failed": _lazily("payout_events", "on_bank_payout"),
    "payout.paid": _lazily("payout_events", "on_bank_payout"),
}
