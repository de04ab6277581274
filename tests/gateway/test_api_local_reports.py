"""POST /v1/local/usage-reports: each accepted report is one event and one fee, whatever its sender does."""

import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from apps.billing.services import verify as billing
from apps.core import addresses
from apps.core.clock import now
from apps.core.ids import new_id
from apps.core.money import nano_from_usd, usd
from apps.features.models import AppFeature, VirtualSession
from apps.features.queries import authenticate
from apps.features.services.apps import disable_app, set_app_terms
from apps.features.services.bridges import create_bridge, revoke_bridge
from apps.features.services.end_users import disable_end_user
from apps.features.services.features import create_feature, set_feature_terms
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import revoke_session
from apps.ledger.models import Hold
from apps.ledger.queries import balance
from apps.ledger.services import verify as ledger
from apps.ledger.services.accounts import freeze_wallet
from apps.usage.models import LocalReport, UsageCharge, UsageEvent
from apps.usage.months import tokens_of_developers
from apps.usage.receipts import receipt_of
from apps.usage.services import verify as usage
from apps.usage.services.caps import set_cap
from apps.usage.services.rating import rate_pending
from apps.vault.services import acknowledge_fee
from tests.gateway.api_factories import Api, code_of, error_of, make_api, make_stranger
from tests.gateway.test_api_provider_keys import session
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
REPORTS = "/v1/local/usage-reports"
FEE = 2_000_000


@pytest.fixture
def api(client: Client) -> Api:
    api = make_api(client)
    set_app_terms(app_id=api.app_id, terms=TermsInput(local_fee=FEE, share_bps=4000), now=now(), actor=ACTOR)
    return api


def report(**members: Any) -> dict[str, Any]:
    return {
        "report_id": new_id("rep"),
        "model": "llama3.2:3b",
        "endpoint_kind": "ollama",
        "input_tokens": 100,
        "output_tokens": 20,
        "status": "ok",
        "latency_ms": 900,
        "started_at": (now() - timedelta(minutes=1)).isoformat(),
        **members,
    }


def send(api: Api, *reports: Any, token: str = "", client: Client | None = None) -> list[dict[str, Any]]:
    headers = {"authorization": f"Bearer {token or api.world.token}"}
    body = {"reports": list(reports)}
    response = (client or api.client).post(REPORTS, body, content_type="application/json", headers=headers)
    assert response.status_code == 200, response.content
    content = response.json()
    assert content["object"] == "list"
    return list(content["data"])


def agree(api: Api, fee: int = FEE) -> None:
    principal = authenticate(api.world.token, now=now())
    acknowledge_fee(
        end_user_id=api.world.end_user_id,
        app_id=api.app_id,
        terms=principal.terms,
        mode="local",
        fee=fee,
        language="en",
        now=now(),
    )


def bridge_token(api: Api) -> str:
    made = create_bridge(end_user_id=api.world.end_user_id, name="Laptop", now=now(), actor=ACTOR)
    return made.token


def settle_all() -> None:
    while rate_pending(now=now()):
        pass
    # What verify_ledger does; a command of its own would need a transaction of its own.
    assert [*ledger.differences(), *usage.differences(), *billing.differences()] == []


def charged() -> int:
    return sum(UsageCharge.objects.values_list("price_nano", flat=True))


