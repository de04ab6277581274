"""The price of a call: DESIGN's vectors to the nano-dollar, the four modes, and what holds for any numbers."""

from dataclasses import replace
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.catalog.queries import Price, PriceTier
from apps.core.money import divide_half_up, nano_from_usd
from apps.features.queries import Terms
from apps.usage.rate import (
    BYOK,
    DEVELOPER_KEY,
    LOCAL,
    NOTHING,
    PLATFORM,
    ROUTE_MODES,
    Charge,
    Overheads,
    Tokens,
    affordable_output,
    rate,
    worst_bill,
    worst_case,
)

FREE = Overheads()
TERMS = Terms(
    id=1,
    platform_pricing="markup",
    markup_bps=4_000,
    fixed_price=0,
    developer_pricing="fee_only",
    own_price=0,
    gateway_fee=0,
    byok_fee=0,
    local_fee=0,
    share_bps=4_000,
)


def flat(input: int = 0, output: int = 0, cache_read: int = 0, cache_write: int = 0) -> Price:
    """Return a price of one tier, in nano-USD per million tokens."""
    return Price("pv_1", (PriceTier(0, input, cache_read, cache_write, output),))


def discounted(price: Price, bps: int) -> Price:
    return replace(price, discount_bps=bps)


def usd(amount: str) -> int:
    return nano_from_usd(amount)


# The vectors of DESIGN.md.


def test_marked_up_call_splits_as_designed() -> None:
    price = flat(input=usd("10"))
    charge = rate(Tokens(input=1_000), price, TERMS, mode=PLATFORM, overheads=FREE)
    assert charge == Charge(price=usd("0.0140"), cost=usd("0.0100"), developer=usd("0.0016"), platform=usd("0.0024"))
    assert charge.margin == usd("0.0040")


def test_fixed_price_call_splits_as_designed() -> None:
    terms = replace(TERMS, platform_pricing="fixed", fixed_price=usd("0.0060"))
    charge = rate(Tokens(output=420), flat(output=usd("10")), terms, mode=PLATFORM, overheads=FREE)
    assert charge == Charge(price=usd("0.0060"), cost=usd("0.0042"), developer=usd("0.00072"), platform=usd("0.00108"))
    assert charge.margin == usd("0.0018")


# One by one.


def test_discount_lowers_our_cost_and_not_the_payers_price() -> None:
    price = discounted(flat(input=usd("10")), 2_500)
    charge = rate(Tokens(input=1_000), price, TERMS, mode=PLATFORM, overheads=FREE)
    assert (charge.price, charge.cost, charge.margin) == (usd("0.0140"), usd("0.0075"), usd("0.0065"))
    assert (charge.developer, charge.platform) == (usd("0.0026"), usd("0.0039"))
    for mode in (DEVELOPER_KEY, BYOK):  # somebody else's contract
        assert rate(Tokens(input=1_000), price, TERMS, mode=mode, overheads=FREE).provider_bill == usd("0.0100")


@pytest.mark.parametrize(("bps", "cost"), [(0, 1), (3_333, 1), (5_000, 1), (5_001, 0), (10_000, 0)])
def test_discounted_cost_is_rounded_once(bps: int, cost: int) -> None:
    price = discounted(flat(input=1_000_000), bps)
    assert rate(Tokens(input=1), price, TERMS, mode=PLATFORM, overheads=FREE).cost == cost


def test_kinds_of_tokens_are_priced_apart_and_reasoning_is_part_of_output() -> None:
    price = flat(input=1_000_000, cache_read=100_000, cache_write=1_250_000, output=4_000_000)
    tokens = Tokens(input=10, cache_read=20, cache_write=4, output=5, reasoning=3)
    charge = rate(tokens, price, replace(TERMS, markup_bps=0), mode=PLATFORM, overheads=FREE)
    assert charge.cost == charge.price == 10 + 2 + 5 + 20


def test_components_are_summed_exactly_and_rounded_once() -> None:
    # Three components of 0.5 nano each: rounded apart they would be 3, together they are 1.5 and so 2.
    price = flat(input=500_000, cache_read=500_000, output=500_000)
    charge = rate(Tokens(input=1, cache_read=1, output=1), price, TERMS, mode=PLATFORM, overheads=FREE)
    assert charge.cost == 2
    assert charge.price == 2  # 2.1: from the exact 1.5, not from the rounded 2 (2.8 and so 3)


