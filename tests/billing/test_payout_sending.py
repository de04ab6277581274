"""Sending payouts through Stripe: once, whatever breaks on the way, and back again if the bank says no."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from apps.billing import stripe_api
from apps.billing.models.payouts import Payout, PayoutAccount
from apps.billing.services import payout_sending
from apps.billing.services.payout_accounts import stop_payouts
from apps.billing.services.payout_reviews import approve, release
from apps.billing.services.payout_sending import LEASE, send_approved
from apps.billing.services.verify import differences
from apps.core.money import nano_from_usd
from tests.billing.conftest import Deliver
from tests.billing.payout_factories import (
    NOW,
    WHY,
    approved,
    earn,
    operator,
    paid_by_stripe,
    payout,
    posted,
    proposed,
    score,
)
from tests.fakestripe import FAULTS, FakeStripe
from tests.ledger.factories import assert_proven, at_once

HUNDRED = nano_from_usd("100")
LATER = LEASE + timedelta(seconds=1)
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def no_reserve(settings: Any) -> Iterator[None]:
    settings.PAYOUT_RESERVE_BPS = 0
    settings.STRIPE_TIMEOUT = 0.5
    yield
    assert_proven()
    assert list(differences()) == []


@pytest.fixture
def acme(fakestripe: FakeStripe) -> str:
    return paid_by_stripe(fakestripe)


def sent_cents(stripe: FakeStripe) -> list[int]:
    return [row["amount"] for row in stripe.all("transfer")]


def bank_payouts(stripe: FakeStripe) -> list[dict[str, Any]]:
    return stripe.all("payout")


def assert_sent_once(stripe: FakeStripe, developer_id: str, payout_id: str) -> None:
    row = payout(payout_id)
    assert sent_cents(stripe) == [100_00]
    assert [po["amount"] for po in bank_payouts(stripe)] == [100_00]
    assert row.status in ("sent", "paid")
    assert (row.transfer_id, row.stripe_payout_id) == (stripe.all("transfer")[0]["id"], bank_payouts(stripe)[0]["id"])
    assert (posted("developer", developer_id), posted("payout", developer_id)) == (0, 0)
    assert posted("funding", "stripe") == HUNDRED


def assert_back(developer_id: str) -> None:
    assert (posted("developer", developer_id), posted("payout", developer_id)) == (HUNDRED, 0)
    assert posted("funding", "stripe") == 0


def test_an_approved_payout_is_transferred_and_paid_out(fakestripe: FakeStripe, acme: str, deliver: Deliver) -> None:
    payout_id = approved(acme)
    assert send_approved(now=NOW) == 1
    assert_sent_once(fakestripe, acme, payout_id)
    (transfer,) = fakestripe.all("transfer")
    assert (transfer["transfer_group"], transfer["metadata"]["payout_id"]) == (payout_id, payout_id)
    (po,) = bank_payouts(fakestripe)
    assert po["metadata"] == {"payout_id": payout_id}
    (call,) = fakestripe.calls_to("POST", "/v1/transfers")
    assert call.key == f"{payout_id}:transfer:0"
    assert send_approved(now=NOW) == 0
    fakestripe.finish_payout(po["id"])
    deliver()
    assert payout(payout_id).status == "paid"
    assert_sent_once(fakestripe, acme, payout_id)


@pytest.mark.parametrize("status", ["proposed", "held", "rejected"])
def test_what_is_not_approved_is_never_sent(fakestripe: FakeStripe, acme: str, status: str) -> None:
    payout_id = proposed(acme)
    if status != "proposed":
        Payout.objects.filter(pk=payout_id).update(status=status)
    assert send_approved(now=NOW) == 0
    assert fakestripe.all("transfer") == []


def test_nothing_is_sent_with_stripe_off(fakestripe: FakeStripe, acme: str, settings: Any) -> None:
    approved(acme)
    settings.STRIPE_ENABLED = False
    assert send_approved(now=NOW) == 0


def test_a_lost_webhook_is_made_up_for_by_looking(fakestripe: FakeStripe, acme: str) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    fakestripe.finish_payout(bank_payouts(fakestripe)[0]["id"])
    assert send_approved(now=NOW + timedelta(hours=1)) == 0
    assert send_approved(now=NOW + timedelta(hours=7)) == 1
    assert payout(payout_id).status == "paid"
    fakestripe.fail_payout(bank_payouts(fakestripe)[0]["id"])  # and this one's webhook is lost as well
    assert send_approved(now=NOW + timedelta(days=2)) == 1
    assert payout(payout_id).status == "failed"
    assert_back(acme)


# ---- what breaks ----

STEPS = [
    ("GET", "/v1/transfers"),
    ("POST", "/v1/transfers"),
    ("GET", "/v1/payouts"),
    ("POST", "/v1/payouts"),
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("method", "path"), STEPS)
def test_whatever_breaks_it_is_sent_once(fakestripe: FakeStripe, acme: str, method: str, path: str, fault: str) -> None:
    payout_id = approved(acme)
    fakestripe.fail_next(fault, method=method, path=path)
    send_approved(now=NOW)
    assert payout(payout_id).status in ("sending", "sent")
    assert payout(payout_id).last_error
    send_approved(now=NOW)
    assert send_approved(now=NOW + LATER) == 1
    assert_sent_once(fakestripe, acme, payout_id)
    assert payout(payout_id).last_error == ""


@pytest.mark.parametrize("path", ["/v1/transfers", "/v1/payouts"])
def test_it_is_sent_once_though_the_keys_are_forgotten(fakestripe: FakeStripe, acme: str, path: str) -> None:
    payout_id = approved(acme)
    fakestripe.fail_next("timeout_after", method="POST", path=path)
    send_approved(now=NOW)
    fakestripe.clock.advance(25 * 3600)
    send_approved(now=NOW + timedelta(hours=25))
    assert_sent_once(fakestripe, acme, payout_id)
    assert len(fakestripe.calls_to("POST", path)) == 1  # it was looked for, not sent again


class Crash(BaseException):
    """The process dies here."""


def crash_after(monkeypatch: pytest.MonkeyPatch, name: str, *, before: bool) -> None:
    real = getattr(payout_sending, name)

    def dies(*args: Any, **kwargs: Any) -> None:
        if not before:
            real(*args, **kwargs)
        monkeypatch.undo()
        raise Crash

    monkeypatch.setattr(payout_sending, name, dies)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("name", ["_begin", "_send", "_record_sent", "_pay_out"])
def test_a_crash_at_any_step_sends_it_once(
    fakestripe: FakeStripe, acme: str, monkeypatch: pytest.MonkeyPatch, settings: Any, name: str, before: bool
) -> None:
    payout_id = approved(acme)
    with monkeypatch.context() as patch:
        crash_after(patch, name, before=before)
        with pytest.raises(Crash):
            send_approved(now=NOW)
    send_approved(now=NOW + LATER)
    send_approved(now=NOW + 2 * LATER)
    assert_sent_once(fakestripe, acme, payout_id)


@pytest.mark.parametrize("where", ["transfer", "payout"])
def test_a_crash_between_stripes_answer_and_our_row(
    fakestripe: FakeStripe, acme: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    payout_id = approved(acme)
    real = stripe_api.call
    path = f"/v1/{where}s"

    def dies(operation: Callable[..., Any]) -> Any:
        known = len(fakestripe.calls_to("POST", path))
        answer = real(operation)
        if len(fakestripe.calls_to("POST", path)) > known:
            raise Crash
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(stripe_api, "call", dies)
        with pytest.raises(Crash):
            send_approved(now=NOW)
    fakestripe.clock.advance(25 * 3600)
    send_approved(now=NOW + timedelta(hours=25))
    assert_sent_once(fakestripe, acme, payout_id)
    assert len(fakestripe.calls_to("POST", path)) == 1


@pytest.mark.django_db(transaction=True)
def test_workers_at_once_transfer_it_once(fakestripe: FakeStripe) -> None:
    acme = paid_by_stripe(fakestripe)
    payout_id = approved(acme)
    found = at_once([lambda: send_approved(now=NOW)] * 5)
    assert sorted(found) == [0, 0, 0, 0, 1], found
    assert_sent_once(fakestripe, acme, payout_id)


@pytest.mark.django_db(transaction=True)
def test_approvals_at_once_set_it_aside_once(fakestripe: FakeStripe) -> None:
    acme = paid_by_stripe(fakestripe)
    payout_id = proposed(acme)
    names = [operator(name) for name in ("ada", "bob", "eve")]
    found = at_once([lambda name=name: approve(payout_id, actor=name, **WHY) for name in names])
    assert sorted(str(getattr(one, "code", one)) for one in found) == ["approved", "payout_state", "payout_state"]
    assert posted("payout", acme) == HUNDRED


# ---- looked at again before it is sent ----


def claw_back(acme: str) -> None:
    earn(acme, "-1", kind="clawback")


def stop(acme: str) -> None:
    PayoutAccount.objects.filter(pk=acme).update(stopped_at=NOW, stopped_reason="x")  # past the service: nothing held


def turn_risky(acme: str) -> None:
    score(acme, 90)


def lose_the_account(acme: str) -> None:
    PayoutAccount.objects.filter(pk=acme).update(payouts_enabled=False)


@pytest.mark.parametrize("change", [claw_back, stop, turn_risky, lose_the_account])
def test_what_changed_since_the_approval_holds_it(
    fakestripe: FakeStripe, acme: str, change: Callable[[str], None]
) -> None:
    payout_id = approved(acme)
    change(acme)
    send_approved(now=NOW)
    row = payout(payout_id)
    assert (row.status, bool(row.last_error)) == ("held", True)
    assert fakestripe.calls_to("POST", "/v1/transfers") == []
    assert posted("payout", acme) == HUNDRED


def test_a_claw_back_while_the_outcome_was_unknown_holds_it_only_when_it_is_certain(
    fakestripe: FakeStripe, acme: str
) -> None:
    payout_id = approved(acme)
    fakestripe.fail_next("timeout", method="POST", path="/v1/transfers")
    send_approved(now=NOW)
    claw_back(acme)
    send_approved(now=NOW + LATER)
    assert payout(payout_id).status == "sending"
    send_approved(now=NOW + timedelta(minutes=20))
    assert payout(payout_id).status == "held"
    assert fakestripe.all("transfer") == []
    earn(acme, "1")
    release(payout_id, actor=operator(), **WHY)
    approve(payout_id, actor=operator(), **WHY)
    send_approved(now=NOW + timedelta(minutes=21))
    assert sent_cents(fakestripe) == [100_00]


def test_a_claw_back_after_a_transfer_that_was_made_unseen_changes_nothing(fakestripe: FakeStripe, acme: str) -> None:
    payout_id = approved(acme)
    fakestripe.fail_next("timeout_after", method="POST", path="/v1/transfers")
    send_approved(now=NOW)
    stop_payouts(acme, reason="x", now=NOW, actor=operator())
    send_approved(now=NOW + LATER)
    assert payout(payout_id).status == "sent"
    assert sent_cents(fakestripe) == [100_00]


# ---- what Stripe refuses ----


def test_our_own_low_balance_delays_it(fakestripe: FakeStripe, acme: str) -> None:
    payout_id = approved(acme)
    fakestripe.fund(-10_000_00)
    send_approved(now=NOW)
    row = payout(payout_id)
    assert (row.status, row.refusals) == ("approved", 1)
    assert "insufficient" in row.last_error
    assert send_approved(now=NOW + timedelta(minutes=59)) == 0
    fakestripe.fund(10_000_00)
    assert send_approved(now=NOW + timedelta(minutes=61)) == 1
    assert_sent_once(fakestripe, acme, payout_id)


def test_a_refused_transfer_fails_and_gives_the_money_back(fakestripe: FakeStripe, acme: str) -> None:
    payout_id = approved(acme)
    connected = PayoutAccount.objects.get(pk=acme).stripe_account_id or ""
    fakestripe.restrict(connected)  # the webhook has not come yet
    send_approved(now=NOW)
    row = payout(payout_id)
    assert (row.status, row.closed_at) == ("failed", NOW)
    assert_back(acme)
    assert proposed(acme, origin="operator", actor=operator("bob"))  # another may follow


def test_a_bank_payout_that_stays_refused_takes_the_transfer_back(fakestripe: FakeStripe, acme: str) -> None:
    payout_id = approved(acme)
    connected = PayoutAccount.objects.get(pk=acme).stripe_account_id or ""
    fakestripe.fail_next("timeout", method="GET", path="/v1/payouts")
    send_approved(now=NOW)
    fakestripe.start_payout(connected, 40_00)  # somebody takes a part of it from the dashboard
    for hour in range(1, 8):
        send_approved(now=NOW + timedelta(hours=2 * hour))
    assert payout(payout_id).status == "failed"
    assert_back(acme)


# ---- and back ----


def test_a_failed_bank_payout_gives_the_balance_back(fakestripe: FakeStripe, acme: str, deliver: Deliver) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    fakestripe.fail_payout(bank_payouts(fakestripe)[0]["id"])
    deliver()
    row = payout(payout_id)
    assert (row.status, row.returned_nano) == ("failed", HUNDRED)
    assert row.last_error.startswith("bank:")
    (transfer,) = fakestripe.all("transfer")
    assert transfer["amount_reversed"] == 100_00
    assert_back(acme)
    assert fakestripe.available_cents == 10_000_00


def test_paid_can_still_fail(fakestripe: FakeStripe, acme: str, deliver: Deliver) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    po = bank_payouts(fakestripe)[0]["id"]
    fakestripe.finish_payout(po)
    deliver()
    assert payout(payout_id).status == "paid"
    fakestripe.fail_payout(po)
    deliver()
    assert payout(payout_id).status == "failed"
    assert_back(acme)


def test_events_in_the_wrong_order_and_twice(fakestripe: FakeStripe, acme: str, deliver: Deliver) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    po = bank_payouts(fakestripe)[0]["id"]
    fakestripe.finish_payout(po)
    fakestripe.fail_payout(po)
    fakestripe.webhooks.reorder = fakestripe.webhooks.duplicate = True
    deliver()
    assert payout(payout_id).status == "failed"
    assert_back(acme)


@pytest.mark.parametrize("fault", ["timeout", "timeout_after", "error_after"])
def test_taking_a_transfer_back_breaks_and_is_done_once(
    fakestripe: FakeStripe, acme: str, deliver: Deliver, fault: str
) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    transfer = payout(payout_id).transfer_id
    fakestripe.fail_payout(bank_payouts(fakestripe)[0]["id"])
    fakestripe.fail_next(fault, method="POST", path=f"/v1/transfers/{transfer}/reversals")
    deliver()
    assert payout(payout_id).status == "sent"
    fakestripe.clock.advance(25 * 3600)
    send_approved(now=NOW + timedelta(hours=25))
    assert payout(payout_id).status == "failed"
    assert len(fakestripe.all("transfer_reversal")) == 1
    assert_back(acme)


def test_a_transfer_reversed_in_parts(fakestripe: FakeStripe, acme: str, deliver: Deliver) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    transfer = payout(payout_id).transfer_id or ""
    fakestripe.reverse_transfer(transfer, 30_00)
    deliver()
    deliver()
    row = payout(payout_id)
    assert (row.status, row.returned_nano) == ("sent", nano_from_usd("30"))
    assert (posted("developer", acme), posted("funding", "stripe")) == (nano_from_usd("30"), nano_from_usd("70"))
    fakestripe.reverse_transfer(transfer, 70_00)
    deliver()
    assert payout(payout_id).status == "reversed"
    assert_back(acme)


def test_a_transfer_reversed_at_once(fakestripe: FakeStripe, acme: str, deliver: Deliver) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    fakestripe.reverse_transfer(payout(payout_id).transfer_id or "")
    deliver()
    assert payout(payout_id).status == "reversed"
    assert_back(acme)


def test_an_event_before_the_sending_is_recorded_waits(fakestripe: FakeStripe, acme: str, deliver: Deliver) -> None:
    payout_id = approved(acme)
    fakestripe.fail_next("timeout_after", method="POST", path="/v1/transfers")
    send_approved(now=NOW)
    (transfer,) = fakestripe.all("transfer")
    fakestripe.reverse_transfer(transfer["id"])
    deliver()
    assert payout(payout_id).status == "sending"
    fakestripe.fail_next("timeout", method="GET", path="/v1/payouts")
    send_approved(now=NOW + LATER)
    assert payout(payout_id).status == "sent"
    deliver(now=NOW + timedelta(hours=3))
    assert payout(payout_id).status == "reversed"
    assert_back(acme)


def test_a_payout_that_a_developer_made_up_counts_for_nothing(
    fakestripe: FakeStripe, acme: str, deliver: Deliver
) -> None:
    payout_id = approved(acme)
    send_approved(now=NOW)
    forged = fakestripe.start_payout(None, 1_00)
    fakestripe.objects[forged["id"]]["metadata"] = {"payout_id": payout_id}
    fakestripe.state.owners[forged["id"]] = PayoutAccount.objects.get(pk=acme).stripe_account_id
    fakestripe.fail_payout(forged["id"])
    deliver()
    assert payout(payout_id).status == "sent"
    assert fakestripe.all("transfer_reversal") == []
