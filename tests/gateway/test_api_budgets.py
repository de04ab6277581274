"""Budgets of developers over the API, and who is told when they run low."""

from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.developers.models import AuditEvent, Scope
from apps.usage.budgets.queries import budget_state
from apps.usage.models import Alert, AlertEndpoint
from apps.vault.services import add_credential
from tests.gateway.api_factories import (
    Api,
    code_of,
    error_of,
    make_api,
    make_developer_token,
    make_stranger,
)
from tests.live import ACTOR
from tests.usage.budgeting import admit, ask
from tests.usage.factories import Desk, settle

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def budgets_of(api: Api) -> str:
    return f"/v1/developers/{api.developer_id}/budgets"


def send(api: Api, method: str, path: str, body: Any = None, token: str | None = None) -> Any:
    headers = {} if token == "" else {"authorization": f"Bearer {token or api.developer_token}"}
    ask = getattr(api.client, method)
    return (
        ask(path, headers=headers)
        if body is None
        else ask(path, body, content_type="application/json", headers=headers)
    )


def made(api: Api, **more: Any) -> Any:
    body = {"scope": "app", "scope_id": api.app_id, "period": "month", "amount_usd": "5", **more}
    response = send(api, "post", budgets_of(api), body)
    assert response.status_code == 201, response.content
    return response.json()


def spend(api: Api, budget_id: str, amount: str) -> None:
    """Have a call of the app's take `amount` of a budget."""
    desk = Desk(api.world)
    request = ask(desk, nano_from_usd(amount), budget_id)
    admit(request)
    settle(desk.record(request.request_id))


def test_budget_is_set_shown_changed_and_disabled(api: Api) -> None:
    budget = made(api, thresholds=[50, 50, 90], rollover=True, hard=False)
    assert budget | {"period_start": None, "period_end": None} == {
        "object": "budget",
        "id": budget["id"],
        "scope": "app",
        "scope_id": api.app_id,
        "period": "month",
        "hard": False,
        "rollover": True,
        "thresholds": [50, 90],
        "enabled": True,
        "amount_usd": "5.0000",
        "period_start": None,
        "period_end": None,
        "limit_usd": "5.0000",
        "spent_usd": "0.0000",
        "reserved_usd": "0.0000",
        "remaining_usd": "5.0000",
        "carried_over_usd": "0.0000",
    }
    path = f"{budgets_of(api)}/{budget['id']}"
    admit(ask(Desk(api.world), nano_from_usd("2"), budget["id"]))
    shown = send(api, "get", path).json()
    assert (shown["reserved_usd"], shown["remaining_usd"]) == ("2.0000", "3.0000")
    changed = send(api, "patch", path, {"amount_usd": "9", "hard": True, "thresholds": [], "rollover": False}).json()
    assert (changed["limit_usd"], changed["remaining_usd"]) == ("9.0000", "7.0000")
    assert (changed["hard"], changed["thresholds"], changed["rollover"]) == (True, [], False)
    assert send(api, "delete", path).status_code == 204
    assert send(api, "get", path).json()["enabled"] is False
    assert send(api, "patch", path, {"enabled": True}).json()["enabled"] is True
    events = AuditEvent.objects.filter(subject_id=budget["id"])
    assert {event.developer_id for event in events} == {api.developer_id}
    assert all(event.actor.startswith("token:") for event in events)


def test_budgets_of_every_scope_are_listed_newest_first(api: Api) -> None:
    credential = add_credential(
        owner_class="developer",
        owner_id=api.developer_id,
        provider="double-0",
        label="mine",
        secret="sk-mine",
        now=now(),
        actor=ACTOR,
    )
    ids = [
        made(api, scope="app", scope_id=api.public_id)["id"],
        made(api, scope="feature", scope_id=f"{api.public_id}/default")["id"],
        made(api, scope="end_user", scope_id=api.world.end_user_id, period="day")["id"],
        made(api, scope="developer", scope_id=None)["id"],
        made(api, scope="credential", scope_id=credential)["id"],
    ]
    page = send(api, "get", f"{budgets_of(api)}?limit=3").json()
    assert [row["id"] for row in page["data"]] == ids[:1:-1]
    rest = send(api, "get", f"{budgets_of(api)}?limit=3&cursor={page['next_cursor']}").json()
    assert [(row["id"], row["scope_id"]) for row in rest["data"]] == [
        (ids[1], f"{api.app_id}/default"),
        (ids[0], api.app_id),
    ]
    assert (page["has_more"], rest["has_more"]) == (True, False)


