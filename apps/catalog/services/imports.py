"""Reading a price source: compares it with the prices in force and proposes what is new or different."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from genai_prices.types import ModelInfo
from genai_prices.types import Provider as SourceProvider

from apps.catalog.models import Capability, ModelOffer, PriceImport, PriceProposal, Provider
from apps.catalog.queries import Price, PriceTier, prices_in_force, prices_to_come
from apps.catalog.services.proposals import price_as_json, supersede, tiers_as_json
from apps.catalog.sources import genai
from apps.core.errors import BadRequest, NotFound
from apps.core.ids import new_id

# A source that lists less than this part of the priced models it listed before has lost some, not us.
MIN_REMAINING_PERCENT = 80

Key = tuple[str, str, int | None, datetime | None]


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did: ids of the proposals made, how much it left alone, and what it could not take and why."""

    source_version: str
    proposed: tuple[str, ...]
    unchanged: int
    declined_before: int
    superseded: int
    not_in_source: tuple[str, ...]
    not_representable: tuple[str, ...]


@dataclass(slots=True)
class _Findings:
    proposals: dict[Key, PriceProposal] = field(default_factory=dict)
    unchanged: int = 0
    not_in_source: list[str] = field(default_factory=list)
    not_representable: list[str] = field(default_factory=list)


def propose_from_genai_prices(
    *,
    now: datetime,
    actor: str,
    providers: Collection[str] | None = None,
    offered_only: bool = False,
    accept_shrink: bool = False,
    catalogue: Sequence[SourceProvider] | None = None,
) -> ImportReport:
    """Compare genai-prices with the catalogue and propose every price that is new or different.

    Looks at the providers of the catalogue (or those named in `providers`), at each of their offers and, unless
    `offered_only`, at models that they are not offered for yet. `catalogue` replaces the package's own. A price that
    the source lacks is left as it is. Raises NotFound (a named provider) and BadRequest (price_source_refused) when
    the source is malformed, or, unless `accept_shrink`, when it lists less than MIN_REMAINING_PERCENT of the priced
    models it listed before, in total or for one of the providers; then nothing is proposed.
    """
    listed = genai.bundled() if catalogue is None else catalogue
    counts: dict[str, int] = {}
    try:
        counts = genai.count_priced(listed)
        with transaction.atomic():
            # Locked: one import at a time. Proposals of two would collide.
            rows = list(Provider.objects.select_for_update(no_key=True).order_by("id"))
            if unknown := set(providers or ()) - {row.id for row in rows}:
                raise NotFound(f"There is no provider {min(unknown)}.", param="providers")
            ours = [(row, _source_of(listed, row)) for row in rows if providers is None or row.id in providers]
            if not accept_shrink:
                _check_shrink(counts, {source.id for _, source in ours if source is not None})
            return _import(listed, ours, counts, offered_only, now, actor)
    except genai.SourceMalformed as error:
        _keep_import(PriceImport.State.REFUSED, counts, now, actor, reason=str(error))
        raise BadRequest(f"{genai.NAME} was refused: {error}", code="price_source_refused") from error


def _source_of(listed: Sequence[SourceProvider], row: Provider) -> SourceProvider | None:
    return genai.find_provider(listed, provider_id=row.id, base_url=row.base_url)


def _check_shrink(counts: dict[str, int], relevant: Collection[str]) -> None:
    last = (
        PriceImport.objects.filter(source=genai.NAME, state=PriceImport.State.ACCEPTED)
        .order_by("-created_at", "-id")
        .first()
    )
    if last is None:
        return
    before: dict[str, int] = last.priced_models
    compared = [("all providers", sum(before.values()), sum(counts.values()))]
    # A provider that the source dropped is no longer found for ours; it counts as long as it was listed before.
    known = set(relevant) | (set(before) & set(Provider.objects.values_list("id", flat=True)))
    compared += [(name, before.get(name, 0), counts.get(name, 0)) for name in sorted(known)]
    for name, was, is_now in compared:
        if is_now * 100 < was * MIN_REMAINING_PERCENT:
            raise genai.SourceMalformed(f"{name}: {is_now} priced models where there were {was}")


def _import(
    listed: Sequence[SourceProvider],
    ours: Sequence[tuple[Provider, SourceProvider | None]],
    counts: dict[str, int],
    offered_only: bool,
    now: datetime,
    actor: str,
) -> ImportReport:
    provider_ids = [row.id for row, _ in ours]
    offers = list(ModelOffer.objects.filter(provider_id__in=provider_ids).order_by("provider_id", "id"))
    offer_ids = [offer.id for offer in offers]
    in_force, to_come = prices_in_force(offer_ids, now=now), prices_to_come(offer_ids, now=now)
    found = _Findings()
    for row, source in ours:
        taken: set[str] = set()
        for offer in (offer for offer in offers if offer.provider_id == row.id):
            model = genai.find_model(listed, source, offer.upstream_model) if source is not None else None
            if model is None:
                found.not_in_source.append(f"{row.id}: {offer.upstream_model}")
                continue
            taken.add(model.id)
            price, later = in_force.get(offer.id), to_come.get(offer.id, ())
            _compare(found, row.id, offer.upstream_model, model, offer, price, later, now, actor)
        if source is not None and not offered_only:
            for model in source.models:
                if model.id not in taken and not model.deprecated:
                    _compare(found, row.id, model.id, model, None, None, (), now, actor)
    made, declined, superseded = _store(found, provider_ids, offered_only, now, actor)
    _keep_import(PriceImport.State.ACCEPTED, counts, now, actor, proposals_made=len(made))
    return ImportReport(
        source_version=genai.source_version(),
        proposed=made,
        unchanged=found.unchanged,
        declined_before=declined,
        superseded=superseded,
        not_in_source=tuple(found.not_in_source),
        not_representable=tuple(found.not_representable),
    )


