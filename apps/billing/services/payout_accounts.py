"""Where a developer's money goes: Stripe Connect onboarding, bank details, the operator's terms and the kill switch."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.utils.translation import gettext as _

from apps.billing import stripe_api
from apps.billing.models.payouts import (
    Decision,
    Payout,
    PayoutAccount,
    PayoutDetails,
    PayoutStatus,
    Rail,
)
from apps.billing.services.payouts import SYSTEM, account_ready, note
from apps.billing.stripe_api import StripeRefused
from apps.core.errors import BadRequest, NotFound
from apps.core.ids import new_id
from apps.core.money import usd
from apps.developers.queries import developer
from apps.developers.services import audit

# What bank details are made of: the first three are required, and one of iban and account_number.
DETAILS = ("holder", "country", "bank_name", "iban", "account_number", "routing_number", "bic", "note")
_REQUIRED = ("holder", "country", "bank_name")
MOST_DETAIL = 200
_COUNTRY = re.compile(r"[A-Z]{2}")
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")


@dataclass(frozen=True, slots=True)
class AccountInfo:
    """A developer's payout account; `ready` says whether money can reach it, `required` what Stripe still wants."""

    developer_id: str
    rail: str
    ready: bool
    country: str
    stripe_account_id: str | None
    details_submitted: bool
    payouts_enabled: bool
    required: tuple[str, ...]
    disabled_reason: str
    disconnected: bool
    details_hint: str
    stopped: bool
    stopped_reason: str


@dataclass(frozen=True, slots=True)
class Onboarding:
    """Where a developer goes on at Stripe, soon: the address works once and for minutes."""

    url: str
    expires_at: datetime | None


def account_info(developer_id: str) -> AccountInfo:
    """Return a developer's payout account; an empty one where it has none."""
    row = PayoutAccount.objects.filter(pk=developer_id).first() or PayoutAccount(developer_id=developer_id)
    hint = PayoutDetails.objects.filter(pk=row.details_id).values_list("hint", flat=True).first() or ""
    return AccountInfo(
        developer_id=developer_id,
        rail=row.rail,
        ready=account_ready(row),
        country=row.country,
        stripe_account_id=row.stripe_account_id,
        details_submitted=row.details_submitted,
        payouts_enabled=row.payouts_enabled,
        required=tuple(row.requirements),
        disabled_reason=row.disabled_reason,
        disconnected=row.deauthorized_at is not None,
        details_hint=hint,
        stopped=row.stopped_at is not None,
        stopped_reason=row.stopped_reason,
    )


def use_bank_details(developer_id: str, details: Mapping[str, Any], *, now: datetime, actor: str) -> None:
    """Let the operator's bank pay a developer at these details, which are kept sealed.

    Payouts that are open lead to the old ones and are not sent there. Raises BadRequest (invalid_bank_details).
    """
    content = _checked(details)
    number = content.get("iban") or content["account_number"]
    with transaction.atomic():
        row = _locked(developer_id, now)
        given = PayoutDetails.objects.create(
            id=new_id("pde"),
            developer_id=developer_id,
            content=json.dumps(content, ensure_ascii=False),
            hint=number[-4:],
            created_by=actor,
            created_at=now,
        )
        row.rail, row.details_id, row.country, row.updated_at = Rail.MANUAL, given.pk, content["country"], now
        row.save(update_fields=["rail", "details_id", "country", "updated_at"])
        _audit("payout_account.bank_details", developer_id, now, actor, details_id=given.pk)


def start_onboarding(
    developer_id: str, *, country: str, return_url: str, refresh_url: str, now: datetime, actor: str
) -> Onboarding:
    """Make a developer's connected account if it has none, and return where it goes on at Stripe.

    Stripe sends it to `return_url` afterwards (which says nothing of the outcome: ask), and to `refresh_url` when the
    address has run out. Raises BadRequest (invalid_url, invalid_country) and what `stripe_api` raises.
    """
    stripe_api.require_enabled()
    _check_url("return_url", return_url)
    _check_url("refresh_url", refresh_url)
    if not _COUNTRY.fullmatch(country):
        raise BadRequest(_("A country is two capital letters, such as US."), code="invalid_country", param="country")
    account = _connected(developer_id, country, now, actor)
    link = stripe_api.call(
        lambda api: api.v1.account_links.create(
            {
                "account": account,
                "type": "account_onboarding",
                "return_url": return_url,
                "refresh_url": refresh_url,
                "collection_options": {"fields": "eventually_due"},
            }
        )
    )
    return Onboarding(link.url, datetime.fromtimestamp(link.expires_at, now.tzinfo))


