"""Who is looking at the demo: a random id per browser, in a signed cookie that no script can read."""

import json
import secrets
from typing import Any
from urllib.parse import urlsplit

from django.http import HttpRequest, HttpResponse

from apps.core.errors import BadRequest, Forbidden

COOKIE = "mf_visitor"
_SALT = "apps.console.visitors"
_MAX_AGE = 30 * 86_400
_MAX_BODY = 1_000


def visitor_of(request: HttpRequest) -> str | None:
    """Return the visitor's external user id, or None for a browser that has none (or made one up)."""
    visitor: str | None = request.get_signed_cookie(COOKIE, default=None, salt=_SALT, max_age=_MAX_AGE)
    return visitor


def new_visitor() -> str:
    """Return a fresh external user id."""
    return f"web-{secrets.token_hex(16)}"


def remember(request: HttpRequest, response: HttpResponse, visitor: str) -> None:
    """Give the browser its visitor's id."""
    response.set_signed_cookie(
        COOKIE, visitor, salt=_SALT, max_age=_MAX_AGE, httponly=True, samesite="Lax", secure=request.is_secure()
    )


def require_own_origin(request: HttpRequest) -> None:
    """Raise Forbidden (origin_not_allowed) unless a page of this very host sent the request.

    Every browser names the origin of a POST. The scheme is not compared: it changes at a proxy that ends TLS.
    """
    if urlsplit(request.headers.get("Origin", "")).netloc != request.get_host():
        raise Forbidden("Only this site's own page may do this.", code="origin_not_allowed")


def wants_new(request: HttpRequest) -> bool:
    """Tell whether the body asks for a new visitor (`{"new": true}`). Raises BadRequest."""
    if not request.body:
        return False
    try:
        content: Any = json.loads(request.body) if len(request.body) <= _MAX_BODY else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or not isinstance(content.get("new", False), bool):
        raise BadRequest('The body takes {"new": true}, or nothing.', param="new")
    return content.get("new", False)
