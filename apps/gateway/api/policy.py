"""The policy in force, for views: which origins are allowed and which models can be served, kept until it changes."""

from datetime import datetime

from django.db import connection

from apps.features.local_endpoints import has_local_models
from apps.features.queries import Principal
from apps.gateway.snapshots import Policy, load_caller, load_policy
from apps.usage.rate import LOCAL

# The number alone comes back after a restored backup; who wrote it last does not.
READ_EPOCH = "SELECT number, xmin::text FROM policy_epoch WHERE id = 1"

_kept: tuple[tuple[int, str] | None, Policy] | None = None


def current(*, now: datetime) -> Policy:
    """Return the policy in force at `now`: one small query while nothing has changed."""
    global _kept
    with connection.cursor() as cursor:
        cursor.execute(READ_EPOCH)
        epoch = cursor.fetchone()
    kept = _kept
    if kept is not None and kept[0] == epoch and (kept[1].valid_until is None or now < kept[1].valid_until):
        return kept[1]
    policy = load_policy(now=now)
    _kept = (epoch, policy)
    return policy


def available_modes(policy: Policy, principal: Principal, *, now: datetime) -> list[str]:
    """Return the route modes in which a principal can be served with at least one model."""
    routes = load_caller(principal, now=now).routes(policy.table)
    modes = set(routes.modes())
    owner = principal.end_user_id
    if owner is not None and routes.withheld(LOCAL) is None and has_local_models(owner, now=now):
        modes.add(LOCAL)
    return sorted(modes)
