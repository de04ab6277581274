"""The three kinds of proof that open a session, and the allowance that comes with the weakest."""

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction
from rest_framework.request import Request

from apps.billing.services.allowances import GRANTED_BEFORE, REFUSED, Allowance, ensure_allowance, give_allowance
from apps.billing.services.fingerprints import note_fingerprint
from apps.billing.services.free_credit import may_take_free_credit
from apps.billing.services.wallet_limits import bind_daily_spend
from apps.core import addresses
from apps.core.errors import BadRequest, Forbidden, NotFound, Unauthorized
from apps.features.proofs import verify_user_token
from apps.features.queries import AppInfo, app_by_id, app_by_public_id
from apps.features.services.end_users import ensure_end_user
from apps.features.services.tokens import MAX_SESSION_TTL, OpenedSession, open_session
from apps.gateway.api.inputs import Body
from apps.gateway.api.views import bearer_of, check_origin, origin_of
from apps.ledger.models import AccountKind
from apps.ledger.queries import transaction_id
from apps.ledger.services.accounts import open_account
from apps.vault.queries import app_id_of_secret, signing_secrets

USER_TOKEN, APP_SECRET, ANONYMOUS = "user_token", "app_secret", "anonymous"
MAX_USER_ID = 256
MAX_USER_TOKEN = 4096
MAX_AGENT = 1000
# A backend whose secret was revoked fails for all its users from one address: not too few.
FAILED_PROOFS = "60/minute"


@dataclass(frozen=True, slots=True)
class Proof:
    """Who a session is for, and how sure that is. `external_id` is the app's own user id, or a device's.

    `address` is the client's, None where only the app's backend could tell it and did not.
    """

    kind: str
    app: AppInfo
    external_id: str
    most_ttl: int
    address: str | None
    user_agent: str


def read_proof(request: Request, body: Body, *, now: datetime) -> Proof:
    """Return what the request proves, by exactly one of the three kinds of proof.

    Raises BadRequest, Unauthorized, NotFound (app_not_found), Forbidden (origin_not_allowed) and RateLimited.
    """
    kind = _kind(request, body)
    address = addresses.address_key(request)
    addresses.check("failed_proofs", FAILED_PROOFS, address)
    if kind == ANONYMOUS:
        addresses.count("anonymous_sessions", settings.SESSIONS_PER_ADDRESS, address)
    try:
        return _PROOFS[kind](request, body, now)
    except Unauthorized:
        addresses.count("failed_proofs", FAILED_PROOFS, address)
        raise


def _kind(request: Request, body: Body) -> str:
    given = [
        kind
        for kind, is_given in (
            (APP_SECRET, "authorization" in request.headers),
            (USER_TOKEN, body.has("user_token")),
            (ANONYMOUS, body.has("device_id")),
        )
        if is_given
    ]
    if len(given) > 1:
        raise BadRequest(
            "Give one proof of who the user is: a user_token, the app's secret as bearer, or a device_id.",
            code="ambiguous_proof",
        )
    if not given:
        raise Unauthorized(
            "A public app id does not prove who the user is. Send a user_token signed with the app's secret, the "
            "secret itself as 'Authorization: Bearer mf_app_…' with an external_user_id, or a device_id.",
            code="missing_proof",
        )
    return given[0]


def _prove_user_token(request: Request, body: Body, now: datetime) -> Proof:
    token = body.required_text("user_token", most=MAX_USER_TOKEN)
    app = _public_app(body)
    check_origin(request, app.allowed_origins)
    subject = verify_user_token(token, secrets=signing_secrets(app.id), public_app_id=app.public_id, now=now)
    return Proof(USER_TOKEN, app, subject, settings.SESSION_TTL, *_caller(request))


