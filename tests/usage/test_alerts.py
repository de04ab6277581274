"""Alerts: told to the log and to a signed webhook, tried again, and to nobody inside the network."""

import hmac
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.outbound import AddressNotAllowed
from apps.developers.models import AuditEvent
from apps.usage.budgets.queries import alerts_of
from apps.usage.models import Alert, AlertEndpoint
from apps.usage.rate import Tokens
from apps.usage.services import alerts
from apps.usage.services.alerts import (
    MOST_ATTEMPTS,
    deliver_alerts,
    endpoint_of,
    raise_alert,
    set_endpoint,
    switch_endpoint,
)
from tests.live import ACTOR
from tests.usage.budgeting import admit, ask, budget
from tests.usage.factories import Desk, make_desk, settle

pytestmark = pytest.mark.django_db


class Receiver:
    """A server that remembers what was posted to it and answers `status`."""

    def __init__(self) -> None:
        self.status = 204
        self.posted: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.posted.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    receiver = Receiver()
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{receiver.server.server_port}",)
    yield receiver
    receiver.close()


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def spend(desk: Desk, **more: Any) -> str:
    """Spend all of a budget, so that both thresholds are passed, and return its id."""
    price = desk.charge(Tokens(input=100, output=20)).price
    budget_id = budget(desk, price, **more)
    request = ask(desk, price, budget_id)
    admit(request)
    settle(desk.record(request.request_id))
    assert Alert.objects.filter(delivered_at=None).count() == 2
    return budget_id


def test_alert_is_posted_once_and_signed(desk: Desk, receiver: Receiver) -> None:
    _, secret = set_endpoint(None, receiver.url, now=now(), actor=ACTOR)
    budget_id = spend(desk)
    assert deliver_alerts(now=now()) == 2
    assert deliver_alerts(now=now() + timedelta(days=1)) == 0
    assert len(receiver.posted) == 2
    headers, body = receiver.posted[0]
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = hmac.new(secret.encode(), content, "sha256").hexdigest()
    assert headers["webhook-signature"] == f"v1={expected}"
    told = json.loads(body)
    assert (told["type"], told["data"]["budget_id"], told["data"]["scope"]) == ("budget.alert", budget_id, "app")
    assert {json.loads(body)["data"]["threshold_percent"] for _, body in receiver.posted} == {80, 95}
    assert not Alert.objects.filter(delivered_at=None).exists()


def test_alert_is_tried_again_later_and_later(desk: Desk, receiver: Receiver) -> None:
    set_endpoint(None, receiver.url, now=now(), actor=ACTOR)
    spend(desk, thresholds=[50, 90])
    receiver.status = 500
    moment = now()
    assert deliver_alerts(now=moment) == 0
    assert deliver_alerts(now=moment + timedelta(seconds=9)) == 0
    assert len(receiver.posted) == 2
    assert set(Alert.objects.values_list("attempts", "last_error")) == {(1, "answered 500")}
    assert deliver_alerts(now=moment + timedelta(seconds=11)) == 0
    assert deliver_alerts(now=moment + timedelta(seconds=30)) == 0
    assert len(receiver.posted) == 4
    receiver.status = 200
    assert deliver_alerts(now=moment + timedelta(seconds=32)) == 2
    assert set(Alert.objects.values_list("attempts", "last_error", "next_attempt_at")) == {(3, None, None)}


def test_alert_is_given_up_in_the_end(desk: Desk, receiver: Receiver) -> None:
    set_endpoint(None, receiver.url, now=now(), actor=ACTOR)
    spend(desk)
    receiver.status = 302
    moment = now()
    for _ in range(MOST_ATTEMPTS + 3):
        moment += timedelta(hours=2)
        assert deliver_alerts(now=moment) == 0
    assert set(Alert.objects.values_list("attempts", "delivered_at")) == {(MOST_ATTEMPTS, None)}
    assert len(receiver.posted) == 2 * MOST_ATTEMPTS


