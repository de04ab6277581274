"""The pages of a developer's provider keys, against a provider that answers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from apps.core import addresses
from apps.core.clock import now
from apps.developers.models import Role
from apps.usage.budgets.queries import key_caps
from apps.vault import services
from apps.vault.models import ProviderCredential
from tests.console.neighbours import make_neighbour
from tests.console.seats import House, make_house, new_person
from tests.core.answering import Answering, answer
from tests.vault.factories import make_provider

pytestmark = pytest.mark.django_db
SECRET = "sk-live-0123456789abcdef-WXYZ"
NEW = "sk-live-0123456789abcdef-NEWW"
MODELS = json.dumps({"data": []}).encode()


@pytest.fixture(autouse=True)
def server(settings: Any) -> Iterator[Answering]:
    """Give a provider that takes every key."""
    settings.ALLOWED_HOSTS = ["testserver"]
    addresses.forget()
    with Answering(answer(200, MODELS)) as running:
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{running.port}",)
        yield running


@pytest.fixture
def house(server: Answering) -> House:
    make_provider("local", base_url=f"http://127.0.0.1:{server.port}/v1", trains_on_data=True)
    return make_house()


def asked(**more: str) -> dict[str, str]:
    return {"provider": "local", "label": "Main account", "secret": SECRET, "accepted": "on", **more}


def add(house: House) -> ProviderCredential:
    answered = house.owner.post(house.url("provider-keys/new"), asked())
    assert answered.status_code == 302, answered.content
    return ProviderCredential.objects.get(pk=answered["location"].rsplit("/", 1)[1])


def stored(house: House, number: int) -> str:
    """Store a key that nobody tried."""
    return services.add_credential(
        owner_class="developer",
        owner_id=house.developer_id,
        provider="local",
        label=f"Key {number}",
        secret=SECRET,
        now=now(),
        actor="test",
    )


def test_who_sees_the_keys(house: House) -> None:
    key_id = stored(house, 1)
    stranger, _ = new_person("eve")
    neighbour = make_neighbour()
    reads = ("provider-keys", "provider-keys/new", f"provider-keys/{key_id}", f"provider-keys/{key_id}/delete")
    writes = tuple(f"provider-keys/{key_id}/{what}" for what in ("validate", "rotate", "switch", "delete"))
    for path in reads:
        assert Client().get(house.url(path))["location"].startswith("/accounts/login/")
        assert stranger.get(house.url(path)).status_code == 404
        assert house.owner.get(house.url(path)).status_code == 200
    for path in writes:
        assert stranger.post(house.url(path)).status_code == 404
        theirs = house.url(path).replace(house.developer_id, neighbour.developer_id)
        assert neighbour.owner.post(theirs).status_code == 404
    for role, status in ((Role.ADMIN, 200), (Role.ANALYST, 403), (Role.FINANCE, 403)):
        client = house.member(role)
        assert {client.get(house.url(path)).status_code for path in reads} == {status}
        if status == 403:
            assert {client.post(house.url(path)).status_code for path in writes} == {403}
    assert ProviderCredential.objects.get(pk=key_id).status == "active"


def test_terms_of_the_providers_are_told(house: House) -> None:
    page = house.owner.get(house.url("provider-keys/new")).content.decode()
    assert "may use what you send it to train its models" in page


def test_key_is_tried_and_stored_and_never_shown(house: House, server: Answering) -> None:
    row = add(house)
    assert (row.validation, row.hint, row.owner_id) == ("ok", "WXYZ", house.developer_id)
    assert len(server.requests) == 1
    for path in ("provider-keys", f"provider-keys/{row.id}"):
        page = house.owner.get(house.url(path)).content.decode()
        assert "Main account" in page
        assert "…WXYZ" in page
        assert "works" in page
        assert SECRET not in page


def test_refused_key_is_not_stored_and_not_sent_back(house: House, server: Answering) -> None:
    server.parts = (answer(401, b"{}"),)
    answered = house.owner.post(house.url("provider-keys/new"), asked())
    page = answered.content.decode()
    assert answered.status_code == 200
    assert 'id="id_secret_error"' in page
    assert SECRET not in page
    assert not ProviderCredential.objects.filter(owner_class="developer").exists()


def test_terms_are_to_be_accepted(house: House) -> None:
    answered = house.owner.post(house.url("provider-keys/new"), asked(accepted=""))
    assert 'id="id_accepted_error"' in answered.content.decode()
    assert not ProviderCredential.objects.filter(owner_class="developer").exists()


def test_key_is_checked_again(house: House, server: Answering) -> None:
    row = add(house)
    server.parts = (answer(401, b"{}"),)
    url = house.url(f"provider-keys/{row.id}")
    assert house.owner.post(f"{url}/validate")["location"] == url
    assert "refused by the provider" in house.owner.get(url).content.decode()


def test_checks_are_limited(house: House, settings: Any) -> None:
    row = add(house)
    settings.PROVIDER_KEY_CHECKS = "1/minute"
    url = house.url(f"provider-keys/{row.id}/validate")
    assert [house.owner.post(url).status_code for _ in range(2)] == [302, 429]


def test_budget_is_set_changed_and_taken_away(house: House) -> None:
    row = add(house)
    url = house.url(f"provider-keys/{row.id}")
    scope = {"label": "Main account", "priority": "0", "weight": "1"}
    for budget, amounts in (("25.50", [25_500_000_000]), ("30", [30_000_000_000]), ("", [])):
        assert house.owner.post(url, {**scope, "budget": budget}).status_code == 302
        caps = key_caps([row.id], developer_id=house.developer_id, now=now())
        assert [each.amount for each in caps.values()] == amounts
    assert house.owner.post(url, {**scope, "budget": "30"}).status_code == 302
    assert "$0.00 of $30.00" in house.owner.get(house.url("provider-keys")).content.decode()
    refused = house.owner.post(url, {**scope, "label": "Other", "budget": "-1"})
    assert 'id="id_budget_error"' in refused.content.decode()
    row.refresh_from_db()
    assert row.label == "Main account"


def test_use_is_changed(house: House) -> None:
    row = add(house)
    url = house.url(f"provider-keys/{row.id}")
    values = {
        "label": "Second",
        "models": "gpt-5\n\n claude-5 ",
        "apps": [house.app_id],
        "features": ["default"],
        "priority": "-5",
        "weight": "7",
    }
    assert house.owner.post(url, values).status_code == 302
    row.refresh_from_db()
    assert (row.label, row.models_allowed, row.apps_allowed) == ("Second", ["gpt-5", "claude-5"], [house.app_id])
    assert (row.features_allowed, row.priority, row.weight) == (["default"], -5, 7)
    page = house.owner.get(url).content.decode()
    assert len(re.findall(r"<input type=\"checkbox\"[^>]* checked", page)) == 2
    wrong = house.owner.post(url, {**values, "weight": "0", "apps": ["app_of_somebody"]}).content.decode()
    assert 'id="id_weight_error"' in wrong
    assert 'id="id_apps_error"' in wrong


def test_key_is_rotated(house: House, server: Answering) -> None:
    row = add(house)
    server.parts = (answer(401, b"{}"),)
    refused = house.owner.post(house.url(f"provider-keys/{row.id}/rotate"), {"secret": NEW})
    assert 'id="id_secret_error"' in refused.content.decode()
    server.parts = (answer(200, MODELS),)
    answered = house.owner.post(house.url(f"provider-keys/{row.id}/rotate"), {"secret": NEW})
    new = ProviderCredential.objects.get(pk=answered["location"].rsplit("/", 1)[1])
    row.refresh_from_db()
    assert (new.hint, new.replaces_id, row.status) == ("NEWW", row.id, "disabled")
    page = house.owner.get(house.url("provider-keys")).content.decode()
    assert ("…NEWW" in page, "…WXYZ" in page) == (True, False)


def test_key_is_switched_off_and_on_and_deleted(house: House) -> None:
    row = add(house)
    url = house.url(f"provider-keys/{row.id}")
    for to, status in (("off", "disabled"), ("on", "active")):
        assert house.owner.post(f"{url}/switch", {"to": to})["location"] == url
        row.refresh_from_db()
        assert row.status == status
    assert "Main account" in house.owner.get(f"{url}/delete").content.decode()
    assert house.owner.post(f"{url}/delete")["location"] == house.url("provider-keys")
    assert ProviderCredential.objects.defer("secret").get(pk=row.pk).status == "deleted"
    assert house.owner.get(url).status_code == 404


def test_list_without_a_key_says_what_to_do(house: House) -> None:
    page = house.owner.get(house.url("provider-keys")).content.decode()
    assert house.url("provider-keys/new") in page


def test_number_of_queries_does_not_grow(house: House, django_assert_max_num_queries: Any) -> None:
    counts = []
    for numbers in ((1,), (2, 3)):
        for number in numbers:
            key_id = stored(house, number)
        with django_assert_max_num_queries(12) as counted:
            house.owner.get(house.url("provider-keys"))
        counts.append(len(counted))
        with django_assert_max_num_queries(12):
            house.owner.get(house.url(f"provider-keys/{key_id}"))
    assert counts[0] == counts[1]
