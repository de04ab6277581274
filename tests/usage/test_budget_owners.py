"""Whose a budget is, how many one may have, and that one for a credential goes on when the credential is rotated."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse

from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.models import ForgottenCaller
from apps.developers.models import AuditEvent
from apps.usage.budgets.queries import BudgetState, budget_states, load_budgets, load_own_budgets, owned_budgets
from apps.usage.budgets.refs import BudgetWish, wishes
from apps.usage.models import Alert, Budget
from apps.usage.services.caps import set_cap
from apps.vault.queries import load_shared_credentials
from apps.vault.services import add_credential, delete_credential, disable_credential, rotate_credential
from tests.live import ACTOR, differences
from tests.usage.budgeting import admit, admit_one, ask, budget, state
from tests.usage.factories import Desk, make_desk, settle

pytestmark = pytest.mark.django_db
BY: dict[str, Any] = {"actor": ACTOR}


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def shared() -> str:
    (credential,) = load_shared_credentials()
    return credential.id


def rotate(credential_id: str) -> str:
    return rotate_credential(credential_id, secret="sk-another-one", now=now(), **BY)


def users_key(desk: Desk) -> str:
    return add_credential(
        owner_class="end_user",
        owner_id=desk.world.end_user_id,
        provider=load_shared_credentials()[0].provider,
        label="mine",
        secret="sk-mine",
        now=now(),
        **BY,
    )


def cap(desk: Desk, scope: str, scope_id: str, period: str = "month") -> BudgetState | None:
    owned = owned_budgets(scope, [scope_id], end_user_id=desk.world.end_user_id, now=now())
    return next((found for found in owned if found.period == period), None)


def test_what_was_spent_with_the_old_key_still_counts_after_a_rotation(desk: Desk) -> None:
    old = shared()
    of_key = budget(desk, 10_000_000, scope="credential", scope_id=old)
    request = ask(desk, 5_000_000, (of_key, 4_000_000, (old,)))
    admit(request)
    record = desk.record(request.request_id, credential_id=old)
    settle(record)
    spent = state(of_key).spent
    assert spent == record.cost_nano + record.provider_bill_nano > 0

    new = rotate(old)
    assert (state(of_key).scope_id, state(of_key).spent) == (new, spent)
    assert [found.id for each in (old, new) for found in budget_states("credential", each, now=now())] == [of_key] * 2
    again = ask(desk, 5_000_000, (of_key, 4_000_000, (new,)))
    admit(again)
    settle(desk.record(again.request_id, credential_id=new))
    assert state(of_key).spent == 2 * spent
    refused = admit_one(ask(desk, 1, (of_key, 10_000_000, (new,))))
    assert (refused.outcome, refused.refused_credentials) == ("budget", frozenset({new}))
    assert Budget.objects.get(pk=of_key).changed_by == "rotation"
    assert differences() == []


def test_budget_follows_the_rotation_by_the_admins_form(desk: Desk, admin_client: Client) -> None:
    old = shared()
    of_key = budget(desk, 10_000_000, scope="credential", scope_id=old)
    form = {"owner_class": "platform", "provider": "double-0", "label": "x", "models_allowed": "", "weight": 1}
    changed = {**form, "owner_id": "", "base_url": "", "priority": 100, "new_secret": "sk-another-one"}
    address = reverse("admin:vault_providercredential_change", args=[old])
    assert admin_client.post(address, changed).status_code == 302
    assert shared() != old
    assert state(of_key).scope_id == shared()
    assert state(of_key).scope_ids == (old, shared())


def test_call_under_way_with_the_old_key_counts_although_it_ends_after_the_rotation(desk: Desk) -> None:
    old = shared()
    of_key = budget(desk, 10_000, scope="credential", scope_id=old, thresholds=(1,))
    request = ask(desk, 5_000_000, (of_key, 10_000, (old,)))
    admit(request)
    newest = rotate(rotate(old))
    settle(desk.record(request.request_id, credential_id=old))
    assert state(of_key).spent > 0
    assert Alert.objects.get().scope_id == newest
    assert differences() == []


def test_both_keys_of_a_rotation_in_one_call_ask_their_budget_once(desk: Desk) -> None:
    old = shared()
    of_key = budget(desk, 10_000, scope="credential", scope_id=old)
    new = rotate(old)
    refs = load_budgets().for_scopes(
        developer_id="dev_x", app_id="app_x", feature_key="f", end_user_id=None, credential_ids=[new, old]
    )
    assert wishes(refs, {old: 3, new: 7}) == (BudgetWish(of_key, 7, (new, old)),)
    assert admit_one(ask(desk, 5, (of_key, 7, (new, old)))).taken
    assert state(of_key).reserved == 7


def test_replaced_key_gets_no_second_budget(desk: Desk) -> None:
    old = shared()
    budget(desk, 10_000, scope="credential", scope_id=old)
    new = rotate(old)
    for credential in (old, new):
        with pytest.raises(Conflict) as caught:
            budget(desk, 10_000, scope="credential", scope_id=credential)
        assert caught.value.code == "already_exists"
    assert budget(desk, 10_000, scope="credential", scope_id=new, period="day")


def test_budget_ends_with_the_key_that_is_erased_and_not_with_one_that_was_replaced(desk: Desk) -> None:
    old = users_key(desk)
    set_cap("credential", old, "month", 5_000, end_user_id=desk.world.end_user_id, now=now(), **BY)
    new = rotate(old)
    delete_credential(old, now=now(), **BY)
    found = cap(desk, "credential", new)
    assert found is not None
    assert found.enabled
    disable_credential(new, now=now(), **BY)
    assert state(found.id).enabled
    delete_credential(new, now=now(), **BY)
    assert not state(found.id).enabled


def test_cap_is_set_changed_taken_away_and_set_again(desk: Desk) -> None:
    user = desk.world.end_user_id
    for amount, enabled in ((5_000, True), (6_000, True), (None, False), (7_000, True)):
        set_cap("end_user", user, "day", amount, end_user_id=user, now=now(), **BY)
        found = cap(desk, "end_user", user, "day")
        assert found is not None
        assert (found.enabled, found.hard, found.thresholds) == (enabled, True, ())
        assert amount is None or found.limit == amount
    assert Budget.objects.count() == 1
    events = AuditEvent.objects.filter(subject_type="budget").count()
    set_cap("end_user", user, "day", 7_000, end_user_id=user, now=now(), **BY)
    assert AuditEvent.objects.filter(subject_type="budget").count() == events


def test_end_user_limits_nobody_else(desk: Desk) -> None:
    user, other = desk.world.end_user_id, desk.world.new_session("bob", usd="1").end_user_id
    things = [("end_user", other), ("app", desk.world.app_id), ("developer", desk.world.developer_id)]
    things += [("feature", f"{desk.world.app_id}/default"), ("credential", shared())]
    for scope, scope_id in things:
        with pytest.raises(NotFound) as caught:
            set_cap(scope, scope_id, "month", 1_000, end_user_id=user, now=now(), **BY)
        assert caught.value.code == "budgeted_not_found"
    with pytest.raises(NotFound):
        set_cap("credential", users_key(desk), "month", 1_000, end_user_id=other, now=now(), **BY)
    with pytest.raises(NotFound):
        set_cap("credential", users_key(desk), "month", 1_000, developer_id=desk.world.developer_id, now=now(), **BY)
    with pytest.raises(BadRequest):
        budget(desk, 1_000, scope="end_user", scope_id=user, end_user_id=user)


def test_budgets_of_user_developer_and_operator_for_the_same_all_bind(desk: Desk) -> None:
    user = desk.world.end_user_id
    set_cap("end_user", user, "month", 3_000, end_user_id=user, now=now(), **BY)
    for developer_id in (None, desk.world.developer_id):
        budget(desk, 5_000, scope="end_user", scope_id=user, developer_id=developer_id)
    call: dict[str, Any] = {"developer_id": "dev_x", "app_id": "app_x", "feature_key": "f", "end_user_id": user}
    refs = load_budgets().for_scopes(**call) + load_own_budgets(user).for_scopes(**call)
    assert len(refs) == 3
    result = admit_one(ask(desk, 4_000, *[ref.id for ref in refs]))
    assert [refusal.limit for refusal in result.refused] == [3_000]


def test_end_users_own_budget_makes_gateways_forget_that_user_alone(desk: Desk) -> None:
    user, key = desk.world.end_user_id, users_key(desk)

    def told() -> tuple[int, set[str]]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT number FROM policy_epoch")
            epoch: int = cursor.fetchone()[0]
        forgotten = set(ForgottenCaller.objects.values_list("subject_id", flat=True))
        ForgottenCaller.objects.all().delete()
        return epoch, forgotten

    before, _ = told()
    for scope, scope_id, amount in (("end_user", user, 1_000), ("credential", key, 1_000), ("end_user", user, None)):
        set_cap(scope, scope_id, "month", amount, end_user_id=user, now=now(), **BY)
        assert told() == (before, {user})
    rotate(key)
    assert told() == (before, {user})
    # The operator's for that user, of which there may be one for each.
    budget(desk, 1_000, scope="end_user", scope_id=user)
    assert told() == (before, {user})
    budget(desk, 1_000, scope="end_user", scope_id=user, developer_id=desk.world.developer_id)
    after, forgotten = told()
    assert (after > before, forgotten) == (True, set())


def test_number_of_enabled_budgets_is_limited_also_for_those_enabled_again(desk: Desk) -> None:
    user = desk.world.end_user_id
    who: dict[str, Any] = {"end_user_id": user, "at_most": 1}
    set_cap("end_user", user, "day", 1_000, now=now(), **who, **BY)
    with pytest.raises(Conflict) as caught:
        set_cap("end_user", user, "month", 1_000, now=now(), **who, **BY)
    assert caught.value.code == "too_many_budgets"
    set_cap("end_user", user, "day", None, now=now(), **who, **BY)
    set_cap("end_user", user, "month", 1_000, now=now(), **who, **BY)
    with pytest.raises(Conflict):
        set_cap("end_user", user, "day", 2_000, now=now(), **who, **BY)
    set_cap("end_user", user, "month", 2_000, now=now(), **who, **BY)


@pytest.mark.parametrize("column", ["end_user_id", "developer_id", "scope_id"])
def test_database_keeps_what_a_budget_is_for(desk: Desk, column: str) -> None:
    made = budget(desk, 1_000)
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        Budget.objects.filter(pk=made).update(**{column: "usr_x"})


@pytest.mark.parametrize(
    "more",
    [
        {"end_user_id": "usr_x", "thresholds": [80]},
        {"end_user_id": "usr_x", "developer_id": "dev_x", "thresholds": []},
        {"successors": ["cred_x"]},
    ],
)
def test_database_takes_one_owner_and_tells_nobody_of_an_end_users(desk: Desk, more: dict[str, Any]) -> None:
    moment = now()
    written = {"created_at": moment, "created_by": ACTOR, "changed_at": moment, "changed_by": ACTOR}
    with pytest.raises(IntegrityError), transaction.atomic():
        Budget.objects.create(
            id="bud_x", scope="app", scope_id=desk.world.app_id, period="day", amount_nano=1, **written, **more
        )