def test_price_rounds_halves_up() -> None:
    zero = replace(TERMS, markup_bps=0)
    assert rate(Tokens(input=1), flat(input=499_999), zero, mode=PLATFORM, overheads=FREE).price == 0
    assert rate(Tokens(input=1), flat(input=500_000), zero, mode=PLATFORM, overheads=FREE).price == 1


@pytest.mark.parametrize(("prompt", "expected"), [(0, 0), (127_999, 0), (128_000, 128_000), (999_999, 128_000)])
def test_tier_is_chosen_by_the_whole_prompt(prompt: int, expected: int) -> None:
    price = Price("pv", (PriceTier(0, 1, 1, 1, 1), PriceTier(128_000, 2, 2, 2, 2)))
    assert price.tier(prompt).from_tokens == expected


def test_dear_tier_prices_all_of_the_request() -> None:
    price = Price("pv", (PriceTier(0, 10**6, 0, 0, 10**6), PriceTier(100, 2 * 10**6, 0, 0, 3 * 10**6)))
    terms = replace(TERMS, markup_bps=0)
    cached = Tokens(input=1, cache_read=50, cache_write=49, output=7)
    assert rate(cached, price, terms, mode=PLATFORM, overheads=FREE).cost == 2 + 21
    fewer = msgspec.structs.replace(cached, cache_write=48)
    assert rate(fewer, price, terms, mode=PLATFORM, overheads=FREE).cost == 1 + 7


def test_overheads_come_off_the_margin_before_the_share() -> None:
    price = flat(input=usd("10"))
    charge = rate(
        Tokens(input=1_000), price, TERMS, mode=PLATFORM, overheads=Overheads(infra=usd("0.001"), payment_bps=1_000)
    )
    assert charge.payment == usd("0.0014")
    assert charge.margin == usd("0.0040") - usd("0.001") - usd("0.0014")
    assert charge.developer == charge.margin * 4 // 10
    assert charge.platform == charge.margin - charge.developer


def test_negative_margin_is_the_platforms() -> None:
    terms = replace(TERMS, platform_pricing="fixed", fixed_price=1_000)
    charge = rate(Tokens(input=1_000), flat(input=usd("10")), terms, mode=PLATFORM, overheads=FREE)
    assert charge.developer == 0
    assert charge.platform == 1_000 - usd("0.01")


def test_developer_key_with_a_fee_only() -> None:
    terms = replace(TERMS, developer_pricing="fee_only", gateway_fee=700)
    charge = rate(Tokens(input=1_000), flat(input=usd("10")), terms, mode=DEVELOPER_KEY, overheads=FREE)
    assert charge == Charge(price=700, platform=700, provider_bill=usd("0.01"))


def test_developer_key_with_markup_share_pays_the_bill_back_first() -> None:
    terms = replace(TERMS, developer_pricing="markup_share")
    charge = rate(Tokens(input=1_000), flat(input=usd("10")), terms, mode=DEVELOPER_KEY, overheads=FREE)
    assert charge == Charge(
        price=usd("0.0140"), developer=usd("0.0116"), platform=usd("0.0024"), provider_bill=usd("0.01")
    )


def test_developer_key_with_its_own_price() -> None:
    terms = replace(TERMS, developer_pricing="own_price", own_price=5_000, gateway_fee=700)
    charge = rate(Tokens(input=1_000), flat(input=usd("10")), terms, mode=DEVELOPER_KEY, overheads=FREE)
    assert charge == Charge(price=5_000, developer=4_300, platform=700, provider_bill=usd("0.01"))


