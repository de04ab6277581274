"""Storing usage events, and then shrinking their holds."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.ledger.models import Hold
from apps.usage.models import UsageCharge, UsageEvent
from apps.usage.rate import Tokens
from tests.live import differences, rate_all
from tests.usage.factories import Desk, make_desk, settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def test_hold_shrinks_to_the_price_when_the_event_is_stored(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    assert settle(desk.record(request_id)) == ["recorded"]
    hold = Hold.objects.get(request_id=request_id)
    event = UsageEvent.objects.get()
    assert (hold.state, hold.stage, hold.amount) == ("open", "metered", event.price_nano)
    assert desk.world.balance().held == event.price_nano
    rate_all()
    hold.refresh_from_db()
    assert (hold.state, hold.captured) == ("settled", event.price_nano)
    assert desk.world.balance().held == 0
    assert differences() == []


def test_hold_of_a_free_call_ends_at_once(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    settle(desk.record(request_id, charged=False))
    assert Hold.objects.get().state == "voided"
    assert desk.world.balance().held == 0
    rate_all()
    assert differences() == []


def test_price_above_the_hold_is_stored_and_posted_in_full(desk: Desk) -> None:
    request_id = desk.hold(10)
    settle(desk.record(request_id))
    assert desk.world.balance().held == 10
    rate_all()
    assert desk.world.balance().posted == 10_000_000_000 - UsageEvent.objects.get().price_nano
    assert differences() == []


def test_event_is_stored_once_however_often_it_is_sent(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    first = desk.record(request_id)
    assert settle(first) == ["recorded"]
    assert settle(desk.record(request_id, Tokens(input=7))) == ["recorded"]
    assert settle(first, desk.record()) == ["recorded", "recorded"]
    assert UsageEvent.objects.filter(request_id=request_id).get().input_tokens == 100
    rate_all()
    assert settle(first) == ["recorded"]
    assert differences() == []


def test_event_whose_hold_was_lost_is_stored_and_charged(desk: Desk) -> None:
    settle(desk.record())
    rate_all()
    assert desk.world.balance().posted == 10_000_000_000 - UsageEvent.objects.get().price_nano
    assert differences() == []


def test_batch_is_stored_whole_and_answered_in_order(desk: Desk) -> None:
    ids = [desk.hold(5_000_000) for _ in range(20)]
    assert settle(*[desk.record(request_id) for request_id in reversed(ids)]) == ["recorded"] * 20
    assert UsageEvent.objects.count() == 20
    rate_all()
    assert differences() == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE usage_events SET price_nano = 1",
        "UPDATE usage_events SET charged = false",
        "UPDATE usage_events SET end_user_id = 'usr_other'",
        "UPDATE usage_events SET rated_at = now()",
        "UPDATE usage_events SET provider_bill_nano = 1",
        "UPDATE usage_events SET routing = '{}'",
        "UPDATE usage_events SET cache = 'exact'",
        "UPDATE usage_events SET cache_price_bps = 0",
        "UPDATE usage_events SET manifest_id = 'man_1'",
        "DELETE FROM usage_events",
        "UPDATE usage_charges SET price_nano = 1",
        "DELETE FROM usage_charges",
    ],
)
def test_facts_cannot_be_changed(desk: Desk, statement: str) -> None:
    desk.served()
    rate_all()
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.parametrize(
    "changed",
    [
        {"input_tokens": -1},
        {"price_nano": -1},
        {"cost_nano": -1},
        {"charged": False},
        {"payment_bps": -1},
        {"provider_bill_nano": -1},
        {"redactions": -1},
        {"cache": "neither", "cache_price_bps": 0, "cost_nano": 0},
        {"cache": "exact", "cost_nano": 0},
        {"cache_price_bps": 0, "cost_nano": 0},
        {"cache": "exact", "cache_price_bps": 10_001, "cost_nano": 0},
        {"cache": "exact", "cache_price_bps": 0, "cost_nano": 1},
        {"cache": "exact", "cache_price_bps": 0, "cost_nano": 0, "provider_bill_nano": 1},
    ],
)
def test_event_that_makes_no_sense_is_refused_by_the_database(desk: Desk, changed: dict[str, Any]) -> None:
    record = desk.record()
    changed_record = type(record)(**{f: getattr(record, f) for f in record.__struct_fields__} | changed)
    with pytest.raises(IntegrityError), transaction.atomic():
        settle(changed_record)


def test_charge_whose_legs_do_not_sum_is_refused_by_the_database(desk: Desk) -> None:
    event = desk.served()
    with pytest.raises(IntegrityError), transaction.atomic():
        UsageCharge.objects.create(
            event=event,
            price_nano=10,
            cost_nano=5,
            infra_nano=0,
            payment_nano=0,
            developer_nano=0,
            platform_nano=4,
            loss_nano=0,
            provider_bill_nano=0,
            created_at=event.created_at,
        )


def test_what_was_decided_about_a_call_is_stored_with_it(desk: Desk) -> None:
    decided: dict[str, Any] = {
        "policy": "cheapest_sufficient",
        "task_class": "code",
        "routing": {"rejected": [["double-1", "circuit_open"]]},
        "degraded": True,
        "cache": "semantic",
        "cache_price_bps": 2_500,
        "redactions": 3,
        "prompt_hash": "a" * 64,
        "manifest_id": "man_1",
    }
    settle(desk.record(**decided))
    event = UsageEvent.objects.get()
    assert {name: getattr(event, name) for name in decided} == decided


def test_nothing_is_claimed_of_a_call_about_which_nothing_was_decided(desk: Desk) -> None:
    settle(desk.record())
    event = UsageEvent.objects.get()
    assert (event.policy, event.routing, event.cache, event.manifest_id) == (None, None, None, None)
    assert (event.degraded, event.redactions, event.provider_bill_nano) == (False, 0, 0)
