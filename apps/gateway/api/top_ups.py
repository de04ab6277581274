"""/v1/user/top-ups and /v1/developers/{id}/top-ups: buy credit, see what became of it, have it refunded."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.queries.top_ups import RefundInfo, TopUpInfo, offer, refunds_of, top_up, top_ups_of
from apps.billing.services.refunds import refund_top_up, refundable_cents
from apps.billing.services.top_ups import charge_saved_card, start_top_up
from apps.core.clock import now
from apps.core.errors import BadRequest
from apps.core.money import MAX_NANO, NANO_PER_CENT, usd
from apps.gateway.api.buyers import (
    buyer_of,
    checked_return_url,
    count_purchase,
    key_of,
    not_found,
    own_address,
    whole_cents,
)
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.views import ApiView, list_of

CHECKOUT, SAVED_CARD = "checkout", "saved_card"


class TopUps(ApiView):
    def get(self, request: Request, developer_id: str | None = None) -> Response:
        """List the wallet's top-ups, newest first."""
        buyer = buyer_of(request, developer_id, writes=False)
        query = Query(request)
        limit = query.limit()
        rows = top_ups_of(buyer.account_id, before=query.text("cursor"), limit=limit + 1)
        return Response(list_of([_top_up(row) for row in rows], limit))

    def post(self, request: Request, developer_id: str | None = None) -> Response:
        """Start a top-up: on Stripe's page, or at once with the saved card."""
        buyer = buyer_of(request, developer_id, writes=True)
        body = read_json(request)
        amount = whole_cents(body.money("amount_usd", most=MAX_NANO), "amount_usd")
        method = body.text("method") or CHECKOUT
        if method not in (CHECKOUT, SAVED_CARD):
            raise BadRequest(f"method takes {CHECKOUT} or {SAVED_CARD}.", code="invalid_type", param="method")
        return_url = checked_return_url(request, buyer, body.text("return_url", most=500))
        particulars: dict[str, Any] = {
            "amount_cents": amount,
            "owner": buyer.owner,
            "idempotency_key": key_of(request, required=method == SAVED_CARD),
            "actor": buyer.actor,
        }
        count_purchase(buyer)
        if method == SAVED_CARD:
            row = charge_saved_card(buyer.account_id, now=now(), **particulars)
        else:
            row = start_top_up(
                buyer.account_id,
                return_url=return_url,
                base_url=own_address(request),
                save_card=body.flag("save_card") or False,
                now=now(),
                **particulars,
            )
        return Response(_top_up(row), status=201)


class TopUpItem(ApiView):
    def get(self, request: Request, top_up_id: str, developer_id: str | None = None) -> Response:
        """Show a top-up with its refunds: its receipt."""
        buyer = buyer_of(request, developer_id, writes=False)
        row = top_up(top_up_id, account_id=buyer.account_id)
        if row is None:
            raise not_found()
        content = _top_up(row)
        content["refundable_usd"] = _usd(refundable_cents(row.id))
        content["refunds"] = [_refund(refund) for refund in refunds_of(row.id)]
        return Response(content)


class TopUpRefund(ApiView):
    http_method_names = ["post"]

    def post(self, request: Request, top_up_id: str, developer_id: str | None = None) -> Response:
        """Give back credit of a top-up that was not used: all of it, or an amount."""
        buyer = buyer_of(request, developer_id, writes=True)
        row = top_up(top_up_id, account_id=buyer.account_id)
        if row is None:
            raise not_found()
        body = read_json(request)
        amount = whole_cents(body.money("amount_usd", most=MAX_NANO), "amount_usd") if body.has("amount_usd") else None
        made = refund_top_up(
            row.id,
            amount_cents=amount,
            source="owner",
            reason=body.text("reason") or "",
            idempotency_key=key_of(request, required=True),
            now=now(),
            actor=buyer.actor,
        )
        return Response(_refund(made), status=201)


def offered() -> dict[str, Any]:
    """Return what may be bought: whether payments are on, the presets, and the limits of one top-up."""
    found = offer()
    return {
        "enabled": found.enabled,
        "presets_usd": [_usd(cents) for cents in found.presets_cents],
        "min_usd": _usd(found.min_cents),
        "max_usd": _usd(found.max_cents),
    }


def _top_up(row: TopUpInfo) -> dict[str, Any]:
    return {
        "object": "top_up",
        "id": row.id,
        "status": row.status,
        "source": row.source,
        "currency": "usd",
        "credit_usd": _usd(row.amount_cents),
        "tax_usd": _usd(row.tax_cents),
        "total_usd": _usd(row.total_cents),
        "refunded_usd": _usd(row.refunded_cents),
        "refunded_tax_usd": _usd(row.refunded_tax_cents),
        "checkout_url": row.checkout_url or None,
        "receipt_url": row.receipt_url or None,
        "return_url": row.return_url or None,
        "error_code": row.error_code or None,
        "under_review": bool(row.problem),
        "created_at": row.created_at.isoformat(),
        "paid_at": row.paid_at and row.paid_at.isoformat(),
    }


def _refund(row: RefundInfo) -> dict[str, Any]:
    return {
        "object": "refund",
        "id": row.id,
        "top_up_id": row.top_up_id,
        "status": row.status,
        "source": row.source,
        "credit_usd": _usd(row.amount_cents),
        "tax_usd": _usd(row.tax_cents),
        "total_usd": _usd(row.amount_cents + row.tax_cents),
        "error_code": row.error_code or None,
        "created_at": row.created_at.isoformat(),
    }


def _usd(cents: int) -> str:
    return usd(cents * NANO_PER_CENT)
