"""Budgets: reserved before a call, spent by its event, exact at the limit, and derivable from the rows."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.developers.models import AuditEvent
from apps.ledger.statements import VOID_HOLDS, HoldRequest
from apps.usage.budgets.queries import budget_states, load_budgets, load_own_budgets
from apps.usage.budgets.refs import BudgetWish, wishes
from apps.usage.models import Alert, Budget, BudgetPeriod, BudgetUse
from apps.usage.rate import DEVELOPER_KEY, Tokens
from apps.usage.services import budgets
from apps.usage.services.admit import AdmitResult, budget_exceeded
from apps.usage.services.sweeping import sweep_holds, sweep_uses
from tests.live import ACTOR, differences, rate_all
from tests.usage.budgeting import admit, admit_one, ask, budget, state
from tests.usage.factories import Desk, make_desk, meter, settle, store

pytestmark = pytest.mark.django_db

LATER = timedelta(minutes=5)


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def past_the_triggers(statement: str, *parameters: Any) -> None:
    """Change what nobody may change, as a fault or the passing of a month would."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement, parameters)
        cursor.execute("SET LOCAL session_replication_role = origin")


def a_month_passes() -> None:
    # Oldest first: each moves to where the one before it was, and the index is checked row by row.
    for period in BudgetPeriod.objects.order_by("period_start"):
        past_the_triggers(
            "UPDATE budget_periods SET period_start = usage_period_step('month', period_start, -1) WHERE id = %s",
            period.pk,
        )
    past_the_triggers("UPDATE budgets SET created_at = created_at - interval '2 months'")


# Taking.


def test_hard_budget_for_ten_calls_lets_ten_of_a_hundred_through(desk: Desk) -> None:
    of_app = budget(desk, 10_000)
    results = admit(*[ask(desk, 1_000, of_app) for _ in range(100)])
    assert [result.outcome for result in results] == ["granted"] * 10 + ["budget"] * 90
    assert [result.taken for result in results] == [True] * 10 + [False] * 90
    assert (state(of_app).reserved, state(of_app).remaining) == (10_000, 0)
    assert desk.world.balance().held == 10_000
    assert differences() == []


def test_refusal_says_which_budget_how_much_is_left_and_until_when(desk: Desk) -> None:
    of_app = budget(desk, 2_500)
    admit(ask(desk, 1_000, of_app))
    result = admit_one(ask(desk, 2_000, of_app))
    (refusal,) = result.refused
    assert (refusal.budget_id, refusal.scope, refusal.limit, refusal.remaining) == (of_app, "app", 2_500, 1_500)
    assert result.is_final
    end = state(of_app).period_end
    assert (end.day, end.hour, end.tzinfo) == (1, 0, UTC)
    assert abs(refusal.ends_in - (end - now()).total_seconds()) < 5
    error = budget_exceeded(result.refused)
    assert (error.status, error.code, error.retry_after) == (402, "budget_exceeded", refusal.ends_in)
    assert error.details == {
        "scope": "app",
        "limit_usd": "0.0000025",
        "remaining_usd": "0.0000015",
        "period": "month",
    }
    assert BudgetUse.objects.count() == 1


def test_call_is_refused_whole_where_one_of_its_budgets_is(desk: Desk) -> None:
    wide, narrow = budget(desk, 10_000), budget(desk, 500, scope="end_user", scope_id=desk.world.end_user_id)
    result = admit_one(ask(desk, 1_000, wide, narrow))
    assert [refusal.budget_id for refusal in result.refused] == [narrow]
    assert (state(wide).reserved, desk.world.balance().held) == (0, 0)
    assert admit_one(ask(desk, 500, wide, narrow)).taken


def test_budget_shortens_a_call_that_may_be_shortened(desk: Desk) -> None:
    of_app = budget(desk, 1_500)
    admit(ask(desk, 1_000, of_app))
    result = admit_one(ask(desk, 1_000, of_app, minimum=100))
    assert (result.outcome, result.granted, state(of_app).remaining) == ("granted", 500, 0)
    assert not admit_one(ask(desk, 1_000, of_app, minimum=100)).taken


