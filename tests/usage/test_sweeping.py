"""Holds whose process died: given back, charged to nobody but us, and final for whoever comes late."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from apps.core.clock import now
from apps.ledger.models import AccountKind, Hold
from apps.ledger.queries import account_id, balance
from apps.ledger.statements import RENEW_HOLDS
from apps.usage import tasks
from apps.usage.models import IdempotencyRecord, UsageEvent
from apps.usage.rate import Tokens
from apps.usage.services import idempotency
from apps.usage.services.settle import Replayable
from apps.usage.services.sweeping import sweep_holds
from apps.usage.tasks import sweep
from tests.live import differences, rate_all
from tests.usage.factories import Desk, make_desk, settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def later() -> Any:
    return now() + timedelta(minutes=5)


def test_expired_hold_is_an_abandoned_call_at_our_cost(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    assert sweep_holds(now=later()) == 1
    assert Hold.objects.get().state == "expired"
    assert desk.world.balance().held == 0
    event = UsageEvent.objects.get(request_id=request_id)
    assert (event.outcome, event.charged, event.estimated, event.error_code) == (
        "abandoned",
        False,
        True,
        "process_died",
    )
    cost = desk.charge(Tokens(input=100, output=50)).cost
    assert (event.price_nano, event.cost_nano) == (0, cost)
    assert (event.app_id, event.end_user_id) == (desk.world.app_id, desk.world.end_user_id)
    rate_all()
    assert desk.world.balance().posted == 10_000_000_000
    loss = account_id(AccountKind.PLATFORM_LOSS, "operator")
    assert loss is not None
    assert balance(loss).posted == -cost
    assert sweep_holds(now=later()) == 0
    assert differences() == []


def test_live_metered_and_settled_holds_are_left_alone(desk: Desk) -> None:
    desk.hold(1_000, lease=600)
    desk.served()
    rate_all()
    desk.served()
    assert sweep_holds(now=later()) == 0
    assert sweep() == 0


def test_renewed_hold_is_left_alone(desk: Desk) -> None:
    request_id = desk.hold(1_000, lease=1)
    with connection.cursor() as cursor:
        cursor.execute(RENEW_HOLDS, ([request_id], 600))
    assert sweep_holds(now=later()) == 0


def test_who_settles_too_late_is_told_and_changes_nothing(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    sweep_holds(now=later())
    assert settle(desk.record(request_id), desk.record()) == ["abandoned", "recorded"]
    assert UsageEvent.objects.get(request_id=request_id).outcome == "abandoned"
    rate_all()
    assert differences() == []


def test_answer_of_an_abandoned_call_is_not_kept(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    key = idempotency.read_key("k1", scope=desk.world.end_user_id, endpoint="chat.completions", body=b"{}")
    with connection.cursor() as cursor:
        cursor.execute(idempotency.CLAIM, key.claim_parameters(request_id, lease=1, ttl=600))
    sweep_holds(now=later())
    sealed = idempotency.seal(key, request_id, b"the answer").decode()
    settle(desk.record(request_id), kept=Replayable(request_id=request_id, status=200, headers={}, body=sealed))
    record = IdempotencyRecord.objects.get()
    assert (record.done_at, record.body) == (None, None)


def test_hold_without_a_memo_is_given_back(desk: Desk) -> None:
    desk.hold(5_000_000, memo={})
    assert sweep_holds(now=later()) == 1
    assert desk.world.balance().held == 0
    assert UsageEvent.objects.count() == 0
    assert differences() == []


@pytest.mark.parametrize(
    "memo", [{"for": "something else"}, {"price_version_id": "pv_unknown"}, {"terms_id": 0}, {"started_at": "then"}]
)
def test_hold_with_an_unreadable_memo_does_not_hold_up_the_others(desk: Desk, memo: dict[str, Any]) -> None:
    whole = desk.memo()
    desk.hold(1_000, lease=0, memo=memo if "for" in memo else whole | memo)
    good = desk.hold(2_000, lease=1)
    sweep_holds(now=later())
    assert UsageEvent.objects.get().request_id == good
    assert Hold.objects.get(request_id=good).state == "expired"


@pytest.mark.django_db(transaction=True)
def test_sweepers_and_late_settlers_agree_on_every_call(desk: Desk) -> None:
    ids = [desk.hold(1_000_000, lease=0) for _ in range(40)]
    outcomes: dict[str, str] = {}
    swept: list[int] = []
    failures: list[Exception] = []
    barrier = threading.Barrier(3)

    def run(work: Any) -> None:
        try:
            barrier.wait()
            work()
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    def settle_all() -> None:
        for request_id in reversed(ids):
            while request_id not in outcomes:
                try:
                    outcomes[request_id] = settle(desk.record(request_id))[0]
                except OperationalError:  # a deadlock with a sweeper: the group committer tries again, too
                    connection.close()

    workers = [
        threading.Thread(target=run, args=(work,))
        for work in (settle_all, *[lambda: swept.append(sweep_holds(now=later()))] * 2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    events = dict(UsageEvent.objects.values_list("request_id", "outcome"))
    assert len(events) == 40
    for request_id in ids:
        assert (outcomes[request_id] == "abandoned") == (events[request_id] == "abandoned")
    # Each hold is resolved by one of them: the sweepers also meter what was stored and not metered yet.
    abandoned = sum(outcome == "abandoned" for outcome in events.values())
    assert abandoned <= sum(swept) <= 40
    assert Hold.objects.filter(state="expired").count() == abandoned
    assert not Hold.objects.filter(state="open", stage="dispatched").exists()
    rate_all()
    assert differences() == []


def test_worker_whose_clock_runs_ahead_takes_no_live_call_for_dead(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hold(1_000, lease=60)
    monkeypatch.setattr(tasks, "now", later)
    assert sweep() == 0
    assert Hold.objects.get().state == "open"
