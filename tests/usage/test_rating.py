"""Rating: every event once, in batches, by any number of workers; what cannot be rated is set aside and named."""

import threading
from io import StringIO
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections

from apps.core.clock import now
from apps.features.services.terms import TermsInput
from apps.ledger.models import AccountKind, LedgerTransaction
from apps.ledger.queries import account_id, balance
from apps.usage.models import UsageCharge, UsageEvent
from apps.usage.rate import BYOK, DEVELOPER_KEY, LOCAL, PLATFORM, Tokens
from apps.usage.services.rating import rate_pending
from apps.usage.tasks import rate as rate_task
from tests.live import differences, rate_all
from tests.usage.factories import make_desk, settle

pytestmark = pytest.mark.django_db


def posted(kind: str, owner: str = "operator") -> int:
    found = account_id(kind, owner)
    return balance(found).posted if found is not None else 0


def test_rating_posts_one_balanced_transaction_an_event() -> None:
    desk = make_desk()
    tokens = Tokens(input=1_000, cache_read=200, cache_write=80, output=300, reasoning=100)
    event = desk.served(tokens)
    charge = desk.charge(tokens)
    assert rate_all() == 1
    event.refresh_from_db()
    assert event.rated_at is not None
    stored = event.charge
    assert (stored.price_nano, stored.cost_nano, stored.developer_nano, stored.platform_nano) == (
        charge.price,
        charge.cost,
        charge.developer,
        charge.platform,
    )
    transaction = LedgerTransaction.objects.get(pk=stored.transaction_id)
    assert (transaction.kind, transaction.idempotency_key) == ("usage", f"usage:{event.request_id}")
    assert transaction.effective_at == event.effective_at
    assert desk.world.balance().posted == 10_000_000_000 - charge.price
    assert posted(AccountKind.PROVIDER_COST, "double-0") == charge.cost
    assert posted(AccountKind.DEVELOPER, desk.world.developer_id) == charge.developer
    assert posted(AccountKind.PLATFORM) == charge.platform
    assert differences() == []


def test_rating_again_changes_nothing() -> None:
    desk = make_desk()
    for _ in range(3):
        desk.served()
    assert rate_all() == 3
    before = list(UsageCharge.objects.values()), desk.world.balance(), LedgerTransaction.objects.count()
    assert rate_all() == 0
    assert rate_task() == 0
    assert (list(UsageCharge.objects.values()), desk.world.balance(), LedgerTransaction.objects.count()) == before


def test_event_whose_posting_survived_a_crash_is_not_posted_again() -> None:
    # As if the ledger's half of a batch had come from a backup newer than usage's.
    desk = make_desk()
    event = desk.served()
    rate_all()
    before = desk.world.balance()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM usage_charges")
        cursor.execute("DELETE FROM usage_days")
        cursor.execute("DELETE FROM usage_user_days")
        cursor.execute("UPDATE usage_events SET rated_at = NULL")
        cursor.execute("SET session_replication_role = origin")
    assert differences() != []
    assert rate_all() == 1
    assert desk.world.balance() == before
    assert UsageCharge.objects.get().event_id == event.pk
    assert differences() == []


@pytest.mark.parametrize("mode", [PLATFORM, DEVELOPER_KEY, BYOK, LOCAL])
@pytest.mark.parametrize("pricing", [("markup", "fee_only"), ("fixed", "own_price"), ("markup", "markup_share")])
def test_every_mode_and_pricing_is_posted_and_proven(mode: str, pricing: tuple[str, str]) -> None:
    terms = TermsInput(
        platform_pricing=pricing[0],
        markup_bps=4_000,
        fixed_price=700_000,
        developer_pricing=pricing[1],
        own_price=900_000,
        gateway_fee=1_000,
        byok_fee=300,
        local_fee=0,
        share_bps=4_000,
    )
    desk = make_desk(terms=terms)
    charged = desk.served(mode=mode)
    free = desk.served(mode=mode, charged=False)
    assert rate_all() == 2
    charged.refresh_from_db()
    assert charged.charge.price_nano == desk.charge(Tokens(input=100, output=20), mode=mode).price
    assert free.charge.price_nano == 0
    assert free.charge.loss_nano == (free.cost_nano if mode == PLATFORM else 0)
    assert desk.world.balance().posted == 10_000_000_000 - charged.charge.price_nano
    assert desk.world.balance().held == 0
    assert differences() == []


