"""Value pricing: baselines, agreements, and one bill a month, posted to the developer's credit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.billing.models.value import BaselineMonth, BaselineSource, ValueAgreement, ValueBill
from apps.billing.months import month_after, month_of, start_of
from apps.billing.services.plans import noting_gates
from apps.billing.value_fee import BASELINE_MONTHS, ValueFee, baseline_of, value_fee
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id
from apps.core.money import MAX_NANO, NANO_PER_USD
from apps.developers.queries import developer
from apps.developers.services import audit
from apps.features.gates import VALUE_PRICING
from apps.features.services.entitlements import require_gates
from apps.features.services.inputs import storable
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_accounts
from apps.ledger.services.batches import Leg, post
from apps.usage.days import cost_of_days
from apps.usage.months import cost_of_developer

KIND = "value_fee"
OPERATOR = "operator"
# Calls of a month that are stored late, by lost acknowledgements and holds that expired, are there by then.
BILLED_AFTER = timedelta(hours=6)
MAX_EVIDENCE = 2_000


@dataclass(frozen=True, slots=True)
class Savings:
    """What a developer saved in a month against its baseline, and what it was or would be charged for that.

    `baseline` is None where none is known, and then nothing is told of savings. Of a month that is not over it is the
    part of the baseline for the time that has passed.
    """

    month: date
    complete: bool
    baseline: int | None
    actual: int
    fee: ValueFee | None
    billed: bool


@transaction.atomic
def enter_baseline(
    developer_id: str, month: date, cost: int, *, evidence: str, accepted: bool, now: datetime, actor: str
) -> str:
    """Enter what a month cost before, in nano-USD, with where that is written, and return its id.

    It counts once an operator accepts it (`accepted`: at once); until then it may be entered anew. Raises BadRequest
    (invalid_baseline), NotFound and Conflict (baseline_accepted).
    """
    if developer(developer_id) is None:
        raise NotFound(_("There is no such developer."), code="developer_not_found", param="developer_id")
    if month.day != 1 or start_of(month_after(month)) > now:
        raise _invalid("A baseline is made of whole months that are over.", "month")
    if not 0 <= cost <= MAX_NANO:
        raise _invalid("A cost is not negative.", "cost_usd")
    evidence = evidence.strip()
    if not evidence or len(evidence) > MAX_EVIDENCE or not storable(evidence):
        raise _invalid("Evidence says where the cost is written: an invoice's number or address.", "evidence")
    values = {"cost_nano": cost, "source": BaselineSource.ENTERED.value, "evidence": evidence}
    return _keep(developer_id, month, values, accepted=accepted, now=now, actor=actor)


def measure_baseline(developer_id: str, month: date, *, now: datetime, actor: str) -> str:
    """Take what a month that is over cost the developer here as a month of its baseline; return its id.

    Raises as `enter_baseline` does.
    """
    if developer(developer_id) is None:
        raise NotFound(_("There is no such developer."), code="developer_not_found", param="developer_id")
    if month.day != 1 or start_of(month_after(month)) > now:
        raise _invalid("A baseline is made of whole months that are over.", "month")
    cost = cost_of_developer(developer_id, begin=start_of(month), end=start_of(month_after(month)))
    values = {"cost_nano": cost, "source": BaselineSource.MEASURED.value, "evidence": "calls metered on this instance"}
    with transaction.atomic():
        return _keep(developer_id, month, values, accepted=True, now=now, actor=actor)


@transaction.atomic
def accept_baseline(baseline_id: str, *, now: datetime, actor: str) -> None:
    """Let a month that a developer entered count. Again changes nothing. Raises NotFound."""
    row = BaselineMonth.objects.select_for_update().filter(pk=baseline_id).first()
    if row is None:
        raise NotFound(_("There is no such month."), code="baseline_not_found")
    if row.accepted_at is None:
        row.accepted_at, row.accepted_by = now, actor
        row.save(update_fields=["accepted_at", "accepted_by"])
        _audit("baseline.accept", row.id, row.developer_id, now=now, actor=actor, month=row.month.isoformat())


def agree(
    developer_id: str,
    starts_month: date,
    *,
    share_bps: int | None = None,
    base_fee: int | None = None,
    now: datetime,
    actor: str,
) -> str:
    """Let a developer pay by value from a month on that is not over, and return the agreement's id.

    Its baseline is the mean of the three months before, and stays. Share (basis points) and base fee (nano-USD) are by
    default the settings'. Raises BadRequest (invalid_agreement), Forbidden (plan_upgrade_required) and Conflict
    (baseline_incomplete, agreement_exists).
    """
    share = settings.VALUE_SHARE_BPS if share_bps is None else share_bps
    base = settings.VALUE_BASE_FEE_USD * NANO_PER_USD if base_fee is None else base_fee
    if starts_month.day != 1 or starts_month < month_of(now):
        raise BadRequest(
            _("An agreement starts with a month that is not over."), code="invalid_agreement", param="month"
        )
    if not 0 <= share <= 10_000 or not 0 <= base <= MAX_NANO:
        raise BadRequest(_("A share is 0 to 10000 basis points, a fee not negative."), code="invalid_agreement")
    with noting_gates(developer_id, subject="value agreement", now=now, actor=actor):
        require_gates(developer_id, (VALUE_PRICING,))
    with transaction.atomic():
        months = baseline_months(developer_id, starts_month)
        if len(months) < BASELINE_MONTHS:
            raise Conflict(
                _("The three months before are not all known and accepted."),
                code="baseline_incomplete",
                details={"months": [month_after(starts_month, -back).isoformat()[:7] for back in (3, 2, 1)]},
            )
        row = ValueAgreement(
            id=new_id("val"),
            developer_id=developer_id,
            share_bps=share,
            base_fee_nano=base,
            baseline_nano=baseline_of(tuple(month.cost_nano for month in months)),
            starts_month=starts_month,
            created_at=now,
            created_by=actor,
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError as error:
            raise Conflict(_("This developer pays by value already."), code="agreement_exists") from error
        _audit("value.agree", row.id, developer_id, now=now, actor=actor, share_bps=share, base_fee_nano=base)
    return row.id


@transaction.atomic
def end_agreement(agreement_id: str, *, now: datetime, actor: str) -> None:
    """End an agreement with the month under way, which is still billed. Again changes nothing. Raises NotFound."""
    row = ValueAgreement.objects.select_for_update().filter(pk=agreement_id).first()
    if row is None:
        raise NotFound(_("There is no such agreement."), code="agreement_not_found")
    if row.ended_at is None:
        row.ended_at, row.ends_month = now, max(month_of(now), row.starts_month)
        row.save(update_fields=["ended_at", "ends_month"])
        _audit("value.end", row.id, row.developer_id, now=now, actor=actor)


def bill_value(*, now: datetime) -> int:
    """Bill every month by value that is over and not billed yet, and return how many that were."""
    last = month_after(month_of(now - BILLED_AFTER), -1)
    billed = 0
    for agreement in ValueAgreement.objects.filter(starts_month__lte=last).order_by("id"):
        month = agreement.starts_month
        until = last if agreement.ends_month is None else min(last, agreement.ends_month)
        known = set(ValueBill.objects.filter(agreement=agreement).values_list("month", flat=True))
        while month <= until:
            if month not in known:
                billed += bill_month(agreement.id, month, now=now)
            month = month_after(month)
    return billed


@transaction.atomic
def bill_month(agreement_id: str, month: date, *, now: datetime) -> bool:
    """Bill one month and post it to the developer's credit, which it may take below zero; tell whether that is news."""
    # Keyed by developer and month, so that neither a second run nor a second agreement bills a month again.
    agreement = ValueAgreement.objects.select_for_update().get(pk=agreement_id)
    developer_id = agreement.developer_id
    if ValueBill.objects.filter(developer_id=developer_id, month=month).exists():
        return False
    actual = cost_of_developer(developer_id, begin=start_of(month), end=start_of(month_after(month)))
    due = value_fee(agreement.baseline_nano, actual, agreement.share_bps, agreement.base_fee_nano)
    transaction_id = None
    if due.fee:
        owners = ((AccountKind.DEVELOPER_CREDIT.value, developer_id), (AccountKind.PLATFORM.value, OPERATOR))
        accounts = open_accounts(owners, now=now)
        transaction_id = post(
            kind=KIND,
            legs=(Leg(accounts[owners[0]], -due.fee), Leg(accounts[owners[1]], due.fee)),
            idempotency_key=f"value:{developer_id}:{month:%Y-%m}",
            now=now,
            actor="system",
            effective_at=start_of(month_after(month)),
            memo={"developer_id": developer_id, "month": f"{month:%Y-%m}", "agreement_id": agreement.id},
        )
    ValueBill.objects.create(
        id=new_id("vbill"),
        agreement=agreement,
        developer_id=developer_id,
        month=month,
        baseline_nano=due.baseline,
        actual_nano=due.actual,
        savings_nano=due.savings,
        fee_nano=due.fee,
        transaction_id=transaction_id,
        created_at=now,
    )
    return True


