"""Who may do what at every address of /v1: whose token, with which scope; a stranger, a revoked token, nobody.

The addresses and their methods are read off the resolver and the gateway's own table: one that is not classified here
fails the first test.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from django.test import Client

from apps.core.addresses import forget
from apps.core.clock import now
from apps.developers.models import DeveloperToken, Scope
from apps.developers.services.tokens import revoke_token
from apps.features.queries import authenticate
from apps.features.services.tokens import revoke_session
from apps.gateway.endpoints import FEATURES_PATH, MODELS_PATH, ROUTES
from tests.doors.addresses import addresses, changed, fingerprint
from tests.doors.furnished import Site, furnish
from tests.gateway.api_factories import make_developer_token
from tests.live import ACTOR, World

pytestmark = pytest.mark.django_db(transaction=True)
USER = "user"  # a session's end user
METHODS = ("get", "post", "put", "patch", "delete")
# What each method of an address takes, below developers/<developer_id>/ and apps/<app_id>: a scope of the developer's
# token.
DEVELOPERS = {
    "plan": "get billing:read",
    "subscription": "get billing:read, post billing:write, delete billing:write",
    "subscription/resume": "post billing:write",
    "savings": "get billing:read",
    "baseline": "get billing:read, post billing:write",
    "wallet": "get billing:read",
    "credits": "get billing:read",
    "top-ups": "get billing:read, post billing:write",
    "top-ups/<str:top_up_id>": "get billing:read",
    "top-ups/<str:top_up_id>/refund": "post billing:write",
    "auto-top-up": "get billing:read, put billing:write, delete billing:write",
    "payment-method": "get billing:read, delete billing:write",
    "promo-codes": "post billing:write",
    "analytics/cost-daily": "get usage:read",
    "analytics/model-usage": "get usage:read",
    "analytics/forecast": "get usage:read",
    "revenue": "get revenue:read",
    "exports/<str:kind>.csv": "get usage:read",
    "risk": "get revenue:read",
    "payouts": "get payouts:read, post payouts:write",
    "payouts/<str:payout_id>": "get payouts:read",
    "payout-account": "get payouts:read, post payouts:write",
    "apps": "get apps:read, post apps:write",
    "tokens": "get tokens:write, post tokens:write",
    "tokens/<str:token_id>": "delete tokens:write",
    "provider-keys": "get provider_keys:read, post provider_keys:write",
    "provider-keys/<str:key_id>": ("get provider_keys:read, patch provider_keys:write, delete provider_keys:write"),
    "provider-keys/<str:key_id>/validate": "post provider_keys:write",
    "provider-keys/<str:key_id>/rotate": "post provider_keys:write",
    "budgets": "get budgets:read, post budgets:write",
    "budgets/<str:budget_id>": "get budgets:read, patch budgets:write, delete budgets:write",
    "alert-endpoint": "get budgets:read, put budgets:write, delete budgets:write",
    "alerts": "get budgets:read",
}
APPS = {
    "": "get apps:read, patch apps:write",
    "/allowance-funds": "post billing:write",
    "/allowance-funds/withdraw": "post billing:write",
    "/usage": "get usage:read",
    "/prompt-logs": "get prompts:read",
    "/keys": "get keys:read, post keys:write",
    "/keys/<str:key_id>": "delete keys:write",
    "/features": "get apps:read, post apps:write",
    "/features/<str:feature_key>": "get apps:read, patch apps:write",
    "/features/<str:feature_key>/manifest": "get apps:read, put apps:write",
    "/features/<str:feature_key>/manifest/versions": "get apps:read",
    "/features/<str:feature_key>/manifest/versions/<int:number>": "get apps:read",
    "/features/<str:feature_key>/manifest/rollback": "post apps:write",
}
# What a session's end user may ask of its own.
USERS = {
    "sessions/current": "get delete",
    "user/wallet": "get",
    "user/credits": "get",
    "user/promo-codes": "post",
    "user/budget": "get put",
    "user/usage": "get",
    "user/page-links": "post",
    "user/top-ups": "get post",
    "user/top-ups/<str:top_up_id>": "get",
    "user/top-ups/<str:top_up_id>/refund": "post",
    "user/auto-top-up": "get put delete",
    "user/payment-method": "get delete",
    "user/exports/usage.csv": "get",
    "user/fees": "get",
    "user/fee-consents": "post",
    "user/fee-subscriptions": "post",
    "user/fee-subscriptions/<str:subscription_id>": "delete",
    "user/provider-keys": "get post",
    "user/provider-keys/<str:key_id>": "get patch delete",
    "user/provider-keys/<str:key_id>/validate": "post",
    "user/provider-keys/<str:key_id>/rotate": "post",
    "local/endpoints": "get post",
    "local/endpoints/<str:endpoint_id>": "get patch delete",
    "local/bridges": "get post",
    "local/bridges/<str:bridge_id>": "delete",
    "local/usage-reports": "post",
}
# For everybody, and what proves itself in its own way: test_api_sessions.py, test_webhook_*.
PUBLIC = {
    "contacts": "get",
    "plans": "get",
    "manifest-schema": "get",
    "manifest-templates": "get",
}
APART = {"sessions": "post", "stripe/webhook": "post", "receipts/<str:request_id>": "get", "providers/health": "get"}


@dataclass(frozen=True)
class Door:
    """One method of one address."""

    method: str
    path: str  # the pattern below v1/
    scope: str  # the developer's token must have it; USER where a session asks


def doors() -> Iterator[Door]:
    for start, table in (("developers/<str:developer_id>/", DEVELOPERS), ("apps/<str:app_id>", APPS)):
        for path, said in table.items():
            for each in said.split(", "):
                method, scope = each.split()
                yield Door(method, start + path, scope)
    for path, methods in USERS.items():
        yield from (Door(method, path, USER) for method in methods.split())


def resolved() -> set[tuple[str, str]]:
    """Return (method, pattern) of every JSON resource."""
    found = set()
    for each in addresses("v1/"):
        path = each.pattern.removeprefix("v1/")
        if path:
            view = each.view.view_class
            found |= {
                (method, path) for method in METHODS if hasattr(view, method) and method in view.http_method_names
            }
    return found


DOORS = list(doors())
OF_DEVELOPERS = [door for door in DOORS if door.scope != USER]
OF_USERS = [door for door in DOORS if door.scope == USER]


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def site(transactional_db: None) -> Site:
    return furnish()


def send(site: Site, door: Door, token: str | None, **other: str) -> Any:
    """Ask an address with a token; a body says nothing."""
    forget()
    path = door.path
    of_user = door.scope == USER
    key_id = site.args_of["me:key" if of_user else "console:key-revoke"]["key_id"]
    own = {"key_id": site.args["key_id"] if "provider-keys" in path and not of_user else key_id}
    if of_user:
        own["top_up_id"] = site.args_of["me:top-up"]["top_up_id"]
    for name, value in {**site.args, **own, **other}.items():
        path = path.replace(f"<str:{name}>", value).replace(f"<int:{name}>", value)
    assert "<" not in path, path
    headers = {"idempotency-key": "one"} | ({"authorization": f"Bearer {token}"} if token else {})
    ask = getattr(Client(), door.method)
    body = {} if door.method in ("get", "delete") else {"data": {}, "content_type": "application/json"}
    answered = ask(f"/v1/{path}", headers=headers, **body)
    answered.close()
    return answered


def changed_since(before: dict[str, str]) -> list[str]:
    """Return the tables that were changed, besides that of tokens, which note when they were used."""
    return [table for table in changed(before, fingerprint()) if table != "developer_tokens"]


def wrong_ones(found: dict[Door, tuple[int, str]], *expected: tuple[int, str]) -> str:
    return "\n".join(f"{door}: {answer}" for door, answer in found.items() if answer not in expected)


def answer(response: Any) -> tuple[int, str]:
    """Return the status and the error's code, empty where nothing was refused."""
    if response.status_code < 400:
        return response.status_code, ""
    return response.status_code, response.json()["error"]["code"]