def test_call_that_moves_no_money_has_a_charge_and_no_transaction() -> None:
    desk = make_desk()
    event = desk.served(Tokens())
    rate_all()
    assert event.charge.transaction_id is None
    assert LedgerTransaction.objects.filter(kind="usage").count() == 0
    assert differences() == []


def test_limit_bounds_a_batch() -> None:
    desk = make_desk()
    for _ in range(5):
        desk.served()
    assert [rate_pending(now=now(), limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert differences() == []


def test_number_of_queries_does_not_grow_with_the_batch(django_assert_max_num_queries: Any) -> None:
    desk = make_desk()
    desk.served()
    rate_all()
    for _ in range(30):
        desk.served()
    with django_assert_max_num_queries(15):
        assert rate_pending(now=now()) == 30


@pytest.mark.django_db(transaction=True)
def test_two_workers_rate_every_event_once() -> None:
    desk = make_desk()
    for number in range(120):
        desk.served(Tokens(input=number, output=number))
    counts: list[int] = []
    barrier = threading.Barrier(3)

    def work() -> None:
        try:
            barrier.wait()
            total = 0
            idle = 0
            while idle < 3:
                taken = rate_pending(now=now(), limit=7)
                total += taken
                idle = 0 if taken else idle + 1
            counts.append(total)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(counts) == 120
    assert UsageCharge.objects.count() == 120
    assert LedgerTransaction.objects.filter(kind="usage").count() == 119  # one call cost nothing
    assert differences() == []


# What cannot be rated.


def verify() -> str:
    out = StringIO()
    with pytest.raises(CommandError, match="differ"):
        call_command("verify_ledger", stdout=out)
    return out.getvalue()


@pytest.mark.parametrize(
    "changed",
    [
        {"price_nano": 1},
        {"cost_nano": 1},
        {"price_version_id": "pv_unknown"},
        {"price_version_id": None},
        {"terms_id": 0},
        {"route_mode": "barter"},
        {"account_id": 0},
    ],
    ids=lambda changed: next(iter(changed)),
)
@pytest.mark.django_db(transaction=True)
def test_event_that_cannot_be_rated_is_set_aside_and_named(changed: dict[str, Any]) -> None:
    desk = make_desk()
    good = [desk.served() for _ in range(3)]
    bad = msgspec.structs.replace(desk.record(), **changed)
    settle(bad)
    good += [desk.served() for _ in range(3)]
    assert rate_all() == 7
    event = UsageEvent.objects.get(request_id=bad.request_id)
    assert event.rated_at is None
    assert event.rating_error
    for each in good:
        each.refresh_from_db()
        assert each.rated_at is not None
    assert desk.world.balance().posted == 10_000_000_000 - sum(each.price_nano for each in good)
    assert rate_all() == 0
    assert [d for d in differences() if bad.request_id in d and "set aside" in d]
    assert bad.request_id in verify()


@pytest.mark.django_db(transaction=True)
def test_verify_ledger_says_what_was_proven() -> None:
    make_desk().served()
    rate_all()
    out = StringIO()
    call_command("verify_ledger", stdout=out)
    assert "no row differs" in out.getvalue()


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE usage_charges SET price_nano = price_nano + 1, platform_nano = platform_nano + 1", "usage_charges"),
        ("UPDATE usage_charges SET developer_nano = developer_nano + 1, platform_nano = platform_nano - 1", "usage_"),
        ("UPDATE usage_charges SET transaction_id = NULL", "usage_charges"),
        ("UPDATE usage_events SET price_nano = price_nano + 1", "usage_"),
        ("UPDATE usage_events SET output_tokens = output_tokens + 1", "usage_"),
        ("UPDATE usage_events SET rated_at = NULL", "usage_events"),
        ("DELETE FROM usage_charges", "usage_events"),
        ("UPDATE ledger_entries SET amount = amount + 1 WHERE amount > 0", "ledger_"),
        ("UPDATE holds SET captured = captured + 1", "holds"),
        ("UPDATE price_tiers SET output = output * 2", "usage_"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_row_that_was_altered_by_force_is_named(statement: str, table: str) -> None:
    desk = make_desk()
    desk.served()
    rate_all()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET session_replication_role = origin")
    found = verify()
    assert table in found
