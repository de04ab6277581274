"""The admin of usage: found by ids, followed into the ledger, never edited."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.core.clock import now
from apps.core.models import PolicyEpoch
from apps.usage.models import IdempotencyRecord, UsageCharge, UsageEvent
from apps.usage.services.idempotency import CLAIM, read_key, seal
from tests.gateway.api_factories import Api, make_api, make_stranger, settle_call
from tests.live import rate_all

pytestmark = pytest.mark.django_db
TABLES = ("usageevent", "usagecharge", "idempotencyrecord")


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


@pytest.fixture
def operator(api: Api) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.fixture
def record() -> IdempotencyRecord:
    key = read_key("key-1", scope="usr_1", endpoint="chat.completions", body=b"{}")
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, key.claim_parameters("req_1", lease=60, ttl=600))
    sealed = seal(key, "req_1", b"the answer")
    IdempotencyRecord.objects.update(done_at=now(), status=200, headers={"secret-header": "x"}, body=sealed)
    return IdempotencyRecord.objects.get()


def found(client: Client, table: str, **query: str) -> list[Any]:
    response = client.get(reverse(f"admin:usage_{table}_changelist", query=query))
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def test_tables_are_shown_and_never_changed(api: Api, operator: Client, record: IdempotencyRecord) -> None:
    settle_call(api.world.token)
    rate_all()
    rows = {"usageevent": UsageEvent, "usagecharge": UsageCharge, "idempotencyrecord": IdempotencyRecord}
    for table, model in rows.items():
        pk = model.objects.get().pk
        assert len(found(operator, table)) == 1
        change = reverse(f"admin:usage_{table}_change", args=[pk])
        assert operator.get(change).status_code == 200
        assert operator.post(change, {}).status_code == 403
        assert operator.get(reverse(f"admin:usage_{table}_add")).status_code == 403
        assert operator.get(reverse(f"admin:usage_{table}_delete", args=[pk])).status_code == 403


def test_usage_is_found_by_each_id(api: Api, operator: Client) -> None:
    request_id = settle_call(api.world.token)
    settle_call(api.world.new_session("bob", usd="1").token)
    rate_all()
    for table in ("usageevent", "usagecharge"):
        assert len(found(operator, table)) == 2
        assert len(found(operator, table, q=request_id)) == 1
        assert len(found(operator, table, q=f" {api.world.end_user_id} ")) == 1
        for term in (api.app_id, api.public_id, api.developer_id):
            assert len(found(operator, table, q=term)) == 2
        for term in (make_stranger()[1], "app_pub_none", "req_", "nonsense", "%"):
            assert found(operator, table, q=term) == []


def test_usage_is_filtered(api: Api, operator: Client) -> None:
    settle_call(api.world.token)
    settle_call(api.world.token, price_nano=5)
    rate_all()
    settle_call(api.world.token, charged=False, outcome="empty", estimated=True)

    def count(**query: str) -> int:
        return len(found(operator, "usageevent", **query))

    assert (count(outcome__exact="empty"), count(estimated__exact="1")) == (1, 1)
    assert (count(rating="rated"), count(rating="unrated"), count(rating="set_aside")) == (1, 1, 1)
    assert (count(provider="double-0"), count(provider="other")) == (3, 0)


def test_usage_is_followed_into_the_ledger(api: Api, operator: Client) -> None:
    request_id = settle_call(api.world.token)
    rate_all()
    charge = UsageCharge.objects.get()
    assert charge.transaction_id is not None
    page = operator.get(reverse("admin:usage_usageevent_change", args=[charge.pk])).content.decode()
    links = [
        reverse("admin:usage_usagecharge_change", args=[charge.pk]),
        reverse("admin:ledger_ledgertransaction_change", args=[charge.transaction_id]),
        reverse("admin:ledger_hold_changelist", query={"q": request_id}),
    ]
    for link in links:
        assert f'href="{link}"' in page
        assert operator.get(link).status_code == 200
    page = operator.get(links[0]).content.decode()
    assert reverse("admin:usage_usageevent_change", args=[charge.pk]) in page
    assert len(operator.get(links[2]).context["cl"].result_list) == 1


@pytest.mark.parametrize("table", ["usageevent", "usagecharge"])
def test_list_takes_as_many_queries_for_three_rows_as_for_one(api: Api, operator: Client, table: str) -> None:
    def queries() -> int:
        settle_call(api.world.token)
        rate_all()
        with CaptureQueriesContext(connection) as captured:
            found(operator, table)
        return len(captured)

    counts = [queries() for _ in range(3)]
    assert counts[2] == counts[0]


def test_stored_answers_are_never_read(operator: Client, record: IdempotencyRecord) -> None:
    change = reverse("admin:usage_idempotencyrecord_change", args=[record.pk])
    for address in (reverse("admin:usage_idempotencyrecord_changelist"), change):
        with CaptureQueriesContext(connection) as captured:
            page = operator.get(address).content.decode()
        assert "req_1" in page and "secret-header" not in page
        kept = [query["sql"] for query in captured if "idempotency_records" in query["sql"]]
        assert kept and not any('"idempotency_records"."body",' in sql for sql in kept)
    assert len(found(operator, "idempotencyrecord", q="usr_1")) == len(found(operator, "idempotencyrecord", q="req_1"))
    assert found(operator, "idempotencyrecord", q="usr_2") == []


def test_policy_epoch_is_shown_and_never_changed(operator: Client) -> None:
    epoch = PolicyEpoch.objects.get()
    page = operator.get(reverse("admin:core_policyepoch_changelist"))
    assert str(epoch.number) in page.content.decode()
    assert operator.post(reverse("admin:core_policyepoch_change", args=[epoch.pk]), {}).status_code == 403
