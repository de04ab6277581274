"""Why a candidate is not among the targets, and what the caller is told when there are none.

Reasons are listed in the order in which they are looked for, so that the last of them is the nearest to a route:
it decides the error.
"""

from collections.abc import Sequence
from typing import NamedTuple

from apps.core.errors import BadRequest, FaucetError, Forbidden, InsufficientFunds, Unavailable

LOCAL_UNAVAILABLE = "local_bridge_unavailable"
LOCAL_ONLY = "local_only"
LOCAL_PREFERRED = "local_preferred"
NOT_IN_POLICY = "not_in_policy"
NO_PLATFORM_FALLBACK = "platform_fallback_off"
NO_SUCH_MODEL = "model_not_offered"
NO_ADAPTER = "adapter_unknown"
NO_OPERATION = "operation_not_supported"
RESALE = "resale_not_allowed"
BYOK_TERMS = "byok_not_allowed"
TRAINS = "provider_trains_on_data"
UNPRICED = "unpriced"
NO_CREDENTIAL = "no_credential"
CREDENTIAL_MODEL = "model_not_allowed_for_credential"
CREDENTIAL_APP = "app_not_allowed_for_credential"
CREDENTIAL_FEATURE = "feature_not_allowed_for_credential"
FEE = "fee_not_acknowledged"
FEE_UNPAID = "fee_unpaid"
CAPABILITY = "capability_missing"
CONTEXT = "context_too_long"
QUALITY = "quality_floor"
PRICE = "max_price_exceeded"
CIRCUIT = "circuit_open"
UNHEALTHY = "credential_unhealthy"
RANKED_LOWER = "ranked_lower"

# Providers' failures are waited out for this many seconds.
RETRY_AFTER = 30
# A request that names a hundred models is not answered with a thousand lines.
MAX_LISTED = 50

# The last that occurs decides.
_NEAREST = (UNPRICED, FEE, FEE_UNPAID, CAPABILITY, CONTEXT, QUALITY, PRICE)
_TERMS = {RESALE, BYOK_TERMS, TRAINS}


class Rejected(NamedTuple):
    """A candidate that is not among the targets: provider/model, the route mode it would have had, and why not."""

    candidate: str
    mode: str
    reason: str


def listed(rejected: Sequence[Rejected]) -> list[dict[str, str]]:
    """Return what events, receipts and errors list of the rejected candidates."""
    return [candidate._asdict() for candidate in rejected[:MAX_LISTED]]


def local_unavailable(rejected: Sequence[Rejected]) -> FaucetError:
    """Return the error of a call that must stay local and cannot."""
    return Unavailable(
        "This feature is served by a local model only, and no local model can be reached.",
        code=LOCAL_UNAVAILABLE,
        retry_after=RETRY_AFTER,
        details={"rejected": listed(rejected)},
    )


def no_route(model: str, rejected: Sequence[Rejected]) -> FaucetError:
    """Return the error of a call that nothing can serve, by the reason that was nearest to a route."""
    reasons = {candidate.reason for candidate in rejected}
    details = {"rejected": listed(rejected)}
    nearest = next((reason for reason in reversed(_NEAREST) if reason in reasons), None)
    if nearest == PRICE:
        return InsufficientFunds(
            f"Every route for '{model}' may cost more than the price ceiling allows.", code=PRICE, details=details
        )
    if nearest == QUALITY:
        return BadRequest(f"No route for '{model}' reaches the quality asked for.", code=QUALITY, details=details)
    if nearest == CONTEXT:
        return BadRequest(
            f"The prompt is too long for '{model}'.", code="context_length_exceeded", param="messages", details=details
        )
    if nearest == CAPABILITY:
        return BadRequest(f"No route for '{model}' can do what the request needs.", code=CAPABILITY, details=details)
    if nearest == FEE:
        return Forbidden("A fee for these calls is not acknowledged yet: see /v1/user/fees.", code=FEE, details=details)
    if nearest == FEE_UNPAID:
        return InsufficientFunds(
            "A fee for these calls is not paid: top up, and it is charged again.", code=FEE_UNPAID, details=details
        )
    if nearest == UNPRICED:
        return BadRequest(
            f"The model '{model}' has no price and is not served.",
            code="unpriced_model",
            param="model",
            details=details,
        )
    if reasons and reasons <= _TERMS:
        return Forbidden(
            f"The terms of the providers of '{model}' do not allow this route.", code="provider_terms", details=details
        )
    return Unavailable(
        f"No route can serve the model '{model}'.",
        code="no_route_available",
        retry_after=RETRY_AFTER,
        details=details,
    )
