"""Every switch of the admin acts on a running gateway within a second, and back."""

import time
from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from apps.developers.models import AuditEvent
from apps.features.models import AppFeature, VirtualKey, VirtualSession
from apps.vault.models import ProviderCredential
from tests.live import World

SECONDS = 1.0


def test_every_switch_acts_within_a_second_and_is_recorded(world: World) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("operator"))
    key = world.virtual_key(usd="5")
    feature = AppFeature.objects.get(app_id=world.app_id).pk
    credential = ProviderCredential.objects.get().pk
    switches: list[tuple[str, object, str, str]] = [
        ("features.app", world.app_id, "disable", "enable"),
        ("features.appfeature", feature, "disable", "enable"),
        ("features.enduser", world.end_user_id, "disable", "enable"),
        ("developers.developer", world.developer_id, "disable", "enable"),
        ("ledger.wallet", world.account_id, "freeze", "unfreeze"),
        ("vault.providercredential", credential, "disable", "enable"),
        ("catalog.provider", "double-0", "disable", "enable"),
        ("catalog.modeloffer", world.offers[0], "disable", "enable"),
        ("features.virtualsession", VirtualSession.objects.get(end_user_id=world.end_user_id).pk, "revoke", ""),
    ]
    assert world.chat().status_code == 200
    for table, row, off, on in switches:
        _act(client, table, row, off)
        _soon(lambda: world.chat().status_code >= 400, f"{table} {off}")
        if on:
            _act(client, table, row, on)
            _soon(lambda: world.chat().status_code == 200, f"{table} {on}")
    world.token = key
    assert world.chat().status_code == 200
    _act(client, "features.virtualkey", VirtualKey.objects.get().pk, "revoke")
    _soon(lambda: world.chat().status_code == 401, "key revoke")


def _act(client: Client, table: str, row: object, action: str) -> None:
    before = LogEntry.objects.count(), AuditEvent.objects.count()
    page = reverse(f"admin:{table.replace('.', '_')}_changelist")
    assert client.post(page, {"action": action, "_selected_action": [str(row)]}).status_code == 302
    assert LogEntry.objects.count() == before[0] + 1, f"{table} {action} left no log entry"
    if not table.startswith("catalog."):
        assert AuditEvent.objects.count() == before[1] + 1, f"{table} {action} left no audit event"


def _soon(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not act within {SECONDS} s")
        time.sleep(0.02)
