import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from apps.core.errors import BadRequest, Conflict, NotFound
from apps.developers.models import AuditEvent
from apps.gateway.providers.registry import ADAPTERS
from apps.vault import services
from apps.vault.checking import check_key, check_url_of
from apps.vault.models import ProviderCredential, Validation
from apps.vault.secrets import Secret
from tests.core.answering import Answering, answer
from tests.features.factories import ACTOR, NOW, make_app, make_developer, make_user
from tests.vault.factories import SECRET, load_credentials, make_credential, make_provider

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}
MODELS = json.dumps({"data": []}).encode()


@pytest.fixture
def server(settings: Settings) -> Iterator[Answering]:
    """Give a provider that takes every key, at an address that the operator allows."""
    with Answering(answer(200, MODELS)) as running:
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{running.port}",)
        yield running


def says(server: Answering, status: int, body: bytes = b"{}") -> None:
    server.parts = (answer(status, body),)


def place(server: Answering) -> str:
    return f"http://127.0.0.1:{server.port}/v1"


def add(server: Answering, **fields: Any) -> str:
    provider = make_provider("local", base_url=place(server))
    defaults = {"owner_class": "platform", "provider": provider, "label": "Main", "secret": SECRET}
    return services.add_checked_credential(**{**defaults, **fields}, **WHO)


@pytest.mark.parametrize("adapter", sorted(ADAPTERS))
@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.example.com",
        "https://api.example.com/",
        "https://api.example.com/v1",
        "https://api.example.com/v1beta",
        "https://api.example.com/v1/projects/p/publishers/google",
        "https://api.example.com/openai",
        "https://api.example.com/openai/v1",
        "https://api.example.com/openai?api-version=2025-01-01",
    ],
)
def test_key_is_tried_where_its_adapter_says(adapter: str, base_url: str) -> None:
    assert check_url_of(adapter, base_url) == ADAPTERS[adapter].check_url(base_url)


def test_open_list_of_models_proves_nothing() -> None:
    assert check_url_of("openai_compatible", "https://openrouter.ai/api/v1") == "https://openrouter.ai/api/v1/key"


def test_unknown_adapter_cannot_be_checked() -> None:
    check = check_key(adapter="smoke", base_url="https://api.example.com", secret=Secret("x"), operators_url=True)
    assert check.result == Validation.NOT_SUPPORTED


@pytest.mark.parametrize(
    ("adapter", "sent"),
    [
        ("openai_compatible", f"authorization: bearer {SECRET.lower()}\r\n"),
        ("anthropic", f"x-api-key: {SECRET.lower()}\r\n"),
        ("anthropic", "anthropic-version: "),
        ("gemini", f"x-goog-api-key: {SECRET.lower()}\r\n"),
        ("azure_openai", f"api-key: {SECRET.lower()}\r\n"),
    ],
)
def test_check_sends_the_key_as_calls_do(server: Answering, adapter: str, sent: str) -> None:
    check = check_key(adapter=adapter, base_url=place(server), secret=Secret(SECRET), operators_url=True)
    assert (check.result, check.status) == (Validation.OK, 200)
    (request,) = server.requests
    assert request.startswith(b"GET /v1/models HTTP/1.1")
    assert sent.encode() in request.lower()


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (200, MODELS, "ok"),
        (403, b"{}", "restricted"),
        (404, b"", "not_supported"),
        (400, b"{}", "unclear"),
        (302, b"", "unclear"),
        (429, b"{}", "unclear"),
        (500, b"", "unclear"),
    ],
)
def test_answer_is_stored_with_the_key(server: Answering, status: int, body: bytes, result: str) -> None:
    says(server, status, body)
    row = ProviderCredential.objects.get(pk=add(server))
    assert (row.validation, row.validation_status, row.validated_at) == (result, status, NOW)
    assert row.validation_ms is not None
    assert AuditEvent.objects.get(subject_id=row.id).detail["validation"] == result


@pytest.mark.parametrize(("status", "body"), [(401, b"{}"), (400, b'{"reason": "API_KEY_INVALID"}')])
def test_refused_key_is_not_stored(server: Answering, status: int, body: bytes) -> None:
    says(server, status, body)
    with pytest.raises(BadRequest) as caught:
        add(server)
    assert (caught.value.code, caught.value.param) == ("key_rejected", "secret")
    assert not ProviderCredential.objects.exists()


def test_provider_out_of_reach_does_not_keep_a_key_from_being_stored(server: Answering) -> None:
    server.__exit__()
    row = ProviderCredential.objects.get(pk=add(server))
    assert (row.validation, row.validation_status, row.status) == ("unreachable", None, "active")


def test_nothing_is_sent_for_a_key_that_could_not_be_stored(server: Answering) -> None:
    for fields in (
        {"secret": "two words"},
        {"provider": "nobody"},
        {"owner_class": "developer", "owner_id": "dev_x"},
        {"base_url": "http://169.254.169.254/"},
    ):
        with pytest.raises((BadRequest, NotFound)):
            add(server, **fields)
    assert server.connections == 0


def test_operators_endpoint_is_checked_for_all_and_named_by_the_operator_alone(
    server: Answering, settings: Settings
) -> None:
    """A developer's key goes to the operator's vLLM where the operator says so, and nowhere else inside."""
    developer = make_developer()
    owner = {"owner_class": "developer", "owner_id": developer}
    row = ProviderCredential.objects.get(pk=add(server, **owner))
    assert row.validation == "ok"
    assert len(server.requests) == 1
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{server.port}", f"vllm.example.com:{server.port}")
    for base_url in (place(server), f"http://vllm.example.com:{server.port}/v1"):
        with pytest.raises(BadRequest) as caught:
            add(server, base_url=base_url, **owner)
        assert caught.value.code == "address_not_allowed"
    assert len(server.requests) == 1


