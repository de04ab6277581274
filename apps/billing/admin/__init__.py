"""Billing for operators, a module a topic."""

from apps.billing.admin import (
    credits,  # noqa: F401
    disputes,  # noqa: F401
    fees,  # noqa: F401
    payouts,  # noqa: F401
    plans,  # noqa: F401
    reconciliation,  # noqa: F401
    risk,  # noqa: F401
    stripe,  # noqa: F401
    top_ups,  # noqa: F401
    value,  # noqa: F401
)
