"""Stripe's events: kept when they come, handled later, so that none is lost and none counts twice.

An event is trusted because of its signature, and then only for what it is about: handlers ask Stripe how the object is
now. It is marked handled after its handler is through, never before.
"""

import hashlib
import hmac
import json
import logging
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from apps.billing.models.stripe import StripeEvent
from apps.billing.services.handlers import CONNECT_HANDLERS, HANDLERS, Event, Handler, Later
from apps.billing.stripe_api import require_enabled
from apps.core.errors import BadRequest, Conflict, FaucetError, NotFound, TooLarge, Unavailable
from apps.developers.services import audit

logger = logging.getLogger(__name__)

# Stripe's largest events have some tens of kB.
MOST_BYTES = 1_000_000
# A handler that is not through after this long is taken for dead: its event may be taken again. Seconds of several
# calls to a Stripe that does not answer.
LEASE = timedelta(seconds=180)
# After the first failure ten seconds, then twice as long each time, an hour at most: about three days in all, as long
# as Stripe itself would try.
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
MOST_ATTEMPTS = 80
IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Received:
    """What became of a delivery: `new` is False for one that is known, or that is not for us."""

    event_id: str
    new: bool


def receive(raw: bytes, signature: str | None, *, now: datetime) -> Received:
    """Keep the event of a webhook, once, for `handle_events`; `raw` is the body as it came, `signature` its header.

    Raises Unavailable (payments_off, webhook_secret_missing), TooLarge, and BadRequest: invalid_signature,
    signature_expired (signed longer ago than STRIPE_TOLERANCE), invalid_event, wrong_livemode.
    """
    require_enabled()
    if len(raw) > MOST_BYTES:
        raise TooLarge(f"The request body is larger than {MOST_BYTES} bytes.")
    connect = _verified(raw, signature, now)
    event = _parsed(raw)
    account = event.get("account")
    if connect != (account is not None):
        raise BadRequest("The event was signed for another endpoint.", code="invalid_signature")
    if event["livemode"] != settings.STRIPE_LIVEMODE:
        if connect:  # an endpoint for connected accounts gets the sandbox's events too, and must not fail for them
            return Received(event["id"], new=False)
        raise BadRequest("The event is of the other mode, live or sandbox.", code="wrong_livemode")
    kept = {
        "type": event["type"],
        "object_id": str(event["data"]["object"].get("id") or "")[:255],
        "stripe_account": account or "",
        "livemode": event["livemode"],
        "payload": event,
        "created_at": datetime.fromtimestamp(event["created"], UTC),
        "received_at": now,
        "next_attempt_at": now,
        "mirror_at": now,
    }
    # The event id is the key: of two deliveries at once one inserts, and the other waits for it and finds it.
    row, new = StripeEvent.objects.get_or_create(id=event["id"], defaults=kept)
    return Received(row.pk, new)


def handle_events(*, now: datetime) -> int:
    """Handle every event that is due at `now` and return how many were handled."""
    handled = 0
    while (outcome := handle_next(now=now)) is not None:
        handled += outcome
    return handled


def handle_next(*, now: datetime) -> bool | None:
    """Handle the event that has been due for longest: True if it was handled, False if not, None if none is due.

    No transaction is open while its handler runs. A process that dies in one leaves the event to be taken again after
    `LEASE`.
    """
    row = _claimed(now)
    return None if row is None else _handle(row, now)


def handle_again(event_id: str, *, now: datetime, actor: str) -> None:
    """Have an event handled again at once, also one that was handled or given up.

    Raises NotFound and Conflict (event_busy).
    """
    with transaction.atomic():
        row = StripeEvent.objects.select_for_update().filter(pk=event_id).first()
        if row is None:
            raise NotFound("There is no such event.")
        if row.attempts and not row.last_error and row.next_attempt_at is not None and row.next_attempt_at > now:
            raise Conflict("The event is being handled now.", code="event_busy")
        StripeEvent.objects.filter(pk=event_id).update(
            handled_at=None, note="", attempts=0, next_attempt_at=now, last_error=""
        )
        audit.record("stripe_event.handle_again", "stripe_event", event_id, actor=actor, now=now)


def purge_handled(*, now: datetime, limit: int = 10_000) -> int:
    """Delete at most `limit` events that were handled longer than STRIPE_EVENT_DAYS ago and return how many.

    Those that wait, for handling or mirroring, and those that were given up stay. Stripe brings none so late again.
    """
    until = now - timedelta(days=settings.STRIPE_EVENT_DAYS)
    old = StripeEvent.objects.filter(received_at__lt=until, handled_at__lt=until, mirror_at=None)
    ids = list(old.order_by("received_at").values_list("pk", flat=True)[:limit])
    return StripeEvent.objects.filter(pk__in=ids, handled_at__lt=until, mirror_at=None).delete()[0]


def pause_after(attempts: int) -> timedelta:
    """Return how long to wait after so many failed attempts."""
    return min(FIRST_PAUSE * 2 ** min(attempts - 1, 20), LONGEST_PAUSE)


def _claimed(now: datetime) -> StripeEvent | None:
    """Take the event that has been due for longest, and put it off as if this process died, so that no other does."""
    with transaction.atomic():
        due = StripeEvent.objects.select_for_update(skip_locked=True).filter(next_attempt_at__lte=now)
        row = due.order_by("next_attempt_at", "created_at", "id").first()
        if row is not None:
            row.attempts += 1
            StripeEvent.objects.filter(pk=row.pk).update(
                attempts=row.attempts, next_attempt_at=now + LEASE, last_error=""
            )
    return row


