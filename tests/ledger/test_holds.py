from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.ledger.models import Hold
from apps.ledger.services.accounts import set_overdraft
from apps.ledger.services.holds import expire_hold, expired_holds
from apps.ledger.statements import (
    RENEW_HOLDS,
    TAKE_HOLDS,
    VOID_HOLDS,
    HoldRequest,
    HoldResult,
    hold_results,
    take_parameters,
)
from tests.ledger.factories import (
    LATER,
    NOBODY,
    NOW,
    account,
    assert_proven,
    capture,
    meter,
    money,
    renew,
    sql,
    take,
    take_many,
    void,
)

pytestmark = pytest.mark.django_db

AFTER = LATER + timedelta(seconds=1)


def hold(request_id: str = "req_1") -> tuple[str, str, int, int]:
    """Return (state, stage, amount, captured) of a hold."""
    return Hold.objects.values_list("state", "stage", "amount", "captured").get(request_id=request_id)


def test_hold_is_taken():
    user = account(funds=100)

    assert take("req_1", user, 60) == (60, 100, "granted")

    assert money(user) == (100, 60)
    row = Hold.objects.get()
    assert (row.state, row.stage, row.amount, row.captured) == ("open", "dispatched", 60, 0)
    assert (row.expires_at, row.resolved_at, row.memo) == (LATER, None, {"for": "req_1"})
    assert_proven()


def test_hold_of_exactly_what_there_is_is_granted():
    assert take("req_1", account(funds=100), 100) == (100, 100, "granted")


def test_hold_of_more_than_there_is_is_refused():
    user = account(funds=100)

    assert take("req_1", user, 101) == (0, 100, "insufficient")

    assert money(user) == (100, 0)
    assert Hold.objects.count() == 0


@pytest.mark.parametrize(
    ("funds", "amount", "minimum", "result"),
    [
        (100, 500, 100, (100, 100, "granted")),
        (100, 500, 30, (100, 100, "granted")),
        (100, 500, 101, (0, 100, "insufficient")),
        (100, 80, 30, (80, 100, "granted")),
        (0, 500, 0, (0, 0, "insufficient")),
        (0, 0, 0, (0, 0, "granted")),
    ],
)
def test_hold_is_clamped_to_what_is_available(funds, amount, minimum, result):
    assert take("req_1", account(funds=funds), amount, minimum=minimum) == result
    assert_proven()


def test_hold_of_nothing_is_granted_below_zero():
    user, other = account(funds=10), account("usr_2")
    take("req_1", user, 10)
    sql("UPDATE wallets SET posted = posted - 10 WHERE account_id = %s", user)

    assert take("req_2", user, 0) == (0, -10, "granted")
    assert take("req_3", user, 1, minimum=0) == (0, -10, "insufficient")
    assert take("req_4", other, 0) == (0, 0, "granted")


def test_hold_may_use_the_overdraft():
    user = account(funds=100)
    set_overdraft(user, 50, now=NOW, actor="test")

    assert take("req_1", user, 151) == (0, 150, "insufficient")
    assert take("req_1", user, 150) == (150, 150, "granted")


def test_hold_on_an_unknown_account_is_refused():
    assert take("req_1", NOBODY, 1) == (0, 0, "no_account")


def test_hold_of_a_negative_amount_is_refused():
    with pytest.raises(IntegrityError, match="holds_amount"):
        take("req_1", account(funds=100), -5)


def test_holds_of_one_account_are_decided_in_their_order():
    a, b = account("a", funds=100), account("b", funds=10)

    results = take_many(
        [("1", a, 60, 60), ("2", b, 10, 10), ("3", a, 60, 60), ("4", a, 60, 1), ("5", a, 1, 1), ("6", b, 1, 0)]
    )

    assert results == {
        "1": (60, 100, "granted"),
        "2": (10, 10, "granted"),
        "3": (0, 40, "insufficient"),
        "4": (40, 40, "granted"),
        "5": (0, 0, "insufficient"),
        "6": (0, 0, "insufficient"),
    }
    assert (money(a), money(b)) == ((100, 100), (10, 10))
    assert_proven()


def test_hold_taken_again_is_a_duplicate_that_keeps_its_amount():
    user = account(funds=100)
    take("req_1", user, 60)

    assert take("req_1", user, 60) == (60, 40, "duplicate")
    assert money(user) == (100, 60)


