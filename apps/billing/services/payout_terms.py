"""The terms under which a developer is paid: the settings, unless its payout account says otherwise."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.conf import settings

from apps.billing.models.payouts import PayoutAccount
from apps.core.money import NANO_PER_USD


@dataclass(frozen=True, slots=True)
class PayoutTerms:
    """When revenue matures, what is kept back of it (basis points, for days), and the least payout in nano-USD."""

    hold_days: int
    reserve_bps: int
    reserve_days: int
    minimum: int

    def cutoff(self, now: datetime) -> datetime:
        """Return before when revenue must have been earned to be mature at `now`: the beginning of a day (UTC)."""
        return _day_of(now - timedelta(days=self.hold_days))

    def reserve_from(self, now: datetime) -> datetime:
        """Return since when matured revenue is under the reserve; never later than the cutoff."""
        return _day_of(now - timedelta(days=max(self.reserve_days, self.hold_days)))


def _day_of(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def payout_terms(developer_id: str) -> PayoutTerms:
    """Return a developer's terms, whether or not it has a payout account."""
    row = PayoutAccount.objects.filter(pk=developer_id).first() or PayoutAccount()
    hold = settings.PAYOUT_TRUSTED_HOLD_DAYS if row.trusted else settings.PAYOUT_HOLD_DAYS
    minimum = settings.PAYOUT_MINIMUM_USD * NANO_PER_USD
    return PayoutTerms(
        hold_days=hold if row.hold_days is None else row.hold_days,
        reserve_bps=settings.PAYOUT_RESERVE_BPS if row.reserve_bps is None else row.reserve_bps,
        reserve_days=settings.PAYOUT_RESERVE_DAYS,
        minimum=minimum if row.minimum_nano is None else row.minimum_nano,
    )


def hold_days(developer_id: str) -> int:
    """Return the days after that of a call until its revenue is payable; until then it may be clawed back."""
    return payout_terms(developer_id).hold_days
