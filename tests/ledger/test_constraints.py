"""The database refuses, whatever code writes to it: every rule is broken here by plain SQL."""

import pytest
from django.db import DataError, IntegrityError, connection, transaction

from apps.ledger.models import LedgerEntry, LedgerTransaction
from apps.ledger.services.accounts import freeze_wallet
from apps.ledger.services.batches import Leg, post
from tests.ledger.factories import LATER, NOBODY, NOW, account, sql, take

pytestmark = pytest.mark.django_db

# Ids of transactions written by hand: beyond what the sequence reaches.
FIRST, SECOND, THIRD = range(10**12, 10**12 + 3)

HEADER = """
INSERT INTO ledger_transactions
    (id, kind, idempotency_key, request_hash, reverses, memo, actor, effective_at, created_at)
VALUES (%s, 'test', %s, '', %s, '{}', 'test', now(), now())
"""
ENTRY = "INSERT INTO ledger_entries (transaction_id, account_id, amount) VALUES (%s, %s, %s)"


def write(amounts: dict[int, int], *, number: int = FIRST, reverses: int | None = None) -> None:
    """Write entries and their header by hand, as `ledger_post_batch` would."""
    for account_id, amount in amounts.items():
        sql(ENTRY, number, account_id, amount)
    sql(HEADER, number, f"test:{number}", reverses)


def refused(error: pytest.ExceptionInfo[IntegrityError]) -> str:
    """Return the SQLSTATE with which the database refused."""
    return str(error.value.__cause__.sqlstate)  # type: ignore[union-attr]


def test_transaction_that_sums_to_zero_is_accepted():
    write({account("a"): -10, account("b"): 4, account("c"): 6})
    sql("SET CONSTRAINTS ALL IMMEDIATE")

    assert LedgerEntry.objects.count() == 3


@pytest.mark.parametrize("credit", [9, 11, -10])
def test_transaction_that_does_not_sum_to_zero_is_refused(credit):
    with pytest.raises(IntegrityError, match="2 entries that sum to") as error:
        write({account("a"): -10, account("b"): credit})
    assert refused(error) == "23514"


def test_transaction_without_entries_is_refused():
    with pytest.raises(IntegrityError, match="0 entries") as error:
        sql(HEADER, FIRST, "test", None)
    assert refused(error) == "23514"


def test_transaction_of_many_is_refused_when_one_is_unbalanced():
    a, b = account("a"), account("b")
    for number, credit in ((FIRST, 10), (SECOND, 11), (THIRD, 10)):
        sql(ENTRY, number, a, -10)
        sql(ENTRY, number, b, credit)
    with pytest.raises(IntegrityError, match=f"transaction {SECOND} has 2 entries that sum to 1"):
        sql(
            "INSERT INTO ledger_transactions"
            " (id, kind, idempotency_key, request_hash, memo, actor, effective_at, created_at)"
            " SELECT n, 'test', 'test:' || n, '', '{}', 'test', now(), now() FROM generate_series(%s, %s) n",
            FIRST,
            THIRD,
        )


def test_entry_of_zero_is_refused():
    with pytest.raises(IntegrityError, match="ledger_entries_amount"):
        sql(ENTRY, FIRST, account(), 0)


def test_entry_out_of_range_is_refused():
    with pytest.raises(IntegrityError, match="ledger_entries_amount"):
        sql(ENTRY, FIRST, account(), 10**17 + 1)


def test_entry_without_a_transaction_is_refused_at_commit():
    account_id = account()
    with pytest.raises(IntegrityError, match="ledger_entries_transaction_id") as error, transaction.atomic():
        sql(ENTRY, FIRST, account_id, 5)
        sql("SET CONSTRAINTS ALL IMMEDIATE")
    assert refused(error) == "23503"


def test_entry_on_an_account_that_does_not_exist_is_refused():
    with pytest.raises(IntegrityError, match="no account 0") as error:
        sql(ENTRY, FIRST, NOBODY, 5)
    assert refused(error) == "23503"


