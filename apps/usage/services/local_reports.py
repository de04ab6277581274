"""What end users' own machines served by themselves, as they report it: one event and one fee a report, once.

A report is known by its end user and the id that its sender gave it. Those of one end user are taken one batch after
the other, so that of several that are sent at the same time one is stored and the others are told that it is. The
report, the hold of its fee and its event are one transaction: whatever dies, either all of it is there or nothing, and
sending again is right.

A fee is charged if it was acknowledged before, and never otherwise. It is held first: a wallet or budget that does not
reach refuses the report, which may be sent again. When a call happened is its sender's word: it is stored as the call's
beginning, and counts in days, months and the ledger from when it was accepted, so that no closed month changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.db import connection, transaction
from django.utils.translation import gettext as _

from apps.core.errors import Conflict, FaucetError, Forbidden, InsufficientFunds
from apps.core.ids import new_id
from apps.core.money import usd
from apps.features.queries import Principal
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.ledger.statements import HoldResult
from apps.usage.budgets.refs import Budgets, wishes
from apps.usage.local_report import Report, out_of_time
from apps.usage.models import LOCAL_REPORT, LocalReport, UsageEvent
from apps.usage.rate import LOCAL, Charge, Overheads, rate
from apps.usage.services.admit import ADMIT, AdmitResult, BudgetedHold, admit_parameters, admit_results, budget_exceeded
from apps.usage.services.settle import KNOWN, METER, SETTLE, HoldMemo, Settlement, UsageRecord, settle_parameters
from apps.vault.models import FeeMode
from apps.vault.queries import consents_of

# The hold is metered in the transaction that takes it; the rest is the margin of rating.
LEASE_SECONDS = 600.0
ACCEPTED, DUPLICATE, REJECTED = "accepted", "duplicate", "rejected"


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a report: `price` in nano-USD of the event that it is, or the `error` for which it is none."""

    report_id: str | None
    state: str
    request_id: str | None = None
    price: int = 0
    error: FaucetError | None = None


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A report that is not stored yet, with the event that it becomes."""

    report: Report
    principal: Principal
    request_id: str
    charge: Charge
    charged: bool


@transaction.atomic
def take_reports(
    end_user_id: str,
    reports: Sequence[tuple[Report, Principal]],
    *,
    budgets: Sequence[Budgets],
    now: datetime,
) -> tuple[Taken, ...]:
    """Store the reports of one end user, each with the principal of its feature; return what became of each, in order.

    `budgets` are those that calls come under. Refused are, each by itself, reports whose time is out of bounds
    (report_too_old, report_in_future), that say something else than one of the same id did (idempotency_mismatch), and
    whose fee is not covered (insufficient_funds, budget_exceeded, wallet_frozen).
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"local_reports:{end_user_id}"])
    known = _stored(end_user_id, [report.report_id for report, _principal in reports])
    acknowledged = consents_of(end_user_id).get(FeeMode.LOCAL.value)
    outcomes: dict[int, Taken] = {}
    fresh: dict[str, tuple[int, _Fresh]] = {}
    again: list[int] = []
    for place, (report, principal) in enumerate(reports):
        same = known.get(report.report_id)
        if same is not None:
            outcomes[place] = _told_again(report, *same)
        elif report.report_id in fresh:
            again.append(place)
        elif (problem := out_of_time(report, now=now)) is not None:
            outcomes[place] = Taken(report.report_id, REJECTED, error=problem)
        else:
            fresh[report.report_id] = place, _priced(report, principal, acknowledged)
    stored = _store(end_user_id, [one for _place, one in fresh.values()], budgets, now)
    for place, one in fresh.values():
        outcomes[place] = stored[one.report.report_id]
    for place in again:
        report = reports[place][0]
        first = fresh[report.report_id][1].report
        outcomes[place] = _like_the_first(report, first, stored[report.report_id])
    return tuple(outcomes[place] for place in range(len(reports)))


def _stored(end_user_id: str, report_ids: Sequence[str]) -> dict[str, tuple[str, str, int]]:
    """Return (content hash, request id, price in nano-USD) of the reports that are stored, by report id."""
    rows = LocalReport.objects.filter(end_user_id=end_user_id, report_id__in=report_ids)
    found = {row.report_id: row for row in rows}
    events = UsageEvent.objects.filter(request_id__in=[row.request_id for row in found.values()])
    prices = dict(events.values_list("request_id", "price_nano"))
    return {name: (row.content_hash, row.request_id, prices[row.request_id]) for name, row in found.items()}


def _told_again(report: Report, content_hash: str, request_id: str, price: int) -> Taken:
    if report.content_hash != content_hash:
        return Taken(report.report_id, REJECTED, error=_mismatch())
    return Taken(report.report_id, DUPLICATE, request_id, price)


def _like_the_first(report: Report, first: Report, taken: Taken) -> Taken:
    """Return what becomes of a report whose id came before in the same batch."""
    if report.content_hash != first.content_hash:
        return Taken(report.report_id, REJECTED, error=_mismatch())
    if taken.state == REJECTED:
        return taken
    return Taken(report.report_id, DUPLICATE, taken.request_id, taken.price)


def _mismatch() -> Conflict:
    return Conflict(_("A report of this id said something else."), code="idempotency_mismatch", param="report_id")


