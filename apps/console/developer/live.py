"""The last minutes in tiles, which a page renews by itself while somebody looks at it."""

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from apps.console.access import Seat, developer_page
from apps.core.clock import now
from apps.ledger.models import AccountKind
from apps.ledger.queries import Balance, account_id, balances
from apps.usage.live import MINUTES, Live, live

_NOTHING = Balance(0, 0, 0, False)


@dataclass(frozen=True, slots=True)
class Tiles:
    """The last minutes, and the developer's money now: None for whoever may not see that.

    Of a call under way the worst case is held of the prepaid credit until it is settled.
    """

    minutes: int
    at: datetime
    calls: Live
    earned: Balance | None
    credit: Balance | None


def live_tiles(seat: Seat, *, now: datetime) -> Tiles:
    """Return what `console/developer/_live.html` shows, as `live`."""
    found = live(seat.developer_id, now=now)
    if not seat.may_read("money"):
        return Tiles(MINUTES, now, found, None, None)
    kinds = (AccountKind.DEVELOPER, AccountKind.DEVELOPER_CREDIT)
    accounts = [account_id(kind, seat.developer_id) for kind in kinds]
    known = balances([account for account in accounts if account is not None])
    earned, credit = (_NOTHING if account is None else known[account] for account in accounts)
    return Tiles(MINUTES, now, found, earned, credit)


@never_cache
@developer_page("usage")
def live_page(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show the tiles alone, for the page that they are on."""
    context = {"seat": seat, "live": live_tiles(seat, now=now())}
    return render(request, "console/developer/_live_tiles.html", context)