@pytest.mark.parametrize(("mode", "fee"), [(BYOK, 900), (LOCAL, 50)])
def test_own_key_and_local_cost_the_disclosed_fee(mode: str, fee: int) -> None:
    terms = replace(TERMS, byok_fee=900, local_fee=50)
    charge = rate(Tokens(input=10**6, output=10**6), flat(input=usd("10")), terms, mode=mode, overheads=FREE)
    split = Charge(price=fee, developer=fee * 4 // 10, platform=fee - fee * 4 // 10)
    assert charge == msgspec.structs.replace(split, provider_bill=usd("10") if mode == BYOK else 0)
    assert rate(Tokens(input=5), None, terms, mode=mode, overheads=FREE) == split  # whatever it costs elsewhere


def test_call_without_a_price_is_not_rated() -> None:
    with pytest.raises(ValueError, match="without a price"):
        rate(Tokens(input=1), None, TERMS, mode=PLATFORM, overheads=FREE)
    with pytest.raises(ValueError, match="without a price"):
        worst_case(None, TERMS, mode=PLATFORM, prompt_tokens=1, output_tokens=1)
    assert rate(Tokens(), None, TERMS, mode=PLATFORM, overheads=FREE, charged=False) == NOTHING


def test_unknown_mode_is_not_rated() -> None:
    with pytest.raises(ValueError, match="not a route mode"):
        rate(Tokens(), flat(), TERMS, mode="barter", overheads=FREE)


def test_answer_from_the_cache_costs_its_part_and_nobody_bills_for_it() -> None:
    price = flat(input=usd("10"))
    hit = rate(Tokens(input=1_000), price, TERMS, mode=PLATFORM, overheads=FREE, cache_price_bps=2_500)
    assert hit == Charge(price=usd("0.0035"), developer=usd("0.0014"), platform=usd("0.0021"))


def test_free_answer_from_the_cache_moves_no_money_but_what_serving_it_took() -> None:
    tokens, price = Tokens(input=1_000), flat(input=usd("10"))
    assert rate(tokens, price, TERMS, mode=PLATFORM, overheads=FREE, cache_price_bps=0) == NOTHING
    hit = rate(tokens, price, TERMS, mode=PLATFORM, overheads=Overheads(infra=5, payment_bps=300), cache_price_bps=0)
    assert hit == Charge(infra=5, platform=-5)


def test_answer_from_the_cache_on_a_developer_key_owes_the_developer_no_bill() -> None:
    terms = replace(TERMS, developer_pricing="markup_share")
    tokens, price = Tokens(input=1_000), flat(input=usd("10"))
    hit = rate(tokens, price, terms, mode=DEVELOPER_KEY, overheads=FREE, cache_price_bps=5_000)
    assert hit == Charge(price=usd("0.0070"), developer=usd("0.0028"), platform=usd("0.0042"))


# For any numbers.

prices = st.integers(0, 10**12)
fees = st.integers(0, 10**10)
counts = st.integers(0, 2_000_000)


@st.composite
def price_versions(draw: st.DrawFn) -> Price:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 3_000_000), max_size=3)))]
    return Price("pv", tuple(PriceTier(start, *(draw(prices) for _ in range(4))) for start in starts))


terms_of_any_kind = st.builds(
    Terms,
    id=st.just(1),
    platform_pricing=st.sampled_from(["markup", "fixed"]),
    markup_bps=st.integers(0, 100_000),
    fixed_price=fees,
    developer_pricing=st.sampled_from(["fee_only", "markup_share", "own_price"]),
    own_price=fees,
    gateway_fee=fees,
    byok_fee=fees,
    local_fee=fees,
    share_bps=st.integers(0, 10_000),
)
tokens_of_any_kind = st.builds(
    Tokens, input=counts, cache_read=counts, cache_write=counts, output=counts, reasoning=st.just(0)
)
overheads_of_any_kind = st.builds(Overheads, infra=fees, payment_bps=st.integers(0, 10_000))
modes = st.sampled_from(ROUTE_MODES)
quickly = settings(max_examples=150, deadline=None)


@quickly
@given(tokens_of_any_kind, price_versions(), terms_of_any_kind, modes, overheads_of_any_kind, st.booleans())
def test_legs_always_sum_and_nobody_is_owed_less_than_nothing(
    tokens: Tokens, price: Price, terms: Terms, mode: str, overheads: Overheads, charged: bool
) -> None:
    charge = rate(tokens, price, terms, mode=mode, overheads=overheads, charged=charged)
    assert charge.price + charge.loss == (
        charge.cost + charge.infra + charge.payment + charge.developer + charge.platform
    )
    assert min(charge.price, charge.cost, charge.infra, charge.payment, charge.developer, charge.loss) >= 0
    assert charge.margin == charge.developer + charge.platform - charge.loss
    if not charged:
        assert charge.price == charge.developer == charge.platform == charge.infra == charge.payment == 0
        assert charge.loss == charge.cost
    if mode != PLATFORM:
        assert charge.cost == 0


