"""Every way by which a URL or the fate of a key gets into the vault from elsewhere."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from apps.catalog.services.offers import update_provider
from apps.core.errors import BadRequest
from apps.developers.models import AuditEvent
from apps.vault import services
from apps.vault.models import ProviderCredential
from tests.core.test_outbound import HOSTILE, NAMES
from tests.features.factories import ACTOR, NOW, make_developer
from tests.gateway.api_factories import make_api, settle_call
from tests.live import rate_all
from tests.vault.factories import make_credential, make_provider

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}
# Names are resolved when they are called; empty is the provider's own address.
REFUSED_WHEN_SAVED = [url for url in HOSTILE if url and not any(name in url for name in NAMES)]


def rotate(url: str) -> None:
    services.rotate_credential(make_credential().id, secret="sk-new-0123456789abcdef", base_url=url, **WHO)


def developers(url: str) -> None:
    make_credential(owner_class="developer", owner_id=make_developer(), base_url=url)


def checked(url: str) -> None:
    asked: dict[str, Any] = {"owner_class": "developer", "owner_id": make_developer(), "label": "x"}
    services.add_checked_credential(provider=make_provider(), secret="sk-x", base_url=url, **asked, **WHO)


PATHS: dict[str, Callable[[str], object]] = {
    "platform": lambda url: make_credential(base_url=url),
    "developer": developers,
    "checked": checked,
    "rotation": rotate,
    "provider": lambda url: make_provider("hostile", base_url=url),
    "provider_changed": lambda url: update_provider(make_provider(), base_url=url, **WHO),
}


@pytest.mark.parametrize("path", sorted(PATHS))
def test_hostile_url_is_refused_when_it_is_saved(path: str) -> None:
    let_in = []
    for url in REFUSED_WHEN_SAVED:
        if url.strip() != url:
            continue  # blanks around it are taken off first
        try:
            PATHS[path](url)
        except BadRequest:
            continue
        let_in.append(url)
    assert let_in == []


def test_refused_and_served_calls_are_noted_by_rating(client: Client) -> None:
    api = make_api(client)
    refused, served = make_credential().id, make_credential().id
    attempt = {"provider": "openai", "credential_id": refused, "model": "m", "code": "provider_auth_failed"}
    settle_call(api.world.token, credential_id=served, attempts=[{**attempt, "status": 401, "ms": 3}])
    rate_all()
    row = ProviderCredential.objects.get(pk=refused)
    assert row.failing_since is not None
    assert ProviderCredential.objects.get(pk=served).last_used_at is not None
    assert AuditEvent.objects.get(action="credential.use_failed").subject_id == refused
    settle_call(api.world.token, credential_id=refused)
    rate_all()
    assert ProviderCredential.objects.get(pk=refused).failing_since is None
