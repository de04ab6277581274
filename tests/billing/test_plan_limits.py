"""A plan that is used up, before a running gateway and a provider that counts what it is asked."""

from typing import Any

import pytest

from apps.billing.services.plans import assign_plan, update_plan
from apps.core.clock import now
from apps.features.services.entitlements import mark_spent
from apps.usage.models import UsageEvent
from tests.billing.plan_factories import measure, plan, seed
from tests.live import ACTOR, World, differences, notice, rate_all, wait_until
from tests.provider_double import ProviderDouble

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_used_up_plan_is_refused_before_any_provider(world: World, server: Any, double: ProviderDouble) -> None:
    seed()
    plan("tiny", tokens_per_month=10, position=0)
    assign_plan(world.developer_id, "tiny", now=now(), actor=ACTOR)
    assert world.chat().status_code == 200  # soft: what was called before the measurement
    assert len(double.requests) == 1
    wait_until(lambda: UsageEvent.objects.filter(developer_id=world.developer_id).exists())
    assert measure() == 1
    notice(server)

    rate_all()
    before = world.balance()
    refused = world.chat()
    assert refused.status_code == 402
    error = refused.json()["error"]
    assert (error["type"], error["code"]) == ("insufficient_quota", "plan_limit_reached")
    details = error["details"]
    assert (details["plan"], details["what"], details["limit"]) == ("tiny", "tokens_per_month", 10)
    assert details["used"] >= 10 and details["upgrade"] == "free"
    assert details["resets_at"].endswith("-01T00:00:00+00:00")
    with world.stream() as streamed:
        assert streamed.status_code == 402
    assert len(double.requests) == 1  # nothing more was asked of the provider
    assert world.balance() == before and before.held == 0
    assert UsageEvent.objects.filter(developer_id=world.developer_id).count() == 1

    # An upgrade is felt at once.
    assign_plan(world.developer_id, "pro", now=now(), actor=ACTOR)
    notice(server)
    assert world.chat().status_code == 200
    assert len(double.requests) == 2
    rate_all()
    assert differences() == []


def test_a_virtual_key_and_every_format_are_refused_alike(world: World, server: Any, double: ProviderDouble) -> None:
    import httpx

    seed()
    key = world.virtual_key(usd="1")
    plan("none", tokens_per_month=0, position=0)
    assign_plan(world.developer_id, "none", now=now(), actor=ACTOR)
    measure()
    notice(server)
    headers = {"authorization": f"Bearer {key}"}
    bodies = {
        "/v1/chat/completions": world.body("hi"),
        "/v1/responses": {"model": "test-model", "input": "hi"},
        "/v1/messages": {**world.body("hi"), "max_tokens": 5},
        "/v1/embeddings": {"model": "test-model", "input": "hi"},
    }
    for path, body in bodies.items():
        answer = httpx.post(f"{world.base_url}{path}", json=body, headers=headers, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (402, "plan_limit_reached"), path
    assert len(double.requests) == 0
    assert httpx.get(f"{world.base_url}/v1/models", headers=headers, timeout=30).status_code == 200


def test_another_developer_is_not_refused(world: World, server: Any, double: ProviderDouble) -> None:
    from apps.developers.services.developers import create_developer

    seed()
    plan("none", tokens_per_month=0, position=0)
    other = create_developer("Other", "other@example.com", now=now(), actor=ACTOR)
    assign_plan(other, "none", now=now(), actor=ACTOR)
    assert measure() == 1
    notice(server)
    assert world.chat().status_code == 200


def test_the_month_over_calls_pass_without_another_measurement(
    world: World, server: Any, double: ProviderDouble
) -> None:
    from datetime import timedelta

    from apps.features.services.entitlements import Spent

    seed()
    plan("tiny", tokens_per_month=10)
    assign_plan(world.developer_id, "tiny", now=now(), actor=ACTOR)
    mark_spent(world.developer_id, Spent(10, now() + timedelta(seconds=2)), now=now())
    notice(server)
    assert world.chat().status_code == 402
    wait_until(lambda: world.chat().status_code == 200, 10)
    update_plan("tiny", tokens_per_month=11, now=now(), actor=ACTOR)
