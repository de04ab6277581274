"""Who may see which page of the console: a member of the developer in the address, in a role that reaches so far.

Whoever is no member is told that the page does not exist; a member whose role does not reach is told so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render

from apps.core.errors import FaucetError, NotFound
from apps.developers.models import Role
from apps.developers.queries import memberships

# What a page is about, and the roles that may read it or change it.
_EVERYBODY = frozenset(Role.values)
_BUILDERS = frozenset({Role.OWNER, Role.ADMIN})
_MONEY = frozenset({Role.OWNER, Role.ADMIN, Role.FINANCE})
AREAS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "overview": (_EVERYBODY, _EVERYBODY),
    "apps": (_EVERYBODY, _BUILDERS),
    "keys": (_BUILDERS, _BUILDERS),
    "tokens": (_EVERYBODY, _EVERYBODY),  # within the scopes that one's role may give
    "usage": (_EVERYBODY, _EVERYBODY),
    "budgets": (_EVERYBODY, _BUILDERS),
    "money": (_MONEY, _MONEY),
    "audit": (_BUILDERS, _BUILDERS),
    "team": (_EVERYBODY, frozenset({Role.OWNER, Role.ADMIN})),
    "settings": (_BUILDERS, _BUILDERS),
}


@dataclass(frozen=True, slots=True)
class Seat:
    """For whom somebody is at work here: the developer, their role, and under which name columns know them."""

    developer_id: str
    developer_name: str
    role: str
    actor: str
    stopped: bool = False

    def may_read(self, area: str) -> bool:
        return self.role in AREAS[area][0]

    def may_change(self, area: str) -> bool:
        return self.role in AREAS[area][1]


DeveloperView = Callable[..., HttpResponseBase]


def developer_page(area: str, *, change: bool = False) -> Callable[[DeveloperView], DeveloperView]:
    """Let a view `(request, seat, …)` answer for `/console/<developer_id>/…`, to members whose role reaches.

    With `change` even reading takes the right to change. A POST always does. Refusals of services become a page.
    """

    def decorate(view: DeveloperView) -> DeveloperView:
        @login_required
        @wraps(view)
        def wrapped(request: HttpRequest, developer_id: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
            seat = seat_of(request, developer_id)
            writes = change or request.method not in ("GET", "HEAD")
            if not (seat.may_change(area) if writes else seat.may_read(area)):
                return refused(request, seat, status=403)
            try:
                return view(request, seat, *args, **kwargs)
            except NotFound as error:
                raise Http404(error.message) from error
            except FaucetError as error:
                return refused(request, seat, status=error.status, message=error.message)

        return wrapped

    return decorate


def person_of(request: HttpRequest) -> User:
    """Return who is signed in; for views that only such people reach."""
    assert isinstance(request.user, User)
    return request.user


def seat_of(request: HttpRequest, developer_id: str) -> Seat:
    """Return the signed-in person's seat at a developer. Raises Http404 for anybody else's."""
    user_id = person_of(request).pk
    for membership in memberships(user_id):
        if membership.developer_id == developer_id:
            return Seat(developer_id, membership.developer_name, membership.role, f"user:{user_id}", membership.stopped)
    raise Http404("There is no such developer.")


def refused(request: HttpRequest, seat: Seat, *, status: int, message: str = "") -> HttpResponse:
    """Return the page that says why something was not done."""
    return render(request, "console/refused.html", {"seat": seat, "message": message}, status=status)
