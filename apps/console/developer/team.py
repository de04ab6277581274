"""The team: members and their roles, and invitations by mail."""

import logging
from smtplib import SMTPException

from django import forms
from django.conf import settings
from django.contrib import messages
from django.core.mail import send_mail
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as __
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from apps.console.access import Seat, developer_page, person_of
from apps.console.developer.once import shown_once
from apps.console.forms import refuse
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.developers.models import Role
from apps.developers.queries import MemberInfo, invitation_by_id, invitations_of, member_by_id, members_of
from apps.developers.roles import MANAGES
from apps.developers.services.developers import change_role, remove_member
from apps.developers.services.invitations import invite, revoke_invitation

logger = logging.getLogger(__name__)

# Mails to people who did not ask for one.
INVITATIONS = "30/day"
WHAT_ROLES_DO = (
    (Role.OWNER, _("Everything, and says who else is an owner.")),
    (Role.ADMIN, _("Everything but owners: builds apps, holds keys, sees the money, invites others.")),
    (Role.ANALYST, _("Looks at apps, usage and budgets; changes nothing.")),
    (Role.FINANCE, _("Looks at usage and revenue, spends credit, asks for payouts.")),
)


class InviteForm(forms.Form):
    """Ask whom to invite, and as what."""

    email = forms.EmailField(label=_("E-mail address"))
    role = forms.ChoiceField(label=_("Role"))

    def __init__(self, *args: object, role: str, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self.fields["role"].choices = _roles(role)  # type: ignore[attr-defined]
        self.fields["role"].initial = Role.ANALYST.value


@developer_page("team")
def team(request: HttpRequest, seat: Seat) -> HttpResponse:
    """List the members, and those who are invited."""
    return _page(request, seat, InviteForm(role=seat.role) if seat.may_change("team") else None)


@require_POST
@developer_page("team")
def invite_member(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Invite an address, and show the link once in case that the mail does not arrive."""
    form = InviteForm(request.POST, role=seat.role)
    if not form.is_valid():
        return _page(request, seat, form)
    email, role = form.cleaned_data["email"], form.cleaned_data["role"]
    try:
        addresses.count("invitations", INVITATIONS, seat.developer_id)
        token, _id = invite(seat.developer_id, email, role, by_role=seat.role, now=now(), actor=seat.actor)
    except FaucetError as error:
        refuse(form, error)
        return _page(request, seat, form)
    link = request.build_absolute_uri(reverse("console:invitation", args=[token]))
    if _send(seat, email, person_of(request).email, link):
        note = __("A mail with this link is on its way to %(email)s. It holds for seven days.")
    else:
        note = __("No mail could be sent: give this link to %(email)s yourself. It holds for seven days.")
    note = note % {"email": email}
    return shown_once(request, seat, link, title=__("The invitation is made"), back=("console:team",), note=note)


@require_POST
@developer_page("team")
def withdraw_invitation(request: HttpRequest, seat: Seat, invitation_id: str) -> HttpResponse:
    """Let nobody accept an invitation any more."""
    row = invitation_by_id(invitation_id)
    if row is None or row.developer_id != seat.developer_id:
        raise Http404("There is no such invitation.")
    revoke_invitation(row.id, by_role=seat.role, now=now(), actor=seat.actor)
    messages.success(request, __("The invitation is withdrawn."))
    return redirect("console:team", seat.developer_id)


@require_POST
@developer_page("team")
def set_role(request: HttpRequest, seat: Seat, member_id: str) -> HttpResponse:
    """Give a member another role, at once."""
    row = _find(seat, member_id)
    change_role(row.id, request.POST.get("role", ""), by_role=seat.role, now=now(), actor=seat.actor)
    messages.success(request, __("The role is changed, at once."))
    return redirect("console:team", seat.developer_id)


@developer_page("team", change=True)
def remove(request: HttpRequest, seat: Seat, member_id: str) -> HttpResponse:
    """Ask whether a member is to go, and end the membership."""
    row = _find(seat, member_id)
    if request.method == "POST":
        remove_member(row.id, by_role=seat.role, now=now(), actor=seat.actor)
        messages.success(request, __("%(email)s is not in the team any more.") % {"email": row.email})
        return redirect("console:home" if row.user_id == person_of(request).pk else "console:team", *_args(seat, row))
    return render(request, "console/developer/member_remove.html", {"seat": seat, "row": row, "self": False})


@developer_page("overview")
def leave(request: HttpRequest, seat: Seat) -> HttpResponse:
    """Ask whether somebody wants to leave, and let them."""
    user_id = person_of(request).pk
    row = next(row for row in members_of(seat.developer_id) if row.user_id == user_id)
    if request.method == "POST":
        remove_member(row.id, by_role=seat.role, now=now(), actor=seat.actor)
        messages.success(request, __("You have left %(name)s.") % {"name": seat.developer_name})
        return redirect("console:home")
    return render(request, "console/developer/member_remove.html", {"seat": seat, "row": row, "self": True})


def _page(request: HttpRequest, seat: Seat, form: InviteForm | None) -> HttpResponse:
    user_id = person_of(request).pk
    rows = members_of(seat.developer_id)
    owners = sum(row.role == Role.OWNER for row in rows)
    manages = MANAGES[seat.role]
    members = [
        {
            "row": row,
            "role": Role(row.role).label,
            "self": row.user_id == user_id,
            "changes": row.role in manages and not (row.role == Role.OWNER and owners == 1),
        }
        for row in rows
    ]
    moment = now()
    invitations = [
        {"row": row, "role": Role(row.role).label, "over": row.expires_at <= moment, "changes": row.role in manages}
        for row in invitations_of(seat.developer_id)
    ]
    context = {
        "seat": seat,
        "members": members,
        "invitations": invitations if form is not None else [],
        "form": form,
        "choices": _roles(seat.role),
        "roles": [(role.label, text) for role, text in WHAT_ROLES_DO],
    }
    return render(request, "console/developer/team.html", context)


def _roles(role: str) -> list[tuple[str, str]]:
    return [(value, str(Role(value).label)) for value in MANAGES[role]]


def _find(seat: Seat, member_id: str) -> MemberInfo:
    """Return a member of this developer. Raises Http404 for anybody else's."""
    row = member_by_id(member_id)
    if row is None or row.developer_id != seat.developer_id:
        raise Http404("There is no such member.")
    return row


def _args(seat: Seat, row: MemberInfo) -> tuple[str, ...]:
    return () if seat.actor == f"user:{row.user_id}" else (seat.developer_id,)


def _send(seat: Seat, email: str, inviter: str, link: str) -> bool:
    """Send an invitation, and tell whether that went well."""
    values = {"who": inviter or __("Somebody"), "name": seat.developer_name, "link": link}
    # A line break in a name would start another header.
    subject = __("You are invited to %(name)s") % {"name": " ".join(seat.developer_name.split())}
    text = __(
        "%(who)s invites you to the team of %(name)s on ModelFaucet.\n\n"
        "Follow this link within seven days, signed in with this address:\n%(link)s\n\n"
        "If you do not know what this is about, do nothing."
    )
    try:
        send_mail(f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}{subject}", text % values, None, [email])
    except (SMTPException, OSError):
        logger.exception("an invitation could not be mailed")
        return False
    # Without a server, mail is kept as files that only the operator reads.
    return not settings.EMAIL_BACKEND.endswith("filebased.EmailBackend")
