"""What the roles of a team may hand out: scopes of tokens, and roles to others.

owner    everything
admin    everything but owners: makes none, changes none, removes none
analyst  looks at usage
finance  looks at usage and revenue, spends credit, asks for payouts
"""

from collections.abc import Collection

from django.utils.translation import gettext as _

from apps.core.errors import Forbidden
from apps.developers.models import Role, Scope

_LOOK = frozenset({Scope.USAGE_READ.value, Scope.APPS_READ.value, Scope.BUDGETS_READ.value})
_MONEY = frozenset(
    {
        Scope.REVENUE_READ.value,
        Scope.BILLING_READ.value,
        Scope.BILLING_WRITE.value,
        Scope.PAYOUTS_READ.value,
        Scope.PAYOUTS_WRITE.value,
    }
)
SCOPES: dict[str, frozenset[str]] = {
    Role.OWNER.value: frozenset(Scope.values),
    Role.ADMIN.value: frozenset(Scope.values),
    Role.ANALYST.value: _LOOK,
    Role.FINANCE.value: _LOOK | _MONEY,
}
# Whom a role may invite, promote and remove.
MANAGES: dict[str, tuple[str, ...]] = {
    Role.OWNER.value: tuple(Role.values),
    Role.ADMIN.value: (Role.ADMIN.value, Role.ANALYST.value, Role.FINANCE.value),
    Role.ANALYST.value: (),
    Role.FINANCE.value: (),
}


def check_scopes(role: str, scopes: Collection[str]) -> None:
    """Raise Forbidden (insufficient_scope) where a token would reach further than the role of who asks for it."""
    if excess := set(scopes) - SCOPES[role]:
        raise Forbidden(
            _("Your role does not reach so far: %(names)s.") % {"names": ", ".join(sorted(excess))},
            code="insufficient_scope",
            param="scopes",
        )


def check_manages(role: str | None, *others: str) -> None:
    """Raise Forbidden (role_not_allowed) unless `role` may make and unmake people of those roles.

    None is an operator, who may.
    """
    if role is not None and not set(others) <= set(MANAGES[role]):
        raise Forbidden(_("Only an owner may do this."), code="role_not_allowed", param="role")
