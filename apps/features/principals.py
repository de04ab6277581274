"""Whom a bearer token stands for: one query, whatever the kind of token and whether it names a feature."""

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from apps.core.errors import Forbidden, NotFound, Unauthorized
from apps.core.hashing import keyed_hash
from apps.features.manifest import NO_MANIFEST, Manifest, decode
from apps.features.models import Status

SESSION_PREFIX = "mf_sess_"
KEY_PREFIX = "mf_key_"
BRIDGE_PREFIX = "mf_brg_"
DEFAULT_FEATURE = "default"
MAX_MANIFESTS = 1_000

# Runs on every miss of the gateway's snapshot, hence one statement instead of a row object per table.
_QUERY = """
WITH token AS ({token})
SELECT token.kind, token.id, token.assurance, token.end_user_id, token.expires_at, token.revoked_at, token.feature_id,
       app.id, app.public_id, app.developer_id, app.allowed_origins,
       developer.status, app.status, feature.status, end_user.status,
       feature.id, feature.key, feature.models_allowed, feature.default_model, feature.max_output_tokens,
       feature.affordable_clamp,
       manifest.id, manifest.manifest::text,
       plan.plan, plan.upgrade, plan.tokens_per_month, plan.spent_tokens, plan.spent_until,
       terms.id, terms.platform_pricing, terms.markup_bps, terms.fixed_price, terms.developer_pricing,
       terms.own_price, terms.gateway_fee, terms.byok_fee, terms.local_fee, terms.share_bps
FROM token
JOIN apps app ON app.id = token.app_id
JOIN developers developer ON developer.id = app.developer_id
{feature}
JOIN pricing_terms terms ON terms.id = COALESCE(feature.terms_id, app.terms_id)
LEFT JOIN feature_manifests manifest ON manifest.id = feature.manifest_id
LEFT JOIN end_users end_user ON end_user.id = token.end_user_id
LEFT JOIN developer_entitlements plan ON plan.developer_id = app.developer_id AND plan.spent_until > %(now)s
"""
_OF_SESSION = """
    SELECT 'session' AS kind, id, assurance, app_id, feature_id, end_user_id, expires_at, revoked_at
    FROM virtual_sessions WHERE id = %(session_id)s
"""
_BEARER = """
    SELECT 'session' AS kind, id, assurance, app_id, feature_id, end_user_id, expires_at, revoked_at
    FROM virtual_sessions WHERE token_hash = %(token_hash)s
    UNION ALL
    SELECT 'virtual_key', id, 'virtual_key', app_id, feature_id, NULL, expires_at, revoked_at
    FROM virtual_keys WHERE token_hash = %(token_hash)s
"""
_OF_BRIDGE = """
    SELECT 'bridge' AS kind, id, 'bridge' AS assurance, app_id, NULL::text AS feature_id, end_user_id,
           NULL::timestamptz AS expires_at, revoked_at
    FROM bridges WHERE token_hash = %(token_hash)s
"""
_FEATURE = """JOIN app_features feature ON feature.app_id = token.app_id AND
    CASE WHEN token.feature_id IS NULL THEN feature.key = %(feature_key)s ELSE feature.id = token.feature_id END"""
_PRINCIPAL = _QUERY.format(token=_BEARER, feature=_FEATURE)
_PRINCIPAL_OF_SESSION = _QUERY.format(token=_OF_SESSION, feature=_FEATURE)
_NAMED_FEATURE = "LEFT JOIN app_features feature ON feature.app_id = token.app_id AND feature.key = %(feature_key)s"
_PRINCIPAL_FOR_FEATURE = _QUERY.format(token=_BEARER, feature=_NAMED_FEATURE)
_PRINCIPAL_OF_BRIDGE = _QUERY.format(token=_OF_BRIDGE, feature=_NAMED_FEATURE)


