"""Fees that end users were told of, and took note of."""

from datetime import datetime

from django.utils.translation import gettext as _

from apps.core.errors import Conflict
from apps.core.ids import new_id
from apps.core.money import usd
from apps.features.queries import Terms
from apps.vault.disclosures import Disclosure, disclosure
from apps.vault.models import FeeConsent


def acknowledge_fee(
    *, end_user_id: str, app_id: str, terms: Terms, mode: str, fee: int, language: str, now: datetime
) -> Disclosure:
    """Store that an end user took note of a fee in nano-USD, in the words of `language`; again stores nothing new.

    Raises Conflict (fee_changed) unless that is the present fee: what was shown must be what is charged.
    """
    present = disclosure(terms, mode, language=language)
    if fee != present.fee:
        raise Conflict(
            _("The fee is %(amount)s USD.") % {"amount": usd(present.fee)},
            code="fee_changed",
            param="fee_usd",
            details={"mode": present.mode, "fee_usd": usd(present.fee), "text": present.text},
        )
    said = {"end_user_id": end_user_id, "app_id": app_id, "mode": present.mode, "fee_nano": fee, "text": present.text}
    if not FeeConsent.objects.filter(**said).exists():
        FeeConsent.objects.create(id=new_id("fee"), acknowledged_at=now, **said)
    return present
