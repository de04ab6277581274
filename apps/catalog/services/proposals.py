"""Price proposals: nothing that a source or a person puts forward counts before an operator approves it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from apps.catalog.models import Model, ModelOffer, PriceProposal, Status
from apps.catalog.queries import Price, PriceTier, prices_in_force
from apps.catalog.services.prices import check_tiers, publish_price
from apps.core.errors import BadRequest, Conflict, NotFound
from apps.core.ids import new_id

State = PriceProposal.State


def tiers_as_json(tiers: Sequence[PriceTier]) -> list[dict[str, int]]:
    """Return tiers as a proposal stores them: nano-USD per 1,000,000 tokens."""
    return [asdict(tier) for tier in tiers]


def tiers_from_json(stored: Sequence[Mapping[str, Any]]) -> tuple[PriceTier, ...]:
    """Return the tiers that a proposal stores. Raises BadRequest on anything else."""
    try:
        return check_tiers([PriceTier(**tier) for tier in stored])
    except TypeError as error:
        raise BadRequest(
            _("A tier has from_tokens, input, cache_read, cache_write and output."), param="tiers"
        ) from error


def price_as_json(price: Price | None) -> dict[str, Any] | None:
    """Return a price in force as a proposal stores it; None for no price."""
    return None if price is None else {"version_id": price.version_id, "tiers": tiers_as_json(price.tiers)}


@transaction.atomic
def propose_price(
    offer_id: int,
    tiers: Sequence[PriceTier],
    *,
    valid_from: datetime | None = None,
    source: str = "operator",
    notes: Sequence[str] = (),
    now: datetime,
    actor: str,
) -> str:
    """Put a price of an offer forward and return the proposal's id; a pending one for the same date gives way.

    `valid_from` None means from the approval on. Raises BadRequest (tiers, a date in the past) and NotFound.
    """
    ordered = check_tiers(tiers)
    if valid_from is not None and valid_from <= now:
        raise BadRequest(_("A price begins in the future, or at its approval."), param="valid_from")
    offer = ModelOffer.objects.select_for_update(no_key=True).filter(id=offer_id).first()
    if offer is None:
        raise NotFound(_("There is no offer %(offer_id)s.") % {"offer_id": offer_id})
    for pending in PriceProposal.objects.filter(offer=offer, valid_from=valid_from, state=State.PENDING):
        supersede(pending, reason="another proposal for the same date", now=now, actor=actor)
    row = PriceProposal.objects.create(
        id=new_id("prop"),
        source=source,
        offer=offer,
        provider_id=offer.provider_id,
        upstream_model=offer.upstream_model,
        valid_from=valid_from,
        current=price_as_json(prices_in_force([offer_id], now=valid_from or now).get(offer_id)),
        proposed={"tiers": tiers_as_json(ordered)},
        notes=list(notes),
        created_at=now,
        created_by=actor,
    )
    return row.id


@transaction.atomic
def approve_proposal(proposal_id: str, *, now: datetime, actor: str, reason: str = "") -> str:
    """Publish the proposed price and return the id of the price version.

    It begins at the proposed date, or now if there is none or it has passed. A model that is not offered yet gets a
    *disabled* offer, so that an operator sets its capabilities before it is called. Raises NotFound and Conflict
    (decided already; the price that the proposal was compared with is no longer in force).
    """
    row = _pending(proposal_id)
    tiers = tiers_from_json(row.proposed["tiers"])
    if row.offer_id is None:
        row.offer_id = _offer_for(row, now, actor)
    elif row.valid_from is None:
        # Locked before it is compared, so that no other price comes between the look and the publication.
        ModelOffer.objects.select_for_update(no_key=True).get(id=row.offer_id)
        in_force = price_as_json(prices_in_force([row.offer_id], now=now).get(row.offer_id))
        if in_force != row.current:
            raise Conflict(_("The price has changed since this was proposed; propose it again."), code="proposal_stale")
    valid_from = now if row.valid_from is None or row.valid_from < now else row.valid_from
    version_id = publish_price(row.offer_id, tiers, valid_from, row.source, now=now, actor=actor)
    row.price_version_id = version_id
    _decide(row, State.APPROVED, reason, now, actor)
    return version_id


@transaction.atomic
def reject_proposal(proposal_id: str, *, reason: str = "", now: datetime, actor: str) -> None:
    """Decline a proposal; an import does not make it again until something differs. Raises NotFound and Conflict."""
    _decide(_pending(proposal_id), State.REJECTED, reason, now, actor)


def supersede(row: PriceProposal, *, reason: str, now: datetime, actor: str) -> None:
    """Close a pending proposal that another one, or the source's silence, has overtaken (within the catalogue)."""
    _decide(row, State.SUPERSEDED, reason, now, actor)


def _pending(proposal_id: str) -> PriceProposal:
    row = PriceProposal.objects.select_for_update().filter(id=proposal_id).first()
    if row is None:
        raise NotFound(_("There is no proposal %(proposal_id)s.") % {"proposal_id": proposal_id})
    if row.state != State.PENDING:
        raise Conflict(
            _("Proposal %(proposal_id)s was %(state)s already.") % {"proposal_id": proposal_id, "state": row.state},
            code="proposal_decided",
        )
    return row


def _decide(row: PriceProposal, state: PriceProposal.State, reason: str, now: datetime, actor: str) -> None:
    row.state, row.reason, row.decided_at, row.decided_by = state, reason, now, actor
    row.save(update_fields=["state", "reason", "decided_at", "decided_by", "offer", "price_version"])


def _offer_for(row: PriceProposal, now: datetime, actor: str) -> int:
    about = row.proposed["offer"]
    Model.objects.get_or_create(
        id=row.upstream_model, defaults={"name": about["name"], "created_at": now, "created_by": actor}
    )
    offer, made = ModelOffer.objects.get_or_create(
        provider_id=row.provider_id,
        model_id=row.upstream_model,
        upstream_model=row.upstream_model,
        defaults={
            "status": Status.DISABLED,
            "context_window": about["context_window"],
            "created_at": now,
            "created_by": actor,
            "changed_at": now,
            "changed_by": actor,
        },
    )
    if not made and prices_in_force([offer.id], now=now):
        raise Conflict(_("This model has been offered and priced since; import again."), code="proposal_stale")
    return offer.id
