import logging
import pickle
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings

from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.models import PolicyEpoch
from apps.developers.models import AuditEvent
from apps.features.services.features import create_feature
from apps.vault import queries, services
from apps.vault.models import ProviderCredential
from tests.features.factories import ACTOR, NOW, make_app, make_developer, make_user
from tests.vault.factories import SECRET, load_credentials, make_credential, make_provider

pytestmark = pytest.mark.django_db
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


def test_credential_is_loaded_ready_to_call_with() -> None:
    row = make_credential(
        base_url="https://eu.example.com/v1/", models_allowed=["b", "a", "a"], weight=3, priority=7, label=" Main "
    )
    (credential,) = load_credentials()
    assert credential == queries.Credential(
        id=row.id,
        owner_class="platform",
        owner_id="",
        provider="openai",
        base_url="https://eu.example.com/v1",
        models_allowed=frozenset({"a", "b"}),
        weight=3,
        priority=7,
        headers=queries.AuthHeaders(("authorization", f"Bearer {SECRET}")),
    )
    assert row.label == "Main"


def test_headers_do_not_leak_by_accident() -> None:
    make_credential()
    (credential,) = load_credentials()
    for text in (repr(credential), str(credential.headers), f"{credential.headers:>50}", f"{credential}"):
        assert SECRET not in text
    with pytest.raises(TypeError):
        pickle.dumps(credential)
    assert dict(credential.headers.items()) == {"authorization": f"Bearer {SECRET}"}


def test_keys_of_all_four_owners_are_loaded_by_priority() -> None:
    app = make_app()
    user = make_user(app)
    make_credential(owner_class="end_user", owner_id=user, priority=3)
    make_credential(owner_class="developer", owner_id=app.developer_id, priority=2)
    make_credential(owner_class="operator", priority=1)
    make_credential(owner_class="platform", priority=0)
    assert [(found.owner_class, found.owner_id) for found in load_credentials()] == [
        ("platform", ""),
        ("operator", ""),
        ("developer", app.developer_id),
        ("end_user", user),
    ]


def test_shared_keys_and_keys_of_a_caller_are_loaded_apart() -> None:
    app, other = make_app(), make_app()
    user, stranger = make_user(app), make_user(app, "stranger")
    shared = {make_credential(owner_class=owner).id for owner in ("platform", "operator")}
    developer = make_credential(owner_class="developer", owner_id=app.developer_id, priority=2)
    theirs = make_credential(owner_class="end_user", owner_id=user, priority=1)
    make_credential(owner_class="end_user", owner_id=stranger)
    make_credential(owner_class="developer", owner_id=make_developer())

    def ids(**owners: str | None) -> list[str]:
        asked: dict[str, str | None] = {"developer_id": None, "end_user_id": None} | owners
        return [found.id for found in queries.credentials_of(**asked)]

    assert {found.id for found in queries.load_shared_credentials()} == shared
    assert ids(developer_id=app.developer_id, end_user_id=user) == [theirs.id, developer.id]
    assert ids(developer_id=app.developer_id) == [developer.id]
    assert ids(end_user_id=user) == [theirs.id]
    assert ids() == ids(developer_id="", end_user_id="") == []
    (found,) = queries.credentials_of(developer_id=None, end_user_id=user)
    assert (found.apps_allowed, found.features_allowed) == ({app.id}, frozenset())
    with pytest.raises(NotFound):
        services.update_credential(theirs.id, apps_allowed=[other.id], **WHO)
    services.update_credential(theirs.id, apps_allowed=[], **WHO)
    theirs.refresh_from_db()
    assert theirs.apps_allowed == [app.id]


def test_key_is_for_apps_and_features_that_its_owner_has() -> None:
    app, other = make_app(), make_app(developer_id=make_developer())
    create_feature(app_id=app.id, key="chat", name="Chat", **WHO)
    developer = {"owner_class": "developer", "owner_id": app.developer_id}
    row = make_credential(**developer, apps_allowed=[app.id, app.id], features_allowed=["chat"])
    (found,) = queries.credentials_of(developer_id=app.developer_id, end_user_id=None)
    assert (found.apps_allowed, found.features_allowed) == ({app.id}, {"chat"})
    assert make_credential(**developer, features_allowed=["chat"]).apps_allowed == []
    assert make_credential(apps_allowed=[other.id, app.id]).apps_allowed == [other.id, app.id]
    for fields, code in (
        ({**developer, "apps_allowed": [other.id]}, "app_not_found"),
        ({**developer, "features_allowed": ["talk"]}, "feature_not_found"),
        ({"apps_allowed": ["app_x"]}, "app_not_found"),
        ({"apps_allowed": [other.id], "features_allowed": ["chat"]}, "feature_not_found"),
    ):
        with pytest.raises(NotFound) as caught:
            make_credential(**fields)
        assert caught.value.code == code
    with pytest.raises(BadRequest):
        make_credential(features_allowed=["Not A Key"])
    new = services.rotate_credential(row.id, secret="sk-new-0123456789abcdef", **WHO)
    rotated = ProviderCredential.objects.get(pk=new)
    assert (rotated.apps_allowed, rotated.features_allowed) == ([app.id], ["chat"])


