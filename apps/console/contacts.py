"""Whom to turn to, and what is allowed here: public pages."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe


@dataclass(frozen=True, slots=True)
class Contact:
    """A way to reach the operator: what for, what to write there, and where it leads."""

    title: str | Promise
    text: str | Promise
    value: str
    url: str


def contacts() -> list[Contact]:
    """Return the contacts that the operator named."""
    asked = (
        (_("Support"), _("Questions about accounts, keys, calls and bills."), settings.SUPPORT_EMAIL, "mailto:"),
        (
            _("Security"),
            _("Weaknesses that you found. Give us time to mend them before you tell others."),
            settings.SECURITY_EMAIL,
            "mailto:",
        ),
        (
            _("Abuse"),
            _("Apps or people that break the rules of use. Name the app, and the request id if you have one."),
            settings.ABUSE_EMAIL,
            "mailto:",
        ),
        (_("Incidents"), _("What does not work just now, and what did not."), settings.INCIDENT_URL, ""),
    )
    return [Contact(title, text, value, f"{scheme}{value}") for title, text, value, scheme in asked if value]


@require_safe
def contacts_page(request: HttpRequest) -> HttpResponse:
    """Show how to reach the operator."""
    return render(request, "console/contacts.html", {"contacts": contacts()})


@require_safe
def acceptable_use(request: HttpRequest) -> HttpResponse:
    """Show what is allowed here and what is not."""
    return render(request, "console/acceptable_use.html", {"abuse": settings.ABUSE_EMAIL})
