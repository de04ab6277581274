"""The page of the plan: its use, the others, buying, changing and cancelling."""

from typing import Any

import pytest

from apps.billing.models.plans import Subscription
from apps.billing.services.plans import assign_plan, note_attempts
from apps.core.clock import now
from apps.developers.models import Role
from tests.billing.plan_factories import measure, plan, seed
from tests.console.neighbours import make_neighbour
from tests.console.page_checks import assert_only_for, queries, text_of
from tests.console.seats import ACTOR, House, make_house
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.django_db(transaction=True)
MONEY = (Role.OWNER, Role.ADMIN, Role.FINANCE)


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def house(transactional_db: None) -> House:
    seed()
    return make_house()


def row(house: House) -> Subscription:
    return Subscription.objects.filter(developer_id=house.developer_id).latest("created_at")


def choose(house: House, key: str) -> Any:
    return house.owner.post(house.url(f"plan/choose/{key}"))


def bought(house: House, stripe: FakeStripe, key: str = "basic") -> str:
    """Choose a plan, pay it on Stripe's page, and return where that leads back to."""
    assert choose(house, key).status_code == 302
    session = row(house).stripe_session_id
    stripe.pay(session)
    found = next(each for each in stripe.all("checkout.session") if each["id"] == session)
    return str(found["success_url"])


def test_who_sees_the_plan(house: House) -> None:
    assert_only_for(house, MONEY, "plan", "plan/invoices", "plan/choose/pro")


def test_plans_stand_side_by_side_also_where_payments_are_off(house: House) -> None:
    shown = text_of(house.owner.get(house.url("plan")))
    assert all(words in shown for words in ("Free", "Basic", "Pro", "Enterprise", "$99.00", "$299.00", "1,000,000"))
    assert "No plan, no limits" in shown and "takes no payments yet" in shown
    assert house.owner.post(house.url("plan/choose/pro")).status_code == 503
    assert house.owner.get(house.url("plan/choose/free")).status_code == 404
    assert house.owner.get(house.url("plan/choose/none")).status_code == 404


def test_page_takes_few_queries_whatever_there_is(house: House) -> None:
    queries(house.owner, house.url("plan"))
    assign_plan(house.developer_id, "basic", now=now(), actor=ACTOR)
    house.desk.served()
    note_attempts(house.developer_id, ["custom_rules"], subject="feat_x", now=now(), actor=ACTOR)
    measure()
    one = queries(house.owner, house.url("plan"))
    plan("more", position=9)
    plan("most", position=10)
    note_attempts(house.developer_id, ["semantic_cache", "value_pricing"], subject="feat_x", now=now(), actor=ACTOR)
    assert queries(house.owner, house.url("plan")) == one


def test_use_is_shown_and_the_next_plan_suggested(house: House) -> None:
    assign_plan(house.developer_id, "basic", now=now(), actor=ACTOR)
    note_attempts(house.developer_id, ["custom_rules"], subject="feat_x", now=now(), actor=ACTOR)
    shown = text_of(house.owner.get(house.url("plan")))
    assert "/ 100,000" in shown and "The operator gave you this plan." in shown
    assert "rules of your own" in shown and "Look at the plan “Pro”" in shown


def test_plan_is_bought_and_the_way_back_leads_to_its_page(house: House, fakestripe: FakeStripe) -> None:
    asked = text_of(house.owner.get(house.url("plan/choose/basic")))
    assert "Choose “Basic”?" in asked and "$99.00" in asked
    back = bought(house, fakestripe)
    assert back == f"http://testserver{house.url('plan')}?subscription=done"
    # Who comes back is asked about at Stripe: the webhook may be late.
    shown = text_of(house.owner.get(back.removeprefix("http://testserver")))
    assert "your plan is in force" in shown and "The next invoice comes on" in shown
    assert row(house).status == "active"


def test_page_that_was_left_says_that_nothing_was_paid(house: House, fakestripe: FakeStripe) -> None:
    choose(house, "basic")
    shown = text_of(house.owner.get(house.url("plan?subscription=canceled")))
    assert "Nothing was paid" in shown and "have not paid yet" in shown
    house.owner.post(house.url("plan/cancel"))
    assert row(house).status == "ended"


def test_plan_is_changed_cancelled_and_kept_after_all(house: House, fakestripe: FakeStripe) -> None:
    house.owner.get(bought(house, fakestripe).removeprefix("http://testserver"))
    assert "charged to your card now" in text_of(house.owner.get(house.url("plan/choose/pro")))
    assert choose(house, "pro")["location"] == house.url("plan")
    assert row(house).plan_key == "pro"
    assert "It stays in force until" in text_of(house.owner.get(house.url("plan/cancel")))
    assert house.member(Role.ANALYST).post(house.url("plan/cancel")).status_code == 403
    house.owner.post(house.url("plan/cancel"))
    assert row(house).cancel_at_period_end
    assert "Keep the plan after all" in text_of(house.owner.get(house.url("plan")))
    house.owner.post(house.url("plan/resume"))
    assert not row(house).cancel_at_period_end
    assert house.owner.get(house.url("plan/resume")).status_code == 405


def test_stranger_buys_nothing_for_others(house: House, fakestripe: FakeStripe) -> None:
    assert make_neighbour().owner.post(house.url("plan/choose/basic")).status_code == 404
    assert not Subscription.objects.exists()
