"""Plans, fees and value pricing in the admin: what is typed goes to the services, what is wrong is told."""

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from apps.billing.models.fees import AppFee, Fee, FeeCharge, FeeSubscription
from apps.billing.models.plans import Plan, Subscription
from apps.billing.models.value import BaselineMonth, ValueAgreement, ValueBill
from apps.billing.services.fees import subscribe
from apps.billing.services.value import bill_value
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.entitlements import entitlements_of
from tests.billing.plan_factories import developer, seed
from tests.billing.test_fees_catalogue import FEE, fund
from tests.features.factories import make_app, make_user
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
USD = nano_from_usd


def url(table: str, page: str = "add", *args: Any) -> str:
    return reverse(f"admin:billing_{table}_{page}", args=args)


def told(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def act(client: Client, table: str, action: str, *rows: Any) -> str:
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return told(client.post(url(table, "changelist"), chosen))


def test_a_plan_is_added_and_changed(admin_client: Client) -> None:
    seed()
    form = {
        "key": "gold",
        "name": "Gold",
        "price_usd": "49.90",
        "tokens_per_month": "",
        "max_virtual_keys": "3",
        "retention_days": "30",
        "features": ["semantic_cache"],
        "position": "9",
        "active": "on",
    }
    assert admin_client.post(url("plan"), form).status_code == 302
    row = Plan.objects.get(key="gold")
    assert (row.price_cents, row.tokens_per_month, row.max_virtual_keys, row.features) == (
        4_990,
        None,
        3,
        ["semantic_cache"],
    )
    page = url("plan", "change", "gold")
    text = admin_client.get(page).text
    assert 'value="49.90"' in text and "checked" in text
    assert admin_client.post(page, {**form, "price_usd": "50", "tokens_per_month": "5"}).status_code == 302
    row.refresh_from_db()
    assert (row.price_cents, row.tokens_per_month) == (5_000, 5)
    for wrong in ({"retention_days": "0"}, {"price_usd": "-1"}, {"features": ["teleport"]}, {"name": ""}):
        assert "errorlist" in admin_client.post(page, {**form, **wrong}).text
    row.refresh_from_db()
    assert (row.price_cents, row.retention_days) == (5_000, 30)


def test_a_plan_is_given_and_ended(admin_client: Client) -> None:
    seed()
    developer_id = developer()
    assert admin_client.post(url("subscription"), {"developer_id": developer_id, "plan_key": "pro"}).status_code == 302
    found = entitlements_of(developer_id)
    assert found is not None and found.plan == "pro"
    row = Subscription.objects.get()
    assert admin_client.get(url("subscription", "change", row.pk)).status_code == 200
    assert "none of Stripe" in act(admin_client, "subscription", "follow", row)
    assert "ended" in act(admin_client, "subscription", "end", row)
    assert entitlements_of(developer_id) is None
    assert "no such developer" in told(
        admin_client.post(url("subscription"), {"developer_id": "dev_no", "plan_key": "pro"})
    )


def test_a_fee_is_published_charged_by_an_app_and_withdrawn(admin_client: Client) -> None:
    app = make_app()
    form = {**FEE, "key": "pro", "amount": "5"}
    assert admin_client.post(url("fee"), form).status_code == 302
    assert admin_client.post(url("fee"), {**form, "amount": "6"}).status_code == 302
    assert list(Fee.objects.order_by("version").values_list("version", "amount_nano")) == [(1, USD("5")), (2, USD("6"))]
    assert admin_client.get(url("fee", "change", Fee.objects.get(version=1).pk)).status_code == 200
    assert admin_client.post(url("appfee"), {"app_id": app.id, "fee_key": "pro", "required": "on"}).status_code == 302
    row = AppFee.objects.get()
    assert row.required
    user = make_user(app)
    fund(user, "10")
    subscribe(user, app.id, "pro", amount=USD("6"), language="en", now=now(), actor=ACTOR)
    for table, found in (("feesubscription", FeeSubscription.objects.get()), ("feecharge", FeeCharge.objects.get())):
        assert "6.0000" in admin_client.get(url(table, "change", found.pk)).text
        assert "6.0000" in admin_client.get(url(table, "changelist")).text
    assert "withdrawn" in act(admin_client, "appfee", "withdraw", row)
    assert FeeSubscription.objects.get().status == "cancelled"
    assert "more than 0" in told(admin_client.post(url("fee"), {**form, "amount": "0"}))


def test_a_baseline_an_agreement_and_a_bill(admin_client: Client) -> None:
    from datetime import UTC, datetime

    from apps.billing.months import month_after, month_of

    developer_id, month = developer(), month_of(now())
    for back in (1, 2):
        form = {"developer_id": developer_id, "month": month_after(month, -back), "cost": "300", "source": "entered"}
        assert "Evidence" in told(admin_client.post(url("baselinemonth"), form))
        assert admin_client.post(url("baselinemonth"), {**form, "evidence": "invoice 7"}).status_code == 302
    form = {"developer_id": developer_id, "month": month_after(month, -3), "cost": "0", "source": "measured"}
    admin_client.post(url("baselinemonth"), form)
    assert [row.cost_nano for row in BaselineMonth.objects.order_by("month")] == [0, USD("300"), USD("300")]
    form = {"developer_id": developer_id, "starts_month": month, "share_bps": "2000", "base_fee": "99"}
    assert admin_client.post(url("valueagreement"), form).status_code == 302
    agreement = ValueAgreement.objects.get()
    assert agreement.baseline_nano == USD("200")
    end = month_after(month, 1)
    assert bill_value(now=datetime(end.year, end.month, 2, tzinfo=UTC)) == 1
    for table, row in (
        ("valueagreement", agreement),
        ("valuebill", ValueBill.objects.get()),
        ("baselinemonth", BaselineMonth.objects.first()),
    ):
        assert row is not None
        assert admin_client.get(url(table, "change", row.pk)).status_code == 200
        assert admin_client.get(url(table, "changelist")).status_code == 200
    assert ValueBill.objects.get().fee_nano == USD("40")  # 20 % of 200 saved
    assert "ended" in act(admin_client, "valueagreement", "end", agreement)
