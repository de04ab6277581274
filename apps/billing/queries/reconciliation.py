"""How far our books agree with others', for the review of payouts and the admin."""

from dataclasses import dataclass
from datetime import datetime

from apps.billing.models.reconciliation import ReconciliationItem, ReconciliationKind, ReconciliationRun, RunStatus


@dataclass(frozen=True, slots=True)
class Difference:
    """An open difference; amounts in nano-USD, None where a side has nothing."""

    id: str
    kind: str
    reference: str
    theirs: int | None
    ours: int | None
    note: str
    found_at: datetime


@dataclass(frozen=True, slots=True)
class ReconciliationState:
    """The last comparison with Stripe, and what is open.

    `open_differences` and `differences` (at most 20 of them) are those that concern the developer who was asked for,
    else all; `open_in_all` counts all. `unexplained` is in nano-USD, 0 for a balance that is explained to the cent.
    """

    last_run_id: str | None
    last_run_at: datetime | None
    last_run_failed: bool
    unexplained: int
    open_differences: int
    open_in_all: int
    differences: tuple[Difference, ...]


def reconciliation_state(*, developer_id: str | None = None) -> ReconciliationState:
    """Return the state of the reconciliation, its differences those of one developer or all."""
    runs = ReconciliationRun.objects.filter(kind=ReconciliationKind.STRIPE).exclude(status=RunStatus.RUNNING)
    last = runs.order_by("-started_at").first()
    everything = ReconciliationItem.objects.filter(resolved_at=None)
    concerned = everything if developer_id is None else everything.filter(developer_id=developer_id)
    shown = concerned.order_by("-created_at", "-id")[:20]
    return ReconciliationState(
        last_run_id=last.pk if last else None,
        last_run_at=last.finished_at if last else None,
        last_run_failed=last is not None and last.status == RunStatus.FAILED,
        unexplained=last.difference_nano - last.explained_nano if last else 0,
        open_differences=concerned.count(),
        open_in_all=everything.count(),
        differences=tuple(
            Difference(row.pk, row.kind, row.reference, row.theirs_nano, row.ours_nano, row.note, row.created_at)
            for row in shown
        ),
    )
