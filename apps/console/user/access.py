"""Who may see the pages of an end user: the browser that followed the app's link, while the session lives.

The link's code is good for one visit within five minutes. It gives the browser a signed cookie that only this link's
pages get (its path is theirs), so wallets of several apps in one browser never mix. In a frame of the app's page the
cookie is partitioned: a frame elsewhere has none of it. Every request asks the database about the session: revoking it
ends the pages, too.
"""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from django.conf import settings
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from apps.core.clock import now
from apps.core.errors import FaucetError, NotFound, Unauthorized
from apps.features.queries import AppInfo, Principal, app_by_id, principal_of_session
from apps.features.services.page_links import OpenedLink
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account

COOKIE = "mf_me"
# Seconds that pages stay open at most, however long the session lives.
MOST_SECONDS = 3_600
FORM_FIELD = "form"
_SALT = "apps.console.user"


@dataclass(frozen=True, slots=True)
class Visit:
    """Whose pages these are: the session's principal, its app and wallet; `token` is what every form sends back."""

    link_id: str
    principal: Principal
    user_id: str
    app: AppInfo
    account_id: int
    embed: bool
    token: str

    @property
    def actor(self) -> str:
        return f"session:{self.principal.id}"

    @property
    def anonymous(self) -> bool:
        return self.principal.assurance == "anonymous"


UserView = Callable[..., HttpResponseBase]


def user_page(*, named: bool = True) -> Callable[[UserView], UserView]:
    """Let a view `(request, visit, …)` answer for `/me/<link_id>/…`.

    With `named` only to users for whom their app vouched: an anonymous device sees its balance and calls alone.
    Refusals of services become a page.
    """

    def decorate(view: UserView) -> UserView:
        # Exempt: a token of our own is checked, bound to the cookie above. Frames do not get Django's cookie.
        @csrf_exempt
        @never_cache
        @wraps(view)
        def wrapped(request: HttpRequest, link_id: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
            try:
                visit = visit_of(request, link_id, now=now())
            except FaucetError as error:
                return closed(request, status=error.status)
            return _framed(_answer(request, visit, args, kwargs), visit)

        def _answer(request: HttpRequest, visit: Visit, args: Any, kwargs: Any) -> HttpResponseBase:
            if named and visit.anonymous:
                return refused(request, visit, status=403)
            if request.method not in ("GET", "HEAD"):
                given = request.POST.get(FORM_FIELD, "")
                if not hmac.compare_digest(given.encode(), visit.token.encode()):
                    return refused(request, visit, status=403, stale=True)
            try:
                return view(request, visit, *args, **kwargs)
            except NotFound as error:
                raise Http404(error.message) from error
            except FaucetError as error:
                return refused(request, visit, status=error.status, message=error.message)

        return wrapped

    return decorate


def visit_of(request: HttpRequest, link_id: str, *, now: datetime) -> Visit:
    """Return whose pages a request asks for. Raises Unauthorized and Forbidden."""
    value = request.COOKIES.get(COOKIE, "")
    try:
        session_id, mode = signing.TimestampSigner(salt=f"{_SALT}:{link_id}").unsign_object(
            value, max_age=timedelta(seconds=MOST_SECONDS)
        )
    except signing.BadSignature as error:
        raise Unauthorized("These pages are not open here.") from error
    principal = principal_of_session(session_id, now=now)
    assert principal.end_user_id is not None
    app = app_by_id(principal.app_id)
    assert app is not None
    account = open_account(kind=AccountKind.END_USER, owner_id=principal.end_user_id, now=now)
    token = salted_hmac(f"{_SALT}.form", value, algorithm="sha256").hexdigest()
    return Visit(link_id, principal, principal.end_user_id, app, account, mode == "embed", token)


def remember(request: HttpRequest, response: HttpResponse, opened: OpenedLink, *, embed: bool) -> None:
    """Give the browser the cookie that opens a link's pages."""
    signer = signing.TimestampSigner(salt=f"{_SALT}:{opened.link_id}")
    left = int((opened.expires_at - now()).total_seconds())
    response.set_cookie(
        COOKIE,
        signer.sign_object([opened.session_id, "embed" if embed else "page"]),
        max_age=max(min(left, MOST_SECONDS), 1),
        path=f"/me/{opened.link_id}/",
        httponly=True,
        secure=request.is_secure(),
        samesite="Lax",
    )
    if embed and request.is_secure():
        # In a frame of another site no other cookie is sent. Django has no word for Partitioned before 6.
        response.cookies[COOKIE]["samesite"] = "None; Partitioned"


def closed(request: HttpRequest, *, status: int) -> HttpResponse:
    """Return the page that says that a link or session is over. It holds nothing of anybody's, so any frame may."""
    response = render(request, "console/user/closed.html", {"theme": theme_of(request)}, status=status)
    if request.headers.get("sec-fetch-dest") == "iframe":
        frame(response, ("*",))
    return response


def refused(request: HttpRequest, visit: Visit, *, status: int, message: str = "", stale: bool = False) -> HttpResponse:
    """Return the page that says why something was not done."""
    context = {"message": message, "stale": stale}
    return render_page(request, visit, "refused.html", context, status=status)


def render_page(
    request: HttpRequest, visit: Visit, template: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """Return a page of an end user's."""
    content = {
        "visit": visit,
        "theme": theme_of(request),
        "support": settings.SUPPORT_EMAIL,
        "menu": menu(request, visit),
        **context,
    }
    return render(request, f"console/user/{template}", content, status=status)


# (title, name of the address, whether anonymous devices have it).
PAGES: tuple[tuple[Any, str, bool], ...] = (
    (_("Wallet"), "wallet", True),
    (_("Add credit"), "buy", False),
    (_("Calls"), "calls", True),
    (_("Spending limits"), "limits", False),
    (_("Own keys"), "keys", False),
    (_("Own machine"), "local", False),
    (_("Fees"), "fees", False),
    (_("Your data"), "data", False),
)
# The entry of the menu to which a page belongs, by the first part of its address.
_ABOVE = {
    **{name: name for _title, name, _for_all in PAGES},
    "": "wallet",
    "credit": "wallet",
    "promo": "buy",
    "auto-top-up": "buy",
    "top-ups": "buy",
    "delete": "data",
}


def menu(request: HttpRequest, visit: Visit) -> list[dict[str, Any]]:
    """Return the pages that a user has: title, address, and whether one is there."""
    here = _ABOVE.get(request.path.removeprefix(f"/me/{visit.link_id}/").partition("/")[0], "")
    return [
        {"title": title, "url": reverse(f"me:{name}", args=[visit.link_id]), "current": name == here}
        for title, name, for_all in PAGES
        if for_all or not visit.anonymous
    ]


def _framed(response: HttpResponseBase, visit: Visit) -> HttpResponseBase:
    """Let the app's own pages frame an answer, where the link was made for that; nobody's otherwise."""
    response["Referrer-Policy"] = "same-origin"
    return frame(response, visit.app.allowed_origins) if visit.embed and visit.app.allowed_origins else response


def frame(response: HttpResponseBase, origins: tuple[str, ...]) -> HttpResponseBase:
    """Let pages of these origins frame an answer."""
    response._csp_replace = {"frame-ancestors": list(origins)}  # type: ignore[attr-defined]
    response.xframe_options_exempt = True  # type: ignore[attr-defined]
    return response


def theme_of(request: HttpRequest) -> str:
    theme = request.COOKIES.get("theme", "")
    return theme if theme in ("light", "dark") else ""