def test_wallet_shortens_what_a_budget_would_cover(desk: Desk) -> None:
    of_app = budget(desk, 20_000_000_000)
    result = admit_one(ask(desk, 15_000_000_000, of_app, minimum=1))
    assert (result.granted, state(of_app).reserved) == (10_000_000_000, 10_000_000_000)


def test_what_a_wallet_refuses_leaves_the_budget_to_the_calls_behind_it(desk: Desk) -> None:
    of_app, poor = budget(desk, 1_000), Desk(desk.world.new_session("bob", usd="0"))
    results = admit(ask(poor, 1_000, of_app), ask(desk, 1_000, of_app), ask(desk, 1_000, of_app))
    assert [result.outcome for result in results] == ["insufficient", "granted", "budget"]
    assert state(of_app).reserved == 1_000
    assert differences() == []


def test_calls_with_and_without_budgets_are_admitted_in_one_statement(desk: Desk) -> None:
    of_app = budget(desk, 1_000)
    plain = HoldRequest("req_plain", desk.world.account_id, 700, 700, 60.0, desk.memo())
    results = admit(ask(desk, 1_000, of_app), plain, ask(desk, 1, of_app))
    assert [result.outcome for result in results] == ["granted", "granted", "budget"]
    assert (type(results[0]), type(results[1])) == (AdmitResult, type(admit(plain)[0]))


def test_hold_whose_acknowledgement_was_lost_is_not_reserved_twice(desk: Desk) -> None:
    of_app = budget(desk, 1_000)
    request = ask(desk, 1_000, of_app)
    admit_one(request)
    again = admit_one(request)
    assert (again.outcome, again.taken, again.granted) == ("duplicate", True, 1_000)
    assert state(of_app).reserved == 1_000
    assert differences() == []


def test_settled_calls_free_their_reservation_for_the_calls_of_the_same_statement(desk: Desk) -> None:
    of_app = budget(desk, 5_000_000)
    first = ask(desk, 5_000_000, of_app)
    admit(first)
    store(desk.record(first.request_id))
    price = desk.charge(Tokens(input=100, output=20)).price
    second = ask(desk, 5_000_000 - price, of_app)
    assert [result.outcome for result in admit(second, settled=[first.request_id])] == ["granted"]
    assert (state(of_app).spent, state(of_app).reserved) == (price, 5_000_000 - price)


def test_soft_budget_refuses_nothing_and_counts_everything(desk: Desk) -> None:
    of_app = budget(desk, 100, hard=False)
    request = ask(desk, 5_000_000, of_app)
    assert admit_one(request).taken
    settle(desk.record(request.request_id))
    assert state(of_app).spent > 100
    assert state(of_app).remaining == 0
    assert Alert.objects.count() == 2


def test_free_call_passes_an_exhausted_budget(desk: Desk) -> None:
    of_app = budget(desk, 1_000)
    admit(ask(desk, 1_000, of_app))
    assert admit_one(ask(desk, 0, of_app)).taken


def test_disabled_budget_neither_refuses_nor_counts(desk: Desk) -> None:
    of_app = budget(desk, 1)
    budgets.disable_budget(of_app, now=now(), actor=ACTOR)
    assert admit_one(ask(desk, 1_000, of_app)).taken
    assert BudgetUse.objects.count() == BudgetPeriod.objects.count() == 0


# Spending.


def test_spent_is_the_price_and_the_rest_is_free_again(desk: Desk) -> None:
    of_app = budget(desk, 10_000_000)
    request = ask(desk, 5_000_000, of_app)
    admit(request)
    settle(desk.record(request.request_id))
    price = desk.charge(Tokens(input=100, output=20)).price
    assert (state(of_app).spent, state(of_app).reserved, state(of_app).remaining) == (price, 0, 10_000_000 - price)
    settle(desk.record(request.request_id))
    rate_all()
    meter(request.request_id)
    assert state(of_app).spent == price
    assert differences() == []


def test_call_that_costs_nothing_is_released(desk: Desk) -> None:
    of_app = budget(desk, 10_000_000)
    request = ask(desk, 5_000_000, of_app)
    admit(request)
    settle(desk.record(request.request_id, charged=False))
    assert BudgetUse.objects.get().state == "released"
    assert (state(of_app).spent, state(of_app).reserved) == (0, 0)


