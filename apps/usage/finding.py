"""Where ids of this room's rows stand, for operators who look for one."""

from apps.core.finding import Place
from apps.usage.models import Budget, IdempotencyRecord, LimitRule, LocalReport, PromptLog, UsageEvent

PLACES = (
    Place(UsageEvent, "request_id", prefixes=("req_",)),
    Place(IdempotencyRecord, "request_id", prefixes=("req_",)),
    Place(LocalReport, "request_id", prefixes=("req_",)),
    Place(Budget, prefixes=("bud_",)),
    Place(LimitRule, prefixes=("lim_",)),
    Place(PromptLog, prefixes=("plog_",)),
)
