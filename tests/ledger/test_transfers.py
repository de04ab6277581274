import pytest

from apps.core.errors import BadRequest, Conflict, Forbidden, InsufficientFunds, NotFound
from apps.ledger import queries
from apps.ledger.models import AccountKind, LedgerTransaction
from apps.ledger.services.accounts import freeze_wallet, set_overdraft
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import adjust, grant, reverse, top_up, transfer
from tests.ledger.factories import NOBODY, NOW, account, assert_proven, at_once, money, take

pytestmark = pytest.mark.django_db

WHO = {"now": NOW, "actor": "test"}


def move(from_id: int, to_id: int, amount: int, key: str = "k", **more) -> int:
    return transfer(from_account_id=from_id, to_account_id=to_id, amount=amount, idempotency_key=key, **WHO, **more)


def funding(owner_id: str) -> tuple[int, int]:
    pk = queries.account_id(AccountKind.FUNDING, owner_id)
    assert pk is not None
    return money(pk)


def test_top_up_credits_the_account():
    user = account()

    pk = top_up(user, 500, source="stripe", idempotency_key="stripe:evt_1", memo={"charge": "ch_1"}, **WHO)

    assert (money(user), funding("stripe")) == ((500, 0), (-500, 0))
    assert LedgerTransaction.objects.get(pk=pk).kind == "top_up"
    assert_proven()


def test_top_up_twice_credits_once():
    user = account()

    first = top_up(user, 500, source="stripe", idempotency_key="stripe:evt_1", **WHO)

    assert top_up(user, 500, source="stripe", idempotency_key="stripe:evt_1", **WHO) == first
    assert money(user) == (500, 0)


@pytest.mark.django_db(transaction=True)
def test_top_up_delivered_many_times_at_once_credits_once():
    user = account()

    ids = at_once([lambda: top_up(user, 500, source="stripe", idempotency_key="stripe:evt_1", **WHO)] * 8)

    assert len(set(ids)) == 1
    assert money(user) == (500, 0)
    assert_proven()


def test_grant_gives_prepaid_value():
    user = account()

    grant(user, 500, idempotency_key="welcome:usr_1", **WHO)

    assert (money(user), funding("grants")) == ((500, 0), (-500, 0))
    assert_proven()


def test_grant_of_other_amount_under_a_used_key_is_a_conflict():
    user = account()
    grant(user, 500, idempotency_key="welcome:usr_1", **WHO)

    with pytest.raises(Conflict):
        grant(user, 501, idempotency_key="welcome:usr_1", **WHO)
    assert money(user) == (500, 0)


@pytest.mark.parametrize("amount", [0, -1, 10**17 + 1])
def test_grant_out_of_range_is_refused(amount):
    with pytest.raises(BadRequest):
        grant(account(), amount, idempotency_key="k", **WHO)


def test_grant_to_an_unknown_account_is_not_found():
    with pytest.raises(NotFound):
        grant(NOBODY, 1, idempotency_key="k", **WHO)
    assert queries.account_id(AccountKind.FUNDING, "grants") is None


@pytest.mark.parametrize(("amount", "posted"), [(25, 125), (-25, 75), (-150, -50)])
def test_adjust_corrects_in_both_directions(amount, posted):
    user = account(funds=100)

    pk = adjust(user, amount, reason="chargeback dp_1", idempotency_key="k", memo={"charge": "ch_1"}, **WHO)

    assert (money(user), funding("adjustments")) == ((posted, 0), (-amount, 0))
    assert LedgerTransaction.objects.get(pk=pk).memo == {"charge": "ch_1", "reason": "chargeback dp_1"}
    assert_proven()


@pytest.mark.parametrize(("amount", "reason"), [(0, "why"), (-(10**17) - 1, "why"), (5, " ")])
def test_adjust_without_amount_or_reason_is_refused(amount, reason):
    with pytest.raises(BadRequest):
        adjust(account(), amount, reason=reason, idempotency_key="k", **WHO)


def test_transfer_moves_money():
    a, b = account("a", funds=100), account("b")

    move(a, b, 100)

    assert (money(a), money(b)) == ((0, 0), (100, 0))
    assert_proven()


def test_transfer_replayed_after_the_money_is_gone_is_the_same_transfer():
    a, b = account("a", funds=100), account("b")
    first = move(a, b, 100)

    assert move(a, b, 100) == first
    assert money(b) == (100, 0)


def test_transfer_of_other_content_under_a_used_key_is_a_conflict():
    a, b = account("a", funds=100), account("b")
    move(a, b, 40)

    with pytest.raises(Conflict):
        move(a, b, 41)


def test_transfer_of_more_than_available_is_refused():
    a, b = account("a", funds=100), account("b")
    take("req_1", a, 30)

    with pytest.raises(InsufficientFunds, match="available"):
        move(a, b, 71)
    move(a, b, 70)
    assert money(a) == (30, 30)


