"""Forecast and advice: pure functions over daily totals, what is read for them, and their page."""

import time
from datetime import UTC, date, timedelta
from typing import Any

import pytest
from django.core.cache import cache

from apps.catalog.models import ModelOffer
from apps.catalog.queries import Offer, Price, PriceTier
from apps.catalog.services.offers import add_model, add_offer
from apps.catalog.services.prices import complete_tier, publish_price
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.developers.models import Role
from apps.usage.advice import (
    Amounts,
    Basis,
    Kind,
    Sample,
    advise,
    batches,
    caches,
    cheaper_models,
    forecast,
)
from apps.usage.budgets.queries import budget_state
from apps.usage.days import DayTotals, every_step, first_of, summed
from apps.usage.models import BudgetPeriod
from apps.usage.outlook import forecast_of, outlook_of, samples
from apps.usage.rate import PLATFORM
from apps.usage.services.budgets import create_budget
from tests.console.seats import ACTOR, House, make_house
from tests.console.test_usage_pages import text_of
from tests.gateway.api_factories import make_stranger
from tests.live import MODEL, rate_all

USD = 10**9
TODAY = date(2026, 2, 10)
FEATURE = ("app_1", "chat")


def totals(*key: Any, calls: int = 1, cost: int = 0, **more: int) -> DayTotals:
    values = dict.fromkeys(DayTotals.__dataclass_fields__, 0) | {"calls": calls, "cost": cost, **more}
    return DayTotals(**{**values, "key": key})