def test_hold_taken_again_after_it_was_resolved_keeps_nothing():
    user = account(funds=100)
    take("req_1", user, 60)
    void("req_1")

    assert take("req_1", user, 60) == (0, 100, "duplicate")
    assert money(user) == (100, 0)


def test_hold_named_twice_in_a_batch_is_taken_once():
    user = account(funds=100)

    rows = sql(
        "SELECT * FROM ledger_take_holds(ARRAY['r', 'r'], %s::bigint[], '{60,60}', '{60,60}', %s::timestamptz[],"
        " ARRAY['{}', '{}']::jsonb[])",
        [user, user],
        [LATER, LATER],
    )

    assert rows == [("r", 60, 100, "granted"), ("r", 0, 40, "duplicate")]
    assert money(user) == (100, 60)
    assert_proven()


def test_holds_of_an_empty_batch_are_none():
    assert sql("SELECT * FROM ledger_take_holds('{}', '{}', '{}', '{}', '{}', '{}')") == []


@pytest.mark.parametrize(("price", "kept"), [(25, 25), (60, 60), (90, 60)])
def test_metered_hold_shrinks_to_the_price(price, kept):
    user = account(funds=100)
    take("req_1", user, 60)

    assert meter("req_1", price) == "metered"

    assert money(user) == (100, kept)
    assert hold() == ("open", "metered", kept, 0)
    assert_proven()


def test_metered_hold_of_price_zero_is_voided():
    user = account(funds=100)
    take("req_1", user, 60)

    assert meter("req_1", 0) == "voided"

    assert money(user) == (100, 0)
    assert hold() == ("voided", "metered", 0, 0)
    assert_proven()


def test_metering_again_changes_nothing():
    user = account(funds=100)
    take("req_1", user, 60)
    meter("req_1", 25)

    assert meter("req_1", 10) == "already"
    assert hold() == ("open", "metered", 25, 0)


def test_metering_what_was_never_held_is_missing():
    assert meter("req_1", 10) == "missing"


def test_metering_what_is_resolved_changes_nothing():
    user = account(funds=100)
    take("req_1", user, 60)
    void("req_1")

    assert meter("req_1", 10) == "resolved"
    assert money(user) == (100, 0)


def test_metering_many_at_once_sums_by_account():
    a, b = account("a", funds=100), account("b", funds=100)
    take_many([("1", a, 30, 30), ("2", b, 30, 30), ("3", a, 30, 30), ("4", a, 30, 30)])

    rows = sql(
        "SELECT * FROM ledger_meter_holds(%s::text[], %s::bigint[])", ["4", "3", "9", "2", "1"], [5, 0, 1, 30, 7]
    )

    assert dict(rows) == {"1": "metered", "2": "metered", "3": "voided", "4": "metered", "9": "missing"}
    assert (money(a), money(b)) == ((100, 12), (100, 30))
    assert_proven()


def test_metering_one_request_twice_in_a_batch_takes_the_first_price():
    user = account(funds=100)
    take("req_1", user, 60)

    assert sql("SELECT * FROM ledger_meter_holds(ARRAY['req_1', 'req_1'], '{20,30}')") == [("req_1", "metered")]
    assert money(user) == (100, 20)


def test_metering_at_a_negative_price_is_refused():
    take("req_1", account(funds=100), 60)
    with pytest.raises(IntegrityError, match="holds_amount"):
        meter("req_1", -1)


@pytest.mark.parametrize("metered", [True, False])
def test_captured_hold_is_settled(metered):
    user = account(funds=100)
    take("req_1", user, 60)
    if metered:
        meter("req_1", 25)

    assert capture("req_1", 25) == "captured"

    assert money(user) == (100, 0)
    assert hold()[0] == "settled"
    assert hold()[3] == 25
    assert capture("req_1", 25) == "already"
    assert meter("req_1", 25) == "resolved"
    assert void("req_1") == set()
    assert_proven()


def test_capturing_what_was_voided_is_resolved():
    take("req_1", account(funds=100), 60)
    void("req_1")

    assert capture("req_1", 25) == "resolved"
    assert hold() == ("voided", "dispatched", 60, 0)