@pytest.mark.parametrize("rows", [1, 3])
def test_list_takes_as_many_queries_for_many_as_for_one(api: Api, rows: int, django_assert_num_queries: Any) -> None:
    for period, scope in (("month", "app"), ("day", "app"), ("day", "developer"))[:rows]:
        made(api, period=period, scope=scope, scope_id=api.app_id if scope == "app" else None)
    send(api, "get", budgets_of(api))
    with django_assert_num_queries(2):
        assert len(send(api, "get", budgets_of(api)).json()["data"]) == rows


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"scope": None}, 400, "missing_parameter", "scope"),
        ({"scope": "planet"}, 400, "invalid_budget", "scope"),
        ({"scope": 3}, 400, "invalid_type", "scope"),
        ({"scope_id": None}, 400, "missing_parameter", "scope_id"),
        ({"scope_id": "app_nobody"}, 404, "budgeted_not_found", "scope_id"),
        ({"scope_id": "x" * 129}, 400, "invalid_type", "scope_id"),
        ({"scope": "feature", "scope_id": "app_x"}, 404, "budgeted_not_found", "scope_id"),
        ({"scope": "credential", "scope_id": "cred_x"}, 404, "budgeted_not_found", "scope_id"),
        ({"period": None}, 400, "missing_parameter", "period"),
        ({"period": "year"}, 400, "invalid_budget", "period"),
        ({"amount_usd": None}, 400, "missing_parameter", "amount_usd"),
        ({"amount_usd": 5}, 400, "invalid_type", "amount_usd"),
        ({"amount_usd": "0"}, 400, "invalid_budget", "amount_usd"),
        ({"amount_usd": "-1"}, 400, "invalid_type", "amount_usd"),
        ({"amount_usd": "0.0000000001"}, 400, "invalid_type", "amount_usd"),
        ({"hard": "yes"}, 400, "invalid_type", "hard"),
        ({"rollover": 1}, 400, "invalid_type", "rollover"),
        ({"thresholds": 80}, 400, "invalid_type", "thresholds"),
        ({"thresholds": [0]}, 400, "invalid_type", "thresholds"),
        ({"thresholds": [80.5]}, 400, "invalid_type", "thresholds"),
        ({"thresholds": [True]}, 400, "invalid_type", "thresholds"),
        ({"thresholds": list(range(1, 12))}, 400, "invalid_type", "thresholds"),
    ],
)
def test_budget_that_cannot_be(api: Api, body: Any, status: int, code: str, param: str) -> None:
    whole = {"scope": "app", "scope_id": api.app_id, "period": "month", "amount_usd": "5", **body}
    response = send(api, "post", budgets_of(api), whole)
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert send(api, "get", budgets_of(api)).json()["data"] == []


def test_change_that_cannot_be(api: Api) -> None:
    budget = made(api)
    path = f"{budgets_of(api)}/{budget['id']}"
    for body, param in (
        ({"scope": "developer"}, "scope"),
        ({"scope_id": api.developer_id}, "scope_id"),
        ({"period": "day"}, "period"),
        ({"amount_usd": "0"}, "amount_usd"),
        ({"enabled": "no"}, "enabled"),
        ({"thresholds": [1001]}, "thresholds"),
    ):
        response = send(api, "patch", path, body)
        assert (response.status_code, error_of(response)["param"]) == (400, param)
    assert send(api, "get", path).json() == budget
    assert code_of(send(api, "post", budgets_of(api), {**budget, "amount_usd": "1"})) == (409, "already_exists")


def test_budget_is_nobody_elses(api: Api) -> None:
    """Neither another developer's, nor one that the operator or an end user has set for the developer's own."""
    other_developer, other_app, other_token = make_stranger()
    mine = made(api)["id"]
    for path, token in (
        (f"{budgets_of(api)}/{mine}", other_token),
        (f"/v1/developers/{other_developer}/budgets/{mine}", other_token),
        (f"{budgets_of(api)}/bud_nothing", None),
        (f"{budgets_of(api)}/%00", None),
    ):
        for method, body in (("get", None), ("patch", {"amount_usd": "1"}), ("delete", None)):
            assert send(api, method, path, body, token).status_code == 404
    assert send(api, "get", budgets_of(api), token=other_token).status_code == 404
    body = {"scope": "app", "scope_id": other_app, "period": "day", "amount_usd": "1"}
    assert code_of(send(api, "post", budgets_of(api), body)) == (404, "budgeted_not_found")
    found = budget_state(mine, now=now())
    assert found is not None
    assert (found.enabled, found.amount) == (True, nano_from_usd("5"))


def test_scopes_of_developer_tokens(api: Api) -> None:
    budget = made(api)["id"]
    reader = make_developer_token(api.developer_id, [Scope.BUDGETS_READ])
    writer = make_developer_token(api.developer_id, [Scope.BUDGETS_WRITE])
    other = make_developer_token(api.developer_id, [Scope.USAGE_READ, Scope.APPS_WRITE])
    own = f"/v1/developers/{api.developer_id}"
    reads = [("get", f"{own}/budgets"), ("get", f"{own}/budgets/{budget}"), ("get", f"{own}/alerts")]
    reads.append(("get", f"{own}/alert-endpoint"))
    writes = [("post", f"{own}/budgets"), ("patch", f"{own}/budgets/{budget}"), ("delete", f"{own}/budgets/{budget}")]
    writes += [("put", f"{own}/alert-endpoint"), ("delete", f"{own}/alert-endpoint")]
    for method, path in reads + writes:
        wrong = writer if method == "get" else reader
        for token in (wrong, other):
            assert code_of(send(api, method, path, None if method == "get" else {}, token)) == (
                403,
                "insufficient_scope",
            )
        assert send(api, method, path, token="").status_code == 401
        assert send(api, method, path, token=api.world.token).status_code == 401
    assert send(api, "get", f"{own}/budgets/{budget}", token=reader).status_code == 200
    assert send(api, "patch", f"{own}/budgets/{budget}", {"amount_usd": "1"}, writer).status_code == 200


