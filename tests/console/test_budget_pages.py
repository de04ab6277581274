"""Pages of budgets, limits, alerts, savings and fees."""

import re
from datetime import date, timedelta
from typing import Any

import pytest

from apps.billing.models.risk import Anomaly
from apps.billing.months import month_after, month_of
from apps.billing.queries.value import baselines_of
from apps.billing.services.fees import FeeInput, charge_in_app, publish_fee
from apps.billing.services.value import accept_baseline, agree
from apps.core import addresses
from apps.core.clock import now
from apps.developers.models import Role
from apps.features.services.apps import create_app
from apps.usage.budgets.queries import BudgetState, budgets_of_developer
from apps.usage.models import Alert, Budget, BudgetPeriod
from apps.usage.services.alerts import endpoint_of, raise_alert
from apps.usage.services.budgets import create_budget
from apps.usage.services.limits import create_limit_rule
from tests.console.neighbours import make_neighbour
from tests.console.page_checks import assert_only_for, assert_same_queries, queries, text_of
from tests.console.seats import ACTOR, House, make_house

pytestmark = pytest.mark.django_db
USD = 10**9
BUILDERS = (Role.OWNER, Role.ADMIN)
MONEY = (Role.OWNER, Role.ADMIN, Role.FINANCE)
WHO: dict[str, Any] = {"actor": ACTOR}
FEE = FeeInput(
    name="Own keys",
    type="gateway_fee",
    route="byok",
    amount=2 * USD,
    interval="month",
    developer_share_bps=2_500,
    disclosure_en="For users with their own keys.",
    disclosure_zh="用户自带密钥。",
)


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    addresses.forget()


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def budgets(house: House) -> tuple[BudgetState, ...]:
    return budgets_of_developer(house.developer_id, now=now(), limit=100)


def limit_app(house: House, app_id: str, amount: int = 5 * USD) -> str:
    whose: dict[str, Any] = {"developer_id": house.developer_id, "now": now()}
    return create_budget(scope="app", scope_id=app_id, period="month", amount=amount, **whose, **WHO)


def asked(house: House, **more: Any) -> dict[str, Any]:
    """Return what the form of a new budget sends."""
    whole = {"subject": f"app:{house.app_id}", "period": "month", "amount": "5", "hard": "True", "thresholds": "80, 95"}
    return {**whole, **more}


def test_who_sees_which_page(house: House) -> None:
    assert_only_for(house, Role.values, "budgets", "alerts", "fees")


def test_who_changes_budgets(house: House) -> None:
    assert_only_for(house, BUILDERS, "budgets/new", "alerts/endpoint", f"budgets/{limit_app(house, house.app_id)}")


def test_who_sees_savings(house: House) -> None:
    assert_only_for(house, MONEY, "savings", "savings/baseline")


def test_lists_take_few_queries_however_many_rows(house: House) -> None:
    def add_budget(number: int) -> None:
        made = create_app(developer_id=house.developer_id, name=f"App {number}", now=now(), **WHO)
        limit_app(house, made)
        create_limit_rule(scope="app", scope_id=made, rpm=number, now=now(), **WHO)
        assert f"App {number}" in text_of(house.owner.get(house.url("budgets")))

    assert_same_queries(house.owner, house.url("budgets"), add_budget)

    def add_alert(number: int) -> None:
        about: dict[str, Any] = {"scope": "app", "scope_id": house.app_id, "data": {}, "now": now()}
        raise_alert("anomaly", str(number), developer_id=house.developer_id, **about)
        spike(house, number)

    assert_same_queries(house.owner, house.url("alerts"), add_alert)
    publish_fee("own-keys", FEE, now=now(), **WHO)
    apps = [create_app(developer_id=house.developer_id, name=f"Fee {n}", now=now(), **WHO) for n in range(4)]
    assert_same_queries(
        house.owner,
        house.url("fees"),
        lambda number: charge_in_app(apps[number], "own-keys", required=True, now=now(), **WHO),
    )


def spike(house: House, number: int) -> None:
    hour = (now() - timedelta(hours=number)).replace(minute=0, second=0, microsecond=0)
    values = {"value": 30 * USD, "baseline": 2 * USD, "threshold": 12 * USD, "days": 14, "created_at": now()}
    Anomaly.objects.create(scope="app", scope_id=house.app_id, metric="spend", hour=hour, **values)


def test_budget_is_set_for_an_app_and_bounds_it(house: House) -> None:
    empty = text_of(house.owner.get(house.url("budgets")))
    assert "A budget bounds what" in empty and "No limits are set." in empty
    sent = house.owner.post(house.url("budgets/new"), asked(house))
    assert sent["location"] == house.url("budgets")
    [row] = budgets(house)
    found = (row.scope, row.scope_id, row.period, row.amount, row.hard, row.rollover, row.thresholds)
    assert found == ("app", house.app_id, "month", 5 * USD, True, False, (80, 95))
    assert "$5.00" in text_of(house.owner.get(house.url("budgets")))
    again = house.owner.post(house.url("budgets/new"), asked(house))
    assert again.status_code == 200 and again.context["form"].errors["subject"]


