"""What developers' plans let them do: written by billing, asked by whoever limits them."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.core.epoch import forget_caller
from apps.core.errors import Forbidden, InsufficientFunds
from apps.features.entitlements import EVERYBODY, Entitlements, entitlements_of, virtual_keys_in_use
from apps.features.models import Entitlement


@dataclass(frozen=True, slots=True)
class Spent:
    """A plan that is used up: tokens used this month, and until when calls are refused."""

    tokens: int
    until: datetime


class PlanUpgradeRequired(Forbidden):
    """Something that the developer's plan does not include; `gates` are its names."""

    default_code = "plan_upgrade_required"

    def __init__(self, plan: str, gates: Sequence[str], upgrade: str) -> None:
        super().__init__(
            f"The plan '{plan}' does not include {', '.join(gates)}.",
            details={"plan": plan, "features": list(gates), "upgrade": upgrade or None},
        )
        self.gates = tuple(gates)


@transaction.atomic
def set_entitlements(developer_id: str, given: Entitlements | None, *, now: datetime) -> bool:
    """Put in force what a developer's plan lets it do, and return whether that is news; None takes the limits away.

    With EVERYBODY in place of a developer it is for all who have none of their own. A developer whose plan is used up
    stays refused unless the limit was raised above what was used.
    """
    rows = Entitlement.objects.select_for_update()
    row = rows.filter(pk=developer_id).first()
    if given is None:
        if row is None:
            return False
        row.delete()
        _forget(developer_id, row.spent_until is not None)
        return True
    values = asdict(given)
    values["gates"] = list(given.gates)
    if row is None:
        # Twins that race agree on one row; the next measurement settles the rest.
        made = Entitlement(developer_id=developer_id, changed_at=now, **values)
        Entitlement.objects.bulk_create([made], ignore_conflicts=True)
        return True
    if all(getattr(row, name) == value for name, value in values.items()):
        return False
    for name, value in values.items():
        setattr(row, name, value)
    was_spent = row.spent_until is not None
    if row.spent_tokens is not None and (row.tokens_per_month is None or row.spent_tokens < row.tokens_per_month):
        row.spent_tokens = row.spent_until = None
    row.changed_at = now
    row.save()
    _forget(developer_id, was_spent)
    return True


@transaction.atomic
def mark_spent(developer_id: str, spent: Spent | None, *, now: datetime) -> bool:
    """Refuse a developer's calls until the plan's month is over (None: serve them) and return whether that is news."""
    row = Entitlement.objects.select_for_update().filter(pk=developer_id).first()
    until = spent.until if spent is not None else None
    if row is None or (spent is not None and row.tokens_per_month is None) or row.spent_until == until:
        return False
    row.spent_until, row.spent_tokens = until, spent.tokens if spent is not None else None
    row.changed_at = now
    row.save(update_fields=["spent_until", "spent_tokens", "changed_at"])
    _forget(developer_id, True)
    return True


def require_gates(developer_id: str, gates: Collection[str]) -> None:
    """Raise PlanUpgradeRequired where a developer's plan lacks one of these parts of the service."""
    if not gates:
        return
    plan = entitlements_of(developer_id)
    if plan is None:
        return
    missing = [gate for gate in gates if gate not in plan.gates]
    if missing:
        raise PlanUpgradeRequired(plan.plan, missing, plan.upgrade)


def require_room_for_key(developer_id: str, *, now: datetime) -> None:
    """Raise InsufficientFunds (plan_limit_reached) where a developer has as many usable virtual keys as its plan has.

    Call it in the transaction that issues the key, with the developer's row locked.
    """
    plan = entitlements_of(developer_id)
    if plan is None or plan.max_virtual_keys is None:
        return
    used = virtual_keys_in_use(developer_id, now=now)
    if used >= plan.max_virtual_keys:
        raise InsufficientFunds(
            _("The plan '%(plan)s' has %(max_virtual_keys)s virtual keys, and %(used)s are in use.")
            % {"plan": plan.plan, "max_virtual_keys": plan.max_virtual_keys, "used": used},
            code="plan_limit_reached",
            details={
                "plan": plan.plan,
                "what": "virtual_keys",
                "limit": plan.max_virtual_keys,
                "used": used,
                "resets_at": None,
                "upgrade": plan.upgrade or None,
            },
        )


def _forget(developer_id: str, gateways_know: bool) -> None:
    """Make the gateways load the developer's callers again, where they keep something of what changed."""
    if gateways_know and developer_id != EVERYBODY:
        forget_caller("developer", developer_id)
