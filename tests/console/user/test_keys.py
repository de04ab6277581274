"""An end user's own keys, limits and fees."""

from collections.abc import Iterator
from typing import Any

import pytest

from apps.catalog.services.offers import add_provider
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.services.apps import set_app_terms
from apps.features.services.terms import TermsInput
from apps.vault.models import FeeConsent, ProviderCredential
from apps.vault.queries import credentials_owned_by
from tests.console.user.factories import Visitor, other_user
from tests.core.answering import Answering, answer
from tests.live import ACTOR

pytestmark = pytest.mark.django_db
SECRET = "sk-theirs-0123456789abcdef-WXYZ"
NEWER = "sk-newer-0123456789abcdef-QRST"
FEE = nano_from_usd("0.001")


@pytest.fixture
def provider(settings: Any, visitor: Visitor) -> Iterator[Answering]:
    """Give a provider `local` that takes every key, and an app that charges a fee for own keys."""
    set_app_terms(app_id=visitor.world.app_id, terms=TermsInput(markup_bps=4_000, byok_fee=FEE), now=now(), actor=ACTOR)
    with Answering(answer(200)) as server:
        settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{server.port}",)
        add_provider(
            id="local",
            name="Local",
            base_url=f"http://127.0.0.1:{server.port}/v1",
            resale_allowed=False,
            trains_on_data=True,
            now=now(),
            actor=ACTOR,
        )
        yield server


def asked(**changed: Any) -> dict[str, Any]:
    return {"provider": "local", "label": "Mine", "secret": SECRET, "fee": FEE, "accepted": "on", **changed}


def add(visitor: Visitor, **changed: Any) -> str:
    answered = visitor.post("keys/new", asked(**changed))
    assert answered.status_code == 302, answered.content
    return credentials_owned_by("end_user", visitor.world.end_user_id, limit=9)[0].id


def test_key_is_added_once_its_fee_is_acknowledged(visitor: Visitor, provider: Answering) -> None:
    page = visitor.text("keys/new")
    assert "0.001" in page
    assert "may use what you send it to train" in page
    refused = visitor.post("keys/new", asked(accepted=""))
    assert (refused.status_code, ProviderCredential.objects.filter(owner_class="end_user").exists()) == (200, False)
    assert SECRET not in refused.content.decode()
    assert not FeeConsent.objects.exists()
    key_id = add(visitor, budget="5")
    assert FeeConsent.objects.get().fee_nano == FEE
    listed = visitor.text("keys")
    assert "…WXYZ" in listed
    assert "$0.00 of $5.00" in listed
    assert SECRET not in listed + visitor.text(f"keys/{key_id}")


def test_changed_fee_is_told_anew_before_a_key_is_added(visitor: Visitor, provider: Answering) -> None:
    answered = visitor.post("keys/new", asked(fee=1))
    assert answered.status_code == 200
    assert "The fee is" in answered.content.decode()
    assert f'name="fee" value="{FEE}"' in answered.content.decode()
    assert not FeeConsent.objects.exists()


def test_key_is_changed_tried_rotated_switched_and_deleted(visitor: Visitor, provider: Answering) -> None:
    key_id = add(visitor)
    values = {"label": "First", "priority": 3, "budget": "2.50", "models": "a-model\nb-model"}
    assert visitor.post(f"keys/{key_id}", values).status_code == 302
    row = ProviderCredential.objects.get(pk=key_id)
    assert (row.label, row.priority, row.models_allowed) == ("First", 3, ["a-model", "b-model"])
    assert "of $2.50" in visitor.text("keys")
    visitor.post(f"keys/{key_id}", {**values, "budget": ""})
    assert "no limit" in visitor.text("keys")
    assert visitor.post(f"keys/{key_id}/validate").status_code == 302
    newer = visitor.post(f"keys/{key_id}/rotate", {"secret": NEWER})["location"].removeprefix(visitor.base + "keys/")
    assert "…QRST" in visitor.text(f"keys/{newer}")
    visitor.post(f"keys/{newer}/switch", {"to": "off"})
    assert ProviderCredential.objects.get(pk=newer).status == "disabled"
    visitor.post(f"keys/{newer}/switch", {"to": "on"})
    assert "erased here for good" in visitor.text(f"keys/{newer}/delete")
    visitor.post(f"keys/{newer}/delete")
    assert set(ProviderCredential.objects.filter(owner_class="end_user").values_list("status", flat=True)) == {
        "deleted"
    }
    assert "You need no key" in visitor.text("keys")


def test_keys_of_others_do_not_exist(visitor: Visitor, provider: Answering) -> None:
    key_id = add(visitor)
    other = other_user(visitor)
    assert other.get(f"keys/{key_id}").status_code == 404
    for path in ("", "/validate", "/rotate", "/switch", "/delete"):
        assert other.post(f"keys/{key_id}{path}", {"secret": NEWER}).status_code == 404
    assert "Mine" not in other.text("keys")


def test_keys_take_as_many_queries_with_one_row_as_with_three(
    visitor: Visitor, provider: Answering, django_assert_num_queries: Any
) -> None:
    add(visitor)
    with django_assert_num_queries(7):
        visitor.get("keys")
    add(visitor)
    add(visitor)
    with django_assert_num_queries(7):
        visitor.get("keys")


def test_limits_are_set_and_taken_away(visitor: Visitor) -> None:
    assert visitor.post("limits", {"daily": "1", "monthly": "10"}).status_code == 302
    page = visitor.text("limits")
    assert "of $1.00, $1.00 left" in page
    assert "of $10.00, $10.00 left" in page
    visitor.post("limits", {"daily": "", "monthly": "10"})
    assert "Today" not in visitor.text("limits")
    for wrong in ("-1", "x", "0"):
        assert visitor.post("limits", {"daily": wrong}).status_code == 200
    assert "of $10.00" in visitor.text("limits")
    assert "of $10.00" not in other_user(visitor).text("limits")


def test_fee_is_noted_at_its_present_amount_alone(visitor: Visitor, provider: Answering) -> None:
    assert visitor.text("fees").count("I have read this") == 2
    refused = visitor.post("fees/acknowledge", {"mode": "byok", "fee": "1"})
    assert (refused.status_code, FeeConsent.objects.exists()) == (409, False)
    for mode, fee in (("nothing", "1"), ("byok", "x")):
        assert visitor.post("fees/acknowledge", {"mode": mode, "fee": fee}).status_code == 400
    visitor.post("fees/acknowledge", {"mode": "byok", "fee": str(FEE)})
    page = visitor.text("fees")
    assert (page.count("I have read this"), page.count("read by you")) == (1, 1)