@quickly
@given(tokens_of_any_kind, price_versions(), terms_of_any_kind, overheads_of_any_kind)
def test_developer_is_never_worse_off_with_markup_share(
    tokens: Tokens, price: Price, terms: Terms, overheads: Overheads
) -> None:
    terms = replace(terms, developer_pricing="markup_share")
    charge = rate(tokens, price, terms, mode=DEVELOPER_KEY, overheads=overheads)
    assert charge.developer >= charge.provider_bill


@quickly
@given(tokens_of_any_kind, price_versions(), terms_of_any_kind, overheads_of_any_kind)
def test_own_keys_and_local_models_cost_their_fee(
    tokens: Tokens, price: Price, terms: Terms, overheads: Overheads
) -> None:
    assert rate(tokens, price, terms, mode=BYOK, overheads=overheads).price == terms.byok_fee
    assert rate(tokens, price, terms, mode=LOCAL, overheads=overheads).price == terms.local_fee


@quickly
@given(tokens_of_any_kind, tokens_of_any_kind, prices, prices, prices, prices, terms_of_any_kind, modes)
def test_price_never_falls_with_more_tokens(
    tokens: Tokens, more: Tokens, one: int, two: int, three: int, four: int, terms: Terms, mode: str
) -> None:
    price = flat(one, two, three, four)
    both = Tokens(
        input=tokens.input + more.input,
        cache_read=tokens.cache_read + more.cache_read,
        cache_write=tokens.cache_write + more.cache_write,
        output=tokens.output + more.output,
    )
    less = rate(tokens, price, terms, mode=mode, overheads=FREE)
    greater = rate(both, price, terms, mode=mode, overheads=FREE)
    assert greater.price >= less.price
    assert greater.cost >= less.cost
    assert greater.provider_bill >= less.provider_bill


@settings(max_examples=300, deadline=None)
@given(tokens_of_any_kind, counts, counts, price_versions(), terms_of_any_kind, modes, overheads_of_any_kind)
def test_worst_case_covers_every_call_within_its_bounds(
    tokens: Tokens,
    unused_prompt: int,
    unused_output: int,
    price: Price,
    terms: Terms,
    mode: str,
    overheads: Overheads,
) -> None:
    most = worst_case(
        price,
        terms,
        mode=mode,
        prompt_tokens=tokens.prompt + unused_prompt,
        output_tokens=tokens.output + unused_output,
    )
    assert most >= rate(tokens, price, terms, mode=mode, overheads=overheads).price


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**12), counts, st.integers(0, 200_000), price_versions(), terms_of_any_kind, modes)
def test_affordable_output_is_the_greatest_that_fits(
    funds: int, prompt: int, wanted: int, price: Price, terms: Terms, mode: str
) -> None:
    def most(output: int) -> int:
        return worst_case(price, terms, mode=mode, prompt_tokens=prompt, output_tokens=output)

    afforded = affordable_output(funds, price, terms, mode=mode, prompt_tokens=prompt, output_tokens=wanted)
    assert 0 <= afforded <= wanted
    if most(0) <= funds:
        assert most(afforded) <= funds
        assert afforded == wanted or most(afforded + 1) > funds
    else:
        assert afforded == 0


