"""What the page of a payout shows, in words and numbers ready for its template."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.utils.translation import gettext as _

from apps.billing.models.payouts import Payout, PayoutStatus, Rail
from apps.billing.queries.payout_review import Review, may_be_decided
from apps.billing.services import risk_rules
from apps.core.money import NANO_PER_CENT, NANO_PER_USD, usd

# How far along each state is: proposed, approved, sent, paid.
_REACHED = {
    PayoutStatus.PROPOSED: 0,
    PayoutStatus.HELD: 0,
    PayoutStatus.APPROVED: 1,
    PayoutStatus.SENDING: 1,
    PayoutStatus.SENT: 2,
    PayoutStatus.PAID: 3,
}


def shown(nano: int) -> str:
    """Return an amount in USD for people: `1,234.50`, and as exact as it is where it is no whole number of cents."""
    if nano % NANO_PER_CENT == 0:
        return f"{Decimal(nano) / NANO_PER_USD:,.2f}"
    whole, _dot, places = usd(abs(nano)).partition(".")
    return f"{'-' if nano < 0 else ''}{int(whole):,}.{places}"


def page_of(review: Review, *, actor: str, may_decide: bool) -> dict[str, Any]:
    """Return the template's context. `actor` is who looks: whoever approved already is told to leave it to another."""
    row = review.row
    decisions = may_be_decided(row) if may_decide else ()
    return {
        "payout": row,
        "amount": shown(row.amount_nano),
        "returned": shown(row.returned_nano) if row.returned_nano else "",
        "developer": review.developer,
        "steps": _steps(row),
        "apps": [
            {
                "id": app.app_id,
                "name": app.name or app.app_id,
                "calls": app.calls,
                "price": shown(app.price),
                "share": shown(app.developer),
                "part": max(app.developer, 0) * 1000 // max(review.apps_total, 1),
            }
            for app in review.apps
        ],
        "apps_total": shown(review.apps_total),
        "rest": shown(review.rest),
        "lines": _lines(review),
        "kinds": [
            {
                "kind": kind.kind,
                "matured": shown(kind.matured),
                "immature": shown(kind.immature),
                "debits": shown(kind.debits),
            }
            for kind in review.kinds
        ],
        "checks": _checks(review),
        "risk": _risk(review),
        "account": review.account,
        "by_hand": row.rail == Rail.MANUAL,
        "disputes": [
            {
                "id": dispute.id,
                "status": dispute.status,
                "amount": shown(dispute.amount_cents * NANO_PER_CENT),
                "clawed_back": shown(dispute.clawed_back_nano),
                "opened_at": dispute.opened_at,
            }
            for dispute in review.disputes[:10]
        ],
        "disputes_more": max(len(review.disputes) - 10, 0),
        "reconciliation": review.reconciliation,
        "unexplained": shown(review.reconciliation.unexplained),
        "history": [
            {"row": earlier, "amount": shown(earlier.amount_nano), "name": earlier.get_status_display()}
            for earlier in review.history
        ],
        "reviews": _named(review),
        "approved_by": len(review.approvals),
        "decisions": decisions,
        "second": "approve" in decisions and bool(review.approvals),
        "approved_already": actor in review.approvals,
    }


def _steps(row: Payout) -> list[dict[str, Any]]:
    names: tuple[tuple[str, datetime | None], ...] = (
        (_("Proposed"), row.created_at),
        (_("Approved"), row.approved_at),
        (_("Sent"), row.sent_at),
        (_("Paid"), row.paid_at),
    )
    reached = _REACHED.get(PayoutStatus(row.status))
    if reached is None:  # it ended otherwise: what it got to, and the end
        steps = [{"name": name, "at": at, "state": "done"} for name, at in names if at is not None]
        return [*steps, {"name": row.get_status_display(), "at": row.closed_at, "state": "bad"}]
    steps = [
        {"name": name, "at": at if place <= reached else None, "state": "done" if place <= reached else "open"}
        for place, (name, at) in enumerate(names)
    ]
    if row.status == PayoutStatus.HELD:
        steps.insert(1, {"name": _("Held"), "at": None, "state": "bad"})
    return steps


def _lines(review: Review) -> list[dict[str, str]]:
    """Return how payable comes about, line by line: at the proposal, and now."""
    row, found = review.row, review.checks.payable
    told = row.breakdown
    aside = row.amount_nano if row.payout_transaction_id and not row.sent_transaction_id and not row.closed_at else 0
    return [
        _line(_("Balance"), row.balance_nano, found.balance),
        _line(
            _("Maturing: earned in the last %(days)d days") % {"days": told["hold_days"]},
            -row.immature_nano,
            -found.immature,
            "−",
        ),
        _line(_("Matured, every debit counted"), row.matured_nano, found.matured, "="),
        _line(
            _("Reserve: %(part)s %% of what matured within %(days)d days")
            % {"part": f"{Decimal(told['reserve_bps']) / 100:g}", "days": told["reserve_days"]},
            -row.reserve_nano,
            -found.reserve,
            "−",
        ),
        _line(_("Payable, in whole cents"), told["payable"], found.payable, "="),
        *([_line(_("Set aside for this payout"), 0, aside)] if aside else []),
    ]


def _line(name: str, then: int, today: int, sign: str = "") -> dict[str, str]:
    return {"name": name, "then": shown(then), "now": shown(today), "sign": sign}


def _checks(review: Review) -> list[dict[str, Any]]:
    problems = dict(review.checks.problems)
    account = {"disabled", "stopped", "no_account", "frozen", "open_payout", "destination_changed"}
    names = (
        (_("The account is ready, and payouts are not stopped"), account),
        (_("The risk score is below the limit, or was accepted"), {"risk_limit"}),
        (_("No difference of the reconciliation is open"), {"not_reconciled"}),
        (_("The amount is still payable"), {"not_payable"}),
    )
    return [
        {"name": name, "problem": next((problems[code] for code in codes if code in problems), "")}
        for name, codes in names
    ]


def _risk(review: Review) -> dict[str, Any] | None:
    risk = review.risk
    if risk is None:
        return None
    return {
        "score": risk.score,
        "level": risk_rules.level(risk.score),
        "limit": settings.PAYOUT_RISK_LIMIT,
        "subject": risk.subject_id,
        "computed_at": risk.computed_at,
        "then": review.row.risk_score,
        "accepted": review.row.accepted_risk,
        "signals": [
            {
                "code": signal["code"],
                "points": signal["points"],
                "measured": risk_rules.measure(int(str(signal["value"])), str(signal["unit"])),
                "explained": risk_rules.explain(
                    str(signal["code"]),
                    value=int(str(signal["value"])),
                    threshold=int(str(signal["threshold"])),
                    unit=str(signal["unit"]),
                )
                or signal["explanation"],
            }
            for signal in risk.signals
        ],
    }


def _named(review: Review) -> list[dict[str, Any]]:
    ids = {name.removeprefix("user:") for name in (one.reviewer for one in review.reviews) if name.startswith("user:")}
    people = {
        f"user:{user.pk}": user.get_username()
        for user in get_user_model().objects.filter(pk__in=[number for number in ids if number.isdecimal()])
    }
    return [{"row": one, "who": people.get(one.reviewer, one.reviewer)} for one in review.reviews]
