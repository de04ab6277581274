"""What an end user has, of what it consists, and on what it went."""

from datetime import datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from apps.billing.models import LotKind
from apps.billing.queries.credits import credits_of, lots_of
from apps.billing.queries.top_ups import offer
from apps.billing.services.notices import NoticeInfo, notices_of
from apps.console.paging import place_of, place_text
from apps.console.user.access import Visit, render_page, user_page
from apps.core.clock import now
from apps.core.money import MoneyProblem, nano_from_usd
from apps.ledger.queries import Balance, balance
from apps.usage.queries import UsageCall, UsageFilter, spending_of_end_user, usage_page
from apps.usage.rate import BYOK, DEVELOPER_KEY, LOCAL
from apps.usage.receipts import receipt_of

LATEST = 5
PAGE = 25
LOTS = 20


@require_safe
@user_page(named=False)
def wallet(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show the balance, what it consists of, what the user is told, and the last calls."""
    moment = now()
    page = usage_page(UsageFilter(end_user_id=visit.user_id), limit=LATEST)
    context: dict[str, Any] = {
        **_funds(visit),
        "credits": [
            {"kind": LotKind(row.kind).label, "remaining": row.remaining, "expires_at": row.expires_at}
            for row in credits_of(visit.account_id)
        ],
        "notices": [told for row in notices_of(visit.account_id, now=moment) if (told := _told(row))],
        "calls": [shown_call(call) for call in page.calls],
        "payments": offer().enabled,
    }
    return render_page(request, visit, "wallet.html", context)


@require_safe
@user_page(named=False)
def live_balance(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Return the tiles of the wallet, for a page that asks again every two seconds."""
    return render(request, "console/user/_balance.html", {"visit": visit, **_funds(visit)})


@require_safe
@user_page(named=False)
def calls(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List the user's own calls, newest first."""
    after = place_of(request.GET.get("before", ""))
    page = usage_page(UsageFilter(end_user_id=visit.user_id), after=after, limit=PAGE)
    context = {
        "calls": [shown_call(call) for call in page.calls],
        "older": place_text(page.next) if page.next else "",
        "first": after is None,
    }
    return render_page(request, visit, "calls.html", context)


@require_safe
@user_page(named=False)
def receipt(request: HttpRequest, visit: Visit, request_id: str) -> HttpResponse:
    """Show one call of the user's: what it cost and why."""
    found = receipt_of(request_id)
    if found is None or found.call.end_user_id != visit.user_id:
        raise Http404("There is no such receipt.")
    call, charge = found.call, found.call.charge
    context = {
        **shown_call(call),
        "provider_bill": charge.provider_bill if charge is not None and call.route_mode == BYOK else None,
        "attempts": len(found.attempts),
    }
    return render_page(request, visit, "receipt.html", context)


@require_safe
@user_page()
def credit_lots(request: HttpRequest, visit: Visit) -> HttpResponse:
    """List where the user's credit came from, newest first, and what is left of it."""
    before = request.GET.get("before") or None
    rows = lots_of(visit.account_id, before=before if before and "\0" not in before else None, limit=LOTS + 1)
    shown = [{"lot": row, "kind": LotKind(row.kind).label} for row in rows[:LOTS]]
    older = rows[LOTS - 1].id if len(rows) > LOTS else ""
    return render_page(request, visit, "credit.html", {"rows": shown, "older": older, "first": before is None})


def shown_call(call: UsageCall) -> dict[str, Any]:
    """Return a call with its way and its end in words."""
    return {"call": call, "ending": _ending(call), "way": _way(call.route_mode)}


def _ending(call: UsageCall) -> tuple[str, str]:
    """Return how a call ended, in words, and the badge of that."""
    if call.outcome == "finished":
        return _("answered"), "good"
    if call.charged:
        return _("ended early"), "warn"
    return _("not answered"), "bad"


def _way(mode: str) -> str:
    return {
        BYOK: _("your own key"),
        LOCAL: _("a model on your own machine"),
        DEVELOPER_KEY: _("a key of the app"),
    }.get(mode, _("the app’s models"))


def _funds(visit: Visit) -> dict[str, Any]:
    funds: Balance = balance(visit.account_id)
    spending = spending_of_end_user(visit.user_id)
    return {"funds": funds, "spent": spending.posted + spending.pending}


def _told(notice: NoticeInfo) -> dict[str, Any]:
    """Return a notice in words; nothing for a kind that has none here."""
    data = notice.data
    amount, day = _amount(data), _day(data.get("expires_at"))
    texts = {
        "low_balance": _("Your balance is low."),
        "credit_expiring": _("Some of your credit expires soon."),
        "fee_suspended": _("A fee could not be charged: there was too little credit."),
        "auto_top_up_failed": _("An automatic top-up failed. Look at your saved card."),
        "auto_top_up_paused": _("Automatic top-ups are paused."),
        "auto_top_up_cap": _("Automatic top-ups reached their monthly limit."),
        "dispute_opened": _(
            "A payment of yours is disputed with the bank. The wallet is frozen until that is settled."
        ),
        "dispute_won": _("The dispute is settled. Your wallet works again."),
        "refund_failed": _("A refund did not arrive. Its credit is back in your wallet."),
    }
    text = texts.get(notice.kind, "")
    return {"text": text, "amount": amount, "day": day, "at": notice.created_at} if text else {}


def _amount(data: dict[str, Any]) -> int | None:
    """Return the amount that a notice names, in nano-USD."""
    for name in ("remaining_usd", "balance_usd", "amount_usd", "monthly_cap_usd"):
        if isinstance(data.get(name), str):
            try:
                return nano_from_usd(data[name])
            except MoneyProblem:
                return None
    return None


def _day(text: Any) -> datetime | None:
    return parse_datetime(text) if isinstance(text, str) else None