class _Row(NamedTuple):
    """What both queries select; `terms` are the columns of Terms, `bound_to` the feature the token is for."""

    kind: str
    token_id: str
    assurance: str
    end_user_id: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    bound_to: str | None
    app_id: str
    public_app_id: str
    developer_id: str
    allowed_origins: list[str]
    developer_status: str
    app_status: str
    feature_status: str | None
    end_user_status: str | None
    feature_id: str | None
    feature_key: str
    models: list[str]
    default_model: str
    max_output_tokens: int
    affordable_clamp: bool
    manifest_id: str | None
    manifest: str
    plan: str | None
    plan_upgrade: str
    plan_limit: int
    plan_used: int
    plan_spent_until: datetime | None
    terms: tuple[Any, ...]


_TERMS_AT = len(_Row._fields) - 1


@dataclass(frozen=True, slots=True)
class Terms:
    """One immutable row of pricing terms; prices and fees in nano-USD per request, `*_bps` in basis points."""

    id: int
    platform_pricing: str
    markup_bps: int
    fixed_price: int
    developer_pricing: str
    own_price: int
    gateway_fee: int
    byok_fee: int
    local_fee: int
    share_bps: int


@dataclass(frozen=True, slots=True)
class SpentPlan:
    """A developer whose plan is used up: its calls are refused until `resets_at`.

    `limit` and `used` are tokens of the month, `used` as it was last measured; `upgrade` is a plan that has more, empty
    where there is none.
    """

    plan: str
    limit: int
    used: int
    resets_at: datetime
    upgrade: str


@dataclass(frozen=True, slots=True)
class Principal:
    """What a token may do: its app, feature and end user, and the terms on which it pays.

    `kind` is session, virtual_key or bridge; a virtual key has no end user and spends the developer's prepaid credit.
    Empty `models` allow every model. After `expires_at` the principal must not be used from a cache.
    """

    kind: str
    id: str
    assurance: str
    app_id: str
    public_app_id: str
    developer_id: str
    feature_key: str
    end_user_id: str | None
    expires_at: datetime | None
    terms: Terms
    models: frozenset[str]
    default_model: str
    max_output_tokens: int
    affordable_clamp: bool
    allowed_origins: tuple[str, ...]
    manifest: Manifest = NO_MANIFEST
    manifest_id: str | None = None
    spent_plan: SpentPlan | None = None


def authenticate(token: str, *, now: datetime) -> Principal:
    """Return the principal of a session token or virtual key, in one query.

    Raises Unauthorized (invalid_token, token_revoked, token_expired) and Forbidden (developer_disabled,
    app_disabled, feature_disabled, end_user_disabled), in this order.
    """
    return _principal(_checked_row(_PRINCIPAL, token, DEFAULT_FEATURE, now=now))


def principal_for_feature(token: str, feature_key: str, *, now: datetime) -> Principal:
    """Return the principal of a token that calls a feature of its app by name, in one query.

    A token for one feature calls that one only; a token without one calls any. Raises what `authenticate` raises,
    and after the app Forbidden (feature_not_allowed) and NotFound (feature_not_found).
    """
    return _principal(_checked_row(_PRINCIPAL_FOR_FEATURE, token, _known_key(feature_key), now=now))


def principal_of_bridge(token: str, feature_key: str = DEFAULT_FEATURE, *, now: datetime) -> Principal:
    """Return for whom a bridge reports what it served of a feature, in one query.

    Its token calls no model: `authenticate` does not know it. Raises what `principal_for_feature` raises.
    """
    if not token.startswith(BRIDGE_PREFIX) or not token.isascii():
        raise Unauthorized("This token is not known here.", code="invalid_token")
    token_hash = keyed_hash("token", token)
    return _principal(_checked(_PRINCIPAL_OF_BRIDGE, {"token_hash": token_hash}, _known_key(feature_key), now=now))


