"""Our webhook endpoints at Stripe: one for our own account's events, one for connected accounts'.

Each asks for exactly the types that are handled, in the version that the installed library speaks.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from apps.billing.services.handlers import CONNECT_HANDLERS, HANDLERS
from apps.billing.stripe_api import call

PATH = "/v1/stripe/webhook"
ACCOUNT, CONNECT = "account", "connect"
# By this member of its metadata an endpoint is known as ours, and as which of the two.
MARK = "modelfaucet"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as Stripe has it; `kind` is account, connect, or empty for one that is not ours."""

    id: str
    kind: str
    url: str
    status: str
    api_version: str
    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of one of ours; `secret` only where it was made now, and only this once."""

    endpoint: Endpoint
    secret: str | None
    changed: bool


def wanted_events() -> dict[str, tuple[str, ...]]:
    """Return which types each of our endpoints asks for; one that would ask for none is not needed."""
    wanted = {ACCOUNT: tuple(sorted(HANDLERS)), CONNECT: tuple(sorted(CONNECT_HANDLERS))}
    return {kind: events for kind, events in wanted.items() if events}


def endpoints() -> list[Endpoint]:
    """Return every endpoint that Stripe has for this account. Raises StripeRefused and StripeUnknown."""
    page = call(lambda api: api.v1.webhook_endpoints.list({"limit": 100}))
    return [_endpoint(row.to_dict()) for row in page.data]


def problems(base_url: str) -> list[str]:
    """Return what is wrong with our endpoints, in words. Raises StripeRefused and StripeUnknown."""
    found = endpoints()
    told = []
    for kind, events in wanted_events().items():
        ours = [row for row in found if row.kind == kind and row.url == base_url + PATH]
        if not ours:
            told.append(f"{kind}: there is no endpoint for {base_url + PATH}")
        for row in ours:
            if row.status != "enabled":
                told.append(f"{kind}: {row.id} is {row.status}")
            if missing := sorted(set(events) - set(row.events)):
                told.append(f"{kind}: {row.id} does not get {', '.join(missing)}")
            if more := sorted(set(row.events) - set(events)):
                told.append(f"{kind}: {row.id} gets {', '.join(more)}, which nothing handles")
            if row.api_version != settings.STRIPE_API_VERSION:
                told.append(f"{kind}: {row.id} speaks {row.api_version or 'the account default'}; make it anew")
        if len(ours) > 1:
            told.append(f"{kind}: {len(ours)} endpoints for the same address, and one secret here; delete the others")
    return told


def make_endpoints(base_url: str) -> list[Made]:
    """Make the endpoints that are missing, and give those that are there the types they lack.

    Raises StripeRefused and StripeUnknown.
    """
    found = endpoints()
    made = []
    for kind, events in wanted_events().items():
        row = next((row for row in found if row.kind == kind and row.url == base_url + PATH), None)
        if row is None:
            made.append(_make(kind, base_url + PATH, events))
        elif set(row.events) == set(events):
            made.append(Made(row, None, changed=False))
        else:
            endpoint_id, change = row.id, {"enabled_events": list(events)}
            answer = call(lambda api, i=endpoint_id, c=change: api.v1.webhook_endpoints.update(i, c))  # type: ignore[misc]
            made.append(Made(_endpoint(answer.to_dict()), None, changed=True))
    return made


def _make(kind: str, url: str, events: tuple[str, ...]) -> Made:
    params: Any = {
        "url": url,
        "enabled_events": list(events),
        "api_version": settings.STRIPE_API_VERSION,
        "connect": kind == CONNECT,
        "description": f"ModelFaucet, {kind}",
        "metadata": {MARK: kind},
    }
    row = call(lambda api: api.v1.webhook_endpoints.create(params)).to_dict()
    return Made(_endpoint(row), row["secret"], changed=True)


def _endpoint(row: Mapping[str, Any]) -> Endpoint:
    return Endpoint(
        id=row["id"],
        kind=(row.get("metadata") or {}).get(MARK, ""),
        url=row["url"],
        status=row["status"],
        api_version=row.get("api_version") or "",
        events=tuple(row["enabled_events"]),
    )
