"""What other rooms may read of usage: calls, their sums, and what of them is still unrated. Amounts in nano-USD."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from apps.usage.models import UsageCharge, UsageDay, UsageEvent
from apps.usage.rate import Charge, Tokens
from apps.usage.services.rating import charge_for, known_prices, known_terms

# The end of a page: when its last call took effect, and that call's row.
Position = tuple[datetime, int]

# What a caller may know of a failed attempt; the credential that was used is the operator's business.
_ATTEMPT = ("provider", "model", "code", "status", "ms")
# Above every row's id.
_LAST_ID = 10**18 - 1
# A backlog of unrated calls is walked in pieces of this many.
_CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which calls: `begin` is inclusive, `end` exclusive; `model` is the requested or the served one.

    `key_id` is a virtual key, whose calls have no end user.
    """

    app_id: str | None = None
    developer_id: str | None = None
    end_user_id: str | None = None
    key_id: str | None = None
    begin: datetime | None = None
    end: datetime | None = None
    feature_key: str | None = None
    route_mode: str | None = None
    outcome: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class UsageCall:
    """One call as it was metered.

    `price` and `cost` are what the client was told and the provider bills, known at once. `charge` is the whole
    split: what rating stored, or before that what it will store; None where rating has set the call aside.
    """

    request_id: str
    app_id: str
    developer_id: str
    end_user_id: str | None
    feature_key: str
    endpoint: str
    stream: bool
    route_mode: str
    policy: str | None
    task_class: str | None
    provider: str
    requested_model: str
    served_model: str
    outcome: str
    charged: bool
    finish_reason: str | None
    error_code: str | None
    status: int
    tokens: Tokens
    estimated: bool
    output_cap: int | None
    degraded: bool
    cache: str | None
    redactions: int
    price: int
    cost: int
    charge: Charge | None
    rated_at: datetime | None
    attempts: tuple[dict[str, Any], ...]
    first_byte_ms: int | None
    duration_ms: int
    effective_at: datetime


_KINDS = tuple(Tokens.__struct_fields__)
_AMOUNTS = tuple(Charge.__struct_fields__)
_AS_THEY_ARE = tuple(UsageCall.__dataclass_fields__.keys() - {"tokens", "price", "cost", "charge", "attempts"})


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Calls, newest first; `next` is the place where the next page begins, None on the last one."""

    calls: tuple[UsageCall, ...]
    next: Position | None


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """Sums over a filter. Price, cost and tokens count every call; the split counts the rated ones."""

    calls: int
    rated: int
    tokens: Tokens
    price: int
    cost: int
    rated_price: int
    rated_cost: int
    infra: int
    payment: int
    developer: int
    platform: int
    loss: int


@dataclass(frozen=True, slots=True)
class Spending:
    """What a payer's calls came to: posted to the ledger, and settled but not yet rated."""

    posted: int
    pending: int


@dataclass(frozen=True, slots=True)
class RevenueLine:
    """A developer's rated calls of one app or one day (UTC)."""

    app_id: str | None
    date: date | None
    calls: int
    price: int
    developer: int


@dataclass(frozen=True, slots=True)
class Revenue:
    """What a developer earned: in all, in a period by app and by day, and what rating has yet to post."""

    lifetime: int
    pending: int
    pending_calls: int
    calls: int
    price: int
    developer: int
    by_app: tuple[RevenueLine, ...]
    by_day: tuple[RevenueLine, ...]


@dataclass(frozen=True, slots=True)
class PaidShare:
    """What a developer earned of one rated call, in nano-USD; `position` is the place after it, for the next page."""

    request_id: str
    developer_id: str
    developer: int
    effective_at: datetime
    position: Position


def usage_page(which: UsageFilter, *, after: Position | None = None, limit: int, look: int | None = None) -> UsagePage:
    """Return at most `limit` calls, newest first, from the place where the page before ended.

    With `look`, only so many of the developer's (or app's, or end user's) calls are looked at for those that the filter
    takes; what is found may then be few calls or none, and `next` is where to go on. Rare calls would otherwise be
    looked for through all there are.
    """
    edge = None
    if look is not None:
        whose = UsageFilter(which.app_id, which.developer_id, which.end_user_id, which.key_id, which.begin, which.end)
        seen = _from(_filtered(whose), after).order_by("-effective_at").values_list("effective_at", flat=True)
        edge = next(iter(seen[look : look + 1]), None)
    if edge is None or (after is not None and edge == after[0]):
        return _page(_filtered(which), after, limit)
    page = _page(_filtered(which).filter(effective_at__gt=edge), after, limit)
    return page if page.next is not None else UsagePage(page.calls, (edge, _LAST_ID))


