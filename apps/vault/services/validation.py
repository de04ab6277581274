"""Live validation: keys are tried with their provider before they are stored, on demand, and once a day.

No transaction and no database connection is held while a provider answers.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Unpack

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils.translation import gettext

from apps.catalog import queries as catalog
from apps.core import addresses
from apps.core.errors import BadRequest, NotFound
from apps.core.outbound import AddressNotAllowed
from apps.vault.checking import KeyCheck, check_key
from apps.vault.envelope import VaultProblem
from apps.vault.models import OWNERLESS, ProviderCredential, Status, Validation
from apps.vault.secrets import Secret
from apps.vault.services import inputs
from apps.vault.services.credentials import (
    Asked,
    check_columns,
    check_count,
    check_rotates,
    draft,
    locked,
    record_event,
    rotate_credential,
    store,
)

VALID_FOR = timedelta(days=1)
# One run of the daily check: the sweeper does nothing else meanwhile.
_BATCH = 50
_AT_ONCE = 16


def count_key_check(owner_id: str) -> None:
    """Count a live call to a provider. Raises RateLimited: nobody is to try other people's keys by the thousand.

    For the doors, before what an owner asks for: operators and the daily check try keys uncounted.
    """
    addresses.count(
        "provider_key_checks",
        settings.PROVIDER_KEY_CHECKS,
        owner_id,
        message=gettext("Too many keys were tried; wait a little."),
    )


def add_checked_credential(
    *,
    now: datetime,
    actor: str,
    at_most: int | None = None,
    also: Callable[[str], None] | None = None,
    **asked: Unpack[Asked],
) -> str:
    """Try a key with its provider, store it and return the credential's id. Takes what `draft` takes.

    `also` is called with that id within the transaction that stores it: no key is in use without what comes with it.

    A provider that is out of reach keeps nobody from storing a key: that is then unvalidated. Raises what `draft`
    raises, BadRequest (key_rejected, address_not_allowed) and Conflict (too_many_provider_keys).
    """
    row = draft(now=now, **asked)
    if at_most is not None:
        check_count(row.owner_class, row.owner_id, at_most)
    check = _try(row.provider_id, row.base_url, row.secret, row.owner_class)
    with transaction.atomic():
        key_id = store(row, check=check, at_most=at_most, now=now, actor=actor)
        if also is not None:
            also(key_id)
    return key_id


def rotate_checked_credential(credential_id: str, *, secret: str, now: datetime, actor: str) -> str:
    """Try a new key with its provider and put it in an active credential's place; return the new credential's id.

    A refused key leaves the old one as it is. Raises what `rotate_credential` raises, and BadRequest (key_rejected).
    """
    old = _row(credential_id)
    check_rotates(old)
    check = _try(old.provider_id, old.base_url, Secret(inputs.clean_secret(secret)), old.owner_class)
    return rotate_credential(credential_id, secret=secret, check=check, now=now, actor=actor)


def validate_credential(credential_id: str, *, now: datetime, actor: str) -> KeyCheck:
    """Try a stored key with its provider, store what it came to and return that.

    Raises NotFound (credential_not_found) and BadRequest (credential_unreadable: erased, or under a lost vault key).
    """
    row = _row(credential_id)
    secret = open_secret(row)
    if secret is None:
        raise BadRequest(gettext("This credential has no key that opens."), code="credential_unreadable")
    check = _check(row.provider_id, row.base_url, secret, row.owner_class)
    _store(credential_id, check, now=now, actor=actor, always=True)
    return check


def validate_due(*, now: datetime, actor: str) -> int:
    """Try the active keys that were not tried for a day, some at a time; return how many were.

    What came out as before goes into the row and not into the audit trail.
    """
    due = Q(validated_at__isnull=True) | Q(validated_at__lte=now - VALID_FOR)
    rows = ProviderCredential.objects.filter(due, status=Status.ACTIVE).order_by(
        F("validated_at").asc(nulls_first=True)
    )
    asked = [(row, secret) for row in rows[:_BATCH] if (secret := open_secret(row)) is not None]
    places = {row.id: place_of(row.provider_id, row.base_url, row.owner_class) for row, _ in asked}
    leave_database()
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="validate") as pool:
        checks = list(pool.map(lambda pair: check_key(secret=pair[1], **places[pair[0].id]), asked))
    for (row, _), check in zip(asked, checks, strict=True):
        _store(row.id, check, now=now, actor=actor, always=False)
    return len(asked)


def _try(provider: str, base_url: str, secret: Secret, owner_class: str) -> KeyCheck:
    """Return what a key that is not stored yet comes to. Raises BadRequest for what must not be stored."""
    check = _check(provider, base_url, secret, owner_class)
    if check.result == Validation.AUTH_FAILED:
        raise BadRequest(gettext("The provider refuses this key."), code="key_rejected", param="secret")
    if check.result == Validation.REFUSED_ADDRESS:
        raise AddressNotAllowed(gettext("The URL's host is not on the public internet."), param="base_url")
    return check


def _check(provider: str, base_url: str, secret: Secret, owner_class: str) -> KeyCheck:
    place = place_of(provider, base_url, owner_class)
    leave_database()
    return check_key(secret=secret, **place)


def place_of(provider: str, base_url: str, owner_class: str) -> dict[str, Any]:
    """Return where and how `check_key` tries a key. Raises NotFound (provider_not_found)."""
    found = catalog.provider(provider)
    if found is None:
        raise NotFound(gettext("There is no such provider."), code="provider_not_found", param="provider")
    return {
        "adapter": found.adapter,
        "base_url": base_url or found.base_url,
        "operators_url": not base_url or owner_class in OWNERLESS,
    }


def leave_database() -> None:
    """Give the connection back: keys for slow hosts would otherwise take them all."""
    if not connection.in_atomic_block:
        connection.close()


def open_secret(row: ProviderCredential) -> Secret | None:
    """Return the secret of a row, None where it does not open."""
    try:
        secret: Secret = row.secret
        return secret
    except VaultProblem:
        return None


def _row(credential_id: str) -> ProviderCredential:
    row = ProviderCredential.objects.filter(pk=credential_id).first()
    if row is None:
        raise NotFound(gettext("There is no such credential."), code="credential_not_found", param="credential_id")
    return row


@transaction.atomic
def _store(credential_id: str, check: KeyCheck, *, now: datetime, actor: str, always: bool) -> None:
    row = locked(credential_id)
    before, columns = row.validation, check_columns(check, now)
    for name, value in columns.items():
        setattr(row, name, value)
    row.save(update_fields=list(columns))
    if always or before != row.validation:
        detail = {"before": before, "validation": row.validation, "status": check.status}
        record_event("credential.validate", row, detail, now=now, actor=actor)
