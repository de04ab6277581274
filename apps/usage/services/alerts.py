"""Alerts: told in the log and by a signed webhook. A row is its own queue.

A budget's alert is written by the spending itself, every other by `raise_alert`.
"""

import hmac
import json
import logging
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.fetch import FetchFailed, fetch
from apps.core.ids import new_id
from apps.core.money import usd
from apps.core.outbound import AddressNotAllowed, check_url
from apps.developers import queries as developers
from apps.developers.services import audit
from apps.usage.models import Alert, AlertEndpoint
from apps.vault.envelope import VaultProblem
from apps.vault.secrets import Secret

logger = logging.getLogger(__name__)

BATCH = 50
SECONDS = 5.0
# After the first failure ten seconds, then twice as long each time, an hour at most: about a day in all.
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(hours=1)
MOST_ATTEMPTS = 32
SECRET_PREFIX = "whsec_"  # noqa: S105 (the public prefix of every webhook secret)


@dataclass(frozen=True, slots=True)
class EndpointInfo:
    """Where alerts are posted, without the secret."""

    id: str
    developer_id: str | None
    url: str
    hint: str
    enabled: bool


def endpoint_of(developer_id: str | None) -> EndpointInfo | None:
    """Return where a developer's alerts go (None: the operator's); None if nowhere but to the log."""
    row = AlertEndpoint.objects.filter(developer_id=developer_id).first()
    return None if row is None else EndpointInfo(row.id, row.developer_id, row.url, row.hint, row.enabled)


@transaction.atomic
def set_endpoint(developer_id: str | None, url: str, *, now: datetime, actor: str) -> tuple[str, str]:
    """Say where a developer's alerts (None: the operator's) are posted, and return (endpoint id, its new secret).

    The secret is shown this once; setting the endpoint again makes a new one. Raises AddressNotAllowed, BadRequest and
    NotFound.
    """
    if len(url) > 500:
        raise BadRequest(_("A URL has at most 500 characters."), param="url")
    try:
        check_url(url, allowed_private=_exempt(developer_id))
    except AddressNotAllowed as error:
        error.param = "url"
        raise
    if developer_id is not None and developers.developer(developer_id) is None:
        raise NotFound(_("There is no developer %(developer_id)s.") % {"developer_id": developer_id})
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    row = AlertEndpoint.objects.select_for_update().filter(developer_id=developer_id).first()
    if row is None:
        row = AlertEndpoint(id=new_id("aep"), developer_id=developer_id, created_at=now, created_by=actor)
    row.url, row.hint, row.enabled = url, secret[-4:], True
    row.secret = Secret(secret)  # type: ignore[assignment]  # the field seals it when the row is saved
    row.changed_at, row.changed_by = now, actor
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError as error:
        raise Conflict(_("The endpoint was set by somebody else just now."), code="already_exists") from error
    _audit("alert_endpoint.set", row, now, actor)
    return row.id, secret


@transaction.atomic
def switch_endpoint(endpoint_id: str, enabled: bool, *, now: datetime, actor: str) -> None:
    """Post alerts to an endpoint, or only log them. Raises NotFound."""
    row = AlertEndpoint.objects.select_for_update().filter(id=endpoint_id).first()
    if row is None:
        raise NotFound(_("There is no alert endpoint %(endpoint_id)s.") % {"endpoint_id": endpoint_id})
    if row.enabled != enabled:
        AlertEndpoint.objects.filter(pk=row.pk).update(enabled=enabled, changed_at=now, changed_by=actor)
        _audit("alert_endpoint.enable" if enabled else "alert_endpoint.disable", row, now, actor)


@transaction.atomic
def remove_endpoint(developer_id: str | None, *, now: datetime, actor: str) -> None:
    """Post a developer's alerts nowhere any more and forget the secret. Raises NotFound (alert_endpoint_not_found)."""
    row = AlertEndpoint.objects.select_for_update().filter(developer_id=developer_id).first()
    if row is None:
        raise NotFound(_("No alert endpoint is set."), code="alert_endpoint_not_found")
    _audit("alert_endpoint.remove", row, now, actor)
    row.delete()


def raise_alert(
    kind: str,
    key: str,
    *,
    developer_id: str | None,
    scope: str,
    scope_id: str,
    data: Mapping[str, Any],
    now: datetime,
) -> bool:
    """Tell a developer (None: the operator) of something once, and return whether it is news.

    `kind` ("anomaly", "risk") becomes the type `<kind>.alert`, `data` what is told beside id, scope and time; `key`
    names what is told: a second alert of that kind and key to the same reader is none. The row is delivered once this
    transaction has committed. Raises ValueError for a budget's, which the database writes itself.
    """
    if kind == "budget":
        raise ValueError("alerts of budgets are written by the spending itself")
    row = Alert(
        kind=kind,
        alert_key=key,
        developer_id=developer_id,
        scope=scope,
        scope_id=scope_id,
        data=dict(data),
        created_at=now,
        next_attempt_at=now,
    )
    known = Alert.objects.filter(kind=kind, alert_key=key, developer_id=developer_id)
    if known.exists():
        return False
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        if not known.exists():
            raise
        return False
    return True


