"""The one table of what makes somebody risky: thresholds, points, and the words for it. Pure.

A rule fires where what was measured reaches its threshold. It then brings `least` points, growing evenly to `most` at
`full`. A score is the sum of the points, 100 at most. docs/reference/risk.md says what each rule is for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, override
from django.utils.translation import gettext_lazy as _

from apps.billing.models.risk import Subject
from apps.core.money import NANO_PER_USD as USD_1
from apps.core.money import usd

APP, END_USER, DEVELOPER = Subject.APP.value, Subject.END_USER.value, Subject.DEVELOPER.value
TIMES, COUNT, PERCENT, USD = "times", "count", "percent", "usd"
HIGHEST = 100
# Below the first a score is low, below the second medium, then high.
MEDIUM, HIGH = 30, 60


@dataclass(frozen=True, slots=True)
class Scale:
    """From which value on a rule fires for one kind of subject, and how many points it then brings."""

    threshold: int
    full: int
    least: int
    most: int

    def points(self, value: int) -> int:
        """Return the points for what was measured; 0 below the threshold."""
        if value < self.threshold:
            return 0
        reached = min(value, self.full) - self.threshold
        return self.least + (self.most - self.least) * reached // max(self.full - self.threshold, 1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One signal: its unit, its scale by kind of subject, and a sentence with %(value)s and %(threshold)s."""

    code: str
    unit: str
    scales: Mapping[str, Scale]
    sentence: Any  # translated when it is shown


@dataclass(frozen=True, slots=True)
class Signal:
    """A rule that fired: what was measured, in `unit` (USD in nano-USD), and the points it brought."""

    code: str
    points: int
    value: int
    threshold: int
    unit: str
    explanation: str