def refresh_account(stripe_account_id: str, *, now: datetime) -> AccountInfo | None:
    """Ask Stripe for the present state of a connected account; None if it is none of ours.

    Raises what `stripe_api` raises; an account that we may not see any more counts as disconnected.
    """
    developer_id = (
        PayoutAccount.objects.filter(stripe_account_id=stripe_account_id).values_list("pk", flat=True).first()
    )
    if developer_id is None:
        return None
    try:
        found = stripe_api.call(lambda api: api.v1.accounts.retrieve(stripe_account_id)).to_dict()
    except StripeRefused as error:
        if error.stripe_code != "account_invalid":
            raise
        disconnect(stripe_account_id, now=now)
        return account_info(developer_id)
    requirements = found.get("requirements") or {}
    transfers = (found.get("capabilities") or {}).get("transfers")
    with transaction.atomic():
        row = _locked(developer_id, now)
        row.details_submitted = bool(found.get("details_submitted"))
        # Without the capability no transfer reaches it, whatever else Stripe pays out.
        row.payouts_enabled = bool(found.get("payouts_enabled")) and transfers == "active"
        row.requirements = sorted({*(requirements.get("currently_due") or ()), *(requirements.get("past_due") or ())})
        row.disabled_reason = (requirements.get("disabled_reason") or "")[:100]
        row.country = found.get("country") or row.country
        row.deauthorized_at, row.synced_at, row.updated_at = None, now, now
        row.save()
    return account_info(developer_id)


def disconnect(stripe_account_id: str, *, now: datetime) -> None:
    """Note that a developer has disconnected its account: nothing is sent there, what is open is held."""
    with transaction.atomic():
        row = PayoutAccount.objects.select_for_update().filter(stripe_account_id=stripe_account_id).first()
        if row is None or row.deauthorized_at is not None:
            return
        row.payouts_enabled, row.deauthorized_at, row.updated_at = False, now, now
        row.save(update_fields=["payouts_enabled", "deauthorized_at", "updated_at"])
        _hold_open(row.pk, "the developer disconnected its Stripe account", now)
        _audit("payout_account.disconnect", row.pk, now, "stripe", stripe_account_id=stripe_account_id)


def stop_payouts(developer_id: str, *, reason: str, now: datetime, actor: str) -> bool:
    """Let nothing be proposed, approved or sent to a developer from now on; return whether that is news.

    What waits is held. Raises BadRequest (reason_required) and NotFound.
    """
    if not reason.strip() or len(reason) > 500:
        raise BadRequest(_("Say why, in at most 500 characters."), code="reason_required", param="reason")
    with transaction.atomic():
        row = _locked(developer_id, now)
        if row.stopped_at is not None:
            return False
        row.stopped_at, row.stopped_reason, row.updated_at = now, reason, now
        row.save(update_fields=["stopped_at", "stopped_reason", "updated_at"])
        _hold_open(developer_id, f"payouts stopped: {reason}"[:500], now)
        _audit("payout_account.stop", developer_id, now, actor, reason=reason)
    return True


def resume_payouts(developer_id: str, *, now: datetime, actor: str) -> bool:
    """Let payouts to a developer be proposed again; return whether that is news. What was held stays held."""
    with transaction.atomic():
        row = _locked(developer_id, now)
        if row.stopped_at is None:
            return False
        row.stopped_at, row.stopped_reason, row.updated_at = None, "", now
        row.save(update_fields=["stopped_at", "stopped_reason", "updated_at"])
        _audit("payout_account.resume", developer_id, now, actor)
    return True


def set_terms(
    developer_id: str,
    *,
    trusted: bool,
    hold_days: int | None,
    reserve_bps: int | None,
    minimum: int | None,
    now: datetime,
    actor: str,
) -> None:
    """Set the terms of a developer that differ from the settings; None follows them. `minimum` in nano-USD.

    Raises BadRequest and NotFound.
    """
    if hold_days is not None and not 0 <= hold_days <= 730:
        raise BadRequest(_("Hold days are 0 to 730."), param="hold_days")
    if reserve_bps is not None and not 0 <= reserve_bps <= 10_000:
        raise BadRequest(_("A reserve is 0 to 10000 basis points."), param="reserve_bps")
    with transaction.atomic():
        row = _locked(developer_id, now)
        row.trusted, row.hold_days, row.reserve_bps, row.minimum_nano = trusted, hold_days, reserve_bps, minimum
        row.updated_at = now
        row.save(update_fields=["trusted", "hold_days", "reserve_bps", "minimum_nano", "updated_at"])
        detail = {
            "trusted": trusted,
            "hold_days": hold_days,
            "reserve_bps": reserve_bps,
            "minimum_usd": None if minimum is None else usd(minimum),
        }
        _audit("payout_account.terms", developer_id, now, actor, **detail)


