"""Scores are stored with their signals, told once, acted on where asked to; actions are audited and undone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils.translation import override

from apps.billing.models.disputes import Dispute
from apps.billing.models.risk import RiskAction, RiskScore, RiskSignal
from apps.billing.services import risk_rules
from apps.billing.services.disputes import _unfreeze
from apps.billing.services.payout_risk import developer_risk
from apps.billing.services.risk import latest_score, score, score_active
from apps.billing.services.risk_actions import act_on_score, frozen_by_risk, take_action, undo_action
from apps.core.errors import BadRequest, Conflict, FaucetError, NotFound
from apps.core.money import NANO_PER_USD as USD
from apps.developers.models import AuditEvent, Developer
from apps.developers.queries import is_active
from apps.features.queries import app_by_id, end_user_by_id
from apps.ledger.queries import balance
from apps.ledger.services.accounts import freeze_wallet, open_account
from apps.usage.limits.queries import limit_rule_of
from apps.usage.models import Alert
from apps.usage.services.limits import create_limit_rule
from tests.billing.risk_factories import age, calls, dispute, end_user, minutes, seen, top_up
from tests.live import ACTOR
from tests.usage.factories import Desk, make_desk

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=100)
WHO: dict[str, Any] = {"now": NOW, "actor": ACTOR}


@pytest.fixture
def desk() -> Desk:
    desk = make_desk()
    Developer.objects.update(created_at=LONG_AGO)
    age(desk.world.end_user_id, LONG_AGO)
    return desk


def fail_cards(desk: Desk, number: int = 3) -> None:
    for _ in range(number):
        top_up(desk.world.account_id, NOW - minutes(10), status="failed")


def be_bad(desk: Desk) -> None:
    """Have the end user come to a high score."""
    fail_cards(desk, 4)
    dispute(desk.world.account_id, NOW - timedelta(days=1))


def test_score_is_stored_with_its_signals_and_said_in_plain_words(desk: Desk) -> None:
    fail_cards(desk)
    found = score("end_user", desk.world.end_user_id, now=NOW)
    assert latest_score("end_user", desk.world.end_user_id) == found
    (signal,) = found.signals
    assert (found.score, found.level) == (20, "low")
    assert (signal.code, signal.points, signal.value, signal.threshold) == ("card_failures", 20, 3, 3)
    assert signal.explanation == "3 payments failed within 24 hours (from 3 on)."
    row = RiskSignal.objects.get()
    assert (row.score_id, row.explanation) == (found.id, signal.explanation)


def test_explanation_is_stored_in_english_whatever_language_is_in_force(desk: Desk) -> None:
    fail_cards(desk)
    with override("zh-hans"):
        found = score("end_user", desk.world.end_user_id, now=NOW)
    assert found.signals[0].explanation == "3 payments failed within 24 hours (from 3 on)."


def test_same_score_again_is_confirmed_and_another_is_a_new_row(desk: Desk) -> None:
    fail_cards(desk)
    first = score("end_user", desk.world.end_user_id, now=NOW)
    later = NOW + minutes(5)
    assert score("end_user", desk.world.end_user_id, now=later).id == first.id
    assert RiskScore.objects.get().confirmed_at == later
    fail_cards(desk, 1)
    second = score("end_user", desk.world.end_user_id, now=later)
    assert second.score > first.score
    gone = score("end_user", desk.world.end_user_id, now=NOW + timedelta(days=2))
    assert (gone.score, gone.signals) == (0, ())
    history = RiskScore.objects.order_by("id").values_list("score", flat=True)
    assert list(history) == [first.score, second.score, 0]
    assert latest_score("end_user", desk.world.end_user_id) == gone


@pytest.mark.parametrize(
    "statement",
    [
        lambda: RiskScore.objects.update(score=1),
        lambda: RiskScore.objects.all().delete(),
        lambda: RiskSignal.objects.update(points=1),
        lambda: RiskAction.objects.update(reason="another"),
        lambda: RiskAction.objects.all().delete(),
    ],
)
def test_history_cannot_be_changed(desk: Desk, statement: Any) -> None:
    fail_cards(desk)
    score("end_user", desk.world.end_user_id, now=NOW)
    take_action("end_user", desk.world.end_user_id, "suspend", reason="abuse", **WHO)
    with pytest.raises(IntegrityError), transaction.atomic():
        statement()


def test_other_kinds_are_refused() -> None:
    with pytest.raises(BadRequest):
        score("session", "sess_1", now=NOW)
    assert latest_score("developer", "dev_nobody") is None


def test_active_ones_are_judged_and_harmless_end_users_leave_no_row(desk: Desk, settings: Any) -> None:
    calls(desk, 1, NOW - minutes(5), spend=USD)
    bad, idle = end_user(desk, at=LONG_AGO), end_user(desk, at=LONG_AGO)
    seen(desk, bad[0], NOW - minutes(1))
    for user in (bad, idle):
        for _ in range(3):
            top_up(user[1], NOW - minutes(1), status="failed")
    assert score_active(now=NOW) == 4
    assert set(RiskScore.objects.values_list("subject_kind", "subject_id")) == {
        ("app", desk.world.app_id),
        ("developer", desk.world.developer_id),
        ("end_user", bad[0]),
    }
    assert score_active(now=NOW + timedelta(hours=3)) == 0
    settings.RISK_SUBJECTS = 1
    assert score_active(now=NOW) == 3


def test_active_ones_take_the_same_queries_for_one_end_user_and_for_many(
    desk: Desk, django_assert_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            score_active(now=NOW)
        return len(captured)

    calls(desk, 1, NOW - minutes(5), spend=USD)
    score_active(now=NOW)
    one = queries()
    for _ in range(5):
        calls(desk, 1, NOW - minutes(5), spend=USD, user=end_user(desk, at=LONG_AGO))
    per_user = 4  # a savepoint, its release, the lock and the last score
    assert queries() <= one + 5 * per_user


def test_high_score_is_told_to_the_operator_once(desk: Desk) -> None:
    be_bad(desk)
    found = score("end_user", desk.world.end_user_id, now=NOW)
    assert found.level == "high"
    fail_cards(desk, 1)
    score("end_user", desk.world.end_user_id, now=NOW + minutes(1))
    alert = Alert.objects.get()
    assert (alert.kind, alert.developer_id, alert.scope, alert.scope_id) == (
        *("risk", None, "end_user", desk.world.end_user_id),
    )
    assert alert.data["score"] == found.score
    assert {signal["code"] for signal in alert.data["signals"]} == {"card_failures", "disputes"}


def test_low_score_is_told_to_nobody(desk: Desk, settings: Any) -> None:
    fail_cards(desk)
    score("end_user", desk.world.end_user_id, now=NOW)
    settings.RISK_ALERT_LIMIT = 0
    be_bad(desk)
    score("end_user", desk.world.end_user_id, now=NOW)
    assert not Alert.objects.exists()


def test_score_of_a_developer_or_its_app_gates_payouts(desk: Desk) -> None:
    assert developer_risk(desk.world.developer_id) is None
    calls(desk, 1, NOW - timedelta(days=1), spend=100 * USD)
    found = score("developer", desk.world.developer_id, now=NOW)
    score("app", desk.world.app_id, now=NOW)
    gate = developer_risk(desk.world.developer_id)
    assert gate is not None
    assert (gate.score, gate.subject) == (found.score, "developer")
    assert [signal["code"] for signal in gate.signals] == ["one_payer"]


def test_nothing_happens_by_itself_unless_asked_for(desk: Desk, settings: Any) -> None:
    be_bad(desk)
    score("end_user", desk.world.end_user_id, now=NOW)
    assert not RiskAction.objects.exists()
    settings.RISK_SUSPEND_LIMIT = 60
    score("end_user", desk.world.end_user_id, now=NOW)
    score("end_user", desk.world.end_user_id, now=NOW + minutes(1))
    done = RiskAction.objects.order_by("kind").values_list("kind", "created_by")
    assert list(done) == [("suspend", "system:risk"), ("throttle", "system:risk")]
    rule = limit_rule_of("end_user", desk.world.end_user_id)
    assert rule is not None
    assert (rule.rpm, rule.enabled) == (settings.RISK_THROTTLE_RPM, True)


def test_what_an_operator_undid_is_left_alone_for_a_week(desk: Desk) -> None:
    user = desk.world.end_user_id
    first = act_on_score("end_user", user, score=90, score_id="rsk_1", now=NOW)
    assert len(first) == 2
    for action in first:
        undo_action(action, **WHO)
    assert limit_rule_of("end_user", user) is None
    assert act_on_score("end_user", user, score=90, score_id="rsk_1", now=NOW + timedelta(days=6)) == []
    assert len(act_on_score("end_user", user, score=90, score_id="rsk_1", now=NOW + timedelta(days=8))) == 2
    assert act_on_score("developer", desk.world.developer_id, score=99, score_id="rsk_1", now=NOW) == []


def test_throttle_keeps_a_tighter_rule_and_puts_the_old_one_back(desk: Desk, settings: Any) -> None:
    user = desk.world.end_user_id
    create_limit_rule(scope="end_user", scope_id=user, rpm=100, tpm=5, enabled=False, **WHO)
    action = take_action("end_user", user, "throttle", reason="floods", **WHO)
    rule = limit_rule_of("end_user", user)
    assert rule is not None
    assert (rule.rpm, rule.tpm, rule.enabled) == (settings.RISK_THROTTLE_RPM, 5, True)
    undo_action(action, **WHO)
    rule = limit_rule_of("end_user", user)
    assert rule is not None
    assert (rule.rpm, rule.tpm, rule.enabled) == (100, 5, False)


def test_disable_is_undone_only_where_it_did_something(desk: Desk) -> None:
    user = end_user_by_id(desk.world.end_user_id)
    assert user is not None
    for kind, subject in (
        ("end_user", desk.world.end_user_id),
        ("app", desk.world.app_id),
        ("developer", desk.world.developer_id),
    ):
        action = take_action(kind, subject, "disable", reason="abuse", **WHO)
        assert not active(kind, subject)
        with pytest.raises(Conflict):
            take_action(kind, subject, "disable", reason="abuse", **WHO)
        undo_action(action, **WHO)
        assert active(kind, subject)
        with pytest.raises(Conflict):
            undo_action(action, **WHO)
    assert set(AuditEvent.objects.filter(action__startswith="risk.").values_list("action", "developer_id")) == {
        ("risk.disable", desk.world.developer_id),
        ("risk.undo_disable", desk.world.developer_id),
    }


def active(kind: str, subject: str) -> bool:
    if kind == "developer":
        return is_active(subject)
    found: Any = (app_by_id if kind == "app" else end_user_by_id)(subject)
    assert found is not None
    return bool(found.active)


def test_freeze_is_undone_unless_something_else_keeps_it(desk: Desk) -> None:
    account = desk.world.account_id
    action = take_action("end_user", desk.world.end_user_id, "freeze", reason="abuse", **WHO)
    assert balance(account).frozen
    assert frozen_by_risk(account)
    undo_action(action, **WHO)
    assert not balance(account).frozen
    assert not frozen_by_risk(account)
    # Frozen before: it stays so.
    freeze_wallet(account, **WHO)
    undo_action(take_action("end_user", desk.world.end_user_id, "freeze", reason="abuse", **WHO), **WHO)
    assert balance(account).frozen


def test_freeze_stays_while_a_payment_is_disputed(desk: Desk) -> None:
    action = take_action("end_user", desk.world.end_user_id, "freeze", reason="abuse", **WHO)
    dispute(desk.world.account_id, NOW)
    undo_action(action, **WHO)
    assert balance(desk.world.account_id).frozen


def test_freeze_outlives_the_dispute_that_came_before_it_and_ends_with_its_undoing(desk: Desk) -> None:
    account = desk.world.account_id
    dispute(account, NOW)
    freeze_wallet(account, **WHO)
    Dispute.objects.update(froze=True)
    action = take_action("end_user", desk.world.end_user_id, "freeze", reason="abuse", **WHO)
    row = Dispute.objects.get()
    _unfreeze(row, now=NOW)
    assert balance(account).frozen
    Dispute.objects.update(status="won", reversal_id=1)
    undo_action(action, **WHO)
    assert not balance(account).frozen


def test_freeze_of_a_developer_keeps_its_revenue(desk: Desk) -> None:
    take_action("developer", desk.world.developer_id, "freeze", reason="abuse", **WHO)
    account = open_account(kind="developer", owner_id=desk.world.developer_id, now=NOW)
    assert balance(account).frozen


@pytest.mark.parametrize(
    ("kind", "subject", "action", "reason", "error"),
    [
        ("app", None, "freeze", "abuse", BadRequest),
        ("developer", None, "suspend", "abuse", BadRequest),
        ("app", None, "explode", "abuse", BadRequest),
        ("app", None, "disable", "  ", BadRequest),
        ("app", "app_none", "disable", "abuse", NotFound),
        ("end_user", "usr_none", "disable", "abuse", NotFound),
        ("developer", "dev_none", "disable", "abuse", NotFound),
    ],
)
def test_action_that_makes_no_sense_is_refused(
    desk: Desk, kind: str, subject: str | None, action: str, reason: str, error: type[FaucetError]
) -> None:
    own = {"app": desk.world.app_id, "developer": desk.world.developer_id}
    with pytest.raises(error):
        take_action(kind, subject or own[kind], action, reason=reason, **WHO)
    assert not RiskAction.objects.exists()
    with pytest.raises(NotFound):
        undo_action("rac_none", **WHO)


def test_pages_of_the_admin_show_signals_and_act(admin_client: Client, desk: Desk) -> None:
    be_bad(desk)
    found = score("end_user", desk.world.end_user_id, now=NOW)
    page = admin_client.get(reverse("admin:billing_riskscore_change", args=[found.id])).text
    for signal in found.signals:
        assert signal.explanation in page
    listed = reverse("admin:billing_riskscore_changelist")
    assert "card_failures" in admin_client.get(listed).text
    for action in ("throttle", "suspend", "freeze", "disable"):
        admin_client.post(listed, {"action": action, "_selected_action": [found.id]})
    assert set(RiskAction.objects.values_list("kind", "score_id")) == {
        (kind, found.id) for kind in ("throttle", "suspend", "freeze", "disable")
    }
    undone = [row.pk for row in RiskAction.objects.all()]
    admin_client.post(reverse("admin:billing_riskaction_changelist"), {"action": "undo", "_selected_action": undone})
    assert not RiskAction.objects.filter(undone_at=None).exists()
    user = end_user_by_id(desk.world.end_user_id)
    assert user is not None
    assert user.active


def test_admin_adds_an_action_by_hand(admin_client: Client, desk: Desk) -> None:
    page = reverse("admin:billing_riskaction_add")
    given = {"subject_kind": "app", "subject_id": desk.world.app_id, "kind": "suspend", "reason": "farmed"}
    assert admin_client.post(page, given).status_code == 302
    assert RiskAction.objects.get().created_by.startswith("user:")
    refused = admin_client.post(page, {**given, "subject_id": "app_none"}, follow=True)
    assert "There is no such app." in refused.text
    assert RiskAction.objects.count() == 1


def test_list_of_scores_takes_the_same_queries_for_one_and_for_three(admin_client: Client, desk: Desk) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for number in (1, 2):
        for _ in range(number):
            user = end_user(desk, at=LONG_AGO)
            for _ in range(3):
                top_up(user[1], NOW, status="failed")
            score("end_user", user[0], now=NOW + minutes(1))
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(reverse("admin:billing_riskscore_changelist"))
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_a_signal_that_the_table_no_longer_has_is_still_explained() -> None:
    assert risk_rules.explain("gone", value=1, threshold=1, unit="count") is None