def deliver_alerts(*, now: datetime) -> int:
    """Tell of every alert whose time has come and return how many were delivered.

    At least once: who is told may see an alert twice, with the same id. No transaction is open while somebody's
    server is asked.
    """
    delivered = 0
    for alert in _claimed(now):
        if alert.attempts == 1:
            logger.warning("%s alert", alert.kind, extra=_payload(alert))
        problem = _post(alert, now)
        if problem is None:
            changed: dict[str, Any] = {"delivered_at": now, "next_attempt_at": None, "last_error": None}
            delivered += 1
        else:
            logger.warning("alert not delivered", extra={"alert": alert.pk, "problem": problem})
            changed = {"last_error": problem[:200]}
            if alert.attempts >= MOST_ATTEMPTS:
                changed["next_attempt_at"] = None
        Alert.objects.filter(pk=alert.pk, delivered_at=None).update(**changed)
    return delivered


def deliver_again(alert_id: int, *, now: datetime, actor: str) -> None:
    """Have an alert that was given up delivered again at once.

    Raises NotFound and Conflict (alert_delivered: it was, or is about to be).
    """
    with transaction.atomic():
        row = Alert.objects.select_for_update().filter(pk=alert_id).first()
        if row is None:
            raise NotFound(_("There is no such alert."))
        if row.delivered_at is not None or row.next_attempt_at is not None:
            raise Conflict(_("The alert was delivered, or is about to be."), code="alert_delivered")
        Alert.objects.filter(pk=alert_id).update(next_attempt_at=now, attempts=0)
        detail = {"kind": row.kind}
        audit.record(
            "alert.deliver_again", "alert", alert_id, actor=actor, now=now, developer_id=row.developer_id, detail=detail
        )


def _claimed(now: datetime) -> list[Alert]:
    """Take the alerts that are due: each is put off as if this attempt failed, so that nobody else takes it."""
    with transaction.atomic():
        due = Alert.objects.select_for_update(skip_locked=True).filter(next_attempt_at__lte=now)
        alerts = list(due.order_by("next_attempt_at")[:BATCH])
        for alert in alerts:
            pause = min(FIRST_PAUSE * 2 ** min(alert.attempts, 20), LONGEST_PAUSE)
            Alert.objects.filter(pk=alert.pk).update(attempts=F("attempts") + 1, next_attempt_at=now + pause)
            alert.attempts += 1
    return alerts


def _post(alert: Alert, now: datetime) -> str | None:
    """Post an alert to its endpoint, if there is one; return what went wrong."""
    endpoint = AlertEndpoint.objects.filter(developer_id=alert.developer_id, enabled=True).first()
    if endpoint is None:
        return None
    body = json.dumps({"type": f"{alert.kind}.alert", "data": _payload(alert)}).encode()
    try:
        headers = {"content-type": "application/json", **signed(endpoint.secret, f"alert_{alert.pk}", body, now)}
        answer = fetch(
            endpoint.url,
            method="POST",
            headers=headers,
            content=body,
            seconds=SECONDS,
            allowed_private=_exempt(alert.developer_id),
        )
    except (AddressNotAllowed, FetchFailed, VaultProblem) as error:
        return str(error)
    return None if 200 <= answer.status < 300 else f"answered {answer.status}"


def signed(secret: Secret, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers that sign a webhook: HMAC-SHA-256 over id, POSIX time and body, in hex."""
    moment = int(now.timestamp())
    content = f"{message_id}.{moment}.".encode() + body
    signature = hmac.digest(secret.reveal().encode(), content, "sha256").hex()
    return {"webhook-id": message_id, "webhook-timestamp": str(moment), "webhook-signature": f"v1={signature}"}


def _payload(alert: Alert) -> dict[str, Any]:
    return {
        "alert_id": f"alert_{alert.pk}",
        **_budget_particulars(alert),
        "scope": alert.scope,
        "scope_id": alert.scope_id,
        **alert.data,
        "alerted_at": alert.created_at.isoformat(),
    }


def _budget_particulars(alert: Alert) -> dict[str, Any]:
    """Return what only the alert of a budget tells; nothing of other kinds."""
    if alert.period_start is None or alert.limit_nano is None or alert.spent_nano is None:
        return {}
    return {
        "budget_id": alert.budget_id,
        "period_start": alert.period_start.isoformat(),
        "threshold_percent": alert.threshold,
        "limit_usd": usd(alert.limit_nano),
        "spent_usd": usd(alert.spent_nano),
    }


def _exempt(developer_id: str | None) -> Collection[str] | None:
    """Return the private endpoints that may be named: the operator's for the operator, none for developers."""
    return None if developer_id is None else ()


def _audit(action: str, row: AlertEndpoint, now: datetime, actor: str) -> None:
    detail = {"url": row.url}
    audit.record(action, "alert_endpoint", row.id, actor=actor, now=now, developer_id=row.developer_id, detail=detail)
