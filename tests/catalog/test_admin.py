from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.catalog.models import Model, ModelOffer, PriceProposal, PriceVersion, Provider
from apps.catalog.queries import prices_in_force
from apps.catalog.services.imports import propose_from_genai_prices
from apps.catalog.services.prices import publish_price
from apps.catalog.services.proposals import propose_price
from apps.core.clock import now
from tests.catalog.factories import NOW, WHO, make_offer, make_provider, source_provider, tier

pytestmark = pytest.mark.django_db
TABLES = ("provider", "model", "modeloffer", "priceversion", "pricetier", "priceimport", "priceproposal")


def listing(table: str) -> str:
    return reverse(f"admin:catalog_{table}_changelist")


def act(client: Client, table: str, action: str, *row_ids: object, **fields: str) -> list[str]:
    data = {"action": action, "_selected_action": [str(row_id) for row_id in row_ids], **fields}
    return messages(client.post(listing(table), data, follow=True))


def decide(client: Client, decision: str, *row_ids: str, **fields: str) -> list[str]:
    data = {"decision": decision, "id": list(row_ids), **fields}
    return messages(client.post(reverse("admin:catalog_priceproposal_review"), data, follow=True))


def add(client: Client, table: str, **fields: Any) -> Any:
    return client.post(reverse(f"admin:catalog_{table}_add"), fields, follow=True)


def messages(response: Any) -> list[str]:
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


def fill(number: int) -> None:
    offer = make_offer(f"m{number}", provider=make_provider(f"p{number}"))
    publish_price(offer, [tier()], NOW - timedelta(days=1), "test", **WHO)
    propose_price(offer, [tier(input=number), tier(1000)], **WHO)
    propose_from_genai_prices(catalogue=[source_provider("openai")], **WHO)


