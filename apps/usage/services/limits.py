"""Limit rules: added, changed, deleted. Each change moves the policy epoch by a trigger of the table."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction

from apps.core.addresses import network_of
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id
from apps.developers import queries as developers
from apps.developers.services import audit
from apps.features import queries as features
from apps.usage.models import LimitRule, LimitScope

# What the columns hold.
_LONGEST_ID = 128
_MOST = {"rpm": 2**31 - 1, "tpm": 2**53, "concurrency": 2**31 - 1}
# Ids of which only the shape is checked: sessions come and go, credentials are rotated under new ids.
_OPAQUE = {"session": "sess_", "credential": "cred_"}


@transaction.atomic
def create_limit_rule(
    *,
    scope: str,
    scope_id: str = "",
    rpm: int | None = None,
    tpm: int | None = None,
    concurrency: int | None = None,
    enabled: bool = True,
    now: datetime,
    actor: str,
) -> str:
    """Add a rule and return its id.

    `scope_id` names whom it limits and is empty for each one of the scope that no other rule names. Raises BadRequest
    (invalid_limit), NotFound (limited_not_found) and Conflict (already_exists: a scope and id have one rule).
    """
    if scope not in LimitScope.values:
        raise BadRequest(f"scope is one of {', '.join(LimitScope.values)}.", code="invalid_limit", param="scope")
    scope_id, developer_id = _find(scope, scope_id.strip())
    row = LimitRule(
        id=new_id("lim"),
        scope=scope,
        scope_id=scope_id,
        **_clean({"rpm": rpm, "tpm": tpm, "concurrency": concurrency}),
        enabled=enabled,
        created_at=now,
        created_by=actor,
        changed_at=now,
        changed_by=actor,
    )
    _check(row)
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(f"There is a limit rule for {row}.", code="already_exists", param="scope_id") from error
    _audit("limit_rule.create", row, developer_id, now, actor, detail=_limits(row))
    return row.id


@transaction.atomic
def update_limit_rule(rule_id: str, *, now: datetime, actor: str, **changes: Any) -> None:
    """Change rpm, tpm, concurrency (None: no limit) or enabled. Raises NotFound and BadRequest (invalid_limit)."""
    if unknown := set(changes) - {*_MOST, "enabled"}:
        raise BadRequest(f"Cannot be changed: {', '.join(sorted(unknown))}.", code="invalid_limit", param=min(unknown))
    row = _locked(rule_id)
    before = _limits(row)
    limits = _clean({name: value for name, value in changes.items() if name in _MOST})
    for name, value in (changes | limits).items():
        setattr(row, name, value)
    row.changed_at, row.changed_by = now, actor
    _check(row)
    row.save(update_fields=[*changes, "changed_at", "changed_by"])
    _audit("limit_rule.update", row, _owner(row), now, actor, detail={"before": before, "after": _limits(row)})


@transaction.atomic
def delete_limit_rule(rule_id: str, *, now: datetime, actor: str) -> None:
    """Delete a rule: whom it named comes under the scope's default again. Raises NotFound."""
    row = _locked(rule_id)
    _audit("limit_rule.delete", row, _owner(row), now, actor, detail=_limits(row))
    row.delete()


def _locked(rule_id: str) -> LimitRule:
    row = LimitRule.objects.select_for_update().filter(id=rule_id).first()
    if row is None:
        raise NotFound(f"There is no limit rule {rule_id}.")
    return row


def _clean(limits: Mapping[str, Any]) -> dict[str, int | None]:
    for name, value in limits.items():
        if value is not None and (type(value) is not int or not 0 < value <= _MOST[name]):
            raise BadRequest(f"{name} takes 1 to {_MOST[name]}.", code="invalid_limit", param=name)
    return dict(limits)


def _check(row: LimitRule) -> None:
    if row.rpm is None and row.tpm is None and row.concurrency is None:
        raise BadRequest("A rule limits rpm, tpm or concurrency.", code="invalid_limit", param="rpm")


def _find(scope: str, scope_id: str) -> tuple[str, str | None]:
    """Return the id as calls will have it and the developer concerned: a rule that names nobody would limit nobody."""
    if not scope_id:
        return "", None
    if len(scope_id) > _LONGEST_ID or not scope_id.isprintable():
        raise BadRequest("scope_id is no id.", code="invalid_limit", param="scope_id")
    if scope == LimitScope.PLATFORM:
        raise BadRequest("There is one platform: leave scope_id empty.", code="invalid_limit", param="scope_id")
    if scope == LimitScope.IP:
        try:
            return network_of(scope_id, strict=True), None
        except ValueError as error:
            raise BadRequest("scope_id is an IP address.", code="invalid_limit", param="scope_id") from error
    if scope in _OPAQUE:
        if not scope_id.startswith(_OPAQUE[scope]):
            raise BadRequest(f"scope_id begins with {_OPAQUE[scope]}.", code="invalid_limit", param="scope_id")
        return scope_id, None
    found = _look_up(scope, scope_id)
    if found is None:
        raise NotFound(f"There is no such {scope.replace('_', ' ')}.", code="limited_not_found", param="scope_id")
    return found


def _look_up(scope: str, scope_id: str) -> tuple[str, str | None] | None:
    if scope == LimitScope.DEVELOPER:
        return (scope_id, scope_id) if developers.developer(scope_id) is not None else None
    if scope == LimitScope.KEY:
        key = features.virtual_key_by_id(scope_id)
        app = features.app_by_id(key.app_id) if key is not None else None
        return (scope_id, app.developer_id) if app is not None else None
    if scope == LimitScope.END_USER:
        user = features.end_user_by_id(scope_id)
        app = features.app_by_id(user.app_id) if user is not None else None
        return (scope_id, app.developer_id) if app is not None else None
    app_id, slash, key_of_feature = scope_id.partition("/")
    app = features.app_by_public_id(app_id) if app_id.startswith("app_pub_") else features.app_by_id(app_id)
    if app is None or bool(slash) != (scope == LimitScope.FEATURE):
        return None
    if not slash:
        return app.id, app.developer_id
    known = any(feature.key == key_of_feature for feature in features.features_of_app(app.id))
    return (f"{app.id}/{key_of_feature}", app.developer_id) if known else None


def _owner(row: LimitRule) -> str | None:
    if row.scope in _OPAQUE or row.scope in (LimitScope.PLATFORM, LimitScope.IP) or not row.scope_id:
        return None
    found = _look_up(row.scope, row.scope_id)
    return found[1] if found is not None else None


def _limits(row: LimitRule) -> dict[str, Any]:
    named = {"scope": row.scope, "scope_id": row.scope_id}
    return named | {"rpm": row.rpm, "tpm": row.tpm, "concurrency": row.concurrency, "enabled": row.enabled}


def _audit(
    action: str, row: LimitRule, developer_id: str | None, now: datetime, actor: str, *, detail: Mapping[str, Any]
) -> None:
    audit.record(action, "limit_rule", row.id, actor=actor, now=now, developer_id=developer_id, detail=detail)
