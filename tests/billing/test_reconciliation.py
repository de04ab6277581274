"""Our books against Stripe's: every line with one posting, what is alone is named, the balance to the cent."""

import csv
import io
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from apps.billing.models.plans import SubscriptionInvoice
from apps.billing.models.reconciliation import BalanceTransaction, ReconciliationItem, ReconciliationRun
from apps.billing.queries.exports import operator_export
from apps.billing.queries.reconciliation import reconciliation_state
from apps.billing.services import balance_transactions
from apps.billing.services.balance_transactions import import_balance_transactions
from apps.billing.services.differences import begin_run, resolve_difference
from apps.billing.services.payout_sending import send_approved
from apps.billing.services.reconciliation import reconcile_daily, reconcile_stripe
from apps.billing.services.refunds import refund_top_up
from apps.billing.services.verify import differences
from apps.billing.stripe_api import StripeRefused, StripeUnknown
from apps.core.clock import now
from apps.core.csv_stream import CsvStream
from apps.core.errors import BadRequest, Conflict
from apps.core.ids import new_id
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import top_up as post_top_up
from tests.billing.conftest import Deliver
from tests.billing.payout_factories import NOW, approved, paid_by_stripe
from tests.billing.test_subscriptions import Shop
from tests.billing.top_up_factories import ACTOR, Payer, assert_proven, charge_of, make_payer, posted_cents
from tests.fakestripe import FakeStripe, payments

CENT = 10_000_000
DAY = date(2026, 5, 1)
TOMORROW = timedelta(days=1)


@pytest.fixture
def payer(transactional_db: None, fakestripe: FakeStripe, settings: Any) -> Payer:
    settings.RECONCILE_GRACE = 0
    return make_payer(fakestripe)


def run(at: datetime | None = None) -> ReconciliationRun:
    """Reconcile, a moment after whatever happened."""
    moment = at or now() + timedelta(seconds=2)
    return ReconciliationRun.objects.get(pk=reconcile_stripe(DAY, DAY, now=moment, actor=ACTOR))


