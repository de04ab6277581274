"""Money in and out, in any order, with crashes and replays: what must hold whatever happened.

People and banks act at the fake; webhooks arrive late, twice and out of order, or never; each call to Stripe may be
lost before or after it took effect, or be the last thing that the process did. After each example everything is
delivered and looked at, and then the ledger, the rows of billing and Stripe's own books must say the same.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.billing import stripe_api
from apps.billing.models import CreditLot, LotDraw
from apps.billing.models.disputes import Dispute
from apps.billing.models.payouts import Payout, PayoutAccount, PayoutReview
from apps.billing.models.top_ups import Refund, TopUp
from apps.billing.services import auto_top_ups, disputes, inbox, refunds, top_ups
from apps.billing.services import verify as billing
from apps.billing.services.balance_transactions import import_balance_transactions, stripe_balance
from apps.billing.services.credits import draw, expire_lots, grant_promo
from apps.billing.services.customers import Owner
from apps.billing.services.maturing import matured_by_entries
from apps.billing.services.payout_accounts import refresh_account, start_onboarding
from apps.billing.services.payout_reviews import approve, hold, reject, release
from apps.billing.services.payout_sending import send_approved
from apps.billing.services.payouts import payable, propose
from apps.billing.stripe_api import StripeUnknown
from apps.core.clock import now as clock
from apps.core.errors import FaucetError
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.ledger.services import verify as ledger
from apps.ledger.services.accounts import open_account
from apps.usage.models import UsageCharge
from apps.usage.rate import Tokens
from tests.billing.payout_factories import earn, operator
from tests.billing.top_up_factories import Payer
from tests.fakestripe import FakeStripe
from tests.ledger.factories import sql, void
from tests.live import rate_all
from tests.usage.factories import Desk, make_desk, settle

NUMBER = st.integers(0, 5)
CENTS = st.integers(100, 2_000)
# What becomes of the next call to Stripe: mostly nothing unusual.
FAULT = st.sampled_from(["", "", "", "", "lost before", "lost after", "dies before", "dies after"])
DAYS = st.sampled_from([0, 1, 8, 20, 45])


class Died(BaseException):
    """The process ended here."""


class Billing(RuleBasedStateMachine):
    """One developer with an app, two end users, and a Stripe whose every call may go wrong."""

    stripe: FakeStripe
    desk: Desk
    start: datetime
    users: list[int]
    first: Owner  # of the first of them, whose card is saved
    card: str
    given: dict[int, int]  # what they had before

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.objects = copy.deepcopy(self.stripe.state.objects)
        self.owners = dict(self.stripe.state.owners)
        self.stripe.webhooks.pending.clear()
        self.now = self.start
        self.mail: list[Any] = []
        self.open_holds: list[tuple[str, Tokens]] = []
        self.proposed: dict[str, int] = {}

    def teardown(self) -> None:
        try:
            self.everything_comes_to_rest()
            self.books_agree()
        finally:
            transaction.set_rollback(True)
            self.atomic.__exit__(None, None, None)
            self.stripe.state.objects, self.stripe.state.owners = self.objects, self.owners

    # ---- how things are done ----

    @contextmanager
    def with_fault(self, fault: str) -> Iterator[None]:
        """Let the next call to Stripe go wrong; what is anticipated, and death, end the step and nothing else."""
        real = stripe_api.call
        waiting = [fault] if fault else []

        def call(operation: Callable[[Any], Any]) -> Any:
            happens = waiting.pop() if waiting else ""
            if happens == "lost before":
                raise StripeUnknown("never arrived")
            if happens == "dies before":
                raise Died
            answer = real(operation)
            if happens == "lost after":
                raise StripeUnknown("the answer was lost")
            if happens == "dies after":
                raise Died
            return answer

        stripe_api.call = call  # type: ignore[assignment]
        try:
            yield
        except (FaucetError, Died):
            pass
        finally:
            stripe_api.call = real

    def pick(self, rows: list[Any], number: int) -> Any:
        return rows[number % len(rows)] if rows else None

    def top_up(self, number: int) -> TopUp | None:
        return self.pick(list(TopUp.objects.order_by("id")), number)

    def session(self, row: TopUp | None) -> dict[str, Any] | None:
        """Return the page that a top-up opened at Stripe."""
        sessions = self.stripe.all("checkout.session")
        return next((found for found in sessions if row and row.id in found["metadata"].values()), None)

    def payout(self, number: int) -> str:
        return self.pick(list(Payout.objects.order_by("id").values_list("pk", flat=True)), number) or "pay_none"

    # ---- money comes in ----

    @rule(user=NUMBER, cents=CENTS, fault=FAULT)
    def begin_top_up(self, user: int, cents: int, fault: str) -> None:
        key = new_id("key")
        for again in (fault, ""):  # who got no answer tries again with the same key
            with self.with_fault(again):
                top_ups.start_top_up(
                    self.users[user % 2],
                    amount_cents=cents,
                    owner=Owner("end_user", self.names[user % 2], self.desk.world.app_id),
                    base_url="https://ai.example.com",
                    idempotency_key=key,
                    now=self.now,
                    actor="test",
                )

    @rule(user=NUMBER, cents=CENTS, tax=st.sampled_from([0, 0, 7, 190]), fault=FAULT)
    def buy(self, user: int, cents: int, tax: int, fault: str) -> None:
        """Begin a top-up and pay it; who notices is left to other steps."""
        self.begin_top_up(user, cents, fault)
        self.pay(TopUp.objects.count() - 1, tax, "ok")

    @rule(cents=CENTS, fault=FAULT)
    def charge_saved_card(self, cents: int, fault: str) -> None:
        key = new_id("key")
        for again in (fault, ""):
            with self.with_fault(again):
                top_ups.charge_saved_card(
                    self.users[0],
                    amount_cents=cents,
                    owner=self.first,
                    idempotency_key=key,
                    now=self.now,
                    actor="test",
                )

    @rule(behaviour=st.sampled_from(["ok", "ok", "card_declined"]))
    def card_changes(self, behaviour: str) -> None:
        self.stripe.set_card(self.card, behaviour)

    @rule(threshold=CENTS, fault=FAULT)
    def wallet_tops_itself_up(self, threshold: int, fault: str) -> None:
        with self.with_fault(""):
            auto_top_ups.set_auto_top_up(
                self.users[0],
                threshold=threshold * NANO_PER_CENT,
                amount_cents=500,
                monthly_cap_cents=2_000,
                owner=self.first,
                now=self.now,
                actor="test",
            )
        with self.with_fault(fault):
            auto_top_ups.top_up_low(now=self.now)

    @rule(number=NUMBER, tax=st.sampled_from([0, 0, 7, 190]), how=st.sampled_from(["ok", "ok", "ok", "processing"]))
    def pay(self, number: int, tax: int, how: str) -> None:
        session = self.session(self.top_up(number))
        if session and session["status"] == "open":
            self.stripe.pay(session["id"], tax_cents=tax, behaviour=how)

    @rule(number=NUMBER, paid=st.booleans())
    def delayed_payment_ends(self, number: int, paid: bool) -> None:
        session = self.session(self.top_up(number))
        if session and session["status"] == "complete" and session["payment_status"] == "unpaid":
            intent = self.stripe.objects[session["payment_intent"]]
            if intent["status"] == "processing":
                (self.stripe.succeed_async if paid else self.stripe.fail_async)(session["id"])

    @rule(number=NUMBER)
    def session_expires(self, number: int) -> None:
        session = self.session(self.top_up(number))
        if session and session["status"] == "open":
            self.stripe.expire(session["id"])

    @rule(number=NUMBER, fault=FAULT)
    def success_page(self, number: int, fault: str) -> None:
        row = self.top_up(number)
        if row:
            with self.with_fault(fault):
                top_ups.settle_top_up(row.id, now=self.now)

    # ---- webhooks ----

    @rule(number=st.integers(0, 30), fault=FAULT)
    def webhook(self, number: int, fault: str) -> None:
        """Deliver one event: any that there ever was, so also a replay, and in no order."""
        self.mail += [delivery.event for delivery in self.stripe.deliveries]
        event = self.pick(self.mail, number)
        if event:
            delivery = self.stripe.webhooks.delivery(event)
            inbox.receive(delivery.body, delivery.signature, now=clock())
            with self.with_fault(fault):
                inbox.handle_events(now=self.now)

    # ---- money is given, held, spent ----

    @rule(user=NUMBER, amount=CENTS, days=st.sampled_from([1, 10, None]))
    def promo(self, user: int, amount: int, days: int | None) -> None:
        ends = None if days is None else self.now + timedelta(days=days)
        lot = new_id("lot")
        for _ in range(2):  # sent twice
            grant_promo(
                self.users[user % 2],
                amount * NANO_PER_CENT,
                reason="test",
                expires_at=ends,
                lot_id=lot,
                now=self.now,
                actor="test",
            )

    @rule(share=st.integers(1, 10), thousands=st.integers(1, 600))
    def take_hold(self, share: int, thousands: int) -> None:
        tokens = Tokens(input=thousands * 1_000, output=share * 100)
        funds = balance(self.users[0])
        price = self.desk.charge(tokens).price
        if not funds.frozen and price <= funds.available:
            self.open_holds.append((self.desk.hold(price), tokens))

    @rule(number=NUMBER)
    def call_ends(self, number: int) -> None:
        if self.open_holds:
            request_id, tokens = self.open_holds.pop(number % len(self.open_holds))
            record = self.desk.record(request_id, tokens, effective_at=self.now.timestamp())
            settle(record)
            settle(record)  # its acknowledgement was lost
            rate_all()

    @rule(number=NUMBER)
    def call_is_not_served(self, number: int) -> None:
        if self.open_holds:
            void(self.open_holds.pop(number % len(self.open_holds))[0])

    # ---- money goes back ----

    @rule(number=NUMBER, cents=st.sampled_from([None, 50, 333]), by=st.sampled_from(["operator", "owner"]), fault=FAULT)
    def refund(self, number: int, cents: int | None, by: str, fault: str) -> None:
        row = self.top_up(number)
        if row:
            key = new_id("key")
            for again in (fault, ""):
                with self.with_fault(again):
                    refunds.refund_top_up(
                        row.id,
                        amount_cents=cents,
                        source=by,
                        reason="test",
                        idempotency_key=key,
                        now=self.now,
                        actor="test",
                    )

    @rule(number=NUMBER, fault=FAULT)
    def refund_in_parts(self, number: int, fault: str) -> None:
        self.refund(number, 50, "operator", fault)
        self.refund(number, 333, "operator", "")
        self.refund(number, None, "operator", fault)

    @rule(number=NUMBER)
    def refund_fails_after_all(self, number: int) -> None:
        done = [row for row in self.stripe.all("refund") if row["status"] in ("succeeded", "pending")]
        if done:
            self.stripe.fail_refund(self.pick(done, number)["id"])

    @rule(number=NUMBER, cents=st.sampled_from([None, 60]))
    def refund_in_dashboard(self, number: int, cents: int | None) -> None:
        free = [
            charge
            for charge in self.charges()
            if charge["amount"] - charge["amount_refunded"] >= (cents or 1) and not charge["disputed"]
        ]
        if free:
            self.stripe.refund_in_dashboard(self.pick(free, number)["id"], cents)

    @rule(number=NUMBER, inquiry=st.sampled_from([False, False, False, True]), part=st.sampled_from([None, None, 80]))
    def dispute(self, number: int, inquiry: bool, part: int | None) -> None:
        free = [
            charge
            for charge in self.charges()
            if not charge["disputed"] and charge["amount"] - charge["amount_refunded"] >= (part or 1)
        ]
        if free:
            charge = self.pick(free, number)
            left = charge["amount"] - charge["amount_refunded"]
            self.stripe.open_dispute(charge["id"], amount=part or left, inquiry=inquiry)

    @rule(number=NUMBER, outcome=st.sampled_from(["won", "lost", "lost"]))
    def dispute_ends(self, number: int, outcome: str) -> None:
        rows = [row for row in self.stripe.all("dispute") if row["status"] in ("needs_response", "under_review")]
        if rows:
            self.stripe.close_dispute(self.pick(rows, number)["id"], outcome)

    @rule(number=NUMBER, days=st.sampled_from([0, 25]))
    def dispute_is_won_after_it_was_lost(self, number: int, days: int) -> None:
        """Also after what was owed because of it was written off."""
        rows = [row for row in self.stripe.all("dispute") if row["status"] in ("needs_response", "under_review")]
        if rows:
            row = self.pick(rows, number)
            self.stripe.close_dispute(row["id"], "lost")
            with self.with_fault(""):
                disputes.settle_dispute(row["id"], now=self.now)
            self.now += timedelta(days=days)
            disputes.write_off_lost(now=self.now)
            self.stripe.close_dispute(row["id"], "won")

    def charges(self) -> list[dict[str, Any]]:
        return [row for row in self.stripe.all("charge") if row["status"] == "succeeded" and row.get("payment_intent")]

    # ---- time ----

    @rule(days=DAYS)
    def time_passes(self, days: int) -> None:
        self.now += timedelta(days=days, hours=1)

    @rule(fault=FAULT)
    def background_work(self, fault: str) -> None:
        with self.with_fault(fault):
            top_ups.settle_due(now=self.now)
        with self.with_fault(""):
            refunds.settle_due(now=self.now)
        disputes.write_off_lost(now=self.now)
        expire_lots(now=self.now)

    @rule(user=NUMBER)
    def lots_are_drawn(self, user: int) -> None:
        draw(self.users[user % 2], now=self.now)

    # ---- money goes out ----

    @rule()
    def propose_payout(self) -> None:
        found = payable(self.developer, now=self.now)
        assert 0 <= found.payable <= max(found.balance, 0)
        slow = matured_by_entries(self.developer, found.terms, now=self.now)
        assert (found.matured, found.immature, found.under_reserve) == (slow.matured, slow.immature, slow.recent)
        with self.with_fault(""):
            made = propose(self.developer, origin="operator", now=self.now, actor=operator("ada"))
            self.proposed[made] = found.payable

    @rule(number=NUMBER, who=st.sampled_from(["ada", "bob", "cy"]), what=st.sampled_from(["approve"] * 5 + ["hold"]))
    def decide(self, number: int, who: str, what: str) -> None:
        with self.with_fault(""):
            decision = {"approve": approve, "hold": hold}[what]
            decision(self.payout(number), reason="test", now=self.now, actor=operator(who))

    @rule(number=NUMBER, what=st.sampled_from([release, reject]))
    def decide_otherwise(self, number: int, what: Callable[..., None]) -> None:
        with self.with_fault(""):
            what(self.payout(number), reason="test", now=self.now, actor=operator("bob"))

    @rule(fault=FAULT)
    def send(self, fault: str) -> None:
        with self.with_fault(fault):
            send_approved(now=self.now)

    @rule(who=st.lists(st.sampled_from(["ada", "bob", "cy"]), max_size=3), fault=FAULT)
    def payout_in_one_go(self, who: list[str], fault: str) -> None:
        """Do what single steps seldom come to one after the other."""
        self.propose_payout()
        for name in who:
            for number in range(len(self.proposed)):
                self.decide(number, name, "approve")
        self.send(fault)
        self.send("")

    @rule(number=NUMBER, good=st.sampled_from([True, True, False]))
    def bank_answers(self, number: int, good: bool) -> None:
        rows = [row for row in self.stripe.all("payout") if row["status"] in ("pending", "in_transit")]
        if rows:
            (self.stripe.finish_payout if good else self.stripe.fail_payout)(self.pick(rows, number)["id"])

    @rule(number=NUMBER)
    def bank_sends_back(self, number: int) -> None:
        rows = [row for row in self.stripe.all("payout") if row["status"] == "paid"]
        if rows:
            self.stripe.fail_payout(self.pick(rows, number)["id"])

    @rule(number=NUMBER, status=st.sampled_from(["approved", "sending", "sent", "paid"]))
    def skip_the_review(self, number: int, status: str) -> None:
        """Nobody gets a payout past its approvals, by whatever door."""
        row = Payout.objects.filter(pk=self.payout(number)).first()
        if row is None or self.approvals(row) >= row.approvals_needed:
            return
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("UPDATE payouts SET status = %s WHERE id = %s", [status, row.pk])
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    # ---- what holds at every moment ----

    @initialize()
    def begin(self) -> None:
        self.developer = self.desk.world.developer_id
        self.names = [self.desk.world.end_user_id, "usr_other"]

    @invariant()
    def entries_sum_to_zero(self) -> None:
        assert sql(
            "SELECT coalesce(sum(amount), 0), (SELECT coalesce(sum(posted), 0) FROM wallets) FROM ledger_entries"
        ) == [(0, 0)]

    @invariant()
    def nothing_is_sent_without_its_approvals(self) -> None:
        if not self.proposed:
            return
        rows = {row.pk: row for row in Payout.objects.all()}
        for row in rows.values():
            if row.status in ("approved", "sending", "sent", "paid"):
                assert self.approvals(row) >= row.approvals_needed
            if row.pk in self.proposed:
                assert row.amount_nano <= self.proposed[row.pk]
        sent = [transfer["transfer_group"] for transfer in self.stripe.all("transfer")]
        assert len(sent) == len(set(sent))  # never twice
        for transfer in self.stripe.all("transfer"):
            row = rows[transfer["transfer_group"]]
            assert transfer["amount"] * NANO_PER_CENT == row.amount_nano
            assert PayoutReview.objects.filter(payout=row, decision="approve").exists()

    def approvals(self, row: Payout) -> int:
        names = PayoutReview.objects.filter(payout=row, decision="approve").values_list("round", "reviewer")
        by_round: dict[int, set[str]] = {}
        for number, name in names:
            by_round.setdefault(number, set()).add(name)
        return max((len(found) for found in by_round.values()), default=0)

    # ---- the end ----

    def everything_comes_to_rest(self) -> None:
        """Deliver all that was ever said, twice, and do all background work until nothing moves."""
        said = 0
        for _ in range(6):
            self.now += timedelta(hours=7)
            self.mail += [delivery.event for delivery in self.stripe.deliveries]
            unsaid = self.mail[said:]
            for event in (*unsaid, *unsaid[::-1]):
                delivery = self.stripe.webhooks.delivery(event)
                inbox.receive(delivery.body, delivery.signature, now=clock())
            said = len(self.mail)
            inbox.handle_events(now=self.now)
            top_ups.settle_due(now=self.now)
            refunds.settle_due(now=self.now)
            send_approved(now=self.now)
            expire_lots(now=self.now)
            if not self.stripe.webhooks.pending and not self.waiting():
                break
        for request_id, _ in self.open_holds:
            void(request_id)
        for user in self.users:
            draw(user, now=self.now)
        import_balance_transactions(now=self.now)

    def waiting(self) -> bool:
        return (
            inbox.StripeEvent.objects.filter(handled_at=None).exists()
            or TopUp.objects.filter(status="sending").exists()
            or Refund.objects.filter(status__in=["requested", "sending"]).exists()
            or Payout.objects.filter(status__in=["approved", "sending"]).exists()
        )

    def books_agree(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert [f"{d.table} {d.row_id}: {d.message}" for d in (*ledger.differences(), *billing.differences())] == []
        for row in TopUp.objects.all():
            paid = self.paid_for(row)
            assert (row.status == "paid") is paid, (row.source, row.status, row.problem)
            posted = sql("SELECT count(*) FROM ledger_transactions WHERE idempotency_key = %s", f"top_up:{row.id}")
            assert posted == [(int(paid),)]
        for number, user in enumerate(self.users):
            assert balance(user).held == 0
            assert balance(user).posted - self.given[user] == self.expected(user, number), number
        ours = account_id(AccountKind.FUNDING, "stripe")
        assert balance(ours).posted == -stripe_balance() * NANO_PER_CENT if ours else stripe_balance() == 0

    def paid_for(self, row: TopUp) -> bool:
        """Tell whether Stripe has received the money of a top-up."""
        session = self.session(row)
        if session is not None:
            return bool(session["payment_status"] == "paid")
        intents = self.stripe.all("payment_intent")
        return any(row.id in found["metadata"].values() and found["status"] == "succeeded" for found in intents)

    def expected(self, user: int, number: int) -> int:
        """Return what a wallet has by the rows of billing and usage, the ledger apart."""
        cents = 0
        for row in TopUp.objects.filter(account_id=user, status="paid"):
            cents += row.amount_cents
        for back in Refund.objects.filter(account_id=user).exclude(status="failed"):
            cents -= back.amount_cents
        nano = cents * NANO_PER_CENT
        for row in Dispute.objects.filter(account_id=user, status__in=["open", "lost", "written_off"]):
            nano += row.clawed_back_nano + row.written_off_nano - row.credit_cents * NANO_PER_CENT
        for lot in CreditLot.objects.filter(account_id=user, kind="promo"):
            nano += lot.amount_nano
        for taken in LotDraw.objects.filter(lot__account_id=user, kind="expired"):
            nano -= taken.amount_nano
        if number == 0:
            nano -= sum(UsageCharge.objects.values_list("price_nano", flat=True))
        return nano


# Four tests, so that the workers share the work; CI runs them on two servers, which is 2,000 examples.
# MACHINE_EXAMPLES=5000 looks for a night.
EXAMPLES = int(os.environ.get("MACHINE_EXAMPLES", "250"))


@pytest.mark.django_db
@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", range(4))
def test_books_agree_whatever_happens(part: int, fakestripe: FakeStripe, settings: Any) -> None:
    settings.PAYOUT_MINIMUM_USD = 0
    settings.PAYOUT_RESERVE_BPS = 1_000
    settings.PAYOUT_SECOND_APPROVAL_USD = 0 if part % 2 else 1
    settings.TOP_UP_MIN_USD = 1
    settings.DISPUTE_WRITE_OFF_DAYS = 20
    run_machine(fakestripe, examples=EXAMPLES)


def run_machine(fakestripe: FakeStripe, *, examples: int) -> None:
    desk = make_desk("0.01")
    start = clock()
    urls = {"return_url": "https://dev.example/back", "refresh_url": "https://dev.example/again"}
    start_onboarding(desk.world.developer_id, country="US", **urls, now=start, actor="token:dtok_1")
    connected = PayoutAccount.objects.get(pk=desk.world.developer_id).stripe_account_id
    assert connected is not None
    fakestripe.onboard(connected)
    refresh_account(connected, now=start)
    fakestripe.fund(10_000_00)
    other = open_account(kind=AccountKind.END_USER, owner_id="usr_other", now=start)
    for name in ("ada", "bob", "cy"):
        operator(name)
    # Something to refund, dispute and pay out from the first step on.
    earn(desk.world.developer_id, "30")
    Billing.users = [desk.world.account_id, other]
    Billing.given = {user: balance(user).posted for user in Billing.users}
    payer = Payer(fakestripe, desk.world.account_id, Owner("end_user", desk.world.end_user_id, desk.world.app_id))
    bought = payer.start(2_000, save_card=True)
    payer.pay(bought, tax_cents=190)
    top_ups.settle_top_up(bought.id, now=start)
    Billing.first, Billing.card = payer.owner, payer.card()
    Billing.stripe, Billing.desk, Billing.start = fakestripe, desk, start
    run_state_machine_as_test(
        Billing,
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
        ),
    )