RULES = (
    Rule(
        "spend_pace",
        TIMES,
        {END_USER: Scale(10, 50, 15, 30), APP: Scale(10, 50, 10, 25), DEVELOPER: Scale(10, 50, 10, 25)},
        _("Spent %(value)s as much in the last hour as in a usual one (from %(threshold)s on)."),
    ),
    Rule(
        "call_pace",
        TIMES,
        {END_USER: Scale(10, 50, 10, 20), APP: Scale(10, 50, 5, 15), DEVELOPER: Scale(10, 50, 5, 15)},
        _("Made %(value)s as many calls in the last hour as in a usual one (from %(threshold)s on)."),
    ),
    Rule(
        "new_and_spending",
        USD,
        {END_USER: Scale(10 * USD_1, 100 * USD_1, 15, 35), DEVELOPER: Scale(100 * USD_1, 1000 * USD_1, 15, 30)},
        _("Is new, and %(value)s was spent already (from %(threshold)s on)."),
    ),
    Rule(
        "top_up_burst",
        COUNT,
        {END_USER: Scale(5, 15, 15, 35), DEVELOPER: Scale(5, 15, 15, 35)},
        _("Began %(value)s top-ups within 24 hours (from %(threshold)s on)."),
    ),
    Rule(
        "card_failures",
        COUNT,
        {END_USER: Scale(3, 10, 20, 45), DEVELOPER: Scale(3, 10, 20, 45)},
        _("%(value)s payments failed within 24 hours (from %(threshold)s on)."),
    ),
    Rule(
        "refund_rate",
        PERCENT,
        {END_USER: Scale(50, 100, 10, 20), APP: Scale(15, 50, 15, 35), DEVELOPER: Scale(15, 50, 15, 35)},
        _("%(value)s of what was paid in 90 days was refunded (from %(threshold)s on)."),
    ),
    Rule(
        "disputes",
        COUNT,
        {END_USER: Scale(1, 3, 40, 70)},
        _("%(value)s payments were disputed within 180 days (from %(threshold)s on)."),
    ),
    Rule(
        "dispute_rate",
        PERCENT,
        {APP: Scale(1, 5, 25, 60), DEVELOPER: Scale(1, 5, 25, 60)},
        _("%(value)s of the payments of its end users in 180 days were disputed (from %(threshold)s on)."),
    ),
    Rule(
        "shared_fingerprint",
        COUNT,
        {END_USER: Scale(4, 20, 15, 40), APP: Scale(10, 50, 10, 30), DEVELOPER: Scale(15, 75, 10, 30)},
        _("%(value)s end users come from one client: the same network and program (from %(threshold)s on)."),
    ),
    Rule(
        "shared_across_apps",
        COUNT,
        {END_USER: Scale(8, 40, 10, 30)},
        _("%(value)s end users of several apps come from one client (from %(threshold)s on)."),
    ),
    Rule(
        "devices_on_network",
        COUNT,
        {END_USER: Scale(10, 50, 15, 35), APP: Scale(20, 200, 15, 40), DEVELOPER: Scale(20, 200, 15, 40)},
        _("%(value)s new anonymous devices came from one network within 7 days (from %(threshold)s on)."),
    ),
    Rule(
        "free_share",
        PERCENT,
        {APP: Scale(80, 100, 15, 30), DEVELOPER: Scale(80, 100, 10, 20)},
        _("%(value)s of what its end users spent in 30 days was free credit (from %(threshold)s on)."),
    ),
    Rule(
        "promotion_share",
        PERCENT,
        {DEVELOPER: Scale(40, 90, 20, 45)},
        _("%(value)s of what its end users spent in 30 days was credit that we gave away (from %(threshold)s on)."),
    ),
    Rule(
        "one_payer",
        PERCENT,
        {DEVELOPER: Scale(60, 95, 10, 30)},
        _("One end user paid %(value)s of its revenue in 30 days (from %(threshold)s on)."),
    ),
    Rule(
        "payers_share_client",
        PERCENT,
        {DEVELOPER: Scale(40, 90, 25, 50)},
        _("%(value)s of its revenue in 30 days was paid by several end users of one client (from %(threshold)s on)."),
    ),
    Rule(
        "own_card",
        PERCENT,
        {DEVELOPER: Scale(10, 50, 30, 60)},
        _("%(value)s of its revenue in 30 days was paid with its own card (from %(threshold)s on)."),
    ),
    Rule(
        "price_jump",
        TIMES,
        {APP: Scale(3, 10, 15, 30), DEVELOPER: Scale(3, 10, 15, 30)},
        _("Calls of the last 24 hours cost %(value)s what they did before (from %(threshold)s on)."),
    ),
)
BY_CODE = {rule.code: rule for rule in RULES}


def signals_of(kind: str, measured: Mapping[str, int]) -> tuple[Signal, ...]:
    """Return the rules that fire for a subject of `kind`, in the order of the table; `measured` by code."""
    found = []
    for rule in RULES:
        scale = rule.scales.get(kind)
        value = measured.get(rule.code)
        if scale is None or value is None or not (points := scale.points(value)):
            continue
        with override("en"):
            said = explain(rule.code, value=value, threshold=scale.threshold, unit=rule.unit) or ""
        found.append(Signal(rule.code, points, value, scale.threshold, rule.unit, said))
    return tuple(found)


def total(signals: tuple[Signal, ...]) -> int:
    """Return the score that the signals come to."""
    return min(sum(signal.points for signal in signals), HIGHEST)


def level(score: int) -> str:
    """Return `low`, `medium` or `high`."""
    return "high" if score >= HIGH else "medium" if score >= MEDIUM else "low"


def explain(code: str, *, value: int, threshold: int, unit: str) -> str | None:
    """Return what a signal says, in the language in force; None for one that the table no longer has."""
    rule = BY_CODE.get(code)
    if rule is None:
        return None
    return str(rule.sentence) % {"value": measure(value, unit), "threshold": measure(threshold, unit)}


def measure(value: int, unit: str) -> str:
    """Return a measured value in words of the language in force: `12`, `80 %`, `10 times`, `5.0000 USD`."""
    if unit == TIMES:
        return gettext("%(count)d times") % {"count": value}
    if unit == PERCENT:
        return f"{value} %"
    return f"{usd(value)} USD" if unit == USD else str(value)