def _priced(report: Report, principal: Principal, acknowledged: int | None) -> _Fresh:
    fee = principal.terms.local_fee
    charged = report.ok and (fee == 0 or (acknowledged is not None and acknowledged >= fee))
    charge = rate(report.tokens, None, principal.terms, mode=LOCAL, overheads=_overheads(), charged=charged)
    return _Fresh(report, principal, new_id("req"), charge, charged)


def _overheads() -> Overheads:
    return Overheads(settings.INFRA_COST_NANO_USD, settings.PAYMENT_COST_BPS)


def _store(end_user_id: str, fresh: Sequence[_Fresh], budgets: Sequence[Budgets], now: datetime) -> dict[str, Taken]:
    """Hold the fees, store what they cover, and return what became of each report by its id."""
    if not fresh:
        return {}
    account = open_account(kind=AccountKind.END_USER, owner_id=end_user_id, now=now)
    records = {one.request_id: _record(one, account, now) for one in fresh}
    with connection.cursor() as cursor:
        refused = _hold(cursor, [one for one in fresh if one.charge.price], account, records, budgets)
        covered = [one for one in fresh if one.request_id not in refused]
        if covered:
            LocalReport.objects.bulk_create(_row(end_user_id, one, now) for one in covered)
            cursor.execute(SETTLE, settle_parameters([Settlement(records[one.request_id]) for one in covered]))
            cursor.execute(METER, ([one.request_id for one in covered],))
    return {
        one.report.report_id: Taken(one.report.report_id, REJECTED, error=refused[one.request_id])
        if one.request_id in refused
        else Taken(one.report.report_id, ACCEPTED, one.request_id, one.charge.price)
        for one in fresh
    }


def _hold(
    cursor: Any,
    charged: Sequence[_Fresh],
    account: int,
    records: Mapping[str, UsageRecord],
    budgets: Sequence[Budgets],
) -> dict[str, FaucetError]:
    """Hold the fee of each report, which its budgets must cover; return why it was refused, by request id."""
    if not charged:
        return {}
    requests = [
        BudgetedHold(
            one.request_id,
            account,
            one.charge.price,
            one.charge.price,
            LEASE_SECONDS,
            _memo(records[one.request_id]),
            wishes((ref for each in budgets for ref in each.for_scopes(**_scopes(one.principal))), {}),
        )
        for one in charged
    ]
    cursor.execute(ADMIT, admit_parameters(requests, ()))
    results = admit_results(requests, cursor.fetchall())
    return {
        one.request_id: _refusal(one.charge.price, result)
        for one, result in zip(charged, results, strict=True)
        if not result.taken
    }


def _scopes(principal: Principal) -> dict[str, Any]:
    return {
        "developer_id": principal.developer_id,
        "app_id": principal.app_id,
        "feature_key": principal.feature_key,
        "end_user_id": principal.end_user_id,
    }


def _refusal(price: int, result: HoldResult) -> FaucetError:
    if isinstance(result, AdmitResult) and result.refused:
        return budget_exceeded(result.refused)
    if result.outcome == "frozen":
        return Forbidden(_("This wallet is frozen."), code="wallet_frozen")
    available = usd(max(result.available, 0))
    return InsufficientFunds(
        _("The fee is $%(price)s and $%(available)s is available.") % {"price": usd(price), "available": available}
    )


def _row(end_user_id: str, one: _Fresh, now: datetime) -> LocalReport:
    return LocalReport(
        end_user_id=end_user_id,
        report_id=one.report.report_id,
        content_hash=one.report.content_hash,
        request_id=one.request_id,
        created_at=now,
    )


def _record(one: _Fresh, account: int, now: datetime) -> UsageRecord:
    report, principal, overheads = one.report, one.principal, _overheads()
    return UsageRecord(
        request_id=one.request_id,
        app_id=principal.app_id,
        developer_id=principal.developer_id,
        end_user_id=principal.end_user_id,
        feature_key=principal.feature_key,
        principal_id=principal.id,
        account_id=account,
        endpoint=LOCAL_REPORT,
        stream=False,
        route_mode=LOCAL,
        provider=report.endpoint_kind,
        credential_id="",
        requested_model=report.model,
        served_model=report.model,
        outcome=report.outcome.value,
        charged=one.charged,
        finish_reason="stop" if report.ok else None,
        error_code=None if report.ok else report.error_code or "local_error",
        status=200 if report.ok else 0,
        input_tokens=report.input_tokens,
        cache_read_tokens=report.cache_read_tokens,
        cache_write_tokens=0,
        output_tokens=report.output_tokens,
        reasoning_tokens=report.reasoning_tokens,
        estimated=False,
        output_cap=None,
        price_version_id=None,
        terms_id=principal.terms.id,
        infra_nano=overheads.infra,
        payment_bps=overheads.payment_bps,
        price_nano=one.charge.price,
        cost_nano=one.charge.cost,
        attempts=[],
        started_at=report.started_at.timestamp(),
        first_byte_ms=None,
        duration_ms=report.latency_ms,
        effective_at=now.timestamp(),
        manifest_id=principal.manifest_id,
    )


def _memo(record: UsageRecord) -> HoldMemo:
    known = {name: getattr(record, name) for name in KNOWN}
    return cast(HoldMemo, {**known, "prompt_tokens": record.input_tokens, "output_tokens": record.output_tokens})