def principal_of_session(session_id: str, *, now: datetime) -> Principal:
    """Return the principal of a session that its holder proved before, in one query.

    For pages that a session opened. Raises what `authenticate` raises.
    """
    return _principal(_checked(_PRINCIPAL_OF_SESSION, {"session_id": session_id}, DEFAULT_FEATURE, now=now))


def _known_key(feature_key: str) -> str:
    return feature_key if feature_key.isascii() and feature_key.isprintable() else ""  # none has such a key


def _checked_row(query: str, token: str, feature_key: str, *, now: datetime) -> _Row:
    if not token.startswith((SESSION_PREFIX, KEY_PREFIX)) or not token.isascii():
        raise Unauthorized("This token is not known here.", code="invalid_token")
    return _checked(query, {"token_hash": keyed_hash("token", token)}, feature_key, now=now)


def _checked(query: str, which: dict[str, str], feature_key: str, *, now: datetime) -> _Row:
    with connection.cursor() as cursor:
        cursor.execute(query, {**which, "feature_key": feature_key, "now": now})
        found = cursor.fetchone()
    if found is None:
        raise Unauthorized("This token is not known here.", code="invalid_token")
    row = _Row._make((*found[:_TERMS_AT], found[_TERMS_AT:]))
    if row.revoked_at is not None:
        raise Unauthorized("This token was revoked.", code="token_revoked")
    if row.expires_at is not None and row.expires_at <= now:
        raise Unauthorized("This token has expired.", code="token_expired")
    refuse_disabled(developer=row.developer_status, app=row.app_status, feature=None, end_user=None)
    if row.bound_to is not None and row.bound_to != row.feature_id:
        raise Forbidden("This token is for another feature.", code="feature_not_allowed", param="feature")
    if row.feature_id is None:
        raise NotFound("This app has no such feature.", code="feature_not_found", param="feature")
    refuse_disabled(
        developer=row.developer_status, app=row.app_status, feature=row.feature_status, end_user=row.end_user_status
    )
    return row


def _principal(row: _Row) -> Principal:
    return Principal(
        kind=row.kind,
        id=row.token_id,
        assurance=row.assurance,
        app_id=row.app_id,
        public_app_id=row.public_app_id,
        developer_id=row.developer_id,
        feature_key=row.feature_key,
        end_user_id=row.end_user_id,
        expires_at=row.expires_at,
        terms=Terms(*row.terms),
        models=frozenset(row.models),
        default_model=row.default_model,
        max_output_tokens=row.max_output_tokens,
        affordable_clamp=row.affordable_clamp,
        allowed_origins=tuple(row.allowed_origins),
        manifest=NO_MANIFEST if row.manifest_id is None else _manifest(row.manifest_id, row.manifest),
        manifest_id=row.manifest_id,
        spent_plan=None if row.plan_spent_until is None else _spent_plan(row, row.plan_spent_until),
    )


def _spent_plan(row: _Row, until: datetime) -> SpentPlan:
    return SpentPlan(row.plan or "", row.plan_limit, row.plan_used, until, row.plan_upgrade)


_manifests: OrderedDict[str, Manifest] = OrderedDict()


def _manifest(manifest_id: str, stored: str) -> Manifest:
    """Return a version of a manifest, read once per process: versions never change."""
    known = _manifests.get(manifest_id)
    if known is None:
        known = _manifests[manifest_id] = decode(stored)
        while len(_manifests) > MAX_MANIFESTS:
            _manifests.popitem(last=False)
    return known


def refuse_disabled(*, developer: str, app: str, feature: str | None, end_user: str | None) -> None:
    """Raise Forbidden with the code of the first status that is not active; None stands for nothing to check."""
    for status, what, code in (
        (developer, "developer", "developer_disabled"),
        (app, "app", "app_disabled"),
        (feature, "feature", "feature_disabled"),
        (end_user, "end user", "end_user_disabled"),
    ):
        if status is not None and status != Status.ACTIVE:
            raise Forbidden(f"This {what} is disabled.", code=code)
