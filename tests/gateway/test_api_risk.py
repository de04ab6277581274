"""GET /v1/developers/{id}/risk: levels only, and only one's own."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.billing.services.risk import score
from apps.core.clock import now
from apps.core.money import NANO_PER_USD as USD
from apps.developers.models import Developer
from tests.billing.risk_factories import calls, dispute, top_up
from tests.gateway.api_factories import Api, code_of, make_api, make_developer_token, make_stranger
from tests.usage.factories import Desk

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def path(api: Api) -> str:
    return f"/v1/developers/{api.developer_id}/risk"


def read(api: Api) -> dict[str, Any]:
    answer = api.get(path(api), api.developer_token)
    assert answer.status_code == 200, answer.content
    content: dict[str, Any] = answer.json()
    return content


def test_developer_that_was_never_judged_has_no_level(api: Api) -> None:
    assert read(api) == {
        "object": "risk",
        "developer_id": api.developer_id,
        "level": None,
        "payouts_held": False,
        "apps": [{"app_id": api.app_id, "level": None}],
    }


def test_levels_are_told_without_what_they_are_made_of(api: Api, settings: Any) -> None:
    moment = now()
    Developer.objects.update(created_at=moment - timedelta(days=100))
    calls(Desk(api.world), 1, moment - timedelta(days=1), spend=100 * USD)
    for _ in range(5):
        top_up(api.world.account_id, moment - timedelta(days=2), refunded=300)
        dispute(api.world.account_id, moment - timedelta(days=1))
    score("developer", api.developer_id, now=moment)
    score("app", api.app_id, now=moment)
    content = read(api)
    assert (content["level"], content["payouts_held"]) == ("high", True)
    assert content["apps"] == [{"app_id": api.app_id, "level": "high"}]
    assert not {"signals", "score", "points"} & content.keys()
    settings.PAYOUT_RISK_LIMIT = 101
    assert read(api)["payouts_held"] is False


def test_stranger_sees_nothing(api: Api) -> None:
    _, _, token = make_stranger()
    assert code_of(api.get(path(api), token)) == (404, "developer_not_found")
    assert code_of(api.get(path(api))) == (401, "missing_token")
    assert code_of(api.get(path(api), api.world.token))[0] == 401
    other = make_developer_token(api.developer_id, ("usage:read",))
    assert code_of(api.get(path(api), other)) == (403, "insufficient_scope")
