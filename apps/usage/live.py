"""What calls came to in the last minutes, a developer's or all. Amounts in nano-USD."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Q, Sum

from apps.usage.models import UsageEvent

MINUTES = 15
_A_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Live:
    """Settled calls of the last MINUTES minutes, rated or not; `last_minute` are the calls of the last 60 seconds.

    `cost` is what providers bill for them, whoever's key it was.
    """

    calls: int
    last_minute: int
    failed: int
    duration_ms: int
    price: int
    cost: int

    @property
    def error_bps(self) -> int | None:
        """Return the part of the calls that failed, in basis points; None without calls."""
        return round(10_000 * self.failed / self.calls) if self.calls else None

    @property
    def mean_ms(self) -> int | None:
        """Return the mean duration of a call in ms; None without calls."""
        return round(self.duration_ms / self.calls) if self.calls else None

    @property
    def cost_per_hour(self) -> int:
        """Return what an hour like these minutes costs."""
        return self.cost * 60 // MINUTES

    @property
    def price_per_hour(self) -> int:
        """Return what an hour like these minutes is billed for."""
        return self.price * 60 // MINUTES


def live(developer_id: str | None, *, now: datetime) -> Live:
    """Return the calls of the last minutes, of all developers where none is named.

    One range of the index on (developer_id, effective_at), or the newest pages by that of the time alone.
    """
    recent = UsageEvent.objects.filter(effective_at__gt=now - MINUTES * _A_MINUTE)
    if developer_id is not None:
        recent = recent.filter(developer_id=developer_id)
    found = recent.aggregate(
        calls=Count("id"),
        last_minute=Count("id", filter=Q(effective_at__gt=now - _A_MINUTE)),
        failed=Count("id", filter=Q(charged=False)),
        duration_ms=Sum("duration_ms"),
        price=Sum("price_nano"),
        cost=Sum(F("cost_nano") + F("provider_bill_nano")),
    )
    return Live(**{name: int(value or 0) for name, value in found.items()})
