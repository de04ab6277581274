"""Which local model stands in for what is asked: pure."""

from typing import Any

import pytest

from apps.features.bridges import ConnectedBridge
from apps.features.manifest import Manifest, Privacy, Routing
from apps.gateway.bridges.targets import Load, local_models, stand_ins
from tests.gateway.routing_factories import principal, wish

ANY = Routing(policy="local_first")


def bridge(name: str, *models: str | dict[str, Any], at_once: int = 4) -> ConnectedBridge:
    told = tuple({"id": model} if isinstance(model, str) else model for model in models)
    return ConnectedBridge(f"brg_{name}", f"conn_{name}", "elsewhere", "1", told, at_once)


def chosen(
    *bridges: ConnectedBridge,
    loads: dict[str, Load | None] | None = None,
    manifest: Manifest | None = None,
    routing: Routing | None = None,
    **asked: Any,
) -> list[str]:
    """Return bridge/model of the targets in the order in which a plan would try them."""
    known = loads or {}
    caller = principal(routing) if manifest is None else principal(manifest=manifest)
    targets = stand_ins(
        local_models(bridges, "usr_1"), caller, wish(**asked), lambda one: known.get(one.bridge_id, Load(0))
    )
    assert [target.credential.priority for target in targets] == list(range(len(targets)))
    assert all(target.mode == "local" and target.offer.price is None for target in targets)
    return [f"{target.credential.id}/{target.offer.upstream_model}" for target in targets]


def test_model_is_found_by_its_exact_id_under_any_policy() -> None:
    assert chosen(bridge("a", "x", "m")) == ["brg_a/m"]
    assert chosen(bridge("a", "x", "M")) == []
    assert chosen(bridge("a", "x", "m:latest")) == ["brg_a/m:latest"]
    assert chosen(bridge("a", "m:8b")) == []


def test_model_that_a_manifest_maps_is_found_before_any_other() -> None:
    mapped = Routing(fallback_models=("cloud", "llama", "qwen"))
    assert chosen(bridge("a", "x", "qwen", "llama"), routing=mapped) == ["brg_a/llama"]
    assert chosen(bridge("a", "llama", "m"), routing=mapped) == ["brg_a/m"]


@pytest.mark.parametrize("policy", ["local_first", "privacy_first"])
def test_any_model_serves_where_the_route_is_local(policy: Any) -> None:
    assert chosen(bridge("a", "x", "y"), bridge("b", "z"), routing=Routing(policy=policy)) == ["brg_a/x", "brg_b/z"]
    assert chosen(bridge("a", "x"), policy=policy) == ["brg_a/x"]


def test_any_model_serves_by_wish_or_privacy() -> None:
    assert chosen(bridge("a", "x"), prefer="local") == ["brg_a/x"]
    assert chosen(bridge("a", "x"), local_only=True) == ["brg_a/x"]
    assert chosen(bridge("a", "x"), manifest=Manifest(privacy=Privacy(mode="local_only"))) == ["brg_a/x"]
    assert chosen(bridge("a", "x"), model="auto", prefer="local") == ["brg_a/x"]


@pytest.mark.parametrize("policy", ["platform_pool", "byok_first", "cheapest_sufficient", "quality_first"])
def test_other_model_does_not_stand_in_under_other_policies(policy: Any) -> None:
    assert chosen(bridge("a", "x"), routing=Routing(policy=policy)) == []


def test_model_is_asked_only_for_what_it_does() -> None:
    offered = bridge("a", "nomic-embed-text", "x", {"id": "e", "capabilities": ["embeddings"]})
    assert chosen(offered, routing=ANY) == ["brg_a/x"]
    assert chosen(offered, routing=ANY, operation="embeddings") == ["brg_a/nomic-embed-text"]
    assert chosen(offered, routing=ANY, model="e", operation="embeddings") == ["brg_a/e"]
    assert chosen(bridge("a", {"id": "b", "capabilities": ["tools"]}), routing=ANY) == ["brg_a/b"]


def test_bridge_with_the_fewest_calls_comes_first() -> None:
    two = bridge("a", "m"), bridge("b", "m")
    assert chosen(*two, loads={"brg_a": Load(1)}) == ["brg_b/m", "brg_a/m"]
    assert chosen(*two, loads={"brg_a": Load(1, 7), "brg_b": Load(1, 8)}) == ["brg_a/m", "brg_b/m"]


def test_bridge_that_works_on_as_much_as_it_can_comes_last() -> None:
    narrow, wide = bridge("a", "m", at_once=1), bridge("b", "m", at_once=8)
    assert chosen(narrow, wide, loads={"brg_a": Load(1), "brg_b": Load(6)}) == ["brg_b/m", "brg_a/m"]


def test_bridge_that_is_gone_is_left_out() -> None:
    assert chosen(bridge("a", "m"), bridge("b", "m"), loads={"brg_a": None}) == ["brg_b/m"]
    assert chosen(bridge("a", "m"), loads={"brg_a": None}) == []