def test_late_entry_is_refused():
    a, b = account("a"), account("b")
    done = post(kind="test", legs=[Leg(a, -5), Leg(b, 5)], idempotency_key="k", now=NOW, actor="test")

    with pytest.raises(IntegrityError, match="late entry refused") as error:
        sql("INSERT INTO ledger_entries (transaction_id, account_id, amount) VALUES (%s, %s, -1), (%s, %s, 1)",
            done, a, done, b)  # fmt: skip
    assert refused(error) == "23514"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET amount = amount + 1",
        "DELETE FROM ledger_entries",
        "TRUNCATE ledger_entries",
        "UPDATE ledger_transactions SET memo = '{}'",
        "DELETE FROM ledger_transactions",
        "TRUNCATE ledger_transactions CASCADE",
        "UPDATE ledger_accounts SET owner_id = 'usr_2'",
        "DELETE FROM ledger_accounts",
        "TRUNCATE ledger_accounts CASCADE",
        "DELETE FROM wallets",
        "TRUNCATE wallets",
        "DELETE FROM holds",
        "TRUNCATE holds",
    ],
)
def test_history_cannot_be_changed(statement):
    account_id = account(funds=100)
    take("req_1", account_id, 10)
    sql("SET CONSTRAINTS ALL IMMEDIATE")  # PostgreSQL truncates no table that has events pending

    with pytest.raises(IntegrityError, match="append-only") as error:
        sql(statement)
    assert refused(error) == "23514"


def test_transaction_under_a_known_key_is_refused():
    a, b = account("a"), account("b")
    write({a: -1, b: 1})
    sql(ENTRY, SECOND, a, -1)
    sql(ENTRY, SECOND, b, 1)
    with pytest.raises(IntegrityError, match="ledger_transactions_idempotency_key"):
        sql(HEADER, SECOND, f"test:{FIRST}", None)


@pytest.mark.parametrize("column", ["kind", "idempotency_key"])
def test_transaction_without_a_name_is_refused(column):
    values = {"kind": "test", "idempotency_key": "key", column: ""}
    with pytest.raises(IntegrityError, match="ledger_transactions_named"):
        LedgerTransaction.objects.create(**values, actor="test", effective_at=NOW, created_at=NOW)


def test_reversal_that_mirrors_its_original_is_accepted():
    a, b = account("a"), account("b")
    write({a: -10, b: 10})
    write({b: -10, a: 10}, number=SECOND, reverses=FIRST)

    assert LedgerTransaction.objects.get(pk=SECOND).reverses_id == FIRST


def test_reversal_that_does_not_mirror_is_refused():
    a, b = account("a"), account("b")
    write({a: -10, b: 10})
    with pytest.raises(IntegrityError, match="does not mirror") as error:
        write({a: 9, b: -9}, number=SECOND, reverses=FIRST)
    assert refused(error) == "23514"


def test_reversal_on_other_accounts_is_refused():
    a, b, c = account("a"), account("b"), account("c")
    write({a: -10, b: 10})
    with pytest.raises(IntegrityError, match="does not mirror"):
        write({a: 10, c: -10}, number=SECOND, reverses=FIRST)


def test_second_reversal_is_refused():
    a, b = account("a"), account("b")
    write({a: -10, b: 10})
    write({a: 10, b: -10}, number=SECOND, reverses=FIRST)
    with pytest.raises(IntegrityError, match="ledger_transactions_reversed_once"):
        write({a: 10, b: -10}, number=THIRD, reverses=FIRST)


def test_reversal_of_a_reversal_is_refused():
    a, b = account("a"), account("b")
    write({a: -10, b: 10})
    write({a: 10, b: -10}, number=SECOND, reverses=FIRST)
    with pytest.raises(IntegrityError, match="reverses the reversal") as error:
        write({a: -10, b: 10}, number=THIRD, reverses=SECOND)
    assert refused(error) == "23514"


def test_wallet_cannot_hold_more_than_it_has():
    account_id = account(funds=100)
    sql("UPDATE wallets SET held = 100 WHERE account_id = %s", account_id)
    with pytest.raises(IntegrityError, match="cannot hold 101") as error:
        sql("UPDATE wallets SET held = 101 WHERE account_id = %s", account_id)
    assert refused(error) == "23514"


def test_wallet_that_is_frozen_cannot_hold_more():
    account_id = account(funds=100)
    freeze_wallet(account_id, now=NOW, actor="test")
    with pytest.raises(IntegrityError, match="is frozen") as error:
        sql("UPDATE wallets SET held = 1 WHERE account_id = %s", account_id)
    assert refused(error) == "23514"


