"""Every policy in every state of the four key sources, against a table that was written apart from the code."""

from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from apps.core.errors import FaucetError
from apps.features.manifest import Manifest, Privacy, Routing
from apps.gateway.health import HealthView
from apps.gateway.routing import CallerRoutes, plan
from tests.gateway.routing_factories import credential, local_target, offer, price, principal, table, wish

LINES = Path(__file__).with_name("routes.tsv").read_text().splitlines()
ROWS = [line.split("\t") for line in LINES if not line.startswith("#")][1:]
POLICIES = list(dict.fromkeys(row[0] for row in ROWS))
NOW = 1000.0
OWNERS = {"byok": "end_user", "developer_key": "developer", "platform": "platform"}
COST = {"platform": 1, "developer_key": 2, "byok": 3}
QUALITY = {"local": 500, "developer_key": 600, "platform": 700, "byok": 800}
SECONDS = {"developer_key": 0.1, "local": 0.2, "byok": 0.3, "platform": 0.4}
DUE = {"platform": NOW + 10, "developer_key": NOW + 20, "byok": NOW + 30, "local": NOW + 5}
# The developer's key is billed to the payer at the provider's price.
TERMS = replace(principal().terms, developer_pricing="markup_share")


def arrange(policy: str, states: dict[str, str]) -> tuple[Any, ...]:
    """Each source has a provider of its own; a source that is absent has no key (and no bridge)."""
    offers = [offer(name, price=price(COST[mode], COST[mode]), quality=QUALITY[mode]) for mode, name in OWNERS.items()]
    held = {mode: credential(name, name) for mode, name in OWNERS.items() if states[mode] != "none"}
    local = local_target(quality=QUALITY["local"])
    manifest = (
        Manifest(privacy=Privacy(mode="local_only"))
        if policy == "local_only"
        else Manifest(routing=Routing(policy=policy))  # type: ignore[arg-type]
    )
    routes = CallerRoutes(
        table(*offers, credentials=tuple(key for key in held.values() if key.owner_class == "platform")),
        principal(manifest=manifest, terms=TERMS),
        [key for key in held.values() if key.owner_class != "platform"],
        acknowledged_fee=0,
    )
    keys = {mode: (key.id, f"{key.provider}-m") for mode, key in held.items()} | {"local": local.health_key}
    down = {key: DUE[mode] for mode, key in keys.items() if states[mode] == "down"}
    latency = {key: SECONDS[mode] for mode, key in keys.items()}
    asked = wish(local=() if states["local"] == "none" else (local,))
    return routes, asked, HealthView(down, frozenset(), latency, NOW)


@pytest.mark.parametrize("policy", POLICIES)
def test_policy_comes_to_what_the_table_says_in_every_state(policy: str) -> None:
    rows = [row for row in ROWS if row[0] == policy]
    assert len(rows) == 3**4
    wrong = []
    for _, local, byok, developer, platform, expected in rows:
        states = {"local": local, "byok": byok, "developer_key": developer, "platform": platform}
        routes, asked, health = arrange(policy, states)
        try:
            decision = plan(routes, asked, health, rng=Random(1))
            came_to = " ".join(target.mode for target in decision.targets)
            assert decision.redact is (policy == "privacy_first" and "local" not in came_to)
            # What is there and is not tried was rejected with a reason.
            seen = set(came_to.split()) | {each.mode for each in decision.rejected}
            assert policy == "local_only" or {mode for mode in states if states[mode] != "none"} <= seen
        except FaucetError as error:
            came_to = f"!{error.code}"
            assert error.details is not None
            assert error.details["rejected"]
        if came_to != expected:
            wrong.append((states, expected, came_to))
    assert not wrong


def test_table_is_complete() -> None:
    assert len(ROWS) == len({tuple(row[:5]) for row in ROWS}) == 9 * 3**4