@pytest.mark.parametrize("scope", ["developer", "feature", "end_user"])
def test_budget_is_set_for_other_things(house: House, scope: str) -> None:
    world = house.desk.world
    subjects = {
        "developer": (house.developer_id, {}),
        "feature": (f"{house.app_id}/default", {}),
        "end_user": (world.end_user_id, {"end_user": world.end_user_id}),
    }
    scope_id, more = subjects[scope]
    subject = "end_user:" if scope == "end_user" else f"{scope}:{scope_id}"
    sent = house.owner.post(house.url("budgets/new"), asked(house, subject=subject, **more, hard="False"))
    assert sent.status_code == 302, sent.context["form"].errors
    [row] = budgets(house)
    assert (row.scope, row.scope_id, row.hard) == (scope, scope_id, False)
    text_of(house.owner.get(house.url("budgets")))


def test_budget_for_what_is_somebody_elses_is_refused(house: House) -> None:
    other = make_neighbour()
    refused = house.owner.post(house.url("budgets/new"), asked(house, subject=f"app:{other.app_id}"))
    assert refused.context["form"].errors["subject"]
    for user in ("", "usr_nobody"):
        answered = house.owner.post(house.url("budgets/new"), asked(house, subject="end_user:", end_user=user))
        assert answered.context["form"].errors["end_user"], user
    assert other.owner.post(house.url("budgets/new"), asked(house)).status_code == 404
    assert house.member(Role.FINANCE).post(house.url("budgets/new"), asked(house)).status_code == 403
    assert not Budget.objects.exists()


@pytest.mark.parametrize(
    "wrong", [{"amount": "0"}, {"amount": "-1"}, {"amount": ""}, {"thresholds": "many"}, {"thresholds": "0"}]
)
def test_budget_that_makes_no_sense_is_refused_beside_its_field(house: House, wrong: dict[str, str]) -> None:
    answered = house.owner.post(house.url("budgets/new"), asked(house, **wrong))
    assert answered.status_code == 200 and answered.context["form"].errors[next(iter(wrong))]


