"""Where an app's link leads: it opens the pages of one end user, once."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.console.user.access import closed, remember
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError, Unauthorized
from apps.features.queries import principal_of_session
from apps.features.services.page_links import open_page_link

# Wrong codes from one address: 256 random bits are not guessed, but nobody needs to try.
GUESSES = "60/minute"


@require_GET
@never_cache
def enter(request: HttpRequest, code: str) -> HttpResponse:
    """Follow a link: give this browser the pages of the session that it was made for."""
    if "prefetch" in request.headers.get("sec-purpose", request.headers.get("purpose", "")):
        return HttpResponse(status=503)  # a browser that looks ahead must not use the link up
    address, moment = addresses.address_key(request), now()
    try:
        addresses.check("page_links_wrong", GUESSES, address)
        opened = open_page_link(code, now=moment)
        principal_of_session(opened.session_id, now=moment)
    except FaucetError as error:
        if isinstance(error, Unauthorized):
            _count(address)
        return closed(request, status=error.status)
    response = HttpResponseRedirect(reverse("me:wallet", args=[opened.link_id]))
    response["Referrer-Policy"] = "no-referrer"
    remember(request, response, opened, embed=request.GET.get("embed") == "1")
    return response


def _count(address: str) -> None:
    try:
        addresses.count("page_links_wrong", GUESSES, address)
    except FaucetError:
        pass  # that this one was wrong is the answer; the next one is refused
