"""/v1/developers/{id}/payouts and /payout-account: what a developer is paid, and where it goes."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.models.payouts import PayoutOrigin, Rail
from apps.billing.queries.payouts import PayoutInfo, payout_of, payouts_of, skipped_for
from apps.billing.services.payout_accounts import (
    AccountInfo,
    Onboarding,
    account_info,
    refresh_account,
    start_onboarding,
    use_bank_details,
)
from apps.billing.services.payouts import Payable, next_run, payable, propose
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import BadRequest, NotFound
from apps.core.money import MAX_NANO, usd
from apps.developers.models import Scope
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer

MAX_URL = 1_000


class DeveloperPayouts(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """List the developer's payouts, newest first."""
        require_developer(identity_of(request, Scope.PAYOUTS_READ), developer_id)
        query = Query(request)
        limit = query.limit()
        rows = payouts_of(developer_id, before=query.text("cursor"), limit=limit + 1)
        return Response(list_of([_payout(row) for row in rows], limit))

    def post(self, request: Request, developer_id: str) -> Response:
        """Ask for a payout of all that is payable, or of a part of it; an operator decides."""
        identity = identity_of(request, Scope.PAYOUTS_WRITE)
        require_developer(identity, developer_id)
        amount = read_json(request).money("amount_usd", most=MAX_NANO)
        _count(developer_id)
        payout_id = propose(
            developer_id, origin=PayoutOrigin.REQUESTED, amount=amount, now=now(), actor=actor_of(identity)
        )
        return Response(_payout(_find(developer_id, payout_id)), status=201)


class DeveloperPayoutItem(ApiView):
    def get(self, request: Request, developer_id: str, payout_id: str) -> Response:
        """Show one payout."""
        require_developer(identity_of(request, Scope.PAYOUTS_READ), developer_id)
        return Response(_payout(_find(developer_id, payout_id)))


class DeveloperPayoutAccount(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show where payouts go, what is still missing, and what is payable when; `refresh` asks Stripe first."""
        require_developer(identity_of(request, Scope.PAYOUTS_READ), developer_id)
        account = account_info(developer_id)
        if Query(request).switch("refresh", default=False) and account.stripe_account_id is not None:
            _count(developer_id)
            account = refresh_account(account.stripe_account_id, now=now()) or account
        return Response(_account(account))

    def post(self, request: Request, developer_id: str) -> Response:
        """Let payouts go through Stripe, whose form the answer leads to, or to bank details."""
        identity = identity_of(request, Scope.PAYOUTS_WRITE)
        require_developer(identity, developer_id)
        body = read_json(request)
        rail = body.required_text("rail")
        who: dict[str, Any] = {"now": now(), "actor": actor_of(identity)}
        _count(developer_id)
        if rail == Rail.MANUAL:
            use_bank_details(developer_id, body.members("bank_details"), **who)
            return Response(_account(account_info(developer_id)))
        if rail != Rail.STRIPE:
            raise BadRequest("rail is stripe or manual.", param="rail")
        return_url = body.required_text("return_url", most=MAX_URL)
        onboarding = start_onboarding(
            developer_id,
            country=body.required_text("country"),
            return_url=return_url,
            refresh_url=body.text("refresh_url", most=MAX_URL) or return_url,
            **who,
        )
        return Response(_account(account_info(developer_id), onboarding))


def maturing(found: Payable) -> dict[str, Any]:
    """Return how much is payable, and how much will be when."""
    return {
        "payable_usd": usd(found.payable),
        "matured_usd": usd(found.matured),
        "maturing_usd": usd(found.immature),
        "reserve_usd": usd(found.reserve),
        "hold_days": found.terms.hold_days,
        "maturing": [{"date": day.isoformat(), "amount_usd": usd(amount)} for day, amount in found.maturing],
    }


def _account(row: AccountInfo, onboarding: Onboarding | None = None) -> dict[str, Any]:
    moment = now()
    found = payable(row.developer_id, now=moment, by_app=False)
    return {
        "object": "payout_account",
        "developer_id": row.developer_id,
        "rail": row.rail or None,
        "ready": row.ready,
        "country": row.country or None,
        "stripe_account_id": row.stripe_account_id,
        "details_submitted": row.details_submitted,
        "payouts_enabled": row.payouts_enabled,
        "required": list(row.required),
        "disabled_reason": row.disabled_reason or None,
        "disconnected": row.disconnected,
        "bank_details_hint": row.details_hint or None,
        "stopped": row.stopped,
        "onboarding_url": onboarding and onboarding.url,
        "onboarding_expires_at": onboarding and onboarding.expires_at and onboarding.expires_at.isoformat(),
        "currency": "usd",
        "balance_usd": usd(found.balance),
        **maturing(found),
        "minimum_usd": usd(found.terms.minimum),
        "reserve_bps": found.terms.reserve_bps,
        "next_run": next_run(row.developer_id, now=moment).isoformat(),
        "not_proposed_because": skipped_for(row.developer_id, now=moment),
    }


def _payout(row: PayoutInfo) -> dict[str, Any]:
    return {
        "object": "payout",
        "id": row.id,
        "status": row.status,
        "amount_usd": usd(row.amount),
        "returned_usd": usd(row.returned),
        "currency": "usd",
        "rail": row.rail,
        "destination_hint": row.destination_hint,
        "requested": row.origin == PayoutOrigin.REQUESTED,
        "period": row.period,
        "earned": {"from": row.since, "to": row.cutoff_at.isoformat()},
        "by_app": [
            {
                "app_id": part.app_id,
                "calls": part.calls,
                "retail_price_usd": usd(part.price),
                "channel_revenue_usd": usd(part.developer),
            }
            for part in row.by_app
        ],
        "reference": row.reference or None,
        "created_at": row.created_at.isoformat(),
        "approved_at": row.approved_at and row.approved_at.isoformat(),
        "sent_at": row.sent_at and row.sent_at.isoformat(),
        "paid_at": row.paid_at and row.paid_at.isoformat(),
        "closed_at": row.closed_at and row.closed_at.isoformat(),
    }


def _count(developer_id: str) -> None:
    """Count what a developer asks about its payouts. Raises RateLimited: most of it has Stripe or an operator work."""
    addresses.count(
        "payout_changes", settings.PAYOUT_CHANGES, developer_id, message="Too many changes of payouts; wait."
    )


def _find(developer_id: str, payout_id: str) -> PayoutInfo:
    found = payout_of(developer_id, payout_id)
    if found is None:
        raise NotFound("There is no such payout.", code="payout_not_found", param="payout_id")
    return found
