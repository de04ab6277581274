"""The tables of billing, a module a topic."""

from apps.billing.models import (
    disputes,  # noqa: F401
    fees,  # noqa: F401
    invoice_returns,  # noqa: F401
    payouts,  # noqa: F401
    plans,  # noqa: F401
    reconciliation,  # noqa: F401
    stripe,  # noqa: F401
    top_ups,  # noqa: F401
    value,  # noqa: F401
)
from apps.billing.models.credits import *  # noqa: F403
from apps.billing.models.risk import *  # noqa: F403
