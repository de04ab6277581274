"""Kept answers in every client format, beside redaction, and in their limits."""

from typing import Any

import httpx
import pytest

from apps.core.clock import now
from apps.features.services.features import create_feature
from apps.features.services.manifests import put_manifest
from apps.usage.services.limits import create_limit_rule
from tests.gateway.cache.caching import EMBEDDER, HEADER, add_embedder, cached, events_of, told
from tests.live import ACTOR, MODEL, World, differences, rate_all, wait_until
from tests.provider_double import Behaviour, ProviderDouble
from tests.settlement.asking import ask

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"model": MODEL, "input": "Hi"},
    "/v1/messages": {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]},
}


def post(world: World, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{world.base_url}{path}", json={**REQUESTS[path], **body}, headers=world.headers(), timeout=30)


def without_identity(value: Any) -> Any:
    """Return an answer without what is new with each request."""
    if isinstance(value, dict):
        return {k: without_identity(v) for k, v in value.items() if k not in ("id", "created", "created_at", "item_id")}
    return [without_identity(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("behaviour", ["normal", "tool", "reasoning"])
def test_kept_answer_is_the_answer_in_each_format(
    world: World, double: ProviderDouble, path: str, behaviour: str
) -> None:
    cached(world)
    double.script(behaviour)
    first, again = post(world, path), post(world, path)
    assert (told(first), told(again)) == ("miss", "exact")
    assert without_identity(first.json()) == without_identity(again.json())
    assert first.json()["id"] != again.json()["id"]
    assert len(double.requests) == 1
    streamed = post(world, path, stream=True)
    assert streamed.headers[HEADER] == "exact"
    assert len(double.requests) == 1
    rate_all()
    assert differences() == []


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize("behaviour", ["normal", "tool", "reasoning"])
def test_kept_stream_tells_what_the_stream_told(
    world: World, double: ProviderDouble, path: str, behaviour: str
) -> None:
    cached(world)
    double.script(behaviour)
    first, again, whole = post(world, path, stream=True), post(world, path, stream=True), post(world, path)
    assert [each.headers[HEADER] for each in (first, again, whole)] == ["miss", "exact", "exact"]
    assert len(double.requests) == 1
    text = "" if behaviour == "tool" else double.requests[0].text
    assert text in whole.text and first.text.rstrip().splitlines()[-1][:20] == again.text.rstrip().splitlines()[-1][:20]
    kinds = [{line for line in answer.text.splitlines() if line.startswith("event: ")} for answer in (first, again)]
    assert kinds[0] == kinds[1]


def test_typed_feature_is_cached_by_its_own_manifest(world: World, double: ProviderDouble) -> None:
    feature = create_feature(app_id=world.app_id, key="reply", name="reply", now=now(), actor=ACTOR)
    source = f"""
models: {{default: {MODEL}}}
prompt: {{system: Be kind., user: "Answer: {{{{ input.text }}}}"}}
cache: {{exact: true, hit_price_bps: 100}}
"""
    put_manifest(feature_id=feature, source=source, source_format="yaml", may_price=True, now=now(), actor=ACTOR)

    def call(text: str) -> httpx.Response:
        url = f"{world.base_url}/v1/features/reply"
        return httpx.post(url, json={"input": {"text": text}}, headers=world.headers(), timeout=30)

    assert [told(call("a")), told(call("a")), told(call("b"))] == ["miss", "exact", "miss"]
    same = world.chat("Answer: a", messages=[{"role": "system", "content": "Be kind."}])
    assert told(same) is None
    assert len(double.requests) == 3


def test_embeddings_are_cached_to_the_last_number(world: World, double: ProviderDouble) -> None:
    add_embedder()
    cached(world, hit_price_bps=5_000)

    def embed(**body: Any) -> httpx.Response:
        url = f"{world.base_url}/v1/embeddings"
        sent = {"model": EMBEDDER, "input": ["one", "two"], **body}
        return httpx.post(url, json=sent, headers=world.headers(), timeout=30)

    first, again = embed(), embed(user="u")
    assert (told(first), told(again)) == ("miss", "exact")
    assert first.json() == again.json()
    assert told(embed(dimensions=8)) == told(embed(encoding_format="base64")) == "miss"
    assert len(double.embeddings) == 3
    rate_all()
    assert differences() == []


def test_what_was_redacted_neither_is_kept_nor_finds_anything(world: World, double: ProviderDouble) -> None:
    cached(world, semantic=True, privacy={"mode": "redact_before_cloud"})
    for name in ("ann", "ben"):
        double.script(Behaviour(text="I wrote to [EMAIL_1]."))
        answer = world.chat(f"Write to {name}@example.com")
        assert told(answer) is None
        assert answer.json()["choices"][0]["message"]["content"] == f"I wrote to {name}@example.com."
    assert len(double.requests) == 2
    assert [told(world.chat("Nothing personal")) for _ in range(2)] == ["miss", "exact"]


def test_hits_count_as_calls_and_not_as_tokens(world: World, double: ProviderDouble) -> None:
    create_limit_rule(scope="app", scope_id=world.app_id, rpm=3, now=now(), actor=ACTOR)
    cached(world)
    assert [told(world.chat("Hi")) for _ in range(3)] == ["miss", "exact", "exact"]
    assert world.chat("Hi").status_code == 429


def test_tokens_of_a_hit_are_not_counted_again(world: World) -> None:
    cached(world)
    full = world.chat("Hi")
    used = full.json()["usage"]["total_tokens"]
    # One call's tokens leave room for the next one; two calls' would not.
    create_limit_rule(scope="app", scope_id=world.app_id, tpm=used * 2, now=now(), actor=ACTOR)
    assert [world.chat("Hi").status_code for _ in range(6)] == [200] * 6


def test_hits_leave_the_limits_of_provider_keys_alone(world: World, double: ProviderDouble) -> None:
    cached(world)
    world.chat("Hi")
    credential = events_of(world)[0].credential_id
    create_limit_rule(scope="credential", scope_id=credential, rpm=1, now=now(), actor=ACTOR)
    wait_until(lambda: world.chat("Other", headers={"cache_control": "no-cache"}).status_code == 429)
    assert told(world.chat("Other")) == "exact"


@pytest.mark.parametrize("stream", [False, True])
def test_estimated_usage_stays_estimated(world: World, double: ProviderDouble, stream: bool) -> None:
    cached(world, hit_price_bps=10_000)
    double.script("usage-missing")
    first, again = ask(world, stream=stream), ask(world, stream=not stream)
    assert again.headers[HEADER] == "exact"
    assert first.estimated and again.estimated
    assert first.price_usd == again.price_usd
