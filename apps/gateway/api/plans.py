"""GET /v1/plans, /v1/developers/{id}/plan and /subscription: what a developer pays for, has, and uses."""

from datetime import datetime
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.months import month_after, month_of, start_of
from apps.billing.queries.plans import InvoiceInfo, PlanInfo, SubscriptionInfo, invoices_of, plans
from apps.billing.services.subscriptions import cancel, resume, settle_subscription, subscribe_to
from apps.billing.services.upgrade_prompts import PlanState, plan_state
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.money import NANO_PER_CENT, usd
from apps.developers.models import Scope
from apps.features.entitlements import virtual_keys_in_use
from apps.gateway.api.inputs import read_json
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer


class Plans(ApiView):
    def get(self, request: Request) -> Response:
        """List the plans on offer. Needs no token."""
        rows = [_plan(row) for row in plans()]
        return Response(list_of(rows, len(rows)))


class DeveloperPlan(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show the plan that binds a developer, what of it is used, and the upgrade triggers that hold."""
        require_developer(identity_of(request, Scope.BILLING_READ), developer_id)
        moment = now()
        state = plan_state(developer_id, now=moment)
        subscription = state.subscription
        return Response(
            {
                "object": "developer_plan",
                "developer_id": developer_id,
                "plan": None if state.plan is None else _plan(state.plan),
                "subscription": None if subscription is None else _subscription(subscription),
                "use": _use(state, developer_id, moment),
                "prompts": [
                    {"code": prompt.code, "values": dict(prompt.values), "suggested_plan": prompt.suggested_plan}
                    for prompt in state.prompts
                ],
            }
        )


class DeveloperSubscription(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show the subscription with its invoices; of one that waits for its payment Stripe is asked."""
        require_developer(identity_of(request, Scope.BILLING_READ), developer_id)
        found = settle_subscription(developer_id, now=now())
        if found is None:
            raise NotFound("There is no subscription.", code="subscription_not_found")
        invoices = [_invoice(row) for row in invoices_of(developer_id)]
        return Response({**_subscription(found), "invoices": invoices})

    def post(self, request: Request, developer_id: str) -> Response:
        """Subscribe to a plan, to be paid at `checkout_url`, or change the plan that is paid for."""
        identity = identity_of(request, Scope.BILLING_WRITE)
        require_developer(identity, developer_id)
        plan = read_json(request).required_text("plan", most=40)
        base = settings.PUBLIC_BASE_URL or request.build_absolute_uri("/")
        found = subscribe_to(developer_id, plan, base_url=base.rstrip("/"), now=now(), actor=actor_of(identity))
        return Response(_subscription(found), status=201 if found.checkout_url else 200)

    def delete(self, request: Request, developer_id: str) -> Response:
        """Let the subscription end with its period; one that is not paid yet ends at once."""
        identity = identity_of(request, Scope.BILLING_WRITE)
        require_developer(identity, developer_id)
        return Response(_subscription(cancel(developer_id, now=now(), actor=actor_of(identity))))


class DeveloperSubscriptionResume(ApiView):
    def post(self, request: Request, developer_id: str) -> Response:
        """Let a subscription that was cancelled go on after its period after all."""
        identity = identity_of(request, Scope.BILLING_WRITE)
        require_developer(identity, developer_id)
        return Response(_subscription(resume(developer_id, now=now(), actor=actor_of(identity))))


def _plan(row: PlanInfo) -> dict[str, Any]:
    return {
        "object": "plan",
        "key": row.key,
        "name": row.name,
        "description": row.description,
        "price_usd": usd(row.price_cents * NANO_PER_CENT),
        "interval": "month",
        "tokens_per_month": row.tokens_per_month,
        "max_virtual_keys": row.max_virtual_keys,
        "retention_days": row.retention_days,
        "sla": row.sla or None,
        "features": list(row.features),
    }


def _use(state: PlanState, developer_id: str, moment: datetime) -> dict[str, Any]:
    month = month_of(moment)
    return {
        "month": f"{month:%Y-%m}",
        "tokens": state.tokens,
        "resets_at": start_of(month_after(month)).isoformat(),
        "virtual_keys": virtual_keys_in_use(developer_id, now=moment),
    }


def _subscription(row: SubscriptionInfo) -> dict[str, Any]:
    content: dict[str, Any] = {
        "object": "subscription",
        "id": row.id,
        "developer_id": row.developer_id,
        "plan": row.plan,
        "status": row.status,
        "manual": row.manual,
        "period": {
            "from": row.period_start and row.period_start.isoformat(),
            "to": row.period_end and row.period_end.isoformat(),
        },
        "cancel_at_period_end": row.cancel_at_period_end,
        "past_due_since": row.past_due_since and row.past_due_since.isoformat(),
        "grace_ends_at": row.grace_ends_at and row.grace_ends_at.isoformat(),
        "created_at": row.created_at.isoformat(),
    }
    if row.checkout_url is not None:
        content["checkout_url"] = row.checkout_url
    return content


def _invoice(row: InvoiceInfo) -> dict[str, Any]:
    return {
        "object": "invoice",
        "id": row.id,
        "paid": row.paid,
        "amount_usd": usd(row.amount),
        "tax_usd": usd(row.tax),
        "created_at": row.created_at.isoformat(),
        "paid_at": row.paid_at and row.paid_at.isoformat(),
    }
