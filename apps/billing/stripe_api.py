"""The seam to Stripe: one client, one call, two ways to fail.

StripeRefused   Stripe said no: nothing happened, and asking again changes nothing
└── CardDeclined 402
StripeUnknown   no answer that can be relied on: look at Stripe before asking again

The library is imported inside, so that a process with Stripe off never loads it. No database transaction may be open
around a call: write what is about to happen, commit, call, write what came of it. An idempotency key is our row's id
(":" and the operation where a row has several calls). Nothing is tried again in here.
"""

import logging
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import FaucetError, Unavailable

if TYPE_CHECKING:
    import stripe

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What Stripe is asked for in its own name; another host stands for all of them (tests, a proxy).
STRIPE_HOST = "https://api.stripe.com"
MOST_MESSAGE = 300


class StripeRefused(FaucetError):
    """Stripe said no, for good: nothing happened.

    `stripe_code` and `decline_code` are Stripe's own words ("resource_missing", "insufficient_funds"), for decisions;
    `payment_intent_id` is the payment that was refused, where there is one.
    """

    status, type, default_code = 400, "invalid_request_error", "payment_refused"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        stripe_code: str | None = None,
        decline_code: str | None = None,
        payment_intent_id: str | None = None,
    ) -> None:
        super().__init__(message, code=code)
        self.stripe_code = stripe_code
        self.decline_code = decline_code
        self.payment_intent_id = payment_intent_id

    @property
    def missing(self) -> bool:
        """Tell whether Stripe knows no such object."""
        return self.stripe_code == "resource_missing"


class CardDeclined(StripeRefused):
    """The payment method was refused; `authentication_required` where its holder has to confirm the payment."""

    status, type, default_code = 402, "card_error", "card_declined"


class StripeUnknown(Unavailable):
    """Timeout, lost connection, 5xx, 429, conflict of idempotency keys, wrong key: what was asked may have happened."""

    default_code = "stripe_unreachable"


def enabled() -> bool:
    """Tell whether Stripe is switched on."""
    return bool(settings.STRIPE_ENABLED)


def require_enabled() -> None:
    """Raise Unavailable (payments_off) unless Stripe is switched on."""
    if not enabled():
        raise Unavailable(_("Payments are switched off on this installation."), code="payments_off")


def call(operation: "Callable[[stripe.StripeClient], T]") -> T:
    """Run one API call and return its answer: `call(lambda api: api.v1.refunds.retrieve("re_…"))`.

    Raises StripeRefused, StripeUnknown, and Unavailable (payments_off). It is logged without what was sent.
    """
    require_enabled()
    import stripe

    try:
        return operation(
            _client(
                settings.STRIPE_SECRET_KEY,
                settings.STRIPE_API_HOST,
                settings.STRIPE_API_VERSION,
                settings.STRIPE_TIMEOUT,
            )
        )
    except stripe.CardError as error:
        raise _declined(error) from error
    except (stripe.InvalidRequestError, stripe.PermissionError) as error:
        raise _refused(error) from error
    except stripe.StripeError as error:
        raise _unknown(error) from error


def forget_clients() -> None:
    """Close the connections that this thread keeps to Stripe, as a restart would."""
    if _client.cache_info().currsize:
        import stripe

        for client in _made:
            http = client._requestor._client
            if isinstance(http, stripe.HTTPClient):
                http.close()
    _made.clear()
    _client.cache_clear()


_made: "list[stripe.StripeClient]" = []


@lru_cache(maxsize=4)
def _client(key: str, host: str, version: str, timeout: float) -> "stripe.StripeClient":
    import stripe

    stripe.enable_telemetry = False
    other = host.rstrip("/")
    made = stripe.StripeClient(
        key,
        stripe_version=version,
        base_addresses=None if other == STRIPE_HOST else {"api": other, "connect": other, "files": other},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=timeout),
    )
    _made.append(made)
    return made


def _declined(error: "stripe.CardError") -> CardDeclined:
    told = _told(error)
    code = "authentication_required" if error.code == "authentication_required" else "card_declined"
    return CardDeclined(
        (error.user_message or _("The card was declined."))[:MOST_MESSAGE],
        code=code,
        stripe_code=error.code,
        decline_code=told.get("decline_code"),
        payment_intent_id=(told.get("payment_intent") or {}).get("id"),
    )


def _refused(error: "stripe.StripeError") -> StripeRefused:
    logger.warning("stripe refused", extra=_about(error))
    message = (error.user_message or _("Stripe refused this."))[:MOST_MESSAGE]
    return StripeRefused(message, stripe_code=error.code or _told(error).get("code"))


def _unknown(error: "stripe.StripeError") -> StripeUnknown:
    """Return what a fault means that says nothing of the outcome.

    A key that Stripe does not take is one of them: it is the operator's fault and no answer about this payment.
    """
    # A key that was used with other parameters: the first call may well have gone through.
    logger.error("stripe outcome unknown", extra=_about(error))
    return StripeUnknown(_("The payment service cannot be reached; nothing is lost, try again later."), retry_after=10)


def _told(error: "stripe.StripeError") -> dict:
    body = error.json_body if isinstance(error.json_body, dict) else {}
    told = body.get("error")
    return told if isinstance(told, dict) else {}


def _about(error: "stripe.StripeError") -> dict[str, object]:
    return {
        "error": type(error).__name__,
        "status": error.http_status,
        "stripe_code": error.code,
        "stripe_request": error.request_id,
        "problem": (error.user_message or "")[:MOST_MESSAGE],
    }


def library_version() -> str:
    """Return the version of Stripe's API that the installed library speaks."""
    from stripe import _api_version

    return str(_api_version._ApiVersion.CURRENT)
