"""Publishing a price: the only way a price version comes to be."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.catalog.models import MAX_PRICE, ModelOffer, PriceVersion
from apps.catalog.models import PriceTier as PriceTierRow
from apps.catalog.queries import PriceTier, prices_in_force
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id


def complete_tier(
    *, from_tokens: int, input: int, output: int, cache_read: int | None = None, cache_write: int | None = None
) -> PriceTier:
    """Return a tier in nano-USD per 1,000,000 tokens; a cache price that is missing is the input price, never 0."""
    return PriceTier(
        from_tokens=from_tokens,
        input=input,
        cache_read=input if cache_read is None else cache_read,
        cache_write=input if cache_write is None else cache_write,
        output=output,
    )


@transaction.atomic
def publish_price(
    offer_id: int,
    tiers: Sequence[PriceTier],
    valid_from: datetime,
    source: str,
    *,
    discount_bps: int | None = None,
    now: datetime,
    actor: str,
) -> str:
    """Write a price version of an offer and return its id.

    `tiers` are list prices; `discount_bps` is what the provider takes off for us, None: as much as off the newest one.
    It is in force from `valid_from` until the next version begins. `valid_from` may lie in the past only after the
    newest version: what was in force before is settled. Raises BadRequest (tiers, discount, dates), NotFound (offer)
    and Conflict (a version begins at that very moment).
    """
    ordered = check_tiers(tiers)
    if valid_from.tzinfo is None:
        raise BadRequest(_("valid_from needs a time zone."), param="valid_from")
    # The lock makes the look at the newest version and the insert one step.
    if ModelOffer.objects.select_for_update(no_key=True).filter(id=offer_id).first() is None:
        raise NotFound(_("There is no offer %(offer_id)s.") % {"offer_id": offer_id})
    newest = PriceVersion.objects.filter(offer_id=offer_id).order_by("-valid_from").first()
    if PriceVersion.objects.filter(offer_id=offer_id, valid_from=valid_from).exists():
        raise Conflict(
            _("A price of offer %(offer_id)s begins at %(value)s already.")
            % {"offer_id": offer_id, "value": valid_from.isoformat()},
            code="price_exists",
        )
    if newest is not None and valid_from < now and valid_from < newest.valid_from:
        raise BadRequest(_("A price cannot begin in the past before the newest one."), param="valid_from")
    if discount_bps is None:
        discount_bps = newest.discount_bps if newest is not None else 0
    if type(discount_bps) is not int or not 0 <= discount_bps <= 10_000:
        raise BadRequest(_("A discount is between 0 and 10,000 basis points."), param="discount_bps")
    version = PriceVersion(
        id=new_id("pv"),
        offer_id=offer_id,
        valid_from=valid_from,
        discount_bps=discount_bps,
        source=source,
        created_at=now,
        created_by=actor,
    )
    PriceTierRow.objects.bulk_create(
        PriceTierRow(
            version_id=version.id,
            from_tokens=tier.from_tokens,
            input=tier.input,
            cache_read=tier.cache_read,
            cache_write=tier.cache_write,
            output=tier.output,
        )
        for tier in ordered
    )
    version.save(force_insert=True)  # after its tiers: the database refuses a tier of a version that exists
    return version.id


@transaction.atomic
def set_discount(offer_id: int, discount_bps: int, *, now: datetime, actor: str) -> str:
    """Publish the price in force once more with another discount, from now on, and return the version's id.

    Raises as `publish_price` does, and Conflict where there is no price yet or another one is to come: the discount
    would end with it.
    """
    if ModelOffer.objects.select_for_update(no_key=True).filter(id=offer_id).first() is None:
        raise NotFound(_("There is no offer %(offer_id)s.") % {"offer_id": offer_id})
    price = prices_in_force([offer_id], now=now).get(offer_id)
    if price is None:
        raise Conflict(_("There is no price to take a discount off."), code="unpriced_model")
    if PriceVersion.objects.filter(offer_id=offer_id, valid_from__gt=now).exists():
        raise Conflict(_("Another price is to come, which this would not change."), code="price_exists")
    return publish_price(offer_id, price.tiers, now, "discount", discount_bps=discount_bps, now=now, actor=actor)


def check_tiers(tiers: Sequence[PriceTier]) -> tuple[PriceTier, ...]:
    """Return the tiers in ascending order. Raises BadRequest when they do not price every prompt exactly once."""
    ordered = tuple(sorted(tiers, key=lambda tier: tier.from_tokens))
    if not ordered or ordered[0].from_tokens != 0:
        raise BadRequest(_("The first tier of a price starts at 0 tokens."), param="tiers")
    if len({tier.from_tokens for tier in ordered}) != len(ordered) or ordered[-1].from_tokens >= 2**31:
        raise BadRequest(_("Each tier of a price starts at a number of tokens of its own."), param="tiers")
    for tier in ordered:
        for price in (tier.input, tier.cache_read, tier.cache_write, tier.output):
            if type(price) is not int or not 0 <= price <= MAX_PRICE:
                raise BadRequest(_("A price is between 0 and 1,000,000 USD per 1,000,000 tokens."), param="tiers")
    return ordered
