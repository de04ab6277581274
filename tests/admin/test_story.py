"""Any id leads to a page: of a call its whole story, of everything else the row and what belongs to it."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import nano_from_usd
from apps.features.models import VirtualKey, VirtualSession
from apps.ledger.models import LedgerTransaction
from apps.ledger.statements import TAKE_HOLDS, HoldRequest, take_parameters
from apps.usage.models import UsageEvent
from apps.usage.services.budgets import create_budget
from apps.vault.models import ProviderCredential
from tests.admin.test_dashboard import sign_in
from tests.admin.test_every_page import GARBAGE, assert_clean
from tests.billing.payout_factories import paid_by_hand, proposed
from tests.billing.risk_factories import dispute, top_up
from tests.gateway.api_factories import Api, make_api, settle_call
from tests.live import ACTOR, rate_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def find(client: Client, term: Any) -> Any:
    return client.get(reverse("admin:find"), {"q": str(term)}, follow=True)


def test_the_whole_story_of_a_call(admin_client: Client, api: Api) -> None:
    create_budget(scope="app", scope_id=api.app_id, period="day", amount=nano_from_usd("5"), now=now(), actor=ACTOR)
    routing = {
        "policy": "cheapest_sufficient",
        "targets": [{"candidate": "double-0/model-a", "mode": "platform"}],
        "rejected": [{"candidate": "double-1/model-b", "mode": "platform", "reason": "no_price"}],
    }
    attempts = [
        {"provider": "double-1", "credential_id": "cred_1", "model": "x", "code": "timeout", "status": None, "ms": 31}
    ]
    request_id = settle_call(api.world.token, routing=routing, attempts=attempts)
    rate_all()
    event = UsageEvent.objects.select_related("charge").get(request_id=request_id)
    page = find(admin_client, request_id)
    assert page.redirect_chain[-1][0] == reverse("admin:request", args=[request_id])
    assert_clean(page)
    for told in (
        *(api.developer_id, api.app_id, event.end_user_id, event.principal_id, event.credential_id),
        *("cheapest_sufficient", "double-0/model-a", "double-1/model-b", "no_price"),
        *("timeout", "31", event.price_version_id),
        "Developer&#x27;s share",
        f"usage {event.charge.transaction_id}",
    ):
        assert told in page.text, told
    assert page.context["hold"].state == "Settled"
    assert sum(entry.amount for entry in page.context["transactions"][0].entries) == 0


def test_how_a_call_ended_is_told_in_the_language_of_the_reader(admin_client: Client, api: Api) -> None:
    request_id = settle_call(api.world.token)
    address = reverse("admin:request", args=[request_id])
    assert ">finished · 200</span>" in admin_client.get(address).text
    assert ">完成 · 200</span>" in admin_client.get(address, headers={"accept-language": "zh-CN"}).text


def test_codes_are_told_in_words_beside_them(admin_client: Client, api: Api) -> None:
    routing = {
        "policy": "developer_key_first",
        "rule": 0,
        "task_class": "long_context",
        "targets": [{"candidate": "double-0/model-a", "mode": "developer_key"}],
        "rejected": [{"candidate": "double-1/model-b", "mode": "platform", "reason": "circuit_open"}],
    }
    attempt = {"provider": "double-1", "model": "x", "status": None, "ms": 31}
    attempts = [{**attempt, "code": code} for code in ("<b>", "bridge_lost")]
    request_id = settle_call(api.world.token, routing=routing, attempts=attempts)
    rate_all()
    event = UsageEvent.objects.select_related("charge").get(request_id=request_id)
    address = reverse("admin:request", args=[request_id])
    page = admin_client.get(address)
    assert_clean(page)
    for told in (
        "the developer’s key first, then the platform’s <code>developer_key_first</code>",
        "developer’s key <code>developer_key</code>",
        "platform’s key <code>platform</code>",
        "it had failed just before <code>circuit_open</code>",
        "the bridge was lost within the answer <code>bridge_lost</code>",
        "<td><code>&lt;b&gt;</code></td>",
        "number 1 of the manifest",
        "long context <code>long_context</code>",
        f"Usage <code>usage {event.charge.transaction_id}</code>",
    ):
        assert told in page.text, told
    chinese = admin_client.get(address, headers={"accept-language": "zh-CN"}).text
    for told in ("刚刚失败过", "桥接断开", "平台的密钥", "用量 <code>usage "):
        assert told in chinese, told


def test_a_call_under_way_has_its_hold(admin_client: Client, api: Api) -> None:
    request_id = new_id("req")
    hold = HoldRequest(request_id, api.world.account_id, 1000, 1000, 60.0, {})
    with connection.cursor() as cursor:
        cursor.execute(TAKE_HOLDS, take_parameters([hold]))
        assert cursor.fetchone()[3] == "granted"
    page = admin_client.get(reverse("admin:request", args=[request_id]))
    assert page.status_code == 200 and "only a hold so far" in page.text


def test_every_kind_of_id_is_found(admin_client: Client, api: Api) -> None:
    settle_call(api.world.token)
    api.world.virtual_key(usd="1")
    rate_all()
    payout_id = proposed(paid_by_hand("100"))
    top_up_id = top_up(api.world.account_id, now())
    dispute(api.world.account_id, now())
    event = UsageEvent.objects.get()
    ids: dict[str, Any] = {
        "features.app": api.app_id,
        "developers.developer": api.developer_id,
        "features.enduser": event.end_user_id,
        "features.virtualsession": VirtualSession.objects.all()[0].pk,
        "features.virtualkey": VirtualKey.objects.get().pk,
        "vault.providercredential": ProviderCredential.objects.get().pk,
        "catalog.priceversion": event.price_version_id,
        "catalog.provider": event.provider,
        "billing.payout": payout_id,
        "billing.topup": top_up_id,
        "ledger.ledgertransaction": LedgerTransaction.objects.latest("pk").pk,
    }
    for table, term in ids.items():
        page = find(admin_client, term)
        assert page.status_code == 200, (table, term)
        listed = {row.table for row in page.context.get("found") or ()} or {page.context["row"].table}
        assert table in listed, (table, term, listed)
        assert_clean(admin_client.get(reverse("admin:found", args=[table, term])))
    key = LedgerTransaction.objects.latest("pk").idempotency_key
    assert find(admin_client, key).status_code == 200
    assert find(admin_client, api.public_id).context["row"].pk == api.app_id


def test_a_number_is_of_several_rows(admin_client: Client, api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    page = find(admin_client, api.world.account_id)
    assert_clean(page)
    tables = {row.table for row in page.context["found"]}
    assert {"ledger.ledgeraccount", "ledger.wallet"} <= tables


def test_what_belongs_to_a_row_is_one_click_away(admin_client: Client, api: Api) -> None:
    settle_call(api.world.token)
    rate_all()
    event = UsageEvent.objects.get()
    for table, pk in (
        ("developers.developer", api.developer_id),
        ("features.app", api.app_id),
        ("features.enduser", event.end_user_id),
        ("ledger.ledgeraccount", api.world.account_id),
        ("ledger.wallet", api.world.account_id),
        ("catalog.provider", event.provider),
        ("vault.providercredential", ProviderCredential.objects.get().pk),
    ):
        page = admin_client.get(reverse("admin:found", args=[table, pk]))
        assert_clean(page)
        assert len(page.context["belongs"]) > 2
        for label, address in page.context["belongs"]:
            assert admin_client.get(address).status_code == 200, (table, label, address)
    app = admin_client.get(reverse("admin:found", args=["features.app", api.app_id]))
    assert event.request_id in app.text
    assert app.context["totals"][0].calls == 1


def test_no_secret_is_shown(admin_client: Client, api: Api) -> None:
    credential = ProviderCredential.objects.get()
    page = admin_client.get(reverse("admin:found", args=["vault.providercredential", credential.pk]))
    assert credential.secret.reveal() not in page.text
    session = VirtualSession.objects.first()
    assert session is not None
    page = admin_client.get(reverse("admin:found", args=["features.virtualsession", session.pk]))
    assert session.token_hash not in page.text


@pytest.mark.parametrize("term", GARBAGE)
def test_garbage_is_found_nowhere(admin_client: Client, term: str) -> None:
    page = find(admin_client, term)
    assert page.status_code == 404
    assert admin_client.get("/admin/found/features.app/nothing/").status_code == 404
    assert admin_client.get("/admin/found/auth.user/1/").status_code == 404
    assert admin_client.get("/admin/requests/req_nothing/").status_code == 404


def test_who_may_not_see_a_table_finds_nothing_of_it(api: Api) -> None:
    request_id = settle_call(api.world.token)
    clerk = sign_in("clerk", "features.view_app")
    assert find(clerk, request_id).status_code == 404
    assert clerk.get(reverse("admin:request", args=[request_id])).status_code == 403
    assert clerk.get(reverse("admin:found", args=["developers.developer", api.developer_id])).status_code == 403
    page = find(clerk, api.app_id)
    assert page.status_code == 200
    assert page.context["calls"] is None and page.context["totals"] is None and page.context["accounts"] == []
    assert Client().get(reverse("admin:find")).status_code == 302


def test_part_of_a_story_takes_its_permission(api: Api) -> None:
    request_id = settle_call(api.world.token)
    rate_all()
    page = sign_in("clerk", "usage.view_usageevent").get(reverse("admin:request", args=[request_id]))
    assert page.status_code == 200
    assert page.context["hold"] is page.context["transactions"] is page.context["budgets"] is None
