"""Proposing payouts and deciding about them; and that no other way leads to money being sent."""

from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import Error, connection, transaction

from apps.billing.models.payouts import Payout, PayoutAccount, PayoutReview, PayoutSkip
from apps.billing.services.payout_accounts import bank_details, resume_payouts, stop_payouts, use_bank_details
from apps.billing.services.payout_reviews import approve, hold, mark_failed, mark_paid, reject, release
from apps.billing.services.payouts import propose, run_proposals
from apps.billing.services.verify import differences
from apps.core.errors import BadRequest, Conflict, FaucetError, Forbidden, NotFound
from apps.core.money import nano_from_usd
from apps.developers.models import AuditEvent
from apps.developers.services.developers import add_member, disable_developer
from apps.ledger.queries import account_id
from apps.ledger.services.accounts import freeze_wallet
from apps.vault.services.keys import rewrap_all
from tests.billing.payout_factories import (
    BANK,
    NOW,
    WHY,
    approved,
    developer,
    earn,
    operator,
    paid_by_hand,
    payout,
    posted,
    proposed,
    score,
)
from tests.ledger.factories import assert_proven, sql

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
HUNDRED = nano_from_usd("100")


@pytest.fixture(autouse=True)
def no_reserve(settings: Any) -> None:
    settings.PAYOUT_RESERVE_BPS = 0