@pytest.mark.parametrize("mode", ["platform", DEVELOPER_KEY])
def test_budget_of_a_credential_counts_what_its_provider_bills(desk: Desk, mode: str) -> None:
    (credential,) = credentials()
    of_key = budget(desk, 10_000_000, scope="credential", scope_id=credential)
    request = ask(desk, 5_000_000, (of_key, 4_000_000))
    admit(request)
    assert state(of_key).reserved == 4_000_000
    record = desk.record(request.request_id, mode=mode, credential_id=credential)
    settle(record)
    assert record.cost_nano + record.provider_bill_nano > 0
    assert state(of_key).spent == record.cost_nano + record.provider_bill_nano
    assert differences() == []


def test_credential_that_did_not_serve_is_released(desk: Desk) -> None:
    (credential,) = credentials()
    of_key = budget(desk, 10_000_000, scope="credential", scope_id=credential)
    request = ask(desk, 5_000_000, (of_key, 4_000_000))
    admit(request)
    settle(desk.record(request.request_id, credential_id="cred_other"))
    assert (state(of_key).spent, state(of_key).reserved) == (0, 0)


def test_refused_credential_is_named_and_others_may_be_tried(desk: Desk) -> None:
    (credential,) = credentials()
    of_key = budget(desk, 100, scope="credential", scope_id=credential)
    result = admit_one(ask(desk, 5_000, (of_key, 101, (credential,))))
    assert (result.refused_credentials, result.is_final) == (frozenset({credential}), False)
    assert budget_exceeded(result.refused).details["scope"] == "credential"  # type: ignore[index]


def test_rating_closes_what_was_never_metered(desk: Desk) -> None:
    of_app = budget(desk, 10_000_000)
    request = ask(desk, 5_000_000, of_app)
    admit(request)
    store(desk.record(request.request_id))
    assert differences() == []
    rate_all()
    assert (state(of_app).reserved, state(of_app).spent) == (0, desk.charge(Tokens(input=100, output=20)).price)
    assert differences() == []


def test_call_whose_process_died_is_released_with_its_hold_and_its_key_is_billed(desk: Desk) -> None:
    (credential,) = credentials()
    of_app, of_key = budget(desk, 10_000_000), budget(desk, 10_000_000, scope="credential", scope_id=credential)
    admit(ask(desk, 5_000_000, of_app, (of_key, 4_000_000), lease=0, memo=desk.memo(credential_id=credential)))
    assert sweep_holds(now=now() + LATER) == 1
    assert (state(of_app).spent, state(of_app).reserved) == (0, 0)
    assert (state(of_key).spent, state(of_key).reserved) == (desk.charge(Tokens(input=100, output=50)).cost, 0)
    assert differences() == []


def test_hold_that_is_given_back_frees_its_budgets(desk: Desk) -> None:
    of_app = budget(desk, 10_000_000)
    request, other = ask(desk, 1_000, of_app), ask(desk, 2_000, of_app)
    admit(request, other)
    with connection.cursor() as cursor:
        cursor.execute(VOID_HOLDS, ([request.request_id],))
    assert sweep_uses() == 1
    assert sweep_uses() == 0
    assert (state(of_app).spent, state(of_app).reserved) == (0, 2_000)


# Periods.


def test_new_period_starts_afresh(desk: Desk) -> None:
    of_app = budget(desk, 1_000)
    admit(ask(desk, 1_000, of_app))
    a_month_passes()
    assert state(of_app).remaining == 1_000
    assert admit_one(ask(desk, 1_000, of_app)).taken
    assert BudgetPeriod.objects.count() == 2


def test_call_belongs_to_the_period_in_which_it_began(desk: Desk) -> None:
    of_app = budget(desk, 10_000_000)
    request = ask(desk, 5_000_000, of_app)
    admit(request)
    a_month_passes()
    settle(desk.record(request.request_id))
    assert (state(of_app).spent, state(of_app).reserved) == (0, 0)
    assert BudgetPeriod.objects.get().spent_nano == desk.charge(Tokens(input=100, output=20)).price
    assert differences() == []


