"""Who buys credit: an end user by its session, or a developer by its token; and where they may be sent back to."""

import re
from dataclasses import dataclass

from django.conf import settings
from rest_framework.request import Request

from apps.billing.services.customers import Owner
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import BadRequest, NotFound
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT
from apps.core.outbound import AddressNotAllowed, parse_url
from apps.developers.models import Scope
from apps.features.queries import apps_of_developer
from apps.gateway.api.fees import end_user_of
from apps.gateway.api.sessions import gateway_base_url
from apps.gateway.api.views import actor_of, idempotency_key_of, identity_of, require_developer
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account

_PRINTABLE = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Buyer:
    """Whose wallet a request is about: its account, owner and actor, and the origins of pages to go back to."""

    account_id: int
    owner: Owner
    actor: str
    origins: tuple[str, ...]


def buyer_of(request: Request, developer_id: str | None, *, writes: bool) -> Buyer:
    """Return the buyer of a request: the developer of the address, or else the session's end user.

    Raises what `end_user_of` and `identity_of` raise: proof_required for an anonymous session that writes,
    end_user_required for a virtual key.
    """
    if developer_id is None:
        principal = end_user_of(request, keeps="bought credit" if writes else "")
        assert principal.end_user_id is not None
        account = open_account(kind=AccountKind.END_USER, owner_id=principal.end_user_id, now=now())
        owner = Owner(AccountKind.END_USER.value, principal.end_user_id, principal.app_id)
        return Buyer(account, owner, f"session:{principal.id}", principal.allowed_origins)
    identity = identity_of(request, Scope.BILLING_WRITE if writes else Scope.BILLING_READ)
    require_developer(identity, developer_id)
    account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=developer_id, now=now())
    origins = tuple(origin for app in apps_of_developer(developer_id) for origin in app.allowed_origins)
    return Buyer(account, Owner(AccountKind.DEVELOPER_CREDIT.value, developer_id), actor_of(identity), origins)


def count_purchase(buyer: Buyer) -> None:
    """Count a purchase that somebody starts. Raises RateLimited: whoever tries stolen cards starts many."""
    addresses.count("top_ups", settings.TOP_UP_RATE, str(buyer.account_id), message="Too many top-ups; wait.")


def own_address(request: Request) -> str:
    """Return this instance's address as clients reach it, without a slash at the end."""
    return gateway_base_url(request).removesuffix("/v1")


def key_of(request: Request, *, required: bool) -> str:
    """Return the Idempotency-Key of a request, a fresh one where it has none and need not. Raises BadRequest.

    What charges a card or gives money back needs one; to open a payment page twice costs nobody anything.
    """
    if not required and request.headers.get("idempotency-key") is None:
        return new_id("key")
    return idempotency_key_of(request)


def checked_return_url(request: Request, buyer: Buyer, url: str | None) -> str:
    """Return where a payer is sent back to, empty for nowhere.

    Raises BadRequest (return_url_not_allowed) for an address that is neither on this instance nor on an origin that
    the app allows: our pages must not lead anywhere else.
    """
    if url is None:
        return ""
    try:
        if not _PRINTABLE.fullmatch(url) or "\\" in url:
            raise AddressNotAllowed("A URL is plain ASCII without blanks and backslashes; write names as xn--….")
        parsed = parse_url(url.partition("#")[0])
    except AddressNotAllowed as error:
        raise BadRequest(error.message, code="return_url_not_allowed", param="return_url") from error
    origin = f"{parsed.scheme}://{parsed.host_header}"
    if origin not in (*buyer.origins, own_address(request).lower()):
        raise BadRequest(
            "return_url lies on an origin that the app does not allow.",
            code="return_url_not_allowed",
            param="return_url",
        )
    return url


def whole_cents(amount: int | None, name: str) -> int:
    """Return an amount of nano-USD in cents. Raises BadRequest where it was not given or is no whole number of them."""
    if amount is None:
        raise BadRequest(f"{name} is required.", code="missing_parameter", param=name)
    cents, rest = divmod(amount, NANO_PER_CENT)
    if rest:
        raise BadRequest(f"{name} takes whole cents.", code="invalid_amount", param=name)
    return cents


def not_found() -> NotFound:
    """Return the refusal of a top-up that does not exist for the caller."""
    return NotFound("There is no such top-up.", code="top_up_not_found", param="top_up_id")