def _handle(row: StripeEvent, now: datetime) -> bool:
    handler = _handler_of(row)
    if handler is None:
        _done(row, now, IGNORED)
        return True
    try:
        handler(_event_of(row, now))
    except Exception as error:
        # Whatever it is, the event stays, and the next one is handled.
        later = isinstance(error, Later)
        problem = f"{type(error).__name__}: {error}"[:300].replace("\0", "")
        expected = later or isinstance(error, FaucetError)
        logger.log(
            logging.INFO if later else logging.ERROR,
            "stripe event not handled",
            extra={"event": row.pk, "type": row.type, "attempt": row.attempts, "problem": problem},
            exc_info=None if expected else error,
        )
        again = None if row.attempts >= MOST_ATTEMPTS else now + pause_after(row.attempts)
        _mine(row).update(next_attempt_at=again, last_error=problem)
        return False
    _done(row, now, "")
    return True


def _done(row: StripeEvent, now: datetime, note: str) -> None:
    _mine(row).update(handled_at=now, note=note, next_attempt_at=None, last_error="")


def _mine(row: StripeEvent) -> QuerySet[StripeEvent]:
    """Return the row as long as no later attempt has taken it."""
    return StripeEvent.objects.filter(pk=row.pk, attempts=row.attempts, handled_at=None)


def _handler_of(row: StripeEvent) -> Handler | None:
    return (CONNECT_HANDLERS if row.stripe_account else HANDLERS).get(row.type)


def _event_of(row: StripeEvent, now: datetime) -> Event:
    return Event(
        id=row.pk,
        type=row.type,
        created_at=row.created_at,
        account=row.stripe_account or None,
        livemode=row.livemode,
        object=row.payload["data"]["object"],
        now=now,
    )


# ---- what came over the wire ----


def _verified(raw: bytes, signature: str | None, now: datetime) -> bool:
    """Tell whether it was signed with Connect's secret rather than the account's. Raises as `receive` does."""
    secrets = {False: settings.STRIPE_WEBHOOK_SECRET, True: settings.STRIPE_CONNECT_WEBHOOK_SECRET}
    if not any(secrets.values()):
        logger.error("stripe webhook without secret: set STRIPE_WEBHOOK_SECRET")
        raise Unavailable("No webhook secret is set on this installation.", code="webhook_secret_missing")
    moment, given = _signature_parts(signature)
    signed = b"%d." % moment + raw
    fits = [connect for connect, secret in secrets.items() if secret and _fits(secret, signed, given)]
    if not fits:
        raise BadRequest("The signature does not fit the body.", code="invalid_signature")
    # After the signature, so that a stranger learns nothing; to both sides: who signs ahead could replay for long.
    if abs(now.timestamp() - moment) > settings.STRIPE_TOLERANCE:
        raise BadRequest("The signature is too old; check the clock.", code="signature_expired")
    return fits[0]


def _fits(secret: str, signed: bytes, given: list[bytes]) -> bool:
    wanted = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode()
    return any(hmac.compare_digest(wanted, candidate) for candidate in given)


def _signature_parts(signature: str | None) -> tuple[int, list[bytes]]:
    """Read `t=1492774577,v1=5257a8…` (several v1 while a secret is being rolled)."""
    parts = [part.partition("=")[::2] for part in (signature or "")[:2000].split(",")]
    moments = [value for name, value in parts if name.strip() == "t"]
    given = [value.strip().encode() for name, value in parts if name.strip() == "v1"]
    if len(moments) != 1 or not given or not (moments[0].isascii() and moments[0].isdigit() and len(moments[0]) < 12):
        raise BadRequest("There is no Stripe-Signature that can be read.", code="invalid_signature")
    return int(moments[0]), given


def _parsed(raw: bytes) -> dict[str, Any]:
    """Return the event of a signed body. Raises BadRequest (invalid_event)."""
    try:
        event = _without_nul(json.loads(raw))
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is no JSON.", code="invalid_event") from error
    if not isinstance(event, dict) or event.get("object") != "event":
        raise BadRequest("The body is no event of Stripe's API v1.", code="invalid_event")
    data = event.get("data")
    whole = (
        _named(event.get("id"), 255)
        and _named(event.get("type"), 120)
        and type(event.get("created")) is int
        and 0 <= event["created"] < 10**11
        and isinstance(event.get("livemode"), bool)
        and isinstance(data, dict)
        and isinstance(data.get("object"), dict)
        and (event.get("account") is None or _named(event["account"], 64))
    )
    if not whole:
        raise BadRequest("The event lacks what every event of Stripe has.", code="invalid_event")
    return event


def _named(value: Any, most: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= most


def _without_nul(node: Any) -> Any:
    """Return JSON as PostgreSQL takes it: without NUL, lone surrogates and infinity."""
    if isinstance(node, dict):
        return {_without_nul(key): _without_nul(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_without_nul(value) for value in node]
    if isinstance(node, str):
        return node.replace("\0", "").encode("utf-8", "replace").decode()
    return None if isinstance(node, float) and not math.isfinite(node) else node