@pytest.mark.parametrize(
    ("adapter", "header"),
    [
        ("openai_compatible", ("authorization", f"Bearer {SECRET}")),
        ("anthropic", ("x-api-key", SECRET)),
        ("azure_openai", ("api-key", SECRET)),
        ("gemini", ("x-goog-api-key", SECRET)),
    ],
)
def test_key_is_sent_as_its_adapter_takes_it(adapter: str, header: tuple[str, str]) -> None:
    make_credential(provider=make_provider(f"p-{adapter.replace('_', '-')}", adapter=adapter))
    (credential,) = queries.load_shared_credentials()
    assert credential.headers.items() == (header,)


def test_loading_is_one_query() -> None:
    for _ in range(3):
        make_credential()
    with connection.execute_wrapper(_Once()):
        assert len(queries.load_shared_credentials()) == 3


class _Once:
    def __init__(self) -> None:
        self.left = 1

    def __call__(self, execute: Any, *args: Any) -> Any:
        assert self.left, "a second query"
        self.left -= 1
        return execute(*args)


def test_credential_that_does_not_open_is_left_out_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    good, bad = make_credential(), make_credential()
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE provider_credentials bad SET secret = good.secret FROM provider_credentials good"
            " WHERE good.id = %s AND bad.id = %s",
            [good.id, bad.id],
        )
    with caplog.at_level(logging.ERROR):
        assert [credential.id for credential in load_credentials()] == [good.id]
    (record,) = caplog.records
    assert record.credential_id == bad.id  # type: ignore[attr-defined]


def test_disabled_credential_is_not_loaded_until_enabled() -> None:
    row = make_credential()
    services.disable_credential(row.id, **WHO)
    services.disable_credential(row.id, **WHO)
    assert load_credentials() == ()
    services.enable_credential(row.id, **WHO)
    assert [credential.id for credential in load_credentials()] == [row.id]
    events = AuditEvent.objects.filter(subject_id=row.id).order_by("id").values_list("action", flat=True)
    assert list(events) == ["credential.add", "credential.disable", "credential.enable"]


def test_rotation_leaves_one_to_call_with_and_links_the_old() -> None:
    old = make_credential(weight=4, models_allowed=["m"], base_url="https://eu.example.com/v1")
    new_id = services.rotate_credential(old.id, secret="sk-new-0123456789abcdef", **WHO)

    (credential,) = load_credentials()
    assert credential.id == new_id
    assert credential.headers == queries.AuthHeaders(("authorization", "Bearer sk-new-0123456789abcdef"))
    assert (credential.weight, credential.models_allowed, credential.base_url) == (
        4,
        {"m"},
        "https://eu.example.com/v1",
    )
    new = ProviderCredential.objects.get(pk=new_id)
    assert (new.replaces_id, new.hint) == (old.id, "cdef")
    old.refresh_from_db()
    assert old.status == "disabled"
    assert old.secret.reveal() == SECRET


def test_replaced_credential_is_neither_rotated_nor_enabled() -> None:
    old = make_credential()
    new_id = services.rotate_credential(old.id, secret="sk-new-0123456789abcdef", **WHO)
    with pytest.raises(Conflict) as caught:
        services.rotate_credential(old.id, secret="sk-newer-0123456789abc", **WHO)
    assert caught.value.code == "credential_disabled"
    with pytest.raises(Conflict) as caught:
        services.enable_credential(old.id, **WHO)
    assert caught.value.code == "credential_replaced"
    services.disable_credential(new_id, **WHO)
    services.enable_credential(old.id, **WHO)
    assert [credential.id for credential in load_credentials()] == [old.id]


