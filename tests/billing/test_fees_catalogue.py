"""Fees of the catalogue: told, acknowledged, charged once a period, suspended, cancelled."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from apps.billing.models import Notice
from apps.billing.models.fees import AppFee, Fee, FeeCharge, FeeSubscription, FeeType
from apps.billing.queries.fees import routes_refused
from apps.billing.services.fees import (
    FeeInput,
    cancel_fee,
    charge_due,
    charge_in_app,
    fees_for,
    publish_fee,
    subscribe,
    withdraw_from_app,
)
from apps.billing.services.maturing import matured_by_entries
from apps.billing.services.payouts import payable
from apps.billing.services.verify import differences
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, FaucetError, InsufficientFunds, NotFound
from apps.core.money import nano_from_usd
from apps.ledger.models import AccountKind, LedgerTransaction
from apps.ledger.queries import balance
from apps.ledger.services.accounts import freeze_wallet, open_account, unfreeze_wallet
from apps.ledger.services.transfers import grant
from tests.features.factories import make_app, make_user
from tests.gateway.api_factories import Api, code_of, make_api
from tests.ledger.factories import assert_proven
from tests.live import ACTOR, World, notice

USD = nano_from_usd
BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)
FEE: dict[str, Any] = {
    "name": "Bridge Pro",
    "type": "bridge_pro",
    "route": "byok",
    "amount": USD("5"),
    "interval": "month",
    "developer_share_bps": 2_500,
    "disclosure_en": "Bridge Pro keeps your bridges connected.",
    "disclosure_zh": "Bridge Pro 让您的网桥保持连接。",
}


def who(at: datetime = BEGIN) -> dict[str, Any]:
    return {"now": at, "actor": ACTOR}


def fund(user: str, usd: str) -> int:
    account = open_account(kind=AccountKind.END_USER, owner_id=user, now=BEGIN)
    key = f"fund:{LedgerTransaction.objects.count()}"
    grant(account, USD(usd), idempotency_key=key, now=BEGIN, actor=ACTOR)
    return account


class Place:
    """An app that charges a fee, and an end user with money."""

    def __init__(self, usd: str = "12", *, required: bool = True, **fee: Any) -> None:
        self.app = make_app()
        self.user = make_user(self.app)
        self.account = fund(self.user, usd)
        publish_fee("pro", FeeInput(**FEE | fee), **who())
        self.row_id = charge_in_app(self.app.id, "pro", required=required, **who())

    def agree(self, at: datetime = BEGIN, usd: str = "5", language: str = "en") -> Any:
        return subscribe(self.user, self.app.id, "pro", amount=USD(usd), language=language, **who(at))

    def posted(self) -> int:
        return balance(self.account).posted

    def refused(self) -> dict[str, str]:
        return routes_refused(self.app.id, self.user)


@pytest.mark.django_db
@pytest.mark.parametrize("type_", FeeType.values)
def test_every_type_of_the_catalogue_can_be_charged(type_: str) -> None:
    place = Place(type=type_, route="any")
    (told,) = fees_for(place.app.id, place.user, language="en")
    assert (told.type, told.amount, told.interval, told.status) == (type_, USD("5"), "month", None)
    place.agree()
    assert place.posted() == USD("7")


@pytest.mark.django_db
def test_a_fee_is_told_in_the_language_asked_with_what_it_costs() -> None:
    place = Place()
    (english,) = fees_for(place.app.id, place.user, language="de")
    assert english.text.startswith("Bridge Pro keeps your bridges connected. Calls with your own key need it. ")
    assert "5.0000 USD a month" in english.text
    (chinese,) = fees_for(place.app.id, place.user, language="zh-hans")
    assert (
        chinese.text.startswith("Bridge Pro 让您的网桥保持连接。使用您自己的密钥")
        and "每月 5.0000 美元" in chinese.text
    )
    agreed = place.agree(language="zh-CN")
    assert FeeSubscription.objects.get().text == agreed.text == chinese.text


@pytest.mark.django_db
def test_nothing_is_charged_before_it_is_acknowledged() -> None:
    place = Place()
    assert charge_due(now=BEGIN + timedelta(days=400)) == 0
    assert place.posted() == USD("12") and not FeeCharge.objects.exists()
    assert place.refused() == {"byok": "fee_not_acknowledged"}


@pytest.mark.django_db
def test_the_first_month_is_charged_at_once_and_split() -> None:
    place = Place()
    told = place.agree()
    assert (told.status, told.paid_until) == ("active", datetime(2026, 2, 28, 12, tzinfo=UTC))
    assert place.posted() == USD("7") and place.refused() == {}
    developer = open_account(kind=AccountKind.DEVELOPER, owner_id=place.app.developer_id, now=BEGIN)
    platform = open_account(kind=AccountKind.PLATFORM, owner_id="operator", now=BEGIN)
    assert (balance(developer).posted, balance(platform).posted) == (USD("1.25"), USD("3.75"))
    charge = FeeCharge.objects.get()
    assert LedgerTransaction.objects.get(pk=charge.transaction_id).kind == "fee"
    assert place.agree() == told and place.posted() == USD("7")  # again changes nothing
    assert_proven()


@pytest.mark.django_db
def test_a_share_of_a_fee_matures_as_revenue_does() -> None:
    place = Place()
    place.agree()
    developer_id, day = place.app.developer_id, timedelta(days=1)
    for later, matured_usd in ((0, "0"), (30, "0"), (31, "1.25")):
        moment = BEGIN + later * day
        found = payable(developer_id, now=moment)
        assert (found.matured, found.balance) == (USD(matured_usd), USD("1.25")), later
        slow = matured_by_entries(developer_id, found.terms, now=moment)
        assert (slow.matured, slow.maturing, slow.recent) == (found.matured, found.maturing, found.under_reserve)
        assert slow.kinds == found.kinds


@pytest.mark.django_db
def test_a_month_is_charged_once_and_months_keep_their_day() -> None:
    place = Place("100")
    place.agree()
    ends = []
    for month, day, hour in ((2, 28, 12), (3, 31, 13), (4, 30, 12)):
        moment = datetime(2026, month, day, hour, tzinfo=UTC)
        assert [charge_due(now=moment) for _ in range(3)] == [1, 0, 0]
        ends.append(FeeSubscription.objects.get().paid_until)
    assert [(end.month, end.day) for end in ends if end] == [(3, 31), (4, 30), (5, 31)]
    assert place.posted() == USD("80")
    assert list(FeeCharge.objects.order_by("period").values_list("period", flat=True)) == [1, 2, 3, 4]


@pytest.mark.django_db
def test_what_the_wallet_does_not_cover_is_suspended_and_paid_later_without_arrears() -> None:
    place = Place("7")
    place.agree()
    due = datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert charge_due(now=due) == 0
    assert place.posted() == USD("2")  # not below zero
    assert FeeSubscription.objects.get().status == "suspended"
    assert place.refused() == {"byok": "fee_unpaid"}
    assert Notice.objects.get().kind == "fee_suspended"
    assert charge_due(now=due + timedelta(days=10)) == 0
    assert Notice.objects.count() == 1
    fund(place.user, "3")
    later = due + timedelta(days=70)
    assert [charge_due(now=later), charge_due(now=later)] == [1, 0]
    assert place.posted() == 0 and place.refused() == {}
    found = FeeSubscription.objects.get()
    assert found.paid_until == datetime(2026, 6, 9, 12, tzinfo=UTC)  # a month from the payment on
    assert FeeCharge.objects.count() == 2
    assert_proven()


@pytest.mark.django_db
def test_a_suspended_fee_is_paid_by_agreeing_again() -> None:
    place = Place("6")
    place.agree()
    at = BEGIN + timedelta(days=40)
    charge_due(now=at)
    with pytest.raises(InsufficientFunds):
        place.agree(at)
    fund(place.user, "4")
    assert place.agree(at).status == "active"
    assert place.posted() == 0


@pytest.mark.django_db
def test_a_frozen_wallet_is_not_charged() -> None:
    place = Place()
    place.agree()
    freeze_wallet(place.account, **who())
    at = BEGIN + timedelta(days=40)
    assert charge_due(now=at) == 0
    assert FeeSubscription.objects.get().status == "suspended" and place.posted() == USD("7")
    unfreeze_wallet(place.account, **who())
    assert charge_due(now=at) == 1


@pytest.mark.django_db
def test_agreeing_without_the_money_agrees_to_nothing() -> None:
    place = Place("4.99")
    with pytest.raises(InsufficientFunds):
        place.agree()
    assert not FeeSubscription.objects.exists() and place.posted() == USD("4.99")
    assert place.refused() == {"byok": "fee_not_acknowledged"}


@pytest.mark.django_db
def test_another_amount_than_the_present_one_is_not_agreed_to() -> None:
    place = Place()
    publish_fee("pro", FeeInput(**FEE | {"amount": USD("6")}), **who())
    with pytest.raises(Conflict) as refused:
        place.agree()
    assert refused.value.code == "fee_changed"
    assert refused.value.details is not None and refused.value.details["amount_usd"] == "6.0000"
    assert place.posted() == USD("12")


@pytest.mark.django_db
def test_a_new_version_binds_who_agrees_to_it_and_nobody_else() -> None:
    place = Place("100")
    place.agree()
    publish_fee("pro", FeeInput(**FEE | {"amount": USD("50")}), **who())
    assert charge_due(now=BEGIN + timedelta(days=40)) == 1
    assert place.posted() == USD("90")
    (told,) = fees_for(place.app.id, place.user, language="en")
    assert told.amount == USD("5") and "5.0000 USD" in told.text
    other = make_user(place.app, "bob")
    (told,) = fees_for(place.app.id, other, language="en")
    assert told.amount == USD("50")


@pytest.mark.django_db
def test_versions_charges_and_consents_never_change() -> None:
    place = Place()
    first = Fee.objects.get()
    assert publish_fee("pro", FeeInput(**FEE), **who()) == first.id  # nothing new, no version
    place.agree()
    for change in (
        lambda: Fee.objects.update(amount_nano=1),
        lambda: Fee.objects.all().delete(),
        lambda: FeeCharge.objects.update(amount_nano=1),
        lambda: FeeSubscription.objects.update(amount_nano=1),
        lambda: FeeSubscription.objects.update(text="free"),
        lambda: FeeSubscription.objects.update(acknowledged_at=BEGIN - timedelta(days=1)),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [{"amount_nano": USD("6")}, {"created_at": BEGIN - timedelta(seconds=1)}, {"period": 1}],
)
def test_the_database_refuses_a_charge_that_was_not_acknowledged(wrong: dict[str, Any]) -> None:
    place = Place()
    place.agree()
    row: dict[str, Any] = {
        "id": "fchg_x",
        "subscription": FeeSubscription.objects.get(),
        "period": 2,
        "amount_nano": USD("5"),
        "developer_nano": 0,
        "transaction_id": 10**9,
        "period_start": BEGIN,
        "created_at": BEGIN,
    }
    with pytest.raises(IntegrityError), transaction.atomic():
        FeeCharge.objects.create(**row | wrong)


@pytest.mark.django_db
def test_a_cancelled_fee_ends_with_what_is_paid() -> None:
    place = Place()
    told = place.agree()
    found = cancel_fee(told.subscription_id, end_user_id=place.user, **who())
    assert found.status == "cancelled" and place.refused() == {}
    at = datetime(2026, 2, 28, 12, tzinfo=UTC)
    assert charge_due(now=at) == 0
    assert FeeSubscription.objects.get().status == "ended" and place.posted() == USD("7")
    assert place.refused() == {"byok": "fee_not_acknowledged"}
    assert cancel_fee(told.subscription_id, end_user_id=place.user, **who()).status == "ended"
    assert place.agree(at).status == "active"  # a new subscription, with words of its own
    assert FeeSubscription.objects.count() == 2


@pytest.mark.django_db
def test_a_cancelled_fee_goes_on_when_it_is_agreed_to_again() -> None:
    place = Place()
    told = place.agree()
    cancel_fee(told.subscription_id, end_user_id=place.user, **who())
    assert place.agree(BEGIN + timedelta(days=1)).status == "active"
    assert place.posted() == USD("7") and FeeCharge.objects.count() == 1


@pytest.mark.django_db
def test_a_fee_that_is_paid_once_is_charged_once() -> None:
    place = Place(interval="once", type="licence")
    told = place.agree()
    assert "Nothing more follows" in told.text and told.paid_until is None
    assert charge_due(now=BEGIN + timedelta(days=4_000)) == 0
    with pytest.raises(Conflict):
        cancel_fee(told.subscription_id, end_user_id=place.user, **who())
    withdraw_from_app(place.row_id, **who())
    assert FeeSubscription.objects.get().status == "active"
    assert FeeCharge.objects.count() == 1 and place.posted() == USD("7")


@pytest.mark.django_db
def test_a_fee_that_an_app_withdraws_is_not_charged_again() -> None:
    place = Place("100")
    place.agree()
    withdraw_from_app(place.row_id, **who())
    assert place.refused() == {}
    assert charge_due(now=BEGIN + timedelta(days=40)) == 0
    assert place.posted() == USD("95")
    with pytest.raises(NotFound):
        place.agree(BEGIN + timedelta(days=41))


@pytest.mark.django_db
def test_an_offered_fee_refuses_no_route() -> None:
    assert Place(required=False).refused() == {}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 0},
        {"type": "bribe"},
        {"route": "platform"},
        {"interval": "day"},
        {"developer_share_bps": 10_001},
        {"disclosure_zh": " "},
        {"disclosure_en": "x" * 3_000},
        {"name": ""},
    ],
)
def test_a_fee_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        publish_fee("pro", FeeInput(**FEE | wrong), **who())


@pytest.mark.django_db
def test_fees_over_the_api(client: Client) -> None:
    api: Api = make_api(client)
    publish_fee("pro", FeeInput(**FEE), **who(now()))
    charge_in_app(api.app_id, "pro", required=True, **who(now()))
    token = api.world.token
    (told,) = api.get("/v1/user/fees", token).json()["catalogue"]
    assert (told["fee_key"], told["amount_usd"], told["per"], told["acknowledged"]) == ("pro", "5.0000", "month", False)
    assert "美元" in api.get("/v1/user/fees", token, accept_language="zh-CN").json()["catalogue"][0]["text"]
    path = "/v1/user/fee-subscriptions"
    assert code_of(api.post(path, {"fee_key": "pro"}, token)) == (400, "missing_parameter")
    assert code_of(api.post(path, {"fee_key": "pro", "amount_usd": "4"}, token)) == (409, "fee_changed")
    assert code_of(api.post(path, {"fee_key": "other", "amount_usd": "4"}, token)) == (404, "fee_not_found")
    made = api.post(path, {"fee_key": "pro", "amount_usd": "5"}, token)
    assert made.status_code == 201 and made.json()["status"] == "active"
    item = f"{path}/{made.json()['id']}"
    stranger = api.world.new_session("bob")
    assert code_of(api.delete(item, stranger.token)) == (404, "fee_not_found")
    assert code_of(api.delete(f"{path}/fsub_no", token)) == (404, "fee_not_found")
    assert api.delete(item, token).json()["status"] == "cancelled"
    key = api.world.virtual_key()
    assert code_of(api.post(path, {"fee_key": "pro", "amount_usd": "5"}, key)) == (403, "end_user_required")


@pytest.mark.django_db(transaction=True)
def test_a_route_is_refused_until_its_fee_is_paid(world: World, server: Any, double: Any) -> None:
    world.manifest(routing={"policy": "byok_first", "platform_fallback": False})
    world.key("end_user", "sk-mine")
    world.acknowledge()
    publish_fee("pro", FeeInput(**FEE), **who(now()))
    charge_in_app(world.app_id, "pro", required=True, **who(now()))
    notice(server)
    refused = world.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "fee_not_acknowledged")
    assert len(double.requests) == 0
    told = subscribe(world.end_user_id, world.app_id, "pro", amount=USD("5"), language="en", **who(now()))
    notice(server)
    served = world.chat()
    assert (served.status_code, served.headers["x-modelfaucet-route-mode"]) == (200, "byok")
    assert told.paid_until is not None
    freeze_wallet(world.account_id, **who(now()))
    assert charge_due(now=told.paid_until) == 0
    unfreeze_wallet(world.account_id, **who(now()))
    notice(server)
    refused = world.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "fee_unpaid")
    assert len(double.requests) == 1
    assert charge_due(now=told.paid_until) == 1
    notice(server)
    assert world.chat().status_code == 200


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_charge_a_period_once() -> None:
    place = Place("100")
    place.agree()
    at = BEGIN + timedelta(days=29)

    def charge(_: int) -> int:
        try:
            return charge_due(now=at)
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(charge, range(6))) == 1
    assert FeeCharge.objects.count() == 2 and place.posted() == USD("90")
    assert list(differences()) == []
    assert_proven()


@pytest.mark.django_db(transaction=True)
def test_agreeing_twice_at_once_is_one_agreement() -> None:
    place = Place("100")

    def agree(_: int) -> str:
        try:
            return str(place.agree().status)
        except Conflict as refused:
            return refused.code
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(agree, range(4))) <= {"active", "already_exists"}
    assert FeeSubscription.objects.count() == FeeCharge.objects.count() == 1
    assert place.posted() == USD("95")


@pytest.mark.django_db
def test_a_charge_that_differs_from_its_posting_is_named() -> None:
    place = Place()
    place.agree()
    assert list(differences()) == []
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute("UPDATE fee_charges SET amount_nano = 7")
        cursor.execute("SET LOCAL session_replication_role = origin")
    assert [found.table for found in differences()] == ["fee_charges"]


class Fees(RuleBasedStateMachine):
    """Any order of publishing, agreeing, charging, cancelling, withdrawing, funding and freezing."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Place("12")
        self.at = BEGIN
        self.shown: dict[str, tuple[int, str]] = {}  # what a subscription was agreed to

    @rule(days=st.integers(0, 45))
    def time_passes(self, days: int) -> None:
        self.at += timedelta(days=days)

    @rule()
    def the_task_runs_twice(self) -> None:
        charge_due(now=self.at)
        charge_due(now=self.at)

    @rule(cents=st.sampled_from([100, 500, 900]), interval=st.sampled_from(["month", "once"]))
    def a_version_is_published(self, cents: int, interval: str) -> None:
        publish_fee("pro", FeeInput(**FEE | {"amount": cents * 10**7, "interval": interval}), **who(self.at))

    @rule(guess=st.sampled_from([None, 100, 500]))
    def somebody_agrees(self, guess: int | None) -> None:
        told = fees_for(self.place.app.id, self.place.user, language="en")
        if not told:
            return
        amount = told[0].amount if guess is None else guess * 10**7
        try:
            found = subscribe(self.place.user, self.place.app.id, "pro", amount=amount, language="en", **who(self.at))
        except FaucetError as refused:
            assert refused.code in ("fee_changed", "insufficient_funds", "wallet_frozen", "fee_not_found")
        else:
            assert found.subscription_id is not None and amount == told[0].amount
            self.shown.setdefault(found.subscription_id, (told[0].amount, told[0].text))

    @rule()
    def somebody_cancels(self) -> None:
        for told in fees_for(self.place.app.id, self.place.user, language="en"):
            if told.subscription_id is not None and told.interval == "month":
                cancel_fee(told.subscription_id, end_user_id=self.place.user, **who(self.at))

    @rule()
    def the_app_withdraws_it_or_charges_it_again(self) -> None:
        row = AppFee.objects.filter(withdrawn_at=None).first()
        if row is not None:
            withdraw_from_app(row.pk, **who(self.at))
        else:
            charge_in_app(self.place.app.id, "pro", required=True, **who(self.at))

    @rule(usd=st.sampled_from(["1", "7"]))
    def money_comes(self, usd: str) -> None:
        fund(self.place.user, usd)

    @precondition(lambda self: self.place is not None)
    @rule(frozen=st.booleans())
    def the_wallet_is_frozen_or_not(self, frozen: bool) -> None:
        (freeze_wallet if frozen else unfreeze_wallet)(self.place.account, **who(self.at))

    @invariant()
    def only_what_was_shown_is_charged(self) -> None:
        charges = list(FeeCharge.objects.select_related("subscription__fee").order_by("subscription_id", "period"))
        for charge in charges:
            amount, text = self.shown[charge.subscription_id]
            assert charge.amount_nano == amount and charge.subscription.text == text
            assert charge.subscription.acknowledged_at <= charge.created_at
            assert charge.period_start <= charge.created_at  # never in advance
        for one, other in pairwise(charges):
            if one.subscription_id == other.subscription_id:
                assert other.period == one.period + 1
                assert one.period_end is not None and other.period_start >= one.period_end
        debits = LedgerTransaction.objects.filter(kind="fee")
        assert {charge.transaction_id for charge in charges} == set(debits.values_list("pk", flat=True))

    @invariant()
    def every_row_follows_from_the_others(self) -> None:
        assert list(differences()) == []

    @invariant()
    def the_wallet_is_not_below_zero(self) -> None:
        assert self.place.posted() >= 0


class TestFees(TestCase):
    def test_no_fee_is_charged_that_was_not_acknowledged(self) -> None:
        import django.db

        class Machine(Fees):
            """Each example in a transaction of its own."""

            def __init__(self) -> None:
                self._atomic = django.db.transaction.atomic()
                self._atomic.__enter__()
                super().__init__()

            def teardown(self) -> None:
                django.db.transaction.set_rollback(True)
                self._atomic.__exit__(None, None, None)

        run_state_machine_as_test(
            Machine, settings=hypothesis_settings(max_examples=30, stateful_step_count=25, deadline=None)
        )
