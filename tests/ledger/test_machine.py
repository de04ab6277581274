"""Any sequence of grants, holds, settlements, refunds and corrections, against a model that fits on a page."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from apps.core.errors import Conflict, Forbidden, InsufficientFunds
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import freeze_wallet, set_overdraft, unfreeze_wallet
from apps.ledger.services.batches import Capture, Leg, Posting, post_batch
from apps.ledger.services.holds import expire_hold
from apps.ledger.services.transfers import adjust, grant, reverse, transfer
from apps.ledger.services.verify import differences
from tests.ledger.factories import LATER, NOW, account, meter, renew, sql, take, take_many, void

# Few payers, and few requests at a time, so that most steps meet something that is there.
SLOTS = st.sampled_from(range(4))
PAYERS = st.sampled_from([0, 1])
AMOUNTS = st.integers(0, 60)
WHO = {"now": NOW, "actor": "test"}


@dataclass
class ModelWallet:
    posted: int = 0
    held: int = 0
    overdraft: int = 0
    frozen: bool = False

    @property
    def available(self) -> int:
        return self.posted - self.held + self.overdraft


@dataclass
class ModelHold:
    account: int
    amount: int
    state: str = "open"
    stage: str = "dispatched"
    lease: int = 0  # seconds beyond LATER


class Ledger(RuleBasedStateMachine):
    transactions = Bundle("transactions")

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.wallets: dict[int, ModelWallet] = {}
        self.holds: dict[str, ModelHold] = {}
        self.legs: dict[int, dict[int, int]] = {}  # transaction → account → amount
        self.reversed: set[int] = set()
        self.counter = 0
        self.generation = [0] * 4

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    def number(self) -> int:
        self.counter += 1
        return self.counter

    def request(self, slot: int) -> str:
        return f"req_{slot}_{self.generation[slot]}"

    def posted(self, pk: int, legs: dict[int, int]) -> int:
        assert pk not in self.legs
        self.legs[pk] = legs
        for account_id, amount in legs.items():
            if account_id in self.wallets:
                self.wallets[account_id].posted += amount
        return pk

    def release(self, hold: ModelHold, kept: int = 0) -> None:
        self.wallets[hold.account].held -= hold.amount - kept

    @initialize(funds=st.tuples(AMOUNTS, AMOUNTS))
    def open_accounts(self, funds: tuple[int, int]) -> None:
        self.platform = account("operator", kind=AccountKind.PLATFORM)
        self.users = [account(f"usr_{n}", funds=100 + amount) for n, amount in enumerate(funds)]
        self.wallets = {user: ModelWallet(100 + amount) for user, amount in zip(self.users, funds, strict=True)}
        self.wallets[self.platform] = ModelWallet()

    @rule(target=transactions, payee=PAYERS, amount=AMOUNTS.filter(bool))
    def grant(self, payee: int, amount: int) -> int:
        payee = self.users[payee]
        key = f"grant:{self.number()}"
        pk = grant(payee, amount, idempotency_key=key, **WHO)
        assert grant(payee, amount, idempotency_key=key, **WHO) == pk
        return self.posted(pk, {payee: amount})

    @rule(payee=PAYERS, amount=st.integers(-60, 60).filter(bool))
    def adjust(self, payee: int, amount: int) -> None:
        payee = self.users[payee]
        pk = adjust(payee, amount, reason="chargeback", idempotency_key=f"adjust:{self.number()}", **WHO)
        self.posted(pk, {payee: amount})

    @rule(payer=PAYERS, amount=AMOUNTS.filter(bool))
    def transfer(self, payer: int, amount: int) -> None:
        payer, payee = self.users[payer], self.users[1 - payer]
        wallet = self.wallets[payer]
        call = {
            "from_account_id": payer,
            "to_account_id": payee,
            "amount": amount,
            "idempotency_key": f"move:{self.number()}",
        }
        if wallet.frozen or wallet.available < amount:
            with pytest.raises(Forbidden if wallet.frozen else InsufficientFunds):
                transfer(**call, **WHO)
            return
        pk = transfer(**call, **WHO)
        self.posted(pk, {payer: -amount, payee: amount})
        assert transfer(**call, **WHO) == pk

    @rule(owner=PAYERS, frozen=st.sampled_from([False, False, True]))
    def freeze(self, owner: int, frozen: bool) -> None:
        owner = self.users[owner]
        assert (freeze_wallet if frozen else unfreeze_wallet)(owner, **WHO) is (self.wallets[owner].frozen != frozen)
        self.wallets[owner].frozen = frozen

    @rule(owner=PAYERS, overdraft=st.integers(0, 50))
    def set_overdraft(self, owner: int, overdraft: int) -> None:
        owner = self.users[owner]
        set_overdraft(owner, overdraft, **WHO)
        self.wallets[owner].overdraft = overdraft

    @rule(slot=SLOTS, payer=PAYERS, offset=st.integers(-1, 1))
    def take_about_all(self, slot: int, payer: int, offset: int) -> None:
        amount = max(self.wallets[self.users[payer]].available + offset, 0)
        self.take(slot, payer, amount, amount)

    @rule(slot=SLOTS, payer=PAYERS, amount=AMOUNTS, minimum=AMOUNTS)
    def take_some(self, slot: int, payer: int, amount: int, minimum: int) -> None:
        self.take(slot, payer, amount, minimum)

    def take(self, slot: int, payer: int, amount: int, minimum: int) -> None:
        last = self.holds.get(self.request(slot))
        if last and last.state != "open":
            self.generation[slot] += 1
        request_id = self.request(slot)
        account_id = self.users[payer]
        wallet = self.wallets[account_id]
        room = wallet.available
        known = self.holds.get(request_id)
        if known:
            expected = (known.amount if known.state == "open" else 0, room, "duplicate")
        elif wallet.frozen:
            expected = (0, room, "frozen")
        elif amount <= max(room, 0):
            expected = (amount, room, "granted")
        elif minimum < amount and room >= max(minimum, 1):
            expected = (room, room, "granted")
        else:
            expected = (0, room, "insufficient")
        assert take(request_id, account_id, amount, minimum=minimum) == expected
        if expected[2] == "granted":
            self.holds[request_id] = ModelHold(account_id, expected[0])
            wallet.held += expected[0]

    @rule(payer=PAYERS, amounts=st.lists(AMOUNTS, min_size=2, max_size=4))
    def take_in_a_batch_and_void(self, payer: int, amounts: list[int]) -> None:
        account_id = self.users[payer]
        ids = [f"batch_{self.number()}" for _ in amounts]
        room = self.wallets[account_id].available
        results = take_many([(id_, account_id, amount, amount) for id_, amount in zip(ids, amounts, strict=True)])
        for id_, amount in zip(ids, amounts, strict=True):
            fits = amount <= max(room, 0) and not self.wallets[account_id].frozen
            assert results[id_][:2] == (amount if fits else 0, room)
            room -= amount if fits else 0
        assert void(*ids) == {id_ for id_ in ids if results[id_][2] == "granted"}

    @rule(slot=SLOTS, prices=st.lists(AMOUNTS, min_size=1, max_size=2))
    def meter(self, slot: int, prices: list[int]) -> None:
        for price in prices:
            self.meter_once(self.request(slot), price)

    def meter_once(self, request_id: str, price: int) -> None:
        hold = self.holds.get(request_id)
        outcome = meter(request_id, price)
        if hold is None:
            assert outcome == "missing"
        elif hold.state != "open":
            assert outcome == "resolved"
        elif hold.stage == "metered":
            assert outcome == "already"
        else:
            assert outcome == ("metered" if price else "voided")
            kept = min(hold.amount, price)
            self.release(hold, kept)
            hold.amount, hold.stage, hold.state = kept, "metered", "open" if price else "voided"

    @rule(target=transactions, slot=SLOTS, payer=PAYERS, price=AMOUNTS.filter(bool))
    def settle(self, slot: int, payer: int, price: int) -> int:
        """Post a call's price and capture its hold, if it has one; then once more, as a worker restarted would."""
        request_id = self.request(slot)
        hold = self.holds.get(request_id)
        payer = hold.account if hold else self.users[payer]
        key = f"usage:{request_id}:{self.number()}"
        batch = (
            [Posting(key, "usage", [Leg(payer, -price), Leg(self.platform, price)], NOW)],
            [Capture(request_id, price)],
        )
        ids = post_batch(*batch, **WHO)
        assert post_batch(*batch, **WHO) == ids
        if hold and hold.state == "open":
            self.release(hold)
            hold.state = "settled"
        return self.posted(ids[key], {payer: -price, self.platform: price})

    @rule(slot=SLOTS)
    def void(self, slot: int) -> None:
        request_id = self.request(slot)
        hold = self.holds.get(request_id)
        mine = hold is not None and (hold.state, hold.stage) == ("open", "dispatched")
        assert void(request_id) == ({request_id} if mine else set())
        if hold and mine:
            self.release(hold)
            hold.state = "voided"

    @rule(slot=SLOTS, leases=st.lists(st.integers(-5, 5), min_size=1, max_size=2))
    def renew(self, slot: int, leases: list[int]) -> None:
        for seconds in leases:
            self.renew_once(self.request(slot), seconds)

    def renew_once(self, request_id: str, seconds: int) -> None:
        hold = self.holds.get(request_id)
        alive = hold is not None and hold.state == "open"
        assert renew(request_id, until=LATER + timedelta(seconds=seconds)) == ({request_id} if alive else set())
        if hold and alive:
            hold.lease = max(hold.lease, seconds)

    @rule(slot=SLOTS, seconds=st.integers(-5, 5))
    def expire(self, slot: int, seconds: int) -> None:
        request_id = self.request(slot)
        hold = self.holds.get(request_id)
        due = hold is not None and (hold.state, hold.stage) == ("open", "dispatched") and hold.lease <= seconds
        assert expire_hold(request_id, now=LATER + timedelta(seconds=seconds)) is due
        if hold and due:
            self.release(hold)
            hold.state = "expired"

    @rule(original=transactions, cause=st.sampled_from(["refund", "dispute"]))
    def reverse(self, original: int, cause: str) -> None:
        if original in self.reversed:
            with pytest.raises(Conflict):
                reverse(original, cause=f"{cause}, again", **WHO)
            return
        pk = reverse(original, cause=cause, **WHO)
        assert reverse(original, cause=cause, **WHO) == pk
        self.reversed.add(original)
        self.posted(pk, {account_id: -amount for account_id, amount in self.legs[original].items()})

    @invariant()
    def every_row_follows_from_the_others(self) -> None:
        assert list(differences()) == []
        assert sql(
            "SELECT coalesce(sum(amount), 0), (SELECT coalesce(sum(posted), 0) FROM wallets) FROM ledger_entries"
        ) == [(0, 0)]

    @invariant()
    def the_rows_are_the_model(self) -> None:
        wallets = sql("SELECT account_id, posted, held FROM wallets WHERE account_id = ANY(%s)", [*self.wallets])
        assert {row[0]: row[1:] for row in wallets} == {
            account_id: (wallet.posted, wallet.held) for account_id, wallet in self.wallets.items()
        }
        holds = sql("SELECT request_id, account_id, amount, state, stage FROM holds WHERE request_id LIKE 'req%%'")
        assert {row[0]: row[1:] for row in holds} == {
            request_id: (hold.account, hold.amount, hold.state, hold.stage) for request_id, hold in self.holds.items()
        }


@pytest.mark.django_db
def test_ledger_is_its_model_whatever_happens():
    run_state_machine_as_test(
        Ledger,
        settings=settings(
            max_examples=40,
            stateful_step_count=30,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
