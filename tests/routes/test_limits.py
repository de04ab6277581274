"""Limits at the doors: who is limited, and what a client is told."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.features.queries import authenticate
from apps.usage.services.limits import delete_limit_rule, update_limit_rule
from apps.vault.models import ProviderCredential
from tests.live import ACTOR, MODEL, World
from tests.provider_double import ProviderDouble
from tests.routes.conftest import Notice
from tests.routes.doors import DOORS, open_doors

N = 2


def principal(world: World) -> Any:
    return authenticate(world.token, now=now())


def key_world(world: World) -> World:
    """Return the world as a virtual key of its app sees it."""
    return World(base_url=world.base_url, token=world.virtual_key(usd="5"), account_id=0)


# How each scope is limited for this caller, and somebody whom it does not concern.
IDS: dict[str, Callable[[World], str]] = {
    "platform": lambda world: "",
    "developer": lambda world: world.developer_id,
    "app": lambda world: world.app_id,
    "feature": lambda world: f"{world.app_id}/default",
    "end_user": lambda world: world.end_user_id,
    "key": lambda world: principal(world).id,
    "session": lambda world: principal(world).id,
    "ip": lambda world: "127.0.0.1",
}
NEIGHBOURS = {"end_user", "session", "key"}


@pytest.mark.parametrize(
    ("scope", "default"), [*((scope, False) for scope in IDS), ("session", True), ("feature", True)]
)
def test_one_call_too_many_is_refused_in_each_scope(
    world: World, double: ProviderDouble, noticed: Notice, scope: str, default: bool
) -> None:
    caller = key_world(world) if scope == "key" else world
    world.limit(scope, "" if default else IDS[scope](caller), rpm=N)
    noticed()
    for number in range(1, N + 1):
        answer = caller.chat()
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == str(N)
        assert answer.headers["x-ratelimit-remaining-requests"] == str(N - number)
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
    refused = caller.chat()
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "rate_limit_exceeded")
    assert error["details"] == {"scope": scope, "limit": N, "kind": "rpm"}
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert len(double.requests) == N
    if scope in NEIGHBOURS:
        neighbour = key_world(world) if scope == "key" else world.new_session("bob", usd="1")
        assert neighbour.chat().status_code == 200


def test_manifest_limits_each_user_of_its_feature(world: World, double: ProviderDouble, noticed: Notice) -> None:
    world.manifest(limits={"rpm": N})
    noticed()
    assert [world.chat().status_code for _ in range(N + 1)] == [200] * N + [429]
    assert world.chat().json()["error"]["details"]["scope"] == "feature_user"
    # A second session of the same user is the same user; another user is another.
    assert world.new_session("alice").chat().status_code == 429
    assert world.new_session("bob", usd="1").chat().status_code == 200
    assert len(double.requests) == N + 1


def test_key_at_its_limit_makes_room_for_the_next(
    world: World, double: ProviderDouble, noticed: Notice, settings: Any
) -> None:
    first = ProviderCredential.objects.get().id
    second = world.key("platform", "sk-second", priority=200)
    world.limit("credential", first, rpm=1)
    world.limit("credential", second, rpm=1)
    noticed()
    assert world.chat().status_code == 200
    answer = world.chat()
    assert answer.status_code == 200
    assert double.keys_used() == ["sk-double-0", "sk-second"]
    event = world.event(answer)
    assert [(a["credential_id"], a["code"]) for a in event.attempts] == [(first, "credential_rate_limited")]
    refused = world.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "provider_rate_limited")
    assert int(refused.headers["retry-after"]) >= 1
    assert len(double.requests) == 2
    # Our own limit says nothing of the provider's health.
    delete_all_limits()
    noticed()
    assert world.chat().status_code == 200
    assert double.keys_used()[-1] == "sk-double-0"


def delete_all_limits() -> None:
    from apps.usage.models import LimitRule

    for row in LimitRule.objects.all():
        delete_limit_rule(row.id, now=now(), actor=ACTOR)


def test_tokens_are_counted_when_they_are_known(world: World, double: ProviderDouble, noticed: Notice) -> None:
    world.limit("end_user", world.end_user_id, tpm=200)
    credential = ProviderCredential.objects.get().id
    world.limit("credential", credential, tpm=10_000)
    noticed()
    text = "[[prompt_tokens=100 completion_tokens=60]] Say hello"
    first = world.chat(text)
    assert first.headers["x-ratelimit-limit-tokens"] == "200"
    assert first.headers["x-ratelimit-remaining-tokens"] == "200"
    with world.stream(text) as response:
        assert response.headers["x-ratelimit-remaining-tokens"] == "40"
        response.read()
    refused = world.chat(text)
    assert refused.json()["error"]["details"] == {"scope": "end_user", "limit": 200, "kind": "tpm"}
    assert int(refused.headers["retry-after"]) >= 1
    assert len(double.requests) == 2


def test_changed_and_disabled_rules_count_at_once(world: World, double: ProviderDouble, noticed: Notice) -> None:
    rule = world.limit("app", world.app_id, rpm=1)
    noticed()
    assert [world.chat().status_code for _ in range(2)] == [200, 429]
    update_limit_rule(rule, rpm=3, now=now(), actor=ACTOR)
    noticed()
    assert [world.chat().status_code for _ in range(3)] == [200, 200, 429]
    update_limit_rule(rule, enabled=False, now=now(), actor=ACTOR)
    noticed()
    assert world.chat().status_code == 200


def test_every_door_is_limited_and_says_so_in_its_own_words(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    open_doors(world, double.base_url)
    world.limit("app", world.app_id, rpm=len(DOORS))
    noticed()
    for number, door in enumerate(DOORS, 1):
        answer = door.call(world)
        assert answer.headers["x-ratelimit-remaining-requests"] == str(len(DOORS) - number)
    for door in DOORS:
        refused = door.call(world)
        assert door.error(refused) == (429, "rate_limit_error", "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
    assert len(double.requests) + len(double.embeddings) == len(DOORS)


def test_repeat_with_the_same_key_is_not_counted(world: World, double: ProviderDouble, noticed: Notice) -> None:
    world.limit("app", world.app_id, rpm=1)
    noticed()
    headers = {"idempotency-key": "order-1"}
    first = world.chat(headers=headers)
    again = world.chat(headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.content == first.content
    other = {"idempotency-key": "order-2"}
    assert world.chat(headers=other).status_code == 429
    delete_all_limits()
    noticed()
    assert world.chat(headers=other).status_code == 200  # the key of a refused call may be used again


def test_rule_that_names_somebody_beats_the_default(world: World, noticed: Notice) -> None:
    """A rule that names somebody beats the default of the scope, in either direction."""
    world.limit("end_user", rpm=1)
    world.limit("end_user", world.end_user_id, rpm=2)
    noticed()
    assert [world.chat().status_code for _ in range(3)] == [200, 200, 429]
    bob = world.new_session("bob", usd="1")
    assert [bob.chat(model=MODEL).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("path", ["/v1/estimate", "/v1/messages/count_tokens"])
def test_what_only_counts_a_prompt_counts_as_a_request(world: World, noticed: Notice, path: str) -> None:
    world.limit("app", world.app_id, rpm=2, concurrency=1)
    noticed()
    with httpx.Client(base_url=world.base_url, headers=world.headers()) as client:
        statuses = [client.post(path, json=world.body("Say hello", max_tokens=5)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