def found() -> list[tuple[str, int | None, int | None]]:
    """Return the open differences: kind, theirs and ours in cents."""
    rows = ReconciliationItem.objects.filter(resolved_at=None).order_by("id")
    return [
        (row.kind, *(None if nano is None else nano // CENT for nano in (row.theirs_nano, row.ours_nano)))
        for row in rows
    ]


def assert_balanced(done: ReconciliationRun) -> None:
    """Assert that nothing is open and Stripe's balance is ours to the cent."""
    assert found() == []
    assert (done.status, done.difference_nano, done.explained_nano) == ("finished", 0, 0)
    assert done.theirs_nano == -posted_cents(AccountKind.FUNDING, "stripe") * CENT


def money_of_every_kind(payer: Payer, deliver: Deliver) -> None:
    """Let a payment, refunds, disputes, fees, and transfers with our bank happen."""
    first = payer.bought(deliver, 1000, tax_cents=190)
    second, third = payer.bought(deliver, 2000), payer.bought(deliver, 500)
    asked = {"source": "operator", "reason": "asked", "now": now(), "actor": ACTOR}
    refund_top_up(second.id, amount_cents=300, idempotency_key=new_id("key"), **asked)
    payer.stripe.refund_in_dashboard(charge_of(second), 200)
    deliver()
    failed = refund_top_up(second.id, amount_cents=400, idempotency_key=new_id("key"), **asked)
    payer.stripe.fail_refund(
        next(row["id"] for row in payer.stripe.all("refund") if row["metadata"].get("refund") == failed.id)
    )
    deliver()
    won = payer.stripe.open_dispute(charge_of(first))["id"]
    payer.stripe.open_dispute(charge_of(third))
    deliver()
    payer.stripe.close_dispute(won, "won")
    deliver()
    payer.stripe.fund(5_000)
    with payer.stripe.state.lock:
        payments.post(payer.stripe.state, -250, "stripe_fee", None, text="Billing")


def test_money_of_every_kind_is_matched_to_the_cent(payer: Payer, deliver: Deliver) -> None:
    money_of_every_kind(payer, deliver)
    payer.stripe.start_payout(amount=700)
    done = run()
    assert_balanced(done)
    assert done.matched == BalanceTransaction.objects.exclude(source__in=("",)).exclude(type="payout").count()
    assert set(BalanceTransaction.objects.values_list("state", flat=True)) == {"matched"}
    fees = sum(row["fee"] for row in payer.stripe.all("balance_transaction")) + 250
    assert posted_cents(AccountKind.PAYMENT_COST, "operator") == -fees
    assert posted_cents(AccountKind.FUNDING, "bank") == 5_000 - 700
    assert fees > 250
    assert_proven()


def test_running_again_changes_nothing(payer: Payer, deliver: Deliver) -> None:
    money_of_every_kind(payer, deliver)
    first = run()
    rows = BalanceTransaction.objects.count()
    make_payer(payer.stripe, "usr_2").bought(deliver, 600)
    second, third = run(), run()
    assert (second.matched, third.matched) == (1, 0)
    assert_balanced(third)
    assert BalanceTransaction.objects.count() == rows + 1
    assert first.pk != second.pk
    assert_proven()


def test_a_transfer_to_a_developer_and_back(fakestripe: FakeStripe, transactional_db: None, settings: Any) -> None:
    settings.RECONCILE_GRACE, settings.PAYOUT_RESERVE_BPS = 0, 0
    developer_id = paid_by_stripe(fakestripe)
    payout_id = approved(developer_id)
    send_approved(now=NOW)
    assert_balanced(run())
    (transfer,) = fakestripe.all("transfer")
    assert BalanceTransaction.objects.get(source=transfer["id"]).transaction_id is not None
    fakestripe.reverse_transfer(transfer["id"], 1_000)
    done = run()  # nobody has told us yet
    assert (done.difference_nano, done.explained_nano) == (1_000 * CENT, 1_000 * CENT)
    (item,) = ReconciliationItem.objects.filter(resolved_at=None)
    assert (item.kind, item.theirs_nano, item.developer_id) == ("state_differs", 1_000 * CENT, developer_id)
    assert payout_id in item.note
    assert reconciliation_state(developer_id=developer_id).open_differences == 1
    assert reconciliation_state(developer_id="dev_other").open_differences == 0
    assert reconciliation_state(developer_id="dev_other").open_in_all == 1


def test_the_invoice_of_a_plan(fakestripe: FakeStripe, transactional_db: None, settings: Any) -> None:
    settings.RECONCILE_GRACE = 0
    shop = Shop(fakestripe)
    shop.subscribe()
    fakestripe.pay(shop.row().stripe_session_id, tax_cents=2_392)
    run()
    assert found() == [("state_differs" if SubscriptionInvoice.objects.exists() else "missing_here", 32_292, None)]
    shop.hear()
    assert_balanced(run())
    (line,) = BalanceTransaction.objects.all()
    assert SubscriptionInvoice.objects.get().pk in line.references
    with closing(CsvStream(operator_export("tax", shop.developer_id, begin=None, end=None), owner="test")) as stream:
        (row,) = csv.DictReader(io.StringIO(stream.read().decode()))
    assert (row["kind"], row["payer_kind"], row["payer"]) == ("subscription", "developer", shop.developer_id)
    assert (row["net_usd"], row["tax_usd"], row["gross_usd"]) == ("299.0000", "23.9200", "322.9200")


def test_what_only_stripe_has_is_named_until_it_is_here(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.start(1000)
    payer.pay(top_up)  # and the webhook is lost
    done = run()
    assert found() == [("missing_here", 1000, None)]
    assert (done.missing_here, done.difference_nano, done.explained_nano) == (1, 1000 * CENT, 1000 * CENT)
    assert reconciliation_state().open_differences == 1
    run()
    assert len(found()) == 1  # noted once
    deliver()
    done = run()
    assert_balanced(done)
    item = ReconciliationItem.objects.get()
    assert (item.resolved_by, item.resolution) == ("reconciliation", f"In order by {done.pk}.")
    assert_proven()


def test_what_only_we_have_is_named(payer: Payer) -> None:
    made = post_top_up(payer.account, 1234 * CENT, source="stripe", idempotency_key="forged", now=now(), actor=ACTOR)
    done = run()
    assert found() == [("missing_there", None, 1234)]
    assert (done.difference_nano, done.explained_nano) == (-1234 * CENT, -1234 * CENT)
    item = ReconciliationItem.objects.get()
    assert (item.transaction_id, item.reference) == (made, f"transaction {made}")


def test_an_amount_that_differs_is_named(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver, 1000)
    (line,) = payer.stripe.all("balance_transaction")
    line |= {"amount": line["amount"] - 1, "net": line["net"] - 1}
    done = run()
    assert found() == [("amount_differs", 999, 1000)]
    assert (done.difference_nano, done.explained_nano, done.differing) == (-CENT, -CENT, 1)


def test_a_balance_that_its_own_lines_do_not_explain_is_named(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver, 1000)
    assert_balanced(run())
    payer.stripe.all("balance_transaction")[0]["net"] += 7  # after we have read it
    done = run()
    assert [row[0] for row in found()] == ["amount_differs"]
    assert ReconciliationItem.objects.get().reference == "balance"
    assert done.difference_nano == done.explained_nano == 7 * CENT


def test_what_has_just_happened_gets_its_grace(payer: Payer, settings: Any) -> None:
    settings.RECONCILE_GRACE = 3600
    payer.pay(payer.start(1000))
    done = run()
    assert (found(), done.waiting) == ([], 1)
    assert done.difference_nano == done.explained_nano == 1000 * CENT
    run(now() + timedelta(hours=2))
    assert found() == [("missing_here", 1000, None)]


def test_a_refund_that_stripe_refused_leaves_nothing_to_explain(payer: Payer, deliver: Deliver) -> None:
    top_up = payer.bought(deliver, 1000)
    payer.stripe.refund_in_dashboard(charge_of(top_up))
    # We do not know of that yet: ours is posted, refused by Stripe and reversed.
    asked = {"source": "operator", "reason": "asked", "now": now(), "actor": ACTOR}
    with pytest.raises(StripeRefused):
        refund_top_up(top_up.id, amount_cents=1000, idempotency_key=new_id("key"), **asked)
    deliver()
    assert_balanced(run())


def test_a_fault_of_stripes_ends_the_run_and_the_next_one_goes_on(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver, 1000)
    payer.stripe.fail_next("error", path="/v1/balance_transactions")
    with pytest.raises(StripeUnknown):
        run()
    (failed,) = ReconciliationRun.objects.all()
    assert (failed.status, reconciliation_state().last_run_failed) == ("failed", True)
    assert_balanced(run())


def test_pages_are_read_to_their_end_even_if_reading_was_cut_off(
    payer: Payer, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(balance_transactions, "PAGE", 2)
    for amount in (500, 600, 700, 800, 900):
        payer.bought(deliver, amount)
    payer.stripe.fail_next("error", path="/v1/balance_transactions")
    with pytest.raises(StripeUnknown):
        import_balance_transactions(now=now())
    assert import_balance_transactions(now=now()) == 5
    assert import_balance_transactions(now=now()) == 0
    assert_balanced(run())
    assert_proven()


def test_only_one_run_at_a_time_and_a_killed_one_does_not_stop_the_next(payer: Payer) -> None:
    begin_run("stripe", "", DAY, DAY, now=now(), actor=ACTOR)
    with pytest.raises(Conflict) as refused:
        run()
    assert refused.value.code == "reconciliation_running"
    run(now() + timedelta(hours=3))
    assert sorted(ReconciliationRun.objects.values_list("status", flat=True)) == ["failed", "finished"]


def test_every_day_once(payer: Payer, settings: Any) -> None:
    moment = datetime(2026, 5, 2, 1, tzinfo=UTC)
    run_id = reconcile_daily(now=moment, actor="task")
    assert run_id is not None
    assert ReconciliationRun.objects.get(pk=run_id).period_begin == date(2026, 5, 1)
    assert reconcile_daily(now=moment + timedelta(hours=5), actor="task") is None
    assert reconcile_daily(now=moment + TOMORROW, actor="task") is not None
    settings.STRIPE_ENABLED = False
    assert reconcile_daily(now=moment + 5 * TOMORROW, actor="task") is None


def test_a_resolved_difference_stays_resolved_at_the_same_amounts(payer: Payer) -> None:
    post_top_up(payer.account, 500 * CENT, source="stripe", idempotency_key="forged", now=now(), actor=ACTOR)
    run()
    item = ReconciliationItem.objects.get()
    with pytest.raises(BadRequest):
        resolve_difference(item.pk, reason=" ", now=now(), actor="user:1")
    resolve_difference(item.pk, reason="a test of the books", now=now(), actor="user:1")
    with pytest.raises(Conflict):
        resolve_difference(item.pk, reason="again", now=now(), actor="user:1")
    run()
    assert found() == []
    assert ReconciliationItem.objects.count() == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE balance_transactions SET amount_cents = 1, net_cents = 1 - fee_cents",
        "UPDATE balance_transactions SET transaction_id = NULL, state = 'open', matched_at = NULL",
        "DELETE FROM balance_transactions",
        "UPDATE reconciliation_runs SET difference_nano = 0",
        "DELETE FROM reconciliation_runs",
        "UPDATE reconciliation_items SET theirs_nano = 0",
        "UPDATE reconciliation_items SET resolution = 'other'",
        "DELETE FROM reconciliation_items",
    ],
)
def test_what_was_found_never_changes(payer: Payer, deliver: Deliver, statement: str) -> None:
    payer.bought(deliver, 1000)
    post_top_up(payer.account, 500 * CENT, source="stripe", idempotency_key="forged", now=now(), actor=ACTOR)
    run()
    resolve_difference(ReconciliationItem.objects.get().pk, reason="test", now=now(), actor="user:1")
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_verify_names_a_match_that_is_none(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver, 1000)
    run()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE balance_transactions DISABLE TRIGGER USER")
        cursor.execute("UPDATE balance_transactions SET amount_cents = 999, net_cents = 999 - fee_cents")
        cursor.execute("ALTER TABLE balance_transactions ENABLE TRIGGER USER")
    assert [difference.table for difference in differences()] == ["balance_transactions"]


def test_a_currency_that_is_not_ours_is_refused(payer: Payer, deliver: Deliver) -> None:
    payer.bought(deliver, 1000)
    payer.stripe.all("balance_transaction")[0]["currency"] = "eur"
    with pytest.raises(Conflict) as refused:
        run()
    assert refused.value.code == "currency_not_supported"


# ---- the admin ----


def test_an_operator_reconciles_looks_and_resolves(payer: Payer, admin_client: Client) -> None:
    post_top_up(payer.account, 500 * CENT, source="stripe", idempotency_key="forged", now=now(), actor=ACTOR)
    page = admin_client.post(reverse("admin:billing_reconcile"), follow=True)
    assert page.status_code == 200
    item = ReconciliationItem.objects.get()
    assert item.reference in page.text
    assert "5.0000" in page.text
    changelist = reverse("admin:billing_reconciliationitem_changelist")
    action = {"action": "resolve", "_selected_action": [item.pk], "index": "0", "select_across": "0"}
    admin_client.post(changelist, {**action, "reason": ""})
    item.refresh_from_db()
    assert item.resolved_at is None
    admin_client.post(changelist, {**action, "reason": "it was a test"})
    item.refresh_from_db()
    assert (item.resolution, item.resolved_by.startswith("user:")) == ("it was a test", True)
    assert admin_client.get(f"{changelist}?resolution=resolved").status_code == 200


def test_staff_without_the_permission_neither_reconcile_nor_export(payer: Payer, client: Client) -> None:
    client.force_login(User.objects.create_user("viewer", is_staff=True))
    assert client.post(reverse("admin:billing_reconcile")).status_code == 403
    assert client.get(reverse("admin:billing_exports")).status_code == 403
    assert client.get(reverse("admin:billing_exports"), {"kind": "ledger"}).status_code == 403


def test_an_operator_exports_the_tax_that_was_collected(payer: Payer, deliver: Deliver, admin_client: Client) -> None:
    from tests.billing.test_exports import rows_of

    top_up = payer.bought(deliver, 1000, tax_cents=190)
    asked = {"source": "operator", "reason": "asked", "now": now(), "actor": ACTOR}
    refund_top_up(top_up.id, amount_cents=500, idempotency_key=new_id("key"), **asked)
    address = reverse("admin:billing_exports")
    assert "Download" in admin_client.get(address).text
    rows = rows_of(admin_client.get(address, {"kind": "tax"}))
    assert [(row["kind"], row["net_usd"], row["tax_usd"], row["gross_usd"], row["payer"]) for row in rows] == [
        ("top_up", "10.0000", "1.9000", "11.9000", payer.owner.id),
        ("refund", "-5.0000", "-0.9500", "-5.9500", payer.owner.id),
    ]
    assert rows_of(admin_client.get(address, {"kind": "tax", "end": "2020-01-01"})) == []
    wrong = admin_client.get(address, {"kind": "tax", "begin": "2026-05-02", "end": "2026-05-01"})
    assert "later" in wrong.text
    assert "Select a valid choice" in admin_client.get(address, {"kind": "secrets"}).text
    assert rows_of(admin_client.get(address, {"kind": "ledger", "developer_id": "dev_none"})) == []


def test_the_account_of_the_payments_is_opened_once(payer: Payer) -> None:
    run()
    assert open_account(kind=AccountKind.FUNDING, owner_id="stripe", now=now()) > 0
