"""What of this room can be switched off."""

from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.switches import Switch, plain
from apps.developers.models import Developer, Status
from apps.developers.services.developers import disable_developer, enable_developer

SWITCHES = (
    Switch(
        "developer",
        _("developer"),
        _("All its apps, sessions and keys are refused, and nothing is paid out to it."),
        Developer,
        plain(disable_developer),
        plain(enable_developer),
        Q(status=Status.DISABLED),
    ),
)
