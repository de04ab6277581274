"""What end users let themselves spend, and what keys of one's own may be billed a month."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import Settings

from apps.core.clock import now
from apps.features.services.apps import update_app
from apps.features.services.tokens import revoke_session
from apps.usage.budgets.queries import load_own_budgets
from apps.usage.models import Alert, Budget
from apps.vault.models import ProviderCredential
from tests.core.answering import Answering
from tests.gateway.api_factories import Api, code_of, error_of, make_api, make_stranger
from tests.gateway.test_api_provider_keys import KEYS, NEWER, SECRET, of, patch, provider, session, store
from tests.live import ACTOR, differences
from tests.usage.budgeting import admit, ask
from tests.usage.factories import Desk, settle

pytestmark = pytest.mark.django_db
PATH = "/v1/user/budget"

__all__ = ["provider"]


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def put(api: Api, body: Any, token: str | None = None) -> Any:
    headers = {"authorization": f"Bearer {token or api.world.token}"}
    return api.client.put(PATH, body, content_type="application/json", headers=headers)


def test_end_user_sets_changes_and_takes_away_own_limits(api: Api) -> None:
    assert api.get(PATH, api.world.token).json() == {"object": "user_budget", "daily": None, "monthly": None}
    answer = put(api, {"daily_usd": "1", "monthly_usd": "10"}).json()
    assert (answer["daily"]["limit_usd"], answer["monthly"]["remaining_usd"]) == ("1.0000", "10.0000")
    assert put(api, {"daily_usd": "2"}).json()["monthly"]["amount_usd"] == "10.0000"
    answer = put(api, {"monthly_usd": None}).json()
    assert (answer["daily"]["amount_usd"], answer["monthly"]) == ("2.0000", None)
    assert api.get(PATH, api.world.token).json() == answer
    rows = Budget.objects.order_by("period").values_list("period", "hard", "enabled", "end_user_id", "developer_id")
    user = api.world.end_user_id
    assert list(rows) == [("day", True, True, user, None), ("month", True, False, user, None)]
    assert api.get(PATH, session(api)).json()["daily"] is None


def test_own_limit_refuses_and_tells_nobody(api: Api) -> None:
    put(api, {"daily_usd": "0.01"})
    refs = load_own_budgets(api.world.end_user_id).for_scopes(
        developer_id="dev_x", app_id="app_x", feature_key="f", end_user_id=api.world.end_user_id
    )
    desk = Desk(api.world)
    results = admit(*[ask(desk, 6_000_000, *[ref.id for ref in refs]) for _ in range(2)])
    assert [result.outcome for result in results] == ["granted", "budget"]
    shown = api.get(PATH, api.world.token).json()["daily"]
    assert (shown["reserved_usd"], shown["remaining_usd"]) == ("0.0060", "0.0040")
    assert Alert.objects.count() == 0


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "missing_parameter", "monthly_usd"),
        ({"daily": "1"}, "missing_parameter", "monthly_usd"),
        ({"daily_usd": "0"}, "invalid_budget", "daily_usd"),
        ({"monthly_usd": 3}, "invalid_type", "monthly_usd"),
        ({"daily_usd": "1", "monthly_usd": "much"}, "invalid_type", "monthly_usd"),
    ],
)
def test_limit_that_cannot_be(api: Api, body: Any, code: str, param: str) -> None:
    response = put(api, body)
    assert (response.status_code, error_of(response)["code"], error_of(response)["param"]) == (400, code, param)
    assert not Budget.objects.exists()


def test_who_has_no_budget_of_their_own(api: Api) -> None:
    stranger = session(api, app_id=make_stranger()[1])
    put(api, {"daily_usd": "1"})
    assert api.get(PATH, stranger).json()["daily"] is None
    update_app(app_id=api.app_id, anonymous_allowance=1, now=now(), actor=ACTOR)
    anonymous = session(api, user="device", assurance="anonymous")
    key, token = api.world.virtual_key(usd="1"), session(api)
    with connection.cursor() as cursor:
        cursor.execute("SELECT id FROM virtual_sessions ORDER BY id DESC LIMIT 1")
        (latest,) = cursor.fetchone()
    revoke_session(session_id=latest, now=now(), actor=ACTOR)
    for bearer, expected in (
        (anonymous, (403, "proof_required")),
        (key, (403, "end_user_required")),
        (api.developer_token, (401, "invalid_token")),
        (token, (401, "token_revoked")),
    ):
        assert code_of(api.get(PATH, bearer)) == expected
        assert code_of(put(api, {"daily_usd": "9"}, bearer)) == expected
    assert Budget.objects.count() == 1


def test_changes_are_limited(api: Api, settings: Settings) -> None:
    settings.BUDGET_CHANGES = "1/hour"
    assert put(api, {"daily_usd": "1"}).status_code == 200
    limited = put(api, {"daily_usd": "2"})
    assert (limited.status_code, int(limited.headers["retry-after"]) > 0) == (429, True)
    assert api.get(PATH, api.world.token).json()["daily"]["amount_usd"] == "1.0000"
    assert put(api, {"daily_usd": "1"}, session(api)).status_code == 200


# Keys.


def both(api: Api) -> Iterator[tuple[str, str]]:
    yield KEYS, api.world.token
    yield of(api)[:2]


def test_key_has_a_monthly_budget_that_is_changed_and_taken_away(api: Api, provider: Answering) -> None:
    for path, token in both(api):
        key = store(api, token, path, monthly_budget_usd="5")
        assert (key["monthly_budget_usd"], key["monthly_budget"]["remaining_usd"]) == ("5.0000", "5.0000")
        item = f"{path}/{key['id']}"
        assert patch(api, item, {"monthly_budget_usd": "7"}, token).json()["monthly_budget_usd"] == "7.0000"
        assert patch(api, item, {"label": "Spare"}, token).json()["monthly_budget_usd"] == "7.0000"
        without = patch(api, item, {"monthly_budget_usd": None}, token).json()
        assert (without["monthly_budget_usd"], without["monthly_budget"]) == (None, None)
        patch(api, item, {"monthly_budget_usd": "8"}, token)
        plain = store(api, token, path)
        shown = {row["id"]: row["monthly_budget_usd"] for row in api.get(path, token).json()["data"]}
        assert shown == {key["id"]: "8.0000", plain["id"]: None}
        assert api.get(item, token).json()["monthly_budget_usd"] == "8.0000"
    owners = {(row.end_user_id, row.developer_id, tuple(row.thresholds)) for row in Budget.objects.all()}
    assert owners == {(api.world.end_user_id, None, ()), (None, api.developer_id, (80, 95))}


def test_budget_spent_with_the_old_key_counts_after_a_rotation(api: Api, provider: Answering) -> None:
    for path, token in both(api):
        old = store(api, token, path, monthly_budget_usd="1")["id"]
        budget_id = Budget.objects.get(scope_id=old).pk
        desk = Desk(api.world)
        request = ask(desk, 5_000_000, (budget_id, 4_000_000, (old,)))
        admit(request)
        record = desk.record(request.request_id, credential_id=old)
        settle(record)
        spent = api.get(f"{path}/{old}", token).json()["monthly_budget"]["spent_usd"]
        assert spent != "0.0000"

        new = api.post(f"{path}/{old}/rotate", {"secret": NEWER}, token).json()
        assert (new["monthly_budget_usd"], new["monthly_budget"]["spent_usd"]) == ("1.0000", spent)
        (listed,) = [row for row in api.get(path, token).json()["data"] if row["id"] == new["id"]]
        assert listed["monthly_budget"]["spent_usd"] == spent
        changed = patch(api, f"{path}/{new['id']}", {"monthly_budget_usd": "2"}, token).json()
        assert (changed["monthly_budget"]["spent_usd"], changed["monthly_budget"]["limit_usd"]) == (spent, "2.0000")
        assert Budget.objects.filter(scope="credential", enabled=True).count() == 1
        assert api.delete(f"{path}/{new['id']}", token).status_code == 204
        assert not Budget.objects.filter(enabled=True).exists()
    assert differences() == []


def test_key_whose_budget_cannot_be_is_not_stored(api: Api, provider: Answering, settings: Settings) -> None:
    for path, token in both(api):
        for value, code in (("0", "invalid_budget"), (5, "invalid_type"), ("x", "invalid_type")):
            body = {"provider": "local", "secret": SECRET, "monthly_budget_usd": value}
            error = error_of(api.post(path, body, token))
            assert (error["code"], error["param"]) == (code, "monthly_budget_usd")
    assert provider.connections == 0
    settings.MAX_BUDGETS = 0
    body = {"provider": "local", "secret": SECRET, "monthly_budget_usd": "1"}
    assert code_of(api.post(KEYS, body, api.world.token)) == (409, "too_many_budgets")
    assert not ProviderCredential.objects.filter(owner_id=api.world.end_user_id).exists()
    key = store(api)["id"]
    refused = patch(api, f"{KEYS}/{key}", {"monthly_budget_usd": "1", "label": "New"}, api.world.token)
    assert code_of(refused) == (409, "too_many_budgets")
    assert api.get(f"{KEYS}/{key}", api.world.token).json()["label"] == "local"


@pytest.mark.parametrize("keys", [1, 3])
def test_budgets_of_many_keys_are_one_query(
    api: Api, provider: Answering, keys: int, django_assert_num_queries: Any
) -> None:
    for _ in range(keys):
        store(api, monthly_budget_usd="1")
    api.get(KEYS, api.world.token)
    with django_assert_num_queries(3):
        assert len(api.get(KEYS, api.world.token).json()["data"]) == keys
