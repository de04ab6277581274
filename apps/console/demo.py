"""The demo app's backend: it vouches for visitors, gives each some money once, and tells where money went.

An app that embeds ModelFaucet has a backend like this one. It alone holds the app's secret; a browser only gets
short user tokens, which it exchanges at POST /v1/sessions.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt

from apps.core import addresses
from apps.core.errors import RateLimited, Unavailable
from apps.core.money import nano_from_usd, usd
from apps.features.models import Assurance
from apps.features.queries import AppInfo, app_by_public_id, features_of_app
from apps.features.services.end_users import ensure_end_user
from apps.features.services.page_links import issue_page_link
from apps.features.services.tokens import open_session
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.usage.queries import UsageCall, UsageFilter, calls_of_end_user, usage_totals
from apps.vault.queries import signing_secrets

PUBLIC_APP_ID = "app_pub_demo"
ACTOR = "demo"
FEATURE = "default"
GRANT = nano_from_usd("0.50")
USER_TOKEN_SECONDS = 300
WALLET_SECONDS = 3_600
LATEST_CALLS = 8
# A visitor costs the operator a grant, so one address does not get any number of them.
NEW_VISITORS = "60/hour"


@dataclass(frozen=True, slots=True)
class DemoApp:
    """The demo's app and the model that its visitors talk to."""

    app: AppInfo
    model: str


def demo_app() -> DemoApp | None:
    """Return the demo app, or None on an instance where it was never made."""
    app = app_by_public_id(PUBLIC_APP_ID)
    if app is None:
        return None
    models = {feature.key: feature.default_model for feature in features_of_app(app.id)}
    return DemoApp(app, models.get(FEATURE, ""))


def admit_visitor(address_key: str) -> None:
    """Count a new visitor from a network address, given by its keyed hash. Raises RateLimited (too_many_visitors)."""
    try:
        addresses.count("demo-visitors", NEW_VISITORS, address_key)
    except RateLimited as error:
        raise RateLimited(
            "Too many new visitors from this address.", code="too_many_visitors", retry_after=error.retry_after
        ) from error


def user_token(visitor: str, *, now: datetime) -> str:
    """Return a user token for a visitor, who gets the grant with the first one. Raises Unavailable (demo_not_ready)."""
    demo = demo_app()
    secrets = signing_secrets(demo.app.id) if demo else ()
    if demo is None or not secrets:
        raise Unavailable("The demo's app is not set up on this instance.", code="demo_not_ready", retry_after=60)
    user_id = ensure_end_user(app_id=demo.app.id, external_id=visitor, anonymous=False, now=now)
    account = open_account(kind=AccountKind.END_USER, owner_id=user_id, now=now)
    grant(account, GRANT, idempotency_key=f"demo:visitor:{user_id}", now=now, actor=ACTOR)
    expires = now + timedelta(seconds=USER_TOKEN_SECONDS)
    claims = {"sub": visitor, "aud": demo.app.public_id, "iat": now, "exp": expires}
    return jwt.encode(claims, secrets[0], algorithm="HS256")


def wallet_link(visitor: str, *, now: datetime) -> str:
    """Return the code that opens a visitor's own pages, once. Raises Unavailable (demo_not_ready).

    A real app's backend gets such a link at POST /v1/user/page-links.
    """
    demo = demo_app()
    if demo is None:
        raise Unavailable("The demo's app is not set up on this instance.", code="demo_not_ready", retry_after=60)
    user_id = ensure_end_user(app_id=demo.app.id, external_id=visitor, anonymous=False, now=now)
    session = open_session(
        app_id=demo.app.id,
        feature_key=None,
        end_user_id=user_id,
        assurance=Assurance.USER_TOKEN.value,
        ttl=WALLET_SECONDS,
        now=now,
    )
    return issue_page_link(session.session_id, now=now).code


def state(visitor: str | None, *, now: datetime) -> dict[str, Any]:
    """Return what the page shows: the visitor's balance and calls, and the developer's revenue, in USD strings."""
    demo = demo_app()
    if demo is None:
        return {"visitor": None, "revenue_usd": usd(0), "settled": True}
    revenue = _balance_of(AccountKind.DEVELOPER, demo.app.developer_id)[0]
    content: dict[str, Any] = {"visitor": None, "revenue_usd": usd(revenue), "settled": True}
    if visitor is None:
        return content
    user_id = ensure_end_user(app_id=demo.app.id, external_id=visitor, anonymous=False, now=now)
    available, held = _balance_of(AccountKind.END_USER, user_id)
    totals = usage_totals(UsageFilter(end_user_id=user_id))
    content["settled"] = totals.calls == totals.rated and held == 0
    content["visitor"] = {
        "available_usd": usd(available),
        "held_usd": usd(held),
        "granted_usd": usd(GRANT),
        "calls": totals.calls,
        "totals": _split(totals.rated_price, totals.rated_cost, totals.developer),
        "latest": [_call(call) for call in calls_of_end_user(user_id, limit=LATEST_CALLS).calls],
    }
    return content


def _balance_of(kind: AccountKind, owner_id: str) -> tuple[int, int]:
    """Return (available, held) in nano-USD; nothing where the account was never opened."""
    account = account_id(kind, owner_id)
    if account is None:
        return 0, 0
    found = balance(account)
    return found.available, found.held


def _call(call: UsageCall) -> dict[str, Any]:
    split = call.charge
    return {
        "request_id": call.request_id,
        "model": call.served_model,
        "outcome": call.outcome,
        "charged": call.charged,
        "rated": call.rated_at is not None,
        "estimated": call.estimated,
        "shortened": call.output_cap is not None,
        "input_tokens": call.tokens.input + call.tokens.cache_read + call.tokens.cache_write,
        "output_tokens": call.tokens.output,
        "price_usd": usd(call.price),
        "at": call.effective_at.isoformat(),
        "split": None if split is None else _split(split.price, split.cost, split.developer),
    }


def _split(price: int, cost: int, developer: int) -> dict[str, str]:
    """Return the three parts of a price. The platform's is what is left: negative where it bears a failed call."""
    return {
        "price_usd": usd(price),
        "cost_usd": usd(cost),
        "developer_usd": usd(developer),
        "platform_usd": usd(price - cost - developer),
    }
