"""What is erased here when somebody leaves: their keys."""

from datetime import datetime

from django.db import transaction

from apps.vault.models import ProviderCredential, Status
from apps.vault.services.credentials import delete_credential


@transaction.atomic
def erase_credentials_of(owner_class: str, owner_id: str, *, now: datetime, actor: str) -> int:
    """Erase every key of an owner, also disabled and replaced ones; return how many. Again changes nothing."""
    rows = ProviderCredential.objects.filter(owner_class=owner_class, owner_id=owner_id).exclude(status=Status.DELETED)
    ids = list(rows.order_by("-id").values_list("id", flat=True))
    for credential_id in ids:
        delete_credential(credential_id, now=now, actor=actor)
    return len(ids)
