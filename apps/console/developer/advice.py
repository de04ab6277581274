"""What the month will come to, budgets that run out, and what would be cheaper."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.billing.queries.value import bills_of
from apps.console.access import Seat, developer_page
from apps.console.templatetags.console import percent, usd_short
from apps.core.clock import now
from apps.features.queries import apps_of_developer
from apps.usage.advice import LEAST_DAYS, QUALITY_LOSS, Advice, Basis, Kind
from apps.usage.budgets.queries import BudgetState, budgets_of_developer
from apps.usage.models import BudgetScope
from apps.usage.outlook import SAMPLED, outlook_of

# Budgets that are looked at; a developer has fewer, but for the odd one.
MOST_BUDGETS = 200
FIRST_WARNING = 80


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of advice in words: what to do, how the saving was computed, and for which app and feature."""

    title: str
    text: str
    basis: str
    where: str
    advice: Advice


@dataclass(frozen=True, slots=True)
class Warning:
    """A budget of which much is used."""

    scope: Any
    subject: str
    budget: BudgetState
    used_percent: int


@developer_page("usage")
def advice(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show forecast, warnings of budgets, advice, and what was saved against the baseline."""
    moment = now()
    names = {app.id: app.name for app in apps_of_developer(seat.developer_id)}
    outlook = outlook_of(seat.developer_id, now=moment)
    budgets = budgets_of_developer(seat.developer_id, now=moment, limit=MOST_BUDGETS)
    context = {
        "seat": seat,
        "forecast": outlook.forecast,
        "days": outlook.days,
        "least_days": LEAST_DAYS,
        "pieces": [_piece(found, names, outlook.days) for found in outlook.advice],
        "budgets": len(budgets),
        "warnings": _warnings(budgets, names),
        "money": seat.may_read("money"),
        "bills": bills_of(seat.developer_id) if seat.may_read("money") else (),
    }
    return render(request, "console/developer/advice.html", context)


def _warnings(budgets: tuple[BudgetState, ...], names: dict[str, str]) -> list[Warning]:
    """Return the enabled budgets that have reached the first of their thresholds, fullest first."""
    found = []
    for budget in budgets:
        used = budget.spent + budget.reserved
        percent_used = 100 * used // budget.limit if budget.limit > 0 else 100
        if budget.enabled and percent_used >= min(budget.thresholds, default=FIRST_WARNING):
            subject = names.get(budget.scope_id, budget.scope_id)
            found.append(Warning(BudgetScope(budget.scope).label, subject, budget, percent_used))
    return sorted(found, key=lambda warning: -warning.used_percent)


def _piece(advice: Advice, names: dict[str, str], days: int) -> Piece:
    """Return a piece of advice in words."""
    where = ""
    if advice.app_id is not None:
        where = f"{names.get(advice.app_id, advice.app_id)} · {advice.feature_key}"
    values: dict[str, Any] = {
        "model": advice.model,
        "better": advice.better,
        "calls": percent(advice.calls_bps // 10 * 10),
        "part": percent(advice.part_bps // 10 * 10),
        "spend": usd_short(advice.spend),
        "quality": advice.quality,
        "better_quality": advice.better_quality,
        "loss": QUALITY_LOSS,
        "sampled": advice.sampled,
        "repeated": advice.repeated,
        "most": SAMPLED,
    }
    title, text, basis = _WORDS[advice.kind, advice.basis](values)
    days_said = ngettext("from %(days)s day of usage", "from %(days)s days of usage", days) % {"days": days}
    return Piece(
        title, text, f"{basis} {_('Of %(spend)s a month, %(days)s.') % {**values, 'days': days_said}}", where, advice
    )


def _cheaper(values: dict[str, Any]) -> tuple[str, str, str]:
    return (
        _("Use %(better)s instead of %(model)s") % values,
        _(
            "%(model)s answers %(calls)s of this feature’s calls. %(better)s can do all that it can and costs "
            "%(part)s less for the same tokens. Try it with some calls first, then name it in the manifest."
        )
        % values,
        _(
            "Present list prices for the tokens that were used. Quality, as the operator judges it: %(model)s "
            "%(quality)s, %(better)s %(better_quality)s of 1000; a model that is more than %(loss)s worse is not named."
        )
        % values,
    )


def _repeats(values: dict[str, Any]) -> tuple[str, str, str]:
    return (
        _("Answer repeated requests from the cache"),
        _("%(part)s of the prompts were asked before. Set cache.exact in the manifest.") % values,
        _("Of the latest %(sampled)s calls whose prompt’s hash is kept, %(repeated)s repeat an earlier one.") % values,
    )


def _rule(values: dict[str, Any]) -> tuple[str, str, str]:
    return (
        _("Try the cache"),
        _(
            "Your calls cost more than $10 a day and none is answered from a cache. Set cache.exact in the manifest, "
            "and privacy.prompt_hash to see here how often prompts repeat."
        ),
        _("A rule: it assumes that %(part)s of the calls repeat, as nothing was measured.") % values,
    )


def _batch(values: dict[str, Any]) -> tuple[str, str, str]:
    return (
        _("Send what may wait in batches"),
        _(
            "Nearly no call of this feature is streamed, so nobody seems to wait for its answers. Providers take "
            "batches that may last a day for half the price; send them with a key of your own."
        ),
        _("A rule: half the price, for a feature of whose latest %(sampled)s calls at most 5 %% are streamed.")
        % values,
    )


_WORDS = {
    (Kind.CHEAPER_MODEL, Basis.PRICES): _cheaper,
    (Kind.CACHE, Basis.REPEATS): _repeats,
    (Kind.CACHE, Basis.RULE): _rule,
    (Kind.BATCH, Basis.RULE): _batch,
}