def test_voided_hold_gives_all_back_once():
    user = account(funds=100)
    take("req_1", user, 60)

    assert void("req_1", "req_9") == {"req_1"}
    assert void("req_1") == set()

    assert money(user) == (100, 0)
    assert hold() == ("voided", "dispatched", 60, 0)
    assert_proven()


def test_voiding_what_was_metered_is_left_to_rating():
    user = account(funds=100)
    take("req_1", user, 60)
    meter("req_1", 25)

    assert void("req_1") == set()
    assert money(user) == (100, 25)


def test_renewed_hold_lives_longer():
    user = account(funds=100)
    take_many([("1", user, 10, 10), ("2", user, 10, 10), ("3", user, 10, 10)])
    void("3")

    assert renew("1", "3", "9", until=AFTER) == {"1"}

    assert dict(Hold.objects.values_list("request_id", "expires_at")) == {"1": AFTER, "2": LATER, "3": LATER}


def test_renewing_never_shortens_a_lease():
    take("req_1", account(funds=100), 10)

    assert renew("req_1", until=NOW) == {"req_1"}
    assert Hold.objects.get().expires_at == LATER


def test_expired_hold_gives_all_back_once():
    user = account(funds=100)
    take("req_1", user, 60)

    assert expire_hold("req_1", now=LATER) is True
    assert expire_hold("req_1", now=LATER) is False

    assert money(user) == (100, 0)
    assert hold() == ("expired", "dispatched", 60, 0)
    assert Hold.objects.get().resolved_at == LATER
    assert meter("req_1", 10) == "resolved"
    assert_proven()


def test_expiring_a_hold_that_lives_is_refused():
    user = account(funds=100)
    take("req_1", user, 60)

    assert expire_hold("req_1", now=LATER - timedelta(microseconds=1)) is False
    assert money(user) == (100, 60)


def test_expiring_a_hold_that_was_renewed_since_it_was_listed_is_refused():
    take("req_1", account(funds=100), 60)
    (listed,) = expired_holds(now=AFTER, limit=10)

    renew("req_1", until=AFTER + timedelta(seconds=1))

    assert expire_hold(listed.request_id, now=AFTER) is False


def test_expiring_a_metered_hold_is_refused():
    take("req_1", account(funds=100), 60)
    meter("req_1", 25)

    assert expired_holds(now=AFTER, limit=10) == []
    assert expire_hold("req_1", now=AFTER) is False


@pytest.mark.parametrize("count", [0, 1, 3])
def test_expired_holds_are_listed_oldest_first(count, django_assert_num_queries):
    user = account(funds=100)
    for number in range(count):
        take(str(number), user, 10 + number, expires_at=LATER - timedelta(seconds=number))
    take("alive", user, 10, expires_at=AFTER)

    with django_assert_num_queries(1):
        found = expired_holds(now=LATER, limit=2)

    assert [(one.request_id, one.account_id, one.amount, one.memo) for one in found] == [
        (str(number), user, 10 + number, {"for": str(number)}) for number in reversed(range(count))
    ][:2]


def test_hold_taken_in_a_transaction_that_rolls_back_leaves_nothing():
    user = account(funds=100)

    with pytest.raises(RuntimeError), transaction.atomic():
        take("req_1", user, 60)
        raise RuntimeError

    assert money(user) == (100, 0)
    assert take("req_1", user, 60) == (60, 100, "granted")


def test_statements_of_the_hot_path_take_renew_and_void():
    user = account(funds=100)
    requests = [HoldRequest(str(n), user, 40, 1, 60.0, {"n": n}) for n in range(4)]

    results = hold_results(requests, sql(TAKE_HOLDS, *take_parameters(requests)))  # type: ignore[arg-type]

    assert results == [
        HoldResult("granted", 40, 100, taken=True),
        HoldResult("granted", 40, 60, taken=True),
        HoldResult("granted", 20, 20, taken=True),
        HoldResult("insufficient", 0, 0, taken=False),
    ]
    again = hold_results(requests[:1], sql(TAKE_HOLDS, *take_parameters(requests[:1])))  # type: ignore[arg-type]
    assert again == [HoldResult("duplicate", 40, 0, taken=True)]
    assert [row.memo for row in Hold.objects.order_by("id")] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert sql(RENEW_HOLDS, ["0"], 600) == [("0",)]
    assert sorted(sql(VOID_HOLDS, ["0", "1", "2"])) == [("0",), ("1",), ("2",)]
    assert_proven()
