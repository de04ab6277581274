"""What stands before every request: the Host header, the Origin, the preflight of a browser, security headers.

A web page anywhere can make a browser talk to this machine. So the bridge answers only to its own names (a name that
somebody else's DNS points here is none of them), and to pages only of origins that were allowed. Every page may ask
whether there is a bridge, and may ask to be paired; both say nothing that is not meant for it.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelfaucet_bridge.config import LOOPBACK
from modelfaucet_bridge.policies import Refused

METHODS = "GET, POST, OPTIONS"
HEADERS = "authorization, content-type, x-faucet-session, x-faucet-gateway, x-faucet-feature, idempotency-key"
EXPOSED = "x-faucet-channel, x-faucet-request-id, x-faucet-reported, retry-after"
PREFLIGHT_SECONDS = "600"
# The OpenAI client and others send headers of their own from a browser.
HEADER_PREFIXES = ("x-stainless-", "x-faucet-", "openai-")


def refusal(refused: Refused, headers: dict[str, str] | None = None) -> Response:
    """Return the answer that says no."""
    more = dict(headers or {})
    if refused.retry_after is not None:
        more["retry-after"] = str(int(refused.retry_after))
    return JSONResponse(refused.envelope(), status_code=refused.status, headers=more)


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def open_to_all(path: str) -> bool:
    """Tell whether a page of any origin may ask for this."""
    return path in ("/status", "/pair") or path.startswith("/pair/")


class Guard:
    """ASGI middleware; what is allowed is asked at each request, as it may change."""

    def __init__(self, app: ASGIApp, *, hosts: Callable[[], tuple[str, ...]], origins: Callable[[], set[str]]) -> None:
        self._app, self._hosts, self._origins = app, hosts, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        origin = headers.get("origin")
        own = f"{scope['scheme']}://{headers.get('host', '')}"
        if host_name(headers.get("host", "")) not in (*LOOPBACK, *self._hosts()):
            refused = Refused(403, "host_not_allowed", "This bridge does not answer to this Host header.")
            await refusal(refused)(scope, receive, self._secure(send))
            return
        if origin is None or origin.lower() == own.lower():
            await self._app(scope, receive, self._secure(send))
            return
        allowed = origin.lower() in self._origins()
        if not (allowed or (open_to_all(path) and origin != "null")) or path.startswith(("/ui", "/admin")):
            refused = Refused(403, "origin_not_allowed", "This page's origin is not allowed: it can ask at /pair.")
            await refusal(refused, {"vary": "origin"})(scope, receive, self._secure(send))
            return
        if scope["method"] == "OPTIONS":
            await self._preflight(headers, origin)(scope, receive, self._secure(send))
            return
        await self._app(scope, receive, self._secure(send, origin))

    def _preflight(self, headers: Headers, origin: str) -> Response:
        asked = [name.strip().lower() for name in headers.get("access-control-request-headers", "").split(",")]
        more = [name for name in asked if name.startswith(HEADER_PREFIXES) and name not in HEADERS]
        answer = {
            "access-control-allow-origin": origin,
            "access-control-allow-methods": METHODS,
            "access-control-allow-headers": ", ".join([HEADERS, *more]),
            "access-control-max-age": PREFLIGHT_SECONDS,
            "vary": "origin, access-control-request-headers, access-control-request-private-network",
        }
        if headers.get("access-control-request-private-network") == "true":
            answer["access-control-allow-private-network"] = "true"
        return Response(status_code=204, headers=answer)

    def _secure(self, send: Send, origin: str = "") -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("x-content-type-options", "nosniff")
                headers.setdefault("cache-control", "no-store")
                # A form sends no Origin from a page with `no-referrer`, and an Origin is what its receiver checks.
                headers.setdefault("referrer-policy", "same-origin")
                headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
                headers.add_vary_header("origin")
                if origin:
                    headers["access-control-allow-origin"] = origin
                    headers["access-control-expose-headers"] = EXPOSED
            await send(message)

        return sending
