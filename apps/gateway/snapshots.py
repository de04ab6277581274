"""What the gateway knows without asking: callers, catalogue, credentials and routes, process-local and immutable.

All of it is dropped when the policy epoch moves, so that a kill switch acts within one poll everywhere; what concerns
one caller only, such as a revoked session, drops that caller.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from channels.db import database_sync_to_async

from apps.billing.queries.fees import NOT_ACKNOWLEDGED, routes_refused
from apps.catalog.queries import load_catalog
from apps.core.clock import now
from apps.core.errors import FaucetError, Forbidden, NotFound, Unauthorized, Unavailable
from apps.features.bridges import ConnectedBridge, connected_bridges
from apps.features.queries import Principal, allowed_origins_of_all, authenticate, principal_for_feature
from apps.gateway.bridges.targets import LocalModel, local_models
from apps.gateway.health import process_health
from apps.gateway.lookups import Lookups
from apps.gateway.routing import CallerRoutes, RouteTable
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.usage.budgets.queries import load_budgets, load_own_budgets
from apps.usage.budgets.refs import NO_BUDGETS, Budgets
from apps.usage.limits.queries import load_limit_rules
from apps.usage.limits.rules import Dimension, LimitRules, feature_limits
from apps.usage.rate import BYOK, LOCAL
from apps.vault.queries import Credential, consents_of, credentials_of, down_credentials, load_shared_credentials

T = TypeVar("T")

MAX_CALLERS = 50_000
# Unknown tokens are remembered for a moment, so that one that is tried over and over costs no query each time.
REFUSAL_SECONDS = 5.0
MAX_REFUSALS = 10_000
# What is missing is loaded a few at a time; in an outage each load takes until the pool gives up, so the last of many
# would wait for long.
LOAD_PATIENCE = 10.0


@dataclass(slots=True)
class Caller:
    """Who calls, from which ledger account the call is paid, and what only this caller can be served with.

    `credentials` are the developer's and the end user's own; `acknowledged_fee` is what the end user has agreed to
    pay per call on keys of their own, in nano-USD; `limits` are those of the feature's manifest; `budgets` are the end
    user's own; `withheld` are the routes (byok, local, any) of fees that are not agreed to or not paid, with why;
    `local` are the models of the end user's bridges that are connected.
    """

    principal: Principal
    account_id: int
    expires: float  # POSIX time; inf where it never does
    credentials: tuple[Credential, ...] = ()
    acknowledged_fee: int | None = None
    limits: tuple[Dimension, ...] = ()
    budgets: Budgets = NO_BUDGETS
    withheld: Mapping[str, str] = field(default_factory=dict)
    local: tuple[LocalModel, ...] = ()
    _routes: CallerRoutes | None = field(default=None, repr=False)

    @property
    def payer(self) -> str:
        """Return the id that owns the caller's wallet and keys of idempotency."""
        return self.principal.end_user_id or self.principal.id

    def bridge(self, bridge_id: str) -> ConnectedBridge:
        """Return the bridge that a local target is reached with."""
        return next(model.bridge for model in self.local if model.bridge.bridge_id == bridge_id)

    def routes(self, table: RouteTable) -> CallerRoutes:
        """Return what the caller can reach under the table in force; made once for each."""
        if self._routes is None or self._routes.table is not table:
            self._routes = CallerRoutes(table, self.principal, self.credentials, self.acknowledged_fee, self.withheld)
        return self._routes


@dataclass(frozen=True, slots=True)
class Policy:
    """One consistent picture of the catalogue, the shared credentials, limits, budgets and origins."""

    table: RouteTable
    limits: LimitRules
    budgets: Budgets
    origins: frozenset[str]
    valid_until: datetime | None


