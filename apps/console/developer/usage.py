"""What was called, billed and earned, step by step, by model, provider, route and end user; and the same as CSV."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET

from apps.billing.queries.exports import DEVELOPER_KINDS, developer_export
from apps.console.access import Seat, developer_page, refused
from apps.console.call_words import route_words
from apps.console.developer.live import live_tiles
from apps.console.developer.periods import asked_period
from apps.core.clock import now
from apps.core.csv_stream import csv_response
from apps.features.entitlements import kept_since
from apps.features.queries import apps_of_developer, features_of_apps
from apps.usage.days import DayTotals, day_totals, every_step, summed, top_users

# Lines of a table beside which a bar is; the others are one line.
MOST_LINES = 12
TOP_USERS = 10
# Who may not see the money may have the calls.
_FREE_KINDS = ("usage",)


@dataclass(frozen=True, slots=True)
class Line:
    """A part of all calls: a model, a provider or a route."""

    title: str
    note: str
    totals: DayTotals
    calls_bps: int


@developer_page("usage")
def usage(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show a period of a developer's calls, from their daily totals."""
    moment = now()
    apps = apps_of_developer(seat.developer_id)
    features = features_of_apps([app.id for app in apps])
    form, period = asked_period(request, apps, [each for found in features.values() for each in found], now=moment)
    which: dict[str, Any] = {
        "begin": period.begin,
        "end": period.end,
        "app_id": period.app_id,
        "feature_key": period.feature_key,
    }
    by_step = day_totals(period.step, developer_id=seat.developer_id, **which)
    steps = every_step(by_step, begin=period.begin, end=period.end, step=period.step)
    mix = day_totals("served_model", "provider", "route_mode", developer_id=seat.developer_id, **which)
    total = summed(by_step)
    context = {
        "seat": seat,
        "form": form,
        "period": period,
        "lengths": form.lengths(period),
        "apps": apps,
        "total": total,
        "steps": steps[::-1],
        "models": _lines(mix, (0, 1), total),
        "providers": _lines(mix, (1,), total),
        "routes": [
            Line(route_words(line.title), line.note, line.totals, line.calls_bps) for line in _lines(mix, (2,), total)
        ],
        "users": top_users(
            begin=period.begin, end=period.end, developer_id=seat.developer_id, app_id=period.app_id, limit=TOP_USERS
        ),
        "exports": [kind for kind in DEVELOPER_KINDS if kind in _FREE_KINDS or seat.may_read("money")],
        "live": live_tiles(seat, now=moment),
    }
    return render(request, "console/developer/usage.html", context)


@require_GET
@developer_page("usage")
def download(request: HttpRequest, seat: Seat, kind: str) -> HttpResponseBase:
    """Stream a period as CSV: the developer's calls, revenue, payouts or ledger entries.

    Calls are streamed for as long as the developer's plan keeps them.
    """
    if kind not in DEVELOPER_KINDS:
        raise Http404("There is no such export.")
    if kind not in _FREE_KINDS and not seat.may_read("money"):
        return refused(request, seat, status=403)
    moment = now()
    _, period = asked_period(request, (), (), now=moment)
    begin, end = period.moments
    if kind in _FREE_KINDS:
        begin = _kept(seat, begin, now=moment)
    export = developer_export(kind, seat.developer_id, begin=begin, end=end)
    # Spreadsheets take UTF-8 for something else without the mark.
    return csv_response(export, owner=seat.developer_id, bom=True, begin=begin, end=end)


def _kept(seat: Seat, begin: datetime, *, now: datetime) -> datetime:
    kept = kept_since(seat.developer_id, now=now)
    return begin if kept is None else max(begin, kept)


def _lines(mix: Sequence[DayTotals], parts: Sequence[int], total: DayTotals) -> list[Line]:
    """Return totals by parts of their key, most calls first; what comes after MOST_LINES is left out."""
    groups: dict[tuple[str, ...], list[DayTotals]] = defaultdict(list)
    for row in mix:
        groups[tuple(row.key[part] for part in parts)].append(row)
    found = [summed(rows, *key) for key, rows in groups.items()]
    found.sort(key=lambda row: (-row.calls, row.key))
    return [
        Line(row.key[0], row.key[1] if len(parts) > 1 else "", row, row.calls * 10_000 // total.calls)
        for row in found[:MOST_LINES]
    ]
