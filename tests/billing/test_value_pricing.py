from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.billing.models.value import BaselineMonth, ValueBill
from apps.billing.services.plans import assign_plan
from apps.billing.services.value import (
    accept_baseline,
    agree,
    bill_value,
    end_agreement,
    enter_baseline,
    measure_baseline,
    savings_of,
)
from apps.billing.services.verify import differences as cross_differences
from apps.billing.value_fee import baseline_of, value_fee
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict
from apps.core.money import MAX_NANO, nano_from_usd
from apps.features.services.entitlements import PlanUpgradeRequired
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance, entries_of
from apps.ledger.services.accounts import open_account
from apps.usage.days import SUMS
from apps.usage.models import UsageDay, UsageEvent, UserDay
from tests.billing.plan_factories import developer, seed
from tests.gateway.api_factories import Api, code_of, make_api, make_stranger, settle_call
from tests.live import ACTOR, differences, rate_all

pytestmark = pytest.mark.django_db
USD = nano_from_usd
JUNE = date(2026, 6, 1)
BEFORE = (date(2026, 3, 1), date(2026, 4, 1), date(2026, 5, 1))
IN_JUNE = datetime(2026, 6, 10, tzinfo=UTC)
AFTER_JUNE = datetime(2026, 7, 1, 12, tzinfo=UTC)


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def enter(developer_id: str, *costs: str, accepted: bool = True) -> None:
    for month, cost in zip(BEFORE, costs, strict=True):
        who = {"now": IN_JUNE, "actor": ACTOR}
        enter_baseline(developer_id, month, USD(cost), evidence="invoice 7", accepted=accepted, **who)


def spend(api: Api, cost: str, at: datetime = IN_JUNE) -> None:
    """Let a virtual key of the developer make a call at this price."""
    settle_call(api.world.virtual_key(usd="20000"), at=at, price_nano=USD(cost))


def add_up() -> None:
    """Add every call to its day as rating does, at the price that the test gave it."""
    for event in UsageEvent.objects.all():
        sums = dict.fromkeys((*SUMS, "calls"), 0) | {"calls": 1, "price_nano": event.price_nano or 0}
        sums["provider_bill_nano"] = event.provider_bill_nano or 0
        whose = {"day": event.effective_at.date(), "developer_id": event.developer_id, "app_id": event.app_id}
        where = {"feature_key": "default", "route_mode": event.route_mode, "provider": event.request_id}
        UsageDay.objects.create(**whose, **where, served_model="m", **sums)
        if event.end_user_id is not None:
            zero = {"price_nano": 0, "developer_nano": 0, "calls": 1, "tokens": 0}
            row, _ = UserDay.objects.get_or_create(**whose, end_user_id=event.end_user_id, defaults=zero)
            row.price_nano += sums["price_nano"]
            row.save()


def test_the_vectors_hold_exactly() -> None:
    saved = value_fee(USD("10000"), USD("5000"), 2_000, USD("99"))
    assert (saved.savings, saved.fee, saved.total, saved.gain) == (
        USD("5000"),
        USD("1000"),
        USD("6000"),
        USD("4000"),
    )
    for actual in ("10000", "10000.01", "20000"):
        dear = value_fee(USD("10000"), USD(actual), 2_000, USD("99"))
        assert (dear.savings, dear.fee, dear.total) == (0, USD("99"), USD(actual) + USD("99"))
        assert dear.gain == -USD("99")
    assert value_fee(3, 0, 2_000, 7).fee == 1  # 0.6 nano, halves up
    assert value_fee(2, 0, 2_000, 7).fee == 0
    assert baseline_of((USD("9000"), USD("10000"), USD("11000"))) == USD("10000")
    assert baseline_of((0, 0, 2)) == 1


@given(st.integers(0, MAX_NANO), st.integers(0, MAX_NANO), st.integers(0, 10_000), st.integers(0, 10**12))
def test_a_fee_is_never_more_than_what_was_saved_and_the_sum_is_exact(
    baseline: int, actual: int, share: int, base: int
) -> None:
    found = value_fee(baseline, actual, share, base)
    assert found.total == found.actual + found.fee
    assert found.gain == found.savings - found.fee
    if found.savings:
        assert baseline - actual == found.savings and 0 <= found.fee <= found.savings
        assert abs(found.fee * 10_000 - found.savings * share) * 2 <= 10_000
    else:
        assert found.fee == base


