"""What of this room can be switched off."""

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.switches import Switch
from apps.ledger.models import Wallet
from apps.ledger.services.accounts import freeze_wallet, unfreeze_wallet

SWITCHES = (
    Switch(
        "wallet",
        _("wallet"),
        _("No new call is paid from it and nothing is transferred out of it; what is under way still settles."),
        Wallet,
        freeze_wallet,
        unfreeze_wallet,
        Q(frozen_at__isnull=False),
        since="frozen_at",
    ),
)
