"""The local page: what was spent and what is left, the last minute, recent calls, channels, pages that ask.

It is made on the server, loads nothing from elsewhere, and is opened with a one-time key that becomes a cookie.
"""

import time
from datetime import datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from jinja2 import Environment, PackageLoader, select_autoescape
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from modelfaucet_bridge import __version__
from modelfaucet_bridge.access import UI_SECONDS
from modelfaucet_bridge.ledger import Month
from modelfaucet_bridge.money import usd
from modelfaucet_bridge.policies import Refused
from modelfaucet_bridge.words import language_of, translator

if TYPE_CHECKING:
    from modelfaucet_bridge.app import Bridge

COOKIE, LANGUAGE = "mf_bridge_page", "mf_bridge_language"
CALLS = 25
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FILES = files("modelfaucet_bridge") / "page_files"
_templates = Environment(loader=PackageLoader("modelfaucet_bridge", "page_files"), autoescape=select_autoescape())
_templates.filters["usd"] = usd
_templates.filters["clock"] = lambda at: _clock(at, time.time())
_templates.filters["moment"] = lambda at: datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _clock(at: float, now: float) -> str:
    """Return when something was, in this machine's time: of another day also which one."""
    moment, today = datetime.fromtimestamp(at).astimezone(), datetime.fromtimestamp(now).astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%m-%d %H:%M")


def routes() -> list[Route]:
    return [
        Route("/", _home),
        Route("/__akcp/ui", _home),
        Route("/ui", _page),
        Route("/ui/pairings", _decide, methods=["POST"]),
        Route("/ui/origins", _revoke, methods=["POST"]),
        Route("/ui/page.css", _style),
        Route("/ui/page.js", _script),
    ]


async def _home(request: Request) -> Response:
    return RedirectResponse("/ui", status_code=302)


async def _style(request: Request) -> Response:
    return Response((_FILES / "page.css").read_text(encoding="utf-8"), media_type="text/css")


async def _script(request: Request) -> Response:
    return Response((_FILES / "page.js").read_text(encoding="utf-8"), media_type="text/javascript")


async def _page(request: Request) -> Response:
    bridge: Bridge = request.app.state.bridge
    if (key := request.query_params.get("key")) is not None:
        cookie = bridge.page_keys.cookie_for(key)
        answer: Response = RedirectResponse("/ui", status_code=303)
        if cookie is not None:
            answer.set_cookie(COOKIE, cookie, max_age=UI_SECONDS, path="/ui", httponly=True, samesite="strict")
        return answer
    if (wish := request.query_params.get("lang")) in ("en", "zh"):
        answer = RedirectResponse("/ui", status_code=303)
        answer.set_cookie(LANGUAGE, wish, max_age=365 * 86400, path="/ui", httponly=True, samesite="strict")
        return answer
    if not _is_open(request):
        return _render(request, "locked.html", {}, status=401)
    return _render(request, "page.html", _context(bridge))


async def _decide(request: Request) -> Response:
    bridge, form = await _form(request)
    bridge.pairings.decide(form.get("code", ""), form.get("decision") == "allow")
    return RedirectResponse("/ui", status_code=303)


async def _revoke(request: Request) -> Response:
    bridge, form = await _form(request)
    bridge.origins.remove(form.get("origin", ""))
    return RedirectResponse("/ui", status_code=303)


async def _form(request: Request) -> "tuple[Bridge, dict[str, str]]":
    """Return what the page itself has sent; the guard has let no other Origin through. Raises Refused."""
    if not _is_open(request) or "origin" not in request.headers:
        raise Refused(403, "page_locked", "Open the page with `modelfaucet-bridge ui`.")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > 10_000:
            raise Refused(413, "request_too_large", "This is no form of the page.")
    return request.app.state.bridge, dict(parse_qsl(body.decode("utf-8", "replace")))


def _is_open(request: Request) -> bool:
    bridge: Bridge = request.app.state.bridge
    return bridge.page_keys.knows(request.cookies.get(COOKIE, ""))


def _render(request: Request, name: str, context: dict[str, Any], status: int = 200) -> Response:
    language = request.cookies.get(LANGUAGE) or language_of(request.headers.get("accept-language", ""))
    text = _templates.get_template(name).render(
        **context, _=translator(language), language=language, version=__version__
    )
    headers = {"content-security-policy": POLICY, "x-frame-options": "DENY"}
    return Response(text, status_code=status, media_type="text/html", headers=headers)


def _context(bridge: "Bridge") -> dict[str, Any]:
    at = time.time()
    channels = [_channel(bridge, channel, at) for channel in bridge.fleet.channels()]
    budgeted = [item for item in channels if item["budget"] is not None]
    return {
        "address": f"http://{bridge.config.host}:{bridge.config.port}/v1",
        "problem": bridge.problem,
        "gateway": bridge.spool.gateway,
        "relay": bridge.relays.state,
        "reports": bridge.spool.pending(),
        "pairings": bridge.pairings.waiting(),
        "channels": channels,
        "spent": sum(item["month"].spent for item in channels),
        "unknown": sum(item["month"].unknown for item in channels),
        "remaining": sum(item["left"] for item in budgeted) if budgeted else None,
        "at_most": any(item["month"].unknown for item in budgeted),
        "calls": sum(item["month"].calls for item in channels),
        "failures": sum(item["month"].failures for item in channels),
        "days": _days([item["month"] for item in channels]),
        "recent": list(reversed(bridge.ledger.recent))[:CALLS],
        "alerts": bridge.alerts.recent()[:10],
        "paired": bridge.origins.all(),
        "origins": bridge.config.origins,
    }


def _channel(bridge: "Bridge", channel: Any, at: float) -> dict[str, Any]:
    month, health = bridge.ledger.month(channel.name, at), bridge.fleet.health(channel.name)
    requests, tokens = bridge.rates.used(channel.name)
    return {
        "channel": channel,
        "state": health.state if channel.enabled else "disabled",
        "health": health,
        "month": month,
        "budget": channel.budget,
        "left": max(0, channel.budget - month.spent) if channel.budget is not None else None,
        "percent": min(100, month.spent * 100 // channel.budget) if channel.budget else 0,
        "free": channel.price("") is not None and not channel.prices,
        "requests": requests,
        "tokens": tokens,
    }


def _days(months: list[Month]) -> list[dict[str, Any]]:
    """Return the spend of each day with the bars of its chart, in a field of 100 by 100."""
    days: dict[str, int] = {}
    for month in months:
        for day, spent in month.days.items():
            days[day] = days.get(day, 0) + spent
    most = max(days.values(), default=0)
    if not most:
        return []
    first, last = int(min(days)[-2:]), int(max(days)[-2:])
    prefix, wide = min(days)[:8], 100 / max(8, last - first + 1)
    rows = []
    for position, number in enumerate(range(first, last + 1)):
        spent = days.get(f"{prefix}{number:02d}", 0)
        height = 90 * spent / most
        rows.append(
            {
                "day": f"{prefix}{number:02d}",
                "spent": spent,
                "x": round(position * wide + wide * 0.15, 2),
                "y": round(100 - height, 2),
                "width": round(wide * 0.7, 2),
                "height": round(height, 2),
            }
        )
    return rows
