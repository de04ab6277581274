"""The review of payouts in the admin."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.billing.models.payouts import Payout, PayoutAccount, PayoutReview
from apps.billing.services.payout_accounts import use_bank_details
from apps.billing.services.payout_reviews import approve, hold, mark_paid
from apps.core.clock import now
from apps.developers.models import AuditEvent
from tests.admin.test_every_page import assert_clean
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
from tests.gateway.api_factories import make_api, settle_call
from tests.live import rate_all

pytestmark = pytest.mark.django_db
LIST = "/admin/billing/payout/"


@pytest.fixture(autouse=True)
def no_reserve(settings: Any) -> None:
    settings.PAYOUT_RESERVE_BPS = 0


@pytest.fixture
def reviewer(client: Client) -> Client:
    """Sign an operator in who may review payouts and nothing else."""
    return sign_in(client, "reviewer", "review_payout")


def sign_in(client: Client, name: str, *permissions: str) -> Client:
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return client


def page(payout_id: str) -> str:
    return reverse("admin:billing_payout_change", args=[payout_id])


def decide(client: Client, payout_id: str, decision: str, **more: str) -> str:
    """Take a decision and return the page that follows."""
    response = client.post(page(payout_id), {"decision": decision, "reason": "checked", **more}, follow=True)
    assert response.status_code == 200
    return str(response.text)


def test_everything_is_on_one_page(client: Client) -> None:
    api = make_api(client)
    settle_call(api.world.token, at=now() - timedelta(days=40))
    rate_all()
    acme = api.developer_id
    use_bank_details(acme, BANK, now=NOW, actor="token:dtok_1")
    earn(acme, "1234.56")
    earn(acme, "-0.50", kind="clawback")
    earn(acme, "77", ago=timedelta(days=1))
    score(api.app_id, 40, kind="app")
    payout_id = proposed(acme)
    client = sign_in(Client(), "reviewer", "review_payout")
    response = client.get(page(payout_id))
    assert_clean(response)
    text = response.text
    for told in (
        "1,234.06",  # the amount
        "Test app",
        "0.0009708",  # what the app earned
        "1,311.0609708",  # the balance
        "-77.00",  # what is maturing
        "clawback",
        "<strong>40</strong> / 100",
        "No difference of this developer is open.",
        "Not compared with Stripe yet.",
        "…3000",
        "This is the first.",
        "0 of 2 approvals",
        "payable on",  # the reason of the proposal
    ):
        assert told in text, told
    assert "DE89" not in text


def test_not_scored_yet_is_said(reviewer: Client) -> None:
    assert "Not scored yet." in reviewer.get(page(proposed(paid_by_hand()))).text


def test_walk_to_paid(reviewer: Client) -> None:
    acme = paid_by_hand("100")
    payout_id = proposed(acme)
    assert "Mark as paid" not in reviewer.get(page(payout_id)).text
    text = decide(reviewer, payout_id, "approve")
    assert "Your approval is recorded." in text
    assert payout(payout_id).status == "approved"
    text = decide(reviewer, payout_id, "mark_paid", reference="SEPA-9")
    assert "SEPA-9" in text and "There is nothing to decide." not in text  # it may still fail
    assert payout(payout_id).status == "paid"
    decide(reviewer, payout_id, "mark_failed")
    assert posted("developer", acme) == 100 * 10**9


@pytest.mark.parametrize(("decision", "status"), [("hold", "held"), ("reject", "rejected")])
def test_hold_and_reject(reviewer: Client, decision: str, status: str) -> None:
    payout_id = proposed(paid_by_hand())
    decide(reviewer, payout_id, decision)
    assert payout(payout_id).status == status
    if decision == "hold":
        assert "Approve</button>" not in reviewer.get(page(payout_id)).text
        decide(reviewer, payout_id, "release")
        assert payout(payout_id).status == "proposed"


def test_a_decision_without_a_reason_is_refused_and_keeps_what_was_typed(reviewer: Client) -> None:
    payout_id = approved(paid_by_hand())
    text = decide(reviewer, payout_id, "mark_paid", reason=" ", reference="SEPA-<9>")
    assert "Say why" in text and "SEPA-&lt;9&gt;" in text
    assert payout(payout_id).status == "approved"


def test_mark_paid_before_approval_is_refused(reviewer: Client) -> None:
    payout_id = proposed(paid_by_hand())
    assert "this cannot be done to it" in decide(reviewer, payout_id, "mark_paid", reference="x")
    assert "Say why" in decide(reviewer, payout_id, "hold", reason="a\0b")
    assert "Choose what to do." in decide(reviewer, payout_id, "pay")
    assert payout(payout_id).status == "proposed"


def test_the_second_approval_is_confirmed_by_another(reviewer: Client) -> None:
    payout_id = proposed(paid_by_hand("2000"))
    decide(reviewer, payout_id, "approve")
    text = reviewer.get(page(payout_id)).text
    assert "1 of 2 approvals" in text and "Another operator has to give the second" in text
    assert 'value="approve"' not in text
    other = sign_in(Client(), "other", "review_payout")
    assert 'name="confirmed"' in other.get(page(payout_id)).text
    assert "Confirm that you have checked it yourself." in decide(other, payout_id, "approve", second="1")
    assert payout(payout_id).status == "proposed"
    decide(other, payout_id, "approve", second="1", confirmed="1")
    assert payout(payout_id).status == "approved"


def test_what_stands_against_it_is_shown(reviewer: Client) -> None:
    acme = paid_by_hand()
    payout_id = proposed(acme)
    earn(acme, "-1", kind="clawback")
    score(acme, 95)
    text = reviewer.get(page(payout_id)).text
    assert "1.0000 USD of the amount is not payable any more." in text
    assert "The risk score is 95" in text
    assert "Your approval is recorded." not in decide(reviewer, payout_id, "approve")
    assert payout(payout_id).status == "proposed"


def test_only_reviewers_decide() -> None:
    payout_id = proposed(paid_by_hand())
    looker = sign_in(Client(), "looker", "view_payout", "change_payout", "change_payoutreview")
    response = looker.get(page(payout_id))
    assert response.status_code == 200 and "<textarea" not in response.text
    assert looker.post(page(payout_id), {"decision": "approve", "reason": "x"}).status_code == 403
    assert sign_in(Client(), "nobody").get(page(payout_id)).status_code == 403
    assert Client().get(page(payout_id)).status_code == 302
    assert not PayoutReview.objects.filter(decision="approve").exists()


def test_an_unknown_payout_leads_back(reviewer: Client) -> None:
    for name in ("pay_unknown", "a\0b", "a_00b"):
        assert reviewer.get(page(name)).status_code in (302, 404)


def test_the_list_has_sums_by_status_of_what_is_listed(reviewer: Client) -> None:
    proposed(paid_by_hand("100", "A"))
    proposed(paid_by_hand("50", "B"))
    approved(paid_by_hand("1000", "C"))
    response = reviewer.get(LIST)
    assert_clean(response)
    totals = {line["status"]: (line["count"], line["usd"]) for line in response.context["totals"]}
    assert totals == {"proposed": (2, "150.00"), "approved": (1, "1,000.00")}
    totals = reviewer.get(LIST, {"status__exact": "approved"}).context["totals"]
    assert [(line["status"], line["usd"]) for line in totals] == [("approved", "1,000.00")]


def test_the_list_takes_the_same_queries_for_one_and_for_three(reviewer: Client) -> None:
    counts = []
    for names in ("A", "BC"):
        for name in names:
            proposed(paid_by_hand("100", name))
        with CaptureQueriesContext(connection) as captured:
            reviewer.get(LIST)
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_the_page_takes_the_same_queries_with_history(reviewer: Client) -> None:
    counts = []
    acme = paid_by_hand("100")
    for _ in range(3):
        payout_id = proposed(acme, origin="operator", actor="user:999")
        with CaptureQueriesContext(connection) as captured:
            reviewer.get(page(payout_id))
        counts.append(len(captured))
        approve(payout_id, actor=operator(), **WHY)
        mark_paid(payout_id, reference="B", actor=operator(), **WHY)
        earn(acme, "100")
    assert counts[0] == counts[1] == counts[2]


def export(client: Client, *payout_ids: str) -> Any:
    return client.post(LIST, {"action": "export_for_bank", "_selected_action": payout_ids}, follow=True)


def test_the_file_for_the_bank_is_safe_for_spreadsheets_and_recorded() -> None:
    acme = developer()
    use_bank_details(acme, {**BANK, "holder": "=HYPERLINK(1)", "note": "+49 1"}, now=NOW, actor="token:dtok_1")
    earn(acme, "1234.5")
    first = proposed(acme)
    for name in ("ada", "bob"):
        approve(first, actor=operator(name), **WHY)
    waiting = proposed(paid_by_hand("100", "B"))
    held = approved(paid_by_hand("100", "C"))
    hold(held, actor=operator(), **WHY)
    client = sign_in(Client(), "payer", "review_payout", "read_payoutdetails")
    response = export(client, first, waiting, held)
    assert response["content-type"].startswith("text/csv")
    assert "no-store" in response["cache-control"]
    headings, row = csv.reader(io.StringIO(response.content.decode()))
    cells = dict(zip(headings, row, strict=True))
    assert (cells["payout_id"], cells["amount"], cells["currency"]) == (first, "1234.50", "USD")
    assert (cells["holder"], cells["note"], cells["iban"]) == ("'=HYPERLINK(1)", "'+49 1", BANK["iban"])
    event = AuditEvent.objects.get(action="payout.export")
    assert (event.subject_id, event.developer_id) == (first, acme)
    assert "None of these" in export(client, waiting).text


def test_the_file_needs_its_own_permission(reviewer: Client) -> None:
    payout_id = approved(paid_by_hand())
    response = export(reviewer, payout_id)
    assert not response.get("content-type", "").startswith("text/csv")
    assert not AuditEvent.objects.filter(action="payout.export").exists()


def test_terms_the_switch_and_a_proposal_in_the_list_of_accounts(admin_client: Client) -> None:
    acme = paid_by_hand("100")
    change = reverse("admin:billing_payoutaccount_change", args=[acme])
    assert_clean(admin_client.get(change))
    admin_client.post(change, {"trusted": "on", "hold_days": "", "reserve_bps": "250", "minimum_nano": "10"})
    row = PayoutAccount.objects.get()
    assert (row.trusted, row.hold_days, row.reserve_bps, row.minimum_nano) == (True, None, 250, 10 * 10**9)
    admin_client.post(change, {"trusted": "", "hold_days": "7", "reserve_bps": "", "minimum_nano": ""})
    row = PayoutAccount.objects.get()
    assert (row.trusted, row.hold_days, row.reserve_bps, row.minimum_nano) == (False, 7, None, None)

    def act(name: str) -> None:
        url = reverse("admin:billing_payoutaccount_changelist")
        admin_client.post(url, {"action": name, "_selected_action": [acme]})

    act("stop")
    assert PayoutAccount.objects.get().stopped_at is not None
    act("propose")
    assert not Payout.objects.exists()
    act("resume")
    act("propose")
    assert Payout.objects.get().origin == "operator"


def test_terms_may_be_set_before_there_is_an_account(admin_client: Client) -> None:
    acme = developer()
    url = reverse("admin:billing_payoutaccount_add")
    assert_clean(admin_client.get(url))
    admin_client.post(url, {"developer_id": acme, "trusted": "on", "minimum_nano": ""})
    assert PayoutAccount.objects.get().trusted
    response = admin_client.post(url, {"developer_id": "dev_nobody", "minimum_nano": ""}, follow=True)
    assert response.status_code == 200
    assert PayoutAccount.objects.count() == 1