@pytest.mark.parametrize(
    ("mode", "platform_pricing", "developer_pricing"),
    list(product(ROUTE_MODES, ["markup", "fixed"], ["fee_only", "markup_share", "own_price"])),
)
def test_every_mode_and_pricing_agrees_with_its_formula(
    mode: str, platform_pricing: str, developer_pricing: str
) -> None:
    terms = Terms(
        id=1,
        platform_pricing=platform_pricing,
        markup_bps=2_500,
        fixed_price=9_000,
        developer_pricing=developer_pricing,
        own_price=8_000,
        gateway_fee=300,
        byok_fee=200,
        local_fee=100,
        share_bps=3_333,
    )
    weight = 7 * 1_000_003 + 11 * 3_000_001
    bill = divide_half_up(weight, 10**6)
    marked_up = divide_half_up(weight * 125, 10**8)
    charge = rate(Tokens(input=7, output=11), flat(input=1_000_003, output=3_000_001), terms, mode=mode, overheads=FREE)
    retail = {
        PLATFORM: {"markup": marked_up, "fixed": 9_000}[platform_pricing],
        DEVELOPER_KEY: {"fee_only": 300, "markup_share": marked_up, "own_price": 8_000}[developer_pricing],
        BYOK: 200,
        LOCAL: 100,
    }[mode]
    assert charge.price == retail
    developer = {
        PLATFORM: (retail - bill) * 3_333 // 10_000,
        DEVELOPER_KEY: {
            "fee_only": 0,
            "markup_share": bill + (retail - bill) * 3_333 // 10_000,
            "own_price": 7_700,
        }[developer_pricing],
        BYOK: 200 * 3_333 // 10_000,
        LOCAL: 100 * 3_333 // 10_000,
    }[mode]
    assert charge.developer == developer
    assert charge.cost == (bill if mode == PLATFORM else 0)
    assert charge.provider_bill == (bill if mode in (DEVELOPER_KEY, BYOK) else 0)
    assert charge.platform == retail - charge.cost - developer


@given(
    bps=st.integers(0, 10_000), tokens=st.integers(0, 10**6), list_price=st.integers(0, 10**12), charged=st.booleans()
)
def test_any_discount_leaves_the_price_and_moves_the_margin_by_what_it_takes_off(
    bps: int, tokens: int, list_price: int, charged: bool
) -> None:
    full = flat(input=list_price)
    plain = rate(Tokens(input=tokens), full, TERMS, mode=PLATFORM, overheads=FREE, charged=charged)
    cut = rate(Tokens(input=tokens), discounted(full, bps), TERMS, mode=PLATFORM, overheads=FREE, charged=charged)
    assert cut.price == plain.price
    assert cut.cost == divide_half_up(tokens * list_price * (10_000 - bps), 10**10) <= plain.cost
    assert cut.margin - plain.margin == plain.cost - cut.cost
    assert cut.price + cut.loss == cut.cost + cut.infra + cut.payment + cut.developer + cut.platform


@given(
    bps=st.integers(0, 10_000),
    tokens=st.integers(0, 10**5),
    spare=st.integers(0, 10**3),
    list_price=st.integers(0, 10**12),
    mode=st.sampled_from(ROUTE_MODES),
)
def test_no_call_is_billed_more_than_its_worst_bill(
    bps: int, tokens: int, spare: int, list_price: int, mode: str
) -> None:
    price = discounted(flat(input=list_price, output=list_price), bps)
    charge = rate(Tokens(input=tokens, output=tokens), price, TERMS, mode=mode, overheads=FREE)
    worst = worst_bill(price, mode=mode, prompt_tokens=tokens + spare, output_tokens=tokens + spare)
    assert charge.cost + charge.provider_bill <= worst
    assert worst_bill(None, mode=mode, prompt_tokens=1, output_tokens=1) == 0


@quickly
@given(
    tokens_of_any_kind,
    price_versions(),
    terms_of_any_kind,
    modes,
    overheads_of_any_kind,
    st.booleans(),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
)
def test_answer_from_the_cache_never_costs_more_than_a_new_one(
    tokens: Tokens, price: Price, terms: Terms, mode: str, overheads: Overheads, charged: bool, bps: int, other: int
) -> None:
    full = rate(tokens, price, terms, mode=mode, overheads=overheads, charged=charged)
    hit, dearer = (
        rate(tokens, price, terms, mode=mode, overheads=overheads, charged=charged, cache_price_bps=part)
        for part in sorted((bps, other))
    )
    assert hit.price <= dearer.price <= full.price
    assert hit.cost == hit.loss == hit.provider_bill == 0
    assert hit.price == hit.infra + hit.payment + hit.developer + hit.platform
    assert min(hit.price, hit.infra, hit.payment, hit.developer) >= 0
    whole = rate(tokens, price, terms, mode=mode, overheads=overheads, charged=charged, cache_price_bps=10_000)
    assert whole.price == full.price
