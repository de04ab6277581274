"""What a month will come to, and what would make it cheaper: pure functions over daily totals. Amounts in nano-USD.

A *cost* here is what providers bill, whoever's key it was. Each piece of advice is computed alone: they do not add up.
"""

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from apps.catalog.queries import Offer
from apps.core.money import NANO_PER_USD
from apps.usage.days import DayTotals
from apps.usage.rate import BPS, DEVELOPER_KEY, PLATFORM

# Days that an average looks back, and the fewest that there must be for one.
WINDOW = 30
LEAST_DAYS = 3
# A saving is told for a month of so many days.
MONTH = 30
# A model that serves more than this part of a feature's calls is the one that counts; a few calls say nothing.
MOST_CALLS_BPS = 5_000
LEAST_CALLS = 20
# What a cheaper model must save, and how much less good (of 1000) it may be.
LEAST_SAVING_BPS = 2_000
QUALITY_LOSS = 200
# Above this cost a day a cache is advised even where nothing is known of repetition; then one call in ten is assumed.
DEAR_DAY = 10 * NANO_PER_USD
ASSUMED_REPEATS_BPS = 1_000
# What is measured of repetition: from so many hashes on, at least this part.
LEAST_HASHES = 50
LEAST_REPEATS_BPS = 500
# Providers bill half for batches that may take a day; for calls that nobody watches as they come.
LEAST_UNSTREAMED_BPS = 9_500
LEAST_BATCH_CALLS = 100
BATCH_DISCOUNT_BPS = 5_000


