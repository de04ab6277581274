"""What holds for the pages of every table, whoever's room it is."""

import re
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.core.admin_base import ReadOnlyAdmin
from apps.core.clock import now
from apps.features.services import open_session
from apps.vault.services import issue_app_secret
from tests.gateway.api_factories import make_api, make_stranger, settle_call
from tests.live import ACTOR, rate_all

pytestmark = pytest.mark.django_db
TABLES = sorted(model._meta.label_lower for model in admin.site._registry if model.__module__.startswith("apps."))
# A search splits its words and asks for each; a number too large for a column ends it before the others are asked for.
GARBAGE = ("'; --\"", "a\0b", "9" * 30, f"nothing-like-it 100%_\\ req_ 😀 {'x' * 10_000}")
INLINE = re.compile(r"<style|\sstyle=|\son[a-z]+=|javascript:|<script(?![^>]*\b(src=|type=\"application/json\"))", re.I)


def url(table: str, page: str, *args: Any) -> str:
    return reverse(f"admin:{table.replace('.', '_')}_{page}", args=args)


@pytest.fixture
def furnished(client: Client) -> None:
    api = make_api(client)
    for name in ("alice", "bob"):
        settle_call(api.world.new_session(name, usd="1").token)
    settle_call(api.world.virtual_key(usd="1"))
    rate_all()
    make_stranger()
    issue_app_secret(api.app_id, now=now(), actor=ACTOR)
    open_session(
        app_id=api.app_id,
        feature_key=None,
        end_user_id=api.world.end_user_id,
        assurance="user_token",
        ttl=60,
        now=now(),
    )


def assert_clean(response: Any) -> None:
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert INLINE.search(response.text) is None, INLINE.search(response.text)


@pytest.mark.parametrize("table", TABLES)
def test_pages_of_an_empty_table(admin_client: Client, table: str) -> None:
    assert_clean(admin_client.get(url(table, "changelist")))
    may_add = admin.site._registry[apps.get_model(table)].has_add_permission
    response = admin_client.get(url(table, "add"))
    if may_add(response.wsgi_request):
        assert_clean(response)
    else:
        assert response.status_code == 403


def test_pages_of_furnished_tables(admin_client: Client, furnished: None, subtests: pytest.Subtests) -> None:
    for table in TABLES:
        with subtests.test(table):
            page = admin_client.get(url(table, "changelist"))
            assert_clean(page)
            for row in apps.get_model(table).objects.all()[:2]:
                assert_clean(admin_client.get(url(table, "change", row.pk)))
                assert admin_client.post(url(table, "delete", row.pk), {"post": "yes"}).status_code == 403
                registered = admin.site._registry[apps.get_model(table)]
                if isinstance(registered, ReadOnlyAdmin) and not registered.has_change_permission(page.wsgi_request):
                    assert admin_client.post(url(table, "change", row.pk), {}).status_code == 403


def test_garbage_is_searched_for_in_vain(admin_client: Client, furnished: None, subtests: pytest.Subtests) -> None:
    for table in TABLES:
        with subtests.test(table):
            for term in GARBAGE:
                assert admin_client.get(url(table, "changelist"), {"q": term}).status_code == 200


@pytest.mark.parametrize("table", TABLES)
def test_nobody_looks_without_permission(client: Client, table: str) -> None:
    page = url(table, "changelist")
    assert client.get(page)["location"].startswith("/admin/login/")
    client.force_login(User.objects.create_user("clerk", is_staff=True))
    assert client.get(page).status_code == 403
    assert client.get(url(table, "add")).status_code == 403


def test_index_and_login_are_clean(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:index"))
    assert_clean(page)
    assert "Each call and what it cost whom." in page.text
    assert_clean(Client().get(reverse("admin:login")))


def test_an_event_leads_to_all_it_touched(admin_client: Client, furnished: None) -> None:
    from apps.usage.models import UsageEvent

    event = UsageEvent.objects.exclude(end_user_id=None).select_related("charge").earliest("id")
    text = admin_client.get(url("usage.usageevent", "change", event.pk)).text
    for target in (
        url("usage.usagecharge", "change", event.pk),
        url("ledger.ledgertransaction", "change", event.charge.transaction_id),
        reverse("admin:ledger_hold_changelist", query={"q": event.request_id}),
        url("features.app", "change", event.app_id),
        url("features.enduser", "change", event.end_user_id),
    ):
        assert f'href="{target}"' in text
        assert admin_client.get(target).status_code == 200


def test_usage_takes_the_same_queries_for_one_event_and_for_three(admin_client: Client, client: Client) -> None:
    api = make_api(client)
    counts = []
    for calls in (1, 2):
        for _ in range(calls):
            settle_call(api.world.token)
        rate_all()
        for table in ("usage.usageevent", "usage.usagecharge", "ledger.hold", "ledger.ledgerentry"):
            with CaptureQueriesContext(connection) as captured:
                admin_client.get(url(table, "changelist"))
            counts.append(len(captured))
    assert counts[:4] == counts[4:]
