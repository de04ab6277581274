"""Pricing terms: checked, then written once and never edited."""

from dataclasses import asdict, dataclass
from datetime import datetime

from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest
from apps.features.models import MAX_MARKUP_BPS, MAX_PRICE, DeveloperPricing, PlatformPricing, PricingTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsInput:
    """Terms to write: prices and fees in nano-USD per request, `*_bps` in basis points.

    As it stands it bills the bare cost and shares nothing.
    """

    platform_pricing: str = PlatformPricing.MARKUP.value
    markup_bps: int = 0
    fixed_price: int = 0
    developer_pricing: str = DeveloperPricing.FEE_ONLY.value
    own_price: int = 0
    gateway_fee: int = 0
    byok_fee: int = 0
    local_fee: int = 0
    share_bps: int = 0


AT_COST = TermsInput()


def standard_terms() -> TermsInput:
    """Return what an app begins with that its developer makes: APP_MARKUP_BPS and APP_SHARE_BPS."""
    return TermsInput(markup_bps=settings.APP_MARKUP_BPS, share_bps=settings.APP_SHARE_BPS)


_RANGES = {
    "markup_bps": MAX_MARKUP_BPS,
    "share_bps": 10_000,
    **dict.fromkeys(("fixed_price", "own_price", "gateway_fee", "byok_fee", "local_fee"), MAX_PRICE),
}


def insert_terms(terms: TermsInput, *, now: datetime) -> PricingTerms:
    """Write a row of terms and return it; raises BadRequest (invalid_terms)."""
    if terms.platform_pricing not in PlatformPricing.values:
        raise BadRequest(_("platform_pricing is markup or fixed."), code="invalid_terms", param="platform_pricing")
    if terms.developer_pricing not in DeveloperPricing.values:
        raise BadRequest(
            _("developer_pricing is fee_only, markup_share or own_price."),
            code="invalid_terms",
            param="developer_pricing",
        )
    for name, most in _RANGES.items():
        if not 0 <= getattr(terms, name) <= most:
            raise BadRequest(
                _("%(name)s takes 0 to %(most)s.") % {"name": name, "most": most}, code="invalid_terms", param=name
            )
    return PricingTerms.objects.create(**asdict(terms), created_at=now)
