"""Tokens for the developers' API: issued within the reach of one's role, shown once, revoked with their children."""

from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _

from apps.console.access import Seat, developer_page
from apps.console.developer.app_keys import MOST, DayField
from apps.console.developer.once import shown_once
from apps.console.forms import refuse
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.developers.models import Scope
from apps.developers.queries import TokenInfo, token_by_id, tokens_of
from apps.developers.roles import SCOPES, check_scopes
from apps.developers.services.tokens import issue_token, revoke_token


class TokenForm(forms.Form):
    """Ask for what a token may do; only what the asker's role may."""

    name = forms.CharField(label=_("Name"), max_length=100, help_text=_("What will use it: “Reports”."))
    scopes = forms.MultipleChoiceField(
        label=_("What it may do"),
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Your role does not give more than this, and a token never gets more later."),
    )
    expires_at = DayField(label=_("Last day"), required=False, help_text=_("Until its end, UTC. Empty: no end."))
    parent = forms.ChoiceField(
        label=_("Beneath"),
        required=False,
        help_text=_("It can then do no more than that token, ends with it, and is revoked with it."),
    )

    def __init__(self, *args: Any, role: str, parents: list[TokenInfo], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(scope.value, scope.label) for scope in Scope if scope.value in SCOPES[role]]
        self.fields["scopes"].choices = choices  # type: ignore[attr-defined]
        if parents:
            above = [("", __("no other token")), *((row.id, f"{row.name} (…{row.hint})") for row in parents)]
            self.fields["parent"].choices = above  # type: ignore[attr-defined]
        else:
            del self.fields["parent"]


@developer_page("tokens")
def tokens(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the tokens that reach no further than one's role, and issue one."""
    moment = now()
    rows = [row for row in tokens_of(seat.developer_id, limit=MOST) if _within(seat, row)]
    live = [row for row in rows if row.revoked_at is None and (row.expires_at is None or row.expires_at > moment)]
    parents = [row for row in live if Scope.TOKENS_WRITE.value in row.scopes]
    form = TokenForm(request.POST or None, role=seat.role, parents=parents)
    if request.method == "POST" and form.is_valid():
        given = form.cleaned_data
        try:
            check_scopes(seat.role, given["scopes"])
            token, _id = issue_token(
                seat.developer_id,
                given["name"],
                given["scopes"],
                given["expires_at"],
                given.get("parent") or None,
                now=moment,
                actor=seat.actor,
            )
        except FaucetError as error:
            refuse(form, error, {"parent_id": "parent"})
        else:
            return shown_once(request, seat, token, title=__("A new token"), back=("console:tokens",))
    names = {row.id: row.name for row in rows}
    labels = dict(Scope.choices)
    shown = [
        {
            "row": row,
            "live": row in live,
            "parent": names.get(row.parent_id or ""),
            "scopes": [(scope, labels[scope]) for scope in row.scopes],
        }
        for row in rows
    ]
    return render(request, "console/developer/tokens.html", {"seat": seat, "form": form, "rows": shown})


@developer_page("tokens", change=True)
def revoke(request: HttpRequest, seat: Seat, token_id: str) -> HttpResponse:
    """Ask whether a token is to be revoked, and revoke it with every one beneath it."""
    row = token_by_id(token_id)
    if row is None or row.developer_id != seat.developer_id or not _within(seat, row):
        raise Http404("There is no such token.")
    if request.method == "POST":
        revoke_token(row.id, now=now(), actor=seat.actor)
        messages.success(request, __("The token is refused from now on."))
        return redirect("console:tokens", seat.developer_id)
    return render(request, "console/developer/token_revoke.html", {"seat": seat, "row": row})


def _within(seat: Seat, row: TokenInfo) -> bool:
    """Tell whether a token can do no more than the role of who looks."""
    return set(row.scopes) <= SCOPES[seat.role]
