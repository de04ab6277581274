from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.core.errors import Conflict
from apps.ledger import queries
from apps.ledger.models import AccountKind, LedgerEntry, LedgerTransaction
from apps.ledger.services.batches import Capture, Leg, Posting, post, post_batch
from tests.ledger.factories import NOBODY, NOW, account, assert_proven, at_once, capture, meter, money, sql, take

pytestmark = pytest.mark.django_db


def posting(key: str, *legs: tuple[int, int], **more) -> Posting:
    return Posting(key, "usage", [Leg(*leg) for leg in legs], NOW, **more)


def test_post_moves_the_wallets():
    user, provider, platform = account(), account("openai", kind=AccountKind.PROVIDER_COST), account("p")

    pk = post(
        kind="usage",
        legs=[Leg(user, -14), Leg(provider, 10), Leg(platform, 4)],
        idempotency_key="usage:req_1",
        now=NOW,
        effective_at=NOW - timedelta(hours=1),
        actor="rating",
        memo={"request_id": "req_1"},
    )

    assert (money(user), money(provider), money(platform)) == ((-14, 0), (10, 0), (4, 0))
    header = LedgerTransaction.objects.get(pk=pk)
    assert (header.kind, header.idempotency_key, header.actor, header.memo, header.reverses_id) == (
        "usage",
        "usage:req_1",
        "rating",
        {"request_id": "req_1"},
        None,
    )
    assert (header.effective_at, header.created_at) == (NOW - timedelta(hours=1), NOW)
    assert queries.transaction_id("usage:req_1") == pk
    assert_proven()


def test_post_again_is_the_same_transaction():
    a, b = account("a"), account("b")
    content = {"kind": "t", "idempotency_key": "k", "actor": "test", "memo": {"x": 1, "y": [2]}}

    first = post(legs=[Leg(a, -5), Leg(b, 5)], now=NOW, **content)
    again = post(legs=[Leg(b, 5), Leg(a, -5)], now=NOW + timedelta(days=1), **content)

    assert again == first
    assert (money(a), money(b)) == ((-5, 0), (5, 0))


@pytest.mark.parametrize("change", ["kind", "legs", "memo", "reverses"])
def test_post_of_other_content_under_a_used_key_is_a_conflict(change):
    a, b = account("a"), account("b")
    original = post(kind="t", legs=[Leg(b, -5), Leg(a, 5)], idempotency_key="o", now=NOW, actor="test")
    content = {"kind": "t", "legs": [Leg(a, -5), Leg(b, 5)], "memo": {}, "reverses": None}
    post(idempotency_key="k", now=NOW, actor="test", **content)

    other = {"kind": "u", "legs": [Leg(a, -6), Leg(b, 6)], "memo": {"x": 1}, "reverses": original}[change]
    with pytest.raises(Conflict) as error:
        post(idempotency_key="k", now=NOW, actor="test", **{**content, change: other})

    assert error.value.code == "idempotency_key_reused"
    assert LedgerTransaction.objects.count() == 2


def test_post_with_two_legs_on_one_account_posts_their_sum():
    a, b = account("a"), account("b")

    post(kind="t", legs=[Leg(a, -5), Leg(b, 2), Leg(b, 3)], idempotency_key="k", now=NOW, actor="test")

    assert (money(a), money(b)) == ((-5, 0), (5, 0))
    assert_proven()


@pytest.mark.parametrize(
    ("amounts", "problem"),
    [([-5, 4], "sum to -1"), ([5], "1 entries"), ([], "0 entries"), ([-5, 5, 0], "ledger_entries_amount")],
)
def test_post_that_the_database_refuses_changes_nothing(amounts, problem):
    accounts = [account(str(number)) for number in range(3)]

    with pytest.raises(IntegrityError, match=problem), transaction.atomic():
        post(
            kind="t",
            legs=[Leg(accounts[number], amount) for number, amount in enumerate(amounts)],
            idempotency_key="k",
            now=NOW,
            actor="test",
        )

    assert [money(pk) for pk in accounts] == [(0, 0)] * 3
    assert LedgerEntry.objects.count() == 0


def test_post_to_an_unknown_account_is_refused():
    with pytest.raises(IntegrityError, match="no account 0"):
        post(kind="t", legs=[Leg(account(), -5), Leg(NOBODY, 5)], idempotency_key="k", now=NOW, actor="test")


def test_post_batch_posts_and_captures():
    user, provider = account(funds=1000), account("openai", kind=AccountKind.PROVIDER_COST)
    for number in range(3):
        take(f"req_{number}", user, 100)
        meter(f"req_{number}", 40)

    ids = post_batch(
        [posting(f"usage:req_{n}", (user, -40), (provider, 40), memo={"request_id": f"req_{n}"}) for n in range(3)],
        [Capture(f"req_{number}", 40) for number in range(3)],
        now=NOW,
        actor="rating",
    )

    assert ids == {f"usage:req_{number}": queries.transaction_id(f"usage:req_{number}") for number in range(3)}
    assert (money(user), money(provider)) == ((880, 0), (120, 0))
    assert sql("SELECT state, captured FROM holds") == [("settled", 40)] * 3
    assert_proven()


