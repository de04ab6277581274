from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.test import Client

from apps.billing.models.plans import GateAttempt, Plan, PlanUse, Subscription
from apps.billing.queries.plans import plans
from apps.billing.services.plan_uses import measure_plans, tokens_used
from apps.billing.services.plans import (
    apply_plans,
    assign_plan,
    end_manual,
    plan_in_force,
    update_plan,
)
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, InsufficientFunds, NotFound
from apps.developers.models import AuditEvent
from apps.features.entitlements import EVERYBODY, entitlements_of, kept_since
from apps.features.models import Entitlement
from apps.features.services.entitlements import PlanUpgradeRequired
from apps.features.services.manifests import put_manifest
from apps.features.services.tokens import issue_virtual_key, revoke_virtual_key
from apps.usage.models import PromptLog
from apps.usage.rate import Tokens
from apps.usage.services.prompt_logs import PromptEntry, purge_prompt_logs, write_prompt_logs
from tests.billing.plan_factories import developer, measure, plan, seed
from tests.features.factories import make_app, make_feature
from tests.gateway.api_factories import Api, code_of, make_api, make_developer_token, make_stranger, settle_call
from tests.live import ACTOR

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def who() -> dict[str, Any]:
    return {"now": now(), "actor": ACTOR}


def test_the_shipped_plans_are_those_that_are_sold() -> None:
    call_command("seed_plans")
    rows = {row.key: row for row in plans()}
    assert {key: (row.price_cents, row.tokens_per_month) for key, row in rows.items()} == {
        "free": (0, 10_000),
        "basic": (9_900, 100_000),
        "pro": (29_900, 1_000_000),
        "enterprise": (99_900, None),
    }
    assert [(row.max_virtual_keys, row.retention_days, row.sla) for row in rows.values()] == [
        (1, 7, ""),
        (1, 7, ""),
        (5, 90, "99.5 %"),
        (None, None, "99.95 %"),
    ]


def test_seeding_again_leaves_what_the_operator_changed() -> None:
    seed()
    update_plan("basic", price_cents=4_900, tokens_per_month=7, **who())
    call_command("seed_plans")
    row = Plan.objects.get(key="basic")
    assert (row.price_cents, row.tokens_per_month, Plan.objects.count()) == (4_900, 7, 4)


def test_plans_are_public(api: Api) -> None:
    seed()
    update_plan("basic", active=False, **who())
    content = api.get("/v1/plans").json()
    assert [row["key"] for row in content["data"]] == ["free", "pro", "enterprise"]
    pro = content["data"][1]
    assert pro["price_usd"] == "299.0000"
    assert pro["features"] == ["custom_rules", "advanced_routing", "semantic_cache", "prompt_debug_log"]
    assert content["data"][2]["tokens_per_month"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"name": " "},
        {"price_cents": -1},
        {"tokens_per_month": -1},
        {"max_virtual_keys": 10**9},
        {"retention_days": 0},
        {"features": ["teleport"]},
        {"stripe_price_id": "price_x"},
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    seed()
    with pytest.raises(BadRequest) as refused:
        update_plan("pro", **changes, **who())
    assert refused.value.code == "invalid_plan"


def test_without_a_default_plan_nothing_is_limited(api: Api) -> None:
    seed()
    for _ in range(3):
        settle_call(api.world.token, tokens=Tokens(input=100_000))
    assert measure() == 0
    assert entitlements_of(api.developer_id) is None
    assert not Entitlement.objects.exists()
    for _ in range(7):
        api.world.virtual_key()
    assert plan_in_force(api.developer_id, now=now()) is None


