"""/v1/user/provider-keys and /v1/developers/{id}/provider-keys: keys of one's own for model providers.

Both are the same resource with another owner. A key goes in and never comes out: only its last four characters do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import BadRequest, FaucetError, NotFound
from apps.core.money import usd
from apps.developers.models import Scope
from apps.features.queries import app_by_public_id
from apps.gateway.api.budgets import amount_of, count_change, state_of
from apps.gateway.api.fees import acknowledge, asked_fee, end_user_of, fee_of
from apps.gateway.api.inputs import Body, Query, read_json
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer
from apps.usage.budgets.queries import BudgetState, key_caps
from apps.usage.services.caps import set_key_cap
from apps.vault import services
from apps.vault.models import OwnerClass
from apps.vault.queries import CredentialInfo, credential_by_id, credentials_owned_by

_BUDGET = "monthly_budget_usd"
MAX_SECRET = 4096
MAX_URL = 500
# What the service calls otherwise than the body does.
_NAMES = {
    "models_allowed": "models",
    "apps_allowed": "apps",
    "features_allowed": "features",
    "credential_id": "key_id",
    "amount": _BUDGET,
}
_STATUSES: dict[str, Callable[..., None]] = {
    "active": services.enable_credential,
    "disabled": services.disable_credential,
}
_WARNINGS = {
    "ok": None,
    "restricted": "The provider knows the key, but does not let it list models.",
    "not_supported": "This provider has no call that would prove the key for free.",
}
_UNPROVEN = "The provider could not be asked whether the key works; it is tried again every day."


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose keys an address is about, and who asks."""

    owner_class: str
    owner_id: str
    actor: str

    def find(self, key_id: str) -> CredentialInfo:
        """Return the owner's key. Raises NotFound (provider_key_not_found) for anybody else's."""
        found = credential_by_id(key_id)
        if found is None or (found.owner_class, found.owner_id) != (self.owner_class, self.owner_id):
            raise NotFound("There is no such provider key.", code="provider_key_not_found", param="key_id")
        return found

    @property
    def budgets(self) -> dict[str, Any]:
        """Return the owner as the services of budgets take it."""
        return {"developer_id" if self.owner_class == OwnerClass.DEVELOPER else "end_user_id": self.owner_id}

    def limit(self, key_id: str, amount: int | None, moment: datetime) -> None:
        """Have a key's hard monthly budget be `amount` nano-USD; None: none."""
        who: dict[str, Any] = {"at_most": settings.MAX_BUDGETS, "now": moment, "actor": self.actor}
        set_key_cap(key_id, amount, **self.budgets, **who)

    def shown(self, *rows: CredentialInfo) -> list[dict[str, Any]]:
        """Return keys as their owner sees them."""
        by_key = key_caps([row.id for row in rows], **self.budgets, now=now())
        return [_key(row, by_key.get(row.id)) for row in rows]


class _Keys(ApiView):
    """What the addresses of both owners have in common."""

    http_method_names = ["get", "post", "patch", "delete", "head"]

    def owner(self, request: Request, developer_id: str | None, *, writes: bool) -> Owner:
        """Return whose keys these are: the session's end user, or the developer that the address names."""
        if developer_id is None:
            principal = end_user_of(request, keeps="provider keys")
            assert principal.end_user_id is not None
            return Owner(OwnerClass.END_USER.value, principal.end_user_id, f"session:{principal.id}")
        identity = identity_of(request, Scope.PROVIDER_KEYS_WRITE if writes else Scope.PROVIDER_KEYS_READ)
        require_developer(identity, developer_id)
        return Owner(OwnerClass.DEVELOPER.value, developer_id, actor_of(identity))

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, FaucetError):
            exc.param = _NAMES.get(exc.param or "", exc.param)
        return super().handle_exception(exc)


class ProviderKeys(_Keys):
    def get(self, request: Request, developer_id: str | None = None) -> Response:
        """List the owner's keys, newest first."""
        owner = self.owner(request, developer_id, writes=False)
        query = Query(request)
        limit = query.limit()
        rows = credentials_owned_by(owner.owner_class, owner.owner_id, before=query.text("cursor"), limit=limit + 1)
        return Response(list_of(owner.shown(*rows), limit))

    def post(self, request: Request, developer_id: str | None = None) -> Response:
        """Try a key with its provider and store it."""
        owner = self.owner(request, developer_id, writes=True)
        body = read_json(request)
        provider, secret = body.required_text("provider"), body.required_text("secret", most=MAX_SECRET)
        asked = _asked(body, owner)
        budget = amount_of(body, _BUDGET)
        services.count_key_check(owner.owner_id)
        moment = now()
        if developer_id is None and body.has("acknowledge_fee_usd"):
            acknowledge(request, "byok", asked_fee(body, "acknowledge_fee_usd"))
        key_id = services.add_checked_credential(
            owner_class=owner.owner_class,
            owner_id=owner.owner_id,
            provider=provider,
            secret=secret,
            base_url=body.text("base_url", most=MAX_URL) or "",
            at_most=settings.MAX_PROVIDER_KEYS,
            also=None if budget is None else lambda key_id: owner.limit(key_id, budget, moment),
            now=moment,
            actor=owner.actor,
            **{"label": provider, **asked},
        )
        (content,) = owner.shown(owner.find(key_id))
        if developer_id is None:
            content["fee"] = fee_of(request, "byok")
        return Response(content, status=201)


