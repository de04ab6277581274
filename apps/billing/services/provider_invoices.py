"""Providers' bills: read into a draft that is shown, confirmed or discarded, and compared with our own cost."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max, Min, Sum

from apps.billing.models.reconciliation import (
    DifferenceKind,
    InvoiceState,
    ProviderInvoice,
    ProviderInvoiceLine,
    ReconciliationKind,
)
from apps.billing.services.differences import MOST_REFERENCE, Found, begin_run, fail_run, finish_run
from apps.billing.services.invoice_files import Columns, Reading
from apps.catalog.queries import load_catalog, provider_ids
from apps.core.errors import Conflict, NotFound
from apps.core.ids import new_id
from apps.core.money import usd
from apps.developers.services import audit
from apps.usage.provider_costs import ProviderCost, provider_costs

_BATCH = 2_000
BPS = 10_000


def read_invoice(
    file: BinaryIO,
    *,
    provider: str,
    file_name: str,
    now: datetime,
    actor: str,
    columns: Columns | None = None,
    stated_total: Decimal | None = None,
    allow_repeats: bool = False,
) -> str:
    """Read a provider's bill from a CSV file into a draft, and return the draft's id. It counts for nothing yet.

    `stated_total` is what the bill says its total is, in USD; with `allow_repeats` equal rows are several and not one
    that was copied. Raises BadRequest (invalid_invoice), TooLarge, NotFound (provider_not_found), and Conflict
    (invoice_known) for a file that was read before.
    """
    if provider not in provider_ids():
        raise NotFound(f"There is no provider {provider}.", code="provider_not_found", param="provider")
    reading = Reading(file, columns or Columns(), now.astimezone(UTC).date(), stated_total, allow_repeats)
    invoice_id = new_id("pinv")
    lines = (
        ProviderInvoiceLine(
            invoice_id=invoice_id,
            number=line.number,
            day=line.day,
            model=line.model,
            tokens=line.tokens,
            amount_nano=line.nano,
        )
        for line in reading.lines()
    )
    try:
        with transaction.atomic():
            # The lines first: what the invoice says of them is known after the last. Its key is checked at the commit.
            while batch := list(islice(lines, _BATCH)):
                ProviderInvoiceLine.objects.bulk_create(batch)
            sums = ProviderInvoiceLine.objects.filter(invoice_id=invoice_id).aggregate(
                total=Sum("amount_nano"), begin=Min("day"), end=Max("day")
            )
            ProviderInvoice.objects.create(
                id=invoice_id,
                provider=provider,
                state=InvoiceState.DRAFT,
                period_begin=sums["begin"],
                period_end=sums["end"],
                total_nano=int(sums["total"]),
                line_count=reading.rows,
                file_name=file_name[:200],
                file_hash=reading.sha256,
                columns=reading.columns,
                created_at=now,
                created_by=actor,
            )
    except IntegrityError as error:
        known = ProviderInvoice.objects.filter(file_hash=reading.sha256).exclude(state=InvoiceState.DISCARDED).first()
        if known is None:
            raise
        raise Conflict(f"This file was read before, as {known.pk}.", code="invoice_known") from error
    return invoice_id


def confirm_invoice(invoice_id: str, *, now: datetime, actor: str) -> None:
    """Let a draft count as the provider's bill. Raises NotFound and Conflict (invoice_decided)."""
    _decide(invoice_id, InvoiceState.IMPORTED, now, actor)


def discard_invoice(invoice_id: str, *, now: datetime, actor: str) -> None:
    """Forget a draft's lines; that it was read stays. Raises as `confirm_invoice` does."""
    _decide(invoice_id, InvoiceState.DISCARDED, now, actor)


def reconcile_provider(invoice_id: str, *, now: datetime, actor: str) -> str:
    """Compare an imported bill with our cost, by day and model, and return the run's id.

    All bills of the provider that fall into the same days count together: a correction is a bill of its own. Raises
    NotFound, Conflict (invoice_not_imported, reconciliation_running).
    """
    invoice = ProviderInvoice.objects.filter(pk=invoice_id).first()
    if invoice is None:
        raise NotFound("There is no such invoice.", code="invoice_not_found")
    if invoice.state != InvoiceState.IMPORTED:
        raise Conflict("Only an invoice that was confirmed can be compared.", code="invoice_not_imported")
    provider, begin, end = invoice.provider, invoice.period_begin, invoice.period_end
    run_id = begin_run(ReconciliationKind.PROVIDER, provider, begin, end, now=now, actor=actor)
    try:
        _compare(run_id, provider, begin, end, now)
    except Exception as error:
        fail_run(run_id, type(error).__name__, now=now)
        raise
    return run_id


@dataclass(slots=True)
class _Group:
    """A model on a day: what the provider bills, and what we metered."""

    theirs: int | None = None
    lines: int = 0
    tokens: int | None = None
    cost: ProviderCost | None = None


