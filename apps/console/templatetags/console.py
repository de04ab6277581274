"""What the console's templates say money, shares and the menu with."""

import json
from datetime import date
from typing import Any

from django import template
from django.http import HttpRequest
from django.utils.formats import date_format
from django.utils.html import format_html

from apps.console.access import Seat
from apps.console.navigation import Group, menu
from apps.core.money import NANO_PER_USD
from apps.core.money import usd as exact_usd
from apps.usage.models import Outcome

register = template.Library()


@register.simple_tag(takes_context=True)
def console_menu(context: dict[str, Any]) -> list[Group]:
    """Return the menu of the page that is being shown."""
    request: HttpRequest = context["request"]
    seat: Seat = context["seat"]
    return menu(seat, request.path)


@register.filter
def usd(nano: int | None) -> str:
    """Show nano-USD exactly, with at least two places: `$0.0140`, `$12.00`."""
    if nano is None:
        return "–"
    text = exact_usd(abs(nano))
    whole, _, places = text.partition(".")
    places = places.rstrip("0").ljust(2, "0")
    return f"{'−' if nano < 0 else ''}${int(whole):,}.{places}"


@register.filter
def usd_short(nano: int | None) -> str:
    """Show nano-USD to the cent, or to two figures where it is less than one: for tiles, never for bills."""
    if nano is None:
        return "–"
    amount = abs(nano) / NANO_PER_USD
    if nano == 0 or amount >= 0.01:
        text = f"{amount:,.2f}"
    else:
        text = f"{amount:.9f}".rstrip("0")
        first = next(index for index, digit in enumerate(text) if digit not in "0.")
        text = f"{amount:.{max(first, 2)}f}"
    return f"{'−' if nano < 0 else ''}${text}"


@register.filter
def cents(amount: int | None) -> str:
    """Show cents of USD: `$1,234.50`."""
    return "–" if amount is None else f"{'−' if amount < 0 else ''}${abs(amount) / 100:,.2f}"


@register.filter
def dollars(nano: int) -> str:
    """Write nano-USD as USD for a chart's `data-value`."""
    return exact_usd(nano)


@register.filter
def percent(bps: int | None) -> str:
    """Show basis points as per cent: `40 %`, `2.5 %`."""
    return "–" if bps is None else f"{bps / 100:g} %"


@register.simple_tag
def bar(value: float, most: float) -> str:
    """Return a bar as long as `value` is of `most`: a picture beside the number, so nothing to read out."""
    width = max(0.0, min(100.0, 100 * value / most)) if most else 0.0
    return format_html(
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect width="{}" height="10"></rect></svg>',
        f"{width:.2f}",
    )


@register.filter
def plain_usd(nano: int | None) -> str:
    """Return nano-USD as a number of USD for scripts, empty where there is none: `0.014`."""
    return "" if nano is None else exact_usd(nano)


@register.filter
def line_at(text: str, number: int) -> str:
    """Return a line of a text, from 1 on."""
    lines = text.splitlines()
    return lines[number - 1] if 0 < number <= len(lines) else ""


@register.filter
def told(value: Any) -> str:
    """Return a member of a manifest as people read it: texts as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@register.filter
def outcome_label(outcome: str) -> Any:
    """Return how a call ended in the reader's language."""
    return Outcome(outcome).label


@register.filter
def whole(number: int | None) -> str:
    """Show a count: `1,234,567`."""
    return "–" if number is None else f"{number:,}"


@register.filter
def short(number: int) -> str:
    """Show a large count to three figures: `1.23 M`, `45.6 k`, `789`."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return str(number)


@register.filter
def milliseconds(ms: int | None) -> str:
    """Show a duration: `80 ms`, `1.83 s`."""
    if ms is None:
        return "–"
    return f"{ms:,} ms" if ms < 1_000 else f"{ms / 1_000:,.2f} s"


@register.filter
def part(rate: float) -> str:
    """Show a part from 0 to 1 as per cent: `2.0 %`."""
    return f"{100 * rate:.1f} %"


@register.filter
def percent_short(bps: int) -> str:
    """Show basis points as per cent with one place: `33.3 %`."""
    return f"{bps / 100:.1f} %"


@register.simple_tag
def step_of(day: date, step: str) -> str:
    """Name a step of time by its first day, as the machine-readable first cell of a chart's table."""
    name = date_format(day, "YEAR_MONTH_FORMAT" if step == "month" else "DATE_FORMAT")
    return format_html('<time datetime="{}">{}</time>', day.isoformat(), name)