def baseline_months(developer_id: str, before: date) -> Sequence[BaselineMonth]:
    """Return the accepted months among the three before a month, oldest first."""
    wanted = [month_after(before, -back) for back in range(1, BASELINE_MONTHS + 1)]
    rows = BaselineMonth.objects.filter(developer_id=developer_id, month__in=wanted, accepted_at__isnull=False)
    return list(rows.order_by("month"))


def savings_of(developer_id: str, month: date, *, now: datetime) -> Savings:
    """Return what a developer saved in a month, the present one up to now.

    The baseline is that of the agreement for the month, else the mean of the latest three accepted months before it.
    """
    begin, end = start_of(month), start_of(month_after(month))
    complete = end <= now
    bills = ValueBill.objects.select_related("agreement").filter(developer_id=developer_id, month=month)
    bill = bills.first() if complete else None
    if bill is not None:
        agreement = bill.agreement
        fee = value_fee(bill.baseline_nano, bill.actual_nano, agreement.share_bps, agreement.base_fee_nano)
        return Savings(month, True, bill.baseline_nano, bill.actual_nano, fee, True)
    actual = cost_of_days(developer_id, begin=month, end=month_after(month) - timedelta(days=1))
    live = _agreement_for(developer_id, month)
    baseline = live.baseline_nano if live is not None else _latest_baseline(developer_id, month)
    if baseline is None:
        return Savings(month, complete, None, actual, None, False)
    if not complete:
        baseline = baseline * max(int((now - begin).total_seconds()), 0) // int((end - begin).total_seconds())
    share = live.share_bps if live is not None else settings.VALUE_SHARE_BPS
    base = live.base_fee_nano if live is not None else settings.VALUE_BASE_FEE_USD * NANO_PER_USD
    return Savings(month, complete, baseline, actual, value_fee(baseline, actual, share, base), False)


