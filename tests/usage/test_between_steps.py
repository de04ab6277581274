"""A process that dies after storing an event and before shrinking its hold leaves nothing wrong behind."""

from datetime import timedelta

import pytest
from django.db import connection

from apps.core.clock import now
from apps.ledger.models import Hold
from apps.ledger.queries import balance
from apps.ledger.services.holds import expired_holds
from apps.usage.models import UsageEvent
from apps.usage.services import sweeping
from apps.usage.services.sweeping import sweep_holds
from tests.live import differences, rate_all
from tests.usage.factories import Desk, make_desk, meter, settle, store

pytestmark = pytest.mark.django_db

LATER = timedelta(minutes=5)


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def hold(request_id: str) -> tuple[str, str, int]:
    """Return (state, stage, captured) of a hold."""
    return Hold.objects.values_list("state", "stage", "captured").get(request_id=request_id)


def test_stored_event_leaves_its_hold_whole_until_it_is_metered(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    assert store(desk.record(request_id)) == ["recorded"]
    assert hold(request_id) == ("open", "dispatched", 0)
    assert balance(desk.world.account_id).held == 5_000_000
    assert differences() == []
    meter(request_id)
    assert desk.world.balance().held == UsageEvent.objects.get().price_nano


@pytest.mark.parametrize("charged", [True, False])
def test_rating_ends_a_hold_that_was_never_metered(desk: Desk, charged: bool) -> None:
    request_id = desk.hold(5_000_000)
    store(desk.record(request_id, charged=charged))
    rate_all()
    price = UsageEvent.objects.get().price_nano
    assert hold(request_id) == ("settled", "dispatched", price)
    assert (desk.world.balance().held, desk.world.balance().posted) == (0, 10_000_000_000 - price)
    meter(request_id)
    assert hold(request_id) == ("settled", "dispatched", price)
    assert differences() == []


@pytest.mark.parametrize(("charged", "ends_as"), [(True, "open"), (False, "voided")])
def test_sweeper_meters_the_hold_of_a_stored_call_and_does_not_give_it_up(
    desk: Desk, charged: bool, ends_as: str
) -> None:
    request_id = desk.hold(5_000_000, lease=0)
    store(desk.record(request_id, charged=charged))
    UsageEvent.objects.update(rating_error="set aside, so that rating cannot come first")
    assert sweep_holds(now=now() + LATER) == 1
    assert hold(request_id) == (ends_as, "metered", 0)
    assert UsageEvent.objects.get().outcome != "abandoned"
    assert desk.world.balance().held == UsageEvent.objects.get().price_nano
    assert sweep_holds(now=now() + LATER) == 0


def test_sweeper_meters_a_stored_call_whose_memo_it_cannot_read(desk: Desk) -> None:
    request_id = desk.hold(5_000_000, lease=0, memo={"for": "something else"})
    store(desk.record(request_id))
    assert sweep_holds(now=now() + LATER) == 1
    assert hold(request_id) == ("open", "metered", 0)


def test_metering_twice_changes_nothing(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    settle(desk.record(request_id))
    before = hold(request_id), desk.world.balance()
    meter(request_id)
    assert (hold(request_id), desk.world.balance()) == before


def test_call_without_an_event_is_not_metered(desk: Desk) -> None:
    request_id = desk.hold(5_000_000)
    meter(request_id)
    assert hold(request_id) == ("open", "dispatched", 0)
    assert desk.world.balance().held == 5_000_000


def test_renewed_call_is_not_given_up_although_it_looked_dead(desk: Desk) -> None:
    request_id = desk.hold(5_000_000, lease=600)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE holds SET expires_at = now() - interval '1 second'")
    stale = expired_holds(now=now(), limit=1)[0]
    with connection.cursor() as cursor:
        cursor.execute("UPDATE holds SET expires_at = now() + interval '1 minute'")
    assert not sweeping._resolve(stale, now())
    assert UsageEvent.objects.count() == 0
    assert store(desk.record(request_id)) == ["recorded"]


def test_hold_that_stays_unmetered_long_after_its_lease_is_named(desk: Desk) -> None:
    request_id = desk.hold(5_000_000, lease=-3600)
    store(desk.record(request_id))
    assert [line for line in differences() if "is not metered" in line]
    sweep_holds(now=now())
    assert differences() == []
