"""POST /v1/sessions, GET and DELETE /v1/sessions/current."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services.allowances import EXHAUSTED, REFUSED, Allowance
from apps.core.clock import now
from apps.core.errors import Forbidden
from apps.core.money import usd
from apps.core.site import site_url
from apps.features.queries import Principal, authenticate, principal_for_feature
from apps.features.services.tokens import revoke_session
from apps.gateway.api import policy
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.proofs import open_proven, read_proof
from apps.gateway.api.views import ApiView, bearer_of, principal_of
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account

_MESSAGES = {
    EXHAUSTED: "The app's free allowance is used up.",
    REFUSED: "There is no more free allowance for this client.",
}


class Sessions(ApiView):
    def post(self, request: Request) -> Response:
        """Open a session for whom the request proves."""
        body = read_json(request)
        moment = now()
        proof = read_proof(request, body, now=moment)
        most = proof.most_ttl
        ttl = body.whole("ttl", least=1, most=most) or min(settings.SESSION_TTL, most)
        opening = open_proven(proof, feature_key=body.text("feature_key"), ttl=ttl, now=moment)
        session = opening.session
        principal = authenticate(session.token, now=moment)
        content: dict[str, Any] = {
            "object": "session",
            "session_id": session.session_id,
            "session_token": session.token,
            "expires_in": session.expires_in,
            "expires_at": (moment + timedelta(seconds=session.expires_in)).isoformat(),
            "gateway_base_url": gateway_base_url(request),
            **_state(principal, opening.account_id, now=moment),
            **_allowance(opening.allowance),
        }
        return Response(content, status=201)


class CurrentSession(ApiView):
    def get(self, request: Request) -> Response:
        """Show the session whose token calls, as it is for its feature, or for the one that `feature_key` names."""
        principal = _session_of(request)
        moment = now()
        asked = Query(request).text("feature_key")
        if asked is not None and asked != principal.feature_key:
            principal = principal_for_feature(bearer_of(request, "a session token"), asked, now=moment)
        assert principal.end_user_id is not None
        assert principal.expires_at is not None
        account = open_account(kind=AccountKind.END_USER, owner_id=principal.end_user_id, now=moment)
        content = {
            "object": "session",
            "session_id": principal.id,
            "expires_in": int((principal.expires_at - moment).total_seconds()),
            "expires_at": principal.expires_at.isoformat(),
            "gateway_base_url": gateway_base_url(request),
            **_state(principal, account, now=moment),
        }
        return Response(content)

    def delete(self, request: Request) -> Response:
        """Revoke the session whose token calls."""
        principal = _session_of(request)
        revoke_session(session_id=principal.id, now=now(), actor=f"session:{principal.id}")
        return Response(status=204)


def _session_of(request: Request) -> Principal:
    principal = principal_of(request)
    if principal.kind != "session":
        raise Forbidden("A virtual key is no session; its developer revokes it.", code="not_a_session")
    return principal


def _state(principal: Principal, account_id: int, *, now: datetime) -> dict[str, Any]:
    """Return what both addresses tell of a session: what it may call, and what it has."""
    funds = balance(account_id)
    return {
        "available_modes": policy.available_modes(policy.current(now=now), principal, now=now),
        "feature_key": principal.feature_key,
        "privacy_mode": principal.manifest.privacy.mode,
        "end_user_id": principal.end_user_id,
        "assurance": principal.assurance,
        "balance_usd": usd(funds.posted),
        "available_usd": usd(funds.available),
    }


def gateway_base_url(request: Request) -> str:
    """Return the address under which clients reach /v1."""
    return f"{site_url(request)}/v1"


def _allowance(given: Allowance | None) -> dict[str, Any]:
    if given is None:
        return {}
    return {
        "allowance": {
            "state": given.state,
            "amount_usd": usd(given.amount),
            "expires_at": given.expires_at and given.expires_at.isoformat(),
            "message": _MESSAGES.get(given.state),
        }
    }
