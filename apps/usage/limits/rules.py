"""Which limits a call comes under: pure, from an immutable picture of the rules."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from apps.features.principals import Principal

# The scope of what a feature's manifest limits: one end user of one feature. No rule of the table has it.
FEATURE_USER = "feature_user"


class Dimension(NamedTuple):
    """Whose calls are counted together, and their limits: requests and tokens in 60 seconds, calls at once.

    None is no limit of that kind.
    """

    scope: str
    id: str
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


class Limited(Protocol):
    """What a manifest says of limits."""

    @property
    def rpm(self) -> int | None: ...
    @property
    def tpm(self) -> int | None: ...
    @property
    def concurrency(self) -> int | None: ...


class LimitRules:
    """The enabled rules, as dimensions whose `id` is whom they name; an empty one is their scope's default."""

    __slots__ = ("_scopes",)

    def __init__(self, rules: Iterable[Dimension] = ()) -> None:
        named: dict[str, dict[str, Dimension]] = {}
        for rule in rules:
            named.setdefault(rule.scope, {})[rule.id] = rule
        self._scopes = tuple((scope, of, of.get("")) for scope, of in sorted(named.items()))

    def __bool__(self) -> bool:
        return bool(self._scopes)

    def covers(self, scope: str) -> bool:
        """Tell whether any rule has this scope, so that who is in it need not be found out for nothing."""
        return any(scope == name for name, _, _ in self._scopes)

    def for_call(self, scopes: Mapping[str, str], extra: tuple[Dimension, ...] = ()) -> tuple[Dimension, ...]:
        """Return the dimensions of a call from its id in each scope, and after them `extra`.

        A rule that names the id beats its scope's default as a whole. A scope that is not given limits nothing.
        """
        if not self._scopes:
            return extra
        found = []
        for scope, named, default in self._scopes:
            scope_id = scopes.get(scope)
            if scope_id is None:
                continue
            rule = named.get(scope_id)
            if rule is not None:
                found.append(rule)
            elif default is not None:
                found.append(Dimension(scope, scope_id, *default[2:]))
        found += extra
        return tuple(found)


NO_RULES = LimitRules()


def scopes_of(principal: Principal, *, network: str | None = None) -> dict[str, str]:
    """Return the id of a caller in each scope; `network` is its address, from `apps.core.addresses.network_of`.

    The provider credential is not known yet: it is asked about by itself, target by target.
    """
    scopes = {
        "platform": "",
        "developer": principal.developer_id,
        "app": principal.app_id,
        "feature": f"{principal.app_id}/{principal.feature_key}",
    }
    if principal.end_user_id is not None:
        scopes["end_user"] = principal.end_user_id
    scopes["session" if principal.kind == "session" else "key"] = principal.id
    if network:
        scopes["ip"] = network
    return scopes


def feature_limits(principal: Principal, limits: Limited) -> tuple[Dimension, ...]:
    """Return the dimension that a feature's manifest adds for each of its end users; empty if it limits nothing.

    A virtual key stands for a user where there is none.
    """
    if limits.rpm is None and limits.tpm is None and limits.concurrency is None:
        return ()
    user = principal.end_user_id or principal.id
    scope_id = f"{principal.app_id}/{principal.feature_key}/{user}"
    return (Dimension(FEATURE_USER, scope_id, limits.rpm, limits.tpm, limits.concurrency),)