def test_post_batch_is_one_statement_whatever_its_size(django_assert_num_queries):
    a, b = account("a"), account("b")
    for size in (1, 40):
        with django_assert_num_queries(3):  # the call, between a savepoint and its release
            post_batch([posting(f"{size}:{number}", (a, -1), (b, 1)) for number in range(size)], now=NOW, actor="test")


def test_post_batch_again_changes_nothing():
    user, provider = account(funds=1000), account("openai", kind=AccountKind.PROVIDER_COST)
    take("req_1", user, 100)
    batch = [posting("usage:req_1", (user, -40), (provider, 40))], [Capture("req_1", 40)]

    first = post_batch(*batch, now=NOW, actor="rating")
    again = post_batch(*batch, now=NOW + timedelta(hours=1), actor="rating")

    assert again == first
    assert (money(user), money(provider)) == ((960, 0), (40, 0))
    assert_proven()


def test_post_batch_posts_what_is_new_beside_what_is_known():
    a, b = account("a"), account("b")
    first = post_batch([posting("1", (a, -1), (b, 1))], now=NOW, actor="test")

    both = post_batch([posting("2", (a, -2), (b, 2)), posting("1", (a, -1), (b, 1))], now=NOW, actor="test")

    assert both["1"] == first["1"]
    assert both["2"] == queries.transaction_id("2")
    assert money(b) == (3, 0)
    assert_proven()


def test_post_batch_with_one_bad_posting_posts_none():
    a, b = account("a", funds=10), account("b")
    take("req_1", a, 10)

    with pytest.raises(IntegrityError), transaction.atomic():
        post_batch(
            [posting("1", (a, -1), (b, 1)), posting("2", (a, -1), (b, 2))],
            [Capture("req_1", 1)],
            now=NOW,
            actor="test",
        )

    assert (money(a), money(b)) == ((10, 10), (0, 0))
    assert queries.transaction_id("1") is None
    assert_proven()


def test_post_batch_rolled_back_by_its_caller_leaves_nothing():
    a, b = account("a"), account("b")

    with pytest.raises(RuntimeError), transaction.atomic():
        post_batch([posting("1", (a, -1), (b, 1))], now=NOW, actor="test")
        raise RuntimeError

    assert money(b) == (0, 0)
    assert LedgerEntry.objects.count() == 0


def test_post_batch_of_captures_alone():
    user = account(funds=100)
    take("req_1", user, 100)

    assert post_batch([], [Capture("req_1", 0)], now=NOW, actor="rating") == {}

    assert money(user) == (100, 0)
    assert sql("SELECT state, captured FROM holds") == [("settled", 0)]


def test_post_batch_of_nothing_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert post_batch([], [], now=NOW, actor="rating") == {}


def test_post_batch_that_names_a_key_twice_is_refused():
    a, b = account("a"), account("b")
    with pytest.raises(ValueError, match="twice"):
        post_batch([posting("1", (a, -1), (b, 1)), posting("1", (a, -1), (b, 1))], now=NOW, actor="test")


def test_post_batch_above_the_hold_still_posts():
    user, provider = account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST)
    take("req_1", user, 100)

    post_batch([posting("usage:req_1", (user, -130), (provider, 130))], [Capture("req_1", 130)], now=NOW, actor="r")

    assert money(user) == (-30, 0)
    assert sql("SELECT amount, captured FROM holds") == [(100, 130)]
    assert_proven()


def test_post_batch_without_a_hold_still_posts():
    user, provider = account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST)

    post_batch([posting("usage:req_1", (user, -30), (provider, 30))], [Capture("req_1", 30)], now=NOW, actor="r")

    assert money(user) == (70, 0)
    assert capture("req_1", 30) == "missing"


def test_memo_with_any_text_is_kept():
    a, b = account("a"), account("b")
    memo = {"note": "20 % off: {\"a\"}, '充值' \\ \n", "list": [1, None, {"x": "}{,"}]}

    pk = post(kind="t", legs=[Leg(a, -5), Leg(b, 5)], idempotency_key='k,{"\\}', now=NOW, actor="o'neil", memo=memo)

    header = LedgerTransaction.objects.get(pk=pk)
    assert (header.memo, header.idempotency_key, header.actor) == (memo, 'k,{"\\}', "o'neil")
    assert_proven()


@pytest.mark.django_db(transaction=True)
def test_post_of_one_key_by_many_at_once_is_one_transaction():
    a, b = account("a"), account("b")

    ids = at_once(
        [lambda: post(kind="t", legs=[Leg(a, -5), Leg(b, 5)], idempotency_key="k", now=NOW, actor="test")] * 12
    )

    assert set(ids) == {queries.transaction_id("k")}
    assert (money(a), money(b)) == ((-5, 0), (5, 0))
    assert_proven()


@pytest.mark.django_db(transaction=True)
def test_post_of_one_key_with_other_content_at_once_is_one_transaction():
    a, b = account("a"), account("b")

    def attempt(amount: int) -> int:
        return post(kind="t", legs=[Leg(a, -amount), Leg(b, amount)], idempotency_key="k", now=NOW, actor="test")

    results = at_once([lambda amount=amount: attempt(amount) for amount in range(1, 7)])

    winners = [result for result in results if isinstance(result, int)]
    assert len(winners) == 1
    assert all(isinstance(result, Conflict) for result in results if result not in winners)
    assert_proven()