@pytest.mark.parametrize("given", [(-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, 10_001, 0), (0, 0, 0, -1)])
def test_nonsense_has_no_fee(given: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="not negative"):
        value_fee(*given)
    with pytest.raises(ValueError, match="three months"):
        baseline_of((1, 2))


def test_a_month_is_billed_once_and_posted(api: Api) -> None:
    enter(api.developer_id, "9000", "10000", "11000")
    agree(api.developer_id, JUNE, now=IN_JUNE, actor=ACTOR)
    spend(api, "5000")
    credit = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=api.developer_id, now=now())
    before = balance(credit).posted
    assert bill_value(now=IN_JUNE) == 0  # not over yet
    assert [bill_value(now=AFTER_JUNE) for _ in range(3)] == [1, 0, 0]
    bill = ValueBill.objects.get()
    assert (bill.baseline_nano, bill.actual_nano, bill.savings_nano, bill.fee_nano) == (
        USD("10000"),
        USD("5000"),
        USD("5000"),
        USD("1000"),
    )
    assert balance(credit).posted == before - USD("1000")
    entry = entries_of(credit).entries[0]
    assert (entry.kind, entry.amount, entry.idempotency_key) == (
        "value_fee",
        -USD("1000"),
        f"value:{api.developer_id}:2026-06",
    )
    assert list(cross_differences()) == []
    with pytest.raises(IntegrityError), transaction.atomic():
        ValueBill.objects.update(fee_nano=1)


def test_a_month_without_savings_costs_the_base_fee_also_below_zero(api: Api) -> None:
    enter(api.developer_id, "0", "0", "0")
    agree(api.developer_id, JUNE, now=IN_JUNE, actor=ACTOR)
    settle_call(api.world.virtual_key(usd="30"), at=IN_JUNE)
    rate_all()
    price = UsageEvent.objects.get().price_nano
    bill_value(now=AFTER_JUNE)
    credit = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=api.developer_id, now=now())
    bill = ValueBill.objects.get()
    assert price > 0 and (bill.actual_nano, bill.savings_nano, bill.fee_nano) == (price, 0, USD("99"))
    assert balance(credit).posted == USD("30") - price - USD("99")
    assert differences() == []


def test_keys_of_its_own_cost_the_developer_what_their_provider_bills(api: Api) -> None:
    enter(api.developer_id, "10", "10", "10")
    settle_call(api.world.token, at=IN_JUNE, route_mode="developer_key", provider_bill_nano=USD("4"))
    settle_call(api.world.token, at=IN_JUNE)  # the end user's money
    add_up()
    found = savings_of(api.developer_id, JUNE, now=AFTER_JUNE)
    assert found.actual == USD("4") and found.fee is not None and found.fee.savings == USD("6")
    assert found.complete and not found.billed


def test_the_present_month_is_compared_with_its_part_of_the_baseline(api: Api) -> None:
    enter(api.developer_id, "30", "30", "30")
    spend(api, "4")
    add_up()
    found = savings_of(api.developer_id, JUNE, now=datetime(2026, 6, 16, tzinfo=UTC))
    assert found.baseline == USD("15") and found.fee is not None and found.fee.savings == USD("11")
    assert not found.complete


def test_an_agreement_needs_three_accepted_months(api: Api) -> None:
    enter(api.developer_id, "1", "2", "3", accepted=False)
    who = {"now": IN_JUNE, "actor": ACTOR}
    with pytest.raises(Conflict) as refused:
        agree(api.developer_id, JUNE, **who)
    assert refused.value.code == "baseline_incomplete"
    assert refused.value.details == {"months": ["2026-03", "2026-04", "2026-05"]}
    for row in BaselineMonth.objects.all():
        accept_baseline(row.id, **who)
    agreement = agree(api.developer_id, JUNE, share_bps=1_000, base_fee=0, **who)
    with pytest.raises(Conflict):
        agree(api.developer_id, date(2026, 7, 1), **who)
    end_agreement(agreement, **who)
    # The month under way is still billed, and none after it.
    assert bill_value(now=datetime(2026, 9, 1, tzinfo=UTC)) == 1
    bill = ValueBill.objects.get()
    assert (bill.month, bill.fee_nano) == (JUNE, USD("0.2"))