def test_report_becomes_one_event_and_one_fee(api: Api) -> None:
    agree(api)
    before = balance(api.world.account_id).posted
    sent = report(cache_read_tokens=7, reasoning_tokens=5)
    (told,) = send(api, sent)
    assert told == {
        "report_id": sent["report_id"],
        "state": "accepted",
        "request_id": told["request_id"],
        "price_usd": "0.0020",
    }
    assert balance(api.world.account_id).available == before - FEE  # held until it is rated
    event = UsageEvent.objects.get(request_id=told["request_id"])
    assert (event.route_mode, event.endpoint, event.provider) == ("local", "local.report", "ollama")
    assert (event.served_model, event.outcome, event.charged, event.status) == ("llama3.2:3b", "finished", True, 200)
    assert (event.input_tokens, event.cache_read_tokens, event.output_tokens, event.reasoning_tokens) == (100, 7, 20, 5)
    assert (event.end_user_id, event.app_id) == (api.world.end_user_id, api.app_id)
    assert (event.price_nano, event.cost_nano, event.duration_ms) == (FEE, 0, 900)
    assert event.started_at.isoformat() == sent["started_at"]
    assert event.effective_at > event.started_at
    settle_all()
    charge = UsageCharge.objects.get()
    assert (charge.price_nano, charge.developer_nano, charge.platform_nano) == (FEE, FEE * 4 // 10, FEE * 6 // 10)
    assert balance(api.world.account_id).posted == before - FEE
    assert Hold.objects.get().state == "settled"
    receipt = receipt_of(told["request_id"])
    assert receipt is not None
    assert api.get(f"/v1/receipts/{told['request_id']}", api.world.token).status_code == 200


def test_fee_that_nobody_agreed_to_is_not_charged(api: Api) -> None:
    (told,) = send(api, report())
    assert (told["state"], told["price_usd"]) == ("accepted", "0.0000")
    agree(api)
    set_app_terms(app_id=api.app_id, terms=TermsInput(local_fee=FEE + 1), now=now(), actor=ACTOR)
    (dearer,) = send(api, report())
    assert dearer["price_usd"] == "0.0000"  # agreed to less than what is asked now
    set_app_terms(app_id=api.app_id, terms=TermsInput(local_fee=FEE - 1), now=now(), actor=ACTOR)
    (cheaper,) = send(api, report())
    assert cheaper["price_usd"] == usd(FEE - 1)
    settle_all()
    assert (charged(), UsageEvent.objects.count()) == (FEE - 1, 3)


def test_error_is_free(api: Api) -> None:
    agree(api)
    silent, broken = send(
        api,
        report(status="error", output_tokens=0, error_code="connection_refused"),
        report(status="error", output_tokens=3),
    )
    assert (silent["price_usd"], broken["price_usd"]) == ("0.0000", "0.0000")
    first, second = UsageEvent.objects.order_by("id")
    assert (first.outcome, first.error_code, first.charged) == ("not_served", "connection_refused", False)
    assert (second.outcome, second.error_code, second.charged) == ("provider_failed", "local_error", False)
    settle_all()
    assert charged() == 0


def test_repeat_is_told_what_it_was(api: Api) -> None:
    agree(api)
    sent = report()
    (first,) = send(api, sent)
    settle_all()
    for token in (api.world.token, bridge_token(api)):
        (again,) = send(api, sent, token=token)
        assert again == {**first, "state": "duplicate"}
    assert send(api, {**sent, "cache_read_tokens": 0})[0]["state"] == "duplicate"  # a default says the same
    (other,) = send(api, {**sent, "output_tokens": 21})
    assert (other["state"], other["error"]["code"], other["request_id"]) == ("rejected", "idempotency_mismatch", None)
    settle_all()
    assert (charged(), UsageEvent.objects.count()) == (FEE, 1)


def test_repeat_within_one_batch_counts_once(api: Api) -> None:
    agree(api)
    sent = report()
    told = send(api, sent, report(), sent, {**sent, "model": "other"})
    assert [one["state"] for one in told] == ["accepted", "accepted", "duplicate", "rejected"]
    assert told[2]["request_id"] == told[0]["request_id"]
    assert told[3]["error"]["code"] == "idempotency_mismatch"
    settle_all()
    assert charged() == 2 * FEE


def test_same_id_of_another_end_user_is_another_report(api: Api) -> None:
    agree(api)
    sent = report()
    bob = session(api, user="bob")
    assert send(api, sent)[0]["state"] == "accepted"
    (told,) = send(api, sent, token=bob)
    assert (told["state"], told["price_usd"]) == ("accepted", "0.0000")  # bob agreed to nothing
    assert UsageEvent.objects.values("end_user_id").distinct().count() == 2


@pytest.mark.django_db(transaction=True)
def test_twenty_duplicates_at_once_are_one_event_and_one_charge(api: Api) -> None:
    agree(api)
    shared = [report() for _number in range(5)]
    before = balance(api.world.account_id).posted

    def one(seed: int) -> list[str]:
        mine = [*shared, report()]
        random.Random(seed).shuffle(mine)
        try:
            return [told["state"] for told in send(api, *mine, client=Client())]
        finally:
            connection.close()

    with ThreadPoolExecutor(20) as pool:
        states = [state for told in pool.map(one, range(20)) for state in told]
    assert (states.count("accepted"), states.count("duplicate")) == (25, 95)
    assert UsageEvent.objects.count() == LocalReport.objects.count() == 25
    settle_all()
    assert charged() == 25 * FEE == before - balance(api.world.account_id).posted


def test_what_dies_halfway_leaves_nothing_and_is_sent_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    agree(api)
    sent = [report(), report()]
    before = balance(api.world.account_id)

    def die(*_given: Any) -> None:
        raise RuntimeError("the power failed")

    with monkeypatch.context() as broken:
        broken.setattr("apps.usage.services.local_reports.settle_parameters", die)
        answered = api.post(REPORTS, {"reports": sent}, api.world.token)
    assert code_of(answered) == (500, "internal_error")
    assert (LocalReport.objects.count(), UsageEvent.objects.count(), Hold.objects.count()) == (0, 0, 0)
    assert balance(api.world.account_id) == before
    assert [one["state"] for one in send(api, *sent)] == ["accepted", "accepted"]
    settle_all()
    assert charged() == 2 * FEE


def test_report_that_the_wallet_does_not_cover_is_sent_again_later(api: Api) -> None:
    agree(api)
    poor = session(api, user="poor")
    owner = authenticate(poor, now=now())
    assert owner.end_user_id is not None
    acknowledge_fee(
        end_user_id=owner.end_user_id,
        app_id=api.app_id,
        terms=owner.terms,
        mode="local",
        fee=FEE,
        language="en",
        now=now(),
    )
    world = api.world.new_session("poor", usd=usd(FEE * 2 + FEE // 2))
    sent = [report() for _number in range(3)]
    told = send(api, *sent, token=world.token)
    assert [one["state"] for one in told] == ["accepted", "accepted", "rejected"]
    assert told[2]["error"]["code"] == "insufficient_funds"
    assert (UsageEvent.objects.count(), LocalReport.objects.count()) == (2, 2)
    settle_all()
    world.fund("1")
    assert [one["state"] for one in send(api, *sent, token=world.token)] == ["duplicate", "duplicate", "accepted"]
    settle_all()
    assert charged() == 3 * FEE
    freeze_wallet(world.account_id, now=now(), actor=ACTOR, reason="test")
    (frozen,) = send(api, report(), token=world.token)
    assert (frozen["state"], frozen["error"]["code"]) == ("rejected", "wallet_frozen")


def test_end_users_own_limit_refuses_a_fee(api: Api) -> None:
    agree(api)
    set_cap(
        "end_user",
        api.world.end_user_id,
        "day",
        FEE + FEE // 2,
        end_user_id=api.world.end_user_id,
        at_most=10,
        now=now(),
        actor=ACTOR,
    )
    told = send(api, report(), report())
    assert sorted(one["state"] for one in told) == ["accepted", "rejected"]
    (refused,) = [one for one in told if one["state"] == "rejected"]
    assert refused["error"]["code"] == "budget_exceeded"
    settle_all()
    assert charged() == FEE


@pytest.mark.parametrize(
    ("started", "code"),
    [
        (-timedelta(days=7, minutes=1), "report_too_old"),
        (timedelta(minutes=6), "report_in_future"),
        (-timedelta(days=6, hours=23), None),
        (timedelta(minutes=4), None),
    ],
)
def test_time_of_a_call_is_bounded(api: Api, started: timedelta, code: str | None) -> None:
    (told,) = send(api, report(started_at=(now() + started).isoformat()))
    assert told.get("error", {}).get("code") == code
    if code is None:
        # No closed day or month changes: what is told late counts when it is told.
        assert abs(UsageEvent.objects.get().effective_at - now()) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"prompt": "my secret"},
        {"messages": []},
        {"model": ""},
        {"model": "a\nb"},
        {"model": None},
        {"endpoint_kind": "cloud"},
        {"input_tokens": -1},
        {"input_tokens": 1.5},
        {"output_tokens": 10_000_001},
        {"output_tokens": True},
        {"reasoning_tokens": 21},
        {"status": "maybe"},
        {"error_code": "The prompt was: hello"},
        {"latency_ms": -1},
        {"started_at": "yesterday"},
        {"started_at": "2026-11-20T10:00:00"},
        {"report_id": ""},
        {"report_id": "x" * 65},
        {"report_id": "a b"},
        {"feature_key": "Über"},
    ],
)
def test_report_that_cannot_be_read_is_rejected_by_itself(api: Api, wrong: dict[str, Any]) -> None:
    bad, good = send(api, report(**wrong), report())
    assert (bad["state"], bad["error"]["code"], bad["error"]["param"]) == ("rejected", "invalid_report", "reports[0]")
    assert "secret" not in bad["error"]["message"] and "hello" not in bad["error"]["message"]
    assert good["state"] == "accepted"
    assert UsageEvent.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "reports"),
        ({"reports": []}, "reports"),
        ({"reports": "x"}, "reports"),
        ({"reports": [{}] * 101}, "reports"),
        ({"reports": [{}], "prompt": "x"}, "prompt"),
    ],
)
def test_body_that_cannot_be_acted_on(api: Api, body: Any, param: str) -> None:
    response = api.post(REPORTS, body, api.world.token)
    assert (response.status_code, error_of(response)["param"]) == (400, param)


