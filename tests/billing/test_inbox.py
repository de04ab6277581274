"""The inbox: what it refuses, what it keeps, and how kept events are handled."""

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.billing.models.stripe import StripeEvent
from apps.billing.services import handlers, inbox
from apps.billing.services.handlers import Event, Later
from apps.billing.tasks.stripe import handle_events, purge_events
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, FaucetError, TooLarge, Unavailable
from apps.developers.models import AuditEvent
from tests.fakestripe import Delivery, FakeStripe, event_of, sign

pytestmark = pytest.mark.django_db

Seen = list[Event]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Give the events that reached the handler of `customer.created`, ours and connected accounts'."""
    events: Seen = []
    monkeypatch.setitem(handlers.HANDLERS, "customer.created", events.append)
    monkeypatch.setitem(handlers.CONNECT_HANDLERS, "account.updated", events.append)
    return events


def delivery(stripe: FakeStripe, kind: str = "customer.created", **fields: Any) -> Delivery:
    row = {"id": "cus_1", "object": "customer", "name": "Pat"}
    event = event_of(kind, row, clock=stripe.clock, api_version=stripe.api_version, **fields)
    return stripe.webhooks.delivery(event)


def receive(given: Delivery) -> inbox.Received:
    return inbox.receive(given.body, given.signature, now=now())


def refusal(body: bytes, signature: str | None) -> FaucetError:
    with pytest.raises(FaucetError) as caught:
        inbox.receive(body, signature, now=now())
    assert not StripeEvent.objects.exists()
    return caught.value


# ---- what is refused ----


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "nonsense",
        "t=1",
        "v1=ab",
        "t=now,v1=ab",
        "t=-1,v1=ab",
        "t=1,t=1,v1=ab",
        "t=²,v1=ab",
        f"t={'1' * 20},v1=a",
    ],
)
def test_unsigned_is_refused(fakestripe: FakeStripe, signature: str | None) -> None:
    error = refusal(delivery(fakestripe).body, signature)
    assert (error.status, error.code) == (400, "invalid_signature")


def test_forged_is_refused(fakestripe: FakeStripe) -> None:
    given = delivery(fakestripe)
    forged = sign(given.body, "whsec_guess", fakestripe.clock.now())
    assert refusal(given.body, forged).code == "invalid_signature"
    assert refusal(given.body.replace(b"Pat", b"Eve"), given.signature).code == "invalid_signature"
    assert refusal(given.body, given.signature.replace("v1=", "v0=")).code == "invalid_signature"
    assert refusal(given.body, sign(given.body, "", fakestripe.clock.now())).code == "invalid_signature"


@pytest.mark.parametrize("seconds", [-301, 301])
def test_stale_and_early_is_refused(fakestripe: FakeStripe, seconds: int) -> None:
    given = delivery(fakestripe)
    at = now()
    signature = sign(given.body, fakestripe.webhooks.secret, int(at.timestamp()) + seconds)
    with pytest.raises(BadRequest) as caught:
        inbox.receive(given.body, signature, now=at)
    assert caught.value.code == "signature_expired"
    just = sign(given.body, fakestripe.webhooks.secret, int(at.timestamp()) + (299 if seconds > 0 else -299))
    assert inbox.receive(given.body, just, now=at).new