def _compare(
    found: _Findings,
    provider_id: str,
    upstream_model: str,
    model: ModelInfo,
    offer: ModelOffer | None,
    in_force: Price | None,
    to_come: Sequence[tuple[datetime, Price]],
    now: datetime,
    actor: str,
) -> None:
    only_embeds = offer is not None and offer.capabilities == [Capability.EMBEDDINGS]
    try:
        prices = genai.prices_of(model, now=now, embeddings_only=only_embeds)
    except genai.CannotRepresent as error:
        found.not_representable.append(f"{provider_id}: {upstream_model}: {error}")
        return
    before: tuple[PriceTier, ...] | None = None
    for price in prices:
        # What will be in force when this one begins: the last version written for that time, else the one before.
        written = [other for begins, other in to_come if price.valid_from is not None and begins <= price.valid_from]
        current = written[-1] if written else in_force
        expected = current.tiers if current is not None and (written or price.valid_from is None) else before
        before = price.tiers
        if expected == price.tiers:
            found.unchanged += 1
            continue
        proposed: dict[str, Any] = {"tiers": tiers_as_json(price.tiers)}
        if offer is None:
            if price.valid_from is not None:
                continue  # there is no offer to date a price of; the import after the approval proposes it
            proposed["offer"] = {"name": model.name or model.id, "context_window": model.context_window}
        key = (provider_id, upstream_model, None if offer is None else offer.id, price.valid_from)
        found.proposals[key] = PriceProposal(
            id=new_id("prop"),
            source=genai.NAME,
            offer=offer,
            provider_id=provider_id,
            upstream_model=upstream_model,
            valid_from=price.valid_from,
            current=price_as_json(current),
            proposed=proposed,
            notes=[*_matched_as(upstream_model, model), *_jump(current, price.tiers), *price.notes],
            created_at=now,
            created_by=actor,
        )


def _matched_as(upstream_model: str, model: ModelInfo) -> Iterator[str]:
    if model.id != upstream_model:
        yield f"the source lists it as {model.id}"


def _jump(current: Price | None, tiers: Sequence[PriceTier]) -> Iterator[str]:
    """Warn of what a mix-up of units (per token, per thousand, per million) looks like."""
    if current is None:
        return
    for name in ("input", "output"):
        was, proposed = getattr(current.tiers[0], name), getattr(tiers[0], name)
        if max(was, proposed) >= 10 * min(was, proposed) and was != proposed:
            yield f"the {name} price changes more than tenfold"


def _store(
    found: _Findings, provider_ids: Sequence[str], offered_only: bool, now: datetime, actor: str
) -> tuple[tuple[str, ...], int, int]:
    """Write what is new, close what the source no longer says; return ids made, declined before, closed."""
    earlier = PriceProposal.objects.filter(provider_id__in=provider_ids, source=genai.NAME).order_by("created_at", "id")
    last_decided: dict[Key, PriceProposal] = {}
    pending: dict[Key, PriceProposal] = {}
    for row in earlier:
        key = (row.provider_id, row.upstream_model, row.offer_id, row.valid_from)
        if row.state == PriceProposal.State.PENDING:
            pending[key] = row
        else:
            last_decided[key] = row
    # A proposal of somebody else for the same date is for an operator to decide first.
    others = PriceProposal.objects.filter(provider_id__in=provider_ids, state=PriceProposal.State.PENDING)
    blocked = set(
        others.exclude(source=genai.NAME).values_list("provider_id", "upstream_model", "offer_id", "valid_from")
    )
    new, declined, closed = [], 0, 0
    for key, proposal in found.proposals.items():
        waiting, decided = pending.pop(key, None), last_decided.get(key)
        if waiting is not None:
            if _says_the_same(waiting, proposal):
                found.unchanged += 1
                continue
            supersede(waiting, reason="the source has changed", now=now, actor=actor)
            closed += 1
        elif (
            decided is not None and decided.state == PriceProposal.State.REJECTED and _says_the_same(decided, proposal)
        ):
            declined += 1
            continue
        if key not in blocked:
            new.append(proposal)
    for row in pending.values():
        if row.offer_id is not None or not offered_only:
            supersede(row, reason="the source no longer says so", now=now, actor=actor)
            closed += 1
    PriceProposal.objects.bulk_create(new)
    return tuple(proposal.id for proposal in new), declined, closed


def _says_the_same(one: PriceProposal, other: PriceProposal) -> bool:
    return (one.proposed, one.current) == (other.proposed, other.current)


def _keep_import(
    state: PriceImport.State,
    counts: dict[str, int],
    now: datetime,
    actor: str,
    *,
    reason: str = "",
    proposals_made: int = 0,
) -> None:
    PriceImport.objects.create(
        source=genai.NAME,
        source_version=genai.source_version(),
        state=state,
        reason=reason,
        priced_models=counts,
        proposals_made=proposals_made,
        created_at=now,
        created_by=actor,
    )
