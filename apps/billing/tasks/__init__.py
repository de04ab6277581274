"""Background work of billing, a module a topic: what is imported here is what Celery finds."""

from apps.billing.tasks import credits, payouts, plans, reconciliation, risk, stripe, top_ups  # noqa: F401
