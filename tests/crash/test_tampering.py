"""Rows altered by force, past the triggers: `manage.py verify_ledger` exits non-zero and names each."""

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from apps.usage.models import UsageEvent
from tests.live import World, rate_all
from tests.provider_double import ProviderDouble

TABLES = (
    *("wallets", "holds", "ledger_entries", "ledger_transactions", "usage_events", "usage_charges"),
    *("price_versions", "price_tiers", "pricing_terms"),
)


def sql(query: str, *parameters: object) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall() if cursor.description else []


@contextmanager
def force() -> Iterator[None]:
    """Switch the triggers off, as somebody with the keys to the database could; foreign keys too."""
    for table in TABLES:
        sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
    yield
    for table in TABLES:
        sql(f"ALTER TABLE {table} ENABLE TRIGGER ALL")


def verify_ledger() -> list[str]:
    """Return the rows that the command names; [] where it is content."""
    output = StringIO()
    try:
        call_command("verify_ledger", stdout=output)
    except CommandError as error:
        named = output.getvalue().splitlines()
        assert str(error) == f"{len(named)} rows differ"
        return named
    assert "no row differs" in output.getvalue()
    return []


def named(table: str, row_id: object) -> str:
    """Return what is said of a row; fail where it is not named."""
    found = [line for line in verify_ledger() if line.startswith(f"{table} {row_id}:")]
    assert found, f"{table} {row_id} is not among {verify_ledger()}"
    return "\n".join(found)


@pytest.fixture
def event(world: World, double: ProviderDouble) -> UsageEvent:
    """Return the event of a rated call. Beside it there are another, a free one, and one that waits for rating."""
    event = world.event(world.chat("Say hello"))
    world.chat("Say something else")
    world.chat("[[empty]]")
    rate_all()
    world.chat("[[prompt_tokens=11]]")
    assert verify_ledger() == []
    return event


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("usage_charges", "cost_nano = cost_nano + 1, platform_nano = platform_nano - 1"),
        ("usage_charges", "developer_nano = developer_nano + 1, platform_nano = platform_nano - 1"),
        ("usage_charges", "price_nano = price_nano + 1, platform_nano = platform_nano + 1"),
        ("usage_charges", "provider_bill_nano = 1"),
        ("usage_charges", "transaction_id = transaction_id + 1000"),
        ("usage_charges", "transaction_id = NULL"),
        ("usage_events", "output_tokens = output_tokens + 1"),
        ("usage_events", "input_tokens = input_tokens - 1, cache_read_tokens = cache_read_tokens + 1"),
        ("usage_events", "price_nano = price_nano - 1"),
        ("usage_events", "charged = false, price_nano = 0"),
        ("usage_events", "account_id = account_id + 1"),
        ("usage_events", "app_id = 'app_other'"),
        ("usage_events", "end_user_id = NULL"),
        ("usage_events", "developer_id = 'dev_other'"),
        ("usage_events", "effective_at = effective_at - interval '1 month'"),
        ("usage_events", "rated_at = NULL"),
        ("usage_events", "price_version_id = 'pv_none'"),
        ("usage_events", "terms_id = 0"),
        ("usage_events", "route_mode = 'sideways'"),
        ("holds", "captured = captured - 1"),
        ("holds", "amount = amount + 1"),
        ("holds", "state = 'voided', captured = 0"),
        ("holds", "state = 'expired', captured = 0"),
        ("holds", "account_id = account_id + 1"),
    ],
)
def test_altered_row_of_a_call_is_named(event: UsageEvent, table: str, change: str) -> None:
    where, row = ("event_id", event.pk) if table == "usage_charges" else ("request_id", event.request_id)
    with force():
        sql(f"UPDATE {table} SET {change} WHERE {where} = %s", row)  # noqa: S608  (from the list above)
    if table == "holds" and "account_id" in change:
        table = "usage_events"  # which of the two was altered, nobody can tell
    assert named(table, event.request_id)


