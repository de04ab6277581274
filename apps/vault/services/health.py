"""Health: the shared keys are tried with their providers every half a minute, by one process for all.

Developers' and end users' own keys are not: there may be any number of them, and gateways learn of their health from
the calls they make. No transaction and no database connection is held while a provider answers.
"""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from django.db import transaction
from django.db.models import F

from apps.vault.checking import KeyCheck, check_key
from apps.vault.models import OWNERLESS, CredentialHealth, ProviderCredential, Status, Validation
from apps.vault.services.validation import leave_database, open_secret, place_of

_BATCH = 64
_AT_ONCE = 16
_FAILED = {Validation.AUTH_FAILED, Validation.UNREACHABLE, Validation.REFUSED_ADDRESS}


def check_health(*, threshold: int, now: datetime) -> int:
    """Try the platform's and the operator's active keys, the longest unchecked first; return how many were tried.

    After `threshold` failures in a row a key is down; the first success brings it back. Either moves the policy epoch,
    once a run. A key that the vault cannot open, or whose provider offers no free call, is left out.
    """
    rows = list(
        ProviderCredential.objects.filter(status=Status.ACTIVE, owner_class__in=OWNERLESS)
        .annotate(checked_at=F("health__checked_at"))
        .order_by(F("checked_at").asc(nulls_first=True), "id")[:_BATCH]
    )
    asked = [(row, secret) for row in rows if (secret := open_secret(row)) is not None]
    places = {row.id: place_of(row.provider_id, row.base_url, row.owner_class) for row, _ in asked}
    leave_database()
    with ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="health") as pool:
        checks = list(pool.map(lambda pair: check_key(secret=pair[1], **places[pair[0].id]), asked))
    found = {row.id: check for (row, _), check in zip(asked, checks, strict=True)}
    _store({key: check for key, check in found.items() if _tells(check)}, threshold, now)
    return len(found)


def _tells(check: KeyCheck) -> bool:
    """Tell whether a check says anything about health: being limited does not, nor that there is no free call."""
    return check.result != Validation.NOT_SUPPORTED and check.status != 429


def _failed(check: KeyCheck) -> bool:
    return check.result in _FAILED or (check.status is not None and check.status >= 500)


@transaction.atomic
def _store(checks: dict[str, KeyCheck], threshold: int, now: datetime) -> None:
    known = {row.credential_id: row for row in CredentialHealth.objects.select_for_update().filter(pk__in=checks)}
    turned: dict[bool, list[str]] = {True: [], False: []}
    rows = []
    for credential_id, check in sorted(checks.items()):
        row = known.get(credential_id) or CredentialHealth(credential_id=credential_id, changed_at=now)
        row.consecutive_failures = row.consecutive_failures + 1 if _failed(check) else 0
        row.result, row.http_status, row.latency_ms, row.checked_at = check.result, check.status, check.ms, now
        down = row.consecutive_failures >= threshold or (row.down and _failed(check))
        if down != row.down:
            turned[down].append(credential_id)
            row.down = False  # also of a row that is only updated, the database checks what would be inserted
        rows.append(row)
    _turn(turned[False], False, now)  # first: a row that is down has failures
    CredentialHealth.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["credential"],
        update_fields=["consecutive_failures", "result", "http_status", "latency_ms", "checked_at"],
    )
    _turn(turned[True], True, now)


def _turn(credential_ids: Collection[str], down: bool, now: datetime) -> None:
    # Apart from the rest, and only where something turns: this moves the policy epoch.
    if credential_ids:
        CredentialHealth.objects.filter(pk__in=credential_ids).update(down=down, changed_at=now)
