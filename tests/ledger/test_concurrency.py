"""Many connections at once, for real: every thread commits on a connection of its own."""

import random
from datetime import timedelta

import pytest
from django.db import OperationalError, transaction

from apps.ledger.models import AccountKind, Hold
from apps.ledger.services.batches import Capture, Leg, Posting, post_batch
from apps.ledger.services.holds import expire_hold
from tests.ledger.factories import (
    LATER,
    NOW,
    account,
    assert_proven,
    at_once,
    capture,
    meter,
    money,
    renew,
    sql,
    take,
    take_many,
    void,
)

pytestmark = pytest.mark.django_db(transaction=True)


def failures(results: list[object]) -> list[object]:
    return [result for result in results if isinstance(result, Exception)]


def test_takes_at_once_never_exceed_the_funds():
    user = account(funds=100)

    results = at_once([lambda n=n: take(f"req_{n}", user, 30) for n in range(40)])

    assert sum(outcome == "granted" for _, _, outcome in results) == 3
    assert sum(outcome == "insufficient" for _, _, outcome in results) == 37
    assert money(user) == (100, 90)
    assert_proven()


def test_clamped_takes_at_once_never_exceed_the_funds():
    user = account(funds=100)

    results = at_once([lambda n=n: take(f"req_{n}", user, 30, minimum=1) for n in range(40)])

    assert sorted(granted for granted, _, _ in results if granted) == [10, 30, 30, 30]
    assert money(user) == (100, 100)
    assert_proven()


def test_takes_of_one_request_at_once_hold_once():
    user = account(funds=100)

    results = at_once([lambda: take("req_1", user, 30)] * 12)

    assert sorted(outcome for _, _, outcome in results) == ["duplicate"] * 11 + ["granted"]
    assert {granted for granted, _, _ in results} == {30}
    assert money(user) == (100, 30)


def test_batches_over_the_same_accounts_in_opposite_orders_do_not_deadlock():
    users = [account(f"usr_{number}", funds=10_000) for number in range(12)]
    platform = account("operator", kind=AccountKind.PLATFORM)

    def life_of_a_batch(number: int) -> None:
        order = random.Random(number).sample(users, len(users))
        ids = [f"req_{number}_{user}" for user in order]
        take_many([(request_id, user, 10, 10) for request_id, user in zip(ids, order, strict=True)])
        renew(*reversed(ids), until=LATER + timedelta(seconds=number))
        sql("SELECT * FROM ledger_meter_holds(%s::text[], %s::bigint[])", ids[::-1], [7] * len(ids))
        post_batch(
            [
                Posting(f"usage:{request_id}", "usage", [Leg(user, -7), Leg(platform, 7)], NOW)
                for request_id, user in zip(ids, order, strict=True)
            ],
            [Capture(request_id, 7) for request_id in ids],
            now=NOW,
            actor="test",
        )

    results = at_once([lambda number=number: life_of_a_batch(number) for number in range(30)])

    assert failures(results) == []
    assert money(platform) == (30 * 12 * 7, 0)
    assert {money(user) for user in users} == {(10_000 - 30 * 7, 0)}
    assert_proven()


def test_batches_that_share_keys_in_opposite_orders_post_each_once():
    user, platform = account(funds=10_000), account("operator", kind=AccountKind.PLATFORM)
    postings = [Posting(f"usage:{n}", "usage", [Leg(user, -1), Leg(platform, 1)], NOW) for n in range(40)]

    results = at_once(
        [lambda n=n: post_batch(postings if n % 2 else postings[::-1], [], now=NOW, actor="test") for n in range(12)]
    )

    assert failures(results) == []
    assert all(result == results[0] for result in results)
    assert money(platform) == (40, 0)
    assert_proven()


def test_batches_that_overlap_post_each_key_once():
    user, platform = account(funds=10_000), account("operator", kind=AccountKind.PLATFORM)

    def attempt(start: int) -> dict[str, int]:
        keys = range(start, start + 20)
        return post_batch(
            [Posting(f"usage:{n}", "usage", [Leg(user, -1), Leg(platform, 1)], NOW) for n in keys],
            [],
            now=NOW,
            actor="test",
        )

    results = at_once([lambda start=start: attempt(start) for start in (0, 10, 20, 5, 15, 0)])

    assert failures(results) == []
    assert money(platform) == (40, 0)
    assert_proven()


def test_hold_is_resolved_by_exactly_one_of_many():
    user = account(funds=1000)
    for number in range(20):
        take(f"req_{number}", user, 10)

    def resolve(number: int) -> list[str]:
        request_id = f"req_{number % 20}"
        how = number // 20
        if how == 0:
            return ["void"] if void(request_id) else []
        if how == 1:
            return ["expire"] if expire_hold(request_id, now=LATER) else []
        return ["capture"] if capture(request_id, 4) == "captured" else []

    order = random.Random(1).sample(range(60), 60)
    results = at_once([lambda number=number: resolve(number) for number in order])

    assert failures(results) == []
    assert sum(len(result) for result in results) == 20
    assert not Hold.objects.filter(state="open").exists()
    assert money(user) == (1000, 0)
    assert_proven()


def test_hold_that_is_metered_and_expired_at_once_ends_in_one_way():
    user = account(funds=1000)
    ids = [f"req_{number}" for number in range(20)]
    for request_id in ids:
        take(request_id, user, 10)

    results = at_once(
        [
            call
            for request_id in ids
            for call in (
                lambda request_id=request_id: meter(request_id, 4),
                lambda request_id=request_id: expire_hold(request_id, now=LATER),
            )
        ]
    )

    for metered, expired in zip(results[::2], results[1::2], strict=True):
        assert (metered, expired) in {("metered", False), ("resolved", True)}
    assert money(user) == (1000, 4 * sum(result == "metered" for result in results))
    assert_proven()


def test_takes_at_once_with_posts_keep_the_wallet_exact():
    user, provider = account(funds=1000), account("openai", kind=AccountKind.PROVIDER_COST)

    def one_call(number: int) -> str:
        request_id = f"req_{number}"
        _, _, outcome = take(request_id, user, 100)
        if outcome == "granted":
            meter(request_id, 50)
            post_batch(
                [Posting(f"usage:{request_id}", "usage", [Leg(user, -50), Leg(provider, 50)], NOW)],
                [Capture(request_id, 50)],
                now=NOW,
                actor="test",
            )
        return outcome

    results = at_once([lambda number=number: one_call(number) for number in range(60)])

    assert failures(results) == []
    calls = results.count("granted")
    # Each call needs 100 to start and costs 50: at least 17 of any order fit, and never more than 19.
    assert 17 <= calls <= 19
    assert (money(user), money(provider)) == ((1000 - 50 * calls, 0), (50 * calls, 0))
    assert_proven()


def test_post_whose_connection_is_lost_before_the_commit_leaves_nothing_and_can_be_sent_again():
    user, provider = account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST)
    take("req_1", user, 50)
    batch = [Posting("usage:req_1", "usage", [Leg(user, -50), Leg(provider, 50)], NOW)], [Capture("req_1", 50)]

    def lost() -> None:
        with transaction.atomic():
            post_batch(*batch, now=NOW, actor="test")
            sql("SELECT pg_terminate_backend(pg_backend_pid())")

    assert isinstance(at_once([lost])[0], OperationalError)
    assert (money(user), money(provider)) == ((100, 50), (0, 0))
    assert_proven()

    post_batch(*batch, now=NOW, actor="test")
    assert (money(user), money(provider)) == ((50, 0), (50, 0))
    assert_proven()