@pytest.mark.parametrize("change", ["posted = posted + 1", "held = held + 1"])
def test_altered_wallet_is_named(world: World, event: UsageEvent, change: str) -> None:
    with force():
        sql(f"UPDATE wallets SET {change} WHERE account_id = %s", world.account_id)  # noqa: S608
    assert change.split()[0] in named("wallets", world.account_id)


def test_altered_entry_is_named(event: UsageEvent) -> None:
    [(entry,)] = sql(
        "SELECT id FROM ledger_entries WHERE transaction_id = %s AND account_id = %s",
        *(event.charge.transaction_id, event.account_id),
    )
    with force():
        sql("UPDATE ledger_entries SET amount = amount + 5 WHERE id = %s", entry)
    assert "both off by 5" in named("ledger_entries", entry)
    assert "sum to 5" in named("ledger_transactions", event.charge.transaction_id)
    assert named("wallets", event.account_id)


def test_deleted_entry_is_named_by_its_transaction(event: UsageEvent) -> None:
    with force():
        sql("DELETE FROM ledger_entries WHERE transaction_id = %s AND amount < 0", event.charge.transaction_id)
    assert "is not what was posted" in named("ledger_transactions", event.charge.transaction_id)
    assert named("wallets", event.account_id)


def test_deleted_transaction_is_named_by_its_charge(event: UsageEvent) -> None:
    with force():
        sql("DELETE FROM ledger_entries WHERE transaction_id = %s", event.charge.transaction_id)
        sql("DELETE FROM ledger_transactions WHERE id = %s", event.charge.transaction_id)
    assert "the ledger posted none" in named("usage_charges", event.request_id)


def test_deleted_charge_is_named_by_its_event(event: UsageEvent) -> None:
    with force():
        [(transaction,)] = sql("DELETE FROM usage_charges WHERE event_id = %s RETURNING transaction_id", event.pk)
    assert "has no charge" in named("usage_events", event.request_id)
    assert "has no charge" in named("ledger_transactions", transaction)


def test_deleted_event_is_named_by_what_it_left(event: UsageEvent) -> None:
    with force():
        sql("DELETE FROM usage_events WHERE id = %s", event.pk)
    assert "has no usage event" in named("usage_charges", event.pk)
    assert "there is no usage event" in named("holds", event.request_id)


def test_open_holds_of_a_wallet_that_is_off_are_named(event: UsageEvent) -> None:
    waiting = UsageEvent.objects.get(rated_at=None).request_id
    with force():
        sql("UPDATE holds SET amount = amount - 1 WHERE request_id = %s", waiting)
    assert "off by -1" in named("holds", waiting)
    assert "held is" in named("wallets", event.account_id)


def test_event_that_waits_for_rating_is_named(event: UsageEvent) -> None:
    waiting = UsageEvent.objects.get(rated_at=None)
    with force():
        sql("UPDATE usage_events SET price_nano = price_nano + 1 WHERE id = %s", waiting.pk)
    assert f"(derived {waiting.price_nano}/{waiting.cost_nano}/0)" in named("usage_events", waiting.request_id)
    rate_all()
    assert "was set aside by rating" in named("usage_events", waiting.request_id)


def test_altered_price_tier_is_named_with_every_charge_that_it_made(event: UsageEvent) -> None:
    with force():
        sql("UPDATE price_tiers SET output = output + 1000000 WHERE version_id = %s", event.price_version_id)
    said = named("price_tiers", f"{event.price_version_id} from 0 tokens")
    assert "3 of the 4 events rated by it do not follow from it" in said  # the empty answer had no output
    assert "cost " in named("usage_charges", event.request_id)


def test_deleted_price_version_is_named_by_its_events(event: UsageEvent) -> None:
    with force():
        sql("DELETE FROM price_tiers WHERE version_id = %s", event.price_version_id)
    assert str(event.price_version_id) in named("usage_events", event.request_id)


def test_altered_terms_are_named(event: UsageEvent) -> None:
    with force():
        sql("UPDATE pricing_terms SET markup_bps = markup_bps + 1000 WHERE id = %s", event.terms_id)
    assert "do not follow from it" in named("pricing_terms", event.terms_id)
    assert "price " in named("usage_charges", event.request_id)