def refused(call: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(FaucetError) as info:
        call(*args, **kwargs)
    return info.value.code


def skip_of(developer_id: str) -> str:
    return PayoutSkip.objects.get(developer_id=developer_id).reason


# ---- proposals ----


def test_a_run_proposes_what_is_payable_once_a_period() -> None:
    acme = paid_by_hand("100.009")
    assert run_proposals(now=NOW) == 1
    row = Payout.objects.get()
    assert (row.developer_id, row.status, row.amount_nano) == (acme, "proposed", HUNDRED)
    assert (row.period, row.origin, row.approvals_needed) == (f"{NOW:%Y-%m}", "scheduled", 1)
    assert row.cutoff_at == NOW.replace(hour=0, minute=0, second=0) - 30 * DAY
    assert row.breakdown["payable"] == HUNDRED
    assert [line["kind"] for line in row.breakdown["kinds"]] == ["usage"]
    assert run_proposals(now=NOW) == 0
    earn(acme, "500")
    reject(row.pk, actor=operator(), **WHY)
    assert run_proposals(now=NOW) == 0
    following = (NOW.replace(day=1) + 32 * DAY).replace(day=2)
    assert run_proposals(now=following) == 1
    assert Payout.objects.count() == 2


def test_a_run_notes_whom_it_skips_and_why() -> None:
    small = paid_by_hand("24.99", "Small")
    nowhere = developer("Nowhere")
    earn(nowhere, "50")
    stopped = paid_by_hand("50", "Stopped")
    stop_payouts(stopped, reason="fraud?", now=NOW, actor="user:1")
    disabled = paid_by_hand("50", "Disabled")
    disable_developer(disabled, now=NOW, actor="user:1")
    frozen = paid_by_hand("50", "Frozen")
    freeze_wallet(account_id("developer", frozen) or 0, now=NOW, actor="user:1")
    open_one = paid_by_hand("50", "Open")
    proposed(open_one, origin="operator")
    assert run_proposals(now=NOW) == 0
    found = {name: skip_of(name) for name in (small, nowhere, stopped, disabled, frozen, open_one)}
    assert found == {
        small: "below_minimum",
        nowhere: "no_account",
        stopped: "stopped",
        disabled: "disabled",
        frozen: "frozen",
        open_one: "open_payout",
    }
    assert PayoutSkip.objects.get(developer_id=small).payable_nano == nano_from_usd("24.99")
    earn(small, "0.01")
    assert run_proposals(now=NOW) == 1
    assert not PayoutSkip.objects.filter(developer_id=small).exists()


def test_one_developers_trouble_is_not_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = paid_by_hand(name="A"), paid_by_hand(name="B")
    from apps.billing.services import payouts

    real = payouts.payable

    def broken(developer_id: str, **more: Any) -> Any:
        if developer_id == min(first, second):
            raise RuntimeError("boom")
        return real(developer_id, **more)

    monkeypatch.setattr(payouts, "payable", broken)
    assert run_proposals(now=NOW) == 1


def test_a_developer_has_one_open_payout_and_asks_once_a_period() -> None:
    acme = paid_by_hand("100")
    first = proposed(acme, origin="requested", actor="token:dtok_1", amount=nano_from_usd("30"))
    assert refused(proposed, acme, origin="requested") == "payout_open"
    reject(first, actor=operator(), **WHY)
    second = proposed(acme, origin="requested", actor="token:dtok_1")
    approve(second, actor=operator(), **WHY)
    mark_paid(second, reference="B-1", actor=operator(), **WHY)
    earn(acme, "100")
    assert refused(proposed, acme, origin="requested") == "payout_period_used"
    assert proposed(acme, origin="operator", actor=operator("bob"))


@pytest.mark.parametrize(
    ("amount", "code"),
    [("100.01", "invalid_amount"), ("24.99", "below_minimum"), ("0", "below_minimum"), ("50.001", "invalid_amount")],
)
def test_an_amount_is_checked(amount: str, code: str) -> None:
    acme = paid_by_hand("100")
    assert refused(proposed, acme, origin="requested", amount=nano_from_usd(amount)) == code
    assert not Payout.objects.exists()


def test_a_risky_developers_payout_begins_as_held_and_is_released_by_a_person() -> None:
    acme = paid_by_hand("100")
    score(acme, 59)
    score(acme, 60)
    row = payout(proposed(acme))
    assert (row.status, row.risk_score, row.risk_signals[0]["code"]) == ("held", 60, "velocity")
    assert refused(approve, row.pk, actor=operator(), **WHY) == "payout_state"
    release(row.pk, actor=operator(), **WHY)
    score(acme, 61)  # worse than what was accepted
    assert refused(approve, row.pk, actor=operator(), **WHY) == "risk_limit"
    score(acme, 60)
    assert approve(row.pk, actor=operator(), **WHY) == "approved"


# ---- decisions ----


def test_approval_sets_the_amount_aside_and_paying_takes_it_out() -> None:
    acme = paid_by_hand("100")
    payout_id = proposed(acme)
    assert approve(payout_id, actor=operator(), **WHY) == "approved"
    assert (posted("developer", acme), posted("payout", acme)) == (0, HUNDRED)
    assert refused(approve, payout_id, actor=operator("bob"), **WHY) == "payout_state"
    mark_paid(payout_id, reference="SEPA 1", actor=operator("bob"), **WHY)
    row = payout(payout_id)
    assert (row.status, row.reference, row.paid_at) == ("paid", "SEPA 1", NOW)
    assert (posted("payout", acme), posted("funding", "manual")) == (0, HUNDRED)
    assert refused(mark_paid, payout_id, reference="x", actor=operator(), **WHY) == "payout_state"
    mark_failed(payout_id, actor=operator(), **WHY)
    assert (posted("developer", acme), posted("payout", acme), posted("funding", "manual")) == (HUNDRED, 0, 0)
    assert payout(payout_id).status == "failed"
    said = list(PayoutReview.objects.order_by("id").values_list("decision", flat=True))
    assert said == ["propose", "approve", "mark_paid", "mark_failed"]
    assert AuditEvent.objects.filter(subject_id=payout_id, developer_id=acme).count() == 4
    assert_proven()
    assert list(differences()) == []


def test_mark_paid_before_approval_is_refused() -> None:
    payout_id = proposed(paid_by_hand("100"))
    assert refused(mark_paid, payout_id, reference="B-1", actor=operator(), **WHY) == "payout_state"
    assert refused(mark_paid, payout_id, reference=" ", actor=operator(), **WHY) == "reference_required"


def test_a_large_payout_needs_two_people(settings: Any) -> None:
    acme = paid_by_hand("1000.01")
    payout_id = proposed(acme)
    assert approve(payout_id, actor=operator("ada"), **WHY) == "proposed"
    assert posted("payout", acme) == 0
    assert refused(approve, payout_id, actor=operator("ada"), **WHY) == "already_approved"
    assert refused(mark_paid, payout_id, reference="B", actor=operator("bob"), **WHY) == "payout_state"
    assert approve(payout_id, actor=operator("bob"), **WHY) == "approved"
    assert posted("payout", acme) == nano_from_usd("1000.01")


def test_who_proposed_it_cannot_be_the_only_one_to_approve() -> None:
    acme = paid_by_hand("100")
    payout_id = proposed(acme, origin="operator", actor=operator("ada"))
    assert approve(payout_id, actor=operator("ada"), **WHY) == "proposed"
    assert approve(payout_id, actor=operator("bob"), **WHY) == "approved"


def test_nobody_approves_a_payout_to_themselves() -> None:
    acme = paid_by_hand("100")
    payout_id = proposed(acme)
    ada = operator("ada")
    add_member(acme, User.objects.get(username="ada").pk, "finance", now=NOW, actor="test")
    for decide in (approve, hold, reject, mark_failed):
        assert refused(decide, payout_id, actor=ada, **WHY) == "own_payout"
    for nobody in ("system", "token:dtok_1", "user:x"):
        assert refused(approve, payout_id, actor=nobody, **WHY) == "operator_required"


@pytest.mark.parametrize("decide", [approve, reject, hold])
def test_every_decision_needs_a_reason(decide: Any) -> None:
    payout_id = proposed(paid_by_hand("100"))
    for reason in ("", "  ", "x" * 501):
        assert refused(decide, payout_id, actor=operator(), reason=reason, now=NOW) == "reason_required"
    with pytest.raises(NotFound):
        decide("pay_nothing", actor=operator(), **WHY)


def test_held_after_approval_keeps_it_aside_and_needs_new_approvals() -> None:
    acme = paid_by_hand("100")
    payout_id = approved(acme)
    hold(payout_id, actor=operator(), **WHY)
    assert posted("payout", acme) == HUNDRED
    assert refused(mark_paid, payout_id, reference="B", actor=operator(), **WHY) == "payout_state"
    release(payout_id, actor=operator(), **WHY)
    assert payout(payout_id).round == 2
    assert refused(mark_paid, payout_id, reference="B", actor=operator(), **WHY) == "payout_state"
    approve(payout_id, actor=operator(), **WHY)
    assert posted("payout", acme) == HUNDRED
    reject(payout_id, actor=operator(), **WHY)
    assert (posted("developer", acme), posted("payout", acme)) == (HUNDRED, 0)
    assert list(differences()) == []


def test_a_claw_back_after_the_proposal_or_the_approval_stands_in_the_way() -> None:
    acme = paid_by_hand("100")
    payout_id = proposed(acme)
    clawed = earn(acme, "-0.01", kind="clawback")
    assert clawed
    assert refused(approve, payout_id, actor=operator(), **WHY) == "not_payable"
    earn(acme, "0.01")
    approve(payout_id, actor=operator(), **WHY)
    earn(acme, "-1", kind="clawback")
    assert refused(mark_paid, payout_id, reference="B", actor=operator(), **WHY) == "not_payable"


def test_a_changed_destination_stands_in_the_way() -> None:
    acme = paid_by_hand("100")
    payout_id = proposed(acme)
    use_bank_details(acme, {**BANK, "iban": "DE02120300000000202051"}, now=NOW, actor="token:dtok_2")
    assert refused(approve, payout_id, actor=operator(), **WHY) == "destination_changed"


def test_the_switch_stops_everything_at_once() -> None:
    acme = paid_by_hand("100")
    payout_id = approved(acme)
    assert stop_payouts(acme, reason="stolen keys", now=NOW, actor=operator())
    assert not stop_payouts(acme, reason="again", now=NOW, actor=operator())
    assert payout(payout_id).status == "held"
    release(payout_id, actor=operator(), **WHY)
    assert refused(approve, payout_id, actor=operator(), **WHY) == "stopped"
    assert refused(proposed, acme) == "payouts_stopped"
    assert resume_payouts(acme, now=NOW, actor=operator())
    assert approve(payout_id, actor=operator(), **WHY) == "approved"


# ---- what the database refuses, whoever writes ----

COLUMNS = "amount_nano = amount_nano + 10000000", "developer_id = 'dev_x'", "approvals_needed = 0", "destination = 'me'"


def no(statement: str, *parameters: Any) -> None:
    with pytest.raises(Error) as info, transaction.atomic():
        sql(statement, *parameters)
    assert getattr(info.value.__cause__, "sqlstate", "") in ("23514", "23505", "23503"), info.value


@pytest.mark.parametrize("status", ["approved", "sending", "sent", "paid"])
def test_sql_cannot_pass_by_the_approval(status: str) -> None:
    acme = paid_by_hand("100")
    payout_id = proposed(acme)
    no("UPDATE payouts SET status = %s WHERE id = %s", status, payout_id)
    # Not even with a real transaction of another payout, posted by hand.
    other = payout(approved(paid_by_hand("100", "Other")))
    no(
        "UPDATE payouts SET status = %s, payout_transaction_id = %s WHERE id = %s",
        *(status, other.payout_transaction_id, payout_id),
    )
    copy = (
        "INSERT INTO payouts SELECT (jsonb_populate_record(p, jsonb_build_object('id', 'pay_copy', "
        "'transfer_group', 'copy', 'developer_id', 'dev_copy', 'period', 'x', 'status', %s::text))).* "
        "FROM payouts p WHERE id = %s"
    )
    no(copy, status, payout_id)


def test_sql_cannot_skip_states() -> None:
    payout_id = approved(paid_by_hand("100"))
    for status in ("proposed", "sent", "failed", "reversed", "paid", "rejected"):
        no("UPDATE payouts SET status = %s WHERE id = %s", status, payout_id)
    for change in ("round = 2", "payout_transaction_id = NULL", "payout_transaction_id = 1"):
        no(f"UPDATE payouts SET {change} WHERE id = %s", payout_id)  # noqa: S608


def test_sql_cannot_change_what_was_proposed_or_decided() -> None:
    payout_id = approved(paid_by_hand("100"))
    for change in COLUMNS:
        no(f"UPDATE payouts SET {change} WHERE id = %s", payout_id)  # noqa: S608
    no("DELETE FROM payouts WHERE id = %s", payout_id)
    no("UPDATE payout_reviews SET reason = 'other'")
    no("DELETE FROM payout_reviews")
    no("UPDATE payout_details SET hint = '0000'")
    no("UPDATE payout_details SET content = 'plain'")
    no("DELETE FROM payout_details")


def test_sql_cannot_approve_twice_under_one_name_or_as_no_person() -> None:
    payout_id = proposed(paid_by_hand("5000"))
    insert = (
        "INSERT INTO payout_reviews (id, payout_id, round, decision, reason, reviewer, at) "
        "VALUES (%s, %s, %s, 'approve', 'x', %s, now())"
    )
    sql(insert, "prv_1", payout_id, 1, "user:1")
    no(insert, "prv_2", payout_id, 1, "user:1")
    no(insert, "prv_3", payout_id, 2, "user:2")  # a round that has not begun
    no(insert, "prv_4", payout_id, 1, "system")
    no(insert, "prv_5", payout_id, 1, "")


def test_sql_cannot_open_a_second_payout_for_a_developer() -> None:
    payout_id = proposed(paid_by_hand("100"))
    no(
        "INSERT INTO payouts SELECT (jsonb_populate_record(p, "
        '\'{"id": "pay_2", "transfer_group": "two", "period": "x"}\')).* FROM payouts p WHERE id = %s',
        payout_id,
    )


def test_bank_details_are_sealed() -> None:
    acme = paid_by_hand("100")
    with connection.cursor() as cursor:
        cursor.execute("SELECT payout_details::text FROM payout_details")
        (text,) = cursor.fetchone()
    assert "DE89" not in text and "Acme GmbH" not in text and "3000" in text
    assert not AuditEvent.objects.filter(developer_id=acme, detail__icontains="DE89").exists()


def test_bank_details_follow_a_new_key_of_the_vault(settings: Any) -> None:
    acme = paid_by_hand("100")
    settings.FIELD_ENCRYPTION_KEY = [Fernet.generate_key().decode(), *settings.FIELD_ENCRYPTION_KEY]
    rewrapped = {result.table: result.moved for result in rewrap_all(now=NOW, actor="test")}
    assert rewrapped["payout_details"] == 1
    assert bank_details(PayoutAccount.objects.get(pk=acme).details_id or "") == BANK


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"holder": ""}, "holder"),
        ({"iban": None}, "account_number"),
        ({"country": "Germany"}, "country"),
        ({"note": "a\nb"}, "note"),
        ({"bic": 5}, "bic"),
        ({"holder": "x" * 201}, "holder"),
    ],
)
def test_bank_details_are_checked(changed: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as info:
        use_bank_details(developer(), {**BANK, **changed}, now=NOW, actor="test")
    assert (info.value.code, info.value.param) == ("invalid_bank_details", param)


def test_proposing_for_nobody_is_refused() -> None:
    with pytest.raises(Conflict):
        propose("dev_nobody", origin="operator", now=NOW, actor="user:1")
    with pytest.raises(NotFound):
        stop_payouts("dev_nobody", reason="x", now=NOW, actor="user:1")
    with pytest.raises(Forbidden):
        release(proposed(paid_by_hand()), actor="system", **WHY)
