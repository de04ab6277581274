"""Which of several keys serves a call: switched off and on, limited in scope, by priority, by weight."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from apps.catalog.services.offers import disable_offer, disable_provider, enable_offer, enable_provider
from apps.core.clock import now
from apps.vault.services.credentials import (
    delete_credential,
    disable_credential,
    enable_credential,
    rotate_credential,
    update_credential,
)
from tests.live import ACTOR, MODEL, World
from tests.provider_double import Behaviour, ProviderDouble
from tests.routes.conftest import Notice
from tests.routes.doors import serve

BY: dict[str, Any] = {"actor": ACTOR}
FIRST = "sk-double-0"


def used(world: World, double: ProviderDouble, **body: Any) -> str:
    """Return the key that the next call is sent with; empty where it is refused."""
    before = len(double.requests)
    answer = world.chat(**body)
    if answer.status_code != 200:
        assert len(double.requests) == before, answer.text
        return ""
    return double.keys_used()[-1]


@pytest.mark.parametrize("owner", ["operator", "developer", "end_user"])
def test_key_is_used_until_it_is_switched_off_and_again_when_it_is_switched_on(
    world: World, double: ProviderDouble, noticed: Notice, owner: str
) -> None:
    policy = {"developer": "developer_key_first", "end_user": "byok_first"}.get(owner, "platform_pool")
    world.manifest(routing={"policy": policy})
    world.acknowledge()
    added = world.key(owner, "sk-added", priority=1)
    noticed()
    assert used(world, double) == "sk-added"
    disable_credential(added, now=now(), **BY)
    noticed()
    assert used(world, double) == FIRST
    enable_credential(added, now=now(), **BY)
    noticed()
    assert used(world, double) == "sk-added"
    rotate_credential(added, secret="sk-rotated", now=now(), **BY)
    noticed()
    assert used(world, double) == "sk-rotated"
    update_credential(added, priority=5, now=now(), **BY)  # a key that was replaced is not used again by a change of it
    noticed()
    assert used(world, double) == "sk-rotated"


def test_deleted_key_and_provider_and_offer_switched_off_are_not_used(
    world: World, double: ProviderDouble, noticed: Notice
) -> None:
    added = world.key("platform", "sk-added", priority=1)
    noticed()
    assert used(world, double) == "sk-added"
    delete_credential(added, now=now(), **BY)
    noticed()
    assert used(world, double) == FIRST
    switches: list[tuple[Any, Any, Any]] = [
        (disable_provider, enable_provider, "double-0"),
        (disable_offer, enable_offer, world.offers[0]),
    ]
    for off, on, what in switches:
        off(what, now=now(), **BY)
        noticed()
        assert used(world, double) == ""
        on(what, now=now(), **BY)
        noticed()
        assert used(world, double) == FIRST


def test_scope_of_a_key_binds(world: World, double: ProviderDouble, noticed: Notice) -> None:
    serve(world, "other-model", "double-0", double.base_url)
    added = world.key("platform", "sk-added", priority=1, models_allowed=["other-model"])
    noticed()
    assert used(world, double) == FIRST
    assert used(world, double, model="other-model") == "sk-added"
    rejected = {"candidate": f"double-0/{MODEL}", "mode": "platform", "reason": "model_not_allowed_for_credential"}
    assert rejected in world.event(world.chat()).routing["rejected"]

    update_credential(added, models_allowed=[], apps_allowed=[world.app_id], now=now(), **BY)
    noticed()
    assert used(world, double) == "sk-added"
    world.manifest("special", models={"default": MODEL}, prompt={"user": "{{ input.text }}"})
    update_credential(added, features_allowed=["special"], now=now(), **BY)
    noticed()
    assert used(world, double) == FIRST
    special = httpx.post(
        f"{world.base_url}/v1/features/special", json={"input": {"text": "x"}}, headers=world.headers(), timeout=30
    )
    assert special.status_code == 200, special.text
    assert double.keys_used()[-1] == "sk-added"


def test_developers_key_for_another_app_is_not_used(world: World, double: ProviderDouble, noticed: Notice) -> None:
    from apps.features.services.apps import create_app

    other = create_app(developer_id=world.developer_id, name="Other", default_model=MODEL, now=now(), **BY)
    world.manifest(routing={"policy": "developer_key_first"})
    key = world.key("developer", "sk-developer", apps_allowed=[other])
    noticed()
    assert used(world, double) == FIRST
    update_credential(key, apps_allowed=[world.app_id], now=now(), **BY)
    noticed()
    assert used(world, double) == "sk-developer"


@pytest.mark.parametrize(("owner", "stream"), [("platform", True), ("developer", False), ("end_user", True)])
def test_second_key_serves_when_the_first_fails(
    world: World, double: ProviderDouble, noticed: Notice, owner: str, stream: bool
) -> None:
    policy = {"developer": "developer_key_first", "end_user": "byok_first"}.get(owner, "platform_pool")
    world.manifest(routing={"policy": policy})
    world.acknowledge()
    first = world.key(owner, "sk-first", priority=1)
    second = world.key(owner, "sk-second", priority=2)
    double.by_key["sk-first"] = Behaviour(status=401)
    noticed()
    answer = world.chat(stream=stream)
    assert answer.status_code == 200
    assert double.keys_used() == ["sk-first", "sk-second"]
    event = world.event(answer)
    assert [attempt["credential_id"] for attempt in event.attempts] == [first]
    assert (event.credential_id, event.route_mode) == (second, answer.headers["x-modelfaucet-route-mode"])
    assert event.attempts[0]["code"] == "provider_auth_failed"
    # A key that was refused is not asked again with every call.
    assert used(world, double) == "sk-second"
    assert double.keys_used() == ["sk-first", "sk-second", "sk-second"]
    reasons = [entry["reason"] for entry in world.event(world.chat()).routing["rejected"]]
    assert "circuit_open" in reasons


def test_calls_are_balanced_by_weight(world: World, double: ProviderDouble, noticed: Notice) -> None:
    """300 calls by weights of 1, 2 and 3; the bounds are five standard deviations away."""
    disable_credential(_only_key(world), now=now(), **BY)
    weights = {"sk-1": 1, "sk-2": 2, "sk-3": 3}
    for secret, weight in weights.items():
        world.key("platform", secret, weight=weight)
    world.key("platform", "sk-reserve", priority=200, weight=1000)
    noticed()
    world.fund("100")
    body, headers = world.body("[[text=x]]"), world.headers()
    with httpx.Client(timeout=30) as client, ThreadPoolExecutor(4) as pool:

        def call(_: int) -> int:
            return client.post(f"{world.base_url}/v1/chat/completions", json=body, headers=headers).status_code

        assert set(pool.map(call, range(300))) == {200}
    counts = Counter(double.keys_used())
    assert set(counts) == set(weights)
    for secret, weight in weights.items():
        share = weight / 6
        assert abs(counts[secret] - 300 * share) < 5 * (300 * share * (1 - share)) ** 0.5, counts


def _only_key(world: World) -> str:
    from apps.vault.models import ProviderCredential

    return ProviderCredential.objects.get().id