def test_transfer_may_use_the_overdraft():
    a, b = account("a", funds=100), account("b")
    set_overdraft(a, 20, **WHO)

    move(a, b, 120)

    assert money(a) == (-20, 0)


def test_transfer_that_does_not_require_funds_goes_below_zero():
    a, b = account("a"), account("b")

    move(a, b, 50, require_available=False)

    assert money(a) == (-50, 0)
    assert_proven()


def test_transfer_from_a_frozen_wallet_is_refused():
    a, b = account("a", funds=100), account("b")
    freeze_wallet(a, **WHO)

    with pytest.raises(Forbidden) as error:
        move(a, b, 1)
    assert error.value.code == "wallet_frozen"


def test_transfer_to_a_frozen_wallet_is_posted():
    a, b = account("a", funds=100), account("b")
    freeze_wallet(b, **WHO)

    move(a, b, 1)

    assert money(b) == (1, 0)


@pytest.mark.parametrize("amount", [0, -5])
def test_transfer_of_nothing_is_refused(amount):
    with pytest.raises(BadRequest):
        move(account("a"), account("b"), amount)


def test_transfer_to_oneself_is_refused():
    with pytest.raises(BadRequest):
        move(account("a"), account("a"), 1)


def test_transfer_with_an_unknown_account_is_not_found():
    with pytest.raises(NotFound):
        move(account("a", funds=5), NOBODY, 1)


@pytest.mark.django_db(transaction=True)
def test_transfers_at_once_never_move_more_than_there_is():
    a, b = account("a", funds=100), account("b")

    results = at_once([lambda number=number: move(a, b, 30, f"k{number}") for number in range(12)])

    assert sum(isinstance(result, int) for result in results) == 3
    assert sum(isinstance(result, InsufficientFunds) for result in results) == 9
    assert (money(a), money(b)) == ((10, 0), (90, 0))
    assert_proven()


@pytest.mark.django_db(transaction=True)
def test_transfers_in_both_directions_at_once_do_not_deadlock():
    a, b = account("a", funds=1000), account("b", funds=1000)

    results = at_once(
        [
            lambda number=number: move(*((a, b) if number % 2 else (b, a)), 1, f"k{number}")  # type: ignore[arg-type]
            for number in range(60)
        ]
    )

    assert all(isinstance(result, int) for result in results)
    assert (money(a), money(b)) == ((1000, 0), (1000, 0))


def spend(user: int, provider: int) -> int:
    return post(
        kind="usage",
        legs=[Leg(user, -40), Leg(provider, 40)],
        idempotency_key="usage:req_1",
        memo={"request_id": "req_1"},
        **WHO,
    )


def test_reverse_mirrors_the_legs():
    user, provider = account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST)
    original = spend(user, provider)

    reversal = reverse(original, cause="provider_error", **WHO)

    assert (money(user), money(provider)) == ((100, 0), (0, 0))
    header = LedgerTransaction.objects.get(pk=reversal)
    assert (header.kind, header.reverses_id, header.memo) == (
        "reversal",
        original,
        {"cause": "provider_error", "request_id": "req_1"},
    )
    assert_proven()


def test_reverse_again_for_the_same_cause_is_the_same_reversal():
    user, provider = account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST)
    original = spend(user, provider)

    assert reverse(original, cause="refund", **WHO) == reverse(original, cause="refund", **WHO)
    assert money(user) == (100, 0)


def test_reverse_for_another_cause_is_a_conflict():
    original = spend(account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST))
    reverse(original, cause="refund", **WHO)

    with pytest.raises(Conflict) as error:
        reverse(original, cause="dispute", **WHO)
    assert error.value.code == "already_reversed"
    assert_proven()


def test_reverse_of_a_reversal_is_a_conflict():
    original = spend(account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST))

    with pytest.raises(Conflict) as error:
        reverse(reverse(original, cause="refund", **WHO), cause="oops", **WHO)
    assert error.value.code == "not_reversible"


def test_reverse_of_an_unknown_transaction_is_not_found():
    with pytest.raises(NotFound):
        reverse(NOBODY, cause="refund", **WHO)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("causes", [["refund"] * 6, ["refund", "dispute"] * 3])
def test_reverse_by_many_at_once_happens_once(causes):
    user, provider = account(funds=100), account("openai", kind=AccountKind.PROVIDER_COST)
    original = spend(user, provider)

    results = at_once([lambda cause=cause: reverse(original, cause=cause, **WHO) for cause in causes])

    assert len({result for result in results if isinstance(result, int)}) == 1
    assert all(isinstance(result, int | Conflict) for result in results)
    assert money(user) == (100, 0)
    assert_proven()