def test_wallet_below_zero_still_posts_and_releases():
    account_id = account(funds=100)
    sql("UPDATE wallets SET held = 100 WHERE account_id = %s", account_id)
    sql("UPDATE wallets SET posted = -50 WHERE account_id = %s", account_id)
    sql("UPDATE wallets SET held = 99 WHERE account_id = %s", account_id)


def test_wallet_cannot_hold_less_than_nothing():
    with pytest.raises(IntegrityError, match="wallets_held"):
        sql("UPDATE wallets SET held = -1 WHERE account_id = %s", account())


def test_wallet_overdraft_cannot_be_negative():
    with pytest.raises(IntegrityError, match="wallets_overdraft"):
        sql("UPDATE wallets SET overdraft = -1 WHERE account_id = %s", account())


def test_wallet_overflow_is_refused():
    with pytest.raises(DataError, match="out of range"):
        sql("UPDATE wallets SET posted = 9223372036854775807 + posted + 1 WHERE account_id = %s", account(funds=1))


@pytest.mark.parametrize("column", ["posted", "held"])
def test_wallet_that_does_not_start_empty_is_refused(column):
    (pk,) = sql(
        "INSERT INTO ledger_accounts (kind, owner_id, created_at) VALUES ('end_user', 'usr_9', now()) RETURNING id"
    )[0]
    with pytest.raises(IntegrityError, match="does not start empty"):
        sql(f"INSERT INTO wallets (account_id, {column}) VALUES (%s, 1)", pk)  # noqa: S608 (our own words)


def test_wallet_cannot_pass_to_another_account():
    account_id = account()
    with pytest.raises(IntegrityError, match="cannot pass"):
        sql("UPDATE wallets SET account_id = account_id + 1000 WHERE account_id = %s", account_id)


def test_account_of_an_unknown_kind_is_refused():
    with pytest.raises(IntegrityError, match="ledger_accounts_kind"):
        sql("INSERT INTO ledger_accounts (kind, owner_id, created_at) VALUES ('purse', 'usr_1', now())")


def test_account_of_the_same_owner_twice_is_refused():
    account("usr_1")
    with pytest.raises(IntegrityError, match="ledger_accounts_one_per_owner"):
        sql("INSERT INTO ledger_accounts (kind, owner_id, created_at) VALUES ('end_user', 'usr_1', now())")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("amount = amount + 1", "only shrinks"),
        ("request_id = 'req_2'", "keeps its request"),
        ("account_id = account_id + 1", "keeps its request and account"),
        ("amount = -1", "holds_amount"),
        ("captured = 1", "holds_captured"),
        ("state = 'settled', captured = -1, resolved_at = now()", "holds_captured"),
        ("state = 'settled'", "holds_resolved"),
        ("resolved_at = now()", "holds_resolved"),
        ("state = 'lost', resolved_at = now()", "holds_state"),
        ("stage = 'lost'", "holds_stage"),
    ],
)
def test_hold_that_breaks_a_rule_is_refused(change, problem):
    take("req_1", account(funds=100), 10)
    with pytest.raises(IntegrityError, match=problem):
        sql(f"UPDATE holds SET {change}")  # noqa: S608 (our own words)


def test_hold_that_is_resolved_stays_so():
    take("req_1", account(funds=100), 10)
    sql("UPDATE holds SET state = 'voided', resolved_at = now()")
    with pytest.raises(IntegrityError, match="is voided already") as error:
        sql("UPDATE holds SET state = 'open', resolved_at = NULL")
    assert refused(error) == "23514"


def test_hold_of_the_same_request_twice_is_refused():
    account_id = account(funds=100)
    take("req_1", account_id, 10)
    with pytest.raises(IntegrityError, match="holds_request_id"):
        sql(
            "INSERT INTO holds (request_id, account_id, amount, expires_at, memo, created_at)"
            " VALUES ('req_1', %s, 1, %s, '{}', now())",
            account_id,
            LATER,
        )


def test_triggers_are_all_enabled():
    with connection.cursor() as cursor:
        cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'O'")
        assert cursor.fetchall() == []
