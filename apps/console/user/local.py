"""Models on the user's own machine: the bridges that reach them, what is noted of them, and what they cost."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import get_language
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from apps.console.forms import refuse
from apps.console.user.access import Visit, render_page, user_page
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.core.site import site_url
from apps.features.bridges import BridgeInfo, bridge_by_id, bridges_of
from apps.features.local_endpoints import endpoints_of
from apps.features.models import EndpointKind
from apps.features.services.bridges import MAX_BRIDGES, create_bridge, revoke_bridge
from apps.features.services.local_endpoints import remove_endpoint
from apps.vault.disclosures import disclosure
from apps.vault.models import FeeMode
from apps.vault.queries import consents_of

# Models of a bridge or endpoint that are named; of more the number is told.
NAMED = 6


class BridgeForm(forms.Form):
    """Ask what a machine is called."""

    name = forms.CharField(label=_("Name of the machine"), max_length=200, help_text=_("For your eyes: “My laptop”."))


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def local(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Show bridges, endpoints and the fee; make a bridge, whose token is on the page that answers and nowhere else."""
    form = BridgeForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        try:
            made = create_bridge(
                end_user_id=visit.user_id, name=form.cleaned_data["name"], now=now(), actor=visit.actor
            )
        except FaucetError as error:
            refuse(form, error)
        else:
            context = {"bridge": _own(visit, made.bridge_id, now=now()), "command": _command(request, made.token)}
            return render_page(request, visit, "bridge_made.html", context, status=201)
    return render_page(request, visit, "local.html", {**_bridges(visit), **_rest(visit), "form": form})


@require_safe
@user_page()
def bridge_states(request: HttpRequest, visit: Visit) -> HttpResponse:
    """Return the list of bridges, for a page that asks again every two seconds."""
    return render(request, "console/user/_bridges.html", {"visit": visit, **_bridges(visit)})


@require_safe
@user_page()
def bridge_state(request: HttpRequest, visit: Visit, bridge_id: str) -> HttpResponse:
    """Return whether one bridge is connected, for the page on which it was made."""
    return render(request, "console/user/_bridge.html", {"visit": visit, "bridge": _own(visit, bridge_id, now=now())})


@require_http_methods(["GET", "HEAD", "POST"])
@user_page()
def revoke(request: HttpRequest, visit: Visit, bridge_id: str) -> HttpResponse:
    """Ask whether a bridge is to be revoked, and revoke it."""
    moment = now()
    bridge = _own(visit, bridge_id, now=moment)
    if request.method == "POST":
        revoke_bridge(bridge_id=bridge.id, now=moment, actor=visit.actor)
        messages.success(request, __("The bridge is revoked. Its token opens nothing any more."))
        return redirect("me:local", visit.link_id)
    return render_page(request, visit, "bridge_revoke.html", {"bridge": bridge})


@require_POST
@user_page()
def forget_endpoint(request: HttpRequest, visit: Visit, endpoint_id: str) -> HttpResponse:
    """Forget what an app noted of a server of models."""
    remove_endpoint(endpoint_id, end_user_id=visit.user_id)
    messages.success(request, __("Removed. The server itself runs on."))
    return redirect("me:local", visit.link_id)


def _own(visit: Visit, bridge_id: str, *, now: datetime) -> BridgeInfo:
    found = bridge_by_id(bridge_id, now=now)
    if found is None or found.end_user_id != visit.user_id or found.revoked_at is not None:
        raise Http404("There is no such bridge.")
    return found


def _bridges(visit: Visit) -> dict[str, Any]:
    rows = bridges_of(visit.user_id, now=now())
    shown = [{"row": row, **_named(row.models)} for row in rows]
    return {"bridges": shown, "may_add": len(rows) < MAX_BRIDGES}


def _rest(visit: Visit) -> dict[str, Any]:
    told = disclosure(visit.principal.terms, FeeMode.LOCAL.value, language=get_language() or "en")
    endpoints = [
        {"row": row, "kind": EndpointKind(row.kind).label, **_named(row.models)} for row in endpoints_of(visit.user_id)
    ]
    acknowledged = consents_of(visit.user_id).get(FeeMode.LOCAL.value, -1) >= told.fee
    return {"endpoints": endpoints, "fee": told, "acknowledged": acknowledged}


def _named(models: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    return {"models": [model["id"] for model in models[:NAMED]], "more": max(len(models) - NAMED, 0)}


def _command(request: HttpRequest, token: str) -> str:
    """Return what is pasted into a shell. Neither the address nor the token holds a character that one would read."""
    return f"modelfaucet-bridge connect --gateway {site_url(request)} --token {token}"
