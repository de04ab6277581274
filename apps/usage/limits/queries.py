"""The rules that the gateway enforces."""

import re
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import Q

from apps.usage.limits.rules import Dimension, LimitRules
from apps.usage.models import LimitRule, LimitScope


def load_limit_rules() -> LimitRules:
    """Return the enabled rules, to be kept until the policy epoch moves."""
    rows = LimitRule.objects.filter(enabled=True).values_list("scope", "scope_id", "rpm", "tpm", "concurrency")
    return LimitRules(Dimension(*row) for row in rows)


@dataclass(frozen=True, slots=True)
class LimitRuleInfo:
    """A rule as other rooms see it; None is no limit. An empty `scope_id` is each one that no other rule names."""

    id: str
    scope: str
    scope_id: str
    rpm: int | None
    tpm: int | None
    concurrency: int | None
    enabled: bool


def limit_rule_of(scope: str, scope_id: str) -> LimitRuleInfo | None:
    """Return the rule that names somebody, in force or not."""
    row = LimitRule.objects.filter(scope=scope, scope_id=scope_id).first()
    return None if row is None else _info(row)


def limit_rules_for(developer_id: str, app_ids: Collection[str]) -> tuple[LimitRuleInfo, ...]:
    """Return the rules in force that a developer's calls come under: its own, its apps', features' and the defaults.

    Rules that name one end user, session, key, credential or address are left out.
    """
    apps = "|".join(re.escape(app_id) for app_id in app_ids)
    named = Q(scope=LimitScope.DEVELOPER, scope_id=developer_id) | Q(scope=LimitScope.APP, scope_id__in=app_ids)
    if app_ids:
        named |= Q(scope=LimitScope.FEATURE, scope_id__regex=f"^({apps})/")
    rows = list(LimitRule.objects.filter(named | Q(scope_id=""), enabled=True).order_by("scope", "scope_id"))
    order = {scope: place for place, scope in enumerate(LimitScope.values)}
    return tuple(_info(row) for row in sorted(rows, key=lambda row: (order[row.scope], row.scope_id)))


def _info(row: LimitRule) -> LimitRuleInfo:
    return LimitRuleInfo(row.id, row.scope, row.scope_id, row.rpm, row.tpm, row.concurrency, row.enabled)


def is_limited(scope: str, scope_id: str) -> bool:
    """Tell whether an enabled rule limits somebody: one that names them, or their scope's default."""
    return LimitRule.objects.filter(scope=scope, scope_id__in=("", scope_id), enabled=True).exists()
