"""Every signal of the table: a case in which it fires, and one beside it in which it does not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from apps.billing.models.top_ups import TopUp
from apps.billing.queries import risk_measures
from apps.billing.services import risk_rules
from apps.billing.services.risk import score
from apps.billing.services.risk_rules import APP, DEVELOPER, END_USER, RULES
from apps.core.money import NANO_PER_USD as USD
from apps.developers.models import Developer
from apps.features.services.apps import create_app
from apps.ledger.services.accounts import open_account
from tests.billing.risk_factories import (
    age,
    calls,
    card,
    dispute,
    drawn,
    end_user,
    hour,
    minutes,
    seen,
    top_up,
)
from tests.live import ACTOR
from tests.usage.factories import Desk, make_desk

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=100)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def desk() -> Desk:
    desk = make_desk()
    Developer.objects.update(created_at=LONG_AGO)
    age(desk.world.end_user_id, LONG_AGO)
    return desk


def fired(kind: str, subject_id: str) -> dict[str, tuple[int, int]]:
    """Return (measured, points) by code of what fires now."""
    found = score(kind, subject_id, now=NOW)
    return {signal.code: (signal.value, signal.points) for signal in found.signals}


def subjects(desk: Desk) -> dict[str, str]:
    world = desk.world
    return {END_USER: world.end_user_id, APP: world.app_id, DEVELOPER: world.developer_id}


def usual_days(desk: Desk, number: int, spend: int) -> None:
    """Have `number` calls in one hour of each of the five days before, both as calls and as sums of hours."""
    for days in range(1, 6):
        at = NOW - days * DAY
        calls(desk, number, at, spend=spend)
        hour(desk, at.replace(minute=0), calls=number, spend=spend)


# Each case makes what fires (times 1) or does just not fire (times 0): (who is judged, code) -> what is made.


def spend_pace(desk: Desk, fires: bool) -> None:
    usual_days(desk, 2, USD)
    calls(desk, 2, NOW - minutes(10), spend=(10 if fires else 9) * USD)


def call_pace(desk: Desk, fires: bool) -> None:
    usual_days(desk, 10, 0)
    calls(desk, 100 if fires else 99, NOW - minutes(10))


def new_end_user(desk: Desk, fires: bool) -> None:
    age(desk.world.end_user_id, NOW - HOUR)
    calls(desk, 1, NOW - minutes(10), spend=10 * USD - (0 if fires else 1))


def old_end_user(desk: Desk, fires: bool) -> None:
    age(desk.world.end_user_id, NOW - (HOUR if fires else 2 * DAY))
    calls(desk, 1, NOW - minutes(10), spend=10 * USD)


def new_developer(desk: Desk, fires: bool) -> None:
    Developer.objects.update(created_at=NOW - (13 if fires else 15) * DAY)
    calls(desk, 1, NOW - DAY, spend=100 * USD)


def own_credit(desk: Desk) -> int:
    return open_account(kind="developer_credit", owner_id=desk.world.developer_id, now=NOW)


def burst_of_end_user(desk: Desk, fires: bool) -> None:
    for number in range(5):
        top_up(desk.world.account_id, NOW - (minutes(number + 1) if fires or number else 25 * HOUR))


def burst_of_developer(desk: Desk, fires: bool) -> None:
    for _ in range(5 if fires else 4):
        top_up(own_credit(desk), NOW - HOUR)


def failures_of_end_user(desk: Desk, fires: bool) -> None:
    for number in range(3):
        top_up(desk.world.account_id, NOW - HOUR, status="failed" if fires or number else "canceled")


def failures_of_developer(desk: Desk, fires: bool) -> None:
    for _ in range(3 if fires else 2):
        top_up(own_credit(desk), NOW - HOUR, status="failed")


def refunds_of_end_user(desk: Desk, fires: bool) -> None:
    top_up(desk.world.account_id, NOW - 10 * DAY, refunded=1000 if fires else 999)
    top_up(desk.world.account_id, NOW - 20 * DAY)


def refunds_to_payers(desk: Desk, fires: bool) -> None:
    calls(desk, 1, NOW - DAY, spend=USD)
    for number in range(5):
        top_up(desk.world.account_id, NOW - (number + 1) * DAY, refunded=0 if number else (750 if fires else 749))


def one_dispute(desk: Desk, fires: bool) -> None:
    dispute(desk.world.account_id, NOW - (179 if fires else 181) * DAY)
    dispute(desk.world.account_id, NOW - DAY, status="closed")


def disputes_of_payers(desk: Desk, fires: bool) -> None:
    calls(desk, 1, NOW - DAY, spend=USD)
    for number in range(200):
        top_up(desk.world.account_id, NOW - number * minutes(30) - 2 * DAY)
    for _ in range(2 if fires else 1):
        dispute(desk.world.account_id, NOW - DAY)


def client_of(number: int) -> Callable[[Desk, bool], None]:
    def case(desk: Desk, fires: bool) -> None:
        seen(desk, desk.world.end_user_id, NOW - DAY)
        for other in range(1, number):
            agent = "Browser/1" if fires or other > 1 else "Browser/2"
            seen(desk, end_user(desk, at=LONG_AGO)[0], NOW - DAY, agent=agent)

    return case


def client_of_many_apps(desk: Desk, fires: bool) -> None:
    other = create_app(developer_id=desk.world.developer_id, name="Other", now=NOW, actor=ACTOR)
    seen(desk, desk.world.end_user_id, NOW - DAY)
    for number in range(7 if fires else 6):
        seen(desk, f"usr_{number}", NOW - DAY, app_id=other)


def devices(number: int) -> Callable[[Desk, bool], None]:
    def case(desk: Desk, fires: bool) -> None:
        seen(desk, desk.world.end_user_id, NOW - DAY, anonymous=True)
        for other in range(1, number):
            at = NOW - (1 if fires or other > 1 else 8) * DAY
            seen(desk, end_user(desk, at=LONG_AGO)[0], at, agent=f"Browser/{other}", anonymous=True)

    return case


def free_share(desk: Desk, fires: bool) -> None:
    calls(desk, 1, NOW - DAY, spend=10 * USD)
    drawn(desk.world.account_id, "allowance", (8 if fires else 7) * USD, NOW - DAY)
    drawn(desk.world.account_id, "paid", (2 if fires else 3) * USD, NOW - DAY)


def promotion_share(desk: Desk, fires: bool) -> None:
    calls(desk, 1, NOW - DAY, spend=10 * USD)
    drawn(desk.world.account_id, "promo" if fires else "allowance", 4 * USD, NOW - DAY)
    drawn(desk.world.account_id, "paid", 6 * USD, NOW - DAY)


def one_payer(desk: Desk, fires: bool) -> None:
    calls(desk, 1, NOW - DAY, spend=(60 if fires else 59) * USD)
    for _ in range(20):
        calls(desk, 1, NOW - DAY, spend=(2 * USD) if fires else (41 * USD // 20), user=end_user(desk, at=LONG_AGO))


def payers_of_one_client(desk: Desk, fires: bool) -> None:
    for number in range(10):
        user = end_user(desk, at=LONG_AGO)
        calls(desk, 1, NOW - DAY, spend=10 * USD, user=user)
        same = number < (4 if fires else 3)
        seen(desk, user[0], NOW - DAY, address="192.0.2.7" if same else f"192.0.2.{100 + number}")


def card_of_its_own(desk: Desk, fires: bool) -> None:
    card(own_credit(desk), NOW)
    card(desk.world.account_id, NOW, last4="4242" if fires else "4243")
    calls(desk, 1, NOW - DAY, spend=10 * USD)
    calls(desk, 1, NOW - DAY, spend=90 * USD, user=end_user(desk, at=LONG_AGO))


def price_jump(desk: Desk, fires: bool) -> None:
    calls(desk, 20, NOW - 3 * DAY, spend=20 * USD)
    calls(desk, 20, NOW - minutes(90), spend=60 * USD - (0 if fires else 20))


CASES: list[tuple[str, str, Callable[[Desk, bool], None]]] = [
    *((kind, "spend_pace", spend_pace) for kind in (END_USER, APP, DEVELOPER)),
    *((kind, "call_pace", call_pace) for kind in (END_USER, APP, DEVELOPER)),
    (END_USER, "new_and_spending", new_end_user),
    (END_USER, "new_and_spending", old_end_user),
    (DEVELOPER, "new_and_spending", new_developer),
    (END_USER, "top_up_burst", burst_of_end_user),
    (DEVELOPER, "top_up_burst", burst_of_developer),
    (END_USER, "card_failures", failures_of_end_user),
    (DEVELOPER, "card_failures", failures_of_developer),
    (END_USER, "refund_rate", refunds_of_end_user),
    (APP, "refund_rate", refunds_to_payers),
    (DEVELOPER, "refund_rate", refunds_to_payers),
    (END_USER, "disputes", one_dispute),
    (APP, "dispute_rate", disputes_of_payers),
    (DEVELOPER, "dispute_rate", disputes_of_payers),
    (END_USER, "shared_fingerprint", client_of(4)),
    (APP, "shared_fingerprint", client_of(10)),
    (DEVELOPER, "shared_fingerprint", client_of(15)),
    (END_USER, "shared_across_apps", client_of_many_apps),
    (END_USER, "devices_on_network", devices(10)),
    (APP, "devices_on_network", devices(20)),
    (DEVELOPER, "devices_on_network", devices(20)),
    (APP, "free_share", free_share),
    (DEVELOPER, "free_share", free_share),
    (DEVELOPER, "promotion_share", promotion_share),
    (DEVELOPER, "one_payer", one_payer),
    (DEVELOPER, "payers_share_client", payers_of_one_client),
    (DEVELOPER, "own_card", card_of_its_own),
    (APP, "price_jump", price_jump),
    (DEVELOPER, "price_jump", price_jump),
]


def test_every_rule_has_a_case() -> None:
    assert {(kind, rule.code) for rule in RULES for kind in rule.scales} == {(kind, code) for kind, code, _ in CASES}


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "silent"])
@pytest.mark.parametrize(("kind", "code", "case"), CASES, ids=lambda part: getattr(part, "__name__", part))
def test_signal(desk: Desk, kind: str, code: str, case: Callable[[Desk, bool], None], fires: bool) -> None:
    case(desk, fires)
    found = fired(kind, subjects(desk)[kind])
    assert (code in found) is fires
    if fires:
        scale = risk_rules.BY_CODE[code].scales[kind]
        value, points = found[code]
        assert value >= scale.threshold
        assert points == scale.points(value) >= scale.least


def test_somebody_ordinary_has_no_signal(desk: Desk) -> None:
    usual_days(desk, 20, 2 * USD)
    calls(desk, 20, NOW - minutes(10), spend=2 * USD)
    seen(desk, desk.world.end_user_id, NOW - DAY)
    for number in range(9):  # others who pay, each from home
        user = end_user(desk, at=LONG_AGO)
        calls(desk, 1, NOW - 2 * DAY, spend=2 * USD, user=user)
        seen(desk, user[0], NOW - DAY, address=f"198.51.100.{number}")
        drawn(user[1], "paid", 2 * USD, NOW - DAY)
    top_up(desk.world.account_id, NOW - DAY)
    for kind, subject_id in subjects(desk).items():
        found = score(kind, subject_id, now=NOW)
        assert (found.score, found.level, found.signals) == (0, "low", ())


def test_use_of_virtual_keys_is_nobodys_self_dealing(desk: Desk) -> None:
    calls(desk, 1, NOW - DAY, spend=1000 * USD, end_user_id=None)
    for _ in range(10):
        calls(desk, 1, NOW - DAY, spend=3 * USD, user=end_user(desk, at=LONG_AGO))
    assert fired(DEVELOPER, desk.world.developer_id) == {}


def test_new_models_and_longer_answers_are_no_other_price(desk: Desk) -> None:
    calls(desk, 20, NOW - 3 * DAY, spend=20 * USD)
    calls(desk, 20, NOW - HOUR, spend=400 * USD, served_model="dear")
    calls(desk, 20, NOW - HOUR, spend=100 * USD, output_tokens=900)
    assert "price_jump" not in fired(APP, desk.world.app_id)


def test_what_was_not_yet_is_not_counted(desk: Desk) -> None:
    for number in range(5):
        top_up(desk.world.account_id, NOW + minutes(number + 1), status="failed")
    calls(desk, 200, NOW + minutes(1), spend=500 * USD)
    usual_days(desk, 1, USD)
    assert fired(END_USER, desk.world.end_user_id) == {}
    TopUp.objects.update(created_at=NOW - HOUR)
    assert fired(END_USER, desk.world.end_user_id).keys() == {"top_up_burst", "card_failures"}


def test_points_grow_evenly_between_threshold_and_full() -> None:
    scale = risk_rules.Scale(10, 20, 5, 25)
    assert [scale.points(value) for value in (0, 9, 10, 15, 20, 10**9)] == [0, 0, 5, 15, 25, 25]


def test_score_is_a_hundred_at_most_and_levels_are_as_stated() -> None:
    signals = risk_rules.signals_of(END_USER, {"disputes": 9, "card_failures": 99, "spend_pace": 99})
    assert sum(signal.points for signal in signals) > 100
    assert risk_rules.total(signals) == 100
    assert [risk_rules.level(points) for points in (0, 29, 30, 59, 60, 100)] == [
        *("low", "low", "medium", "medium", "high", "high"),
    ]


def test_a_chunk_is_judged_as_each_one_alone(desk: Desk) -> None:
    users = [end_user(desk, at=LONG_AGO) for _ in range(3)]
    for number, user in enumerate(users):
        for _ in range(number * 3):
            top_up(user[1], NOW - HOUR, status="failed")
        calls(desk, 1, NOW - HOUR, spend=USD, user=user)
    ids = [user[0] for user in users]
    together = risk_measures.measure(END_USER, ids, now=NOW)
    assert together == {id: risk_measures.measure(END_USER, [id], now=NOW)[id] for id in ids}
    assert together[ids[2]]["card_failures"] == 6
