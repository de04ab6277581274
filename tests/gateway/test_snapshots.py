"""A kill switch acts within a poll of the policy epoch; so does whatever else an operator or developer changes."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

from apps.catalog.models import PriceVersion
from apps.catalog.queries import PriceTier
from apps.catalog.services.offers import (
    disable_offer,
    disable_provider,
    enable_offer,
    enable_provider,
    update_offer,
)
from apps.catalog.services.prices import publish_price
from apps.core.clock import now
from apps.core.epoch import forget_caller
from apps.core.money import nano_from_usd
from apps.developers.services.developers import disable_developer, enable_developer
from apps.features.models import VirtualKey, VirtualSession
from apps.features.queries import features_of_app
from apps.features.services.apps import disable_app, enable_app, set_app_terms
from apps.features.services.end_users import disable_end_user, enable_end_user
from apps.features.services.features import disable_feature, enable_feature, update_feature
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import issue_virtual_key, open_session, revoke_session, revoke_virtual_key
from apps.gateway import snapshots
from apps.gateway.lookups import Lookups
from apps.ledger.services.accounts import freeze_wallet, unfreeze_wallet
from apps.vault.models import ProviderCredential
from apps.vault.services.credentials import disable_credential, enable_credential, rotate_credential
from tests.live import ACTOR, Server, World, differences, notice, rate_all, wait_until
from tests.provider_double import ProviderDouble

BY: dict[str, Any] = {"actor": ACTOR}


def code(world: World) -> str:
    """Return the error code that a call gets, or `ok`."""
    response = world.chat()
    return "ok" if response.status_code == 200 else str(response.json()["error"]["code"])


def act(world: World, switch: Callable[[], object], expected: str, status: int | None = None) -> None:
    """Throw a switch and assert that calls are answered with `expected` soon."""
    switch()
    deadline = time.monotonic() + 10
    while (got := code(world)) != expected:
        assert time.monotonic() < deadline, f"{got}, not {expected}"
        time.sleep(0.02)
    if status is not None:
        assert world.chat().status_code == status


def test_every_switch_acts_within_a_second_both_ways(world: World, double: ProviderDouble) -> None:
    feature = features_of_app(world.app_id)[0].id
    credential = ProviderCredential.objects.get().id
    offer = world.offers[0]
    switches: list[tuple[Callable[[], object], str, int, Callable[[], object]]] = [
        (
            lambda: disable_app(app_id=world.app_id, now=now(), **BY),
            "app_disabled",
            403,
            lambda: enable_app(app_id=world.app_id, now=now(), **BY),
        ),
        (
            lambda: disable_feature(feature_id=feature, now=now(), **BY),
            "feature_disabled",
            403,
            lambda: enable_feature(feature_id=feature, now=now(), **BY),
        ),
        (
            lambda: disable_end_user(end_user_id=world.end_user_id, now=now(), **BY),
            "end_user_disabled",
            403,
            lambda: enable_end_user(end_user_id=world.end_user_id, now=now(), **BY),
        ),
        (
            lambda: disable_developer(world.developer_id, now=now(), **BY),
            "developer_disabled",
            403,
            lambda: enable_developer(world.developer_id, now=now(), **BY),
        ),
        (
            lambda: disable_provider("double-0", now=now(), **BY),
            "model_not_found",
            404,
            lambda: enable_provider("double-0", now=now(), **BY),
        ),
        (
            lambda: disable_offer(offer, now=now(), **BY),
            "model_not_found",
            404,
            lambda: enable_offer(offer, now=now(), **BY),
        ),
        (
            lambda: disable_credential(credential, now=now(), **BY),
            "no_route_available",
            503,
            lambda: enable_credential(credential, now=now(), **BY),
        ),
        (
            lambda: freeze_wallet(world.account_id, now=now(), **BY),
            "wallet_frozen",
            403,
            lambda: unfreeze_wallet(world.account_id, now=now(), **BY),
        ),
    ]
    assert code(world) == "ok"
    for switch, refused, status, back in switches:
        act(world, switch, refused, status)
        seen = len(double.requests)
        assert code(world) == refused
        assert len(double.requests) == seen
        act(world, back, "ok")
    rate_all()
    assert differences() == []


def test_revoked_session_and_key_are_refused(world: World) -> None:
    session = VirtualSession.objects.get().id
    assert code(world) == "ok"
    act(world, lambda: revoke_session(session_id=session, now=now(), **BY), "token_revoked", 401)
    world.token, key = issue_virtual_key(app_id=world.app_id, name="key", now=now(), **BY)
    assert code(world) == "insufficient_funds"
    act(world, lambda: revoke_virtual_key(key_id=key, now=now(), **BY), "token_revoked", 401)
    assert VirtualKey.objects.get().revoked_at is not None


def test_session_ends_at_its_time_without_a_switch(world: World) -> None:
    opened = open_session(
        app_id=world.app_id,
        feature_key=None,
        end_user_id=world.end_user_id,
        assurance="user_token",
        ttl=1,
        now=now() - timedelta(seconds=0.2),
    )
    world.token = opened.token
    assert code(world) == "ok"
    time.sleep(0.9)
    assert code(world) == "token_expired"
    assert world.chat().status_code == 401


def test_token_that_was_unknown_is_known_once_it_exists(world: World) -> None:
    world.token = "mf_sess_unknown"
    assert code(world) == "invalid_token"
    assert code(world.new_session(usd="1")) == "ok"


def test_changes_of_price_apply_to_the_next_call(world: World) -> None:
    def price() -> int:
        return nano_from_usd(world.chat().headers["x-modelfaucet-price-usd"])

    before = price()
    tier = PriceTier(0, *[nano_from_usd(usd) for usd in ("6", "0.60", "7.50", "30")])
    publish_price(world.offers[0], [tier], now(), "test", now=now(), **BY)
    wait_until(lambda: price() == 2 * before, 1)
    set_app_terms(app_id=world.app_id, terms=TermsInput(markup_bps=0), now=now(), **BY)
    wait_until(lambda: price() * 14 == 2 * before * 10, 1)
    rate_all()
    assert differences() == []


def test_price_dated_ahead_begins_by_itself(world: World, server: Server) -> None:
    def version() -> str:
        return str(world.event(world.chat()).price_version_id)

    first = version()
    tier = PriceTier(0, 1, 1, 1, 1)
    begins = now() + timedelta(seconds=0.8)
    second = publish_price(world.offers[0], [tier], begins, "test", now=now(), **BY)
    notice(server)
    assert version() == first
    wait_until(lambda: now() > begins)
    assert version() == second
    assert PriceVersion.objects.count() == 2
    rate_all()
    assert differences() == []


def test_changes_of_feature_offer_and_credential_apply(world: World, double: ProviderDouble) -> None:
    assert code(world) == "ok"
    feature = features_of_app(world.app_id)[0].id

    def last() -> dict[str, Any]:
        world.chat()
        return {**double.requests[-1].body, "key": double.requests[-1].headers["authorization"]}

    update_feature(feature_id=feature, max_output_tokens=77, now=now(), **BY)
    wait_until(lambda: last()["max_tokens"] == 77, 1)
    update_offer(world.offers[0], max_output_tokens=33, now=now(), **BY)
    wait_until(lambda: last()["max_tokens"] == 33, 1)
    rotate_credential(ProviderCredential.objects.get().id, secret="sk-rotated", now=now(), **BY)
    wait_until(lambda: last()["key"] == "Bearer sk-rotated", 1)


def test_plain_traffic_drops_no_snapshot(world: World, server: Server) -> None:
    notice(server)
    world.chat()
    runtime = server.gateway._runtime
    assert runtime is not None
    generation = runtime.snapshots._generation
    world.new_session(usd="1").chat()
    world.chat(headers={"idempotency_key": "k"})
    rate_all()
    notice(server)
    assert runtime.snapshots._generation == generation


def test_revoked_session_drops_its_own_caller_only(world: World, server: Server) -> None:
    other = world.new_session("bob", usd="1")
    notice(server)
    assert [world.chat().status_code, other.chat().status_code] == [200, 200]
    runtime = server.gateway._runtime
    assert runtime is not None
    kept, policy = dict(runtime.snapshots._callers), runtime.snapshots._policy
    assert len(kept) == 2
    act(world, lambda: revoke_session(session_id=_session_of(world), now=now(), **BY), "token_revoked", 401)
    left = dict(runtime.snapshots._callers)
    assert list(left.values()) == [caller for caller in kept.values() if caller.payer == other.end_user_id]
    assert runtime.snapshots._policy is policy
    assert code(other) == "ok"


def _session_of(world: World) -> str:
    return VirtualSession.objects.get(end_user_id=world.end_user_id).id


def test_caller_that_was_being_loaded_when_it_was_revoked_is_loaded_again(
    world: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = server.gateway._runtime
    assert runtime is not None
    notice(server)
    load, loaded = snapshots._load_caller, threading.Event()

    def slow(token: str, feature_key: str | None) -> snapshots.Caller:
        caller = load(token, feature_key)
        if not loaded.is_set():
            loaded.set()
            time.sleep(0.5)  # what was read is old by the time it arrives
        return caller

    monkeypatch.setattr(runtime.snapshots, "_lookups", Lookups(slow))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(world.chat)
        assert loaded.wait(5)
        revoke_session(session_id=_session_of(world), now=now(), **BY)
        assert answer.result().status_code == 401
    assert code(world) == "token_revoked"


@pytest.mark.parametrize("kind", ["session", "end_user", "developer"])
def test_caller_is_forgotten_by_whatever_it_belongs_to(world: World, server: Server, kind: str) -> None:
    subject = {"session": _session_of(world), "end_user": world.end_user_id, "developer": world.developer_id}[kind]
    notice(server)  # the making of the world
    world.chat()
    runtime = server.gateway._runtime
    assert runtime is not None
    assert len(runtime.snapshots._callers) == 1
    forget_caller(kind, "another")
    notice(server)
    assert len(runtime.snapshots._callers) == 1
    forget_caller(kind, subject)
    wait_until(lambda: len(runtime.snapshots._callers) == 0, 1)
    assert runtime.snapshots._keys == {}


def test_unknown_tokens_cost_one_query_for_a_while(world: World, server: Server, monkeypatch: Any) -> None:
    loads: list[str] = []
    load = snapshots._load_caller
    runtime = server.gateway._runtime
    assert runtime is not None

    def counted(token: str, feature_key: str | None) -> snapshots.Caller:
        loads.append(token)
        return load(token, feature_key)

    monkeypatch.setattr(runtime.snapshots, "_lookups", Lookups(counted))
    notice(server)  # the making of the world
    with httpx.Client(base_url=world.base_url, headers={"authorization": "Bearer mf_sess_guess"}) as client:
        assert {client.get("/v1/models").status_code for _ in range(5)} == {401}
    assert len(loads) == 1


def test_numbers_of_remembered_tokens_are_bounded(
    world: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.gateway import snapshots

    monkeypatch.setattr(snapshots, "MAX_REFUSALS", 5)
    monkeypatch.setattr(snapshots, "MAX_CALLERS", 2)
    notice(server)
    with httpx.Client(base_url=world.base_url) as client:
        for number in range(10):
            client.get("/v1/models", headers={"authorization": f"Bearer mf_sess_{number}"})
        for _ in range(4):
            token = world.new_session().token
            assert client.get("/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
    runtime = server.gateway._runtime
    assert runtime is not None
    assert len(runtime.snapshots._refusals) == 5
    assert len(runtime.snapshots._callers) == 2
    assert len(runtime.snapshots._keys) == 4  # two sessions of two end users
