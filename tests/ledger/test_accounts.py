from datetime import timedelta

import pytest
from django.db import IntegrityError

from apps.core.errors import BadRequest, NotFound
from apps.developers.models import AuditEvent
from apps.ledger import queries
from apps.ledger.models import AccountKind, LedgerAccount, Wallet
from apps.ledger.services.accounts import freeze_wallet, open_account, open_accounts, set_overdraft, unfreeze_wallet
from apps.ledger.services.transfers import grant
from tests.ledger.factories import NOBODY, NOW, account, at_once, take

pytestmark = pytest.mark.django_db


def test_open_account_creates_an_empty_wallet():
    account_id = open_account(kind=AccountKind.END_USER, owner_id="usr_1", now=NOW)

    assert queries.balance(account_id) == queries.Balance(posted=0, held=0, overdraft=0, frozen=False)
    assert LedgerAccount.objects.get(pk=account_id).created_at == NOW


def test_open_account_twice_is_the_same_account():
    first = open_account(kind=AccountKind.END_USER, owner_id="usr_1", now=NOW)
    again = open_account(kind=AccountKind.END_USER, owner_id="usr_1", now=NOW + timedelta(days=1))

    assert again == first
    assert Wallet.objects.count() == 1


def test_open_account_of_another_kind_is_another_account():
    assert account("dev_1", kind=AccountKind.DEVELOPER) != account("dev_1", kind=AccountKind.DEVELOPER_CREDIT)


def test_open_accounts_opens_what_is_missing():
    known = account("usr_1")

    found = open_accounts([("end_user", "usr_1"), ("end_user", "usr_2"), ("platform", "operator")], now=NOW)

    assert found == {
        ("end_user", "usr_1"): known,
        ("end_user", "usr_2"): queries.account_id("end_user", "usr_2"),
        ("platform", "operator"): queries.account_id("platform", "operator"),
    }


def test_open_account_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="not a valid AccountKind"):
        open_account(kind="piggy_bank", owner_id="usr_1", now=NOW)


def test_open_account_without_an_owner_is_refused():
    with pytest.raises(IntegrityError, match="ledger_accounts_owner"):
        open_account(kind=AccountKind.END_USER, owner_id="", now=NOW)


@pytest.mark.django_db(transaction=True)
def test_open_account_by_many_at_once_is_one_account():
    ids = at_once([lambda: open_account(kind=AccountKind.END_USER, owner_id="usr_1", now=NOW)] * 6)

    assert len(set(ids)) == 1
    assert Wallet.objects.count() == 1


def test_account_id_of_a_stranger_is_none():
    assert queries.account_id("end_user", "usr_9") is None


def test_balance_of_an_unknown_account_is_not_found():
    with pytest.raises(NotFound):
        queries.balance(NOBODY)


def test_balances_leaves_unknown_accounts_out():
    known = account(funds=5)

    assert queries.balances([known, NOBODY]) == {known: queries.Balance(posted=5, held=0, overdraft=0, frozen=False)}


def test_freeze_wallet_refuses_holds_until_unfrozen():
    account_id = account(funds=100)

    assert freeze_wallet(account_id, now=NOW, actor="user:1", reason="chargeback") is True
    assert queries.balance(account_id).frozen
    assert take("req_1", account_id, 10) == (0, 100, "frozen")

    assert unfreeze_wallet(account_id, now=NOW, actor="user:1") is True
    assert take("req_1", account_id, 10) == (10, 100, "granted")


def test_freeze_wallet_twice_is_audited_once():
    account_id = account()

    assert freeze_wallet(account_id, now=NOW, actor="user:1", reason="stolen") is True
    assert freeze_wallet(account_id, now=NOW, actor="user:1", reason="stolen") is False

    events = AuditEvent.objects.values_list("action", "subject_type", "subject_id", "actor", "detail")
    assert list(events) == [("wallet.freeze", "wallet", str(account_id), "user:1", {"reason": "stolen"})]


def test_unfreeze_wallet_that_is_not_frozen_changes_nothing():
    assert unfreeze_wallet(account(), now=NOW, actor="user:1") is False
    assert AuditEvent.objects.count() == 0


def test_freeze_wallet_of_an_unknown_account_is_not_found():
    with pytest.raises(NotFound):
        freeze_wallet(NOBODY, now=NOW, actor="user:1")


def test_frozen_wallet_still_takes_credits():
    account_id = account(funds=100)
    freeze_wallet(account_id, now=NOW, actor="user:1")

    grant(account_id, 50, idempotency_key="more", now=NOW, actor="user:1")

    assert queries.balance(account_id).posted == 150


def test_set_overdraft_lets_holds_go_below_zero():
    account_id = account(funds=100)
    set_overdraft(account_id, 50, now=NOW, actor="user:1")

    assert queries.balance(account_id).available == 150
    assert take("req_1", account_id, 150) == (150, 150, "granted")
    assert AuditEvent.objects.get().detail == {"from": 0, "to": 50}


@pytest.mark.parametrize("overdraft", [-1, 10**17 + 1])
def test_set_overdraft_out_of_range_is_refused(overdraft):
    with pytest.raises(BadRequest):
        set_overdraft(account(), overdraft, now=NOW, actor="user:1")


def test_set_overdraft_to_what_it_is_is_not_audited():
    set_overdraft(account(), 0, now=NOW, actor="user:1")

    assert AuditEvent.objects.count() == 0


@pytest.mark.parametrize("entries", [0, 1, 3])
def test_entries_of_an_account_are_paged_newest_first(entries, django_assert_num_queries):
    account_id = account()
    for number in range(entries):
        grant(account_id, number + 1, idempotency_key=f"g{number}", now=NOW, actor="test", memo={"n": number})

    with django_assert_num_queries(1):
        page = queries.entries_of(account_id, limit=2)

    assert [entry.amount for entry in page.entries] == list(range(entries, 0, -1))[:2]
    if entries <= 2:
        assert page.next_before is None
    else:
        rest = queries.entries_of(account_id, limit=2, before=page.next_before)
        assert [(entry.amount, entry.kind, entry.idempotency_key, entry.memo) for entry in rest.entries] == [
            (1, "grant", "g0", {"n": 0})
        ]
        assert rest.next_before is None
