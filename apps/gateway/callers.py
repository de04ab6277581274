"""Who asks: the token of a request, its origin, and its body."""

import asyncio

from django.conf import settings

from apps.core.addresses import network_of
from apps.core.errors import BadRequest, Forbidden
from apps.gateway.http import Exchange, Scope, address_of, bearer, cors_headers, header, read_body
from apps.gateway.runtime import BODY_TIMEOUT, Runtime, wall_clock
from apps.gateway.snapshots import Caller


async def read_caller(runtime: Runtime, exchange: Exchange, *, feature_key: str | None = None) -> Caller:
    """Return who calls; adds the CORS headers of an allowed origin to the exchange.

    Raises Unauthorized or Forbidden (origin_not_allowed among others).
    """
    scope = exchange.scope
    origin = header(scope, b"origin")
    if origin is not None and origin.decode("latin-1") in (await runtime.snapshots.policy()).origins:
        exchange.headers += cors_headers(origin)
    caller = await runtime.snapshots.caller(
        bearer(scope), at=wall_clock(), address=lambda: network_of(address_of(scope)), feature_key=feature_key
    )
    if origin is not None and not _origin_allowed(scope, origin.decode("latin-1"), caller):
        raise Forbidden("This origin is not allowed for the app.", code="origin_not_allowed")
    return caller


async def read_request_body(runtime: Runtime, exchange: Exchange) -> bytes:
    """Return the request body, or refuse it when it takes longer than BODY_TIMEOUT."""
    task = asyncio.current_task()
    assert task is not None
    runtime.reading[task] = runtime.loop.time() + settings.BODY_TIMEOUT
    try:
        return await read_body(exchange.scope, exchange.receive, limit=settings.MAX_BODY_BYTES)
    except asyncio.CancelledError as cancelled:
        if cancelled.args != (BODY_TIMEOUT,):
            raise
        task.uncancel()
        raise BadRequest("The request body did not arrive in time.", code="body_timeout") from None
    finally:
        del runtime.reading[task]


def may_shorten(scope: Scope, caller: Caller) -> bool:
    """Tell whether the answer may be shortened to fit the funds: the feature allows it, the caller does not object."""
    wish = header(scope, b"x-modelfaucet-clamp")
    return caller.principal.affordable_clamp and (wish is None or wish.strip().lower() not in (b"off", b"false", b"0"))


def _origin_allowed(scope: Scope, origin: str, caller: Caller) -> bool:
    if origin in caller.principal.allowed_origins:
        return True
    # Our own pages (the demo, hosted settings) are not another site.
    host = header(scope, b"host")
    return host is not None and origin in (f"http://{host.decode('latin-1')}", f"https://{host.decode('latin-1')}")
