"""GET /v1/providers/health: cached, by key for operators, coarse for developers, nothing for others."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.catalog.services.offers import add_provider, disable_provider, update_provider
from apps.core.clock import now
from apps.developers.models import Scope
from apps.gateway.failures import Failure
from apps.gateway.health import process_health
from apps.vault.models import CredentialHealth, ProviderCredential
from apps.vault.services import add_credential
from tests.gateway.api_factories import Api, code_of, make_api, make_developer_token
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
URL = "/v1/providers/health"


@pytest.fixture(autouse=True)
def fresh_health() -> Iterator[None]:
    process_health.cache_clear()
    yield
    process_health.cache_clear()


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


@pytest.fixture
def operator(api: Api) -> Client:
    user = get_user_model().objects.create_user("op", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_credentialhealth"))
    client = Client()
    client.force_login(user)
    return client


def key() -> ProviderCredential:
    return ProviderCredential.objects.get()


def checked(**fields: Any) -> None:
    moment = now()
    values = {"result": "ok", "http_status": 200, "latency_ms": 12, "checked_at": moment, "changed_at": moment}
    CredentialHealth.objects.create(credential=key(), **values | fields)


def shown(client: Client) -> Any:
    response = client.get(URL)
    assert response.status_code == 200, response.content
    return response.json()["data"]


def state(client: Client) -> str:
    (provider,) = shown(client)
    found: str = provider["state"]
    return found


def test_operator_sees_each_key_and_its_circuits(operator: Client) -> None:
    checked()
    process_health().success((key().id, "m"), 0.25)
    (provider,) = shown(operator)
    assert (provider["id"], provider["state"]) == ("double-0", "ok")
    (credential,) = provider["credentials"]
    assert (credential["id"], credential["state"], credential["hint"]) == (key().id, "ok", key().hint)
    assert credential["check"]["latency_ms"] == 12
    assert credential["circuits"] == [
        {
            "model": "m",
            "state": "closed",
            "consecutive_failures": 0,
            "error_rate": 0.0,
            "latency_ms": 250,
            "retry_in_seconds": 0.0,
            "code": None,
        }
    ]
    assert "sk-double" not in operator.get(URL).content.decode()


def test_state_follows_checks_and_circuits(operator: Client) -> None:
    assert state(operator) == "unknown"
    checked(down=True, consecutive_failures=3, result="unreachable")
    assert state(operator) == "down"
    CredentialHealth.objects.update(down=False, consecutive_failures=0, result="ok")
    assert state(operator) == "ok"
    for _ in range(3):
        process_health().failure((key().id, "m"), Failure("provider_error", 500))
    assert state(operator) == "degraded"
    process_health().failure((key().id, "m"), Failure("provider_auth_failed", 401))
    assert state(operator) == "down"
    spare = {"owner_class": "platform", "provider": "double-0", "label": "spare", "secret": "sk-spare-1"}
    add_credential(**spare, now=now(), actor=ACTOR)
    assert state(operator) == "degraded"
    disable_provider("double-0", now=now(), actor=ACTOR)
    assert state(operator) == "disabled"


def test_developer_sees_states_and_terms_of_active_providers_and_no_keys(api: Api) -> None:
    checked(down=True, consecutive_failures=3, result="unreachable")
    update_provider("double-0", trains_on_data=True, notice="Served by Double", now=now(), actor=ACTOR)
    terms = {"resale_allowed": True, "trains_on_data": False}
    add_provider(id="gone", name="Gone", base_url="https://gone.example/v1", **terms, now=now(), actor=ACTOR)
    disable_provider("gone", now=now(), actor=ACTOR)
    response = api.get(URL, api.developer_token)
    assert response.status_code == 200
    assert response.json() == {
        "object": "list",
        "data": [
            {
                "object": "provider_health",
                "id": "double-0",
                "name": "double-0",
                "state": "down",
                "terms": {
                    "url": "",
                    "resale_allowed": True,
                    "byok_allowed": True,
                    "white_label_allowed": False,
                    "trains_on_data": True,
                    "notice": "Served by Double",
                },
            }
        ],
    }
    assert key().id not in response.content.decode()


def test_others_see_nothing(api: Api) -> None:
    assert code_of(api.get(URL)) == (401, "missing_token")
    assert code_of(api.get(URL, api.world.token)) == (401, "invalid_token")
    without = make_developer_token(api.developer_id, [Scope.USAGE_READ])
    assert code_of(api.get(URL, without)) == (403, "insufficient_scope")


@pytest.mark.parametrize("changed", [{"is_staff": False}, {"is_active": False}, {"user_permissions": ()}])
def test_user_who_is_no_operator_sees_nothing(operator: Client, changed: dict[str, Any]) -> None:
    user = get_user_model().objects.get(username="op")
    if "user_permissions" in changed:
        user.user_permissions.clear()
    else:
        get_user_model().objects.filter(pk=user.pk).update(**changed)
    assert operator.get(URL).status_code == 401


def test_answer_takes_the_same_queries_for_one_key_and_for_three(operator: Client) -> None:
    counts = []
    for more in (0, 2):
        for _ in range(more):
            spare = {"owner_class": "platform", "provider": "double-0", "label": "spare", "secret": "sk-spare-1"}
            add_credential(**spare, now=now(), actor=ACTOR)
        with CaptureQueriesContext(connection) as captured:
            shown(operator)
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_operator_token_shows_everything_and_nothing_else(api: Api, operator: Client, settings: Any) -> None:
    settings.OPERATOR_TOKEN = "op-" + "x" * 40
    answer = api.get(URL, settings.OPERATOR_TOKEN)
    assert answer.status_code == 200
    assert answer.json()["data"] == shown(operator)
    assert answer.json()["data"][0]["credentials"]
    assert code_of(api.get(f"/v1/developers/{api.developer_id}/revenue", settings.OPERATOR_TOKEN)) == (
        401,
        "invalid_token",
    )


@pytest.mark.parametrize("token", ["op-" + "x" * 39, "op-" + "x" * 41, "op-" + "X" * 40, "wrong"])
def test_wrong_operator_token_is_refused(api: Api, settings: Any, token: str) -> None:
    settings.OPERATOR_TOKEN = "op-" + "x" * 40
    assert code_of(api.get(URL, token)) == (401, "invalid_token")
    developer = make_developer_token(api.developer_id, [Scope.APPS_READ])
    assert "credentials" not in api.get(URL, developer).json()["data"][0]


def test_without_an_operator_token_no_token_is_one(api: Api, settings: Any, client: Client) -> None:
    settings.OPERATOR_TOKEN = ""
    assert client.get(URL, headers={"authorization": "Bearer "}).status_code == 401
    assert code_of(api.get(URL)) == (401, "missing_token")
