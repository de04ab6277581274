"""A provider's discount for us: dated with the prices, kept from one price to the next."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from apps.catalog.models import ModelOffer, PriceVersion
from apps.catalog.queries import load_prices, prices_in_force
from apps.catalog.services.prices import publish_price, set_discount
from apps.core.clock import now
from apps.core.errors import BadRequest, Conflict, NotFound
from tests.catalog.factories import NOW, WHO, make_offer, tier

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def test_discount_is_published_with_the_prices_in_force() -> None:
    offer = make_offer()
    first = publish_price(offer, [tier(input=7)], NOW - DAY, "test", **WHO)
    second = set_discount(offer, 2_500, **WHO)
    prices = load_prices([first, second])
    assert (prices[first].discount_bps, prices[second].discount_bps) == (0, 2_500)
    assert prices[first].tiers == prices[second].tiers
    assert prices_in_force([offer], now=NOW)[offer].version_id == second


def test_discount_outlasts_a_change_of_prices() -> None:
    offer = make_offer()
    publish_price(offer, [tier(input=7)], NOW - 2 * DAY, "test", discount_bps=100, **WHO)
    publish_price(offer, [tier(input=8)], NOW - DAY, "test", **WHO)
    assert prices_in_force([offer], now=NOW)[offer].discount_bps == 100
    publish_price(offer, [tier(input=8)], NOW, "test", discount_bps=0, **WHO)
    assert prices_in_force([offer], now=NOW)[offer].discount_bps == 0


@pytest.mark.parametrize("bps", [-1, 10_001, True, 1.5])
def test_discount_is_between_nothing_and_all(bps: Any) -> None:
    offer = make_offer()
    with pytest.raises(BadRequest):
        publish_price(offer, [tier()], NOW, "test", discount_bps=bps, **WHO)
    publish_price(offer, [tier()], NOW, "test", **WHO)


def test_discount_of_more_than_all_is_refused_by_the_database() -> None:
    offer = make_offer()
    row = PriceVersion(id="pv_x", offer_id=offer, valid_from=NOW, source="x", created_at=NOW, created_by="x")
    row.discount_bps = 10_001
    with pytest.raises(IntegrityError, match="price_versions_discount"), transaction.atomic():
        row.save(force_insert=True)


def test_discount_needs_a_price_that_stays() -> None:
    offer = make_offer()
    with pytest.raises(Conflict):
        set_discount(offer, 1, **WHO)
    publish_price(offer, [tier()], NOW - DAY, "test", **WHO)
    publish_price(offer, [tier()], NOW + DAY, "test", **WHO)
    with pytest.raises(Conflict):
        set_discount(offer, 1, **WHO)
    with pytest.raises(NotFound):
        set_discount(0, 1, **WHO)


def test_operator_sets_a_discount_on_the_offer(admin_client: Client) -> None:
    offer = make_offer()
    publish_price(offer, [tier()], now() - DAY, "test", **WHO)
    row = ModelOffer.objects.get()
    page = admin_client.get(reverse("admin:catalog_modeloffer_change", args=[offer]))
    assert page.status_code == 200
    assert "discount_bps" not in admin_client.get(reverse("admin:catalog_modeloffer_add")).text
    form = {**page.context["adminform"].form.initial, "capabilities": row.capabilities, "task_quality": "{}"}
    sent = {name: value for name, value in form.items() if value is not None} | {"discount_bps": "1500"}
    answer = admin_client.post(reverse("admin:catalog_modeloffer_change", args=[offer]), sent)
    assert answer.status_code == 302
    assert prices_in_force([offer], now=now())[offer].discount_bps == 1_500
    assert PriceVersion.objects.count() == 2
