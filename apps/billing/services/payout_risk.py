"""The risk score that gates a developer's payouts."""

from dataclasses import asdict, dataclass
from datetime import datetime

from apps.billing.models.risk import Subject
from apps.billing.services.risk import latest_score, latest_scores
from apps.features.queries import apps_of_developer


@dataclass(frozen=True, slots=True)
class Risk:
    """The highest of the latest scores of a developer and its apps, 0 to 100, and what it was made of.

    A signal has `code`, `points`, `value`, `threshold`, `unit` and `explanation`.
    """

    subject: str
    subject_id: str
    score: int
    signals: tuple[dict[str, object], ...]
    computed_at: datetime


def developer_risk(developer_id: str) -> Risk | None:
    """Return the risk score that counts for a developer's payouts, or None where nothing was scored yet."""
    own = latest_score(Subject.DEVELOPER, developer_id)
    found = [*latest_scores(Subject.APP, [app.id for app in apps_of_developer(developer_id)]).values()]
    found += [own] if own is not None else []
    worst = max(found, key=lambda row: row.score, default=None)
    if worst is None:
        return None
    signals = sorted(worst.signals, key=lambda signal: (-signal.points, signal.code))
    return Risk(worst.kind, worst.subject_id, worst.score, tuple(map(asdict, signals)), worst.computed_at)
