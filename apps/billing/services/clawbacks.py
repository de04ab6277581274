"""Which shares of developers a lost dispute may take back."""

from dataclasses import dataclass
from datetime import datetime

from apps.billing.models.disputes import DisputeClawback
from apps.billing.models.top_ups import OwnerKind, TopUp
from apps.billing.services.payout_terms import payout_terms
from apps.usage.queries import Position, UsageFilter, shares_paid_by

_PAGE = 500
# Of a wallet that made more calls than this the newest are looked at.
_MOST_PAGES = 40


@dataclass(frozen=True, slots=True)
class Share:
    """What is to be taken back of a call, in nano-USD."""

    request_id: str
    developer_id: str
    amount: int


def chosen_shares(top_up: TopUp, *, most: int, now: datetime) -> list[Share]:
    """Return the shares of calls that a top-up's wallet paid for after it, newest first, until they reach `most`.

    Left out: what was taken back for another dispute, and what has matured, for it may be paid out.
    """
    windows: dict[str, datetime] = {}
    shares: list[Share] = []
    position: Position | None = None
    for _ in range(_MOST_PAGES):
        page = shares_paid_by(_calls(top_up), top_up.account_id, after=position, limit=_PAGE)
        known = DisputeClawback.objects.filter(request_id__in=[share.request_id for share in page])
        clawed = set(known.values_list("request_id", flat=True))
        for share in page:
            developer = share.developer_id
            if developer not in windows:
                windows[developer] = payout_terms(developer).cutoff(now)
            if share.effective_at >= windows[developer] and share.request_id not in clawed:
                shares.append(Share(share.request_id, developer, share.developer))
                most -= share.developer
            if most <= 0:
                return shares
        if len(page) < _PAGE:
            break
        position = page[-1].position
    return shares


def _calls(top_up: TopUp) -> UsageFilter:
    if top_up.owner_kind == OwnerKind.END_USER:
        return UsageFilter(end_user_id=top_up.owner_id, begin=top_up.paid_at)
    return UsageFilter(developer_id=top_up.owner_id, begin=top_up.paid_at)
