"""Where ids of this room's rows stand, for operators who look for one."""

from apps.core.finding import Place
from apps.developers.models import AuditEvent, Developer, DeveloperToken, Invitation, Member

PLACES = (
    Place(Developer, prefixes=("dev_",)),
    Place(Member, prefixes=("mem_",)),
    Place(Invitation, prefixes=("inv_",)),
    Place(DeveloperToken, prefixes=("dtok_",)),
    Place(AuditEvent, prefixes=("aud_",)),
)