def test_every_address_and_method_is_classified() -> None:
    written = {(door.method, door.path) for door in DOORS}
    written |= {(method, path) for table in (PUBLIC, APART) for path, said in table.items() for method in said.split()}
    found = resolved()
    assert (found - written, written - found) == (set(), set()), "classify new addresses in this file"
    assert {door.scope for door in OF_DEVELOPERS} == set(Scope.values)


def test_everybody_may_read_what_is_public(site: Site) -> None:
    found = {path: Client().get(f"/v1/{path}").status_code for path in PUBLIC}
    assert found == dict.fromkeys(PUBLIC, 200)


def test_nobody_is_let_in_without_a_token(site: Site) -> None:
    before = fingerprint()
    found = {door: answer(send(site, door, None)) for door in DOORS}
    assert not wrong_ones(found, (401, "missing_token"))
    found = {door: answer(send(site, door, "mf_dev_nothing")) for door in DOORS}
    assert not wrong_ones(found, (401, "invalid_token"))
    assert changed_since(before) == []


def test_a_developers_token_needs_the_scope(site: Site) -> None:
    without = {
        scope: make_developer_token(site.house.developer_id, [other for other in Scope.values if other != scope])
        for scope in Scope.values
    }
    before = fingerprint()
    found = {door: answer(send(site, door, without[door.scope])) for door in OF_DEVELOPERS}
    assert not wrong_ones(found, (403, "insufficient_scope"))
    assert changed_since(before) == []


def test_a_session_reads_everything_of_its_own(site: Site) -> None:
    reads = [door for door in OF_USERS if door.method == "get"]
    found = {door: answer(send(site, door, site.visitor.world.token)) for door in reads}
    assert not wrong_ones(found, (200, ""))