def test_without_any_secret_nothing_is_believed(fakestripe: FakeStripe, settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRET = settings.STRIPE_CONNECT_WEBHOOK_SECRET = ""
    given = delivery(fakestripe)
    error = refusal(given.body, sign(given.body, "", fakestripe.clock.now()))
    assert (error.status, error.code) == (503, "webhook_secret_missing")


def test_while_stripe_is_off_nothing_is_taken(fakestripe: FakeStripe, settings: Any) -> None:
    settings.STRIPE_ENABLED = False
    given = delivery(fakestripe)
    assert isinstance(error := refusal(given.body, given.signature), Unavailable)
    assert error.code == "payments_off"


def test_oversized_is_refused_before_its_signature_is_worked_out(fakestripe: FakeStripe) -> None:
    body = delivery(fakestripe).body + b" " * inbox.MOST_BYTES
    assert isinstance(refusal(body, sign(body, fakestripe.webhooks.secret, fakestripe.clock.now())), TooLarge)


def test_other_mode_is_refused(fakestripe: FakeStripe) -> None:
    given = delivery(fakestripe, livemode=True)
    assert refusal(given.body, given.signature).code == "wrong_livemode"


def test_connected_accounts_events_of_the_other_mode_are_passed_over(fakestripe: FakeStripe) -> None:
    assert not receive(delivery(fakestripe, "account.updated", account="acct_1", livemode=True)).new
    assert not StripeEvent.objects.exists()


def test_a_connected_accounts_event_needs_connects_secret_and_ours_needs_ours(fakestripe: FakeStripe) -> None:
    hooks = fakestripe.webhooks
    ours, theirs = delivery(fakestripe), delivery(fakestripe, account="acct_1")
    for event, secret in ((ours.event, hooks.connect_secret), (theirs.event, hooks.secret)):
        swapped = hooks.delivery(event, secret=secret)
        assert refusal(swapped.body, swapped.signature).code == "invalid_signature"
    assert receive(ours).new
    assert receive(theirs).new


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"object": "event"}',
        b'{"object": "v2.core.event", "id": "evt_1"}',
        b'{"object": "event", "id": 1, "type": "a", "created": 1, "livemode": false, "data": {"object": {}}}',
        b'{"object": "event", "id": "e", "type": "a", "created": 1e400, "livemode": false, "data": {"object": {}}}',
        b'{"object": "event", "id": "e", "type": "a", "created": true, "livemode": false, "data": {"object": {}}}',
        b'{"object": "event", "id": "e", "type": "a", "created": 1, "livemode": false, "data": {"object": 1}}',
        b'{"object": "event", "id": "", "type": "a", "created": 1, "livemode": false, "data": {"object": {}}}',
    ],
)
def test_signed_nonsense_is_refused(fakestripe: FakeStripe, body: bytes) -> None:
    error = refusal(body, sign(body, fakestripe.webhooks.secret, fakestripe.clock.now()))
    assert (error.status, error.code) == (400, "invalid_event")


def test_what_postgresql_would_not_take_is_kept_without_it(fakestripe: FakeStripe) -> None:
    row = {"id": "cus_1\0", "name": "a\0b\ud800", "big": float("inf"), "n": 2**80}
    event = event_of("customer.created", row, clock=fakestripe.clock)
    assert receive(fakestripe.webhooks.delivery(event)).new
    kept = StripeEvent.objects.get()
    assert kept.object_id == "cus_1"
    assert kept.payload["data"]["object"] == {"id": "cus_1", "name": "ab?", "big": None, "n": 2**80}


# ---- what is kept ----


def test_an_event_is_kept_as_it_came(fakestripe: FakeStripe) -> None:
    given = delivery(fakestripe)
    received = receive(given)
    row = StripeEvent.objects.get()
    assert (received.event_id, received.new) == (given.event["id"], True)
    assert (row.pk, row.type, row.object_id, row.stripe_account) == (given.event["id"], "customer.created", "cus_1", "")
    assert row.payload == json.loads(given.body)
    assert row.created_at.timestamp() == given.event["created"]
    assert (row.handled_at, row.attempts) == (None, 0)


def test_a_replay_is_kept_once_and_handled_once(fakestripe: FakeStripe, seen: Seen) -> None:
    given = delivery(fakestripe)
    assert [receive(given).new, receive(given).new] == [True, False]
    assert inbox.handle_events(now=now()) == 1
    assert not receive(given).new
    assert inbox.handle_events(now=now()) == 0
    assert [event.id for event in seen] == [given.event["id"]]


def test_a_secret_being_rolled_signs_twice(fakestripe: FakeStripe) -> None:
    given = delivery(fakestripe)
    moment, good = given.signature.split(",")
    assert inbox.receive(given.body, f"{moment},v1={'0' * 64},{good},v0=ab", now=now()).new


@pytest.mark.django_db(transaction=True)
def test_two_deliveries_at_once_are_kept_once(fakestripe: FakeStripe) -> None:
    given, start = delivery(fakestripe), threading.Barrier(4)
    outcomes: list[Any] = []
    at = now()

    def work() -> None:
        start.wait(10)
        try:
            outcomes.append(inbox.receive(given.body, given.signature, now=at).new)
        except BaseException as error:
            outcomes.append(error)
        finally:
            connection.close()

    in_threads(4, work)
    assert sorted(outcomes) == [False, False, False, True]
    assert StripeEvent.objects.count() == 1