def days(*costs: int, until: date = TODAY) -> list[DayTotals]:
    """Return days that cost so many USD, the last of them `until`."""
    first = until - timedelta(days=len(costs) - 1)
    return [
        totals(first + timedelta(days=n), cost=usd * USD, price=2 * usd * USD, developer=usd * USD // 2)
        for n, usd in enumerate(costs)
    ]


def use(model: str = "large", *, calls: int = 100, cost: int = 30 * USD, feature: Any = FEATURE, **more: Any) -> Any:
    route = more.pop("route", PLATFORM)
    tokens = {"input_tokens": 1_000 * calls, "output_tokens": 100 * calls}
    return totals(*feature, route, "maker", f"{model}-2026", calls=calls, cost=cost, **{**tokens, **more})


def offer(model: str, usd: str | None, *, quality: int | None = 900, can: str = "chat tools", **more: Any) -> Offer:
    """Return an offer at a price of so many USD per million tokens, in and out."""
    price = None
    if usd is not None:
        nano = nano_from_usd(usd)
        price = Price(f"pv_{model}", (PriceTier(0, nano, nano, nano, nano),))
    values: dict[str, Any] = {
        **dict.fromkeys(Offer.__dataclass_fields__),
        "model": model,
        "provider": "maker",
        "upstream_model": f"{model}-2026",
        "capabilities": frozenset(can.split()),
        "quality": quality,
        "resale_allowed": True,
        "price": price,
    }
    return Offer(**{**values, **more})


def catalog(*offers: Offer) -> dict[str, tuple[Offer, ...]]:
    found: dict[str, tuple[Offer, ...]] = {}
    for each in offers:
        found[each.model] = (*found.get(each.model, ()), each)
    return found


def advised(uses: list[DayTotals], *offers: Offer, period: int = 30) -> list[tuple[str, int]]:
    """Return (the better model, the saving in USD) of each piece of advice."""
    return [(found.better, found.saving // USD) for found in cheaper_models(uses, catalog(*offers), days=period)]


LARGE, SMALL = offer("large", "10"), offer("small", "1", quality=750)


# ---- Forecast ----


def test_forecast_is_month_to_date_and_the_daily_average_for_the_days_left() -> None:
    found = forecast(days(*[1] * 10), today=TODAY)
    assert (found.month, found.days_in_month, found.days_left) == (date(2026, 2, 1), 28, 18)
    assert found.to_date == Amounts(10, 20 * USD, 10 * USD, 5 * USD)
    assert found.daily == Amounts(1, 2 * USD, USD, USD // 2)
    assert found.projected == Amounts(28, 56 * USD, 28 * USD, 14 * USD)


@pytest.mark.parametrize(
    ("today", "length"),
    [(date(2026, 2, 5), 28), (date(2028, 2, 5), 29), (date(2026, 4, 30), 30), (date(2026, 12, 31), 31)],
)
def test_forecast_knows_how_long_months_are(today: date, length: int) -> None:
    found = forecast(days(1, 1, 1, 1, until=today), today=today)
    assert (found.days_in_month, found.days_left) == (length, length - today.day)


def test_forecast_of_less_than_three_days_says_that_there_is_not_enough() -> None:
    for known in ([], days(5), days(5, 5)):
        found = forecast(known, today=TODAY)
        assert (found.daily, found.projected) == (None, None)
        assert found.to_date.cost == 5 * USD * len(known)
    assert forecast(days(5, 5, 5), today=TODAY).projected is not None


def test_forecast_leaves_today_out_of_the_average_as_it_is_not_over() -> None:
    found = forecast(days(4, 4, 0), today=TODAY)
    assert found.daily is not None and found.daily.cost == 4 * USD
    assert found.averaged == 2


def test_forecast_counts_days_without_calls() -> None:
    found = forecast([days(10, until=TODAY - timedelta(days=10))[0], *days(0)], today=TODAY)
    assert found.daily is not None and found.daily.cost == USD


def test_forecast_early_in_a_month_looks_back_into_the_last_one() -> None:
    first = date(2026, 3, 1)
    found = forecast(days(*[2] * 20, until=first), today=first)
    assert found.to_date.cost == 2 * USD
    assert found.projected is not None and found.projected.cost == 2 * USD + 30 * 2 * USD


def test_forecast_ignores_what_is_longer_ago_than_the_window() -> None:
    old = days(1_000, until=date(2026, 3, 1))
    found = forecast([*old, *days(*[1] * 5, until=date(2026, 3, 31))], today=date(2026, 3, 31))
    assert found.to_date.cost == 1_005 * USD  # of the month, though
    assert found.averaged == 30 and found.daily is not None


# ---- A cheaper model ----


def test_dear_model_of_most_calls_is_replaced_by_one_that_costs_a_tenth() -> None:
    [found] = cheaper_models([use(calls=60), use("small", calls=40, cost=0)], catalog(LARGE, SMALL), days=30)
    assert (found.kind, found.basis, found.app_id, found.feature_key) == (Kind.CHEAPER_MODEL, Basis.PRICES, *FEATURE)
    assert (found.model, found.better, found.calls_bps, found.part_bps) == ("large", "small", 6_000, 9_000)
    assert (found.spend, found.saving) == (30 * USD, 27 * USD)
    assert (found.quality, found.better_quality) == (900, 750)


def test_saving_is_of_a_month() -> None:
    assert advised([use(cost=10 * USD)], LARGE, SMALL, period=10) == [("small", 27)]


@pytest.mark.parametrize(("calls", "others", "fires"), [(50, 50, False), (51, 49, True), (19, 0, False), (20, 0, True)])
def test_model_must_serve_more_than_half_of_enough_calls(calls: int, others: int, fires: bool) -> None:
    uses = [use(calls=calls)] + ([use("small", calls=others, cost=0)] if others else [])
    assert bool(advised(uses, LARGE, SMALL)) is fires


@pytest.mark.parametrize(
    "candidate",
    [
        offer("small", "1", quality=699),
        offer("small", "1", quality=None),
        offer("small", "1", can="chat"),
        offer("small", "8.1"),
        offer("small", None),
        offer("small", "1", resale_allowed=False),
        offer("small", "1", context_window=1_000),
        offer("large", "1", provider="another"),
    ],
    ids=["worse", "unjudged", "less able", "hardly cheaper", "unpriced", "no resale", "too small", "the same model"],
)
def test_what_cannot_take_its_place_is_not_named(candidate: Offer) -> None:
    assert advised([use()], offer("large", "10", context_window=128_000), candidate) == []


def test_cheapest_of_those_that_will_do_is_named() -> None:
    found = advised([use()], LARGE, SMALL, offer("tiny", "0.1", quality=500), offer("middle", "0.5", quality=800))
    assert found == [("middle", 28)]


def test_model_that_is_cheap_or_unknown_already_is_left_alone() -> None:
    assert advised([use("small")], LARGE, SMALL) == []
    assert advised([use("gone")], LARGE, SMALL) == []
    assert advised([use()], offer("large", "10", quality=None), SMALL) == []


def test_features_are_judged_apart() -> None:
    other = ("app_1", "summary")
    uses = [use(), use(feature=other, calls=200, cost=60 * USD), use("small", feature=("app_2", "x"), calls=500)]
    assert sorted(advised(uses, LARGE, SMALL)) == [("small", 27), ("small", 54)]


def test_calls_on_users_own_keys_are_nobodys_saving() -> None:
    assert advise([use(route="byok", provider_bill=9 * USD, cost=0)], catalog(LARGE, SMALL), [], days=30) == ()
    [found] = advise([use(route="developer_key", provider_bill=9 * USD, cost=0)], catalog(LARGE, SMALL), [], days=30)
    assert found.saving == 81 * USD // 10


# ---- Cache and batches ----


def sample(**given: int) -> Sample:
    return Sample(*FEATURE, **{"calls": 100, "hashed": 0, "distinct": 0, "unstreamed": 0, "cached": 0, **given})


def test_repeated_prompts_are_measured_where_hashes_are_kept() -> None:
    [found] = caches([use()], [sample(hashed=80, distinct=60)], days=30)
    assert (found.basis, found.part_bps, found.saving) == (Basis.REPEATS, 2_500, 75 * USD // 10)
    assert (found.sampled, found.repeated) == (80, 20)


@pytest.mark.parametrize("kept", [{"hashed": 49, "distinct": 1}, {"hashed": 100, "distinct": 96}])
def test_few_hashes_or_repetitions_say_nothing(kept: dict[str, int]) -> None:
    assert caches([use()], [sample(**kept)], days=30) == []


@pytest.mark.parametrize(("cost", "fires"), [(300, False), (301, True)])
def test_cache_is_advised_by_rule_above_ten_dollars_a_day(cost: int, fires: bool) -> None:
    found = caches([use(cost=cost * USD)], [sample()], days=30)
    assert [(each.basis, each.app_id, each.saving) for each in found] == (
        [(Basis.RULE, None, 301 * USD // 10)] if fires else []
    )


def test_rule_leaves_out_what_is_measured_or_cached() -> None:
    dear = 400 * USD
    assert caches([use(cost=dear, cached=5)], [sample()], days=30) == []
    assert caches([use(cost=dear)], [sample(hashed=100, distinct=100)], days=30) == []


@pytest.mark.parametrize(("calls", "unstreamed", "fires"), [(100, 95, True), (100, 94, False), (99, 99, False)])
def test_batches_are_for_features_that_nobody_watches(calls: int, unstreamed: int, fires: bool) -> None:
    found = batches([use()], [sample(calls=calls, unstreamed=unstreamed)], days=30)
    assert [(each.kind, each.saving) for each in found] == ([(Kind.BATCH, 15 * USD)] if fires else [])


def test_all_advice_comes_with_what_saves_most_first() -> None:
    found = advise([use(cost=600 * USD)], catalog(LARGE, SMALL), [sample(unstreamed=100)], days=30)
    assert [each.kind for each in found] == [Kind.CHEAPER_MODEL, Kind.BATCH, Kind.CACHE]
    assert advise([], catalog(LARGE), [sample()], days=30) == ()
    assert advise([use(cost=0)], catalog(LARGE, SMALL), [sample(unstreamed=100, hashed=90)], days=30) == ()


# ---- Steps of time ----


def test_weeks_begin_on_monday_and_every_step_is_there() -> None:
    assert first_of(date(2026, 2, 8), "week") == date(2026, 2, 2)
    assert first_of(date(2026, 2, 8), "month") == date(2026, 2, 1)
    rows = [totals(date(2026, 2, 2), calls=3)]
    steps = every_step(rows, begin=date(2026, 1, 28), end=date(2026, 2, 10), step="week")
    assert [(row.key[0].isoformat(), row.calls) for row in steps] == [
        ("2026-01-26", 0),
        ("2026-02-02", 3),
        ("2026-02-09", 0),
    ]
    assert summed([*rows, *rows], "all").calls == 6


# ---- From the database ----


@pytest.fixture
def house(db: None, settings: Any) -> House:
    settings.ALLOWED_HOSTS = ["testserver"]
    cache.clear()
    return make_house()


def call_on(house: House, days_ago: int, **record: Any) -> None:
    house.desk.served(effective_at=time.time() - days_ago * 86_400, **record)


def test_forecast_of_a_developer_is_from_its_own_calls(house: House) -> None:
    stranger, app, _ = make_stranger()
    for days_ago in range(4):
        call_on(house, days_ago)
        call_on(house, days_ago, developer_id=stranger, app_id=app, end_user_id="usr_theirs")
    rate_all()
    moment = now()
    found = forecast_of(house.developer_id, now=moment)
    assert (found.averaged, found.daily) == (3, Amounts(1, 840_000, 600_000, 96_000))
    assert found.to_date.calls == min(moment.astimezone(UTC).day, 4)
    assert found.projected is not None and found.projected.calls == found.to_date.calls + found.days_left


def test_samples_count_kept_hashes_streams_and_the_cache(house: House) -> None:
    for prompt_hash in ("a", "a", "b", None):
        house.desk.served(prompt_hash=prompt_hash, stream=prompt_hash == "b")
    house.desk.served(prompt_hash="a", cache="exact", cache_price_bps=0, cost_nano=0)
    call_on(house, 31, prompt_hash="a")
    assert samples(house.developer_id, now=now()) == [Sample(house.app_id, "default", 5, 3, 2, 4, 1)]


def test_outlook_names_the_cheaper_model_of_real_calls(house: House) -> None:
    moment = now()
    by: dict[str, Any] = {"now": moment, "actor": ACTOR}
    ModelOffer.objects.update(quality=900, capabilities=["chat"])
    add_model(id="cheap", name="Cheap", **by)
    small = add_offer(
        provider="double-0", model="cheap", upstream_model="cheap-1", capabilities=["chat"], quality=800, **by
    )
    publish_price(small, [complete_tier(from_tokens=0, input=USD * 3 // 10, output=USD * 15 // 10)], moment, "t", **by)
    served = ModelOffer.objects.get(model_id=MODEL).upstream_model
    for number in range(30):
        call_on(house, number % 4, served_model=served)
    rate_all()
    found = outlook_of(house.developer_id, now=now())
    [advice] = [each for each in found.advice if each.kind is Kind.CHEAPER_MODEL]
    assert (advice.model, advice.better, advice.part_bps, advice.calls_bps) == (MODEL, "cheap", 9_000, 10_000)
    assert advice.spend == 30 * 600_000 * 30 // 4
    page = text_of(house.owner.get(house.url("advice")))
    assert "Use cheap instead of test-model" in page and "90 % less for the same tokens" in page
    assert "Test app · default" in page and "test-model 900, cheap 800 of 1000" in page


def test_page_says_that_there_is_not_enough_data(house: House) -> None:
    house.desk.served()
    rate_all()
    page = text_of(house.owner.get(house.url("advice")))
    assert "Not enough data: a forecast takes 3 days" in page and "1 calls, $0.0006" in page
    assert "You have set no budget." in page


def test_page_shows_forecast_and_baseline_in_twelve_queries(house: House, django_assert_max_num_queries: Any) -> None:
    for number in range(30):
        call_on(house, number % 5)
    rate_all()
    with django_assert_max_num_queries(12):
        page = text_of(house.owner.get(house.url("advice")))
    assert "Whole month" in page and "Saved against your baseline" in page
    assert "Saved against your baseline" not in text_of(house.member(Role.ANALYST).get(house.url("advice")))


@pytest.mark.parametrize(("amount", "told"), [(1_000_000, "used to 84 %"), (800_000, "used to 105 %"), (10**9, "")])
def test_page_warns_of_budgets_that_run_out(house: House, amount: int, told: str) -> None:
    by: dict[str, Any] = {"now": now(), "actor": ACTOR, "developer_id": house.developer_id, "at_most": 10}
    budget = create_budget(scope="app", scope_id=house.app_id, period="month", amount=amount, **by)
    spend(budget, 840_000)
    page = text_of(house.owner.get(house.url("advice")))
    assert (told or "No budget is near its end.") in page
    assert not told or "The budget of app Test app" in page


def spend(budget_id: str, nano: int) -> None:
    """Let a budget have spent so much in its present period, as settling calls would have."""
    state = budget_state(budget_id, now=now())
    assert state is not None
    BudgetPeriod.objects.create(
        budget_id=budget_id,
        period_start=state.period_start,
        carried_nano=0,
        limit_nano=state.limit,
        spent_nano=nano,
        reserved_nano=0,
    )
