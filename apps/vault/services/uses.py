"""What calls tell of the keys they were made with: noted in batches, after the fact, and coarsely."""

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from apps.vault.models import ProviderCredential
from apps.vault.services.credentials import record_event

# Coarse, so that a busy key costs one write a minute.
_NOTED_EVERY = timedelta(minutes=1)


def touch_credentials(credential_ids: Collection[str], *, now: datetime) -> None:
    """Note that these keys were used, to the minute."""
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - _NOTED_EVERY)
    # Locked in order: two workers with the same keys would otherwise wait for each other.
    rows = ProviderCredential.objects.filter(stale, pk__in=credential_ids).order_by("id").select_for_update()
    ProviderCredential.objects.filter(pk__in=rows.values("id")).update(last_used_at=now)


@transaction.atomic(savepoint=False)
def note_refusals(*, refused: Collection[str], served: Collection[str], now: datetime, actor: str) -> None:
    """Note which keys providers refused in a batch of calls and which they took.

    The first refusal in a row goes into the audit trail; a call that is served ends the row. A key that is in both
    was taken.
    """
    begins = Q(pk__in=set(refused) - set(served), failing_since__isnull=True)
    ends = Q(pk__in=set(served), failing_since__isnull=False)
    for row in ProviderCredential.objects.filter(begins | ends).defer("secret").order_by("id").select_for_update():
        fails = row.failing_since is None
        row.failing_since = now if fails else None
        row.save(update_fields=["failing_since"])
        if fails:
            record_event("credential.use_failed", row, {"code": "provider_auth_failed"}, now=now, actor=actor)