@dataclass(frozen=True, slots=True)
class Amounts:
    """Calls, what they were billed and what they cost, and the developer's share, in nano-USD."""

    calls: int = 0
    price: int = 0
    cost: int = 0
    share: int = 0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a month came to so far and will come to: `projected` = to_date + daily × days_left.

    `daily` is the mean of the `averaged` whole days before today. It and `projected` are None where calls have been
    made for less than LEAST_DAYS days, today included.
    """

    month: date
    days_in_month: int
    days_left: int
    to_date: Amounts
    averaged: int
    daily: Amounts | None
    projected: Amounts | None


class Kind(StrEnum):
    CHEAPER_MODEL = "cheaper_model"
    CACHE = "cache"
    BATCH = "batch"


class Basis(StrEnum):
    """What a saving was computed from: list prices, repeated prompts, or a rule of thumb."""

    PRICES = "prices"
    REPEATS = "repeats"
    RULE = "rule"


@dataclass(frozen=True, slots=True)
class Advice:
    """A way to save: `saving` a month, of a cost of `spend` a month, which is `part_bps` of it.

    `app_id` and `feature_key` are None where it is about all features. Of a cheaper model: which is used (`model`, by
    `calls_bps` of the feature's calls) and which would do (`better`), with their qualities of 1000. `sampled` and
    `repeated` are the calls looked at and those of them whose prompt was there before.
    """

    kind: Kind
    basis: Basis
    app_id: str | None
    feature_key: str | None
    spend: int
    saving: int
    part_bps: int
    model: str = ""
    better: str = ""
    calls_bps: int = 0
    quality: int | None = None
    better_quality: int | None = None
    sampled: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A feature's part of a developer's latest calls: those with a kept hash and how many hashes that were, and more.

    Answers from the cache count as `cached` and as no hash.
    """

    app_id: str
    feature_key: str
    calls: int
    hashed: int
    distinct: int
    unstreamed: int
    cached: int


def cost_of(totals: DayTotals) -> int:
    """Return what providers billed for these calls, in nano-USD."""
    return totals.cost + totals.provider_bill


def forecast(days: Iterable[DayTotals], *, today: date) -> Forecast:
    """Return what today's month will come to. `days` are keyed by day, from 30 days ago and the month's first on."""
    found = {row.key[0]: row for row in days if row.key[0] <= today}
    month, length = today.replace(day=1), monthrange(today.year, today.month)[1]
    to_date = _amounts(row for day, row in found.items() if day >= month)
    earliest = today - timedelta(days=WINDOW)
    known = [day for day in found if day >= earliest]
    averaged = (today - min(known)).days if known else 0
    left = length - today.day
    if averaged + 1 < LEAST_DAYS:
        return Forecast(month, length, left, to_date, averaged, None, None)
    whole = _amounts(found[day] for day in known if day < today)
    daily = Amounts(whole.calls // averaged, whole.price // averaged, whole.cost // averaged, whole.share // averaged)
    projected = Amounts(
        to_date.calls + whole.calls * left // averaged,
        to_date.price + whole.price * left // averaged,
        to_date.cost + whole.cost * left // averaged,
        to_date.share + whole.share * left // averaged,
    )
    return Forecast(month, length, left, to_date, averaged, daily, projected)


def advise(
    uses: Sequence[DayTotals], offers: Mapping[str, Sequence[Offer]], samples: Sequence[Sample], *, days: int
) -> tuple[Advice, ...]:
    """Return all advice, what saves most first.

    `uses` are the totals of `days` days by app, feature, route, provider and model, in that order; `offers` the active
    ones, by model. Only calls that the platform or the developer's own provider is billed for count.
    """
    billed = [row for row in uses if row.key[2] in (PLATFORM, DEVELOPER_KEY)]
    if not billed or days < 1:
        return ()
    found = [*cheaper_models(billed, offers, days=days), *caches(billed, samples, days=days)]
    found += batches(billed, samples, days=days)
    return tuple(sorted(found, key=lambda advice: -advice.saving))


def cheaper_models(uses: Sequence[DayTotals], offers: Mapping[str, Sequence[Offer]], *, days: int) -> list[Advice]:
    """Return for each feature the model that would do what its main model does, for less.

    The main model serves more than half of the calls. Another one may take its place that can do all that it can, with
    a quality that is judged and at most QUALITY_LOSS below, at list prices for the same tokens at least a fifth lower.
    """
    known = {(offer.provider, offer.upstream_model): offer for found in offers.values() for offer in found}
    features: dict[tuple[str, str], list[DayTotals]] = defaultdict(list)
    for row in uses:
        features[row.key[0], row.key[1]].append(row)
    advice = []
    for (app_id, feature_key), rows in features.items():
        calls = sum(row.calls for row in rows)
        by_offer: dict[tuple[str, str], list[DayTotals]] = defaultdict(list)
        for row in rows:
            by_offer[row.key[3], row.key[4]].append(row)
        main = max(by_offer, key=lambda each: sum(row.calls for row in by_offer[each]))
        served = sum(row.calls for row in by_offer[main])
        used = known.get(main)
        if used is None or served < LEAST_CALLS or served * BPS <= calls * MOST_CALLS_BPS:
            continue
        tokens = (sum(row.input_tokens for row in by_offer[main]), sum(row.output_tokens for row in by_offer[main]))
        better, part_bps = _cheapest(used, (offer for found in offers.values() for offer in found), tokens, served)
        if better is None:
            continue
        spend = sum(map(cost_of, by_offer[main])) * MONTH // days
        if saving := spend * part_bps // BPS:
            advice.append(
                Advice(
                    Kind.CHEAPER_MODEL,
                    Basis.PRICES,
                    app_id,
                    feature_key,
                    spend,
                    saving,
                    part_bps,
                    model=used.model,
                    better=better.model,
                    calls_bps=served * BPS // calls,
                    quality=used.quality,
                    better_quality=better.quality,
                )
            )
    return advice


def caches(uses: Sequence[DayTotals], samples: Sequence[Sample], *, days: int) -> list[Advice]:
    """Return where a cache would save: where prompts repeat, measured by kept hashes, else by a rule.

    The rule is about all features of which no hashes are kept and none is cached: they cost more than DEAR_DAY a day.
    """
    costs, cached = _costs(uses), {row.key[:2] for row in uses if row.cached}
    measured = {(s.app_id, s.feature_key) for s in samples if s.hashed >= LEAST_HASHES}
    advice = []
    for sample in samples:
        feature = (sample.app_id, sample.feature_key)
        repeated = sample.hashed - sample.distinct
        part_bps = repeated * BPS // sample.hashed if sample.hashed else 0
        spend = costs.get(feature, 0) * MONTH // days
        if feature in measured and part_bps >= LEAST_REPEATS_BPS and (saving := spend * part_bps // BPS):
            advice.append(
                Advice(
                    Kind.CACHE,
                    Basis.REPEATS,
                    *feature,
                    spend,
                    saving,
                    part_bps,
                    sampled=sample.hashed,
                    repeated=repeated,
                )
            )
    unknown = sum(cost for feature, cost in costs.items() if feature not in measured | cached)
    if unknown > DEAR_DAY * days:
        spend = unknown * MONTH // days
        saving = spend * ASSUMED_REPEATS_BPS // BPS
        advice.append(Advice(Kind.CACHE, Basis.RULE, None, None, spend, saving, ASSUMED_REPEATS_BPS))
    return advice


def batches(uses: Sequence[DayTotals], samples: Sequence[Sample], *, days: int) -> list[Advice]:
    """Return the features whose calls could go in batches: nearly none of them is streamed, so nobody watches."""
    costs = _costs(uses)
    advice = []
    for sample in samples:
        spend = costs.get((sample.app_id, sample.feature_key), 0) * MONTH // days
        many = sample.calls >= LEAST_BATCH_CALLS and sample.unstreamed * BPS >= sample.calls * LEAST_UNSTREAMED_BPS
        if many and (saving := spend * BATCH_DISCOUNT_BPS // BPS):
            advice.append(
                Advice(
                    Kind.BATCH,
                    Basis.RULE,
                    sample.app_id,
                    sample.feature_key,
                    spend,
                    saving,
                    BATCH_DISCOUNT_BPS,
                    sampled=sample.calls,
                )
            )
    return advice


def _cheapest(used: Offer, offers: Iterable[Offer], tokens: tuple[int, int], calls: int) -> tuple[Offer | None, int]:
    """Return the offer that saves most in the place of another, and which part it saves in basis points."""
    cost = _list_cost(used, tokens, calls)
    if not cost or used.quality is None:
        return None, 0
    best: tuple[Offer | None, int] = (None, LEAST_SAVING_BPS - 1)
    for offer in offers:
        price = _list_cost(offer, tokens, calls)
        able = offer.model != used.model and offer.resale_allowed and offer.capabilities >= used.capabilities
        good = offer.quality is not None and offer.quality >= used.quality - QUALITY_LOSS
        roomy = offer.context_window is None or offer.context_window >= (used.context_window or 0) // 2
        if price is not None and able and good and roomy and (part := (cost - price) * BPS // cost) > best[1]:
            best = (offer, part)
    return best if best[0] is not None else (None, 0)


def _list_cost(offer: Offer, tokens: tuple[int, int], calls: int) -> int | None:
    """Return what these tokens cost at list prices, at the tier of the mean prompt; None for an unpriced offer."""
    if offer.price is None:
        return None
    tier = offer.price.tier(tokens[0] // calls)
    return tokens[0] * tier.input + tokens[1] * tier.output


def _costs(uses: Iterable[DayTotals]) -> dict[tuple[str, str], int]:
    """Return what each feature cost, by app and feature."""
    costs: dict[tuple[str, str], int] = defaultdict(int)
    for row in uses:
        costs[row.key[0], row.key[1]] += cost_of(row)
    return dict(costs)


def _amounts(rows: Iterable[DayTotals]) -> Amounts:
    found = list(rows)
    return Amounts(
        sum(row.calls for row in found),
        sum(row.price for row in found),
        sum(map(cost_of, found)),
        sum(row.developer for row in found),
    )
