"""The audit log: who did what to which thing, filtered, page by page or as CSV."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET

from apps.console.access import Seat, developer_page
from apps.core.csv_stream import csv_response
from apps.core.errors import BadRequest
from apps.developers.queries import AuditInfo, audit_export, audit_of

PAGE = 50
_USER = re.compile(r"user:(\d{1,18})")
# Beginnings of actions. What is not here is found by writing it.
KINDS = (
    ("", _("everything")),
    ("app.", _("apps")),
    ("feature.", _("features")),
    ("credential.", _("provider keys")),
    ("virtual_key.", _("virtual keys")),
    ("app_secret.", _("app secrets")),
    ("token.", _("API tokens")),
    ("member.", _("members")),
    ("invitation.", _("invitations")),
    ("budget.", _("budgets")),
    ("payout", _("payouts")),
    ("developer.", _("settings")),
    ("prompt_log.", _("logged prompts")),
)


class FilterForm(forms.Form):
    """Ask what to look for."""

    who = forms.CharField(label=_("Who"), required=False, max_length=200)
    what = forms.ChoiceField(label=_("What"), required=False, choices=KINDS)
    subject = forms.CharField(label=_("Which"), required=False, max_length=200)
    begin = forms.DateField(
        label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    end = forms.DateField(
        label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["who"].widget.attrs["placeholder"] = __("e-mail address")
        self.fields["subject"].widget.attrs["placeholder"] = "app_…"


@dataclass(frozen=True, slots=True)
class Line:
    """An event as the page shows it: who did it in words, and its details one by one."""

    row: AuditInfo
    who: str
    details: tuple[tuple[str, str], ...]


@developer_page("audit")
def audit(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Show events, newest first."""
    form = FilterForm(request.GET)
    filters = _filters(form)
    rows: tuple[AuditInfo, ...] = ()
    if filters is not None:
        rows = audit_of(seat.developer_id, **filters, before=_cursor(request.GET.get("cursor", "")), limit=PAGE + 1)
    last = rows[PAGE - 1] if len(rows) > PAGE else None
    asked = {name: value for name in form.fields if (value := request.GET.get(name))}
    context = {
        "seat": seat,
        "form": form,
        "lines": _lines(seat, rows[:PAGE]),
        "filtered": bool(asked),
        "query": urlencode(asked),
        "next": urlencode({**asked, "cursor": f"{last.at.isoformat()}_{last.id}"}) if last else "",
        "first": "cursor" not in request.GET,
    }
    return render(request, "console/developer/audit.html", context)


@require_GET
@developer_page("audit")
def audit_csv(request: HttpRequest, seat: Seat) -> Any:
    """Stream the events of a filter."""
    filters = _filters(FilterForm(request.GET))
    if filters is None:
        raise BadRequest(__("Look at what you asked for: a part of it is not valid."))
    begin, end = filters["begin"], filters["end"]
    export = audit_export(seat.developer_id, **filters)
    return csv_response(export, owner=seat.developer_id, begin=begin, end=end)


def _filters(form: FilterForm) -> dict[str, Any] | None:
    """Return what the form asks for as the queries take it, None where it asks for nonsense."""
    if not form.is_valid():
        return None
    given = form.cleaned_data
    end: date | None = given["end"]
    return {
        "actor": _actor(given["who"]),
        "action": given["what"],
        "subject": given["subject"].strip(),
        "begin": _midnight(given["begin"]),
        "end": _midnight(end + timedelta(days=1)) if end is not None and end < date.max else None,
    }


def _actor(who: str) -> str:
    """Return the actor that is meant: by an e-mail address, or as the trail calls it."""
    who = who.strip()
    if "@" not in who:
        return who
    found = User.objects.filter(email__iexact=who).values_list("pk", flat=True).first()
    return f"user:{found}" if found is not None else who


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), tzinfo=UTC)


def _cursor(text: str) -> tuple[datetime, str] | None:
    """Return the place after a row; nonsense is the beginning."""
    moment, _, row_id = text.partition("_")
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (at, row_id) if at.tzinfo is not None and row_id and "\0" not in row_id else None


def _lines(seat: Seat, rows: tuple[AuditInfo, ...]) -> list[Line]:
    ids = {int(match[1]) for row in rows if (match := _USER.fullmatch(row.actor))}
    ids |= {row.detail["user_id"] for row in rows if isinstance(row.detail.get("user_id"), int)}
    people = {user.pk: user for user in User.objects.filter(pk__in=ids)} if ids else {}
    return [Line(row, _who(row.actor, people), _details(seat, row.detail, people)) for row in rows]


def _who(actor: str, people: dict[int, User]) -> str:
    match = _USER.fullmatch(actor)
    user = people.get(int(match[1])) if match else None
    if user is None:
        return actor
    # Who runs the instance is nobody's business but its own.
    return __("operator") if user.is_staff else user.email or user.get_username()


def _details(seat: Seat, detail: dict[str, Any], people: dict[int, User]) -> tuple[tuple[str, str], ...]:
    """Return what an event changed, without what every line would repeat."""
    shown = []
    for name, value in detail.items():
        if value in (None, "", [], {}, seat.developer_id) or name == "owner_class":
            continue
        person = people.get(value) if name == "user_id" and isinstance(value, int) else None
        shown.append(("user", _who(f"user:{person.pk}", people)) if person else (name, _text(value)))
    return tuple(shown)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_text(each)}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(_text(each) for each in value)
    return str(value)
