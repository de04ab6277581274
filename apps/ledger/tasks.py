import logging

from celery import shared_task

from apps.ledger.services.verify import differences

logger = logging.getLogger(__name__)

# One line per row is enough to start from; a ledger that is wrong everywhere must not fill the disk.
LOGGED = 100


@shared_task(name="ledger.reconcile")
def reconcile() -> int:
    """Derive the ledger again, log the rows that differ at error level, and return how many there are."""
    found = 0
    for difference in differences():
        found += 1
        if found <= LOGGED:
            logger.error(
                "ledger row differs",
                extra={"table": difference.table, "row_id": difference.row_id, "difference": difference.message},
            )
    if found:
        logger.error("ledger does not reconcile", extra={"differences": found})
    else:
        logger.info("ledger reconciled", extra={"differences": 0})
    return found
