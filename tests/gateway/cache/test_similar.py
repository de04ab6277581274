"""Similar requests: found above the threshold, within a feature, never for what must be equal."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from django.db import connection

from apps.core.clock import now
from apps.core.money import usd
from apps.features.services.apps import create_app
from apps.gateway.cache.vectors import DIMENSIONS, hashed_ngrams, nearest, normalised
from apps.usage.models import SemanticEntry
from apps.usage.services.limits import create_limit_rule
from apps.usage.services.similar import clear_cached, purge_semantic_entries
from tests.gateway.cache.caching import EMBEDDER, HEADER, add_embedder, cached, events_of, text_of, told
from tests.live import ACTOR, MODEL, TERMS, World, differences, rate_all, wait_until
from tests.provider_double import ProviderDouble
from tests.settlement.asking import ask

ASKED = "How do I reset the password of my account?"
ALIKE = "how do i reset the password for my account"
OTHER = "Which planets of our solar system have rings?"


@pytest.fixture(autouse=True)
def proven(transactional_db: None) -> Iterator[None]:
    yield
    rate_all()
    assert differences() == []


def similar(world: World, **cache: Any) -> None:
    cached(world, **{"exact": False, "semantic": True, "threshold": 0.75, **cache})


def remembered(world: World, text: str = ASKED, **body: Any) -> None:
    """Ask, and wait until the prompt is kept for comparison."""
    before = SemanticEntry.objects.count()
    assert told(world.chat(text, **body)) == "miss"
    wait_until(lambda: SemanticEntry.objects.count() > before)


def cosine(one: str, other: str) -> float:
    first, second = hashed_ngrams(one), hashed_ngrams(other)
    assert first is not None and second is not None
    return float(first @ second)


# The built-in embedding.


def test_built_in_embedding_knows_spelling() -> None:
    assert cosine(ASKED, ASKED) == pytest.approx(1, abs=1e-5)
    assert cosine(ASKED, ASKED.upper() + "  !") == pytest.approx(1, abs=1e-5)
    assert cosine(ASKED, ALIKE) > 0.75
    assert cosine(ASKED, OTHER) < 0.4
    assert cosine("如何重置我的密码", "怎样重置我的密码") > cosine("如何重置我的密码", "太阳系有哪些行星") + 0.2


def test_built_in_embedding_is_the_same_everywhere() -> None:
    # Vectors of one process are compared with those of another, and with those of last week.
    vector = hashed_ngrams("Hello")
    assert vector is not None
    assert vector.shape == (DIMENSIONS,)
    assert [round(float(each), 4) for each in vector[np.argsort(-np.abs(vector), kind="stable")[:1]]] == [0.8885]
    assert hashed_ngrams(" ... ") is None


def test_nearest_comes_first_and_strangers_not_at_all() -> None:
    def stored(*numbers: float) -> bytes:
        vector = normalised(numbers)
        assert vector is not None
        return vector.astype("<f4").tobytes()

    vector = normalised((1, 0))
    assert vector is not None
    kept = [("far", stored(0, 1)), ("near", stored(1, 0.5)), ("nearest", stored(2, 0)), ("size", stored(1, 0, 0))]
    assert nearest(vector, kept, threshold=0.5) == ["nearest", "near"]
    assert nearest(vector, kept, threshold=1) == ["nearest"]
    assert nearest(vector, [], threshold=0.5) == []


@pytest.mark.parametrize("numbers", [[], [0.0, 0.0], [float("nan"), 1.0], [float("inf")], [1.0] * 9_000])
def test_what_has_no_direction_is_no_vector(numbers: list[float]) -> None:
    assert normalised(numbers) is None


# Over sockets.


def test_similar_prompt_gets_the_kept_answer_at_its_price(world: World, double: ProviderDouble) -> None:
    similar(world, hit_price_bps=5_000)
    remembered(world)
    hit = world.chat(ALIKE)
    assert told(hit) == "semantic"
    assert text_of(hit) == double.requests[0].text
    assert len(double.requests) == 1
    asked, kept = events_of(world)
    assert (kept.cache, kept.cache_price_bps, kept.cost_nano) == ("semantic", 5_000, 0)
    assert kept.price_nano == (asked.price_nano + 1) // 2
    assert hit.headers["x-modelfaucet-price-usd"] == usd(kept.price_nano)
    streamed = ask(world, ALIKE, stream=True)
    assert streamed.headers[HEADER] == "semantic" and streamed.text == text_of(hit)


def test_threshold_decides(world: World, double: ProviderDouble) -> None:
    similar(world, threshold=0.99)
    remembered(world)
    assert told(world.chat(ALIKE)) == "miss"
    assert told(world.chat(ASKED.upper())) == "semantic"


def test_exact_only_does_not_find_what_is_similar(world: World) -> None:
    cached(world)
    world.chat(ASKED)
    assert told(world.chat(ALIKE)) == "miss"
    assert SemanticEntry.objects.count() == 0


def test_equal_comes_before_similar(world: World, double: ProviderDouble) -> None:
    similar(world, exact=True)
    remembered(world)
    assert [told(world.chat(text)) for text in (ASKED, ALIKE)] == ["exact", "semantic"]


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.1},
        {"max_tokens": 9},
        {"messages": [{"role": "system", "content": "Answer in French."}, {"role": "user", "content": ALIKE}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"n": 2},
        {"messages": [{"role": "user", "content": f"{ALIKE} 17"}]},
        {"messages": [{"role": "user", "content": f"{ALIKE} it is for ann@example.com"}]},
        {"messages": [{"role": "user", "content": ALIKE, "name": "ann"}]},
        {"messages": [{"role": "user", "content": ALIKE}, {"role": "assistant", "content": "Well"}]},
    ],
)
def test_only_the_last_message_may_differ(world: World, double: ProviderDouble, other: dict[str, Any]) -> None:
    similar(world)
    remembered(world)
    assert told(world.chat(ALIKE, **other)) == "miss"
    assert len(double.requests) == 2


def test_prompts_with_personal_data_are_not_kept_for_comparison(world: World) -> None:
    similar(world)
    text = "Write to ann@example.com that the meeting is moved"
    assert told(world.chat(text)) == told(world.chat(text)) == "miss"
    assert SemanticEntry.objects.count() == 0


def test_another_app_finds_nothing(world: World, double: ProviderDouble) -> None:
    similar(world)
    remembered(world)
    assert told(world.new_session("bob", usd="1").chat(ALIKE)) == "semantic"
    other = create_app(
        developer_id=world.developer_id, name="Other", terms=TERMS, default_model=MODEL, now=now(), actor=ACTOR
    )
    stranger = World(base_url=world.base_url, developer_id=world.developer_id, app_id=other).new_session("s", usd="1")
    similar(stranger)
    wait_until(lambda: told(stranger.chat(OTHER)) is not None)
    assert told(stranger.chat(ALIKE)) == "miss"


def test_vectors_are_bounded_in_number_and_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.gateway.cache.similar.MOST_COMPARED", 3)
    similar(world, threshold=1)
    for word in ("one", "two", "three", "four", "five"):
        count = SemanticEntry.objects.order_by("-id").values_list("id", flat=True).first() or 0
        world.chat(f"Tell me of {word} please")
        wait_until(lambda last=count: SemanticEntry.objects.filter(id__gt=last).exists())
    assert SemanticEntry.objects.count() == 3
    entry = SemanticEntry.objects.order_by("-id").first()
    assert entry is not None
    assert (entry.app_id, entry.feature_key, entry.model) == (world.app_id, "default", "hashed-ngrams")
    assert len(bytes(entry.vector)) == DIMENSIONS * 4
    assert (entry.expires_at - entry.created_at).total_seconds() == 3600


def test_expired_vectors_are_not_found_and_then_purged(world: World, double: ProviderDouble) -> None:
    similar(world)
    remembered(world)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE semantic_entries SET created_at = now() - interval '3 hours', expires_at = now() - interval '1 s'"
        )
    assert told(world.chat(ALIKE)) == "miss"
    wait_until(lambda: SemanticEntry.objects.count() == 2)
    assert purge_semantic_entries(now=now()) == 1
    assert SemanticEntry.objects.count() == 1


def test_clearing_deletes_an_apps_vectors(world: World) -> None:
    similar(world)
    remembered(world)
    assert clear_cached("app_of_nobody") == 0
    assert clear_cached(world.app_id) == 1
    assert told(world.chat(ALIKE)) == "miss"


def test_call_is_served_while_the_vectors_are_out_of_reach(world: World, double: ProviderDouble) -> None:
    similar(world)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE semantic_entries RENAME TO elsewhere")
    try:
        assert told(world.chat(ASKED)) == "miss"
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO semantic_entries")
    assert len(double.requests) == 1


# By a model of the catalogue.


def test_operators_model_compares_and_is_paid_as_a_call_of_its_own(world: World, double: ProviderDouble) -> None:
    add_embedder()
    similar(world, embedding_model=EMBEDDER, threshold=1)
    remembered(world)
    hit = world.chat(ASKED)
    assert told(hit) == "semantic"
    assert (len(double.requests), len(double.embeddings)) == (1, 2)
    assert json.loads(double.embeddings[0].raw_body)["input"] == ASKED
    events = events_of(world)
    assert sorted(event.endpoint for event in events) == ["chat.completions"] * 2 + ["embeddings"] * 2
    paid = [event for event in events if event.endpoint == "embeddings"]
    assert {event.served_model for event in paid} == {EMBEDDER}
    assert all(event.price_nano > 0 and event.cache is None and event.cost_nano > 0 for event in paid)
    assert hit.headers["x-modelfaucet-embedding-price-usd"] == usd(paid[1].price_nano)
    assert SemanticEntry.objects.values_list("model", flat=True).get() == EMBEDDER


def test_embedding_is_a_part_of_its_call_for_limits(world: World, double: ProviderDouble) -> None:
    add_embedder()
    create_limit_rule(scope="app", scope_id=world.app_id, rpm=2, concurrency=1, now=now(), actor=ACTOR)
    similar(world, embedding_model=EMBEDDER, threshold=1)
    remembered(world)
    assert told(world.chat(ASKED)) == "semantic"
    assert world.chat(ASKED).status_code == 429
    assert len(double.embeddings) == 2


def test_equal_prompts_are_embedded_once_where_equal_answers_are_kept(world: World, double: ProviderDouble) -> None:
    add_embedder()
    similar(world, exact=True, embedding_model=EMBEDDER)
    world.chat(ASKED)
    world.chat(ASKED, temperature=0)  # another question to the model, the same to the embedder
    assert (len(double.requests), len(double.embeddings)) == (2, 1)
    assert [event.cache for event in events_of(world) if event.endpoint == "embeddings"] == [None, "exact"]


@pytest.mark.parametrize("model", ["no-such-model", MODEL])
def test_call_is_served_where_nothing_can_embed(world: World, double: ProviderDouble, model: str) -> None:
    similar(world, embedding_model=model)
    assert [told(world.chat(ASKED)) for _ in range(2)] == ["miss", "miss"]
    assert SemanticEntry.objects.count() == 0
    assert len(double.requests) == 2


def test_operators_choice_stands_for_manifests_that_name_none(
    world: World, double: ProviderDouble, settings: Any
) -> None:
    add_embedder()
    settings.CACHE_EMBEDDING_MODEL = EMBEDDER
    similar(world)
    remembered(world)
    assert len(double.embeddings) == 1


def test_embedding_is_done_beside_nothing_else() -> None:
    # The built-in embedding runs in the event loop: the longest text that is compared must not hold it up.
    async def story() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        hashed_ngrams("ab cd " * 1_333)
        return loop.time() - begin

    assert asyncio.run(story()) < 0.5
