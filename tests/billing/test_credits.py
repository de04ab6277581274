"""Lots: the order in which they are drawn, expiry, refunds, and all of it at once."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import given as examples
from hypothesis import strategies as st

from apps.billing.models import CreditLot, LotDraw
from apps.billing.queries.credits import credits_of, lots_of
from apps.billing.services.credits import add_lot, draw, expire_lots, give_back, take_back, unused_paid
from apps.billing.services.draws import MOVED, draw_moved
from apps.billing.services.lots import Part, consume, in_order
from apps.billing.services.promos import create_promo_code, redeem_code
from apps.billing.services.verify import differences
from apps.core.errors import BadRequest, Conflict
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.ledger.services.batches import Capture, Leg, Posting, post, post_batch
from apps.ledger.services.transfers import adjust, reverse
from tests.billing.credit_factories import (
    ACTOR,
    NOW,
    account,
    assert_drawn,
    assert_proven,
    given,
    paid,
    remaining,
    spend,
)
from tests.features.factories import make_app, make_user
from tests.ledger.factories import at_once, money, sql, take, void

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def kinds_left(parts: list[Part]) -> list[str]:
    return [part.kind for part in parts]


def test_order_is_allowance_promo_grant_other_paid():
    parts = [Part(str(place), kind, 1, None, NOW) for place, kind in enumerate(("paid", "other", "grant", "promo"))]

    assert kinds_left(in_order([*parts, Part("9", "allowance", 1, NOW, NOW)])) == [
        *("allowance", "promo", "grant", "other", "paid")
    ]


def test_soonest_expiry_is_first_and_what_stays_for_good_last():
    late, soon = Part("a", "promo", 1, NOW + 2 * DAY, NOW - DAY), Part("b", "promo", 1, NOW + DAY, NOW)
    forever = Part("c", "promo", 1, None, NOW - 2 * DAY)

    assert in_order([forever, late, soon]) == [soon, late, forever]


def test_paid_credit_is_drawn_oldest_first_whatever_it_expires():
    old, new = Part("a", "paid", 1, None, NOW - DAY), Part("b", "paid", 1, NOW + DAY, NOW)

    assert in_order([new, old]) == [old, new]


PARTS = st.builds(
    Part,
    lot_id=st.uuids().map(str),
    kind=st.sampled_from(["allowance", "promo", "grant", "other", "paid"]),
    remaining=st.integers(1, 100),
    expires_at=st.one_of(st.none(), st.integers(0, 5).map(lambda days: NOW + days * DAY)),
    created_at=st.integers(0, 5).map(lambda days: NOW - days * DAY),
)


@examples(parts=st.lists(PARTS, max_size=8, unique_by=lambda part: part.lot_id), amount=st.integers(0, 500))
def test_drawing_takes_exactly_the_amount_and_no_lot_before_its_turn(parts: list[Part], amount: int):
    taken = dict(consume(parts, amount))

    assert sum(taken.values()) == min(amount, sum(part.remaining for part in parts))
    ordered = in_order(parts)
    assert list(taken) == [part.lot_id for part in ordered[: len(taken)]]
    for part in ordered[: max(len(taken) - 1, 0)]:
        assert taken[part.lot_id] == part.remaining
    assert all(0 < taken[part.lot_id] <= part.remaining for part in ordered[: len(taken)])
    # Whatever is split: spending twice takes what spending once does.
    half = dict(consume(parts, amount // 2))
    rest = [
        Part(p.lot_id, p.kind, p.remaining - half.get(p.lot_id, 0), p.expires_at, p.created_at)
        for p in parts
        if p.remaining > half.get(p.lot_id, 0)
    ]
    again = dict(consume(rest, amount - amount // 2))
    assert {key: half.get(key, 0) + again.get(key, 0) for key in {*half, *again}} == taken


def test_draw_takes_what_was_spent_in_order():
    user = account()
    paid(user, 100, "top_1")
    given(user, 30, expires_at=NOW + DAY)
    given(user, 20, kind="grant")

    spend(user, 40, "req_1")
    draw(user, now=NOW)

    assert remaining(user) == {"grant": 10, "paid": 100}
    assert_drawn(user)


def test_draw_again_changes_nothing():
    user = account()
    paid(user, 100, "top_1")
    spend(user, 40, "req_1")
    draw(user, now=NOW)
    before = LotDraw.objects.count()

    draw(user, now=NOW)

    assert LotDraw.objects.count() == before == 1
    assert remaining(user) == {"paid": 60}


def test_money_that_came_without_a_lot_is_other():
    user = account(funds=70)

    draw(user, now=NOW)

    assert remaining(user) == {"other": 70}
    assert_drawn(user)


def test_what_was_spent_before_a_lot_came_is_not_taken_from_it():
    user = account(funds=70)
    spend(user, 50, "req_1")

    given(user, 10)
    assert remaining(user) == {"other": 20, "promo": 10}

    spend(user, 5, "req_2")
    paid(user, 100, "top_1")
    assert remaining(user) == {"other": 20, "promo": 5, "paid": 100}
    assert_drawn(user)


def test_what_a_wallet_owes_is_taken_from_the_next_credit():
    user = account()
    adjust(user, -30, reason="a chargeback", idempotency_key="adj", now=NOW, actor=ACTOR)
    draw(user, now=NOW)
    assert remaining(user) == {}

    paid(user, 100, "top_1")

    assert remaining(user) == {"paid": 70}
    assert_drawn(user)


def test_a_posting_brings_one_lot_however_often_it_is_told():
    user = account()

    assert paid(user, 100, "top_1") == paid(user, 100, "top_1")
    assert CreditLot.objects.count() == 1
    assert_drawn(user)


def test_a_lot_is_more_than_nothing():
    with pytest.raises(BadRequest) as refused:
        add_lot(account(), kind="paid", amount=0, transaction_id=1, now=NOW)
    assert refused.value.code == "invalid_amount"


def test_lots_and_draws_keep_what_they_say():
    user = account()
    lot = paid(user, 100, "top_1")
    spend(user, 10, "req_1")
    draw(user, now=NOW)
    for change in (
        lambda: CreditLot.objects.filter(pk=lot).update(amount_nano=200),
        lambda: CreditLot.objects.filter(pk=lot).update(remaining_nano=101),
        lambda: CreditLot.objects.filter(pk=lot).update(remaining_nano=0),
        lambda: CreditLot.objects.filter(pk=lot).delete(),
        lambda: LotDraw.objects.update(amount_nano=1),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("UPDATE credit_lots SET remaining_nano = remaining_nano - 1 WHERE kind = 'paid'", "credit_lots"),
        ("UPDATE credit_lots SET amount_nano = amount_nano + 1 WHERE kind = 'paid'", "credit_lots"),
        ("UPDATE credit_lots SET account_id = 0 WHERE kind = 'paid'", "credit_lots"),
        ("UPDATE lot_draws SET amount_nano = amount_nano + 1 WHERE kind = 'spent'", "credit_lots"),
        ("DELETE FROM lot_draws WHERE kind = 'spent'", "credit_lots"),
        ("UPDATE lot_draws SET transaction_id = 1 WHERE kind = 'expired'", "lot_draws"),
        ("UPDATE promo_codes SET redemptions = redemptions + 1", "promo_codes"),
        ("DELETE FROM promo_redemptions", "promo_codes"),
        ("UPDATE promo_redemptions SET lot_id = 'lot_other'", "promo_redemptions"),
        ("UPDATE promo_codes SET amount_nano = 7", "promo_redemptions"),
    ],
)
def test_proof_names_a_row_that_was_altered(change: str, named: str):
    user = account(make_user(make_app()))
    create_promo_code("WELCOME", amount=10, now=NOW, actor=ACTOR)
    redeem_code(user, "WELCOME", now=NOW, actor=ACTOR)
    paid(user, 100, "top_1")
    given(user, 30, expires_at=NOW + DAY)
    spend(user, 15, "req_1")
    expire_lots(now=NOW + DAY)
    spend(user, 15, "req_2")
    draw(user, now=NOW)
    assert_proven()

    sql("SET LOCAL session_replication_role = replica")
    sql(change)

    assert named in {found.table for found in differences()}


# Expiry.


def test_expired_credit_goes_back_to_promotions():
    user = account()
    paid(user, 100, "top_1")
    given(user, 30, expires_at=NOW + DAY)
    spend(user, 10, "req_1")
    assert expire_lots(now=NOW + DAY - timedelta(seconds=1)) == 0

    assert expire_lots(now=NOW + DAY) == 1

    assert remaining(user) == {"paid": 100}
    assert money(user) == (100, 0)
    assert money(account_id(AccountKind.FUNDING, "promotions") or 0)[0] == -10
    assert_drawn(user)
    assert expire_lots(now=NOW + DAY) == 0


def test_expiry_leaves_what_open_holds_need_and_takes_the_rest_later():
    user = account()
    lot = given(user, 100, expires_at=NOW + DAY)
    take("req_1", user, 60)

    assert expire_lots(now=NOW + DAY) == 1
    assert money(user) == (60, 60)
    assert expire_lots(now=NOW + DAY) == 0

    void("req_1")
    assert expire_lots(now=NOW + DAY) == 1
    assert money(user) == (0, 0)
    draws = LotDraw.objects.filter(lot=lot).order_by("id").values_list("kind", "amount_nano")
    assert list(draws) == [("expired", 40), ("expired", 60)]
    assert_drawn(user)


def test_expiry_takes_nothing_that_was_spent_just_before():
    user = account()
    given(user, 100, expires_at=NOW + DAY)
    spend(user, 100, "req_1")

    assert expire_lots(now=NOW + DAY) == 0
    assert money(user) == (0, 0)
    assert_drawn(user)


# Grants.


def test_grant_with_the_same_id_is_given_once():
    user = account()

    assert given(user, 30, lot_id="lot_1", kind="grant") == given(user, 30, lot_id="lot_1", kind="grant") == "lot_1"
    with pytest.raises(Conflict):
        given(user, 31, lot_id="lot_1", kind="grant")
    assert money(user) == (30, 0)
    assert_drawn(user)


def test_grant_needs_a_reason_and_a_time_to_come():
    user = account()
    for code, particulars in (("reason_required", {"reason": " "}), ("invalid_expiry", {"expires_at": NOW})):
        with pytest.raises(BadRequest) as refused:
            given(user, 30, **particulars)
        assert refused.value.code == code
    assert money(user) == (0, 0)


# Refunds and disputes.


def refund(user: int, amount: int, key: str) -> int:
    """Debit a refund of the top-up `top_1` with what is taken from its lot."""
    funding = account_id(AccountKind.FUNDING, "stripe")
    assert funding is not None
    with transaction.atomic():
        legs = (Leg(user, -amount), Leg(funding, amount))
        posted = post(kind="refund", legs=legs, idempotency_key=key, now=NOW, actor=ACTOR)
        take_back(user, reference="top_1", amount=amount, kind="refunded", transaction_id=posted, now=NOW)
    return posted


def test_refund_takes_from_its_own_top_up_and_comes_back_to_it():
    user = account()
    lot = paid(user, 100, "top_1")
    given(user, 50)
    spend(user, 10, "req_1")

    posted = refund(user, 30, "refund:1")
    assert remaining(user) == {"promo": 40, "paid": 70}
    assert refund(user, 30, "refund:1") == posted
    assert remaining(user) == {"promo": 40, "paid": 70}

    with transaction.atomic():
        back = reverse(posted, cause="refund_failed", now=NOW, actor=ACTOR)
        give_back(user, taken_by=posted, transaction_id=back, amount=30, now=NOW)
        give_back(user, taken_by=posted, transaction_id=back, amount=30, now=NOW)
    assert remaining(user) == {"promo": 40, "paid": 100}
    assert CreditLot.objects.get(pk=lot).remaining_nano == 100
    assert_drawn(user)


def test_dispute_of_spent_money_takes_the_rest_from_elsewhere():
    user = account()
    paid(user, 100, "top_1")
    spend(user, 80, "req_1")
    given(user, 30)

    posted = refund(user, 100, "dispute:1")
    assert money(user) == (-50, 0)
    assert remaining(user) == {}

    with transaction.atomic():
        back = reverse(posted, cause="won", now=NOW, actor=ACTOR)
        give_back(user, taken_by=posted, transaction_id=back, amount=100, now=NOW)
    assert remaining(user) == {"paid": 20, "other": 30}
    assert_drawn(user)


def test_dispute_of_what_is_all_spent_leaves_no_trace_in_lots_however_often_it_is_told():
    user = account()
    paid(user, 100, "top_1")
    spend(user, 100, "req_1")
    posted = refund(user, 100, "dispute:1")
    assert refund(user, 100, "dispute:1") == posted

    for _ in range(2):
        with transaction.atomic():
            back = reverse(posted, cause="won", now=NOW, actor=ACTOR)
            give_back(user, taken_by=posted, transaction_id=back, amount=100, now=NOW)

    assert [lot.kind for lot in lots_of(user, limit=9)] == ["paid"]
    assert list(LotDraw.objects.values_list("kind", "amount_nano")) == [("spent", 100)]
    assert_drawn(user)


def test_refund_beside_money_that_has_no_lot_yet():
    user = account()
    paid(user, 100, "top_1")
    adjust(user, 40, reason="sorry", idempotency_key="adj", now=NOW, actor=ACTOR)

    refund(user, 30, "refund:1")

    assert remaining(user) == {"paid": 70, "other": 40}
    assert_drawn(user)


def test_unused_part_of_a_top_up_is_without_what_is_spent_or_held():
    user = account()
    paid(user, 100, "top_1")
    paid(user, 50, "top_2", now=NOW + DAY)
    given(user, 10)
    spend(user, 30, "req_1")
    take("req_2", user, 90)

    assert (unused_paid(user, "top_1"), unused_paid(user, "top_2")) == (0, 40)
    assert unused_paid(user, "top_3") == 0


# What is shown.


def test_what_is_shown_is_what_there_is_before_it_is_drawn():
    user = account(funds=5)
    paid(user, 100, "top_1")
    given(user, 30, expires_at=NOW + DAY)
    spend(user, 20, "req_1")

    shown = [(credit.kind, credit.remaining, credit.expires_at) for credit in credits_of(user)]
    assert shown == [("promo", 10, NOW + DAY), ("other", 5, None), ("paid", 100, None)]
    assert [(lot.kind, lot.remaining) for lot in lots_of(user, limit=9)] == [("promo", 10), ("paid", 100), ("other", 5)]
    assert LotDraw.objects.count() == 0


def test_moved_wallets_are_found_and_drawn():
    users = [account(f"usr_{number}") for number in range(4)]
    for user in users:
        paid(user, 100, f"top_{user}")
    for user in users[:2]:
        spend(user, 10, f"req_{user}")
    adjust(users[2], 7, reason="sorry", idempotency_key="adj", now=NOW, actor=ACTOR)

    assert draw_moved(now=NOW) == 3
    assert draw_moved(now=NOW) == 0
    for user in users:
        assert_drawn(user)


# At once.


def failures(results: list[object]) -> list[object]:
    return [result for result in results if isinstance(result, Exception)]


@pytest.mark.django_db(transaction=True)
def test_drawing_at_once_takes_once():
    user = account()
    paid(user, 1000, "top_1")
    given(user, 100)
    spend(user, 400, "req_1")

    results = at_once([lambda: draw(user, now=NOW)] * 8)

    assert failures(results) == []
    assert remaining(user) == {"paid": 700}
    assert sorted(LotDraw.objects.values_list("amount_nano", flat=True)) == [100, 300]
    assert_drawn(user)


@pytest.mark.django_db(transaction=True)
def test_drawing_expiry_calls_and_top_ups_at_once_stay_exact():
    user = account()
    given(user, 500, expires_at=NOW + DAY)
    paid(user, 500, "top_0")

    def act(number: int) -> object:
        what = number % 4
        if what == 0:
            return draw(user, now=NOW)
        if what == 1:
            return expire_lots(now=NOW + DAY)
        if what == 2:
            return paid(user, 10, f"top_{number}")
        request = f"req_{number}"
        if take(request, user, 20)[2] == "granted":
            provider = account("openai", kind=AccountKind.PROVIDER_COST)
            legs = (Leg(user, -20), Leg(provider, 20))
            posting = Posting(f"usage:{request}", "usage", legs, NOW)
            post_batch([posting], [Capture(request, 20)], now=NOW, actor=ACTOR)
        return None

    results = at_once([lambda number=number: act(number) for number in range(60)])

    assert failures(results) == []
    draw(user, now=NOW)
    assert_drawn(user)
    assert balance(user).held == 0


@pytest.mark.django_db(transaction=True)
def test_expiry_at_once_with_holds_never_takes_what_they_keep():
    user = account()
    given(user, 1000, expires_at=NOW + DAY)

    results = at_once(
        [
            call
            for number in range(12)
            for call in (
                lambda number=number: take(f"req_{number}", user, 50),
                lambda: expire_lots(now=NOW + DAY),
            )
        ]
    )

    assert failures(results) == []
    funds = balance(user)
    assert funds.posted >= funds.held
    assert_drawn(user)


def test_finding_moved_wallets_uses_the_index_of_open_lots():
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {MOVED}", [10])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "credit_lots_open" in plan
    assert_proven()
