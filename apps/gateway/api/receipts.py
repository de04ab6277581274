"""GET /v1/receipts/{request_id}: what became of one call, told to each who has a part in it."""

from enum import StrEnum
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.queries import PriceTier
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.money import usd
from apps.developers.models import Scope
from apps.developers.services.tokens import TOKEN_PREFIX
from apps.features.entitlements import kept_since
from apps.gateway.api.views import ApiView, bearer_of, identity_of, principal_of
from apps.usage.rate import BYOK, DEVELOPER_KEY
from apps.usage.receipts import Receipt, basis_of, payer_rate, receipt_of

MAY_SEE_ALL = "usage.view_usageevent"
UNIT = "usd per 1,000,000 tokens"
_ATTEMPT = ("provider", "model", "code", "status", "ms")


class Audience(StrEnum):
    """Who asks: the payer (end user, or virtual key), the app's developer, or a member of the operator's staff."""

    END_USER = "end_user"
    VIRTUAL_KEY = "virtual_key"
    DEVELOPER = "developer"
    OPERATOR = "operator"


class Receipts(ApiView):
    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self._visitor = getattr(request, "user", None)  # before DRF says that nobody asks

    def get(self, request: Request, request_id: str) -> Response:
        """Show one call; whoever has no part in it is told that there is none."""
        if request.headers.get("authorization") is None and _is_operator(self._visitor):
            receipt, audience = receipt_of(request_id), Audience.OPERATOR
        elif bearer_of(request, "a session token, virtual key or developer token").startswith(f"{TOKEN_PREFIX}_"):
            developer_id = identity_of(request, Scope.USAGE_READ).developer_id
            receipt, audience = receipt_of(request_id), Audience.DEVELOPER
            receipt = receipt if receipt is not None and receipt.call.developer_id == developer_id else None
        else:
            principal = principal_of(request)
            receipt = receipt_of(request_id)
            if principal.end_user_id is not None:
                audience = Audience.END_USER
                own = receipt is not None and receipt.call.end_user_id == principal.end_user_id
            else:
                audience = Audience.VIRTUAL_KEY
                own = receipt is not None and receipt.principal_id == principal.id
            receipt = receipt if own else None
        if receipt is None:
            raise NotFound("There is no such receipt.", code="receipt_not_found", param="request_id")
        if audience in (Audience.DEVELOPER, Audience.VIRTUAL_KEY):
            kept = kept_since(receipt.call.developer_id, now=now())
            if kept is not None and receipt.call.effective_at < kept:
                raise NotFound(
                    "Your plan no longer keeps this call.",
                    code="receipt_not_kept",
                    param="request_id",
                    details={"kept_since": kept.isoformat()},
                )
        return Response(receipt_for(receipt, audience))


def _is_operator(user: User | AnonymousUser | None) -> bool:
    return user is not None and user.is_active and user.is_staff and user.has_perm(MAY_SEE_ALL)


def receipt_for(receipt: Receipt, audience: Audience) -> dict[str, Any]:
    """Return a receipt with what `audience` may see of it: docs/reference/receipts.md says what that is and why."""
    call = receipt.call
    content: dict[str, Any] = {
        "object": "receipt",
        "request_id": call.request_id,
        "audience": audience.value,
        "endpoint": call.endpoint,
        "stream": call.stream,
        "feature_key": call.feature_key,
        "requested_model": call.requested_model,
        "served_model": call.served_model,
        "provider": call.provider,
        "route_mode": call.route_mode,
        "policy": call.policy,
        "task_class": call.task_class,
        "routing": _routing(receipt),
        "attempts": [{name: attempt.get(name) for name in _ATTEMPT} for attempt in receipt.attempts],
        "outcome": call.outcome,
        "charged": call.charged,
        "finish_reason": call.finish_reason,
        "status": call.status,
        "error_code": call.error_code,
        "tokens": {
            "input": call.tokens.input,
            "cache_read": call.tokens.cache_read,
            "cache_write": call.tokens.cache_write,
            "output": call.tokens.output,
            "reasoning": call.tokens.reasoning,
            "total": call.tokens.prompt + call.tokens.output,
        },
        "estimated": call.estimated,
        "degraded": call.degraded,
        "shortened": call.output_cap is not None,
        "output_cap": call.output_cap,
        "cache": call.cache,
        "redactions": call.redactions,
        "currency": "usd",
        "price_usd": usd(call.price),
        "pricing": _pricing(receipt, audience),
        "split": _split(receipt, audience),
        "rated": call.rated_at is not None,
        "rated_at": call.rated_at.isoformat() if call.rated_at else None,
        "started_at": receipt.started_at.isoformat(),
        "first_byte_ms": call.first_byte_ms,
        "duration_ms": call.duration_ms,
        "at": call.effective_at.isoformat(),
    }
    if audience in (Audience.DEVELOPER, Audience.OPERATOR):
        content |= {
            "app_id": call.app_id,
            "developer_id": call.developer_id,
            "end_user_id": call.end_user_id,
            "principal_id": receipt.principal_id,
            "manifest_id": receipt.manifest_id,
        }
    if audience is Audience.OPERATOR:
        content |= {
            "credential_id": receipt.credential_id,
            "attempts": list(receipt.attempts),
            "account_id": receipt.account_id,
            "prompt_hash": receipt.prompt_hash,
            "rating_error": receipt.rating_error,
        }
    return content


