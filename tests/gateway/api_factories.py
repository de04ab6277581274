"""What the JSON resources are tested on: an app without a server, and calls settled as the gateway settles them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import jwt
from django.db import connection
from django.test import Client

from apps.catalog.queries import load_catalog
from apps.core import addresses
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import nano_from_usd
from apps.developers.models import Scope
from apps.developers.services.developers import create_developer
from apps.developers.services.tokens import issue_token
from apps.features.queries import app_by_id, authenticate
from apps.features.services.apps import create_app
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import grant
from apps.ledger.statements import TAKE_HOLDS, HoldRequest, take_parameters
from apps.usage.rate import PLATFORM, Overheads, Tokens, rate
from apps.usage.services.settle import METER, SETTLE, Settlement, UsageRecord, settle_parameters
from apps.vault.services.app_secrets import issue_app_secret
from tests.live import ACTOR, MODEL, World, make_world

PROVIDER_URL = "https://api.provider.example/v1"
TOKENS = Tokens(input=1000, cache_read=100, cache_write=10, output=200, reasoning=50)


@dataclass
class Api:
    """A world (one developer, one app, one funded end user), its secrets, and a client to ask with."""

    world: World
    public_id: str
    secret: str
    developer_token: str
    client: Client

    @property
    def app_id(self) -> str:
        return self.world.app_id

    @property
    def developer_id(self) -> str:
        return self.world.developer_id

    def get(self, path: str, token: str | None = None, **headers: str) -> Any:
        return self.client.get(path, headers=_headers(token, headers))

    def post(self, path: str, body: Any = None, token: str | None = None, **headers: str) -> Any:
        content = {} if body is None else body
        return self.client.post(path, content, content_type="application/json", headers=_headers(token, headers))

    def delete(self, path: str, token: str | None = None, **headers: str) -> Any:
        return self.client.delete(path, headers=_headers(token, headers))

    def usage(self, query: str = "") -> Any:
        """Return the app's usage as its developer sees it."""
        response = self.get(f"/v1/apps/{self.app_id}/usage{query}", self.developer_token)
        assert response.status_code == 200, response.content
        return response.json()

    def user_token(self, user: str = "alice", *, secret: str = "", lifetime: int = 300, **claims: Any) -> str:
        """Sign a user token as the app's backend does."""
        moment = int(now().timestamp())
        content = {"sub": user, "aud": self.public_id, "iat": moment, "exp": moment + lifetime, **claims}
        return jwt.encode(content, secret or self.secret, algorithm="HS256")

    def fund_allowance(self, usd: str) -> int:
        """Fund the app's free allowance and return its account."""
        account = open_account(kind=AccountKind.APP_ALLOWANCE, owner_id=self.app_id, now=now())
        grant(account, nano_from_usd(usd), idempotency_key=new_id("fund"), now=now(), actor=ACTOR)
        return account


def make_api(client: Client) -> Api:
    """Make a world that no server serves, whose model can be routed; no address has asked for anything yet."""
    addresses.forget()
    world = make_world("", PROVIDER_URL, usd="10")
    secret = issue_app_secret(world.app_id, now=now(), actor=ACTOR)
    info = app_by_id(world.app_id)
    assert info is not None
    return Api(world, info.public_id, secret, make_developer_token(world.developer_id), client)


def make_stranger() -> tuple[str, str, str]:
    """Make another developer with an app; return (developer id, app id, a token with every scope)."""
    moment = now()
    developer_id = create_developer("Stranger", "stranger@example.com", now=moment, actor=ACTOR)
    app_id = create_app(developer_id=developer_id, name="Strange app", now=moment, actor=ACTOR)
    return developer_id, app_id, make_developer_token(developer_id)


def make_developer_token(
    developer_id: str, scopes: Collection[str] = tuple(Scope.values), *, expires_at: datetime | None = None
) -> str:
    return issue_token(developer_id, "test", scopes, expires_at, now=now(), actor=ACTOR)[0]


def settle_call(
    token: str, *, tokens: Tokens = TOKENS, charged: bool = True, at: datetime | None = None, **row: Any
) -> str:
    """Hold, settle and store one call by the bearer of `token`, and return its request id."""
    moment = at or now()
    principal = authenticate(token, now=now())
    offer = load_catalog(now=now()).offers[MODEL][0]
    charge = rate(tokens, offer.price, principal.terms, mode=PLATFORM, overheads=Overheads(), charged=charged)
    if principal.end_user_id is not None:
        account = open_account(kind=AccountKind.END_USER, owner_id=principal.end_user_id, now=moment)
    else:
        account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=principal.developer_id, now=moment)
    request_id = new_id("req")
    values: dict[str, Any] = {
        "request_id": request_id,
        "app_id": principal.app_id,
        "developer_id": principal.developer_id,
        "end_user_id": principal.end_user_id,
        "feature_key": principal.feature_key,
        "principal_id": principal.id,
        "account_id": account,
        "endpoint": "chat.completions",
        "stream": False,
        "route_mode": PLATFORM,
        "provider": offer.provider,
        "credential_id": "cred_secret",
        "requested_model": MODEL,
        "served_model": "upstream-model",
        "outcome": "finished",
        "charged": charged,
        "finish_reason": "stop",
        "error_code": None,
        "status": 200,
        "input_tokens": tokens.input,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "estimated": False,
        "output_cap": None,
        "price_version_id": offer.price.version_id if offer.price else None,
        "terms_id": principal.terms.id,
        "infra_nano": 0,
        "payment_bps": 0,
        "price_nano": charge.price,
        "cost_nano": charge.cost,
        "attempts": [
            {
                "provider": "double-9",
                "credential_id": "cred_secret",
                "model": "m",
                "code": "down",
                "status": 503,
                "ms": 4,
            }
        ],
        "started_at": moment.timestamp() - 0.08,
        "first_byte_ms": 40,
        "duration_ms": 80,
        "effective_at": moment.timestamp(),
        **row,
    }
    hold = HoldRequest(request_id, account, charge.price * 2, charge.price * 2, 60.0, {})
    with connection.cursor() as cursor:
        cursor.execute(TAKE_HOLDS, take_parameters([hold]))
        assert cursor.fetchone()[3] == "granted"
        cursor.execute(SETTLE, settle_parameters([Settlement(UsageRecord(**values))]))
        cursor.execute(METER, ([request_id],))
    return request_id


def error_of(response: Any) -> dict[str, Any]:
    """Return the error of an answer, having checked that it is in the envelope."""
    content = response.json()
    assert content.keys() == {"error"}
    error: dict[str, Any] = content["error"]
    assert error.keys() - {"details"} == {"message", "type", "code", "param", "request_id"}
    assert error["message"] and error["request_id"] == response.headers["x-request-id"]
    return error


def code_of(response: Any) -> tuple[int, str]:
    """Return an error's status and code."""
    return response.status_code, error_of(response)["code"]


def _headers(token: str | None, headers: dict[str, str]) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return named if token is None else {"authorization": f"Bearer {token}", **named}