def test_a_default_plan_binds_a_developer_from_its_first_moment_on(settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    seed()
    developer_id = developer()
    found = entitlements_of(developer_id)
    assert found is not None and (found.plan, found.max_virtual_keys, found.upgrade) == ("free", 1, "basic")
    assert not Entitlement.objects.filter(developer_id=developer_id).exists()


def test_a_manual_plan_is_given_changed_and_ended(settings: Any) -> None:
    seed()
    developer_id = developer()
    first = assign_plan(developer_id, "pro", **who())
    assert assign_plan(developer_id, "pro", **who()) == first
    second = assign_plan(developer_id, "enterprise", **who())
    assert second != first
    found = entitlements_of(developer_id)
    assert found is not None and (found.plan, found.tokens_per_month) == ("enterprise", None)
    end_manual(second, **who())
    assert entitlements_of(developer_id) is None
    actions = set(AuditEvent.objects.filter(developer_id=developer_id).values_list("action", flat=True))
    assert {"subscription.assign", "subscription.end"} <= actions
    with pytest.raises(NotFound):
        assign_plan("dev_nobody", "pro", **who())
    with pytest.raises(NotFound):
        assign_plan(developer_id, "platinum", **who())


def test_a_developer_has_one_live_subscription() -> None:
    seed()
    developer_id = developer()
    assign_plan(developer_id, "pro", **who())
    fields = {"developer_id": developer_id, "plan_key": "basic", "status": "pending", "created_by": ACTOR}
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.create(id="plan_other", created_at=now(), changed_at=now(), **fields)


def test_a_changed_plan_binds_its_subscribers_at_once() -> None:
    seed()
    developer_id = developer()
    assign_plan(developer_id, "pro", **who())
    update_plan("pro", max_virtual_keys=2, tokens_per_month=50, **who())
    found = entitlements_of(developer_id)
    assert found is not None and (found.max_virtual_keys, found.tokens_per_month) == (2, 50)


def test_virtual_keys_end_with_the_plan() -> None:
    seed()
    app = make_app()
    assign_plan(app.developer_id, "basic", **who())
    _, key_id = issue_virtual_key(app_id=app.id, name="one", **who())
    other = make_app(app.developer_id, name="Other")  # the keys of all apps of a developer count
    with pytest.raises(InsufficientFunds) as refused:
        issue_virtual_key(app_id=other.id, name="two", **who())
    assert refused.value.code == "plan_limit_reached"
    assert refused.value.details == {
        "plan": "basic",
        "what": "virtual_keys",
        "limit": 1,
        "used": 1,
        "resets_at": None,
        "upgrade": "pro",
    }
    revoke_virtual_key(key_id=key_id, **who())
    issue_virtual_key(app_id=other.id, name="two", expires_at=now() + timedelta(minutes=1), **who())
    later = {"now": now() + timedelta(minutes=2), "actor": ACTOR}
    issue_virtual_key(app_id=other.id, name="three", **later)  # the second has expired by then
    update_plan("basic", max_virtual_keys=None, **who())
    issue_virtual_key(app_id=other.id, name="four", **later)


def test_the_key_limit_answers_402_with_its_details(api: Api) -> None:
    seed()
    assign_plan(api.developer_id, "basic", **who())
    path = f"/v1/apps/{api.app_id}/keys"
    assert api.post(path, {"name": "one"}, api.developer_token).status_code == 201
    refused = api.post(path, {"name": "two"}, api.developer_token)
    assert code_of(refused) == (402, "plan_limit_reached")
    assert refused.json()["error"]["details"]["upgrade"] == "pro"


GATED = [
    ({"routing": {"rules": [{"when": {}, "use": ["m"]}]}}, ["custom_rules"]),
    ({"routing": {"policy": "cheapest_sufficient"}}, ["advanced_routing"]),
    ({"routing": {"models_for": {"code": "m"}}}, ["advanced_routing"]),
    ({"cache": {"semantic": True}}, ["semantic_cache"]),
    ({"privacy": {"debug_log": True}}, ["prompt_debug_log"]),
    ({"cache": {"semantic": True}, "routing": {"policy": "latency_first"}}, ["advanced_routing", "semantic_cache"]),
]


@pytest.mark.parametrize(("content", "gates"), GATED)
def test_what_a_plan_does_not_include_is_refused_as_the_manifest_is_saved(content: Any, gates: list[str]) -> None:
    import json

    seed()
    feature = make_feature(make_app())
    save = {"feature_id": feature.id, "source": json.dumps(content), "source_format": "json", "may_price": False}
    put_manifest(**save, **who())  # without a plan all is included
    assign_plan(feature.app.developer_id, "basic", **who())
    plain = {**save, "source": "{}"}
    put_manifest(**plain, **who())
    with pytest.raises(PlanUpgradeRequired) as refused:
        put_manifest(**save, **who())
    assert refused.value.details == {"plan": "basic", "features": gates, "upgrade": "pro"}
    feature.refresh_from_db()
    assert feature.manifest is not None and feature.manifest.source == "{}"
    assign_plan(feature.app.developer_id, "pro", **who())
    put_manifest(**save, **who())


def test_a_downgrade_leaves_the_manifest_in_force_and_binds_the_next_version() -> None:
    seed()
    feature = make_feature(make_app())
    assign_plan(feature.app.developer_id, "pro", **who())
    save = {"feature_id": feature.id, "source_format": "json", "may_price": False}
    put_manifest(source='{"cache": {"semantic": true}}', **save, **who())
    assign_plan(feature.app.developer_id, "basic", **who())
    feature.refresh_from_db()
    assert feature.manifest is not None and feature.manifest.number == 1
    with pytest.raises(PlanUpgradeRequired):
        put_manifest(source='{"cache": {"semantic": true}, "description": "new"}', **save, **who())
    put_manifest(source='{"description": "new"}', **save, **who())


def test_an_attempt_over_the_api_is_written_down(api: Api) -> None:
    seed()
    assign_plan(api.developer_id, "free", **who())
    path = f"/v1/apps/{api.app_id}/features/default/manifest"
    headers = {"authorization": f"Bearer {api.developer_token}"}
    response = api.client.put(path, '{"cache": {"semantic": true}}', content_type="application/json", headers=headers)
    assert code_of(response) == (403, "plan_upgrade_required")
    row = GateAttempt.objects.get()
    assert (row.developer_id, row.plan_key, row.gate) == (api.developer_id, "free", "semantic_cache")
    with pytest.raises(IntegrityError), transaction.atomic():
        GateAttempt.objects.update(gate="other")


def test_tokens_are_counted_once_however_often_they_are_measured(api: Api, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    seed()
    begin = datetime(2026, 5, 1, tzinfo=UTC)
    token = api.world.token
    settle_call(token, tokens=Tokens(input=5_000), at=begin - timedelta(seconds=1))  # the month before
    settle_call(token, tokens=Tokens(input=7_000), at=begin + timedelta(minutes=1), charged=False)
    cached = {"cache": "exact", "cache_price_bps": 0, "cost_nano": 0, "price_nano": 0}
    settle_call(token, tokens=Tokens(input=9_000), at=begin + timedelta(minutes=1), **cached)
    used = []
    for days, tokens in ((0, 1), (2, 20), (2, 0), (20, 300)):
        at = begin + timedelta(days=days)
        if tokens:
            settle_call(token, tokens=Tokens(input=tokens), at=at)
        measure_plans(now=at + timedelta(minutes=5))  # counted, and not yet for good
        used.append(PlanUse.objects.get(developer_id=api.developer_id, month=begin.date()).tokens)
        measure_plans(now=at + timedelta(minutes=30))  # for good
        used.append(PlanUse.objects.get(developer_id=api.developer_id, month=begin.date()).tokens)
    assert used == [1, 1, 21, 21, 21, 21, 321, 321]
    row = PlanUse.objects.get(developer_id=api.developer_id, month=begin.date())
    assert row.settled_tokens == 321 and row.counted_until == begin + timedelta(days=20, minutes=20)
    assert tokens_used(api.developer_id, now=begin + timedelta(days=21)) == 321


def test_late_calls_count_in_the_closed_month(api: Api, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    seed()
    begin, end = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
    settle_call(api.world.token, tokens=Tokens(input=40), at=begin + timedelta(days=1))
    measure_plans(now=end - timedelta(minutes=1))
    # Stored long after it ended, behind what was counted for good.
    settle_call(api.world.token, tokens=Tokens(output=2), at=begin + timedelta(days=1))
    measure_plans(now=end + timedelta(minutes=5))
    row = PlanUse.objects.get(developer_id=api.developer_id, month=begin.date())
    assert (row.tokens, row.closed_at) == (40, None)
    measure_plans(now=end + timedelta(hours=2))
    row.refresh_from_db()
    assert row.tokens == row.settled_tokens == 42 and row.closed_at is not None


def test_measuring_takes_the_same_queries_for_one_developer_and_for_four(
    settings: Any, django_assert_max_num_queries: Any
) -> None:
    settings.DEFAULT_PLAN = "free"
    seed()
    for name in ("Ada", "Bob", "Cyd", "Dan"):
        developer(name)
    measure()
    with django_assert_max_num_queries(14):
        measure()


def test_a_plan_used_up_is_marked_and_freed_by_an_upgrade(api: Api, settings: Any) -> None:
    settings.DEFAULT_PLAN = "free"
    seed()
    settle_call(api.world.token, tokens=Tokens(input=10_000))
    assert measure() == 1
    row = Entitlement.objects.get(developer_id=api.developer_id)
    assert row.spent_tokens == 10_000 and row.spent_until is not None and row.spent_until.day == 1
    assign_plan(api.developer_id, "basic", **who())
    row.refresh_from_db()
    assert row.spent_until is None
    assert measure() == 0
    update_plan("basic", tokens_per_month=10_001, **who())
    assert measure() == 0
    settle_call(api.world.token, tokens=Tokens(output=1))
    assert measure() == 1


def test_calls_are_listed_for_as_long_as_the_plan_keeps_them_and_all_are_summed(api: Api) -> None:
    seed()
    old = now() - timedelta(days=8)
    request_id = settle_call(api.world.token, at=old)
    settle_call(api.world.token)
    assert len(api.usage()["data"]) == 2
    assign_plan(api.developer_id, "basic", **who())
    content = api.usage()
    assert len(content["data"]) == 1 and content["totals"]["calls"] == 2
    assert content["kept_since"] is not None
    assert code_of(api.get(f"/v1/receipts/{request_id}", api.developer_token)) == (404, "receipt_not_kept")
    # What an end user paid for is shown to the end user.
    assert api.get(f"/v1/receipts/{request_id}", api.world.token).status_code == 200
    assign_plan(api.developer_id, "enterprise", **who())
    assert len(api.usage()["data"]) == 2
    assert kept_since(api.developer_id, now=now()) is None


def entry(developer_id: str, request_id: str, days: int) -> PromptEntry:
    return PromptEntry(request_id, "app_x", developer_id, "default", "redacted", "[]", None, False, days)


def test_prompts_are_purged_when_the_plan_says_so(settings: Any) -> None:
    seed()
    developer_id, other = developer(), developer("Bob")
    assign_plan(developer_id, "basic", **who())
    moment = now()
    write_prompt_logs([entry(developer_id, "req_1", 30), entry(other, "req_2", 30)], now=moment)
    write_prompt_logs([entry(developer_id, "req_3", 3)], now=moment)
    days = {log.request_id: (log.expires_at - log.created_at).days for log in PromptLog.objects.all()}
    assert days == {"req_1": 7, "req_2": 30, "req_3": 3}
    purge_prompt_logs(now=moment + timedelta(days=8))
    assert set(PromptLog.objects.values_list("request_id", flat=True)) == {"req_2"}


def test_a_plan_that_keeps_less_shortens_what_is_kept_already(settings: Any) -> None:
    seed()
    developer_id, other = developer(), developer("Bob")
    moment = now()
    write_prompt_logs([entry(developer_id, "req_1", 30), entry(other, "req_2", 30)], now=moment)
    assign_plan(developer_id, "basic", **who())
    days = {log.request_id: (log.expires_at - log.created_at).days for log in PromptLog.objects.all()}
    assert days == {"req_1": 7, "req_2": 30}
    settings.DEFAULT_PLAN = "free"
    update_plan("free", retention_days=2, **who())
    apply_plans(now=now())
    days = {log.request_id: (log.expires_at - log.created_at).days for log in PromptLog.objects.all()}
    assert days == {"req_1": 7, "req_2": 2}
    assert Entitlement.objects.get(developer_id=EVERYBODY).plan == "free"


def test_a_developer_sees_its_plan_and_a_stranger_does_not(api: Api) -> None:
    seed()
    assign_plan(api.developer_id, "pro", **who())
    settle_call(api.world.token, tokens=Tokens(input=5))
    path = f"/v1/developers/{api.developer_id}/plan"
    content = api.get(path, api.developer_token).json()
    assert content["plan"]["key"] == "pro" and content["use"]["tokens"] == 5 and content["prompts"] == []
    assert content["subscription"]["manual"] is True
    _, _, stranger = make_stranger()
    assert code_of(api.get(path, stranger)) == (404, "developer_not_found")
    narrow = make_developer_token(api.developer_id, ["usage:read"])
    assert code_of(api.get(path, narrow)) == (403, "insufficient_scope")


def test_two_plans_may_not_share_a_key() -> None:
    plan("gold")
    with pytest.raises(Conflict):
        plan("gold")