class ProviderKeyItem(_Keys):
    def get(self, request: Request, key_id: str, developer_id: str | None = None) -> Response:
        """Show a key's settings and state."""
        owner = self.owner(request, developer_id, writes=False)
        return Response(owner.shown(owner.find(key_id))[0])

    def patch(self, request: Request, key_id: str, developer_id: str | None = None) -> Response:
        """Change a key's settings, or switch it off and on."""
        owner = self.owner(request, developer_id, writes=True)
        owner.find(key_id)
        body = read_json(request)
        for fixed in ("provider", "base_url", "secret"):
            if body.has(fixed):
                raise BadRequest(
                    "A stored key is not sent to another address: add a new one, or rotate it.",
                    code="invalid_request",
                    param=fixed,
                )
        who: dict[str, Any] = {"now": now(), "actor": owner.actor}
        status = body.text("status")
        if status is not None and status not in _STATUSES:
            raise BadRequest("status takes active or disabled.", code="invalid_type", param="status")
        asked, budget = _asked(body, owner), amount_of(body, _BUDGET)
        limits = budget is not None or body.is_null(_BUDGET)
        if limits:
            count_change(owner.owner_id)
        with transaction.atomic():
            if asked:
                services.update_credential(key_id, **asked, **who)
            if limits:
                owner.limit(key_id, budget, who["now"])
            if status is not None:
                _STATUSES[status](key_id, **who)
        return Response(owner.shown(owner.find(key_id))[0])

    def delete(self, request: Request, key_id: str, developer_id: str | None = None) -> Response:
        """Erase a key, with those that it replaced."""
        owner = self.owner(request, developer_id, writes=True)
        services.delete_credential(owner.find(key_id).id, now=now(), actor=owner.actor)
        return Response(status=204)


class ProviderKeyValidation(_Keys):
    def post(self, request: Request, key_id: str, developer_id: str | None = None) -> Response:
        """Try a stored key with its provider."""
        owner = self.owner(request, developer_id, writes=True)
        owner.find(key_id)
        services.count_key_check(owner.owner_id)
        services.validate_credential(key_id, now=now(), actor=owner.actor)
        return Response(owner.shown(owner.find(key_id))[0])


class ProviderKeyRotation(_Keys):
    def post(self, request: Request, key_id: str, developer_id: str | None = None) -> Response:
        """Try a new secret with the provider and put it in the old one's place."""
        owner = self.owner(request, developer_id, writes=True)
        owner.find(key_id)
        secret = read_json(request).required_text("secret", most=MAX_SECRET)
        services.count_key_check(owner.owner_id)
        new_id = services.rotate_checked_credential(key_id, secret=secret, now=now(), actor=owner.actor)
        return Response(owner.shown(owner.find(new_id))[0], status=201)


def _asked(body: Body, owner: Owner) -> dict[str, Any]:
    """Return what a body says of a key beside its secret, under the service's names. Raises BadRequest, NotFound."""
    given: dict[str, Any] = {
        "label": body.text("label"),
        "models_allowed": body.texts("models"),
        "features_allowed": body.texts("features"),
        "weight": body.whole("weight", least=1, most=1000),
        "priority": body.whole("priority", least=-1000, most=1000),
    }
    if owner.owner_class == OwnerClass.DEVELOPER:
        apps = body.texts("apps")
        given["apps_allowed"] = None if apps is None else [_app_id(app) for app in apps]
    return {name: value for name, value in given.items() if value is not None}


def _app_id(app: str) -> str:
    found = app_by_public_id(app) if app.startswith("app_pub_") else None
    return app if found is None else found.id


def _key(row: CredentialInfo, budget: BudgetState | None) -> dict[str, Any]:
    return {
        "object": "provider_key",
        "id": row.id,
        "provider": row.provider,
        "label": row.label,
        "hint": row.hint,
        "base_url": row.base_url or None,
        "status": row.status,
        "models": list(row.models_allowed),
        "apps": list(row.apps_allowed),
        "features": list(row.features_allowed),
        "weight": row.weight,
        "priority": row.priority,
        "monthly_budget_usd": None if budget is None else usd(budget.amount),
        "monthly_budget": None if budget is None else state_of(budget),
        "validation": {
            "result": row.validation,
            "status": row.validation_status,
            "ms": row.validation_ms,
            "at": row.validated_at and row.validated_at.isoformat(),
            "warning": _WARNINGS.get(row.validation, _UNPROVEN),
        },
        "failing_since": row.failing_since and row.failing_since.isoformat(),
        "replaces": row.replaces,
        "last_used_at": row.last_used_at and row.last_used_at.isoformat(),
        "created_at": row.created_at.isoformat(),
    }
