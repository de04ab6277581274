"""A row that can never be processed does not keep the others from being processed."""

from apps.core.clock import now
from apps.usage.models import UsageEvent
from apps.usage.services.rating import rate_pending
from apps.usage.services.sweeping import sweep_holds
from tests.crash.test_tampering import sql, verify_ledger
from tests.live import World, differences

COPY = """
INSERT INTO usage_events SELECT (jsonb_populate_record(e, jsonb_build_object(
    'id', nextval(pg_get_serial_sequence('usage_events', 'id')), 'request_id', 'req_poison', 'account_id', -1
))).* FROM usage_events e WHERE e.request_id = %s
"""


def test_event_that_cannot_be_posted_is_set_aside(world: World) -> None:
    first = world.chat()
    sql(COPY, first.headers["x-request-id"])
    rest = [world.chat() for _ in range(4)]
    assert rate_pending(now=now()) == 6
    assert rate_pending(now=now()) == 0
    assert all(world.event(answer).rated_at for answer in [first, *rest])
    poison = UsageEvent.objects.get(request_id="req_poison")
    assert poison.rated_at is None
    assert "there is no account -1" in (poison.rating_error or "")
    assert [line.split(":")[0] for line in verify_ledger()] == ["usage_events req_poison"]


def test_expired_hold_that_says_nothing_of_its_call_is_given_back(world: World) -> None:
    for request_id, memo in (("req_poison", '{"app_id": "app_1"}'), ("req_bare", "{}")):
        sql(
            "SELECT ledger_take_holds(ARRAY[%s], ARRAY[%s]::bigint[], ARRAY[5]::bigint[], ARRAY[5]::bigint[],"
            " ARRAY[now() - interval '1 s'], ARRAY[%s]::jsonb[])",
            *(request_id, world.account_id, memo),
        )
    assert world.balance().held == 10
    assert sweep_holds(now=now()) == 2
    assert sweep_holds(now=now()) == 0
    assert world.balance().held == 0
    assert differences() == []
