from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client

from apps.billing.months import month_after, month_of
from apps.billing.services.plans import assign_plan, note_attempts
from apps.billing.services.value import enter_baseline
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.usage.rate import Tokens
from tests.billing.plan_factories import plan, seed
from tests.gateway.api_factories import Api, make_api, settle_call
from tests.live import ACTOR

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def prompts(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/v1/developers/{api.developer_id}/plan", api.developer_token).json()[
        "prompts"
    ]
    return found


def assign(api: Api, key: str) -> None:
    assign_plan(api.developer_id, key, now=now(), actor=ACTOR)


def test_more_than_80_percent_used_prompts_with_the_next_plan(api: Api) -> None:
    seed()
    assign(api, "free")
    settle_call(api.world.token, tokens=Tokens(input=8_000))
    assert prompts(api) == []  # 80 % is not more than 80 %
    settle_call(api.world.token, tokens=Tokens(input=1))
    assert prompts(api) == [
        {
            "code": "usage_limit",
            "values": {"used": 8_001, "limit": 10_000, "percent": 80},
            "suggested_plan": "basic",
        }
    ]
    assign(api, "enterprise")
    assert prompts(api) == []


def baseline(api: Api, cost: str) -> None:
    month: date = month_of(now())
    for back in (1, 2, 3):
        who = {"evidence": "invoice", "accepted": True, "now": now(), "actor": ACTOR}
        enter_baseline(api.developer_id, month_after(month, -back), nano_from_usd(cost), **who)


def test_savings_over_100_prompt_with_what_was_saved(api: Api) -> None:
    seed()
    assign(api, "basic")
    baseline(api, "1000000")  # of a month; its part so far is far above 100 unless the month has just begun
    if now() - timedelta(minutes=1) < now().replace(day=1, hour=0, minute=0, second=0):
        pytest.skip("the month is a minute old")
    (found,) = prompts(api)
    assert (found["code"], found["suggested_plan"]) == ("savings_milestone", "pro")
    assert float(found["values"]["saved_usd"]) > 100
    assert found["values"]["actual_usd"] == "0.0000"


def test_savings_of_100_or_less_do_not_prompt(api: Api) -> None:
    seed()
    assign(api, "basic")
    baseline(api, "100")
    assert prompts(api) == []


def test_a_gated_feature_that_was_tried_prompts_with_a_plan_that_has_it(api: Api) -> None:
    seed()
    plan("plus", position=3, price_cents=1, features=("semantic_cache",))
    assign(api, "basic")
    who: dict[str, Any] = {"subject": "feat_x", "actor": ACTOR}
    note_attempts(api.developer_id, ["custom_rules"], now=now() - timedelta(days=31), **who)
    assert prompts(api) == []
    note_attempts(api.developer_id, ["value_pricing"], now=now() - timedelta(days=2), **who)
    note_attempts(api.developer_id, ["semantic_cache"], now=now(), **who)
    note_attempts(api.developer_id, ["semantic_cache"], now=now(), **who)
    found = prompts(api)
    assert [(each["code"], each["values"]["feature"], each["suggested_plan"]) for each in found] == [
        ("feature_gate", "semantic_cache", "plus"),
        ("feature_gate", "value_pricing", "enterprise"),
    ]
    assign(api, "pro")
    assert [each["values"]["feature"] for each in prompts(api)] == ["value_pricing"]


def test_all_three_at_once(api: Api) -> None:
    seed()
    assign(api, "free")
    settle_call(api.world.token, tokens=Tokens(output=9_000))
    baseline(api, "10000000")
    note_attempts(api.developer_id, ["custom_rules"], subject="feat_x", now=now(), actor=ACTOR)
    assert [each["code"] for each in prompts(api)] == ["usage_limit", "savings_milestone", "feature_gate"]


def test_without_a_plan_nothing_prompts(api: Api) -> None:
    seed()
    settle_call(api.world.token, tokens=Tokens(output=90_000))
    baseline(api, "10000000")
    assert prompts(api) == []
