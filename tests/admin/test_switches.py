"""Kill switches: found by id, turned for a reason that is kept, listed while off; and the one for all payouts."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from apps.billing.models.payouts import PayoutAccount
from apps.billing.services.payout_reviews import approve
from apps.billing.services.payout_stop import payouts_stopped, resume_all_payouts, stop_all_payouts
from apps.billing.services.payouts import refusal_to_pay
from apps.catalog.models import ModelOffer, Provider
from apps.core.clock import now
from apps.core.errors import BadRequest, FaucetError
from apps.developers.models import AuditEvent, Developer
from apps.features.models import App, AppFeature, EndUser, VirtualKey, VirtualSession
from apps.ledger.models import Wallet
from apps.vault.models import ProviderCredential
from tests.admin.test_dashboard import sign_in
from tests.admin.test_every_page import assert_clean
from tests.billing.payout_factories import WHY, operator, paid_by_hand, proposed
from tests.gateway.api_factories import Api, make_api
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
PAGE = "/admin/switches/"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def targets(api: Api) -> dict[str, tuple[Any, Any, Any]]:
    """Return (id, table, is it off?) of one thing of each kind."""
    api.world.virtual_key(usd="1")
    session = VirtualSession.objects.latest("created_at")
    return {
        "developer": (api.developer_id, Developer, lambda row: row.status == "disabled"),
        "app": (api.app_id, App, lambda row: row.status == "disabled"),
        "feature": (
            AppFeature.objects.filter(app_id=api.app_id)[0].pk,
            AppFeature,
            lambda row: row.status == "disabled",
        ),
        "end_user": (api.world.end_user_id, EndUser, lambda row: row.status == "disabled"),
        "session": (session.pk, VirtualSession, lambda row: row.revoked_at is not None),
        "key": (VirtualKey.objects.get().pk, VirtualKey, lambda row: row.revoked_at is not None),
        "wallet": (api.world.account_id, Wallet, lambda row: row.frozen_at is not None),
        "payouts": (api.developer_id, PayoutAccount, lambda row: row.stopped_at is not None),
        "provider": ("double-0", Provider, lambda row: row.status == "disabled"),
        "offer": (api.world.offers[0], ModelOffer, lambda row: row.status == "disabled"),
        "credential": (ProviderCredential.objects.get().pk, ProviderCredential, lambda row: row.status == "disabled"),
    }


def turn(client: Client, kind: str, pk: Any, turn: str, reason: str = "abuse") -> Any:
    return client.post(reverse("admin:switch", args=[kind, pk]), {"turn": turn, "reason": reason})


def test_every_kind_goes_off_and_on_with_its_reason(admin_client: Client, api: Api) -> None:
    for kind, (pk, table, off) in targets(api).items():
        found = admin_client.get(PAGE, {"q": pk})
        assert_clean(found)
        address = reverse("admin:switch", args=[kind, pk])
        assert address in found.text, kind
        assert_clean(admin_client.get(address))
        assert turn(admin_client, kind, pk, "off").status_code == 302
        assert off(table.objects.get(pk=pk)), kind
        kept = AuditEvent.objects.get(action="switch.off", subject_type=kind)
        assert (kept.subject_id, kept.detail) == (str(pk), {"reason": "abuse"})
        assert LogEntry.objects.filter(object_id=str(pk), change_message="switch.off: abuse").count() >= 1
        listed = admin_client.get(PAGE)
        assert_clean(listed)
        assert f'href="{address}"' in listed.text, kind
        again = turn(admin_client, kind, pk, "on")
        if kind in ("session", "key"):
            assert again.status_code == 400 and off(table.objects.get(pk=pk))
            continue
        assert again.status_code == 302
        assert not off(table.objects.get(pk=pk)), kind
        assert f'href="{address}"' not in admin_client.get(PAGE).text


def test_a_switch_asks_for_a_reason(admin_client: Client, api: Api) -> None:
    for reason in ("", "   ", "x" * 301, "mf_sess_" + "a" * 40):
        response = turn(admin_client, "app", api.app_id, "off", reason)
        assert response.status_code == 400
        assert 'role="alert"' in response.text
    assert App.objects.get(pk=api.app_id).status == "active"


def test_what_is_no_switch_is_not_found(admin_client: Client, api: Api) -> None:
    for kind, pk in (
        ("nothing", "x"),
        ("app", "app_nothing"),
        ("wallet", "x"),
        ("wallet", "9" * 30),
        ("payouts", "dev_x"),
    ):
        assert admin_client.get(reverse("admin:switch", args=[kind, pk])).status_code == 404


def test_whoever_may_only_look_turns_nothing(api: Api) -> None:
    clerk = sign_in("clerk", "features.view_app")
    address = reverse("admin:switch", args=["app", api.app_id])
    page = clerk.get(address)
    assert page.status_code == 200 and "Switch off" not in page.text
    assert turn(clerk, "app", api.app_id, "off").status_code == 403
    assert clerk.get(reverse("admin:switch", args=["developer", api.developer_id])).status_code == 403
    assert App.objects.get(pk=api.app_id).status == "active"
    assert Client().get(address).status_code == 302
    keeper = sign_in("keeper", "features.change_app")
    assert turn(keeper, "app", api.app_id, "off").status_code == 302
    assert turn(keeper, "developer", api.developer_id, "off").status_code == 403


def test_all_payouts_stop_and_go_on(admin_client: Client) -> None:
    developer = paid_by_hand("100")
    payout_id = proposed(developer)
    address = reverse("admin:switch-payouts")
    assert_clean(admin_client.get(address))
    assert admin_client.post(address, {"turn": "off", "reason": " "}).status_code == 400
    assert payouts_stopped() is None
    assert admin_client.post(address, {"turn": "off", "reason": "the bank asks"}).status_code == 302
    stop = payouts_stopped()
    assert stop is not None and stop.reason == "the bank asks"
    assert "the bank asks" in admin_client.get(PAGE).text
    assert refusal_to_pay(developer) == "stopped"
    with pytest.raises(FaucetError, match="stopped"):
        approve(payout_id, **WHY, actor=operator())
    assert_clean(admin_client.get(address))
    assert admin_client.post(address, {"turn": "on"}).status_code == 302
    assert payouts_stopped() is None
    approve(payout_id, **WHY, actor=operator("eve"))
    assert [event.action for event in AuditEvent.objects.filter(subject_id="all").order_by("at")] == [
        "payouts.stop_all",
        "payouts.resume_all",
    ]


def test_a_second_stop_is_no_news() -> None:
    assert stop_all_payouts(reason="one", now=now(), actor=ACTOR)
    assert not stop_all_payouts(reason="two", now=now(), actor=ACTOR)
    stop = payouts_stopped()
    assert stop is not None and stop.reason == "one"
    assert resume_all_payouts(now=now(), actor=ACTOR)
    assert not resume_all_payouts(now=now(), actor=ACTOR)
    with pytest.raises(BadRequest):
        stop_all_payouts(reason="", now=now(), actor=ACTOR)


def test_only_who_changes_payout_accounts_stops_them() -> None:
    clerk = sign_in("clerk", "billing.view_payoutaccount")
    address = reverse("admin:switch-payouts")
    assert clerk.get(address).status_code == 200
    assert clerk.post(address, {"turn": "off", "reason": "no"}).status_code == 403
    assert sign_in("other").get(address).status_code == 403
