"""The dashboard: right numbers, that lead to their rows, told only to whoever may see them, in few queries."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.billing.services.payout_stop import stop_all_payouts
from apps.core.clock import now
from apps.usage.models import UsageEvent
from apps.usage.services.alerts import raise_alert
from tests.admin.test_every_page import assert_clean
from tests.billing.payout_factories import paid_by_hand, proposed, score
from tests.gateway.api_factories import Api, make_api, settle_call
from tests.live import ACTOR, rate_all

pytestmark = pytest.mark.django_db
MOST_QUERIES = 20


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def sign_in(name: str, *permissions: str) -> Client:
    """Sign in an operator who may do these things (`usage.view_usageevent`) and nothing else."""
    user = User.objects.create_user(name, is_staff=True)
    for permission in permissions:
        room, codename = permission.split(".")
        user.user_permissions.add(Permission.objects.get(content_type__app_label=room, codename=codename))
    client = Client()
    client.force_login(user)
    return client


def dashboard(client: Client) -> Any:
    response = client.get(reverse("admin:index"))
    assert_clean(response)
    return response


def numbers(response: Any) -> dict[str, str]:
    """Return every single number by its label."""
    context = response.context
    found = [*context["tiles"], *context["owed"], *context["at_risk"], *context["queues"]]
    return {number.label: number.text for number in found}


def test_an_empty_instance_has_zeros(admin_client: Client) -> None:
    found = numbers(dashboard(admin_client))
    assert found["Calls to rate"] == found["Payouts to review"] == found["High risk scores"] == "0"
    assert found["In all"] == found["Wallets below zero"] == "$0.00"
    assert found["Error rate"] == "–"


def test_numbers_are_those_of_the_rows(admin_client: Client, api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    settle_call(api.world.token)
    aside = settle_call(api.world.token)
    UsageEvent.objects.filter(request_id=aside).update(rating_error="broken")
    proposed(paid_by_hand("100"))
    score(api.app_id, 90, kind="app")
    raise_alert("risk", "one", developer_id=None, scope="app", scope_id=api.app_id, data={}, now=now())
    response = dashboard(admin_client)
    found = numbers(response)
    assert found["Calls to rate"] == "1"
    assert found["Calls set aside"] == "1"
    assert found["Calls a minute"] == "0.2"
    assert found["Error rate"] == "0 %"
    assert found["Payouts to review"] == "1"
    assert found["High risk scores"] == "1"
    assert found["Alerts to deliver"] == "1"
    assert found["Developers' revenue"].startswith("$100")
    assert f"risk: app {api.app_id}" in response.text
    cost = next(line for line in response.context["money_out"] if line.label == "Providers' cost")
    event = UsageEvent.objects.get(rated_at__isnull=False)
    assert event.cost_nano > 0
    assert [row[-1] for row in response.context["chart"]][-1] == event.cost_nano
    assert cost.cells[0].text == cost.cells[2].text != "$0.00"


def test_owed_to_users_is_the_sum_of_their_wallets(admin_client: Client, api: Api) -> None:
    from apps.ledger.models import Wallet
    from apps.ledger.operations import owed

    settle_call(api.world.token)
    rate_all()
    wallets = Wallet.objects.filter(account__kind="end_user").values_list("posted", flat=True)
    assert owed().users == sum(wallets) > 0


def test_every_number_leads_to_its_rows(admin_client: Client, api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    score(api.app_id, 90, kind="app")
    page = dashboard(admin_client)
    main = page.text[page.text.index('id="content-main"') :]
    addresses = {match.replace("&amp;", "&") for match in re.findall(r'href="(/admin/[^"]*\?[^"]*)"', main)}
    assert len(addresses) > 20
    for address in sorted(addresses):
        response = admin_client.get(address)
        assert response.status_code == 200, address  # a filter that the list does not know leads back with e=1
        assert "e=1" not in response.request["QUERY_STRING"]


def test_few_queries_however_much_there_is(admin_client: Client, api: Api) -> None:
    counts = []
    for calls in (1, 3):
        for _ in range(calls):
            settle_call(api.world.token)
        rate_all()
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(reverse("admin:index"))
        counts.append(len(captured))
    assert counts[0] == counts[1] <= MOST_QUERIES, counts


def test_a_clerk_without_permission_sees_no_number(api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    proposed(paid_by_hand("100"))
    response = dashboard(sign_in("clerk"))
    assert numbers(response) == {}
    assert response.context["money_in"] == response.context["money_out"] == response.context["chart"] == []
    assert response.context["health"] is response.context["alerts"] is response.context["review"] is None
    assert "$" not in response.text


@pytest.mark.parametrize(
    ("permission", "label"),
    [
        ("usage.view_usageevent", "Calls to rate"),
        ("ledger.view_wallet", "End users' wallets"),
        ("billing.view_payout", "Payouts to review"),
        ("billing.review_payout", "Payouts to review"),
        ("billing.view_riskscore", "High risk scores"),
        ("usage.view_alert", "Alerts to deliver"),
    ],
)
def test_each_number_takes_its_permission(api: Api, permission: str, label: str) -> None:
    found = numbers(dashboard(sign_in("clerk", permission)))
    assert label in found
    others = {"Calls to rate", "End users' wallets", "Payouts to review", "High risk scores", "Alerts to deliver"}
    assert found.keys() & (others - {label}) == set()


def test_late_queues_stand_out(admin_client: Client, api: Api) -> None:
    settle_call(api.world.token, at=now() - timedelta(hours=1))
    queue = next(each for each in dashboard(admin_client).context["queues"] if each.label == "Calls to rate")
    assert (queue.text, queue.tone) == ("1", "bad")


def test_a_stop_of_all_payouts_is_told(admin_client: Client) -> None:
    stop_all_payouts(reason="audit of the ledger", now=now(), actor=ACTOR)
    assert "audit of the ledger" in dashboard(admin_client).text


def test_reads_take_an_index(admin_client: Client, api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    with CaptureQueriesContext(connection) as captured:
        admin_client.get(reverse("admin:index"))
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in captured:
            sql = query["sql"]
            if sql.lstrip().startswith(("SELECT", "WITH")) and "usage_events" in sql:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(row[0] for row in cursor.fetchall())
                assert "Seq Scan on usage_events" not in plan, f"{sql}\n{plan}"