def test_an_accepted_month_does_not_change_and_a_month_under_way_is_none(api: Api) -> None:
    enter(api.developer_id, "1", "2", "3")
    who: dict[str, Any] = {"now": IN_JUNE, "actor": ACTOR}
    with pytest.raises(Conflict):
        enter_baseline(api.developer_id, BEFORE[0], USD("9"), evidence="invoice 7", accepted=True, **who)
    for month, evidence in ((JUNE, "x"), (date(2026, 1, 1), " "), (date(2026, 1, 2), "x")):
        with pytest.raises(BadRequest):
            enter_baseline(api.developer_id, month, 1, evidence=evidence, accepted=True, **who)


def test_a_baseline_is_measured_here(api: Api) -> None:
    spend(api, "7", at=datetime(2026, 5, 31, 23, 59, tzinfo=UTC))
    spend(api, "8", at=datetime(2026, 6, 1, tzinfo=UTC))
    measure_baseline(api.developer_id, BEFORE[2], now=IN_JUNE, actor=ACTOR)
    row = BaselineMonth.objects.get()
    assert (row.cost_nano, row.source, row.accepted_at) == (USD("7"), "measured", IN_JUNE)


def test_a_plan_without_value_pricing_has_none() -> None:
    seed()
    developer_id = developer()
    assign_plan(developer_id, "basic", now=IN_JUNE, actor=ACTOR)
    enter(developer_id, "1", "2", "3")
    with pytest.raises(PlanUpgradeRequired):
        agree(developer_id, JUNE, now=IN_JUNE, actor=ACTOR)
    assign_plan(developer_id, "enterprise", now=IN_JUNE, actor=ACTOR)
    agree(developer_id, JUNE, now=IN_JUNE, actor=ACTOR)


def test_savings_are_shown_to_their_developer_alone(api: Api) -> None:
    enter(api.developer_id, "9000", "10000", "11000")
    agree(api.developer_id, JUNE, now=IN_JUNE, actor=ACTOR)
    spend(api, "5000")
    bill_value(now=AFTER_JUNE)
    path = f"/v1/developers/{api.developer_id}/savings"
    content = api.get(f"{path}?month=2026-06", api.developer_token).json()
    told = {name: content[name] for name in ("baseline_usd", "actual_usd", "saved_usd", "fee_usd", "total_usd")}
    assert told == {
        "baseline_usd": "10000.0000",
        "actual_usd": "5000.0000",
        "saved_usd": "5000.0000",
        "fee_usd": "1000.0000",
        "total_usd": "6000.0000",
    }
    assert content["billed"] is True and content["bills"][0]["month"] == "2026-06"
    assert code_of(api.get(f"{path}?month=2026-13", api.developer_token)) == (400, "invalid_type")
    assert code_of(api.get(f"{path}?month=junk", api.developer_token)) == (400, "invalid_type")
    _, _, stranger = make_stranger()
    assert code_of(api.get(path, stranger)) == (404, "developer_not_found")


def test_a_developer_enters_its_baseline_and_the_operator_accepts_it(api: Api) -> None:
    path = f"/v1/developers/{api.developer_id}/baseline"
    body = {"month": "2026-05", "cost_usd": "1234.5", "evidence": "invoice INV-77"}
    made = api.post(path, body, api.developer_token)
    assert made.status_code == 201 and made.json()["accepted"] is False
    assert api.post(path, {**body, "cost_usd": "1000"}, api.developer_token).json()["cost_usd"] == "1000.0000"
    accept_baseline(made.json()["id"], now=now(), actor=ACTOR)
    assert code_of(api.post(path, body, api.developer_token)) == (409, "baseline_accepted")
    assert api.get(path, api.developer_token).json()["data"][0]["accepted"] is True
    assert code_of(api.post(path, {"month": "2026-05"}, api.developer_token)) == (400, "missing_parameter")
    _, _, stranger = make_stranger()
    assert code_of(api.post(path, body, stranger)) == (404, "developer_not_found")
    assert code_of(api.get(path, stranger)) == (404, "developer_not_found")
