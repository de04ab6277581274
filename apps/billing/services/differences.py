"""Runs of a reconciliation and the differences they find: begun, noted once, resolved once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.billing.models.reconciliation import ReconciliationItem, ReconciliationRun, RunStatus
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id
from apps.developers.services import audit

# Who resolves what a later run finds to be in order.
ACTOR = "reconciliation"
# A run that has said nothing for so long was killed.
STALE = timedelta(hours=2)
_CHUNK = 1_000
MOST_REFERENCE = 200


@dataclass(frozen=True, slots=True)
class Found:
    """A difference, by its kind and reference; amounts in nano-USD, None where a side has nothing."""

    kind: str
    reference: str
    theirs: int | None
    ours: int | None
    note: str = ""
    balance_transaction_id: str = ""
    transaction_id: int | None = None
    developer_id: str = ""


def begin_run(kind: str, reference: str, begin: date, end: date, *, now: datetime, actor: str) -> str:
    """Begin a run over the days from `begin` to `end` (both included) and return its id.

    Raises Conflict (reconciliation_running) while another one of the same kind and reference is under way; one that
    was killed is marked as failed first.
    """
    ReconciliationRun.objects.filter(
        kind=kind, reference=reference, status=RunStatus.RUNNING, started_at__lt=now - STALE
    ).update(status=RunStatus.FAILED, finished_at=now, error="ended without a word")
    try:
        with transaction.atomic():
            run = ReconciliationRun.objects.create(
                id=new_id("rec"),
                kind=kind,
                reference=reference,
                period_begin=begin,
                period_end=end,
                status=RunStatus.RUNNING,
                actor=actor,
                started_at=now,
            )
    except IntegrityError as error:
        raise Conflict(_("This is being reconciled already."), code="reconciliation_running") from error
    return run.pk


def finish_run(
    run_id: str,
    found: Sequence[Found],
    *,
    covered: Iterable[str] | None,
    matched: int,
    waiting: int,
    theirs: int,
    ours: int,
    explained: int,
    now: datetime,
) -> None:
    """Note what a run found, resolve what it found in order again, and end it; all of it in one transaction.

    A difference that is open already is not noted twice, nor one that an operator resolved at the same amounts.
    `covered` are the references that the run has looked at: an open one that is not among `found` is in order now;
    None is all of them.
    """
    with transaction.atomic():
        run = ReconciliationRun.objects.select_for_update().get(pk=run_id)
        _resolve_in_order(run, found, covered, now)
        _note_new(run, found, now)
        kinds = [difference.kind for difference in found]
        run.status, run.finished_at = RunStatus.FINISHED, now
        run.matched, run.waiting = matched, waiting
        run.missing_here, run.missing_there = kinds.count("missing_here"), kinds.count("missing_there")
        run.differing = len(kinds) - run.missing_here - run.missing_there
        run.theirs_nano, run.ours_nano, run.difference_nano = theirs, ours, theirs - ours
        run.explained_nano = explained
        run.save()


def fail_run(run_id: str, error: str, *, now: datetime) -> None:
    """End a run that could not be carried through; what it would have found stays unknown."""
    ReconciliationRun.objects.filter(pk=run_id, status=RunStatus.RUNNING).update(
        status=RunStatus.FAILED, finished_at=now, error=error[:500]
    )


def resolve_difference(item_id: str, *, reason: str, now: datetime, actor: str) -> None:
    """Close a difference with the reason why it is in order. Raises NotFound, BadRequest (reason_required), Conflict.

    It is not noted again while the amounts stay the same.
    """
    reason = reason.strip()
    if not reason:
        raise BadRequest(_("A resolution needs a reason."), code="reason_required", param="reason")
    with transaction.atomic():
        item = ReconciliationItem.objects.select_for_update().filter(pk=item_id).first()
        if item is None:
            raise NotFound(_("There is no such difference."), code="difference_not_found")
        if item.resolved_at is not None:
            raise Conflict(_("The difference is resolved already."), code="difference_resolved")
        item.resolved_at, item.resolved_by, item.resolution = now, actor, reason[:500]
        item.save(update_fields=["resolved_at", "resolved_by", "resolution"])
        audit.record(
            "reconciliation.resolve",
            "reconciliation_item",
            item_id,
            actor=actor,
            now=now,
            developer_id=item.developer_id or None,
            detail={"reference": item.reference, "kind": item.kind, "reason": reason[:500]},
        )


def _resolve_in_order(
    run: ReconciliationRun, found: Sequence[Found], covered: Iterable[str] | None, now: datetime
) -> None:
    still = {(difference.kind, difference.reference) for difference in found}
    looked_at = None if covered is None else set(covered)
    opened = ReconciliationItem.objects.select_for_update().filter(source=run.kind, resolved_at=None)
    gone = [
        pk
        for pk, kind, reference in opened.values_list("pk", "kind", "reference")
        if (kind, reference) not in still and (looked_at is None or reference in looked_at)
    ]
    for start in range(0, len(gone), _CHUNK):
        ReconciliationItem.objects.filter(pk__in=gone[start : start + _CHUNK]).update(
            resolved_at=now, resolved_by=ACTOR, resolution=f"In order by {run.pk}."
        )


def _note_new(run: ReconciliationRun, found: Sequence[Found], now: datetime) -> None:
    for start in range(0, len(found), _CHUNK):
        chunk = found[start : start + _CHUNK]
        known = ReconciliationItem.objects.filter(source=run.kind, reference__in=[each.reference for each in chunk])
        opened, settled = set(), set()
        for item in known:
            if item.resolved_at is None:
                opened.add((item.kind, item.reference))
            elif item.resolved_by != ACTOR:
                settled.add((item.kind, item.reference, item.theirs_nano, item.ours_nano))
        ReconciliationItem.objects.bulk_create(
            ReconciliationItem(
                id=new_id("dif"),
                run=run,
                source=run.kind,
                kind=each.kind,
                reference=each.reference[:MOST_REFERENCE],
                theirs_nano=each.theirs,
                ours_nano=each.ours,
                balance_transaction_id=each.balance_transaction_id,
                transaction_id=each.transaction_id,
                developer_id=each.developer_id,
                note=each.note,
                created_at=now,
            )
            for each in chunk
            if (each.kind, each.reference) not in opened
            and (each.kind, each.reference, each.theirs, each.ours) not in settled
        )
