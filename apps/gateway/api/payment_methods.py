"""The saved card and the automatic top-up of an end user's wallet or a developer's prepaid credit."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.queries.top_ups import AutoTopUpInfo, auto_top_up_of, card_of
from apps.billing.services.auto_top_ups import pause_without_card, set_auto_top_up, switch_off
from apps.billing.services.customers import forget_card
from apps.core.clock import now
from apps.core.errors import BadRequest, NotFound
from apps.core.money import MAX_NANO, NANO_PER_CENT, usd
from apps.gateway.api.buyers import buyer_of, whole_cents
from apps.gateway.api.inputs import read_json
from apps.gateway.api.views import ApiView


class AutoTopUp(ApiView):
    http_method_names = ["get", "put", "delete", "head"]

    def get(self, request: Request, developer_id: str | None = None) -> Response:
        """Show when the wallet is topped up by itself."""
        buyer = buyer_of(request, developer_id, writes=False)
        found = auto_top_up_of(buyer.account_id)
        return Response({"object": "auto_top_up", "enabled": False} if found is None else _auto(found))

    def put(self, request: Request, developer_id: str | None = None) -> Response:
        """Top the wallet up with the saved card whenever it is low; this also ends a pause."""
        buyer = buyer_of(request, developer_id, writes=True)
        body = read_json(request)
        threshold = body.money("threshold_usd", most=MAX_NANO)
        if threshold is None:
            raise BadRequest("threshold_usd is required.", code="missing_parameter", param="threshold_usd")
        found = set_auto_top_up(
            buyer.account_id,
            threshold=threshold,
            amount_cents=whole_cents(body.money("amount_usd", most=MAX_NANO), "amount_usd"),
            monthly_cap_cents=whole_cents(body.money("monthly_cap_usd", most=MAX_NANO), "monthly_cap_usd"),
            owner=buyer.owner,
            now=now(),
            actor=buyer.actor,
        )
        return Response(_auto(found))

    def delete(self, request: Request, developer_id: str | None = None) -> Response:
        """Top the wallet up no more by itself."""
        buyer = buyer_of(request, developer_id, writes=True)
        switch_off(buyer.account_id, now=now(), actor=buyer.actor)
        return Response(status=204)


class PaymentMethod(ApiView):
    http_method_names = ["get", "delete", "head"]

    def get(self, request: Request, developer_id: str | None = None) -> Response:
        """Show the saved card: its brand and last four digits."""
        buyer = buyer_of(request, developer_id, writes=False)
        card = card_of(buyer.account_id)
        if card is None:
            raise NotFound("No card is saved.", code="payment_method_not_found")
        return Response(
            {
                "object": "payment_method",
                "brand": card.brand,
                "last4": card.last4,
                "exp_month": card.exp_month,
                "exp_year": card.exp_year,
            }
        )

    def delete(self, request: Request, developer_id: str | None = None) -> Response:
        """Forget the saved card, here and at Stripe; automatic top-ups pause."""
        buyer = buyer_of(request, developer_id, writes=True)
        forget_card(buyer.account_id, now=now(), actor=buyer.actor)
        pause_without_card(buyer.account_id, now=now())
        return Response(status=204)


def _auto(found: AutoTopUpInfo) -> dict[str, Any]:
    return {
        "object": "auto_top_up",
        "enabled": found.enabled,
        "threshold_usd": usd(found.threshold),
        "amount_usd": usd(found.amount_cents * NANO_PER_CENT),
        "monthly_cap_usd": usd(found.monthly_cap_cents * NANO_PER_CENT),
        "failures": found.failures,
        "paused_reason": found.paused_reason or None,
        "updated_at": found.updated_at.isoformat(),
    }