def bank_details(details_id: str) -> dict[str, str]:
    """Return bank details in clear. Whoever calls records who read them."""
    content: dict[str, str] = json.loads(PayoutDetails.objects.get(pk=details_id).content.reveal())
    return content


def _connected(developer_id: str, country: str, now: datetime, actor: str) -> str:
    """Return the developer's connected account, made if there is none."""
    who = developer(developer_id)
    with transaction.atomic():
        row = _locked(developer_id, now)
        if row.stripe_account_id is not None and row.deauthorized_at is None:
            if row.rail != Rail.STRIPE:
                row.rail, row.updated_at = Rail.STRIPE, now
                row.save(update_fields=["rail", "updated_at"])
                _audit("payout_account.stripe", developer_id, now, actor)
            return row.stripe_account_id
        again = row.deauthorized_at
    made = stripe_api.call(
        lambda api: api.v1.accounts.create(
            {
                "country": country,
                "email": who.email if who else "",
                "controller": {
                    "fees": {"payer": "application"},
                    "losses": {"payments": "application"},
                    "requirement_collection": "stripe",
                    "stripe_dashboard": {"type": "express"},
                },
                "capabilities": {"transfers": {"requested": True}},
                # We pay out by ourselves, under our payout's id: what arrives is then known to the cent.
                "settings": {"payouts": {"schedule": {"interval": "manual"}}},
                "metadata": {"developer_id": developer_id},
            },
            {"idempotency_key": f"{developer_id}:account:{country}:{again.isoformat() if again else ''}"},
        )
    )
    with transaction.atomic():
        row = _locked(developer_id, now)
        if row.stripe_account_id is not None and row.deauthorized_at is None:
            return row.stripe_account_id
        row.rail, row.stripe_account_id, row.country = Rail.STRIPE, made.id, country
        row.payouts_enabled = row.details_submitted = False
        row.deauthorized_at, row.updated_at = None, now
        row.save()
        _audit("payout_account.stripe", developer_id, now, actor, stripe_account_id=made.id)
    return str(made.id)


def _hold_open(developer_id: str, reason: str, now: datetime) -> None:
    waiting = (PayoutStatus.PROPOSED, PayoutStatus.APPROVED)
    for row in Payout.objects.select_for_update(no_key=True).filter(developer_id=developer_id, status__in=waiting):
        row.status, row.last_error = PayoutStatus.HELD, reason
        row.save(update_fields=["status", "last_error"])
        note(row.pk, Decision.HOLD, reason, actor=SYSTEM, now=now, round=row.round)


def _locked(developer_id: str, now: datetime) -> PayoutAccount:
    """Lock a developer's payout account, made if there is none. Raises NotFound."""
    if developer(developer_id) is None:
        raise NotFound(_("There is no such developer."), code="developer_not_found", param="developer_id")
    empty = PayoutAccount(developer_id=developer_id, created_at=now, updated_at=now)
    PayoutAccount.objects.bulk_create([empty], ignore_conflicts=True)
    return PayoutAccount.objects.select_for_update(no_key=True).get(pk=developer_id)


def _checked(details: Mapping[str, Any]) -> dict[str, str]:
    content = {}
    for name in DETAILS:
        value = details.get(name)
        if value is None:
            continue
        if not isinstance(value, str) or len(value) > MOST_DETAIL or not value.isprintable():
            raise BadRequest(
                _("%(name)s is a text of one line.") % {"name": name}, code="invalid_bank_details", param=name
            )
        if value.strip():
            content[name] = value.strip()
    missing = [name for name in _REQUIRED if name not in content]
    if not missing and not content.keys() & {"iban", "account_number"}:
        missing = ["account_number"]
    if missing:
        raise BadRequest(
            _("Bank details need %(name)s.") % {"name": missing[0]}, code="invalid_bank_details", param=missing[0]
        )
    if not _COUNTRY.fullmatch(content["country"]):
        raise BadRequest(
            _("A country is two capital letters, such as US."), code="invalid_bank_details", param="country"
        )
    return content


def _check_url(name: str, url: str) -> None:
    try:
        split = urlsplit(url)
        good = split.scheme == "https" or (split.scheme == "http" and split.hostname in _LOOPBACK)
        good = good and bool(split.hostname) and split.username is None
    except ValueError:
        good = False
    if not good or len(url) > 1000 or not url.isprintable() or " " in url:
        raise BadRequest(_("%(name)s is an https address.") % {"name": name}, code="invalid_url", param=name)


def _audit(action: str, developer_id: str, now: datetime, actor: str, **detail: Any) -> None:
    audit.record(action, "payout_account", developer_id, actor=actor, now=now, developer_id=developer_id, detail=detail)
