"""The page that shows a new secret once."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from apps.console.access import Seat


def shown_once(
    request: HttpRequest, seat: Seat, secret: str, *, title: str, back: tuple[str, ...], note: str = ""
) -> HttpResponse:
    """Answer with the page that holds `secret`, and leads on to `back` (name of the address, its arguments).

    It is the answer to the POST itself: a message would pass through a cookie or the session table.
    """
    context = {
        "seat": seat,
        "secret": secret,
        "title": title,
        "note": note,
        "back": reverse(back[0], args=[seat.developer_id, *back[1:]]),
    }
    response = render(request, "console/developer/shown_once.html", context)
    response["Cache-Control"] = "no-store, private"
    return response