def test_a_developers_token_needs_no_other_scope(site: Site) -> None:
    tokens = {scope: make_developer_token(site.house.developer_id, [scope]) for scope in Scope.values}
    reads = [door for door in OF_DEVELOPERS if door.method == "get"]
    found = {door: answer(send(site, door, tokens[door.scope])) for door in reads}
    assert not wrong_ones(found, (200, ""))


def test_another_developer_finds_and_changes_nothing(site: Site) -> None:
    neighbour = site.neighbour
    token = make_developer_token(neighbour.developer_id)
    before = fingerprint()
    found = {door: answer(send(site, door, token)) for door in OF_DEVELOPERS}
    assert {status for status, _ in found.values()} == {404}, wrong_ones(
        found, (404, "developer_not_found"), (404, "app_not_found")
    )
    assert changed_since(before) == []


def test_another_developer_reaches_no_row_by_an_address_of_its_own(site: Site) -> None:
    """Their developer or app in the address, a row of ours behind it."""
    neighbour = site.neighbour
    token = make_developer_token(neighbour.developer_id)
    send(site, Door("get", "developers/<str:developer_id>/wallet", ""), token, developer_id=neighbour.developer_id)
    before = fingerprint()
    about_rows = [door for door in OF_DEVELOPERS if door.path.count("<") > 1 and "<str:kind>" not in door.path]
    assert len(about_rows) >= 15
    theirs = {"developer_id": neighbour.developer_id, "app_id": neighbour.app_id}
    found = {door: answer(send(site, door, token, **theirs)) for door in about_rows}
    # What a body must say is looked at first where one is written.
    assert not [
        (door, said) for door, said in found.items() if said[0] != 404 and (said[0], door.method) != (400, "patch")
    ]
    assert changed_since(before) == []


def test_another_user_reaches_no_row(site: Site) -> None:
    about_rows = [door for door in OF_USERS if "<" in door.path]
    assert len(about_rows) >= 8
    before = fingerprint()
    found = {door: answer(send(site, door, site.other.world.token)) for door in about_rows}
    # What a body must say is looked at first where one is written.
    assert not [
        (door, said) for door, said in found.items() if said[0] != 404 and (said[0], door.method) != (400, "patch")
    ]
    assert changed_since(before) == []


def test_revoked_tokens_open_nothing(site: Site) -> None:
    token = make_developer_token(site.house.developer_id)
    newest = DeveloperToken.objects.latest("id")
    revoke_token(newest.pk, now=now(), actor=ACTOR)
    session = site.visitor.world.token
    revoke_session(session_id=authenticate(session, now=now()).id, now=now(), actor=ACTOR)
    before = fingerprint()
    found = {door: answer(send(site, door, session if door.scope == USER else token)) for door in DOORS}
    assert not wrong_ones(found, (401, "token_revoked"))
    assert changed_since(before) == []


def test_a_token_of_the_wrong_kind_opens_nothing(site: Site) -> None:
    """A session's token is no developer's, nor the other way round."""
    token, session = make_developer_token(site.house.developer_id), site.visitor.world.token
    before = fingerprint()
    found = {door: answer(send(site, door, token if door.scope == USER else session)) for door in DOORS}
    assert not wrong_ones(found, (401, "invalid_token"))
    assert changed_since(before) == []


def test_a_receipt_is_found_by_whoever_has_a_part_in_it(site: Site) -> None:
    path = f"/v1/receipts/{site.args['request_id']}"
    mine, theirs = make_developer_token(site.house.developer_id), make_developer_token(site.neighbour.developer_id)
    asked = {site.visitor.world.token: 200, mine: 200, site.other.world.token: 404, theirs: 404}
    found = {token: Client().get(path, headers={"authorization": f"Bearer {token}"}).status_code for token in asked}
    assert found == asked
    assert Client().get(path).status_code == 401


def test_model_endpoints_take_a_token_that_is_not_revoked(world: World) -> None:
    """The gateway's own table, over a socket."""
    everything = [(method, path) for path, methods in ROUTES.items() for method in methods]
    everything += [("GET", f"{MODELS_PATH}/test-model"), ("POST", f"{FEATURES_PATH}/default/run")]
    revoked = world.new_session("bob", usd="1").token
    revoke_session(session_id=authenticate(revoked, now=now()).id, now=now(), actor=ACTOR)
    before = fingerprint()
    for token, code in ((None, "missing_token"), ("mf_sess_nothing", "invalid_token"), (revoked, "token_revoked")):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        for method, path in everything:
            body = None if method == "GET" else {"model": "test-model", "messages": [], "input": "x", "max_tokens": 5}
            said = httpx.request(method, f"{world.base_url}{path}", json=body, headers=headers, timeout=20)
            assert said.status_code == 401, (method, path, said.text)
            assert code in said.text or "/messages" in path, (method, path, said.text)
    assert changed_since(before) == []