def test_budget_is_changed_switched_off_and_on(house: House) -> None:
    made = limit_app(house, house.app_id)
    url = house.url(f"budgets/{made}")
    assert "80, 95" in house.owner.get(url).content.decode()
    sent = house.owner.post(url, {"amount": "9.5", "hard": "False", "rollover": "on", "thresholds": "50"})
    assert sent["location"] == house.url("budgets")
    [row] = budgets(house)
    assert (row.amount, row.hard, row.rollover, row.thresholds) == (19 * USD // 2, False, True, (50,))
    for to, enabled in (("off", False), ("off", False), ("on", True)):
        house.owner.post(f"{url}/switch", {"to": to})
        assert budgets(house)[0].enabled is enabled
    neighbour = make_neighbour()
    assert neighbour.owner.get(f"/console/{neighbour.developer_id}/budgets/{made}").status_code == 404
    assert neighbour.owner.post(f"/console/{neighbour.developer_id}/budgets/{made}/switch").status_code == 404


def test_what_is_left_is_shown_and_when_nothing_is(house: House) -> None:
    made = limit_app(house, house.app_id)
    start = budgets(house)[0].period_start
    amounts = {"limit_nano": 5 * USD, "carried_nano": 0, "spent_nano": USD, "reserved_nano": 0}
    row = BudgetPeriod.objects.create(budget_id=made, period_start=start, **amounts)
    shown = text_of(house.owner.get(house.url("budgets")))
    assert "$1.00 / $5.00" in shown and "$4.00" in shown and "in force" in shown
    for spent, words in ((4 * USD, "running low"), (5 * USD, "used up: calls are refused")):
        BudgetPeriod.objects.filter(pk=row.pk).update(spent_nano=spent)
        assert words in text_of(house.owner.get(house.url("budgets"))), words


def test_limits_that_bind_the_developer_are_shown_and_no_others(house: House) -> None:
    create_limit_rule(scope="app", scope_id=house.app_id, rpm=61, tpm=7_001, now=now(), **WHO)
    create_limit_rule(scope="app", scope_id=make_neighbour().app_id, rpm=83, now=now(), **WHO)
    create_limit_rule(scope="end_user", concurrency=17, now=now(), **WHO)
    create_limit_rule(scope="feature", scope_id=f"{house.app_id}/default", rpm=59, now=now(), **WHO)
    shown = text_of(house.owner.get(house.url("budgets")))
    assert all(number in shown.split() for number in ("61", "7,001", "17", "59"))
    assert "83" not in shown.split() and "Each: User" in shown and "None" not in shown.split()


def test_alerts_and_hours_unlike_others_are_listed(house: House) -> None:
    empty = text_of(house.owner.get(house.url("alerts")))
    assert "No alert yet" in empty and "None so far." in empty
    about: dict[str, Any] = {"scope": "app", "scope_id": house.app_id, "data": {}, "now": now()}
    raise_alert("anomaly", "1", developer_id=house.developer_id, **about)
    raise_alert("anomaly", "2", developer_id=make_neighbour().developer_id, **about)
    made = limit_app(house, house.app_id)
    amounts = {"limit_nano": 5 * USD, "spent_nano": 4 * USD, "threshold": 80, "period_start": now(), "budget_id": made}
    whose = {"developer_id": house.developer_id, "scope": "app", "scope_id": house.app_id, "created_at": now()}
    Alert.objects.create(**whose, **amounts)
    spike(house, 1)
    answered = house.owner.get(house.url("alerts"))
    shown = text_of(answered)
    assert "80 % of a budget is used: $4.00 of $5.00" in shown and "An hour was unlike others" in shown
    assert len(answered.context["rows"]) == 2
    assert "$30.00" in shown and "$2.00" in shown


def test_alert_endpoint_is_set_with_a_secret_shown_once_and_removed(house: House) -> None:
    url = house.url("alerts/endpoint")
    assert house.owner.post(url, {"url": "http://10.0.0.1/"}).context["form"].errors["url"]
    answered = house.owner.post(url, {"url": "https://hooks.example.com/alerts"})
    found = re.search(r'id="secret">(whsec_[^<]+)<', answered.content.decode())
    assert found is not None and "no-store" in answered["cache-control"]
    text_of(answered)
    page = house.owner.get(house.url("alerts"))
    assert "https://hooks.example.com/alerts" in text_of(page)
    assert found[1] not in page.content.decode() and found[1] not in house.owner.get(url).content.decode()
    assert house.member(Role.ANALYST).post(house.url("alerts/endpoint/remove")).status_code == 403
    assert "hooks.example.com" in text_of(house.owner.get(house.url("alerts/endpoint/remove")))
    house.owner.post(house.url("alerts/endpoint/remove"))
    assert endpoint_of(house.developer_id) is None
    assert house.owner.get(house.url("alerts/endpoint/remove"))["location"] == house.url("alerts")


def test_changes_are_counted(house: House, settings: Any) -> None:
    settings.BUDGET_CHANGES = "1/hour"
    house.owner.post(house.url("budgets/new"), asked(house))
    answered = house.owner.post(house.url("budgets/new"), asked(house, subject=f"developer:{house.developer_id}"))
    assert "Too many changes" in text_of(answered)
    assert len(budgets(house)) == 1


def test_savings_are_shown_with_the_agreement_and_its_months(house: House) -> None:
    assert "You do not pay by value" in text_of(house.owner.get(house.url("savings")))
    months: list[date] = [month_after(month_of(now()), -back) for back in (1, 2, 3)]
    for month in months:
        entered = {"month": f"{month:%Y-%m}", "cost": "1000", "evidence": "invoice 7"}
        assert house.owner.post(house.url("savings/baseline"), entered)["location"] == house.url("savings")
    assert "waits for the operator" in text_of(house.owner.get(house.url("savings")))
    for row in baselines_of(house.developer_id):
        accept_baseline(row.id, now=now(), **WHO)
    agree(house.developer_id, month_of(now()), now=now(), **WHO)
    house.owner.get(house.url("savings"))
    queries(house.owner, house.url("savings"))
    shown = text_of(house.owner.get(house.url("savings")))
    assert "$1,000.00" in shown and "20 % of what is saved" in shown and "accepted" in shown
    accepted = house.owner.post(
        house.url("savings/baseline"), {"month": f"{months[0]:%Y-%m}", "cost": "5", "evidence": "invoice 8"}
    )
    assert accepted.context["form"].errors["month"]
    assert house.member(Role.ANALYST).post(house.url("savings/baseline")).status_code == 403


def test_fees_of_own_apps_are_listed(house: House) -> None:
    assert "Your apps charge no fees" in text_of(house.owner.get(house.url("fees")))
    publish_fee("own-keys", FEE, now=now(), **WHO)
    charge_in_app(make_neighbour().app_id, "own-keys", required=True, now=now(), **WHO)
    assert "Your apps charge no fees" in text_of(house.owner.get(house.url("fees")))
    charge_in_app(house.app_id, "own-keys", required=False, now=now(), **WHO)
    shown = text_of(house.owner.get(house.url("fees")))
    assert "Own keys" in shown and "$2.00" in shown and "25 %" in shown and "offered" in shown
