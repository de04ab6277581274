"""What a developer earned: in all, what is still to come, by month and app, and entry by entry."""

from datetime import date, timedelta

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from apps.billing.services.payouts import payable
from apps.console.access import Seat, developer_page
from apps.console.developer.money_words import entry_words
from apps.console.developer.periods import asked_period, today_of
from apps.core.clock import now
from apps.features.queries import apps_of_developer
from apps.ledger.models import AccountKind
from apps.ledger.queries import EntryPage, account_id, entries_of
from apps.usage.days import day_totals, every_step, summed
from apps.usage.queries import pending_share

PAGE = 25
MONTHS = 12
# Before any call.
FIRST_DAY = date(2020, 1, 1)


@developer_page("money")
def revenue(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show what the developer earned, from its daily totals and its ledger account."""
    moment = now()
    today = today_of(moment)
    apps = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    first = (today.replace(day=1) - timedelta(days=30 * (MONTHS - 1))).replace(day=1)
    form, period = asked_period(request, (), (), now=moment, first=first, step="month")
    by_app = day_totals(period.step, "app_id", begin=period.begin, end=period.end, developer_id=seat.developer_id)
    steps = sorted({row.key[0] for row in by_app})
    by_step = [summed((row for row in by_app if row.key[0] == step), step) for step in steps]
    [lifetime] = day_totals(begin=FIRST_DAY, end=today + timedelta(days=1), developer_id=seat.developer_id)
    account = account_id(AccountKind.DEVELOPER, seat.developer_id)
    entries = EntryPage((), None)
    if account is not None:
        entries = entries_of(account, before=_before(request), limit=PAGE)
    pending, pending_calls = pending_share(seat.developer_id)
    context = {
        "seat": seat,
        "form": form,
        "period": period,
        "lifetime": lifetime,
        "pending": pending,
        "pending_calls": pending_calls,
        "payable": payable(seat.developer_id, now=moment, by_app=False),
        "steps": every_step(by_step, begin=period.begin, end=period.end, step=period.step)[::-1],
        "by_app": [
            (apps.get(row.key[1], row.key[1]), row)
            for row in sorted(by_app, key=lambda row: (row.key[0], row.developer), reverse=True)
        ],
        "total": summed(by_step),
        "entries": [(entry_words(entry.kind), entry) for entry in entries.entries],
        "older": entries.next_before,
        "paged": "before" in request.GET,
    }
    return render(request, "console/developer/revenue.html", context)


def _before(request: HttpRequest) -> int | None:
    given = request.GET.get("before", "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None
