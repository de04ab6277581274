"""The demo's data: a provider with models, a developer with an app, a funded end user, an administrator.

Safe to run any number of times: what exists is kept, balances are topped up, tokens that still work are reused.
"""

import json
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import transaction

from apps.console.demo import PUBLIC_APP_ID
from apps.core.errors import FaucetError
from apps.core.money import nano_from_usd
from apps.developers.services.developers import create_developer
from apps.developers.services.tokens import Scope, authenticate_token, issue_token
from apps.features.library import templates
from apps.features.queries import AppInfo, app_by_id, app_by_public_id, authenticate, features_of_app
from apps.features.services.apps import create_app
from apps.features.services.end_users import ensure_end_user
from apps.features.services.features import create_feature, update_feature
from apps.features.services.manifests import put_manifest
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import issue_virtual_key, open_session
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.vault.queries import app_id_of_secret
from apps.vault.services.app_secrets import issue_app_secret
from modelfaucet import env
from modelfaucet.demo.upstream import ACTOR, demo_upstream, seed_upstream

VISITOR = "demo-visitor"
SESSION_TTL = 86_400
FUNDS = nano_from_usd("5")
ALLOWANCE = nano_from_usd("0.02")
TERMS = TermsInput(markup_bps=4_000, share_bps=4_000, byok_fee=nano_from_usd("0.0005"))
MAX_OUTPUT_TOKENS = 1_024
TYPED_FEATURE = "summary"  # made from the template of that name


def seed_demo(*, now: datetime) -> dict[str, Any]:
    """Make the demo's data and return what `var/demo.json` tells."""
    kept = _kept()
    upstream = demo_upstream()
    seed_upstream(upstream, now=now)
    app = seed_app(now=now)
    user_id = ensure_end_user(app_id=app.id, external_id=VISITOR, anonymous=False, now=now)
    fund(AccountKind.END_USER, user_id, FUNDS, now=now)
    fund(AccountKind.DEVELOPER_CREDIT, app.developer_id, FUNDS, now=now)
    fund(AccountKind.APP_ALLOWANCE, app.id, FUNDS, now=now)
    session = open_session(
        app_id=app.id, feature_key=None, end_user_id=user_id, assurance="user_token", ttl=SESSION_TTL, now=now
    )
    base = env.PUBLIC_BASE_URL.rstrip("/") or f"http://{env.HOST}:{env.PORT}"
    return {
        "base_url": f"{base}/v1",
        "model": upstream.default_model,
        "embedding_model": upstream.embedding_model,
        "typed_feature": TYPED_FEATURE,
        "public_app_id": app.public_id,
        "app_id": app.id,
        "app_secret": _app_secret(kept.get("app_secret"), app.id, now),
        "virtual_key": _virtual_key(kept.get("virtual_key"), app.id, now),
        "session_token": session.token,
        "developer_id": app.developer_id,
        "developer_token": _developer_token(kept.get("developer_token"), app.developer_id, now),
        "admin_url": f"{base}/admin/",
        **_admin(kept),
    }


def _kept() -> dict[str, Any]:
    try:
        kept: dict[str, Any] = json.loads((env.VAR_DIR / "demo.json").read_text())
    except (OSError, ValueError):
        return {}
    return kept


@transaction.atomic
def seed_app(*, now: datetime) -> AppInfo:
    """Make the demo's developer and app, or return the app; its default model is the one the demo calls now."""
    model = demo_upstream().default_model
    app = app_by_public_id(PUBLIC_APP_ID)
    if app is None:
        developer_id = create_developer("Demo developer", "developer@example.com", now=now, actor=ACTOR)
        app_id = create_app(
            developer_id=developer_id,
            name="Demo app",
            terms=TERMS,
            anonymous_allowance=ALLOWANCE,
            public_id=PUBLIC_APP_ID,
            default_model=model,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            now=now,
            actor=ACTOR,
        )
        app = app_by_id(app_id)
        assert app is not None
    features = features_of_app(app.id)
    for feature in features:
        if feature.default_model != model:
            update_feature(feature_id=feature.id, default_model=model, now=now, actor=ACTOR)
    if TYPED_FEATURE not in {feature.key for feature in features}:
        _make_typed_feature(app.id, model, now=now)
    return app


def _make_typed_feature(app_id: str, model: str, *, now: datetime) -> None:
    feature_id = create_feature(
        app_id=app_id, key=TYPED_FEATURE, name="Summary", default_model=model, now=now, actor=ACTOR
    )
    source = templates()[f"{TYPED_FEATURE}.en"].source
    put_manifest(feature_id=feature_id, source=source, source_format="yaml", now=now, actor=ACTOR, may_price=True)


def fund(kind: AccountKind, owner_id: str, least: int, *, now: datetime) -> None:
    """Grant what an account lacks to have `least` nano-USD available."""
    account = open_account(kind=kind, owner_id=owner_id, now=now)
    missing = least - balance(account).available
    if missing > 0:
        grant(account, missing, idempotency_key=f"demo:{secrets.token_hex(8)}", now=now, actor=ACTOR)


def make_end_user(funds: int, *, now: datetime) -> dict[str, str]:
    """Make an end user of the demo app with exactly `funds` nano-USD and open a session."""
    app = app_by_public_id(PUBLIC_APP_ID) or seed_app(now=now)
    user_id = ensure_end_user(app_id=app.id, external_id=f"demo-{secrets.token_hex(8)}", anonymous=False, now=now)
    if funds:
        fund(AccountKind.END_USER, user_id, funds, now=now)
    session = open_session(
        app_id=app.id, feature_key=None, end_user_id=user_id, assurance="user_token", ttl=SESSION_TTL, now=now
    )
    return {"end_user_id": user_id, "session_id": session.session_id, "session_token": session.token}


def _app_secret(kept: str | None, app_id: str, now: datetime) -> str:
    if kept and app_id_of_secret(kept) == app_id:
        return kept
    return issue_app_secret(app_id, now=now, actor=ACTOR)


def _virtual_key(kept: str | None, app_id: str, now: datetime) -> str:
    try:
        if kept and authenticate(kept, now=now).app_id == app_id:
            return kept
    except FaucetError:
        pass
    return issue_virtual_key(app_id=app_id, name="Demo key", now=now, actor=ACTOR)[0]


def _developer_token(kept: str | None, developer_id: str, now: datetime) -> str:
    try:
        if kept and authenticate_token(kept, now=now).developer_id == developer_id:
            return kept
    except FaucetError:
        pass
    expires = now + timedelta(days=365)
    return issue_token(developer_id, "Demo token", list(Scope.values), expires, now=now, actor=ACTOR)[0]


def _admin(kept: dict[str, Any]) -> dict[str, str]:
    users = get_user_model().objects
    admin = users.filter(username="admin").first()
    password = kept.get("admin_password")
    if admin is None or not password or not admin.check_password(password):
        password = secrets.token_urlsafe(12)
        admin = admin or get_user_model()(username="admin", email="admin@example.com")
        admin.is_staff = admin.is_superuser = admin.is_active = True
        admin.set_password(password)
        admin.save()
    return {"admin_user": "admin", "admin_password": password}
