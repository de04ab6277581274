"""The vectors of prompts whose answers are kept: the gateway writes and reads them, this deletes them."""

from datetime import datetime

from django.db import transaction

from apps.core.epoch import forget_everything
from apps.usage.models import SemanticEntry


def purge_semantic_entries(*, now: datetime) -> int:
    """Delete the vectors whose answers' time is over and return how many there were."""
    return SemanticEntry.objects.filter(expires_at__lt=now).delete()[0]


@transaction.atomic
def clear_cached(app_id: str) -> int:
    """Make every process forget what it keeps of answers, delete an app's vectors, and return how many there were."""
    deleted = SemanticEntry.objects.filter(app_id=app_id).delete()[0]
    forget_everything()
    return deleted