def test_alert_without_an_endpoint_is_logged(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    spend(desk)
    assert deliver_alerts(now=now()) == 2
    logged = [record for record in caplog.records if record.message == "budget alert"]
    assert {record.threshold_percent for record in logged} == {80, 95}  # type: ignore[attr-defined]


def test_alert_goes_to_whose_budget_it_is(desk: Desk, receiver: Receiver) -> None:
    set_endpoint(None, receiver.url, now=now(), actor=ACTOR)
    spend(desk, developer_id=desk.world.developer_id)
    assert deliver_alerts(now=now()) == 2
    assert receiver.posted == []


def test_disabled_endpoint_is_not_called(desk: Desk, receiver: Receiver) -> None:
    endpoint, _ = set_endpoint(None, receiver.url, now=now(), actor=ACTOR)
    switch_endpoint(endpoint, False, now=now(), actor=ACTOR)
    spend(desk)
    assert deliver_alerts(now=now()) == 2
    assert receiver.posted == []


def test_developer_reaches_nothing_inside_the_network(desk: Desk, receiver: Receiver) -> None:
    for url in (receiver.url, "http://169.254.169.254/latest", "https://redis:6379/", "ftp://example.com/"):
        with pytest.raises(AddressNotAllowed):
            set_endpoint(desk.world.developer_id, url, now=now(), actor=ACTOR)
    set_endpoint(desk.world.developer_id, "https://example.com/hook", now=now(), actor=ACTOR)
    AlertEndpoint.objects.update(url=receiver.url)  # as a name that has changed its address since
    spend(desk, developer_id=desk.world.developer_id)
    assert deliver_alerts(now=now()) == 0
    assert receiver.posted == []
    assert Alert.objects.exclude(last_error=None).count() == 2


def test_endpoint_is_set_again_with_another_secret_and_shown_without(desk: Desk) -> None:
    first, secret = set_endpoint(desk.world.developer_id, "https://example.com/a", now=now(), actor=ACTOR)
    second, other = set_endpoint(desk.world.developer_id, "https://example.com/b", now=now(), actor=ACTOR)
    assert (first, secret != other) == (second, True)
    shown = endpoint_of(desk.world.developer_id)
    assert shown is not None
    assert (shown.url, shown.hint, secret in repr(shown)) == ("https://example.com/b", other[-4:], False)
    assert endpoint_of(None) is None
    assert AuditEvent.objects.filter(action="alert_endpoint.set").count() == 2
    with pytest.raises(NotFound):
        set_endpoint("dev_none", "https://example.com/", now=now(), actor=ACTOR)
    with pytest.raises(NotFound):
        switch_endpoint("aep_none", False, now=now(), actor=ACTOR)


def test_alert_that_is_being_told_is_not_taken_by_another_worker(desk: Desk) -> None:
    spend(desk)
    assert len(alerts._claimed(now())) == 2
    assert alerts._claimed(now()) == []


def test_alert_of_another_kind_is_raised_once_and_posted_with_its_data(desk: Desk, receiver: Receiver) -> None:
    set_endpoint(None, receiver.url, now=now(), actor=ACTOR)
    said: dict[str, Any] = {"scope": "app", "scope_id": desk.world.app_id, "data": {"metric": "spend"}, "now": now()}
    assert raise_alert("anomaly", "one", developer_id=None, **said)
    assert not raise_alert("anomaly", "one", developer_id=None, **said)
    assert raise_alert("anomaly", "one", developer_id=desk.world.developer_id, **said)
    assert raise_alert("anomaly", "two", developer_id=None, **said)
    with pytest.raises(ValueError):
        raise_alert("budget", "three", developer_id=None, **said)
    assert deliver_alerts(now=now()) == 3
    told = [json.loads(body) for _, body in receiver.posted]
    assert [message["type"] for message in told] == ["anomaly.alert"] * 2
    assert told[0]["data"].keys() == {"alert_id", "scope", "scope_id", "metric", "alerted_at"}
    (listed,) = alerts_of(desk.world.developer_id, limit=9)
    assert (listed.kind, listed.data, listed.budget_id) == ("anomaly", {"metric": "spend"}, None)


def test_alert_of_another_kind_cannot_be_changed(desk: Desk) -> None:
    raise_alert("risk", "one", developer_id=None, scope="app", scope_id="app_1", data={"score": 1}, now=now())
    for change in ({"data": {}}, {"alert_key": "two"}, {"kind": "budget"}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Alert.objects.update(**change)
