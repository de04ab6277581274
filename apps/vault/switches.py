"""What of this room can be switched off."""

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.switches import Switch, plain
from apps.vault.models import ProviderCredential, Status
from apps.vault.services.credentials import disable_credential, enable_credential

SWITCHES = (
    Switch(
        "credential",
        _("provider key"),
        _("No provider is called with the key; calls go to the next target, if there is one."),
        ProviderCredential,
        plain(disable_credential),
        plain(enable_credential),
        Q(status=Status.DISABLED),
    ),
)
