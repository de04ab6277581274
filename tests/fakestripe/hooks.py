"""Webhooks: endpoints as the API keeps them, and the deliveries that tests hand on."""

import hashlib
import hmac
import json
import secrets
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from tests.fakestripe.faults import invalid, required
from tests.fakestripe.routes import merged, routes
from tests.fakestripe.state import Clock, Object, State

KIND = "webhook_endpoint"
routes.single("/v1/webhook_endpoints", KIND)
routes.listing("/v1/webhook_endpoints", KIND)
MOST_ENDPOINTS = 16


@routes("POST", "/v1/webhook_endpoints")
def create_endpoint(state: State, params: Object) -> Object:
    for name in ("url", "enabled_events"):
        if not params.get(name):
            raise required(name)
    if state.livemode and not params["url"].startswith("https://"):
        raise invalid("Invalid URL: URL must be HTTPS.", code="url_invalid", param="url")
    if len(state.all(KIND)) >= MOST_ENDPOINTS:
        raise invalid("You have reached the maximum of 16 test webhook endpoints.")
    row = state.add(
        "we",
        KIND,
        api_version=params.get("api_version"),
        application=None,
        description=params.get("description"),
        enabled_events=list(params["enabled_events"]),
        metadata=params.get("metadata", {}),
        status="enabled",
        url=params["url"],
        _connect=bool(params.get("connect")),
    )
    if params.get("connect"):
        row["application"] = "ca_fake"
    return {**row, "secret": f"whsec_{secrets.token_hex(16)}"}


@routes("POST", "/v1/webhook_endpoints/{id}")
def update_endpoint(state: State, params: Object, object_id: str) -> Object:
    row = merged(state.get(KIND, object_id), params, "enabled_events", "url", "metadata", "description")
    if "disabled" in params:
        row["status"] = "disabled" if params["disabled"] else "enabled"
    return row


@routes("DELETE", "/v1/webhook_endpoints/{id}")
def delete_endpoint(state: State, params: Object, object_id: str) -> Object:
    state.get(KIND, object_id)
    del state.objects[object_id]
    return {"id": object_id, "object": KIND, "deleted": True}


def sign(body: bytes, secret: str, at: int) -> str:
    """Return Stripe's signature header for a body."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


@dataclass(frozen=True)
class Delivery:
    """One webhook as it goes over the wire: the raw body and its signature header."""

    event: Object
    body: bytes
    signature: str


@dataclass
class Webhooks:
    """Events that wait to be delivered, and what goes wrong on their way.

    `duplicate`: each comes twice. `reorder`: the newest comes first. `delay`: nothing comes until it is off again.
    `drop`: True for all, or the types that never come.
    """

    clock: Clock
    secret: str = "whsec_account"
    connect_secret: str = "whsec_connect"
    duplicate: bool = False
    reorder: bool = False
    delay: bool = False
    drop: bool | set[str] = False
    pending: list[Object] = field(default_factory=list)

    def add(self, event: Object) -> None:
        self.pending.append(event)

    def take(self) -> list[Delivery]:
        """Return what is to be delivered now, signed now, as the switches have it."""
        if self.delay:
            return []
        events, self.pending = self.pending, []
        if self.drop:
            events = [] if self.drop is True else [event for event in events if event["type"] not in self.drop]
        if self.reorder:
            events = events[::-1]
        if self.duplicate:
            events = [event for event in events for _ in range(2)]
        return [self.delivery(event) for event in events]

    def delivery(self, event: Object, *, at: int | None = None, secret: str | None = None) -> Delivery:
        """Return an event's delivery, signed with the account's or Connect's secret unless told otherwise."""
        body = json.dumps(event, indent=2).encode()
        secret = secret or (self.connect_secret if event.get("account") else self.secret)
        return Delivery(event, body, sign(body, secret, self.clock.now() if at is None else at))

    def post(self, url: str) -> list[int]:
        """Post what is to be delivered now; return the statuses that came back. What failed is delivered again."""
        return [self.post_one(url, delivery) for delivery in self.take()]

    def post_one(self, url: str, delivery: Delivery) -> int:
        headers = {"content-type": "application/json; charset=utf-8", "stripe-signature": delivery.signature}
        request = urllib.request.Request(url, delivery.body, headers, method="POST")  # noqa: S310 (loopback)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                self.pending.append(delivery.event)
                return error.code


def event_of(kind: str, row: Any, *, clock: Clock, livemode: bool = False, **fields: Any) -> Object:
    """Return an event that nobody emitted, for tests of what must be refused."""
    return {
        "id": f"evt_{secrets.token_hex(9)}",
        "object": "event",
        "api_version": None,
        "created": clock.now(),
        "data": {"object": row},
        "livemode": livemode,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
        **fields,
    }
