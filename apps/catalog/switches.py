"""What of this room can be switched off."""

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.catalog.models import ModelOffer, Provider, Status
from apps.catalog.services.offers import disable_offer, disable_provider, enable_offer, enable_provider
from apps.core.switches import Switch, plain

SWITCHES = (
    Switch(
        "provider",
        _("provider"),
        _("The provider is not called any more, with whoever's key."),
        Provider,
        plain(disable_provider),
        plain(enable_provider),
        Q(status=Status.DISABLED),
        since="changed_at",
    ),
    Switch(
        "offer",
        _("model of a provider"),
        _("This model is not asked of this provider any more; other providers go on."),
        ModelOffer,
        plain(disable_offer),
        plain(enable_offer),
        Q(status=Status.DISABLED),
        since="changed_at",
    ),
)
