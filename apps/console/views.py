"""The page at /, and what it asks of the demo app's backend. Both endpoints are there only where DEMO is on."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST, require_safe

from apps.console import demo, snippets, texts, visitors
from apps.core import addresses
from apps.core.clock import now
from apps.core.errors import FaucetError
from apps.core.money import usd

View = Callable[[HttpRequest], HttpResponse]


@require_safe
@never_cache
def home(request: HttpRequest) -> HttpResponse:
    """Show the demo, or where DEMO is off what this is and where to go."""
    base_url = snippets.base_url(request)
    context: dict[str, Any] = {"base_url": base_url, "theme": _theme(request), "endpoints": texts.endpoints()}
    if not settings.DEMO:
        return render(request, "console/landing.html", context)
    found = demo.demo_app()
    context |= {
        "ready": found is not None,
        "model": found.model if found else "",
        "snippets": snippets.snippets(base_url, demo.PUBLIC_APP_ID, found.model if found else ""),
        "prompts": texts.prompts(),
        "page_data": {"strings": texts.strings(), "granted_usd": usd(demo.GRANT), "ready": found is not None},
    }
    return render(request, "console/demo.html", context)


def _demo_only(view: View) -> View:
    """Answer 404 where DEMO is off, and anticipated failures in the envelope of /v1."""

    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        if not settings.DEMO:
            raise Http404
        try:
            return view(request)
        except FaucetError as error:
            headers = {"Retry-After": str(error.retry_after)} if error.retry_after is not None else None
            return JsonResponse(error.envelope(None), status=error.status, headers=headers)

    return wrapped


# Exempt: the Origin is checked instead, which does not fail on a page that stayed open across a login elsewhere.
@csrf_exempt
@_demo_only
@require_POST
@never_cache
def demo_session(request: HttpRequest) -> HttpResponse:
    """Vouch for this browser's visitor: return a user token for POST /v1/sessions."""
    visitors.require_own_origin(request)
    visitor = None if visitors.wants_new(request) else visitors.visitor_of(request)
    if visitor is None:
        demo.admit_visitor(addresses.address_key(request))
        visitor = visitors.new_visitor()
    content = {
        "user_token": demo.user_token(visitor, now=now()),
        "public_app_id": demo.PUBLIC_APP_ID,
        "granted_usd": usd(demo.GRANT),
    }
    response = JsonResponse(content)
    visitors.remember(request, response, visitor)
    return response


# Exempt as above.
@csrf_exempt
@_demo_only
@require_POST
@never_cache
def demo_wallet(request: HttpRequest) -> HttpResponse:
    """Lead this browser's visitor to their own pages."""
    visitors.require_own_origin(request)
    visitor = visitors.visitor_of(request)
    if visitor is None:
        return redirect("home")
    return redirect("me:open", demo.wallet_link(visitor, now=now()))


@_demo_only
@require_GET
@never_cache
def demo_state(request: HttpRequest) -> HttpResponse:
    """Tell this browser's visitor about their balance and calls, and everybody about the developer's revenue."""
    return JsonResponse(demo.state(visitors.visitor_of(request), now=now()))


def _theme(request: HttpRequest) -> str:
    theme = request.COOKIES.get("theme", "")
    return theme if theme in ("light", "dark") else ""