def _prove_app_secret(request: Request, body: Body, now: datetime) -> Proof:
    app_id = app_id_of_secret(bearer_of(request, "the app's secret"))
    app = app_by_id(app_id) if app_id is not None else None
    if app is None:
        raise Unauthorized("This is not a valid app secret.", code="invalid_app_secret")
    public_id = body.text("public_app_id")
    if public_id is not None and public_id != app.public_id:
        raise BadRequest("This secret belongs to another app.", code="app_mismatch", param="public_app_id")
    user = body.required_text("external_user_id", most=MAX_USER_ID)
    # The connection is the backend's. It may say from where its own user came.
    agent = body.text("client_user_agent", most=MAX_AGENT) or ""
    return Proof(APP_SECRET, app, user, MAX_SESSION_TTL, _told_address(body), agent)


def _prove_device(request: Request, body: Body, now: datetime) -> Proof:
    device = body.required_text("device_id", most=MAX_USER_ID)
    app = _public_app(body)
    if app.anonymous_allowance == 0:
        raise Forbidden("This app takes no anonymous session.", code="anonymous_not_allowed")
    if app.allowed_origins and origin_of(request) is None:
        raise Forbidden("Anonymous sessions of this app are for its own pages.", code="origin_not_allowed")
    check_origin(request, app.allowed_origins)
    return Proof(ANONYMOUS, app, device, settings.SESSION_TTL, *_caller(request))


def _caller(request: Request) -> tuple[str, str]:
    return addresses.client_address(request), request.headers.get("user-agent", "")


def _told_address(body: Body) -> str | None:
    address = body.text("client_address", most=45)
    if address is None:
        return None
    try:
        return addresses.network_of(address, strict=True)
    except ValueError as error:
        raise BadRequest("client_address takes an IP address.", code="invalid_type", param="client_address") from error


_PROOFS = {USER_TOKEN: _prove_user_token, APP_SECRET: _prove_app_secret, ANONYMOUS: _prove_device}


def _public_app(body: Body) -> AppInfo:
    app = app_by_public_id(body.required_text("public_app_id"))
    if app is None:
        raise NotFound("There is no such app.", code="app_not_found", param="public_app_id")
    return app


@dataclass(frozen=True, slots=True)
class Opening:
    """A session that was opened, the wallet it spends, and what became of the app's allowance where it has one."""

    session: OpenedSession
    end_user_id: str
    account_id: int
    allowance: Allowance | None


def open_proven(proof: Proof, *, feature_key: str | None, ttl: int, now: datetime) -> Opening:
    """Open a session for whom `proof` vouches, and give them their allowance: a new device's, or this month's.

    Raises what `open_session` raises.
    """
    opening = _open(proof, feature_key=feature_key, ttl=ttl, now=now)
    # In a transaction of its own: budgets are locked after wallets, everywhere. Nobody has the token yet.
    bind_daily_spend(opening.end_user_id, now=now)
    return opening


@transaction.atomic
def _open(proof: Proof, *, feature_key: str | None, ttl: int, now: datetime) -> Opening:
    anonymous = proof.kind == ANONYMOUS
    user = ensure_end_user(app_id=proof.app.id, external_id=proof.external_id, anonymous=anonymous, now=now)
    session = open_session(
        app_id=proof.app.id, feature_key=feature_key, end_user_id=user, assurance=proof.kind, ttl=ttl, now=now
    )
    account = open_account(kind=AccountKind.END_USER, owner_id=user, now=now)
    if proof.address is not None:
        note_fingerprint(
            user, proof.app.id, address=proof.address, user_agent=proof.user_agent, anonymous=anonymous, now=now
        )
    # Last of all: it locks the wallet that every new device and user of the app draws from.
    allowance = _device_allowance(proof.app, user, account, now=now) if anonymous else ensure_allowance(user, now=now)
    return Opening(session, user, account, allowance)


def _device_allowance(app: AppInfo, end_user_id: str, account_id: int, *, now: datetime) -> Allowance:
    key, amount = f"allowance:{end_user_id}", app.anonymous_allowance
    if transaction_id(key) is not None:
        state = GRANTED_BEFORE
    elif not may_take_free_credit(end_user_id, app.id, now=now):
        state = REFUSED
    else:
        state = give_allowance(app.id, account_id, amount, key=key, expires_at=None, now=now)
    return Allowance(state, amount, None)