def test_number_of_budgets_and_of_changes_is_limited(api: Api, settings: Settings) -> None:
    settings.MAX_BUDGETS = 1
    first = made(api)["id"]
    body = {"scope": "app", "scope_id": api.app_id, "period": "day", "amount_usd": "1"}
    assert code_of(send(api, "post", budgets_of(api), body)) == (409, "too_many_budgets")
    assert send(api, "delete", f"{budgets_of(api)}/{first}").status_code == 204
    assert send(api, "post", budgets_of(api), body).status_code == 201
    again = send(api, "patch", f"{budgets_of(api)}/{first}", {"enabled": True})
    assert code_of(again) == (409, "too_many_budgets")
    settings.BUDGET_CHANGES = "1/hour"
    assert send(api, "patch", f"{budgets_of(api)}/{first}", {"amount_usd": "3"}).status_code == 200
    for method, path, content in (
        ("patch", f"{budgets_of(api)}/{first}", {"amount_usd": "2"}),
        ("post", budgets_of(api), body),
        ("put", f"/v1/developers/{api.developer_id}/alert-endpoint", {"url": "https://hooks.example.com/x"}),
    ):
        limited = send(api, method, path, content)
        assert limited.status_code == 429
        assert int(limited.headers["retry-after"]) > 0


# Alerts.


def endpoint(api: Api) -> str:
    return f"/v1/developers/{api.developer_id}/alert-endpoint"


def test_alert_endpoint_shows_its_secret_once(api: Api) -> None:
    assert code_of(send(api, "get", endpoint(api))) == (404, "alert_endpoint_not_found")
    assert code_of(send(api, "delete", endpoint(api))) == (404, "alert_endpoint_not_found")
    first = send(api, "put", endpoint(api), {"url": "https://hooks.example.com/a"}).json()
    assert first["secret"].startswith("whsec_")
    second = send(api, "put", endpoint(api), {"url": "https://hooks.example.com/b"}).json()
    assert second["id"] == first["id"]
    assert second["secret"] != first["secret"]
    shown = send(api, "get", endpoint(api))
    assert shown.json() == {
        "object": "alert_endpoint",
        "id": first["id"],
        "url": "https://hooks.example.com/b",
        "hint": second["secret"][-4:],
        "enabled": True,
    }
    assert second["secret"] not in str(list(AuditEvent.objects.values()))
    assert send(api, "delete", endpoint(api)).status_code == 204
    assert not AlertEndpoint.objects.exists()
    assert AuditEvent.objects.filter(action="alert_endpoint.remove", developer_id=api.developer_id).count() == 1


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (None, "missing_parameter"),
        ("http://127.0.0.1:8000/", "address_not_allowed"),
        ("http://169.254.169.254/latest", "address_not_allowed"),
        ("ftp://hooks.example.com/", "address_not_allowed"),
        ("https://hooks.example.com/" + "x" * 500, "invalid_type"),
    ],
)
def test_alert_endpoint_inside_the_network_or_no_url_is_refused(
    api: Api, settings: Settings, url: Any, code: str
) -> None:
    settings.OUTBOUND_PRIVATE_ENDPOINTS = ("127.0.0.1:8000",)
    response = send(api, "put", endpoint(api), {"url": url})
    assert (response.status_code, error_of(response)["code"], error_of(response)["param"]) == (400, code, "url")
    assert not AlertEndpoint.objects.exists()


def test_alerts_are_listed_to_the_budgets_developer_alone(api: Api) -> None:
    budget = made(api, amount_usd="0.000001", thresholds=[1, 2, 3], hard=False)
    spend(api, budget["id"], "0.01")
    assert Alert.objects.count() == 3
    path = f"/v1/developers/{api.developer_id}/alerts"
    page = send(api, "get", f"{path}?limit=2").json()
    assert [row["threshold_percent"] for row in page["data"]] in ([3, 2], [2, 3], [3, 1], [1, 3], [2, 1], [1, 2])
    row = page["data"][0]
    assert (row["object"], row["budget_id"], row["scope"], row["scope_id"]) == (
        "alert",
        budget["id"],
        "app",
        api.app_id,
    )
    assert (row["limit_usd"], row["attempts"], row["delivered_at"]) == ("0.000001", 0, None)
    rest = send(api, "get", f"{path}?limit=2&cursor={page['next_cursor']}").json()
    seen = {row["id"] for row in page["data"] + rest["data"]}
    assert seen == {f"alert_{alert.pk}" for alert in Alert.objects.all()}
    other_developer, _, other_token = make_stranger()
    assert send(api, "get", path, token=other_token).status_code == 404
    assert send(api, "get", f"/v1/developers/{other_developer}/alerts", token=other_token).json()["data"] == []
    assert error_of(send(api, "get", f"{path}?cursor=x"))["param"] == "cursor"
