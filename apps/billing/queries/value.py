"""What doors read of value pricing. Amounts are nano-USD."""

from dataclasses import dataclass
from datetime import date, datetime

from apps.billing.models.value import BaselineMonth, ValueBill


@dataclass(frozen=True, slots=True)
class BaselineInfo:
    """A month of a developer's baseline; it counts where it is `accepted`."""

    id: str
    month: date
    cost: int
    source: str
    evidence: str
    accepted: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ValueBillInfo:
    """A month that was billed by value; `transaction_id` is None where nothing was due."""

    month: date
    baseline: int
    actual: int
    savings: int
    fee: int
    transaction_id: int | None


def baselines_of(developer_id: str, *, limit: int = 60) -> tuple[BaselineInfo, ...]:
    """Return the months of a developer's baseline, newest first."""
    rows = BaselineMonth.objects.filter(developer_id=developer_id).order_by("-month")[:limit]
    return tuple(
        BaselineInfo(
            row.id, row.month, row.cost_nano, row.source, row.evidence, row.accepted_at is not None, row.created_at
        )
        for row in rows
    )


def bills_of(developer_id: str, *, limit: int = 24) -> tuple[ValueBillInfo, ...]:
    """Return a developer's latest bills by value, newest first."""
    rows = ValueBill.objects.filter(developer_id=developer_id).order_by("-month")[:limit]
    return tuple(
        ValueBillInfo(row.month, row.baseline_nano, row.actual_nano, row.savings_nano, row.fee_nano, row.transaction_id)
        for row in rows
    )
