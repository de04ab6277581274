"""All that is known of one call: what its receipt is made of."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.catalog.queries import Price
from apps.core.money import divide_half_up
from apps.features.queries import Terms
from apps.usage.models import UsageEvent
from apps.usage.queries import UsageCall, call_of
from apps.usage.rate import BPS, BYOK, DEVELOPER_KEY, PLATFORM
from apps.usage.services.rating import known_prices, known_terms


@dataclass(frozen=True, slots=True)
class Receipt:
    """A settled call with what it was priced by, and how its route was found.

    `routing` is the decision as it was stored, empty where there was none to store (abandoned calls). `attempts` name
    the credentials. `infra` is in nano-USD. `rating_error` tells why rating set the call aside; `transaction_id` is
    None until rating has posted, and where no money moved.
    """

    call: UsageCall
    principal_id: str
    account_id: int
    credential_id: str
    routing: dict[str, Any]
    attempts: tuple[dict[str, Any], ...]
    manifest_id: str | None
    prompt_hash: str | None
    price_version_id: str | None
    price: Price | None
    terms: Terms | None
    cache_price_bps: int | None
    infra: int
    payment_bps: int
    provider_bill: int
    started_at: datetime
    rating_error: str | None
    transaction_id: int | None


def receipt_of(request_id: str) -> Receipt | None:
    """Return the receipt of a call, from the moment on at which it was settled; None for one that is unknown."""
    if "\0" in request_id:
        return None
    event = UsageEvent.objects.select_related("charge").filter(request_id=request_id).first()
    if event is None:
        return None
    version = event.price_version_id
    return Receipt(
        call=call_of(event),
        principal_id=event.principal_id,
        account_id=event.account_id,
        credential_id=event.credential_id,
        routing=event.routing or {},
        attempts=tuple(event.attempts),
        manifest_id=event.manifest_id,
        prompt_hash=event.prompt_hash,
        price_version_id=version,
        price=known_prices([version]).get(version) if version else None,
        terms=known_terms([event.terms_id]).get(event.terms_id),
        cache_price_bps=event.cache_price_bps,
        infra=event.infra_nano,
        payment_bps=event.payment_bps,
        provider_bill=event.provider_bill_nano,
        started_at=event.started_at,
        rating_error=event.rating_error,
        transaction_id=event.charge.transaction_id if event.rated_at is not None else None,
    )


def basis_of(receipt: Receipt) -> tuple[str, int | None, int]:
    """Return what the price depends on (tokens, fixed, fee), a request's price in nano-USD, and the markup."""
    terms, mode = receipt.terms, receipt.call.route_mode
    if terms is None:
        return "unknown", None, 0
    if mode == PLATFORM and terms.platform_pricing == "fixed":
        return "fixed", terms.fixed_price, 0
    if mode == DEVELOPER_KEY and terms.developer_pricing == "own_price":
        return "fixed", terms.own_price, 0
    if mode == PLATFORM or (mode == DEVELOPER_KEY and terms.developer_pricing == "markup_share"):
        return "tokens", None, terms.markup_bps
    if mode == DEVELOPER_KEY:
        return "fee", terms.gateway_fee, 0
    return "fee", terms.byok_fee if mode == BYOK else terms.local_fee, 0


def payer_rate(price: int, markup_bps: int) -> int:
    """Return a list price with the markup (basis points) in it, in nano-USD per million tokens."""
    return divide_half_up(price * (BPS + markup_bps), BPS)