def agreement_of(developer_id: str) -> ValueAgreement | None:
    """Return the agreement by which a developer pays by value."""
    return ValueAgreement.objects.filter(developer_id=developer_id, ended_at=None).first()


def _agreement_for(developer_id: str, month: date) -> ValueAgreement | None:
    rows = ValueAgreement.objects.filter(developer_id=developer_id, starts_month__lte=month).order_by("-starts_month")
    return next((row for row in rows if row.ends_month is None or month <= row.ends_month), None)


def _latest_baseline(developer_id: str, month: date) -> int | None:
    rows = BaselineMonth.objects.filter(developer_id=developer_id, month__lt=month, accepted_at__isnull=False)
    costs = tuple(rows.order_by("-month").values_list("cost_nano", flat=True)[:BASELINE_MONTHS])
    return baseline_of(costs) if len(costs) == BASELINE_MONTHS else None


def _keep(
    developer_id: str, month: date, values: dict[str, object], *, accepted: bool, now: datetime, actor: str
) -> str:
    row = BaselineMonth.objects.select_for_update().filter(developer_id=developer_id, month=month).first()
    if row is not None and row.accepted_at is not None:
        if all(getattr(row, name) == value for name, value in values.items()):
            return row.id
        raise Conflict(_("This month is accepted already."), code="baseline_accepted", param="month")
    if row is None:
        row = BaselineMonth(id=new_id("base"), developer_id=developer_id, month=month)
    for name, value in values.items():
        setattr(row, name, value)
    row.created_at, row.created_by = now, actor
    if accepted:
        row.accepted_at, row.accepted_by = now, actor
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise Conflict(_("This month was entered meanwhile."), code="baseline_accepted", param="month") from error
    _audit("baseline.enter", row.id, developer_id, now=now, actor=actor, month=month.isoformat(), **values)
    return row.id


def _invalid(message: str, param: str) -> BadRequest:
    return BadRequest(message, code="invalid_baseline", param=param)


def _audit(action: str, subject: str, developer_id: str, *, now: datetime, actor: str, **detail: object) -> None:
    audit.record(action, "value", subject, actor=actor, now=now, developer_id=developer_id, detail=detail)
