"""Where Stripe's payment page leads back to: what became of a top-up, for whoever has its id."""

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from apps.billing import stripe_api
from apps.billing.queries.top_ups import TopUpInfo, top_up
from apps.billing.services.top_ups import settle_top_up
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError, RateLimited

WAITING = ("sending", "open", "pending")
# How often one address may have Stripe asked.
LOOKS = "60/minute"
# How often a page looks again by itself, and the seconds between: every five at first, then every fifteen.
MOST_REFRESHES = 30
SECONDS = (5, 15)


@require_safe
@never_cache
def done(request: HttpRequest, top_up_id: str) -> HttpResponse:
    """Show what became of a top-up, having asked Stripe: who comes back from paying need not wait for a webhook."""
    row = _settled(request, _find(top_up_id), now=now())
    if row.status in WAITING and not stripe_api.enabled():
        return render(request, "console/payments_off.html", {"theme": _theme(request)}, status=503)
    response = render(request, "console/top_up.html", _context(request, row))
    looks = _looks(request)
    if row.status in WAITING and not row.problem and looks < MOST_REFRESHES:
        seconds = SECONDS[0] if looks < MOST_REFRESHES / 2 else SECONDS[1]
        response["Refresh"] = f"{seconds}; url={request.path}?looks={looks + 1}"
    return response


@require_safe
@never_cache
def canceled(request: HttpRequest, top_up_id: str) -> HttpResponse:
    """Tell somebody who left Stripe's page that nothing was paid; who paid all the same is told so."""
    row = _find(top_up_id)
    if row.status in ("paid", "pending"):
        return redirect("top-up-done", top_up_id=row.id)
    return render(request, "console/top_up.html", _context(request, row, left=True))


def _find(top_up_id: str) -> TopUpInfo:
    row = top_up(top_up_id)
    if row is None:
        raise Http404
    return row


def _settled(request: HttpRequest, row: TopUpInfo, *, now: datetime) -> TopUpInfo:
    """Return a top-up as it is now; as it was known last where Stripe cannot be asked."""
    if row.status not in WAITING:
        return row
    try:
        addresses.count("top_up_page", LOOKS, addresses.address_key(request))
        return settle_top_up(row.id, now=now)
    except (FaucetError, RateLimited):
        return row


def _looks(request: HttpRequest) -> int:
    """Return how often this page has looked already, as its address says."""
    given = request.GET.get("looks", "")
    return min(int(given), MOST_REFRESHES) if given.isascii() and given.isdigit() and len(given) < 4 else 0


def _context(request: HttpRequest, row: TopUpInfo, *, left: bool = False) -> dict[str, Any]:
    state = "paid" if row.status == "paid" else "waiting" if row.status in WAITING else "failed"
    if left and state == "waiting":
        state = "left"
    titles = {
        "paid": _("Thank you: your credit is there"),
        "waiting": _("Your payment is on its way"),
        "failed": _("The payment did not come about"),
        "left": _("Nothing was paid"),
    }
    return {
        "theme": _theme(request),
        "state": state,
        "title": titles[state],
        "review": bool(row.problem),
        "credit": _dollars(row.amount_cents),
        "tax": _dollars(row.tax_cents) if row.tax_cents else "",
        "total": _dollars(row.total_cents),
        "return_url": row.return_url,
    }


def _dollars(cents: int) -> str:
    return f"${cents / 100:,.2f}"


def _theme(request: HttpRequest) -> str:
    theme = request.COOKIES.get("theme", "")
    return theme if theme in ("light", "dark") else ""
