"""Hours far above the same hour of other days: found once, told once, and not where nothing is unusual."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from apps.billing.models.risk import Anomaly, AppHour, Metric
from apps.billing.services.anomalies import find_anomalies, is_far, shown, sum_up
from apps.core.money import NANO_PER_USD as USD
from apps.usage.models import Alert
from tests.billing.risk_factories import calls, hour
from tests.gateway.api_factories import make_stranger
from tests.usage.factories import Desk, make_desk

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 12, 7, tzinfo=UTC)
LAST = datetime(2026, 11, 20, 11, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def desk() -> Desk:
    return make_desk()


def usual(desk: Desk, days: int = 14, *, number: int = 100, spend: int = USD, **row: Any) -> None:
    """Have the same in this hour of each of the days before, a little more on every other one."""
    for day in range(1, days + 1):
        more = day % 2 + 1
        hour(desk, LAST - day * DAY, calls=number + 2 * more, spend=spend + more * USD // 10, **row)


def found() -> set[tuple[str, str, str]]:
    return set(Anomaly.objects.values_list("scope", "scope_id", "metric"))


def spike(desk: Desk, number: int = 500, spend: int = 50 * USD, at: datetime = LAST, **row: Any) -> None:
    calls(desk, number, at + timedelta(minutes=10), spend=spend, **row)


def test_spike_is_found_for_the_app_its_developer_and_the_platform(desk: Desk) -> None:
    usual(desk)
    spike(desk)
    assert find_anomalies(now=NOW) == 6
    world = desk.world
    scopes = {("app", world.app_id), ("developer", world.developer_id), ("platform", "")}
    assert found() == {(*scope, metric) for scope in scopes for metric in ("spend", "calls")}
    row = Anomaly.objects.get(scope="app", metric="spend")
    assert (row.hour, row.value, row.days) == (LAST, 50 * USD, 14)
    assert USD < row.baseline < 2 * USD
    assert row.threshold == 5 * USD


def test_usual_hour_is_no_anomaly(desk: Desk) -> None:
    usual(desk, number=500, spend=50 * USD)
    spike(desk)
    assert find_anomalies(now=NOW) == 0
    assert not Alert.objects.exists()
    assert AppHour.objects.filter(hour=LAST).count() == 1


def test_small_numbers_are_no_anomaly(desk: Desk) -> None:
    usual(desk, number=1, spend=1000)
    spike(desk, number=200, spend=5 * USD)
    assert find_anomalies(now=NOW) == 0


def test_app_without_a_history_has_no_anomaly(desk: Desk) -> None:
    usual(desk, days=4)
    spike(desk)
    assert find_anomalies(now=NOW) == 0
    assert found() == set()


def test_days_without_calls_count_from_the_first_call_on(desk: Desk) -> None:
    hour(desk, LAST - 6 * DAY, calls=1)
    spike(desk)
    assert find_anomalies(now=NOW) == 6
    assert Anomaly.objects.get(scope="app", metric="calls").days == 6


def test_spikes_of_the_past_do_not_move_the_baseline(desk: Desk) -> None:
    usual(desk)
    AppHour.objects.filter(hour__lte=LAST - 10 * DAY).update(calls=100_000, spend_nano=9000 * USD)
    spike(desk)
    find_anomalies(now=NOW)
    assert Anomaly.objects.get(scope="app", metric="spend").baseline < 2 * USD


def test_errors_are_judged_by_their_share(desk: Desk) -> None:
    usual(desk, number=100, failed=1)
    spike(desk, number=100, spend=0)
    assert find_anomalies(now=NOW) == 0
    AppHour.objects.filter(hour=LAST).delete()
    calls(desk, 40, LAST + timedelta(minutes=20), outcome="provider_failed", charged=False)
    assert find_anomalies(now=NOW) == 3
    row = Anomaly.objects.get(scope="app")
    assert (row.metric, row.value) == ("error_rate", 40 * 1000 // 140)
    assert shown(row.metric, row.value) == "28.5"


def test_errors_of_few_calls_are_not_judged(desk: Desk) -> None:
    usual(desk, number=100)
    calls(desk, 49, LAST, outcome="provider_failed", charged=False)
    assert find_anomalies(now=NOW) == 0


def test_anomaly_is_told_once_to_the_operator_and_to_its_developer_alone(desk: Desk) -> None:
    stranger, *_ = make_stranger()
    usual(desk)
    spike(desk)
    find_anomalies(now=NOW)
    assert find_anomalies(now=NOW + timedelta(minutes=10)) == 0
    told = set(Alert.objects.values_list("developer_id", "scope", "data__metric"))
    own = desk.world.developer_id
    operator = {(None, scope, metric) for scope in ("app", "developer", "platform") for metric in ("spend", "calls")}
    assert told == operator | {(own, scope, metric) for scope in ("app", "developer") for metric in ("spend", "calls")}
    assert not Alert.objects.filter(developer_id=stranger).exists()
    alert = Alert.objects.get(developer_id=own, scope="app", data__metric="spend")
    assert alert.data == {
        "metric": "spend",
        "hour": "2026-11-20T11:00:00+00:00",
        "value": "50.0000",
        "baseline": shown("spend", Anomaly.objects.get(scope="app", metric="spend").baseline),
        "threshold": "5.0000",
        "days": 14,
    }


def test_spike_that_goes_on_is_stored_and_not_told_again(desk: Desk) -> None:
    usual(desk)
    for day in range(1, 15):
        hour(desk, LAST - day * DAY + timedelta(hours=1), calls=100, spend=USD)
    spike(desk)
    find_anomalies(now=NOW)
    told = Alert.objects.count()
    spike(desk, at=LAST + timedelta(hours=1))
    assert find_anomalies(now=NOW + timedelta(hours=1)) == 6
    assert Alert.objects.count() == told
    assert Anomaly.objects.filter(scope="app", metric="calls").count() == 2


def test_one_app_of_two_does_not_speak_for_the_other(desk: Desk) -> None:
    _, other, _ = make_stranger()
    usual(desk)
    usual(desk, app_id=other, developer_id="dev_other", number=100_000, spend=9000 * USD)
    hour(desk, LAST, app_id=other, developer_id="dev_other", calls=100_000, spend=9000 * USD)
    spike(desk)
    find_anomalies(now=NOW)
    assert {scope for scope, _, _ in found()} == {"app", "developer"}
    assert set(Anomaly.objects.filter(scope="app").values_list("scope_id", flat=True)) == {desk.world.app_id}


def test_hours_are_summed_up_from_the_calls_and_again_where_calls_came_late(desk: Desk) -> None:
    calls(desk, 3, LAST - DAY, spend=30)
    calls(desk, 2, LAST - DAY, outcome="provider_failed", charged=False)
    calls(desk, 4, LAST, spend=40, end_user_id=None)
    calls(desk, 9, LAST + timedelta(hours=1), spend=90)  # this hour has not ended
    calls(desk, 1, LAST - 15 * DAY, spend=10)
    sum_up(until=LAST + timedelta(hours=1))
    sums = AppHour.objects.order_by("hour").values_list("hour", "calls", "failed", "spend_nano")
    assert list(sums) == [(LAST - DAY, 5, 2, 30), (LAST, 4, 0, 40)]
    assert AppHour.objects.filter(app_id=desk.world.app_id, developer_id=desk.world.developer_id).count() == 2
    calls(desk, 1, LAST + timedelta(minutes=59), spend=2)
    sum_up(until=LAST + timedelta(hours=1))
    assert list(sums.all())[1] == (LAST, 5, 0, 42)


def test_sums_are_kept_as_long_as_a_baseline_needs_them(desk: Desk) -> None:
    hour(desk, LAST - 17 * DAY, calls=1)
    hour(desk, LAST - 14 * DAY, calls=1)
    find_anomalies(now=NOW)
    assert list(AppHour.objects.values_list("hour", flat=True)) == [LAST - 14 * DAY]


@pytest.mark.parametrize(
    ("value", "days", "far"),
    [
        (1001, [500] * 14, True),  # twice the median
        (1000, [500] * 14, False),
        (2600, [500, 700, 900, 300, 600, 400, 800], True),  # 600 + 6 × 1.4826 × 200 = 2379
        (2300, [500, 700, 900, 300, 600, 400, 800], False),
        (200, [0] * 14, False),  # not more than the least
        (201, [0] * 14, True),
        (10**9, [1] * 4, False),  # too few days
    ],
)
def test_far_is_above_twice_the_median_and_its_usual_distance(value: int, days: list[int], far: bool) -> None:
    assert (is_far(value, days, Metric.CALLS) is not None) is far


def test_anomaly_is_stored_once_and_never_changed(desk: Desk) -> None:
    usual(desk)
    spike(desk)
    find_anomalies(now=NOW)
    row = Anomaly.objects.filter(scope="app").first()
    assert row is not None
    row.pk = None
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)
    with pytest.raises(IntegrityError), transaction.atomic():
        Anomaly.objects.update(value=10**12)
    with pytest.raises(IntegrityError), transaction.atomic():
        Anomaly.objects.all().delete()
