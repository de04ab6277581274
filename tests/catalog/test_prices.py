from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction

from apps.catalog.models import MAX_PRICE, PriceVersion
from apps.catalog.models import PriceTier as PriceTierRow
from apps.catalog.queries import Price, PriceTier, load_catalog, load_prices, prices_in_force, prices_to_come
from apps.catalog.services.offers import add_offer
from apps.catalog.services.prices import complete_tier, publish_price
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.models import PolicyEpoch
from tests.catalog.factories import NOW, WHO, make_offer, make_provider, tier

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def test_published_price_is_in_force_from_its_moment_until_the_next() -> None:
    offer = make_offer()
    first = publish_price(offer, [tier(input=1)], NOW - 30 * DAY, "test", **WHO)
    second = publish_price(offer, [tier(input=2)], NOW, "test", **WHO)
    third = publish_price(offer, [tier(input=3)], NOW + DAY, "test", **WHO)

    def at(moment) -> str | None:
        price = prices_in_force([offer], now=moment).get(offer)
        return price and price.version_id

    assert at(NOW - 31 * DAY) is None
    assert at(NOW - 30 * DAY) == at(NOW - timedelta(microseconds=1)) == first
    assert at(NOW) == second
    assert at(NOW + DAY) == at(NOW + 999 * DAY) == third
    assert [(begins, price.version_id) for begins, price in prices_to_come([offer], now=NOW)[offer]] == [
        (NOW + DAY, third)
    ]


def test_catalog_tells_when_it_changes_next() -> None:
    offer = make_offer()
    assert load_catalog(now=NOW).next_change_at is None
    publish_price(offer, [tier()], NOW + 2 * DAY, "test", **WHO)
    publish_price(offer, [tier()], NOW + DAY, "test", **WHO)
    assert load_catalog(now=NOW).next_change_at == NOW + DAY
    assert load_catalog(now=NOW + DAY).next_change_at == NOW + 2 * DAY


def test_offer_without_a_price_has_none_rather_than_zero() -> None:
    offer = make_offer()
    publish_price(offer, [tier()], NOW + DAY, "test", **WHO)
    (found,) = load_catalog(now=NOW).offers["gpt-4o-mini"]
    assert found.price is None


def test_offers_of_a_model_come_in_order_of_priority(django_assert_num_queries) -> None:
    late = make_offer(priority=200)
    make_provider("acme", base_url="https://llm.acme.com/v1", resale_allowed=False)
    first = add_offer(
        provider="acme",
        model="gpt-4o-mini",
        upstream_model="mini",
        capabilities=["chat"],
        priority=10,
        tokenizer="o200k_base",
        context_window=8192,
        **WHO,
    )
    make_offer("gpt-4o", provider="acme")
    publish_price(first, [tier(from_tokens=100, input=7), tier(input=5)], NOW, "test", **WHO)
    with django_assert_num_queries(4):
        catalog = load_catalog(now=NOW)
    assert [offer.id for offer in catalog.offers["gpt-4o-mini"]] == [first, late]
    offer = catalog.offers["gpt-4o-mini"][0]
    assert (offer.provider, offer.base_url, offer.upstream_model) == ("acme", "https://llm.acme.com/v1", "mini")
    assert (offer.tokenizer, offer.context_window, offer.resale_allowed) == ("o200k_base", 8192, False)
    assert offer.capabilities == {"chat"}
    assert offer.price is not None
    assert [found.from_tokens for found in offer.price.tiers] == [0, 100]


def test_prices_load_by_version_and_unknown_ones_are_left_out() -> None:
    offer = make_offer()
    version = publish_price(offer, [PriceTier(0, 1, 2, 3, 4)], NOW, "test", **WHO)
    assert load_prices([version, "pv_unknown"]) == {version: Price(version, (PriceTier(0, 1, 2, 3, 4),))}
    assert load_prices([]) == {}