def in_threads(count: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


# ---- how events are handled ----


def test_a_handler_gets_the_event(fakestripe: FakeStripe, seen: Seen) -> None:
    ours, theirs = delivery(fakestripe), delivery(fakestripe, "account.updated", account="acct_1")
    receive(ours)
    receive(theirs)
    at = now()
    assert inbox.handle_events(now=at) == 2
    assert {(event.id, event.type, event.account) for event in seen} == {
        (ours.event["id"], "customer.created", None),
        (theirs.event["id"], "account.updated", "acct_1"),
    }
    assert seen[0].object["name"] == "Pat"
    assert (seen[0].now, seen[0].livemode) == (at, False)


def test_a_connected_account_cannot_play_ours(fakestripe: FakeStripe, seen: Seen) -> None:
    receive(delivery(fakestripe, account="acct_evil"))
    assert inbox.handle_events(now=now()) == 1
    assert seen == []
    assert StripeEvent.objects.get().note == "ignored"


def test_an_unknown_type_is_ignored(fakestripe: FakeStripe) -> None:
    receive(delivery(fakestripe, "radar.early_fraud_warning.created"))
    assert inbox.handle_events(now=now()) == 1
    row = StripeEvent.objects.get()
    assert row.handled_at is not None
    assert (row.note, row.next_attempt_at) == ("ignored", None)


@pytest.mark.parametrize("error", [Later("no such top-up yet"), RuntimeError("boom\0"), Unavailable("gone")])
def test_what_fails_stays_and_is_tried_again_ever_more_rarely(
    fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch, seen: Seen, error: Exception
) -> None:
    def fail(event: Event) -> None:
        raise error

    monkeypatch.setitem(handlers.HANDLERS, "customer.created", fail)
    receive(delivery(fakestripe))
    receive(delivery(fakestripe, "account.updated", account="acct_1"))
    at = now()
    assert inbox.handle_events(now=at) == 1  # the other one is not held up
    row = StripeEvent.objects.get(type="customer.created")
    assert row.handled_at is None
    assert row.last_error.startswith(f"{type(error).__name__}: ")
    assert row.next_attempt_at == at + timedelta(seconds=10)
    assert inbox.handle_next(now=at + timedelta(seconds=9)) is None
    assert inbox.handle_next(now=at + timedelta(seconds=10)) is False
    row.refresh_from_db()
    assert (row.attempts, row.next_attempt_at) == (2, at + timedelta(seconds=30))
    monkeypatch.setitem(handlers.HANDLERS, "customer.created", seen.append)
    assert inbox.handle_next(now=at + timedelta(seconds=30)) is True
    row.refresh_from_db()
    assert row.handled_at is not None
    assert (row.last_error, row.next_attempt_at) == ("", None)


def test_in_the_end_it_is_given_up_and_an_operator_has_it_handled_again(
    fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    monkeypatch.setattr(inbox, "MOST_ATTEMPTS", 2)
    monkeypatch.setitem(handlers.HANDLERS, "customer.created", lambda event: 1 / 0)
    event_id = receive(delivery(fakestripe)).event_id
    at = now()
    for _ in range(2):
        assert inbox.handle_next(now=at) is False
        at += timedelta(hours=2)
    assert inbox.handle_next(now=at) is None
    row = StripeEvent.objects.get()
    assert (row.handled_at, row.next_attempt_at) == (None, None)
    assert "ZeroDivisionError" in row.last_error
    monkeypatch.setitem(handlers.HANDLERS, "customer.created", seen.append)
    inbox.handle_again(event_id, now=at, actor="user:1")
    assert inbox.handle_next(now=at) is True
    assert len(seen) == 1
    audited = AuditEvent.objects.get(action="stripe_event.handle_again")
    assert (audited.subject_id, audited.actor) == (event_id, "user:1")


def test_an_event_under_way_is_not_handled_again_by_hand(
    fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(event: Event) -> None:
        with pytest.raises(Conflict):
            inbox.handle_again(event.id, now=event.now, actor="user:1")

    monkeypatch.setitem(handlers.HANDLERS, "customer.created", handle)
    receive(delivery(fakestripe))
    assert inbox.handle_events(now=now()) == 1


def test_a_process_that_dies_in_a_handler_leaves_the_event_for_the_next(
    fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch, seen: Seen
) -> None:
    class Killed(BaseException):
        pass

    def die(event: Event) -> None:
        raise Killed

    monkeypatch.setitem(handlers.HANDLERS, "customer.created", die)
    receive(delivery(fakestripe))
    at = now()
    with pytest.raises(Killed):
        inbox.handle_next(now=at)
    monkeypatch.setitem(handlers.HANDLERS, "customer.created", seen.append)
    assert inbox.handle_next(now=at + inbox.LEASE - timedelta(seconds=1)) is None
    assert inbox.handle_next(now=at + inbox.LEASE) is True
    assert len(seen) == 1


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_a_handler_runs(fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> None:
    open_: list[bool] = []
    monkeypatch.setitem(handlers.HANDLERS, "customer.created", lambda event: open_.append(connection.in_atomic_block))
    receive(delivery(fakestripe))
    assert inbox.handle_events(now=now()) == 1
    assert open_ == [False]


@pytest.mark.django_db(transaction=True)
def test_two_workers_do_not_take_the_same_event(fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    both = threading.Barrier(2, timeout=20)

    def handle(event: Event) -> None:
        taken.append(event.id)
        both.wait()  # each worker is inside a handler of its own

    monkeypatch.setitem(handlers.HANDLERS, "customer.created", handle)
    for _ in range(2):
        receive(delivery(fakestripe))
    at = now()

    def work() -> None:
        try:
            inbox.handle_next(now=at)
        finally:
            connection.close()

    in_threads(2, work)
    assert len(set(taken)) == len(taken) == 2
    assert StripeEvent.objects.exclude(handled_at=None).count() == 2


def test_a_worker_whose_lease_ran_out_does_not_mark_what_another_has_taken(
    fakestripe: FakeStripe, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(delivery(fakestripe))
    at = now()
    calls: list[str] = []

    def slow(event: Event) -> None:
        calls.append("slow")
        monkeypatch.setitem(handlers.HANDLERS, "customer.created", lambda event: 1 / 0)
        assert inbox.handle_next(now=at + inbox.LEASE) is False  # another worker, meanwhile

    monkeypatch.setitem(handlers.HANDLERS, "customer.created", slow)
    inbox.handle_next(now=at)
    row = StripeEvent.objects.get()
    assert calls == ["slow"]
    assert row.handled_at is None
    assert "ZeroDivisionError" in row.last_error


def test_the_task_handles_what_is_due_and_rests_while_stripe_is_off(
    fakestripe: FakeStripe, settings: Any, seen: Seen
) -> None:
    for _ in range(3):
        receive(delivery(fakestripe))
    settings.STRIPE_ENABLED = False
    assert handle_events() == 0
    settings.STRIPE_ENABLED = True
    assert handle_events() == 3
    assert len(seen) == 3


def test_a_handled_event_cannot_be_due(fakestripe: FakeStripe) -> None:
    receive(delivery(fakestripe))
    with pytest.raises(IntegrityError), transaction.atomic():
        StripeEvent.objects.update(handled_at=now())


@pytest.mark.parametrize("kind", sorted({*handlers.HANDLERS, *handlers.CONNECT_HANDLERS}))
def test_every_registered_handler_exists_and_survives_an_object_that_is_not_ours(
    fakestripe: FakeStripe, kind: str
) -> None:
    account = None if kind in handlers.HANDLERS else "acct_nobody"
    row = {"id": "xx_nobody", "object": kind.rpartition(".")[0], "metadata": {}}
    event = Event("evt_1", kind, now(), account, False, row, now())
    handler = (handlers.CONNECT_HANDLERS if account else handlers.HANDLERS)[kind]
    try:
        handler(event)
    except (Later, FaucetError):
        pass  # tried again; anything else would be a fault of ours


def test_what_was_handled_long_ago_is_deleted(fakestripe: FakeStripe, seen: Seen) -> None:
    for _ in range(4):
        receive(delivery(fakestripe))
    old, recent, waiting, given_up = StripeEvent.objects.order_by("id").values_list("pk", flat=True)
    past = now() - timedelta(days=91)
    rows = StripeEvent.objects.all()
    rows.update(received_at=past, mirror_at=None)
    done: dict[str, Any] = {"next_attempt_at": None, "mirror_at": None}
    rows.filter(pk=old).update(handled_at=past, **done)
    rows.filter(pk=recent).update(handled_at=now() - timedelta(days=89), **done)
    rows.filter(pk=given_up).update(handled_at=None, **done)
    assert purge_events() == 1
    assert set(rows.values_list("pk", flat=True)) == {recent, waiting, given_up}
    assert purge_events() == 0