class Snapshots:
    """Load on a miss, keep until the epoch moves."""

    def __init__(self) -> None:
        self._generation = 0
        self._callers_generation = 0
        self._policy: Policy | None = None
        self._loading = asyncio.Lock()
        self._callers: OrderedDict[bytes, Caller] = OrderedDict()
        # By session, virtual key and end user, so that revoking one, which end users may do at will, costs no search.
        self._keys: dict[str, tuple[bytes, ...]] = {}
        self._refusals: OrderedDict[bytes, tuple[float, FaucetError]] = OrderedDict()
        self._lookups = Lookups(_load_caller)

    def drop(self) -> None:
        """Forget everything: the epoch moved."""
        self._generation += 1
        self._callers_generation += 1
        self._policy = None
        self._callers.clear()
        self._keys.clear()
        self._refusals.clear()

    def drop_callers(self, ids: Collection[str]) -> None:
        """Forget the callers whose session, virtual key, end user or developer is one of `ids`."""
        self._callers_generation += 1  # for those that are being loaded
        self._refusals.clear()
        developers = {one for one in ids if one.startswith("dev_")}
        dropped = [key for one in ids for key in self._keys.get(one, ())]
        if developers:
            dropped += [key for key, known in self._callers.items() if known.principal.developer_id in developers]
        for key in dropped:
            self._forget(key)

    def _keep(self, key: bytes, caller: Caller) -> None:
        self._forget(key)
        self._callers[key] = caller
        for one in _subjects(caller):
            self._keys[one] = (*self._keys.get(one, ()), key)
        if len(self._callers) > MAX_CALLERS:
            self._forget(next(iter(self._callers)))

    def _forget(self, key: bytes) -> None:
        caller = self._callers.pop(key, None)
        if caller is None:
            return
        for one in _subjects(caller):
            left = tuple(other for other in self._keys[one] if other != key)
            if left:
                self._keys[one] = left
            else:
                del self._keys[one]

    async def policy(self) -> Policy:
        """Return the catalogue, routes and origins in force."""
        policy = self._policy
        if policy is not None and (policy.valid_until is None or now() < policy.valid_until):
            return policy
        async with _in_time(), self._loading:
            if self._policy is not policy and self._policy is not None:
                return self._policy  # loaded while we waited
            while True:
                generation = self._generation
                loaded: Policy = await database_sync_to_async(_load_policy)()
                if generation == self._generation:
                    self._policy = loaded
                    return loaded

    async def caller(
        self, token: str, *, at: float, address: Callable[[], str], feature_key: str | None = None
    ) -> Caller:
        """Return who a token stands for at POSIX time `at`, calling its own feature or the one that is named.

        `address` says where the client is, whose look-ups take turns with those of others; asked on a miss only.
        Raises what `authenticate` and `principal_for_feature` raise, and Unavailable (too_many_lookups among others).
        """
        key = hashlib.sha256(token.encode() if feature_key is None else f"{token}\0{feature_key}".encode()).digest()
        known = self._callers.get(key)
        if known is not None:
            if known.expires <= at:
                raise Unauthorized("This token has expired.", code="token_expired")
            return known
        refusal = self._refusals.get(key)
        if refusal is not None and refusal[0] > at:
            raise _afresh(refusal[1])
        while True:
            generation = self._callers_generation
            try:
                async with _in_time():
                    # What was asked for before a change is not joined after it.
                    caller = await self._lookups.get((generation, key), token, feature_key, address=address())
            except (Unauthorized, Forbidden, NotFound) as error:
                _remember(self._refusals, key, (at + REFUSAL_SECONDS, _afresh(error)), MAX_REFUSALS)
                raise
            if generation == self._callers_generation:
                if self._callers.get(key) is not caller:  # nobody who waited for the same has kept it
                    self._keep(key, caller)
                return caller


def _subjects(caller: Caller) -> tuple[str, ...]:
    """Return the ids of what a caller is known by."""
    who = caller.principal
    return (who.id,) if who.end_user_id is None else (who.id, who.end_user_id)


def _afresh(error: FaucetError) -> FaucetError:
    """Return a copy that was never raised: a traceback keeps whole requests alive, token and headers included."""
    return type(error)(error.message, code=error.code, param=error.param, retry_after=error.retry_after)


def _remember(kept: "OrderedDict[bytes, T]", key: bytes, value: T, limit: int) -> None:
    kept[key] = value
    if len(kept) > limit:
        kept.popitem(last=False)


@asynccontextmanager
async def _in_time() -> AsyncIterator[None]:
    """Bound the time for which what is done here may wait for its turn. Raises Unavailable."""
    try:
        async with asyncio.timeout(LOAD_PATIENCE):
            yield
    except TimeoutError:
        raise Unavailable("The database is out of reach; nothing was charged.", retry_after=2) from None


def load_policy(*, now: datetime) -> Policy:
    """Return the policy in force at `now`, from the database."""
    catalog = load_catalog(now=now)
    table = RouteTable(catalog, load_shared_credentials())
    process_health().apply(down_credentials())
    return Policy(table, load_limit_rules(), load_budgets(), allowed_origins_of_all(), catalog.next_change_at)


def load_caller(principal: Principal, *, now: datetime) -> Caller:
    """Return the caller that a principal is, from the database."""
    user = principal.end_user_id
    if user is not None:
        kind, owner = AccountKind.END_USER, user
    else:
        kind, owner = AccountKind.DEVELOPER_CREDIT, principal.developer_id
    consents = consents_of(user) if user is not None else {}
    return Caller(
        principal,
        open_account(kind=kind, owner_id=owner, now=now),
        principal.expires_at.timestamp() if principal.expires_at else float("inf"),
        credentials_of(developer_id=principal.developer_id, end_user_id=user),
        consents.get(BYOK),
        feature_limits(principal, principal.manifest.limits),
        # After the credentials: a key that has just taken another's place is not used without the budget it took over.
        load_own_budgets(user) if user is not None else NO_BUDGETS,
        _withheld(principal, user, consents.get(LOCAL, 0)) if user is not None else {},
        local_models(connected_bridges(user, now=now), user) if user is not None else (),
    )


def _withheld(principal: Principal, end_user_id: str, acknowledged_local_fee: int) -> dict[str, str]:
    """Return the routes that an end user may not take for a fee of the app's, a call's or a month's, with why."""
    refused = routes_refused(principal.app_id, end_user_id)
    if principal.terms.local_fee > acknowledged_local_fee:
        return {**refused, LOCAL: NOT_ACKNOWLEDGED}
    return refused


def _load_policy() -> Policy:
    return load_policy(now=now())


def _load_caller(token: str, feature_key: str | None) -> Caller:
    moment = now()
    if feature_key is None:
        return load_caller(authenticate(token, now=moment), now=moment)
    return load_caller(principal_for_feature(token, feature_key, now=moment), now=moment)
