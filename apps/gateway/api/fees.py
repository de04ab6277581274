"""GET /v1/user/fees, POST /v1/user/fee-consents, /v1/user/fee-subscriptions: what is charged beside the calls.

All of it is told and acknowledged beforehand: fees per request on routes of one's own, and the app's recurring and
one-off fees of the catalogue.
"""

from typing import Any

from django.utils.translation import get_language_from_request
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services.fees import FeeTold, cancel_fee, fees_for, subscribe
from apps.catalog.queries import ProviderInfo, provider, provider_ids
from apps.core.clock import now
from apps.core.errors import BadRequest, Forbidden
from apps.core.money import MAX_NANO, usd
from apps.features.queries import Principal
from apps.gateway.api.inputs import Body, read_json
from apps.gateway.api.views import ApiView, principal_of
from apps.vault.disclosures import GATEWAY_FEE, Disclosure, disclosure, training_notice
from apps.vault.models import FeeMode
from apps.vault.queries import consents_of
from apps.vault.services import acknowledge_fee


class Fees(ApiView):
    def get(self, request: Request) -> Response:
        """Tell what the feature charges for routes of one's own, and what becomes of data at each provider."""
        principal = end_user_of(request)
        assert principal.end_user_id is not None
        language = get_language_from_request(request)
        providers = [found for id in provider_ids() if (found := provider(id)) is not None]
        return Response(
            {
                "object": "fees",
                "feature_key": principal.feature_key,
                "language": language,
                "fees": [_fee(request, principal, mode) for mode in FeeMode.values],
                "catalogue": [
                    catalogue_fee(told) for told in fees_for(principal.app_id, principal.end_user_id, language=language)
                ],
                "providers": [_provider(found, language) for found in providers if found.active and found.byok_allowed],
            }
        )


class FeeConsents(ApiView):
    def post(self, request: Request) -> Response:
        """Acknowledge the fee of a mode, which must be the present one."""
        end_user_of(request)
        body = read_json(request)
        mode = body.required_text("mode")
        if mode not in FeeMode.values:
            raise BadRequest(f"mode takes {' or '.join(FeeMode.values)}.", code="invalid_type", param="mode")
        told = acknowledge(request, mode, asked_fee(body, "fee_usd"))
        content = {"object": "fee_consent", "mode": told.mode, "fee_usd": usd(told.fee), "text": told.text}
        return Response(content, status=201)


class FeeSubscriptions(ApiView):
    def post(self, request: Request) -> Response:
        """Agree to a fee of the catalogue at the amount that was shown; its first period is charged now."""
        principal = end_user_of(request, keeps="subscriptions")
        assert principal.end_user_id is not None
        body = read_json(request)
        told = subscribe(
            principal.end_user_id,
            principal.app_id,
            body.required_text("fee_key", most=40),
            amount=asked_fee(body, "amount_usd"),
            language=get_language_from_request(request),
            now=now(),
            actor=f"session:{principal.id}",
        )
        return Response(catalogue_fee(told), status=201)


class FeeSubscriptionItem(ApiView):
    def delete(self, request: Request, subscription_id: str) -> Response:
        """End a fee with what is paid; nothing more is charged."""
        principal = end_user_of(request, keeps="subscriptions")
        assert principal.end_user_id is not None
        who: dict[str, Any] = {"now": now(), "actor": f"session:{principal.id}"}
        return Response(catalogue_fee(cancel_fee(subscription_id, end_user_id=principal.end_user_id, **who)))


def catalogue_fee(told: FeeTold) -> dict[str, Any]:
    """Return a fee of the catalogue as its end user sees it: with the words that are, or were, acknowledged."""
    return {
        "object": "fee_subscription",
        "fee_key": told.key,
        "name": told.name,
        "type": told.type,
        "route": told.route,
        "required": told.required,
        "amount_usd": usd(told.amount),
        "per": told.interval,
        "text": told.text,
        "id": told.subscription_id,
        "acknowledged": told.status is not None,
        "status": told.status,
        "paid_until": told.paid_until and told.paid_until.isoformat(),
    }


def end_user_of(request: Request, *, keeps: str = "") -> Principal:
    """Return the session that asks for its end user.

    Raises what `principal_of` raises, and Forbidden: end_user_required for a virtual key, proof_required where
    something (`keeps`) is to be kept and nobody vouched for who the user is.
    """
    principal = principal_of(request)
    if principal.end_user_id is None:
        raise Forbidden("This is for end users' sessions; a virtual key has no end user.", code="end_user_required")
    if keeps and principal.assurance == "anonymous":
        raise Forbidden(f"An anonymous session keeps no {keeps}: sign the user in.", code="proof_required")
    return principal


def asked_fee(body: Body, name: str) -> int:
    """Return the fee that a body acknowledges, in nano-USD. Raises BadRequest."""
    fee = body.money(name, most=MAX_NANO)
    if fee is None:
        raise BadRequest(f"{name} is required.", code="missing_parameter", param=name)
    return fee


def acknowledge(request: Request, mode: str, fee: int) -> Disclosure:
    """Store that the session's end user took note of a fee. Raises Conflict (fee_changed)."""
    principal = end_user_of(request)
    assert principal.end_user_id is not None
    return acknowledge_fee(
        end_user_id=principal.end_user_id,
        app_id=principal.app_id,
        terms=principal.terms,
        mode=mode,
        fee=fee,
        language=get_language_from_request(request),
        now=now(),
    )


def fee_of(request: Request, mode: str) -> dict[str, Any]:
    """Return the fee of a mode for the session's feature, and whether its end user acknowledged it."""
    return _fee(request, end_user_of(request), mode)


def _fee(request: Request, principal: Principal, mode: str) -> dict[str, Any]:
    assert principal.end_user_id is not None
    told = disclosure(principal.terms, mode, language=get_language_from_request(request))
    acknowledged = consents_of(principal.end_user_id).get(mode)
    return {
        "mode": mode,
        "type": GATEWAY_FEE,
        "per": "request",
        "fee_usd": usd(told.fee),
        "text": told.text,
        "acknowledged": acknowledged is not None and acknowledged >= told.fee,
    }


def _provider(found: ProviderInfo, language: str) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "trains_on_data": found.trains_on_data,
        "notice": training_notice(found, language=language),
        "terms_url": found.terms_url or None,
    }
