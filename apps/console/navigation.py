"""The console's pages in the order of its menu. A page that a role may not read is not listed for it."""

from dataclasses import dataclass

from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.console.access import Seat


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the menu: what it says, where it leads, and whether one is there."""

    title: str | Promise
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Lines of the menu that belong together; the first group has no title."""

    title: str | Promise
    entries: tuple[Entry, ...]


# (title of the group, ((title, name of the address, area), …)).
PAGES: tuple[tuple[str | Promise, tuple[tuple[str | Promise, str, str], ...]], ...] = (
    ("", ((_("Overview"), "overview", "overview"), (_("Apps"), "apps", "apps"))),
    (
        _("Usage"),
        (
            (_("Usage"), "usage", "usage"),
            (_("Request log"), "requests", "usage"),
            (_("Forecast and advice"), "advice", "usage"),
        ),
    ),
    (
        _("Keys"),
        (
            (_("Provider keys"), "provider-keys", "keys"),
            (_("App keys and secrets"), "keys", "keys"),
            (_("API tokens"), "tokens", "tokens"),
        ),
    ),
    (
        _("Money"),
        (
            (_("Revenue"), "revenue", "money"),
            (_("Credit"), "credit", "money"),
            (_("Payouts"), "payouts", "money"),
            (_("Budgets"), "budgets", "budgets"),
            (_("Alerts"), "alerts", "budgets"),
            (_("Plan"), "plan", "money"),
            (_("Savings"), "value", "money"),
            (_("Fees"), "fees", "apps"),
        ),
    ),
    (
        _("Team"),
        ((_("Members"), "team", "team"), (_("Audit log"), "audit", "audit"), (_("Settings"), "settings", "settings")),
    ),
)


def menu(seat: Seat, path: str) -> list[Group]:
    """Return the menu for a seat, with the page at `path` marked."""
    found = [
        (title, [(label, reverse(f"console:{name}", args=[seat.developer_id])) for label, name in readable])
        for title, pages in PAGES
        if (readable := [(label, name) for label, name, area in pages if seat.may_read(area)])
    ]
    # The longest address that the path begins with is where one is: a page of one app is a page of apps.
    here = max((url for _title, pages in found for _label, url in pages if path.startswith(url)), key=len, default="")
    return [Group(title, tuple(Entry(label, url, url == here) for label, url in pages)) for title, pages in found]