def test_address_that_became_the_operators_own_is_not_called(settings: Settings) -> None:
    row = make_credential(
        owner_class="developer", owner_id=make_developer(), base_url="https://llm.example.com:8443/v1"
    )
    assert [found.id for found in load_credentials()] == [row.id]
    settings.OUTBOUND_PRIVATE_ENDPOINTS = ("llm.example.com:8443",)
    assert load_credentials() == ()


def test_validation_on_demand_is_stored_and_audited(server: Answering) -> None:
    key = add(server)
    says(server, 401)
    check = services.validate_credential(key, now=NOW + timedelta(hours=1), actor=ACTOR)
    assert check.result == Validation.AUTH_FAILED
    row = ProviderCredential.objects.get(pk=key)
    assert (row.validation, row.status) == ("auth_failed", "active")
    assert row.validated_at == NOW + timedelta(hours=1)
    event = AuditEvent.objects.get(subject_id=key, action="credential.validate")
    assert event.detail["before"] == "ok"
    with pytest.raises(NotFound):
        services.validate_credential("cred_x", **WHO)


def test_keys_are_tried_once_a_day(server: Answering) -> None:
    keys = [add(server) for _ in range(3)]
    services.disable_credential(keys[0], **WHO)
    unreadable = make_credential(provider="local")
    services.delete_credential(unreadable.id, **WHO)
    server.requests.clear()

    assert services.validate_due(now=NOW + timedelta(hours=23), actor="validation") == 0
    says(server, 401)
    later = NOW + timedelta(hours=25)
    assert services.validate_due(now=later, actor="validation") == 2
    assert len(server.requests) == 2
    assert services.validate_due(now=later, actor="validation") == 0
    rows = ProviderCredential.objects.filter(pk__in=keys[1:])
    assert {(row.validation, row.validated_at) for row in rows} == {("auth_failed", later)}

    events = AuditEvent.objects.filter(action="credential.validate")
    assert events.count() == 2
    services.validate_due(now=later + timedelta(days=1), actor="validation")
    assert events.count() == 2  # what came out as before is no event


def test_rotation_tries_the_new_key_first(server: Answering) -> None:
    old = add(server)
    says(server, 401)
    with pytest.raises(BadRequest) as caught:
        services.rotate_checked_credential(old, secret="sk-new-0123456789abcdef", **WHO)
    assert caught.value.code == "key_rejected"
    assert [found.id for found in load_credentials()] == [old]
    says(server, 200)
    new = services.rotate_checked_credential(old, secret="sk-new-0123456789abcdef", **WHO)
    (found,) = load_credentials()
    assert (found.id, found.headers.items()[0][1]) == (new, "Bearer sk-new-0123456789abcdef")
    assert ProviderCredential.objects.get(pk=new).validation == "ok"
    with pytest.raises(Conflict):
        services.rotate_checked_credential(old, secret="sk-new-0123456789abcdef", **WHO)
    # Until gateways have seen the rotation, and for calls under way, the old key is still the old key.
    assert ProviderCredential.objects.get(pk=old).secret.reveal() == SECRET


def test_number_of_keys_is_limited_by_owner(server: Answering) -> None:
    app = make_app()
    owner = {"owner_class": "end_user", "owner_id": make_user(app), "at_most": 2}
    first, _second = add(server, **owner), add(server, **owner)
    with pytest.raises(Conflict) as caught:
        add(server, **owner)
    assert caught.value.code == "too_many_provider_keys"
    add(server, **{**owner, "owner_id": make_user(app, "bob")})
    newer = services.rotate_credential(first, secret="sk-new-0123456789abcdef", **WHO)
    with pytest.raises(Conflict):
        add(server, **owner)
    services.delete_credential(newer, **WHO)
    add(server, **owner)


def test_provider_that_takes_no_keys_of_ones_own(server: Answering) -> None:
    add(server)
    make_provider("closed", base_url=place(server), byok_allowed=False)
    make_credential(provider="closed")
    with pytest.raises(Conflict) as caught:
        add(server, provider="closed", owner_class="developer", owner_id=make_developer())
    assert caught.value.code == "provider_not_open"


def test_operator_validates_on_the_page_and_by_saving(
    admin_client: Client, server: Answering, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    key = add(server)
    pages = reverse("admin:vault_providercredential_changelist")
    says(server, 401)
    response = admin_client.post(pages, {"action": "validate", "_selected_action": [key]}, follow=True)
    assert "refused by the provider (401" in response.text
    says(server, 200)
    fields = {"owner_class": "platform", "owner_id": "", "provider": "local", "base_url": "", "label": "Spare"}
    fields |= {"models_allowed": "", "weight": "1", "priority": "100", "new_secret": SECRET}
    with django_capture_on_commit_callbacks(execute=True):
        admin_client.post(reverse("admin:vault_providercredential_add"), fields)
    assert ProviderCredential.objects.get(label="Spare").validation == "ok"
    actor = AuditEvent.objects.filter(action="credential.validate").latest("id").actor
    assert actor == f"user:{User.objects.get().pk}"
    admin_client.post(pages, {"action": "delete_for_good", "_selected_action": [key]})
    assert ProviderCredential.objects.get(pk=key).status == "deleted"
    assert admin_client.get(pages).status_code == 200
    assert admin_client.get(reverse("admin:vault_providercredential_change", args=[key])).status_code == 200
