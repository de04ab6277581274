"""Where the link of an invitation leads: to the team, for whoever has the invited address."""

from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from apps.console.access import person_of
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError, RateLimited
from apps.developers.models import Role
from apps.developers.queries import InvitationInfo, invitation_by_id, invitation_by_token
from apps.developers.services.invitations import accept_invitation

# Where sign-up finds that this browser came by an invitation.
PLACE = "invitation_id"
LOOKS = "60/minute"


@never_cache
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation, and join the team with it."""
    try:
        addresses.count("invitation_page", LOOKS, addresses.address_key(request))
    except RateLimited as error:
        return render(request, "console/invitation.html", {"message": error.message}, status=429)
    found = invitation_by_token(token, now=now())
    if found is None:
        return render(request, "console/invitation.html", {"message": ""}, status=404)
    context: dict[str, Any] = {"invitation": found, "role": Role(found.role).label}
    if not request.user.is_authenticated:
        request.session[PLACE] = found.id
        return render(request, "console/invitation.html", context | {"next": request.path})
    mine = has_address(request, found.email)
    if request.method == "POST" and mine:
        user = person_of(request)
        try:
            accept_invitation(found.id, user_id=user.pk, email=found.email, now=now(), actor=f"user:{user.pk}")
        except FaucetError as error:
            return render(request, "console/invitation.html", {"message": error.message}, status=error.status)
        request.session.pop(PLACE, None)
        messages.success(request, _("You are in the team."))
        return redirect("console:overview", found.developer_id)
    return render(request, "console/invitation.html", context | {"mine": mine}, status=200 if mine else 403)


def has_address(request: HttpRequest, email: str) -> bool:
    """Tell whether an address is that of who is signed in: a proven one where this instance asks for proof."""
    user = person_of(request)
    rows = EmailAddress.objects.filter(user=user, email__iexact=email)
    if settings.EMAIL_VERIFICATION:
        return rows.filter(verified=True).exists()
    return user.email.lower() == email or rows.exists()


def invitation_in(request: HttpRequest) -> InvitationInfo | None:
    """Return the open invitation by which this browser came, if any."""
    invitation_id = request.session.get(PLACE)
    found = invitation_by_id(invitation_id) if isinstance(invitation_id, str) else None
    return None if found is None or found.expires_at <= now() else found
