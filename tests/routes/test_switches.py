"""What is switched off is refused at every door within a second, and served again when it is switched on."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from apps.core.clock import now
from apps.developers.services.developers import disable_developer
from apps.features.queries import authenticate, feature_by_key
from apps.features.services.apps import disable_app, enable_app
from apps.features.services.end_users import disable_end_user, enable_end_user
from apps.features.services.features import disable_feature, enable_feature
from apps.features.services.tokens import revoke_session, revoke_virtual_key
from apps.ledger.services.accounts import freeze_wallet, unfreeze_wallet
from apps.vault.models import ProviderCredential
from apps.vault.services.credentials import disable_credential, enable_credential
from modelfaucet import env
from tests.live import ACTOR, World
from tests.provider_double import ProviderDouble
from tests.routes.conftest import Notice
from tests.routes.doors import DOORS, open_doors

BY: dict[str, Any] = {"actor": ACTOR}
Switch = Callable[[World], object]


def features(world: World, switch: Callable[..., object]) -> None:
    for key in ("default", "reply"):
        found = feature_by_key(world.app_id, key)
        assert found is not None
        switch(feature_id=found.id, now=now(), **BY)


def principal_id(world: World) -> str:
    return authenticate(world.token, now=now()).id


def credential_id() -> str:
    return ProviderCredential.objects.get().id


# Off, on again where that is possible, and what a client is told meanwhile.
SWITCHES: dict[str, tuple[Switch, Switch | None, tuple[int, str]]] = {
    "developer": (lambda w: disable_developer(w.developer_id, now=now(), **BY), None, (403, "developer_disabled")),
    "app": (
        lambda w: disable_app(app_id=w.app_id, now=now(), **BY),
        lambda w: enable_app(app_id=w.app_id, now=now(), **BY),
        (403, "app_disabled"),
    ),
    "feature": (
        lambda w: features(w, disable_feature),
        lambda w: features(w, enable_feature),
        (403, "feature_disabled"),
    ),
    "end user": (
        lambda w: disable_end_user(end_user_id=w.end_user_id, now=now(), **BY),
        lambda w: enable_end_user(end_user_id=w.end_user_id, now=now(), **BY),
        (403, "end_user_disabled"),
    ),
    "session": (lambda w: revoke_session(session_id=principal_id(w), now=now(), **BY), None, (401, "token_revoked")),
    "key": (lambda w: revoke_virtual_key(key_id=principal_id(w), now=now(), **BY), None, (401, "token_revoked")),
    "wallet": (
        lambda w: freeze_wallet(w.account_id, now=now(), **BY),
        lambda w: unfreeze_wallet(w.account_id, now=now(), **BY),
        (403, "wallet_frozen"),
    ),
    "credential": (
        lambda w: disable_credential(credential_id(), now=now(), **BY),
        lambda w: enable_credential(credential_id(), now=now(), **BY),
        (503, "no_route_available"),
    ),
}


@pytest.mark.parametrize("what", SWITCHES)
def test_switch_acts_within_a_second_at_every_door(
    world: World, double: ProviderDouble, noticed: Notice, settings: Any, what: str
) -> None:
    off, on, refusal = SWITCHES[what]
    open_doors(world, double.base_url)
    if what == "key":
        world.token = world.virtual_key(usd="5")
    noticed()
    settings.EPOCH_POLL = env.EPOCH_POLL  # as it is when nobody has set it
    for door in DOORS:
        assert door.call(world).status_code == 200
    served = len(double.requests) + len(double.embeddings)
    began = time.monotonic()
    off(world)
    while DOORS[0].call(world, "[[text=x]]").status_code == 200:
        served += 1
    assert time.monotonic() - began < 1
    for door in DOORS:
        assert door.error(door.call(world))[::2] == refusal
        if door.streams:
            assert door.error(door.call(world, stream=True))[::2] == refusal
    assert len(double.requests) + len(double.embeddings) == served
    if on is None:
        return
    settings.EPOCH_POLL = 0.05
    on(world)
    noticed()
    for door in DOORS:
        assert door.call(world).status_code == 200


def test_call_under_way_ends_with_what_it_began_with(world: World, double: ProviderDouble, noticed: Notice) -> None:
    with world.stream("[[slow interval=0.05]] Count") as response:
        lines = response.iter_lines()
        next(lines)
        disable_credential(credential_id(), now=now(), **BY)
        disable_app(app_id=world.app_id, now=now(), **BY)
        noticed()
        rest = list(lines)
    assert "data: [DONE]" in rest
    event = world.wait_for_event()
    assert (event.outcome, event.price_nano > 0) == ("finished", True)