@pytest.mark.parametrize("table", TABLES)
def test_list_takes_the_same_queries_for_one_row_and_for_three(admin_client: Client, table: str) -> None:
    counts = []
    for numbers in ((0,), (1, 2)):
        for number in numbers:
            fill(number)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert admin_client.get(listing(table)).status_code == 200
        counts.append(len(captured))
    assert counts[0] == counts[1]
    assert admin_client.get(listing(table), {"q": "m1"}).status_code == 200


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_page_and_nothing_is_deleted_there(admin_client: Client, table: str) -> None:
    fill(0)
    row = apps.get_model("catalog", table).objects.first()
    assert admin_client.get(reverse(f"admin:catalog_{table}_change", args=[row.pk])).status_code == 200
    assert (
        admin_client.post(reverse(f"admin:catalog_{table}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    )
    assert "delete_selected" not in admin_client.get(listing(table)).content.decode()


@pytest.mark.parametrize("table", ["priceversion", "pricetier", "priceimport"])
def test_immutable_tables_are_read_only(admin_client: Client, table: str) -> None:
    fill(0)
    row = apps.get_model("catalog", table).objects.first()
    assert admin_client.get(reverse(f"admin:catalog_{table}_add")).status_code == 403
    assert admin_client.post(reverse(f"admin:catalog_{table}_change", args=[row.pk]), {}).status_code == 403


def test_prices_are_shown_in_usd(admin_client: Client) -> None:
    version = publish_price(make_offer(), [tier(input=150_000_000)], NOW, "test", **WHO)
    for page in (reverse("admin:catalog_priceversion_change", args=[version]), listing("pricetier")):
        content = admin_client.get(page).content.decode()
        assert "0.1500" in content
        assert "150000000" not in content


def test_provider_is_added_and_changed_through_the_service(admin_client: Client) -> None:
    fields = {"id": "acme", "name": "Acme", "adapter": "openai_compatible", "base_url": "https://llm.acme.com/v1"}
    add(admin_client, "provider", **fields, resale_allowed="on")
    row = Provider.objects.get()
    user = get_user_model().objects.get()
    assert (row.resale_allowed, row.trains_on_data, row.created_by) == (True, False, f"user:{user.pk}")
    page = reverse("admin:catalog_provider_change", args=["acme"])
    admin_client.post(page, fields | {"name": "Apex", "trains_on_data": "on"}, follow=True)
    row.refresh_from_db()
    assert (row.name, row.resale_allowed, row.trains_on_data) == ("Apex", False, True)


def test_provider_at_a_private_address_is_refused_beside_its_field(admin_client: Client) -> None:
    fields = {"id": "acme", "name": "Acme", "adapter": "openai_compatible", "base_url": "http://169.254.169.254/v1"}
    response = add(admin_client, "provider", **fields)
    assert "base_url" in response.context["adminform"].form.errors
    assert not Provider.objects.exists()


def test_offer_and_model_are_added_through_the_services(admin_client: Client) -> None:
    make_provider()
    add(admin_client, "model", id="gpt-4o", name="GPT-4o", family="gpt")
    fields = {"provider": "openai", "model": "gpt-4o", "upstream_model": "gpt-4o", "tokenizer": "o200k_base"}
    fields["image_tokens"] = "36000"
    add(admin_client, "modeloffer", **fields, capabilities=["chat", "tools"], priority="5", context_window="128000")
    row = ModelOffer.objects.get()
    assert (row.capabilities, row.priority, row.context_window, row.quality) == (["chat", "tools"], 5, 128_000, None)
    assert row.image_tokens == 36_000
    page = reverse("admin:catalog_modeloffer_change", args=[row.id])
    changed = {"tokenizer": "unknown", "capabilities": ["chat"], "priority": "5", "quality": "700", "image_tokens": "9"}
    admin_client.post(page, changed | {"task_quality": '{"code": 900}'})
    row.refresh_from_db()
    assert (row.capabilities, row.quality, row.context_window, row.provider_id) == (["chat"], 700, None, "openai")
    assert (row.image_tokens, row.task_quality) == (9, {"code": 900})
    admin_client.post(page, changed | {"task_quality": "", "initial-task_quality": '{"code": 900}'})
    row.refresh_from_db()
    assert row.task_quality == {}
    refused = admin_client.post(page, changed | {"task_quality": '{"code": 9000}'})
    assert "task_quality" in refused.context["adminform"].form.errors
    assert Model.objects.get().family == "gpt"


@pytest.mark.parametrize("table", ["provider", "modeloffer"])
def test_kill_switch_disables_and_enables_and_is_logged(admin_client: Client, table: str) -> None:
    make_offer()
    row = apps.get_model("catalog", table).objects.get()
    act(admin_client, table, "disable", row.pk)
    row.refresh_from_db()
    assert row.status == "disabled"
    act(admin_client, table, "enable", row.pk)
    row.refresh_from_db()
    assert row.status == "active"
    assert list(LogEntry.objects.order_by("id").values_list("change_message", flat=True)) == ["disabled", "enabled"]


def test_proposal_shows_the_difference_and_is_approved(admin_client: Client) -> None:
    offer = make_offer()
    publish_price(offer, [tier(input=10**9, output=10**9)], NOW, "test", **WHO)
    proposal = propose_price(offer, [tier(input=2 * 10**9, output=10**9)], **WHO)
    page = reverse("admin:catalog_priceproposal_change", args=[proposal])
    for address in (page, listing("priceproposal")):
        assert (
            "<div>input: 1.0000 → <strong>2.0000</strong> +100.0 %</div>" in admin_client.get(address).content.decode()
        )
    review = admin_client.get(reverse("admin:catalog_priceproposal_review"))
    assert "+100.0 %" in review.text and "more than 50 %" in review.text
    assert decide(admin_client, "approve", proposal, reason="as announced") == ["Confirm the large changes."]
    assert PriceProposal.objects.get().state == "pending"
    decide(admin_client, "approve", proposal, reason="as announced", confirmed="yes")
    row = PriceProposal.objects.get()
    assert (row.state, row.reason) == ("approved", "as announced")
    assert prices_in_force([offer], now=now())[offer].tiers[0].input == 2 * 10**9


def test_rejected_and_stale_proposals_publish_nothing(admin_client: Client) -> None:
    offer = make_offer()
    declined = propose_price(offer, [tier()], valid_from=now() + timedelta(days=9), **WHO)
    stale = propose_price(offer, [tier()], **WHO)
    decide(admin_client, "reject", declined, reason="no")
    publish_price(offer, [tier(input=1)], NOW, "test", **WHO)
    told = decide(admin_client, "approve", declined, stale)
    assert len(told) == 2
    assert any("has changed since" in text for text in told)
    assert any("was rejected already" in text for text in told)
    assert PriceVersion.objects.count() == 1


def test_the_largest_change_is_reviewed_first(admin_client: Client) -> None:
    sizes = {}
    for number, price in enumerate((11, 30, 20), start=1):
        offer = make_offer(f"m{number}", provider=make_provider(f"p{number}"))
        publish_price(offer, [tier(input=10**10, output=10**10)], NOW, "test", **WHO)
        sizes[propose_price(offer, [tier(input=price * 10**9, output=10**10)], **WHO)] = price
    page = admin_client.get(reverse("admin:catalog_priceproposal_review"))
    assert [sizes[line["row"].pk] for line in page.context["lines"]] == [30, 20, 11]
    assert [line["large"] for line in page.context["lines"]] == [True, True, False]
    chosen = act_and_follow(admin_client, *sizes)
    assert len(chosen.context["lines"]) == 3
    decide(admin_client, "approve", next(iter(sizes)))
    assert PriceProposal.objects.filter(state="approved").count() == 1


def test_nothing_ticked_decides_nothing(admin_client: Client) -> None:
    propose_price(make_offer(), [tier()], **WHO)
    assert decide(admin_client, "approve") == ["Tick what you decide about, then say what."]
    assert PriceProposal.objects.get().state == "pending"


def act_and_follow(client: Client, *row_ids: str) -> Any:
    data = {"action": "review", "_selected_action": list(row_ids)}
    return client.post(listing("priceproposal"), data, follow=True)


def test_operator_proposes_a_price_in_dollars(admin_client: Client) -> None:
    offer = make_offer()
    fields = {"offer": offer, "valid_from_0": "", "valid_from_1": ""}
    refused = add(admin_client, "priceproposal", **fields, tiers="0 0.0000000001 1")
    assert "tiers" in refused.context["adminform"].form.errors
    past = add(
        admin_client, "priceproposal", offer=offer, valid_from_0="2020-01-01", valid_from_1="0:00", tiers="0 1 1"
    )
    assert any("begins in the future" in text for text in messages(past))
    assert not PriceProposal.objects.exists()
    add(admin_client, "priceproposal", **fields, tiers="0 0.15 0.60 0.075")
    row = PriceProposal.objects.get()
    assert (row.source, row.state, row.proposed["tiers"][0]["cache_read"]) == ("operator", "pending", 75_000_000)


def test_staff_who_may_only_look_cannot_run_actions(client: Client) -> None:
    offer = make_offer()
    proposal = propose_price(offer, [tier()], **WHO)
    viewer = get_user_model().objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
    client.force_login(viewer)
    assert "disable" not in client.get(listing("modeloffer")).content.decode().split('name="action"')[-1][:400]
    act(client, "modeloffer", "disable", offer)
    review = reverse("admin:catalog_priceproposal_review")
    assert "Approve what is ticked" not in client.get(review).text
    assert client.post(review, {"decision": "approve", "id": proposal, "confirmed": "yes"}).status_code == 403
    assert ModelOffer.objects.get().status == "active"
    assert PriceProposal.objects.get().state == "pending"


def test_stranger_is_sent_to_log_in(client: Client) -> None:
    for table in TABLES:
        assert client.get(listing(table)).status_code == 302
