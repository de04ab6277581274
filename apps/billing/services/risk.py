"""Scores: how risky an app, an end user or a developer is, from signals that are stored with what was measured."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from apps.billing.models import risk as tables
from apps.billing.models.risk import Subject
from apps.billing.queries import risk_measures
from apps.billing.services import risk_actions, risk_rules
from apps.billing.services.fingerprints import note_fingerprint
from apps.billing.services.free_credit import may_take_free_credit
from apps.billing.services.risk_rules import Signal
from apps.core.errors import BadRequest
from apps.core.ids import new_id
from apps.features.queries import app_developers
from apps.usage.activity import busiest_end_users, hours_of_apps
from apps.usage.services.alerts import raise_alert

__all__ = ["RiskScore", "Signal", "latest_score", "latest_scores", "may_take_free_credit", "note_fingerprint", "score"]

logger = logging.getLogger(__name__)

# What is judged in one go: few queries, and none of them long.
CHUNK = {Subject.END_USER: 500, Subject.APP: 20, Subject.DEVELOPER: 20}
# Whose score is computed: who called within the last of these, or opened a session.
ACTIVE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RiskScore:
    """A stored score, 0 to 100, with the signals it is made of; `level` is low, medium or high."""

    id: str
    kind: str
    subject_id: str
    score: int
    computed_at: datetime
    signals: tuple[Signal, ...]

    @property
    def level(self) -> str:
        return risk_rules.level(self.score)


def score(kind: str, subject_id: str, *, now: datetime) -> RiskScore:
    """Judge an app, end user or developer now, store the score with its signals, and return it.

    A score that is as the last one is that one, confirmed. Raises BadRequest on other kinds.
    """
    if kind not in Subject.values:
        raise BadRequest(f"kind is one of {', '.join(Subject.values)}.", param="kind")
    (found,) = _judge(kind, [subject_id], now=now, even_harmless=True)
    return found


def latest_score(kind: str, subject_id: str) -> RiskScore | None:
    """Return the last score of an app, end user or developer; None if it was never judged."""
    return latest_scores(kind, [subject_id]).get(subject_id)


def latest_scores(kind: str, subject_ids: Collection[str]) -> dict[str, RiskScore]:
    """Return the last score of each, by id; those never judged are left out."""
    rows = (
        tables.RiskScore.objects.filter(subject_kind=kind, subject_id__in=subject_ids)
        .order_by("subject_id", "-id")
        .distinct("subject_id")
        .prefetch_related("signals")
    )
    return {row.subject_id: _stored(row) for row in rows}


def score_active(*, now: datetime) -> int:
    """Judge who was active within the last hour and return how many that were; at most RISK_SUBJECTS end users.

    End users without any signal leave no row, unless they had a score before.
    """
    developers = app_developers()
    active = {hour.app_id for hour in hours_of_apps(sorted(developers), begin=now - ACTIVE, end=now)}
    most = settings.RISK_SUBJECTS
    users = busiest_end_users(sorted(active), begin=now - ACTIVE, end=now, most=most)
    users += [user for user in _seen(now, most) if user not in set(users)][: most - len(users)]
    judged = 0
    for kind, ids in (
        (Subject.END_USER, users),
        (Subject.APP, sorted(active)),
        (Subject.DEVELOPER, sorted({developers[app_id] for app_id in active})),
    ):
        for start in range(0, len(ids), CHUNK[kind]):
            chunk = ids[start : start + CHUNK[kind]]
            _judge(kind, chunk, now=now, even_harmless=kind != Subject.END_USER)
            judged += len(chunk)
    return judged


def _seen(now: datetime, most: int) -> list[str]:
    rows = tables.Fingerprint.objects.filter(last_seen_at__gte=now - ACTIVE, last_seen_at__lte=now)
    return list(rows.values_list("end_user_id", flat=True).distinct().order_by("end_user_id")[:most])


def _judge(kind: str, ids: Sequence[str], *, now: datetime, even_harmless: bool) -> list[RiskScore]:
    measured = risk_measures.measure(kind, ids, now=now)
    found = []
    for subject_id in ids:
        signals = risk_rules.signals_of(kind, measured[subject_id])
        stored = _store(kind, subject_id, signals, now=now, even_harmless=even_harmless)
        if stored is not None:
            found.append(stored)
    return found


@transaction.atomic
def _store(
    kind: str, subject_id: str, signals: tuple[Signal, ...], *, now: datetime, even_harmless: bool
) -> RiskScore | None:
    """Store a score unless it is as the last one, tell the operator where it became high, and act where asked to."""
    with connection.cursor() as cursor:  # one judge of a subject at a time, or both would store the same
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"risk:{kind}:{subject_id}"])
    last = latest_score(kind, subject_id)
    if last is None and not signals and not even_harmless:
        return None
    points = risk_rules.total(signals)
    if last is not None and (last.score, _facts(last.signals)) == (points, _facts(signals)):
        tables.RiskScore.objects.filter(pk=last.id, confirmed_at__lt=now).update(confirmed_at=now)
        stored = last
    else:
        row = tables.RiskScore.objects.create(
            id=new_id("rsk"),
            subject_kind=kind,
            subject_id=subject_id,
            score=points,
            computed_at=now,
            confirmed_at=now,
        )
        tables.RiskSignal.objects.bulk_create(
            tables.RiskSignal(
                score=row,
                code=signal.code,
                points=signal.points,
                value=signal.value,
                threshold=signal.threshold,
                unit=signal.unit,
                explanation=signal.explanation,
            )
            for signal in signals
        )
        stored = RiskScore(row.id, kind, subject_id, points, now, signals)
        _tell(stored, last)
    if 0 < settings.RISK_SUSPEND_LIMIT <= points:
        risk_actions.act_on_score(kind, subject_id, score=points, score_id=stored.id, now=now)
    return stored


def _tell(found: RiskScore, last: RiskScore | None) -> None:
    limit = settings.RISK_ALERT_LIMIT
    if not 0 < limit <= found.score or (last is not None and last.score >= limit):
        return
    signals = [{"code": s.code, "points": s.points, "explanation": s.explanation} for s in found.signals]
    raise_alert(
        "risk",
        found.id,
        developer_id=None,
        scope=found.kind,
        scope_id=found.subject_id,
        data={"score": found.score, "level": found.level, "signals": signals},
        now=found.computed_at,
    )


def _facts(signals: tuple[Signal, ...]) -> set[tuple[str, int, int, int]]:
    return {(signal.code, signal.points, signal.value, signal.threshold) for signal in signals}


def _stored(row: tables.RiskScore) -> RiskScore:
    order = {rule.code: place for place, rule in enumerate(risk_rules.RULES)}
    signals = sorted(row.signals.all(), key=lambda signal: order.get(signal.code, len(order)))
    return RiskScore(
        row.id,
        row.subject_kind,
        row.subject_id,
        row.score,
        row.computed_at,
        tuple(
            Signal(signal.code, signal.points, signal.value, signal.threshold, signal.unit, signal.explanation)
            for signal in signals
        ),
    )
