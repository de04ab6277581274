"""Every kind of difference is made by force, past the triggers, and must be named. Nothing else may be."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from apps.ledger.models import AccountKind, LedgerEntry, LedgerTransaction
from apps.ledger.services.batches import Leg, post
from apps.ledger.services.transfers import reverse
from apps.ledger.services.verify import Difference, differences
from apps.ledger.tasks import reconcile
from tests.ledger.factories import NOBODY, NOW, account, meter, sql, take

pytestmark = pytest.mark.django_db

TABLES = ("ledger_accounts", "wallets", "ledger_transactions", "ledger_entries", "holds")
NOT_POSTED = "is not what was posted: its kind, legs, memo or original changed"


@contextmanager
def force() -> Iterator[None]:
    """Switch the triggers off, as somebody with the keys to the database could; foreign keys too."""
    sql("SET CONSTRAINTS ALL IMMEDIATE")
    for table in TABLES:
        sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    yield
    for table in TABLES:
        sql(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def by_force(query: str, *parameters: object) -> None:
    with force():
        sql(query, *parameters)


def found() -> set[tuple[str, str, str]]:
    """Return the differences, and check that none is reported twice."""
    rows = [(one.table, one.row_id, one.message) for one in differences()]
    assert len(set(rows)) == len(rows)
    return set(rows)


@pytest.fixture
def user() -> int:
    return account(funds=1000)


@pytest.fixture
def provider() -> int:
    return account("openai", kind=AccountKind.PROVIDER_COST)


@pytest.fixture
def call(user: int, provider: int) -> int:
    """Return a transaction of a call, beside which others exist."""
    post(kind="usage", legs=[Leg(user, -7), Leg(provider, 7)], idempotency_key="other", now=NOW, actor="test")
    return post(
        kind="usage", legs=[Leg(user, -40), Leg(provider, 40)], idempotency_key="usage:req_1", now=NOW, actor="test"
    )


def entry(transaction_id: int, account_id: int) -> int:
    return LedgerEntry.objects.values_list("pk", flat=True).get(transaction=transaction_id, account=account_id)


def test_ledger_that_is_empty_is_proven():
    assert found() == set()


def test_ledger_that_is_right_is_proven(user, call):
    take("req_2", user, 30)
    take("req_3", user, 30)
    meter("req_3", 4)
    reverse(call, cause="refund", now=NOW, actor="test")

    assert found() == set()


def test_entry_that_was_altered_is_named(user, provider, call):
    altered = entry(call, user)
    by_force("UPDATE ledger_entries SET amount = amount + 5 WHERE id = %s", altered)

    assert found() == {
        ("ledger_entries", str(altered), f"is -35, but transaction {call} and wallet {user} are both off by 5"),
        ("ledger_transactions", str(call), "its entries sum to 5"),
        ("ledger_transactions", str(call), NOT_POSTED),
        ("wallets", str(user), "posted is 953, its entries sum to 958"),
    }


def test_entries_that_were_altered_in_balance_are_named(user, provider, call):
    by_force("UPDATE ledger_entries SET amount = amount / 2 WHERE transaction_id = %s", call)

    assert found() == {
        ("ledger_transactions", str(call), NOT_POSTED),
        ("wallets", str(user), "posted is 953, its entries sum to 973"),
        ("wallets", str(provider), "posted is 47, its entries sum to 27"),
    }


def test_entries_that_were_altered_together_with_the_wallets_are_named(user, provider, call):
    with force():
        sql("UPDATE ledger_entries SET amount = amount / 2 WHERE transaction_id = %s", call)
        sql("UPDATE wallets SET posted = posted + 20 WHERE account_id = %s", user)
        sql("UPDATE wallets SET posted = posted - 20 WHERE account_id = %s", provider)

    assert found() == {("ledger_transactions", str(call), NOT_POSTED)}


def test_entry_that_was_deleted_is_named(user, provider, call):
    by_force("DELETE FROM ledger_entries WHERE id = %s", entry(call, provider))

    assert found() == {
        ("ledger_transactions", str(call), "its entries sum to -40"),
        ("ledger_transactions", str(call), "has 1 entries"),
        ("ledger_transactions", str(call), NOT_POSTED),
        ("wallets", str(provider), "posted is 47, its entries sum to 7"),
    }


def test_transaction_without_entries_is_named(user, provider, call):
    by_force("DELETE FROM ledger_entries WHERE transaction_id = %s", call)

    assert found() == {
        ("ledger_transactions", str(call), "has 0 entries"),
        ("ledger_transactions", str(call), NOT_POSTED),
        ("wallets", str(user), "posted is 953, its entries sum to 993"),
        ("wallets", str(provider), "posted is 47, its entries sum to 7"),
    }


def test_entry_that_was_added_is_named(user, call):
    posted = entry(call, user)
    by_force("INSERT INTO ledger_entries (transaction_id, account_id, amount) VALUES (%s, %s, 9)", call, user)
    added = LedgerEntry.objects.latest("id").pk

    assert found() == {
        ("ledger_entries", str(added), f"is 9, but transaction {call} and wallet {user} are both off by 9"),
        ("ledger_entries", str(posted), f"is -40, but transaction {call} and wallet {user} are both off by 9"),
        ("ledger_transactions", str(call), "its entries sum to 9"),
        ("ledger_transactions", str(call), NOT_POSTED),
        ("wallets", str(user), "posted is 953, its entries sum to 962"),
    }


def test_entry_whose_transaction_is_gone_is_named(user, provider, call):
    by_force("DELETE FROM ledger_transactions WHERE id = %s", call)

    assert found() == {
        ("ledger_entries", str(entry(call, user)), f"belongs to transaction {call}, which does not exist"),
        ("ledger_entries", str(entry(call, provider)), f"belongs to transaction {call}, which does not exist"),
    }


def test_entry_whose_account_is_gone_is_named(user, provider, call):
    moved = entry(call, provider)
    by_force("UPDATE ledger_entries SET account_id = %s WHERE id = %s", NOBODY, moved)

    assert found() == {
        ("ledger_entries", str(moved), f"is on account {NOBODY}, which does not exist"),
        ("ledger_transactions", str(call), NOT_POSTED),
        ("wallets", str(provider), "posted is 47, its entries sum to 7"),
    }


@pytest.mark.parametrize(
    "change", ["kind = 'gift'", 'memo = \'{"request_id": "req_2"}\'', "request_hash = repeat('0', 64)"]
)
def test_header_that_was_altered_is_named(call, change):
    by_force(f"UPDATE ledger_transactions SET {change} WHERE id = %s", call)  # noqa: S608 (our own words)

    assert found() == {("ledger_transactions", str(call), NOT_POSTED)}


def test_reversal_that_does_not_mirror_is_named(user, provider, call):
    reversal = reverse(call, cause="refund", now=NOW, actor="test")
    other = LedgerTransaction.objects.get(idempotency_key="other").pk
    by_force("UPDATE ledger_transactions SET reverses = %s WHERE id = %s", other, reversal)

    assert found() == {
        ("ledger_transactions", str(reversal), f"does not mirror transaction {other}"),
        ("ledger_transactions", str(reversal), NOT_POSTED),
    }


def test_reversal_of_what_is_gone_is_named(call):
    reversal = reverse(call, cause="refund", now=NOW, actor="test")
    by_force("UPDATE ledger_transactions SET reverses = %s WHERE id = %s", NOBODY, reversal)

    assert found() == {
        ("ledger_transactions", str(reversal), f"does not mirror transaction {NOBODY}"),
        ("ledger_transactions", str(reversal), f"reverses transaction {NOBODY}, which does not exist"),
        ("ledger_transactions", str(reversal), NOT_POSTED),
    }


def test_reversal_of_a_reversal_is_named(user, provider, call):
    reversal = reverse(call, cause="refund", now=NOW, actor="test")
    again = post(kind="usage", legs=[Leg(user, -40), Leg(provider, 40)], idempotency_key="again", now=NOW, actor="test")
    by_force("UPDATE ledger_transactions SET reverses = %s WHERE id = %s", reversal, again)

    assert found() == {
        ("ledger_transactions", str(again), f"reverses transaction {reversal}, which is a reversal"),
        ("ledger_transactions", str(again), NOT_POSTED),
    }


def test_wallet_whose_posted_was_altered_is_named(user):
    sql("UPDATE wallets SET posted = posted + 1 WHERE account_id = %s", user)  # no trigger can refuse this

    assert found() == {("wallets", str(user), "posted is 1001, its entries sum to 1000")}


def test_wallet_without_entries_whose_posted_was_altered_is_named(provider):
    sql("UPDATE wallets SET posted = 1 WHERE account_id = %s", provider)

    assert found() == {("wallets", str(provider), "posted is 1, its entries sum to 0")}


@pytest.mark.parametrize(("held", "holds"), [(31, 30), (0, 30)])
def test_wallet_whose_held_was_altered_is_named(user, held, holds):
    take("req_1", user, 30)
    sql("UPDATE wallets SET held = %s WHERE account_id = %s", held, user)

    assert found() == {("wallets", str(user), f"held is {held}, its open holds sum to {holds}")}


def test_hold_that_was_resolved_without_its_wallet_is_named(user):
    take("req_1", user, 30)
    sql("UPDATE holds SET state = 'voided', resolved_at = now()")

    assert found() == {("wallets", str(user), "held is 30, its open holds sum to 0")}


def test_hold_whose_wallet_is_gone_is_named(user):
    take("req_1", user, 0)
    by_force("UPDATE holds SET account_id = %s", NOBODY)

    assert found() == {("holds", "req_1", f"is on account {NOBODY}, which has no wallet")}


def test_account_without_a_wallet_is_named(provider):
    by_force("DELETE FROM wallets WHERE account_id = %s", provider)

    assert found() == {("ledger_accounts", str(provider), "has no wallet")}


def test_wallet_without_an_account_is_named(provider):
    by_force("DELETE FROM ledger_accounts WHERE id = %s", provider)

    assert found() == {("wallets", str(provider), "has no account")}


def test_differences_are_named_in_full(user):
    sql("UPDATE wallets SET posted = 0 WHERE account_id = %s", user)

    assert list(differences()) == [Difference("wallets", str(user), "posted is 0, its entries sum to 1000")]


def test_reconcile_of_a_ledger_that_is_right_logs_no_error(user, caplog):
    with caplog.at_level(logging.INFO):
        assert reconcile() == 0

    assert [(record.levelname, record.message) for record in caplog.records] == [("INFO", "ledger reconciled")]


def test_reconcile_logs_each_row_that_differs(user, caplog):
    sql("UPDATE wallets SET posted = 1 WHERE account_id = %s", user)

    with caplog.at_level(logging.INFO):
        assert reconcile() == 1

    row, total = caplog.records
    assert (row.levelname, row.table, row.row_id, row.difference) == (
        "ERROR",
        "wallets",
        str(user),
        "posted is 1, its entries sum to 1000",
    )
    assert (total.levelname, total.differences) == ("ERROR", 1)
