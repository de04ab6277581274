"""What a wallet's money consists of, for end users and developers; promo codes."""

from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.queries.credits import LotInfo, credits_of, lot_of, lots_of
from apps.billing.services.credits import redeem_code
from apps.billing.services.notices import notices_of
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError, NotFound
from apps.core.money import usd
from apps.developers.models import Scope
from apps.gateway.api.fees import end_user_of
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.top_ups import offered
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account

# A code's own limits.
MAX_CODE = 60


class UserCredits(ApiView):
    def get(self, request: Request) -> Response:
        """List the lots of the end user's wallet, newest first, each with its latest draws."""
        principal = end_user_of(request)
        assert principal.end_user_id is not None
        return Response(_lots(request, AccountKind.END_USER, principal.end_user_id))


class UserPromoCodes(ApiView):
    def post(self, request: Request) -> Response:
        """Redeem a promo code."""
        principal = end_user_of(request, keeps="promotional credit")
        assert principal.end_user_id is not None
        actor = f"session:{principal.id}"
        return Response(_redeem(request, AccountKind.END_USER, principal.end_user_id, actor), status=201)


class DeveloperWallet(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show the developer's prepaid credit: what virtual keys and free allowances are paid from."""
        require_developer(identity_of(request, Scope.BILLING_READ), developer_id)
        account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=developer_id, now=now())
        funds = balance(account)
        content: dict[str, Any] = {
            "object": "wallet",
            "owner": AccountKind.DEVELOPER_CREDIT.value,
            "currency": "usd",
            "frozen": funds.frozen,
            "balance_usd": usd(funds.posted),
            "held_usd": usd(funds.held),
            "overdraft_usd": usd(funds.overdraft),
            "available_usd": usd(funds.available),
            **credit_of(account),
            "top_up": offered(),
        }
        return Response(content)


class DeveloperCredits(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """List the lots of the developer's prepaid credit, newest first, each with its latest draws."""
        require_developer(identity_of(request, Scope.BILLING_READ), developer_id)
        return Response(_lots(request, AccountKind.DEVELOPER_CREDIT, developer_id))


class DeveloperPromoCodes(ApiView):
    def post(self, request: Request, developer_id: str) -> Response:
        """Redeem a promo code for the developer's prepaid credit."""
        identity = identity_of(request, Scope.BILLING_WRITE)
        require_developer(identity, developer_id)
        content = _redeem(request, AccountKind.DEVELOPER_CREDIT, developer_id, actor_of(identity))
        return Response(content, status=201)


def credit_of(account_id: int) -> dict[str, Any]:
    """Return what a wallet's money consists of, in the order in which it is consumed, and what its owner is told."""
    return {
        "credits": [
            {
                "kind": credit.kind,
                "remaining_usd": usd(credit.remaining),
                "expires_at": credit.expires_at and credit.expires_at.isoformat(),
            }
            for credit in credits_of(account_id)
        ],
        "notices": [
            {"id": str(notice.id), "kind": notice.kind, "at": notice.created_at.isoformat(), **notice.data}
            for notice in notices_of(account_id, now=now())
        ],
    }


def _lots(request: Request, kind: AccountKind, owner_id: str) -> dict[str, Any]:
    query = Query(request)
    limit = query.limit()
    account = open_account(kind=kind, owner_id=owner_id, now=now())
    rows = lots_of(account, before=query.text("cursor"), limit=limit + 1)
    return list_of([_lot(row) for row in rows], limit)


def _lot(row: LotInfo) -> dict[str, Any]:
    return {
        "object": "credit_lot",
        "id": row.id,
        "kind": row.kind,
        "amount_usd": usd(row.amount),
        "remaining_usd": usd(row.remaining),
        "expires_at": row.expires_at and row.expires_at.isoformat(),
        "reference": row.reference or None,
        "created_at": row.created_at.isoformat(),
        "closed_at": row.closed_at and row.closed_at.isoformat(),
        "draws": [
            {"kind": draw.kind, "amount_usd": usd(draw.amount), "at": draw.created_at.isoformat()} for draw in row.draws
        ],
    }


def _redeem(request: Request, kind: AccountKind, owner_id: str, actor: str) -> dict[str, Any]:
    """Redeem the code of a body for an owner's wallet. Guesses are counted: an owner's, and an address's wrong ones."""
    code = read_json(request).required_text("code", most=MAX_CODE)
    address = addresses.address_key(request)
    message = "Too many promo codes tried; wait."
    addresses.check("promo_guesses", settings.PROMO_ATTEMPTS, address, message=message)
    addresses.count("promo_attempts", settings.PROMO_ATTEMPTS, owner_id, message=message)
    account = open_account(kind=kind, owner_id=owner_id, now=now())
    try:
        lot_id = redeem_code(account, code, now=now(), actor=actor)
    except NotFound:
        _count_guess(address)
        raise
    lot = lot_of(account, lot_id)
    assert lot is not None
    return {**_lot(lot), "balance_usd": usd(balance(account).posted)}


def _count_guess(address: str) -> None:
    try:
        addresses.count("promo_guesses", settings.PROMO_ATTEMPTS, address)
    except FaucetError:
        pass  # that this guess was wrong is the answer; the next one is refused