@pytest.mark.parametrize(
    ("amounts", "carried"),
    [((), 1_000), ((400,), 600), ((1_000,), 0)],
)
def test_what_is_left_over_is_carried_over(desk: Desk, amounts: tuple[int, ...], carried: int) -> None:
    of_app = budget(desk, 1_000, rollover=True)
    admit(*[ask(desk, amount, of_app) for amount in amounts])
    assert state(of_app).limit == 1_000
    a_month_passes()
    assert (state(of_app).limit, state(of_app).carried) == (1_000 + carried, carried)
    admit(ask(desk, 1, of_app))
    assert (state(of_app).limit, state(of_app).carried) == (1_000 + carried, carried)
    assert differences() == []


def test_no_more_than_one_amount_is_ever_carried_over(desk: Desk) -> None:
    of_app = budget(desk, 1_000, rollover=True)
    for _ in range(3):
        admit(ask(desk, 0, of_app))
        a_month_passes()
    assert state(of_app).limit == 2_000


def test_day_and_month_begin_at_midnight_utc(desk: Desk) -> None:
    daily = budget(desk, 1, period="day")
    moment = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    (found,) = budget_states("app", desk.world.app_id, now=moment)
    assert found.id == daily
    assert (found.period_start, found.period_end) == (
        datetime(2026, 2, 28, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    )


# Changing.


def test_new_amount_is_in_force_at_once(desk: Desk) -> None:
    of_app = budget(desk, 1_000)
    admit(ask(desk, 900, of_app))
    budgets.update_budget(of_app, amount=2_000, now=now(), actor=ACTOR)
    assert state(of_app).remaining == 1_100
    budgets.update_budget(of_app, amount=10, hard=False, now=now(), actor=ACTOR)
    assert (state(of_app).remaining, state(of_app).hard) == (0, False)
    assert differences() == []
    assert AuditEvent.objects.filter(action="budget.update").count() == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": 0},
        {"amount": 10**18},
        {"period": "year"},
        {"scope": "planet"},
        {"thresholds": [0]},
        {"thresholds": list(range(1, 12))},
        {"hard": "yes"},
    ],
)
def test_budget_that_makes_no_sense_is_refused(desk: Desk, wrong: dict[str, Any]) -> None:
    values = {"amount": 1_000, **wrong}
    with pytest.raises(BadRequest) as raised:
        budget(desk, values.pop("amount"), **values)
    assert raised.value.code == "invalid_budget"


def test_budget_is_for_somebody_there_and_of_its_developer(desk: Desk) -> None:
    for scope, scope_id in (("app", "app_none"), ("feature", f"{desk.world.app_id}/none"), ("end_user", "usr_none")):
        with pytest.raises(NotFound):
            budget(desk, 1, scope=scope, scope_id=scope_id)
    with pytest.raises(NotFound):
        budget(desk, 1, developer_id="dev_stranger")
    own = budget(
        desk, 1, scope="feature", scope_id=f"{desk.world.app_id}/default", developer_id=desk.world.developer_id
    )
    with pytest.raises(NotFound):
        budgets.update_budget(own, developer_id="dev_stranger", now=now(), actor=ACTOR, amount=2)
    with pytest.raises(NotFound):  # the operator's key is not the developer's to budget
        budget(desk, 1, scope="credential", scope_id=credentials()[0], developer_id=desk.world.developer_id)


def test_owner_has_one_budget_a_scope_and_period(desk: Desk) -> None:
    budget(desk, 1)
    budget(desk, 1, period="day")
    budget(desk, 1, developer_id=desk.world.developer_id)
    for owner in (None, desk.world.developer_id):
        with pytest.raises(Conflict):
            budget(desk, 1, developer_id=owner)


