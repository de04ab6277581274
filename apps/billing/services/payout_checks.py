"""What must hold for a payout at its approval, and again before it is sent."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from apps.billing.models.payouts import Payout, PayoutAccount, Rail
from apps.billing.queries.reconciliation import reconciliation_state
from apps.billing.services.payout_risk import developer_risk
from apps.billing.services.payouts import REFUSALS, Payable, payable, refusal_to_pay
from apps.core.errors import Conflict
from apps.core.money import usd


@dataclass(frozen=True, slots=True)
class Checks:
    """What stands against a payout, as (code, sentence); `payable` is what it was compared with."""

    problems: tuple[tuple[str, str], ...]
    payable: Payable

    def require(self) -> None:
        """Raise Conflict with the first problem."""
        for code, sentence in self.problems:
            raise Conflict(sentence, code=code)


def check_payout(row: Payout, *, now: datetime) -> Checks:
    """Return what stands against approving or sending a payout now; open no transaction around it.

    It looks at the switch, the account and where it leads, the risk score, the reconciliation, and at what is payable
    after whatever was clawed back since.
    """
    found = payable(row.developer_id, now=now, by_app=False)
    problems = [
        problem
        for problem in (_account(row), _risk(row), _reconciliation(row), _amount(row, found))
        if problem is not None
    ]
    return Checks(tuple(problems), found)


def _account(row: Payout) -> tuple[str, str] | None:
    refusal = refusal_to_pay(row.developer_id, but=row.pk)
    if refusal is not None:
        return refusal.value, REFUSALS[refusal]
    account = PayoutAccount.objects.get(pk=row.developer_id)
    destination = account.stripe_account_id if row.rail == Rail.STRIPE else account.details_id
    if account.rail != row.rail or destination != row.destination:
        return "destination_changed", "The developer has changed where its money goes since this was proposed."
    return None


def _risk(row: Payout) -> tuple[str, str] | None:
    risk = developer_risk(row.developer_id)
    limit = settings.PAYOUT_RISK_LIMIT
    if risk is None or risk.score < limit or (row.accepted_risk is not None and risk.score <= row.accepted_risk):
        return None
    return "risk_limit", f"The risk score is {risk.score}; from {limit} on a payout is held."


def _reconciliation(row: Payout) -> tuple[str, str] | None:
    state = reconciliation_state(developer_id=row.developer_id)
    if state.open_differences:
        return "not_reconciled", f"{state.open_differences} differences of the reconciliation are open."
    return None


def _amount(row: Payout, found: Payable) -> tuple[str, str] | None:
    # Once it is posted the amount is off the balance: what is left must not be missing anything.
    left = found.free if row.payout_transaction_id is not None else found.free - row.amount_nano
    if left < 0:
        return "not_payable", f"{usd(-left)} USD of the amount is not payable any more."
    return None