def usage_totals(which: UsageFilter) -> UsageTotals:
    """Return the sums over every call that the filter takes."""
    found = _filtered(which).aggregate(
        calls=Count("id"),
        rated=Count("charge"),
        input=Sum("input_tokens"),
        cache_read=Sum("cache_read_tokens"),
        cache_write=Sum("cache_write_tokens"),
        output=Sum("output_tokens"),
        reasoning=Sum("reasoning_tokens"),
        price=Sum("price_nano"),
        cost=Sum("cost_nano"),
        rated_price=Sum("charge__price_nano"),
        rated_cost=Sum("charge__cost_nano"),
        infra=Sum("charge__infra_nano"),
        payment=Sum("charge__payment_nano"),
        developer=Sum("charge__developer_nano"),
        platform=Sum("charge__platform_nano"),
        loss=Sum("charge__loss_nano"),
    )
    sums = {name: int(value or 0) for name, value in found.items()}
    tokens = Tokens(**{kind: sums.pop(kind) for kind in _KINDS})
    return UsageTotals(tokens=tokens, **sums)


def shares_paid_by(
    which: UsageFilter, account_id: int, *, after: Position | None = None, limit: int
) -> tuple[PaidShare, ...]:
    """Return the developers' shares of calls that an account paid for, newest first, at most `limit`.

    `which` names the account's owner, by whom the calls are found: an end user, or a developer.
    """
    events = _filtered(which).filter(account_id=account_id, charged=True, charge__developer_nano__gt=0)
    events = _from(events, after)
    columns = ("request_id", "developer_id", "charge__developer_nano", "effective_at", "id")
    rows = events.order_by("-effective_at", "-id").values_list(*columns)[:limit]
    return tuple(PaidShare(request, dev, share, at, (at, pk)) for request, dev, share, at, pk in rows)


def calls_of_end_user(end_user_id: str, *, after: Position | None = None, limit: int) -> UsagePage:
    """Return an end user's calls, newest first."""
    return usage_page(UsageFilter(end_user_id=end_user_id), after=after, limit=limit)


def spending_of_end_user(end_user_id: str) -> Spending:
    """Return what an end user spent."""
    return _spending(UsageEvent.objects.filter(end_user_id=end_user_id))


def spending_of_keys(developer_id: str) -> Spending:
    """Return what all virtual keys of a developer spent: they share its prepaid credit."""
    return _spending(UsageEvent.objects.filter(developer_id=developer_id, end_user_id=None))


def revenue_of(developer_id: str, *, begin: datetime | None = None, end: datetime | None = None) -> Revenue:
    """Return a developer's earnings, the lines within a period (`end` is exclusive), from the daily totals."""
    lifetime = UsageDay.objects.filter(developer_id=developer_id).aggregate(sum=Sum("developer_nano"))["sum"]
    lines = _revenue_lines(developer_id, begin, end)
    pending, pending_calls = pending_share(developer_id)
    return Revenue(
        lifetime=int(lifetime or 0),
        pending=pending,
        pending_calls=pending_calls,
        calls=sum(line.calls for line in lines),
        price=sum(line.price for line in lines),
        developer=sum(line.developer for line in lines),
        by_app=_summed(lines, "app_id"),
        by_day=_summed(lines, "date"),
    )


def earnings_by_app(developer_id: str, *, begin: date | None, end: date) -> tuple[RevenueLine, ...]:
    """Return a developer's rated calls by app, of the days (UTC) from `begin` until before `end`."""
    return _summed(_lines_of_days(developer_id, begin, end), "app_id")


def _revenue_lines(developer_id: str, begin: datetime | None, end: datetime | None) -> list[RevenueLine]:
    """Return the rated calls of a period by app and day: whole days from their totals, parts of days by the call."""
    first, last = begin and _midnight(begin, up=True), end and _midnight(end, up=False)
    if first is not None and last is not None and first > last:  # within one day
        return _lines_of_calls(developer_id, begin, end)
    lines = _lines_of_days(developer_id, first and first.date(), last and last.date())
    if begin != first:
        lines += _lines_of_calls(developer_id, begin, first)
    if end != last:
        lines += _lines_of_calls(developer_id, last, end)
    return lines


def _midnight(moment: datetime, *, up: bool) -> datetime:
    at = moment.astimezone(UTC)
    day = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1) if up and day != at and day.date() < date.max else day


def _lines_of_days(developer_id: str, begin: date | None, end: date | None) -> list[RevenueLine]:
    days = UsageDay.objects.filter(developer_id=developer_id)
    if begin is not None:
        days = days.filter(day__gte=begin)
    if end is not None:
        days = days.filter(day__lt=end)
    rows = days.values_list("app_id", "day").annotate(Sum("calls"), Sum("price_nano"), Sum("developer_nano"))
    return [RevenueLine(app_id, day, *map(int, sums)) for app_id, day, *sums in rows]


def _lines_of_calls(developer_id: str, begin: datetime | None, end: datetime | None) -> list[RevenueLine]:
    rated = _within(UsageEvent.objects.filter(developer_id=developer_id, charge__isnull=False), begin, end)
    days = rated.annotate(day=TruncDate("effective_at", tzinfo=UTC)).values_list("app_id", "day")
    rows = days.annotate(Count("id"), Sum("charge__price_nano"), Sum("charge__developer_nano"))
    return [RevenueLine(app_id, day, *map(int, sums)) for app_id, day, *sums in rows]


