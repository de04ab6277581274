"""The operator's pages: each parses what was asked, reads or calls one service, and renders.

They are views of the admin's site, which lets nobody in who is not staff; `site` is what its templates need.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from apps.billing.services import inbox
from apps.billing.services.payout_stop import payouts_stopped, resume_all_payouts, stop_all_payouts
from apps.console.operator import queues as waiting
from apps.console.operator.links import Reader
from apps.console.operator.registry import PLACES, SWITCHES
from apps.console.operator.story import call_story, row_story
from apps.core.admin_base import actor_of
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.core.finding import Found, find_in, row_of
from apps.core.switches import Switch, by_kind, is_off, off_now
from apps.developers.services import audit
from apps.usage.services.alerts import deliver_again
from apps.usage.services.rating import rate_again

# As many of a kind are listed as off; the rest stands in the table's own list.
MOST_OFF = 20
STOP_ALL = "billing.change_payoutaccount"


def find(request: HttpRequest, *, site: dict[str, Any]) -> HttpResponse:
    """Find by any id: one row that answers leads straight to its page, several are listed."""
    term = request.GET.get("q", "").strip()
    reader = Reader(request)
    found = [] if not term else [each for each in _once(find_in(PLACES, term)) if reader.sees(each.table)]
    if any(each.table == "usage.usageevent" for each in found):
        return HttpResponseRedirect(reverse("admin:request", args=[term]))
    if len(found) == 1:
        return HttpResponseRedirect(reverse("admin:found", args=[found[0].table, found[0].pk]))
    context = {**site, "title": _("Find by any id"), "find_term": term, "found": found}
    return TemplateResponse(request, "console/operator/find.html", context, status=200 if found or not term else 404)


def call(request: HttpRequest, request_id: str, *, site: dict[str, Any]) -> HttpResponse:
    """Tell the whole story of a call; no prompt is in it."""
    reader = Reader(request)
    if not reader.sees("usage.usageevent"):
        raise PermissionDenied
    story = call_story(request_id, reader)
    if story is None:
        raise Http404
    context = {**site, "title": _("Call"), "subtitle": request_id, **story}
    return TemplateResponse(request, "console/operator/call.html", context)


def row(request: HttpRequest, table: str, pk: str, *, site: dict[str, Any]) -> HttpResponse:
    """Show a row with everything that belongs to it."""
    reader = Reader(request)
    found = row_of(PLACES, table, pk)
    if found is None:
        raise Http404
    if not reader.sees(table):
        raise PermissionDenied
    context = {**site, "title": found.title, "subtitle": found.name, **row_story(found, reader, now=now())}
    return TemplateResponse(request, "console/operator/row.html", context)


def switches(request: HttpRequest, *, site: dict[str, Any]) -> HttpResponse:
    """List everything that is off, and find what is to be switched."""
    reader = Reader(request)
    term = request.GET.get("q", "").strip()
    may = [switch for switch in SWITCHES if reader.sees(switch.table)]
    found = []
    if term:
        for each in _once(find_in(PLACES, term)):
            found += [(switch, each.pk, each.title) for switch in may if _switches(switch, each.table)]
    off = [(switch, off_now(switch, MOST_OFF), reader.has(switch.permission)) for switch in may]
    context = {
        **site,
        "title": _("Switches"),
        "find_term": term,
        "found": found,
        "kinds": may,
        "off": [line for line in off if line[1]],
        "stopped": payouts_stopped() if reader.sees("billing.payoutaccount") else None,
        "sees_payouts": reader.sees("billing.payoutaccount"),
        "may_stop": reader.has(STOP_ALL),
    }
    return TemplateResponse(request, "console/operator/switches.html", context)


def switch(request: HttpRequest, kind: str, pk: str, *, site: dict[str, Any]) -> HttpResponse:
    """Switch something off or on, for a reason that is kept."""
    found = by_kind(SWITCHES, kind)
    if found is None or len(pk) > 255 or "\0" in pk:
        raise Http404
    reader = Reader(request)
    if not reader.sees(found.table):
        raise PermissionDenied
    row = row_of(PLACES, found.table, pk) or (row_of(PLACES, "developers.developer", pk) if kind == "payouts" else None)
    if row is None:
        raise Http404
    off = bool(is_off(found, pk))
    if request.method == "POST" and not reader.has(found.permission):
        raise PermissionDenied
    reason, problem = request.POST.get("reason", "").strip(), ""
    if request.method == "POST":
        problem = _turned(request, found, row, on=request.POST.get("turn") == "on", reason=reason)
        if not problem:
            return HttpResponseRedirect(reverse("admin:switches"))
    context = {
        **site,
        "title": row.title,
        "subtitle": str(found.name),
        "switch": found,
        "row": row,
        "is_off": off,
        "may": reader.has(found.permission),
        "reason": reason,
        "problem": problem,
    }
    return TemplateResponse(request, "console/operator/switch.html", context, status=400 if problem else 200)


def all_payouts(request: HttpRequest, *, site: dict[str, Any]) -> HttpResponse:
    """Stop every payout of the instance, or let them go out again."""
    reader = Reader(request)
    if not reader.sees("billing.payoutaccount"):
        raise PermissionDenied
    reason, problem = request.POST.get("reason", "").strip(), ""
    if request.method == "POST":
        if not reader.has(STOP_ALL):
            raise PermissionDenied
        try:
            if request.POST.get("turn") == "on":
                resume_all_payouts(now=now(), actor=actor_of(request))
                messages.success(request, _("Payouts go out again."))
            else:
                stop_all_payouts(reason=reason, now=now(), actor=actor_of(request))
                messages.success(request, _("All payouts are stopped."))
        except FaucetError as error:
            problem = error.message
        else:
            return HttpResponseRedirect(reverse("admin:switches"))
    context = {
        **site,
        "title": _("All payouts"),
        "stopped": payouts_stopped(),
        "may": reader.has(STOP_ALL),
        "reason": reason,
        "problem": problem,
    }
    return TemplateResponse(request, "console/operator/all_payouts.html", context, status=400 if problem else 200)


# What may be tried again: the permission it takes, and the service.
_AGAIN: dict[str, tuple[str, Callable[..., object]]] = {
    "event": ("billing.change_stripeevent", inbox.handle_again),
    "alert": ("usage.change_alert", deliver_again),
    "call": ("usage.change_usageevent", rate_again),
}


def queues(request: HttpRequest, *, schedule: dict[str, float], site: dict[str, Any]) -> HttpResponse:
    """Show when each task ran, and what was given up; POST tries one of the latter again."""
    reader = Reader(request)
    if request.method == "POST":
        permission, service = _AGAIN.get(request.POST.get("what", ""), ("", None))
        if service is None or not reader.has(permission):
            raise PermissionDenied
        pk = request.POST.get("id", "")
        if len(pk) > 255 or "\0" in pk or (service is deliver_again and not (pk.isascii() and pk.isdecimal())):
            raise Http404
        try:
            service(pk, now=now(), actor=actor_of(request))
        except FaucetError as error:
            messages.error(request, error.message)
        else:
            messages.success(request, _("It is tried again."))
        return HttpResponseRedirect(reverse("admin:queues"))
    context = {**site, "title": _("Queues"), **waiting.state(reader, schedule, now=now())}
    return TemplateResponse(request, "console/operator/queues.html", context)


def _once(found: Any) -> list[Found]:
    return list({(each.table, each.pk): each for each in found}.values())


def _switches(switch: Switch, table: str) -> bool:
    """Tell whether a row of a table is what a switch is for: an account stands for its wallet."""
    others = {"wallet": {"ledger.ledgeraccount"}, "payouts": {"developers.developer"}}
    return table == switch.table or table in others.get(switch.kind, ())


def _turned(request: HttpRequest, switch: Switch, row: Found, *, on: bool, reason: str) -> str:
    """Switch, and keep the reason; return what stands against it."""
    if not reason or len(reason) > 300:
        return _("Say why, in at most 300 characters.")
    service = switch.on if on else switch.off
    if service is None:
        return _("What was revoked stays so.")
    moment, actor = now(), actor_of(request)
    try:
        with transaction.atomic():
            pk = int(row.pk) if row.table.startswith("ledger.") else row.pk
            service(pk, reason=reason, now=moment, actor=actor)
            detail = {"reason": reason}
            developer = row.value("developer_id") or (row.pk if row.table == "developers.developer" else None)
            action = f"switch.{'on' if on else 'off'}"
            audit.record(action, switch.kind, row.pk, actor=actor, now=moment, developer_id=developer, detail=detail)
            LogEntry.objects.create(
                user_id=request.user.pk or 0,
                content_type=ContentType.objects.get_for_model(switch.model),
                object_id=row.pk,
                object_repr=row.title[:200],
                action_flag=CHANGE,
                change_message=f"{action}: {reason}",
            )
    except FaucetError as error:
        return error.message
    except ValueError:  # the audit trail keeps no secret
        return _("The reason holds what looks like a secret.")
    told = _("%(name)s is on again.") if on else _("%(name)s is off.")
    messages.success(request, told % {"name": row.title})
    return ""
