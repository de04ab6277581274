"""/v1/developers/{id}/apps, /v1/apps/{id}: a developer's apps, and what their end users have included."""

from collections.abc import Callable
from typing import Any

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services.allowances import (
    fund_allowance,
    monthly_allowance,
    monthly_allowances,
    set_monthly_allowance,
    withdraw_allowance,
)
from apps.core.clock import now
from apps.core.errors import BadRequest, FaucetError
from apps.core.money import MAX_NANO, usd
from apps.developers.models import Scope
from apps.features.queries import AppInfo, app_by_id, apps_of_developer
from apps.features.services.apps import create_app, update_app
from apps.features.services.terms import standard_terms
from apps.gateway.api.inputs import Body, read_json
from apps.gateway.api.views import (
    ApiView,
    actor_of,
    app_of,
    idempotency_key_of,
    identity_of,
    list_of,
    require_developer,
)
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from apps.vault.services.app_secrets import issue_app_secret

MAX_OUTPUT_TOKENS = 4096
# What the service calls otherwise than the body does.
_NAMES = {
    "public_id": "public_app_id",
    "anonymous_allowance": "anonymous_allowance_usd",
    "monthly_allowance": "monthly_allowance_usd",
}


class DeveloperApps(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """List the developer's apps, oldest first."""
        require_developer(identity_of(request, Scope.APPS_READ), developer_id)
        apps = apps_of_developer(developer_id)
        included = monthly_allowances([app.id for app in apps])
        return Response(list_of([_app(app, included.get(app.id, 0)) for app in apps], len(apps)))

    def post(self, request: Request, developer_id: str) -> Response:
        """Create an app on the standard terms, with a secret that is shown here and never again."""
        identity = identity_of(request, Scope.APPS_WRITE)
        require_developer(identity, developer_id)
        try:
            app, secret = _create(read_json(request), developer_id, actor_of(identity))
        except FaucetError as error:
            error.param = _NAMES.get(error.param or "", error.param)
            raise
        return Response({**_app(app, monthly_allowance(app.id)), "app_secret": secret}, status=201)


class DeveloperApp(ApiView):
    http_method_names = ["get", "patch", "head"]

    def get(self, request: Request, app_id: str) -> Response:
        """Show an app, and what is left to pay its free allowances from."""
        app = app_of(identity_of(request, Scope.APPS_READ), app_id)
        return Response(_app_with_funds(app))

    def patch(self, request: Request, app_id: str) -> Response:
        """Change what is given of an app."""
        identity = identity_of(request, Scope.APPS_WRITE)
        app = app_of(identity, app_id)
        try:
            return Response(_app_with_funds(_change(read_json(request), app.id, actor_of(identity))))
        except FaucetError as error:
            error.param = _NAMES.get(error.param or "", error.param)
            raise


class AllowanceFunds(ApiView):
    def post(self, request: Request, app_id: str) -> Response:
        """Move prepaid credit of the developer to what the app's free allowances are paid from."""
        return _move_funds(request, app_id, fund_allowance)


class AllowanceWithdrawals(ApiView):
    def post(self, request: Request, app_id: str) -> Response:
        """Move what no allowance took back to the developer's prepaid credit."""
        return _move_funds(request, app_id, withdraw_allowance)


def _move_funds(request: Request, app_id: str, move: Callable[..., int]) -> Response:
    identity = identity_of(request, Scope.BILLING_WRITE)
    app = app_of(identity, app_id)
    key = idempotency_key_of(request)
    amount = read_json(request).money("amount_usd", most=MAX_NANO)
    if not amount:
        raise BadRequest("amount_usd is required, and more than 0.", code="invalid_amount", param="amount_usd")
    posted = move(app.id, amount, idempotency_key=key, now=now(), actor=actor_of(identity))
    content = {"object": "allowance_funds", "app_id": app.id, "transaction_id": str(posted)}
    return Response({**content, "amount_usd": usd(amount), "allowance_funds_usd": usd(_funds(app.id))}, status=201)


@transaction.atomic
def _change(body: Body, app_id: str, actor: str) -> AppInfo:
    moment = now()
    update_app(
        app_id=app_id,
        name=body.text("name"),
        allowed_origins=body.texts("allowed_origins"),
        anonymous_allowance=body.money("anonymous_allowance_usd", most=MAX_NANO),
        now=moment,
        actor=actor,
    )
    _set_monthly(body, app_id, actor)
    app = app_by_id(app_id)
    assert app is not None
    return app


def _set_monthly(body: Body, app_id: str, actor: str) -> None:
    monthly = body.money("monthly_allowance_usd", most=MAX_NANO)
    if monthly is not None:
        set_monthly_allowance(app_id, monthly, now=now(), actor=actor)


@transaction.atomic
def _create(body: Body, developer_id: str, actor: str) -> tuple[AppInfo, str]:
    moment = now()
    app_id = create_app(
        developer_id=developer_id,
        name=body.required_text("name"),
        public_id=body.text("public_app_id"),
        terms=standard_terms(),
        allowed_origins=body.texts("allowed_origins") or (),
        anonymous_allowance=body.money("anonymous_allowance_usd", most=MAX_NANO) or 0,
        models=body.texts("models") or (),
        default_model=body.text("default_model") or "",
        max_output_tokens=body.whole("max_output_tokens", least=1, most=10_000_000) or MAX_OUTPUT_TOKENS,
        now=moment,
        actor=actor,
    )
    _set_monthly(body, app_id, actor)
    secret = issue_app_secret(app_id, now=moment, actor=actor)
    app = app_by_id(app_id)
    assert app is not None
    return app, secret


def _app(app: AppInfo, monthly: int) -> dict[str, Any]:
    return {
        "object": "app",
        "id": app.id,
        "public_app_id": app.public_id,
        "developer_id": app.developer_id,
        "name": app.name,
        "active": app.active,
        "allowed_origins": list(app.allowed_origins),
        "anonymous_allowance_usd": usd(app.anonymous_allowance),
        "monthly_allowance_usd": usd(monthly),
    }


def _app_with_funds(app: AppInfo) -> dict[str, Any]:
    return {**_app(app, monthly_allowance(app.id)), "allowance_funds_usd": usd(_funds(app.id))}


def _funds(app_id: str) -> int:
    return balance(open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=app_id, now=now())).available
