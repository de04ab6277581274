"""Which budgets a call comes under, and what it asks of them: pure, from an immutable picture of the budgets."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

CREDENTIAL = "credential"


class BudgetRef(NamedTuple):
    """A budget that a call comes under. Whether it is hard, and its limit, the database says when it is asked.

    One for a credential that was rotated is there once for each credential whose calls it counts.
    """

    id: str
    scope: str
    scope_id: str


class BudgetWish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a call asks of one budget: `cost`, in nano-USD, of one for the `credentials`; else what its hold keeps."""

    budget_id: str
    cost: int | None = None
    credentials: tuple[str, ...] = ()


class Budgets:
    """The enabled budgets by whom they are for."""

    __slots__ = ("_named",)

    def __init__(self, refs: Iterable[BudgetRef] = ()) -> None:
        named: dict[tuple[str, str], tuple[BudgetRef, ...]] = {}
        for ref in refs:
            named[ref.scope, ref.scope_id] = (*named.get((ref.scope, ref.scope_id), ()), ref)
        self._named = named

    def __bool__(self) -> bool:
        return bool(self._named)

    def for_scopes(
        self,
        *,
        developer_id: str,
        app_id: str,
        feature_key: str,
        end_user_id: str | None,
        credential_ids: Iterable[str] = (),
    ) -> tuple[BudgetRef, ...]:
        """Return the budgets of a call whose targets use these credentials."""
        if not self._named:
            return ()
        keys = [("developer", developer_id), ("app", app_id), ("feature", f"{app_id}/{feature_key}")]
        if end_user_id is not None:
            keys.append(("end_user", end_user_id))
        keys += [(CREDENTIAL, credential_id) for credential_id in dict.fromkeys(credential_ids)]
        return tuple(ref for key in keys for ref in self._named.get(key, ()))


NO_BUDGETS = Budgets()


def wishes(refs: Iterable[BudgetRef], costs: Mapping[str, int]) -> tuple[BudgetWish, ...]:
    """Return what a call asks of its budgets.

    `costs` is by credential id what its provider may bill for this call at most, in nano-USD (`rate.worst_bill`).
    """
    merged: dict[str, BudgetWish] = {}
    for ref in refs:
        cost = costs[ref.scope_id] if ref.scope == CREDENTIAL else None
        same = merged.get(ref.id)
        if same is None or cost is None:
            merged[ref.id] = BudgetWish(ref.id, cost, () if cost is None else (ref.scope_id,))
        else:
            # A credential and the one that replaced it: each budget is asked once.
            merged[ref.id] = BudgetWish(ref.id, max(cost, same.cost or 0), (*same.credentials, ref.scope_id))
    return tuple(merged.values())
