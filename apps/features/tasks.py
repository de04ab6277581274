"""What beat has done regularly."""

from celery import shared_task

from apps.core.clock import now
from apps.features.services.page_links import purge_page_links


@shared_task(name="features.purge_page_links")
def purge_links() -> int:
    """Delete links to users' pages that have opened nothing for long; return how many."""
    return purge_page_links(now=now())
