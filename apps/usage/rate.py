"""What a call costs and who gets what of it: pure functions over whole numbers.

Every amount is in nano-USD, every price in nano-USD per 1,000,000 tokens. The components of a request are
summed exactly and rounded once, halves up. Settling and rating call the same `rate`, so that what the client
is told and what the ledger posts agree to the nano-dollar. The formulas stand in docs/reference/money.md.
"""

import msgspec
from msgspec.structs import replace

from apps.catalog.queries import Price
from apps.core.money import divide_half_up
from apps.features.queries import Terms

PER_TOKENS = 1_000_000
BPS = 10_000

PLATFORM = "platform"
DEVELOPER_KEY = "developer_key"
BYOK = "byok"
LOCAL = "local"
ROUTE_MODES = (PLATFORM, DEVELOPER_KEY, BYOK, LOCAL)


class Tokens(msgspec.Struct, frozen=True):
    """Tokens of a call in disjoint kinds; `reasoning` is a part of `output`, shown but not priced apart."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        return self.input + self.cache_read + self.cache_write


class Overheads(msgspec.Struct, frozen=True):
    """What the operator takes off the margin: nano-USD per served request, basis points of the retail price."""

    infra: int = 0
    payment_bps: int = 0


class Charge(msgspec.Struct, frozen=True):
    """The split of one call in nano-USD.

    `price` is what the payer is charged; `cost` what we owe the provider; `loss` the part of the cost that the
    platform bears because the payer got nothing. `provider_bill` is what the provider bills the owner of the key
    (developer or end user), for information. price + loss = cost + infra + payment + developer + platform.
    """

    price: int = 0
    cost: int = 0
    infra: int = 0
    payment: int = 0
    developer: int = 0
    platform: int = 0
    loss: int = 0
    provider_bill: int = 0

    @property
    def margin(self) -> int:
        return self.price - self.cost - self.infra - self.payment


NOTHING = Charge()


def weigh(tokens: Tokens, price: Price) -> int:
    """Return Σ tokens × price: the exact cost in millionths of a nano-USD."""
    tier = price.tier(tokens.prompt)
    return (
        tokens.input * tier.input
        + tokens.cache_read * tier.cache_read
        + tokens.cache_write * tier.cache_write
        + tokens.output * tier.output
    )


def _marked_up(weight: int, markup_bps: int) -> int:
    return divide_half_up(weight * (BPS + markup_bps), PER_TOKENS * BPS)


def _discounted(weight: int, price: Price | None) -> int:
    """Return what we owe for the list price `weight`: the provider's discount is ours, not the payer's."""
    return divide_half_up(weight * (BPS - (price.discount_bps if price is not None else 0)), PER_TOKENS * BPS)


def rate(
    tokens: Tokens,
    price: Price | None,
    terms: Terms,
    *,
    mode: str,
    overheads: Overheads,
    charged: bool = True,
    cache_price_bps: int | None = None,
) -> Charge:
    """Return the split of one call.

    `charged` is False where the table of outcomes says that the payer owes nothing (empty answer, provider
    failed): the platform then bears the provider's cost. `price` may be None only where nobody's bill depends
    on it (the payer's own key, a local model, or no tokens). `cache_price_bps` is given where the answer came from the
    cache: its price is that part of what it would have been, and no provider bills anybody.
    """
    if cache_price_bps is not None:
        if not charged:
            return NOTHING
        full = rate(tokens, price, terms, mode=mode, overheads=overheads).price
        return _split_without_bill(divide_half_up(full * cache_price_bps, BPS), terms, mode, overheads)
    weight = weigh(tokens, price) if price is not None else 0
    if mode == PLATFORM:
        if price is None and (tokens.prompt or tokens.output):
            raise ValueError("a call on the platform's keys cannot be rated without a price")
        cost = _discounted(weight, price)
        if not charged:
            return Charge(cost=cost, loss=cost)
        retail = terms.fixed_price if terms.platform_pricing == "fixed" else _marked_up(weight, terms.markup_bps)
        return _split(retail, cost, terms.share_bps, overheads)
    if mode == DEVELOPER_KEY:
        return _rate_developer_key(weight, terms, overheads, charged)
    if mode not in ROUTE_MODES:
        raise ValueError(f"{mode!r} is not a route mode")
    # The owner of a key pays its provider; a local model bills nobody.
    bill = divide_half_up(weight, PER_TOKENS) if mode == BYOK else 0
    if not charged:
        return Charge(provider_bill=bill)
    fee = terms.byok_fee if mode == BYOK else terms.local_fee
    return replace(_split(fee, 0, terms.share_bps, overheads), provider_bill=bill)


def _split(retail: int, cost: int, share_bps: int, overheads: Overheads) -> Charge:
    payment = divide_half_up(retail * overheads.payment_bps, BPS)
    margin = retail - cost - overheads.infra - payment
    developer = max(margin, 0) * share_bps // BPS
    return Charge(
        price=retail,
        cost=cost,
        infra=overheads.infra,
        payment=payment,
        developer=developer,
        platform=margin - developer,
    )


def _rate_developer_key(weight: int, terms: Terms, overheads: Overheads, charged: bool) -> Charge:
    """Rate a call on the developer's own key: our cost is 0, the developer's bill comes back to it first."""
    bill = divide_half_up(weight, PER_TOKENS)
    if not charged:
        return Charge(provider_bill=bill)
    if terms.developer_pricing == "markup_share":
        retail = _marked_up(weight, terms.markup_bps)
    elif terms.developer_pricing == "own_price":
        retail = terms.own_price
    else:
        retail = terms.gateway_fee
    return _split_on_developer_key(retail, bill, terms, overheads)


def _split_on_developer_key(retail: int, bill: int, terms: Terms, overheads: Overheads) -> Charge:
    payment = divide_half_up(retail * overheads.payment_bps, BPS)
    rest = retail - overheads.infra - payment
    if terms.developer_pricing == "markup_share":
        developer = bill + max(rest - bill, 0) * terms.share_bps // BPS
    elif terms.developer_pricing == "own_price":
        developer = max(rest - terms.gateway_fee, 0)
    else:
        developer = 0
    return Charge(
        price=retail,
        infra=overheads.infra,
        payment=payment,
        developer=developer,
        platform=rest - developer,
        provider_bill=bill,
    )


def _split_without_bill(retail: int, terms: Terms, mode: str, overheads: Overheads) -> Charge:
    """Split the price of an answer that nobody made anew."""
    if mode == DEVELOPER_KEY:
        return _split_on_developer_key(retail, 0, terms, overheads)
    return _split(retail, 0, terms.share_bps, overheads)


def worst_case(price: Price | None, terms: Terms, *, mode: str, prompt_tokens: int, output_tokens: int) -> int:
    """Return the most that a call of at most so many tokens can be charged, in nano-USD: the size of its hold."""
    if mode == PLATFORM and terms.platform_pricing == "fixed":
        return terms.fixed_price
    if mode == PLATFORM or (mode == DEVELOPER_KEY and terms.developer_pricing == "markup_share"):
        if price is None:
            raise ValueError("the worst case of a call cannot be known without a price")
        weight = _worst_weight(price, prompt_tokens, output_tokens)
        return _marked_up(weight, terms.markup_bps)
    if mode == DEVELOPER_KEY:
        return terms.own_price if terms.developer_pricing == "own_price" else terms.gateway_fee
    return terms.byok_fee if mode == BYOK else terms.local_fee


def worst_bill(price: Price | None, *, mode: str, prompt_tokens: int, output_tokens: int) -> int:
    """Return the most that a call of at most so many tokens may cost at its provider, in nano-USD; 0 without a price.

    It is what the budget of a credential reserves: our discounted cost, or the list price on somebody's own key.
    """
    if price is None or mode == LOCAL:
        return 0
    weight = _worst_weight(price, prompt_tokens, output_tokens)
    return _discounted(weight, price) if mode == PLATFORM else divide_half_up(weight, PER_TOKENS)


def _worst_weight(price: Price, prompt_tokens: int, output_tokens: int) -> int:
    # A shorter prompt than estimated may fall into a dearer tier, and any part of it may be a cache write.
    return max(
        prompt_tokens * max(tier.input, tier.cache_read, tier.cache_write) + output_tokens * tier.output
        for tier in price.tiers
        if tier.from_tokens <= prompt_tokens
    )


def affordable_output(
    funds: int, price: Price | None, terms: Terms, *, mode: str, prompt_tokens: int, output_tokens: int
) -> int:
    """Return how many output tokens, at most `output_tokens`, `funds` nano-USD pay for in the worst case.

    0 where not even the prompt is paid for.
    """

    def fits(output: int) -> bool:
        most = worst_case(price, terms, mode=mode, prompt_tokens=prompt_tokens, output_tokens=output)
        return most <= funds

    if fits(output_tokens):
        return output_tokens
    if not fits(0):
        return 0
    low, high = 0, output_tokens  # fits(low), not fits(high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
