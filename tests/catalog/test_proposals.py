from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction

from apps.catalog.models import ModelOffer, PriceProposal, PriceVersion
from apps.catalog.queries import prices_in_force
from apps.catalog.services.prices import publish_price
from apps.catalog.services.proposals import approve_proposal, propose_price, reject_proposal
from apps.core.errors import BadRequest, Conflict, NotFound
from tests.catalog.factories import NOW, WHO, make_offer, tier

pytestmark = pytest.mark.django_db
LATER = NOW + timedelta(days=1)


def test_proposal_counts_for_nothing_until_it_is_approved() -> None:
    offer = make_offer()
    proposal = propose_price(offer, [tier(input=7)], **WHO)
    assert prices_in_force([offer], now=LATER) == {}
    version = approve_proposal(proposal, now=LATER, actor="ada", reason="as on their page")
    assert prices_in_force([offer], now=LATER)[offer].tiers == (tier(input=7),)
    assert prices_in_force([offer], now=LATER - timedelta(microseconds=1)) == {}
    row = PriceProposal.objects.get()
    assert (row.state, row.decided_by, row.decided_at, row.reason) == ("approved", "ada", LATER, "as on their page")
    assert row.price_version_id == version
    assert PriceVersion.objects.get().created_by == "ada"


def test_dated_proposal_begins_at_its_date_or_at_a_later_approval() -> None:
    offer = make_offer()
    early = propose_price(offer, [tier(input=1)], valid_from=NOW + timedelta(days=10), **WHO)
    approve_proposal(early, now=LATER, actor="ada")
    late = propose_price(offer, [tier(input=2)], valid_from=NOW + timedelta(days=20), **WHO)
    approve_proposal(late, now=NOW + timedelta(days=25), actor="ada")
    begins = PriceVersion.objects.order_by("valid_from").values_list("valid_from", flat=True)
    assert list(begins) == [NOW + timedelta(days=10), NOW + timedelta(days=25)]


def test_rejected_proposal_publishes_nothing() -> None:
    offer = make_offer()
    proposal = propose_price(offer, [tier()], **WHO)
    reject_proposal(proposal, reason="too dear", **WHO)
    assert not PriceVersion.objects.exists()
    assert PriceProposal.objects.get().state == "rejected"


def test_decided_proposal_cannot_be_decided_again() -> None:
    offer = make_offer()
    approved, rejected = propose_price(offer, [tier()], valid_from=LATER, **WHO), propose_price(offer, [tier()], **WHO)
    approve_proposal(approved, **WHO)
    reject_proposal(rejected, **WHO)
    for proposal in (approved, rejected):
        with pytest.raises(Conflict):
            approve_proposal(proposal, **WHO)
        with pytest.raises(Conflict):
            reject_proposal(proposal, **WHO)
    assert PriceVersion.objects.count() == 1
    with pytest.raises(NotFound):
        approve_proposal("prop_unknown", **WHO)


def test_proposal_compared_with_a_price_that_is_gone_is_refused() -> None:
    offer = make_offer()
    proposal = propose_price(offer, [tier(input=2)], **WHO)
    publish_price(offer, [tier(input=1)], NOW, "operator", **WHO)
    with pytest.raises(Conflict) as refused:
        approve_proposal(proposal, now=LATER, actor="ada")
    assert refused.value.code == "proposal_stale"
    assert PriceProposal.objects.get().state == "pending"


def test_second_proposal_for_the_same_date_supersedes_the_first() -> None:
    offer = make_offer()
    first = propose_price(offer, [tier(input=1)], **WHO)
    other_date = propose_price(offer, [tier(input=1)], valid_from=LATER, **WHO)
    second = propose_price(offer, [tier(input=2)], **WHO)
    states = dict(PriceProposal.objects.values_list("id", "state"))
    assert states == {first: "superseded", other_date: "pending", second: "pending"}


def test_proposal_that_cannot_be_a_price_is_refused() -> None:
    offer = make_offer()
    with pytest.raises(BadRequest):
        propose_price(offer, [tier(from_tokens=5)], **WHO)
    with pytest.raises(BadRequest):
        propose_price(offer, [tier()], valid_from=NOW, **WHO)
    with pytest.raises(NotFound):
        propose_price(offer + 1, [tier()], **WHO)


def test_stored_proposal_is_checked_again_at_approval() -> None:
    offer = make_offer()
    proposal = propose_price(offer, [tier()], **WHO)
    for tampered in ([], [{"from_tokens": 0, "input": -1, "cache_read": 0, "cache_write": 0, "output": 0}], [{"a": 1}]):
        PriceProposal.objects.update(proposed={"tiers": tampered})
        with pytest.raises(BadRequest):
            approve_proposal(proposal, **WHO)


def test_database_refuses_an_approval_without_a_version_and_two_pending_for_one_date() -> None:
    offer = make_offer()
    propose_price(offer, [tier()], **WHO)
    row = PriceProposal.objects.get()
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceProposal.objects.update(state="approved", decided_at=NOW)
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceProposal.objects.update(state="rejected")
    row.id = "prop_second"
    with pytest.raises(IntegrityError), transaction.atomic():
        row.save(force_insert=True)
    assert ModelOffer.objects.count() == 1