def _routing(receipt: Receipt) -> dict[str, Any] | None:
    """Return what was decided: the targets in their order, and why each other candidate was rejected."""
    decided = receipt.routing
    if not decided:
        return None
    return {"rule": decided.get("rule"), "targets": decided["targets"], "rejected": decided["rejected"]}


def _pricing(receipt: Receipt, audience: Audience) -> dict[str, Any]:
    """Return how the price came about.

    `rates` are the payer's own, the markup in them, at the tier of this prompt; where the price does not depend on
    tokens, `per_request_usd` is all there is. An answer from the cache costs that part of it.
    """
    basis, per_request, markup = basis_of(receipt)
    version, tokens = receipt.price, receipt.call.tokens
    tier = version.tier(tokens.prompt) if version is not None else None
    content: dict[str, Any] = {
        "basis": basis,
        "per_request_usd": None if per_request is None else usd(per_request),
        "cache_price_bps": receipt.cache_price_bps,
        "price_version_id": receipt.price_version_id,
        "unit": UNIT,
        "rates": _rates(tier, markup) if basis == "tokens" and tier is not None else None,
    }
    if audience in (Audience.DEVELOPER, Audience.OPERATOR):
        content["list_price"] = _rates(tier, 0) if tier is not None else None
        content["markup_bps"] = markup if basis == "tokens" else None
        content["share_bps"] = receipt.terms.share_bps if receipt.terms is not None else None
    if audience is Audience.OPERATOR:
        content["list_tiers"] = [_rates(each, 0) for each in version.tiers] if version is not None else []
        content["discount_bps"] = version.discount_bps if version is not None else None
        content["terms_id"] = receipt.terms.id if receipt.terms is not None else None
        content["infra_usd"] = usd(receipt.infra)
        content["payment_bps"] = receipt.payment_bps
    return content


def _rates(tier: PriceTier, markup_bps: int) -> dict[str, Any]:
    def rate(nano: int) -> str:
        return usd(payer_rate(nano, markup_bps))

    return {
        "from_tokens": tier.from_tokens,
        "input": rate(tier.input),
        "cache_read": rate(tier.cache_read),
        "cache_write": rate(tier.cache_write),
        "output": rate(tier.output),
    }


def _split(receipt: Receipt, audience: Audience) -> dict[str, Any]:
    """Return who got what, as it was posted; until rating has posted it only that it is pending."""
    call, charge = receipt.call, receipt.call.charge
    if call.rated_at is None or charge is None:
        return {"state": "set_aside" if receipt.rating_error else "pending"}
    content: dict[str, Any] = {"state": "posted", "price_usd": usd(charge.price)}
    payer = audience in (Audience.END_USER, Audience.VIRTUAL_KEY)
    if payer and call.route_mode == BYOK:
        content["provider_bill_usd"] = usd(charge.provider_bill)
    if payer:
        return content
    content |= {
        "cost_usd": usd(charge.cost),
        "infra_usd": usd(charge.infra),
        "payment_usd": usd(charge.payment),
        "margin_usd": usd(charge.margin),
        "developer_usd": usd(charge.developer),
    }
    if audience is Audience.OPERATOR:
        content |= {"platform_usd": usd(charge.platform), "loss_usd": usd(charge.loss)}
    if audience is Audience.OPERATOR or call.route_mode == DEVELOPER_KEY:
        content["provider_bill_usd"] = usd(charge.provider_bill)
    content["transaction_id"] = None if receipt.transaction_id is None else str(receipt.transaction_id)
    return content