@pytest.mark.parametrize(("tokens", "start"), [(0, 0), (200_000, 0), (200_001, 200_001), (10**9, 900_000)])
def test_tier_is_chosen_by_the_whole_prompt(tokens: int, start: int) -> None:
    price = Price("pv_x", (tier(0), tier(200_001), tier(900_000)))
    assert price.tier(tokens).from_tokens == start


def test_missing_cache_price_is_the_input_price_and_zero_stays_zero() -> None:
    assert complete_tier(from_tokens=0, input=5, output=9) == PriceTier(0, 5, 5, 5, 9)
    assert complete_tier(from_tokens=0, input=5, output=9, cache_read=0, cache_write=0) == PriceTier(0, 5, 0, 0, 9)


@pytest.mark.parametrize(
    "tiers",
    [
        [],
        [tier(from_tokens=1)],
        [tier(), tier()],
        [tier(), tier(from_tokens=2**31)],
        [tier(input=-1)],
        [tier(output=MAX_PRICE + 1)],
        [tier(input=0.5)],  # type: ignore[arg-type]
        [tier(input=True)],
    ],
)
def test_tiers_that_do_not_price_every_prompt_once_are_refused(tiers: list[PriceTier]) -> None:
    offer = make_offer()
    with pytest.raises(BadRequest):
        publish_price(offer, tiers, NOW, "test", **WHO)
    assert not PriceVersion.objects.exists()


def test_price_cannot_begin_in_the_past_before_the_newest() -> None:
    offer = make_offer()
    publish_price(offer, [tier()], NOW - DAY, "test", **WHO)
    with pytest.raises(BadRequest):
        publish_price(offer, [tier()], NOW - 2 * DAY, "test", **WHO)
    with pytest.raises(Conflict):
        publish_price(offer, [tier()], NOW - DAY, "test", **WHO)
    publish_price(offer, [tier()], NOW + 5 * DAY, "test", **WHO)
    with pytest.raises(BadRequest):
        publish_price(offer, [tier()], NOW - timedelta(hours=1), "test", **WHO)
    publish_price(offer, [tier()], NOW + DAY, "test", **WHO)  # before the newest, but not in the past
    with pytest.raises(BadRequest):
        publish_price(offer, [tier()], NOW.replace(tzinfo=None), "test", **WHO)
    with pytest.raises(NotFound):
        publish_price(offer + 1, [tier()], NOW, "test", **WHO)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE price_versions SET valid_from = now()",
        "UPDATE price_tiers SET input = 0",
        "DELETE FROM price_tiers",
        "DELETE FROM price_versions",
        "INSERT INTO price_tiers (version_id, from_tokens, input, cache_read, cache_write, output)"
        " SELECT id, 1000, 1, 1, 1, 1 FROM price_versions",
    ],
)
def test_published_price_cannot_be_altered(statement: str) -> None:
    publish_price(make_offer(), [tier()], NOW, "test", **WHO)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_database_refuses_a_version_without_a_first_tier() -> None:
    offer = make_offer()
    version = PriceVersion(id="pv_1", offer_id=offer, valid_from=NOW, source="", created_at=NOW, created_by="")
    with pytest.raises(IntegrityError, match="no tier that starts at 0"), transaction.atomic():
        PriceTierRow.objects.create(version_id="pv_1", from_tokens=10, input=1, cache_read=1, cache_write=1, output=1)
        version.save(force_insert=True)


@pytest.mark.parametrize("kind", ["input", "cache_read", "cache_write", "output"])
@pytest.mark.parametrize("price", [-1, MAX_PRICE + 1])
def test_database_refuses_a_price_out_of_range(kind: str, price: int) -> None:
    prices = {"input": 1, "cache_read": 1, "cache_write": 1, "output": 1} | {kind: price}
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceTierRow.objects.create(version_id="pv_1", from_tokens=0, **prices)


def test_new_price_moves_the_policy_epoch() -> None:
    offer = make_offer()
    before = PolicyEpoch.objects.get().number
    publish_price(offer, [tier()], NOW, "test", **WHO)
    assert PolicyEpoch.objects.get().number > before