def test_report_that_is_no_object(api: Api) -> None:
    (told,) = send(api, "hello")
    assert (told["report_id"], told["state"], told["error"]["code"]) == (None, "rejected", "invalid_report")


def test_report_of_a_feature_follows_its_terms(api: Api) -> None:
    who: dict[str, Any] = {"now": now(), "actor": ACTOR}
    feature_id = create_feature(app_id=api.app_id, key="tidy", name="Tidy", **who)
    set_feature_terms(feature_id=feature_id, terms=TermsInput(local_fee=FEE // 2), **who)
    agree(api)
    for token in (api.world.token, bridge_token(api)):
        told = send(api, report(feature_key="tidy"), report(), report(feature_key="none"), token=token)
        assert [one["price_usd"] for one in told] == [usd(FEE // 2), usd(FEE), None]
        assert told[2]["error"]["code"] == "feature_not_found"
    features = UsageEvent.objects.order_by("id").values_list("feature_key", flat=True)
    assert list(features) == ["tidy", "default"] * 2


def test_session_of_one_feature_reports_for_no_other(api: Api) -> None:
    who: dict[str, Any] = {"now": now(), "actor": ACTOR}
    create_feature(app_id=api.app_id, key="tidy", name="Tidy", **who)
    principal = authenticate(api.world.token, now=now())
    default = AppFeature.objects.get(app_id=api.app_id, key="default")
    VirtualSession.objects.filter(pk=principal.id).update(feature=default)
    (told,) = send(api, report(feature_key="tidy"))
    assert (told["state"], told["error"]["code"]) == ("rejected", "feature_not_allowed")


def test_bridge_reports_for_its_end_user(api: Api) -> None:
    agree(api)
    (told,) = send(api, report(), token=bridge_token(api))
    event = UsageEvent.objects.get(request_id=told["request_id"])
    assert (event.end_user_id, event.app_id, event.feature_key) == (api.world.end_user_id, api.app_id, "default")
    assert event.principal_id.startswith("brg_") and event.price_nano == FEE


def test_who_may_report(api: Api) -> None:
    made = create_bridge(end_user_id=api.world.end_user_id, name="Laptop", now=now(), actor=ACTOR)
    body = {"reports": [report()]}
    _developer, _app, strange = make_stranger()
    assert code_of(api.post(REPORTS, body)) == (401, "missing_token")
    assert code_of(api.post(REPORTS, body, strange)) == (401, "invalid_token")
    assert code_of(api.post(REPORTS, body, "mf_brg_" + "x" * 43)) == (401, "invalid_token")
    assert code_of(api.post(REPORTS, body, api.world.virtual_key(usd="1"))) == (403, "end_user_required")
    revoke_bridge(bridge_id=made.bridge_id, now=now(), actor=ACTOR)
    assert code_of(api.post(REPORTS, body, made.token)) == (401, "token_revoked")
    other = create_bridge(end_user_id=api.world.end_user_id, name="Desk", now=now(), actor=ACTOR)
    disable_end_user(end_user_id=api.world.end_user_id, now=now(), actor=ACTOR)
    for token in (api.world.token, other.token):
        assert code_of(api.post(REPORTS, body, token)) == (403, "end_user_disabled")
    disable_app(app_id=api.app_id, now=now(), actor=ACTOR)
    assert code_of(api.post(REPORTS, body, other.token)) == (403, "app_disabled")
    assert UsageEvent.objects.count() == 0


def test_revoked_session_reports_nothing(api: Api) -> None:
    revoke_session(session_id=authenticate(api.world.token, now=now()).id, now=now(), actor=ACTOR)
    assert code_of(api.post(REPORTS, {"reports": [report()]}, api.world.token)) == (401, "token_revoked")


def test_batches_are_counted(api: Api, settings: Settings) -> None:
    settings.LOCAL_REPORTS_PER_USER = "2/minute"
    addresses.forget()
    for _number in range(2):
        send(api, report())
    refused = api.post(REPORTS, {"reports": [report()]}, api.world.token)
    assert code_of(refused) == (429, "rate_limited")
    assert int(refused.headers["retry-after"]) >= 1


def test_what_users_say_of_tokens_does_not_use_up_a_plan(api: Api) -> None:
    agree(api)
    send(api, report(input_tokens=9_000_000))
    since = {api.developer_id: now() - timedelta(hours=1)}
    assert tokens_of_developers(since, settled=now(), end=now() + timedelta(hours=1)) == {}


def test_stored_report_never_changes(api: Api) -> None:
    send(api, report())
    for change in (
        lambda: LocalReport.objects.update(content_hash="x"),
        lambda: LocalReport.objects.all().delete(),
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            change()
    row = LocalReport.objects.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        LocalReport.objects.create(
            end_user_id=row.end_user_id,
            report_id=row.report_id,
            content_hash=row.content_hash,
            request_id=new_id("req"),
            created_at=now(),
        )


_STEPS = st.lists(
    st.tuples(
        st.integers(0, 7),  # which of a few reports, so that repeats are many
        st.sampled_from(["ok", "ok", "ok", "error"]),
        st.sampled_from(["owner", "bridge"]),
    ),
    min_size=1,
    max_size=12,
)


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(_STEPS, min_size=1, max_size=4), fee=st.integers(0, 3_000_000), agreed=st.booleans())
def test_sum_of_charges_is_what_was_accepted_times_the_fee(
    api: Api, batches: list[list[tuple[int, str, str]]], fee: int, agreed: bool
) -> None:
    addresses.forget()
    with transaction.atomic():
        set_app_terms(app_id=api.app_id, terms=TermsInput(local_fee=fee), now=now(), actor=ACTOR)
        world = api.world.new_session(new_id("user"), usd="10")
        principal = authenticate(world.token, now=now())
        if agreed:
            acknowledge_fee(
                end_user_id=world.end_user_id,
                app_id=api.app_id,
                terms=principal.terms,
                mode="local",
                fee=fee,
                language="en",
                now=now(),
            )
        bridge = create_bridge(end_user_id=world.end_user_id, name="Laptop", now=now(), actor=ACTOR).token
        started = now().isoformat()
        accepted = 0
        for steps in batches:
            sent = [report(report_id=f"r{which}", status=status, started_at=started) for which, status, _who in steps]
            token = world.token if steps[0][2] == "owner" else bridge
            for one, told in zip(sent, send(api, *sent, token=token), strict=True):
                if told["state"] == "accepted" and one["status"] == "ok":
                    accepted += 1
                    assert told["price_usd"] == usd(fee if agreed else 0)
        expected = accepted * fee if agreed else 0
        mine = UsageEvent.objects.filter(end_user_id=world.end_user_id)
        assert sum(mine.values_list("price_nano", flat=True)) == expected
        settle_all()
        prices = UsageCharge.objects.filter(event__end_user_id=world.end_user_id).values_list("price_nano", flat=True)
        assert sum(prices) == expected
        funds = balance(world.account_id)
        assert (funds.posted, funds.held) == (nano_from_usd("10") - expected, 0)