def test_snapshot_finds_the_budgets_of_a_call(desk: Desk) -> None:
    world, (credential,) = desk.world, credentials()
    scopes = {
        "app": world.app_id,
        "feature": f"{world.app_id}/default",
        "developer": world.developer_id,
        "end_user": world.end_user_id,
        "credential": credential,
    }
    made = {scope: budget(desk, 1_000, scope=scope, scope_id=scope_id) for scope, scope_id in scopes.items()}
    off = budget(desk, 1_000, period="day")
    budgets.disable_budget(off, now=now(), actor=ACTOR)
    call = {"developer_id": world.developer_id, "app_id": world.app_id, "feature_key": "default"}
    snapshot, of_user = load_budgets(), load_own_budgets(world.end_user_id)
    refs = tuple(
        ref
        for each in (snapshot, of_user)
        for ref in each.for_scopes(**call, end_user_id=world.end_user_id, credential_ids=[credential, credential])
    )
    # The operator's for one end user come with that user: there may be one for each.
    assert [ref.scope for ref in of_user.for_scopes(**call, end_user_id=world.end_user_id)] == ["end_user"]
    assert not load_own_budgets("usr_other")
    assert sorted(ref.id for ref in refs) == sorted(made.values())
    assert set(wishes(refs, {credential: 7})) == {
        BudgetWish(budget_id, 7, (credential,)) if scope == "credential" else BudgetWish(budget_id)
        for scope, budget_id in made.items()
    }
    other = snapshot.for_scopes(developer_id="dev_x", app_id="app_x", feature_key="default", end_user_id=None)
    assert (other, bool(snapshot)) == ((), True)


def test_changing_a_budget_moves_the_policy_epoch_and_using_it_does_not(desk: Desk) -> None:
    of_app = budget(desk, 10_000)
    before = epoch()
    admit(ask(desk, 1, of_app))
    assert epoch() == before
    budgets.disable_budget(of_app, now=now(), actor=ACTOR)
    assert epoch() > before


# Proof.


@pytest.mark.parametrize(
    ("statement", "table"),
    [
        ("UPDATE budget_periods SET spent_nano = spent_nano + 1", "budget_periods"),
        ("UPDATE budget_periods SET reserved_nano = reserved_nano + 1", "budget_periods"),
        ("UPDATE budget_periods SET limit_nano = limit_nano + 1", "budget_periods"),
        ("UPDATE budget_uses SET spent_nano = spent_nano + 1 WHERE state = 'spent'", "budget_uses"),
        ("UPDATE budget_uses SET state = 'reserved', spent_nano = 0, closed_at = NULL", "budget_uses"),
    ],
)
def test_altered_row_is_named(desk: Desk, statement: str, table: str) -> None:
    of_app = budget(desk, 10_000_000)
    request = ask(desk, 5_000_000, of_app)
    admit(request)
    settle(desk.record(request.request_id))
    rate_all()
    assert differences() == []
    past_the_triggers(statement)
    assert [line for line in differences() if line.startswith(table)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE budget_uses SET reserved_nano = 1",
        "UPDATE budget_uses SET spent_nano = 1",
        "DELETE FROM budget_uses",
        "DELETE FROM budget_periods",
        "UPDATE budget_periods SET carried_nano = 0",
        "UPDATE budget_periods SET reserved_nano = -1",
        "DELETE FROM budgets",
        "UPDATE budgets SET scope_id = 'app_2'",
        "UPDATE alerts SET threshold = 1",
    ],
)
def test_facts_cannot_be_changed(desk: Desk, statement: str) -> None:
    of_app = budget(desk, 1_000_000, hard=False)
    request = ask(desk, 5_000_000, of_app)
    admit(request)
    settle(desk.record(request.request_id))
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_alert_fires_once_a_threshold_and_period(desk: Desk) -> None:
    price = desk.charge(Tokens(input=100, output=20)).price
    of_app = budget(desk, price * 10, thresholds=[80, 95], hard=False)

    def call() -> None:
        request = ask(desk, price, of_app)
        admit(request)
        settle(desk.record(request.request_id))

    fired = []
    for _ in range(12):
        call()
        fired.append(Alert.objects.count())
    assert fired == [0] * 7 + [1, 1, 2, 2, 2]
    assert sorted(Alert.objects.values_list("threshold", "spent_nano")) == [(80, price * 8), (95, price * 10)]
    a_month_passes()
    past_the_triggers("UPDATE alerts SET period_start = usage_period_step('month', period_start, -1)")
    for _ in range(8):
        call()
    assert Alert.objects.count() == 3


def credentials() -> list[str]:
    from apps.vault.models import ProviderCredential

    return list(ProviderCredential.objects.values_list("id", flat=True))


def epoch() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM policy_epoch")
        return int(cursor.fetchone()[0])


def test_budget_is_never_deleted(desk: Desk) -> None:
    budget(desk, 1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Budget.objects.all().delete()