def test_update_changes_what_is_given() -> None:
    row = make_credential()
    services.update_credential(row.id, label="Spare", models_allowed=["m"], weight=9, priority=-1, **WHO)
    services.update_credential(row.id, weight=9, **WHO)
    row.refresh_from_db()
    assert (row.label, row.models_allowed, row.weight, row.priority) == ("Spare", ["m"], 9, -1)
    assert AuditEvent.objects.filter(subject_id=row.id, action="credential.update").count() == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"owner_class": "nobody"},
        {"owner_id": "dev_x"},
        {"owner_class": "operator", "owner_id": "x"},
        {"label": ""},
        {"label": "a\nb"},
        {"label": SECRET},
        {"label": "x" * 201},
        {"secret": ""},
        {"secret": "two words"},
        {"secret": "sk-x\r\nx-evil: 1"},
        {"secret": "sk-é"},
        {"secret": "x" * 4097},
        {"models_allowed": [""]},
        {"weight": 0},
        {"weight": 1001},
        {"priority": 1001},
        {"base_url": "ftp://example.com"},
        {"base_url": "https://example.com/" + "x" * 500},
    ],
)
def test_credential_that_cannot_work_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadRequest) as caught:
        make_credential(**fields)
    assert SECRET not in caught.value.message
    assert not ProviderCredential.objects.exists()


@pytest.mark.parametrize(
    "base_url",
    ["http://127.0.0.1:8000", "http://localhost", "http://10.0.0.1", "http://169.254.169.254/latest", "http://[::1]/"],
)
def test_address_inside_the_network_is_refused(base_url: str) -> None:
    with pytest.raises(BadRequest) as caught:
        make_credential(base_url=base_url)
    assert caught.value.code == "address_not_allowed"


def test_named_private_endpoint_is_for_the_platform_and_the_operator(settings: Settings) -> None:
    settings.OUTBOUND_PRIVATE_ENDPOINTS = ("10.0.0.1:8000",)
    developer = make_developer()
    make_credential(base_url="http://10.0.0.1:8000/v1")
    make_credential(owner_class="operator", base_url="http://10.0.0.1:8000/v1")
    with pytest.raises(BadRequest):
        make_credential(owner_class="developer", owner_id=developer, base_url="http://10.0.0.1:8000/v1")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"provider": "nobody"}, "provider_not_found"),
        ({"owner_class": "developer", "owner_id": "dev_x"}, "owner_not_found"),
        ({"owner_class": "end_user", "owner_id": "usr_x"}, "owner_not_found"),
        ({"owner_class": "end_user"}, "owner_not_found"),
    ],
)
def test_credential_of_nobody_is_refused(fields: dict[str, Any], code: str) -> None:
    with pytest.raises(NotFound) as caught:
        make_credential(**fields)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "service", [services.disable_credential, services.enable_credential, services.update_credential]
)
def test_unknown_credential_is_not_found(service: Any) -> None:
    with pytest.raises(NotFound):
        service("cred_x", **WHO)


def test_hint_of_a_short_key_gives_nothing_away() -> None:
    assert make_credential().hint == SECRET[-4:]
    assert make_credential(secret="ollama").hint == ""


@pytest.mark.parametrize(
    "change",
    [
        {"owner_class": "nobody"},
        {"owner_id": "dev_x"},
        {"owner_class": "developer"},
        {"weight": 0},
        {"weight": 1001},
        {"status": "on"},
    ],
)
def test_database_refuses_rows_that_cannot_be(change: dict[str, Any]) -> None:
    make_credential()
    with pytest.raises(IntegrityError), transaction.atomic():
        ProviderCredential.objects.update(**change)


def test_use_is_noted_to_the_minute_and_moves_no_epoch() -> None:
    row = make_credential()
    before = PolicyEpoch.objects.get().number
    for seconds, noted in ((0, 0), (59, 0), (61, 61)):
        services.touch_credentials([row.id], now=NOW + timedelta(seconds=seconds))
        row.refresh_from_db()
        assert row.last_used_at == NOW + timedelta(seconds=noted)
    assert PolicyEpoch.objects.get().number == before


def test_switches_and_rotation_move_the_epoch() -> None:
    row = make_credential()
    for change in (
        lambda: make_credential(),
        lambda: services.disable_credential(row.id, **WHO),
        lambda: services.enable_credential(row.id, **WHO),
        lambda: services.update_credential(row.id, weight=2, **WHO),
        lambda: services.update_credential(row.id, features_allowed=["chat"], **WHO),
        lambda: services.rotate_credential(row.id, secret="sk-new-0123456789abcdef", **WHO),
    ):
        before = PolicyEpoch.objects.get().number
        change()
        assert PolicyEpoch.objects.get().number > before


def test_no_audit_event_holds_the_secret() -> None:
    row = make_credential()
    services.rotate_credential(row.id, secret="sk-new-0123456789abcdef", **WHO)
    trail = str(list(AuditEvent.objects.values()))
    assert SECRET not in trail
    assert "sk-new" not in trail