def _summed(lines: Iterable[RevenueLine], by: Literal["app_id", "date"]) -> tuple[RevenueLine, ...]:
    """Return lines added up by app or by day, in order."""
    sums: dict[Any, list[int]] = {}
    for line in lines:
        found = sums.setdefault(getattr(line, by), [0, 0, 0])
        found[:] = found[0] + line.calls, found[1] + line.price, found[2] + line.developer
    return tuple(
        RevenueLine(key if by == "app_id" else None, key if by == "date" else None, *found)
        for key, found in sorted(sums.items())
    )


def pending_share(developer_id: str) -> tuple[int, int]:
    """Return the developer's share of its unrated calls, derived as rating will, and how many they are."""
    share = count = last = 0
    while True:
        unrated = UsageEvent.objects.filter(developer_id=developer_id, rated_at=None, rating_error=None, id__gt=last)
        events = list(unrated.order_by("id")[:_CHUNK])
        if not events:
            return share, count
        last = events[-1].pk
        charges = _derived(events)
        share += sum(charge.developer for charge in charges.values() if charge is not None)
        count += len(events)


def _spending(events: QuerySet[UsageEvent]) -> Spending:
    found = events.aggregate(
        posted=Sum("price_nano", filter=Q(rated_at__isnull=False)),
        pending=Sum("price_nano", filter=Q(rated_at=None)),
    )
    return Spending(int(found["posted"] or 0), int(found["pending"] or 0))


def _filtered(which: UsageFilter) -> QuerySet[UsageEvent]:
    events = _within(UsageEvent.objects.all(), which.begin, which.end)
    if which.key_id is not None:
        events = events.filter(end_user_id=None, principal_id=which.key_id)
    for name in ("app_id", "developer_id", "end_user_id", "feature_key", "route_mode", "outcome"):
        value = getattr(which, name)
        if value is not None:
            events = events.filter(**{name: value})
    if which.model is not None:
        events = events.filter(Q(requested_model=which.model) | Q(served_model=which.model))
    return events


def _within(events: QuerySet[UsageEvent], begin: datetime | None, end: datetime | None) -> QuerySet[UsageEvent]:
    if begin is not None:
        events = events.filter(effective_at__gte=begin)
    if end is not None:
        events = events.filter(effective_at__lt=end)
    return events


def _from(events: QuerySet[UsageEvent], after: Position | None) -> QuerySet[UsageEvent]:
    if after is None:
        return events
    at, row_id = after
    # The first condition alone can walk the index; the second drops the row that ended the page before.
    return events.filter(effective_at__lte=at).filter(Q(effective_at__lt=at) | Q(id__lt=row_id))


def _page(events: QuerySet[UsageEvent], after: Position | None, limit: int) -> UsagePage:
    events = _from(events, after)
    rows = list(events.select_related("charge").order_by("-effective_at", "-id")[: limit + 1])
    shown = rows[:limit]
    derived = _derived([row for row in shown if row.rated_at is None])
    following = (shown[-1].effective_at, shown[-1].pk) if len(rows) > limit else None
    return UsagePage(tuple(_call(row, derived) for row in shown), following)


def call_of(event: UsageEvent) -> UsageCall:
    """Return one stored event as a call."""
    return _call(event, _derived([event] if event.rated_at is None else []))


def _derived(events: Sequence[UsageEvent]) -> dict[int, Charge | None]:
    """Return by row id the charge that rating will make of each of these events."""
    if not events:
        return {}
    prices = known_prices(event.price_version_id for event in events if event.price_version_id)
    terms = known_terms(event.terms_id for event in events)
    charges: dict[int, Charge | None] = {}
    for event in events:
        price = prices.get(event.price_version_id) if event.price_version_id else None
        try:
            charge = charge_for(event, price, terms[event.terms_id]) if event.rating_error is None else None
        except (KeyError, ValueError):
            charge = None  # rating will set it aside and say why
        charges[event.pk] = charge
    return charges


def _stored(row: UsageCharge) -> Charge:
    return Charge(**{name: getattr(row, f"{name}_nano") for name in _AMOUNTS})


def _call(event: UsageEvent, derived: dict[int, Charge | None]) -> UsageCall:
    return UsageCall(
        tokens=Tokens(**{kind: getattr(event, f"{kind}_tokens") for kind in _KINDS}),
        price=event.price_nano,
        cost=event.cost_nano,
        charge=derived[event.pk] if event.rated_at is None else _stored(event.charge),
        attempts=tuple({key: attempt.get(key) for key in _ATTEMPT} for attempt in event.attempts),
        **{name: getattr(event, name) for name in _AS_THEY_ARE},
    )