def _decide(invoice_id: str, state: InvoiceState, now: datetime, actor: str) -> None:
    with transaction.atomic():
        invoice = ProviderInvoice.objects.select_for_update().filter(pk=invoice_id).first()
        if invoice is None:
            raise NotFound("There is no such invoice.", code="invoice_not_found")
        if invoice.state != InvoiceState.DRAFT:
            raise Conflict("The invoice was confirmed or discarded already.", code="invoice_decided")
        if state == InvoiceState.DISCARDED:
            ProviderInvoiceLine.objects.filter(invoice=invoice).delete()
        invoice.state, invoice.decided_at, invoice.decided_by = state, now, actor
        invoice.save(update_fields=["state", "decided_at", "decided_by"])
        audit.record(
            f"provider_invoice.{state.value}",
            "provider_invoice",
            invoice_id,
            actor=actor,
            now=now,
            detail={"provider": invoice.provider, "total_usd": usd(invoice.total_nano), "file": invoice.file_name},
        )


def _compare(run_id: str, provider: str, begin: date, end: date, now: datetime) -> None:
    names = _names(provider, now)
    groups: dict[tuple[date, str], _Group] = {}
    for line in (
        ProviderInvoiceLine.objects.filter(
            invoice__provider=provider, invoice__state=InvoiceState.IMPORTED, day__gte=begin, day__lte=end
        )
        .values("day", "model")
        .annotate(nano=Sum("amount_nano"), counted=Sum("tokens"))
        .order_by("day", "model")
        .iterator(_BATCH)
    ):
        group = groups.setdefault((line["day"], names.get(line["model"], line["model"])), _Group())
        group.theirs = (group.theirs or 0) + int(line["nano"])
        if line["counted"] is not None:
            group.tokens = (group.tokens or 0) + int(line["counted"])
    for cost in provider_costs(provider, begin, end):
        group = groups.setdefault((cost.day, names.get(cost.model, cost.model)), _Group())
        group.cost = cost if group.cost is None else _added(group.cost, cost)
    found = [
        difference
        for (day, model), group in sorted(groups.items())
        if (difference := _difference(provider, day, model, group)) is not None
    ]
    finish_run(
        run_id,
        found,
        covered=[_reference(provider, day, model) for day, model in groups],
        matched=len(groups) - len(found),
        waiting=0,
        theirs=sum(group.theirs or 0 for group in groups.values()),
        ours=sum(group.cost.cost for group in groups.values() if group.cost),
        explained=sum((each.theirs or 0) - (each.ours or 0) for each in found),
        now=now,
    )


def _names(provider: str, now: datetime) -> Mapping[str, str]:
    """Return the catalogue's names by the provider's own: bills have the one, events the other or either."""
    return {
        offer.upstream_model: model
        for model, offers in load_catalog(now=now).offers.items()
        for offer in offers
        if offer.provider == provider
    }


def _added(one: ProviderCost, other: ProviderCost) -> ProviderCost:
    counted: dict[str, Any] = {
        name: getattr(one, name) + getattr(other, name)
        for name in ProviderCost.__dataclass_fields__
        if name not in ("day", "model")
    }
    return ProviderCost(one.day, one.model, **counted)


def _difference(provider: str, day: date, model: str, group: _Group) -> Found | None:
    ours = group.cost.cost if group.cost is not None else None
    apart = abs((group.theirs or 0) - (ours or 0))
    part = max(abs(group.theirs or 0), ours or 0) * settings.PROVIDER_TOLERANCE_BPS // BPS
    if apart <= max(part, settings.PROVIDER_TOLERANCE_NANO_USD):
        return None
    kind = DifferenceKind.AMOUNT_DIFFERS
    if ours is None:
        kind = DifferenceKind.MISSING_HERE
    elif group.theirs is None:
        kind = DifferenceKind.MISSING_THERE
    return Found(kind, _reference(provider, day, model), group.theirs, ours, note=_causes(group))


def _reference(provider: str, day: date, model: str) -> str:
    return f"{provider} {day.isoformat()} {model}"[:MOST_REFERENCE]


def _causes(group: _Group) -> str:
    """Return what is likely to be the cause: what of our cost is not the provider's own count."""
    cost = group.cost
    if cost is None:
        return (
            "No call of ours: another program uses the key, the model has another name, or the day is another zone's."
        )
    told = [f"{cost.calls} calls, {cost.tokens} tokens"]
    if group.tokens is not None:
        told.append(f"the provider counts {group.tokens} tokens")
    if cost.abandoned_calls:
        told.append(f"{cost.abandoned_calls} abandoned calls stand at their worst case, {usd(cost.abandoned_cost)} USD")
    if cost.estimated_calls:
        told.append(f"{cost.estimated_calls} calls were estimated here, {usd(cost.estimated_cost)} USD")
    if not cost.abandoned_calls and not cost.estimated_calls:
        told.append("no call was abandoned or estimated: compare the price")
    return "; ".join(told) + "."
