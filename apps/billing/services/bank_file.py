"""Approved payouts of the manual rail as a table for the operator's bank."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from apps.billing.models.payouts import Payout, PayoutStatus, Rail
from apps.billing.services.payout_accounts import DETAILS, bank_details
from apps.core.csv_stream import cents_text, safe_text
from apps.core.errors import BadRequest
from apps.core.money import NANO_PER_CENT
from apps.developers.services import audit

HEADINGS = ("payout_id", "developer_id", "amount", "currency", *DETAILS)
MOST = 1_000


@dataclass(frozen=True, slots=True)
class BankFile:
    """Headings and rows of text, safe for spreadsheets; `total_cents` is their sum."""

    rows: tuple[tuple[str, ...], ...]
    total_cents: int


def bank_file(payout_ids: Collection[str], *, now: datetime, actor: str) -> BankFile:
    """Return the approved payouts by hand among these, with their bank details in clear; who read them is recorded.

    Raises BadRequest (nothing_to_export).
    """
    found = Payout.objects.filter(pk__in=payout_ids, rail=Rail.MANUAL, status=PayoutStatus.APPROVED).order_by("id")
    payouts = list(found[:MOST])
    if not payouts:
        raise BadRequest(_("None of these is an approved payout by hand."), code="nothing_to_export")
    rows = []
    for row in payouts:
        details = bank_details(row.destination)
        amount = cents_text(row.amount_nano // NANO_PER_CENT)
        cells = (row.pk, row.developer_id, amount, "USD", *(details.get(name, "") for name in DETAILS))
        rows.append(tuple(safe_text(cell) for cell in cells))
        audit.record(
            "payout.export",
            "payout",
            row.pk,
            actor=actor,
            now=now,
            developer_id=row.developer_id,
            detail={"details_id": row.destination},
        )
    return BankFile((HEADINGS, *rows), sum(row.amount_nano for row in payouts) // NANO_PER_CENT)
