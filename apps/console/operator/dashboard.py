"""The dashboard: what an operator looks at first. Each number is of a table, is told to whoever may see that table, and
leads to the rows behind it. It reads roll-ups and partial indexes, never the calls of a day."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.billing.queries import operations as billing
from apps.catalog.queries import pending_proposals, providers
from apps.console.operator.links import Reader
from apps.console.templatetags.console import usd_short
from apps.ledger import operations as ledger
from apps.usage import operations as usage
from apps.usage.days import day_totals
from apps.usage.live import MINUTES, live
from apps.vault.queries import HealthInfo, shared_health

DAYS = 30
PERIODS = (1, 7, DAYS)
# From here on a queue is late, and from here on somebody should look at once.
LATE, VERY_LATE = timedelta(minutes=2), timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the dashboard: what it is, where its rows are, and whether it is good, to be looked at, or bad."""

    label: str
    text: str
    url: str = ""
    tone: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table of money: one sum for each of PERIODS, each leading to its rows."""

    label: str
    cells: tuple[Number, ...]


@dataclass(frozen=True, slots=True)
class Circuit:
    """What the process that answers knows of a credential from its own calls: of one model, or of all (empty)."""

    credential_id: str
    model: str
    state: str
    error_rate: float
    latency: float | None


def dashboard(request: HttpRequest, *, now: datetime, circuits: Sequence[Circuit]) -> dict[str, Any]:
    """Return what the dashboard shows to whoever asks; parts whose tables they may not see are left out."""
    reader = Reader(request)
    today = now.astimezone(UTC).date()
    watched = _watched(reader)
    flows = _flows(reader, begin=today - timedelta(days=DAYS - 1), today=today)
    return {
        "tiles": [
            *_now(reader, now),
            *_payouts(reader),
            *_reconciliation(reader, now),
        ],
        "money_in": flows["in"],
        "money_out": flows["out"],
        "chart": flows["chart"],
        "chart_heads": flows["heads"],
        "owed": _owed(reader),
        "at_risk": _at_risk(reader, watched, now),
        "queues": _queues(reader, watched, now),
        "health": _health(reader, circuits) if reader.sees("vault.credentialhealth") else None,
        "alerts": usage.alerts_of_the_operator(limit=5) if reader.sees("usage.alert") else None,
        "alerts_url": reader.list_of("usage.alert", developer_id__isnull=True),
        "review": billing.payouts_to_review(limit=5) if reader.sees("billing.payout") else None,
    }


def _now(reader: Reader, now: datetime) -> Iterable[Number]:
    if not reader.sees("usage.usageevent"):
        return
    found = live(None, now=now)
    here = reader.list_of("usage.usageevent", effective_at__gte=(now - timedelta(minutes=MINUTES)).isoformat())
    note = _("in the last %(minutes)d minutes") % {"minutes": MINUTES}
    yield Number(_("Calls a minute"), f"{found.calls / MINUTES:,.1f}", here, note=note)
    bps = found.error_bps
    tone = "" if bps is None else "bad" if bps >= 1000 else "warn" if bps >= 200 else "good"
    failed = reader.list_of(
        "usage.usageevent", charged__exact=0, effective_at__gte=(now - timedelta(minutes=MINUTES)).isoformat()
    )
    yield Number(_("Error rate"), "–" if bps is None else f"{bps / 100:g} %", failed, tone, note)
    mean = found.mean_ms
    yield Number(_("Mean latency"), "–" if mean is None else f"{mean:,} ms", here, note=note)


def _payouts(reader: Reader) -> Iterable[Number]:
    if not reader.sees("billing.payout"):
        return
    found = billing.open_payouts()
    waiting, held = found.get("proposed"), found.get("held")
    yield Number(
        _("Payouts to review"),
        f"{waiting.count:,}" if waiting else "0",
        reader.list_of("billing.payout", status__exact="proposed"),
        "warn" if waiting else "",
        usd_short(waiting.amount if waiting else 0),
    )
    if held:
        yield Number(
            _("Payouts held"),
            f"{held.count:,}",
            reader.list_of("billing.payout", status__exact="held"),
            "bad",
            usd_short(held.amount),
        )


def _reconciliation(reader: Reader, now: datetime) -> Iterable[Number]:
    if reader.sees("billing.reconciliationrun", "billing.reconciliationitem"):
        found = billing.reconciled()
        when = (
            _("compared %(time)s ago") % {"time": timesince(found.finished_at, now)}
            if found.finished_at
            else _("not compared with Stripe yet")
        )
        if found.status == "failed":
            when = _("the last comparison failed")
        yield Number(
            _("Differences"),
            f"{found.open:,}",
            reader.list_of("billing.reconciliationitem", resolution="open"),
            "bad" if found.open or found.unexplained or found.status == "failed" else "",
            when,
        )
    if reader.sees("catalog.priceproposal"):
        pending = pending_proposals()
        yield Number(
            _("Price proposals"),
            f"{pending:,}",
            reader.list_of("catalog.priceproposal", state__exact="pending"),
            "warn" if pending else "",
            _("to be decided"),
        )


def _flows(reader: Reader, *, begin: date, today: date) -> dict[str, Any]:
    """Return the lines of money in and out, and each day of them for the chart."""
    tables = {
        billing.TOP_UPS: "billing.topup",
        billing.PLANS: "billing.subscriptioninvoice",
        billing.REFUNDS: "billing.refund",
        billing.PAYOUTS: "billing.payout",
    }
    flows = tuple(flow for flow, table in tables.items() if reader.sees(table))
    found = billing.money_by_day(flows, begin=begin)
    days = day_totals("day", begin=begin, end=today) if reader.sees("usage.usageday") else None

    def lists(table: str, column: str, **more: str) -> Callable[[date], str]:
        return lambda first: reader.list_of(table, **{f"{column}__gte": f"{first.isoformat()} 00:00:00+00:00"}, **more)

    money_in = [
        _line(label, found[flow], today, urls)
        for flow, label, urls in (
            (billing.TOP_UPS, _("Top-ups"), lists("billing.topup", "paid_at")),
            (billing.PLANS, _("Plans"), lists("billing.subscriptioninvoice", "paid_at")),
        )
        if flow in found
    ]
    money_out = [
        _line(label, found[flow], today, urls)
        for flow, label, urls in (
            (billing.PAYOUTS, _("Payouts"), lists("billing.payout", "sent_at")),
            (billing.REFUNDS, _("Refunds"), lists("billing.refund", "created_at")),
        )
        if flow in found
    ]
    costs = {}
    if days is not None:
        costs = {row.key[0]: row.cost for row in days}
        by_day = lambda first: reader.list_of("usage.usageday", day__gte=first.isoformat())  # noqa: E731 (one line)
        money_out.insert(1, _line(_("Providers' cost"), costs, today, by_day))
    every = [begin + timedelta(days=number) for number in range(DAYS)]
    ins = [found[flow] for flow in (billing.TOP_UPS, billing.PLANS) if flow in found]
    outs = [found[flow] for flow in (billing.PAYOUTS, billing.REFUNDS) if flow in found]
    outs += [costs] if days is not None else []
    heads = [_("Day (UTC)"), *([_("Money in")] if ins else []), *([_("Money out")] if outs else [])]
    chart = [(day, *([_on(ins, day)] if ins else []), *([_on(outs, day)] if outs else [])) for day in every]
    return {"in": money_in, "out": money_out, "chart": chart if ins or outs else [], "heads": heads}


def _on(sums: Iterable[dict[date, int]], day: date) -> int:
    return sum(each.get(day, 0) for each in sums)


def _line(label: str, sums: dict[date, int], today: date, address: Callable[[date], str]) -> Line:
    cells = []
    for days in PERIODS:
        first = today - timedelta(days=days - 1)
        amount = sum(nano for day, nano in sums.items() if day >= first)
        cells.append(Number("", usd_short(amount), address(first)))
    return Line(label, tuple(cells))


def _owed(reader: Reader) -> list[Number]:
    if not reader.sees("ledger.wallet"):
        return []
    found = ledger.owed()

    def line(label: str, amount: int, kind: str) -> Number:
        return Number(label, usd_short(amount), reader.list_of("ledger.wallet", account__kind__exact=kind))

    return [
        line(_("End users' wallets"), found.users, "end_user"),
        line(_("Developers' prepaid credit"), found.developer_credit, "developer_credit"),
        line(_("Apps' free allowances"), found.allowances, "app_allowance"),
        line(_("Developers' revenue"), found.developers, "developer"),
        line(_("Payouts under way"), found.payouts, "payout"),
        line(_("Tax collected"), found.tax, "tax"),
        Number(_("In all"), usd_short(found.total), reader.list_of("ledger.wallet")),
    ]


def _watched(reader: Reader) -> billing.Watched:
    tables = {
        "disputes": "billing.dispute",
        "risky": "billing.riskscore",
        "inbox": "billing.stripeevent",
        "top_ups": "billing.topup",
        "refunds": "billing.refund",
    }
    return billing.watched(*(part for part, table in tables.items() if reader.sees(table)))


def _at_risk(reader: Reader, watched: billing.Watched, now: datetime) -> list[Number]:
    numbers = []
    if disputes := watched.disputes:
        due = disputes.evidence_due_at
        numbers.append(
            Number(
                _("Disputes, open or lost"),
                usd_short(disputes.amount),
                reader.list_of("billing.dispute", status__in="inquiry,open,lost"),
                "bad" if disputes.count else "",
                (ngettext("%(count)d dispute", "%(count)d disputes", disputes.count) % {"count": disputes.count})
                + (f" · {_('evidence due')} {due:%Y-%m-%d}" if due and due > now else ""),
            )
        )
    if reader.sees("ledger.wallet"):
        below = ledger.below_zero()
        numbers.append(
            Number(
                _("Wallets below zero"),
                usd_short(below.amount),
                reader.list_of("ledger.wallet", posted__lt=0),
                "bad" if below.wallets else "",
                ngettext("%(count)d wallet", "%(count)d wallets", below.wallets) % {"count": below.wallets},
            )
        )
    if risky := watched.risky:
        limit = settings.RISK_ALERT_LIMIT
        numbers.append(
            Number(
                _("High risk scores"),
                f"{risky.count:,}",
                reader.list_of("billing.riskscore", score__gte=limit),
                "bad" if risky.count else "",
                _("from %(limit)d on; highest %(highest)d") % {"limit": limit, "highest": risky.highest}
                if risky.count
                else _("none from %(limit)d on") % {"limit": limit},
            )
        )
    return numbers


def _queues(reader: Reader, watched: billing.Watched, now: datetime) -> list[Number]:
    numbers = []
    rating, alerts = usage.queues(rating=reader.sees("usage.usageevent"), alerts=reader.sees("usage.alert"))
    if rating:
        events = "usage.usageevent"
        unrated = reader.list_of(events, rating="unrated")
        numbers.append(_waiting(_("Calls to rate"), rating.waiting, rating.since, unrated, now))
        numbers.append(_dead(_("Calls set aside"), rating.set_aside, reader.list_of(events, rating="set_aside")))
    if reader.sees("ledger.hold"):
        overdue = ledger.overdue_holds(now=now)
        url = reader.list_of("ledger.hold", resolved_at__isnull=True, expires_at__lt=now.isoformat())
        numbers.append(_waiting(_("Holds overdue"), overdue.holds, overdue.since, url, now))
    if inbox := watched.inbox:
        events = "billing.stripeevent"
        waiting = reader.list_of(events, next_attempt_at__isnull=False)
        numbers.append(_waiting(_("Stripe events to handle"), inbox.waiting, inbox.since, waiting, now))
        numbers.append(_dead(_("Stripe events failing"), inbox.failing, reader.list_of(events, state="failing")))
        numbers.append(_dead(_("Stripe events given up"), inbox.given_up, reader.list_of(events, state="given_up")))
    if alerts:
        waiting = reader.list_of("usage.alert", next_attempt_at__isnull=False)
        numbers.append(_waiting(_("Alerts to deliver"), alerts.waiting, alerts.since, waiting, now))
        given_up = reader.list_of("usage.alert", next_attempt_at__isnull=True, delivered_at__isnull=True)
        numbers.append(_dead(_("Alerts given up"), alerts.given_up, given_up))
    if top_ups := watched.top_ups:
        waiting = reader.list_of("billing.topup", next_look_at__isnull=False)
        numbers.append(Number(_("Top-ups under way"), _counted(top_ups.waiting), waiting))
        problems = reader.list_of("billing.topup", problem=1)
        numbers.append(_dead(_("Top-ups with a problem"), top_ups.problems, problems))
    if refunds := watched.refunds:
        waiting = reader.list_of("billing.refund", next_look_at__isnull=False)
        numbers.append(Number(_("Refunds under way"), _counted(refunds.waiting), waiting))
    return numbers


def _waiting(label: str, count: int, since: datetime | None, url: str, now: datetime) -> Number:
    lag = now - since if since is not None else timedelta()
    tone = "bad" if lag >= VERY_LATE else "warn" if lag >= LATE else ""
    note = _("the oldest for %(time)s") % {"time": timesince(since, now)} if since is not None else ""
    return Number(label, _counted(count), url, tone, note)


def _dead(label: str, count: int, url: str) -> Number:
    return Number(label, _counted(count), url, "bad" if count else "")


def _counted(count: int) -> str:
    return f"{count:,}" + ("+" if count >= usage.COUNTED else "")


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider's line: its state in a word, and what its shared keys and the circuits say."""

    name: str
    state: str
    tone: str
    keys: tuple[Number, ...]
    url: str


def _health(reader: Reader, circuits: Sequence[Circuit]) -> list[Provider]:
    held: dict[str, list[HealthInfo]] = {}
    for info in shared_health():
        held.setdefault(info.provider, []).append(info)
    found = []
    for provider in providers():
        keys = held.get(provider.id, [])
        numbers = tuple(_key(reader, info, circuits) for info in keys)
        bad = [number for number in numbers if number.tone == "bad"]
        if not provider.active:
            state, tone = _("switched off"), "off"
        elif not keys:
            state, tone = _("no key"), "off"
        elif len(bad) == len(numbers):
            state, tone = _("down"), "bad"
        elif any(number.tone in ("bad", "warn") for number in numbers):
            state, tone = _("degraded"), "warn"
        elif all(number.tone == "off" for number in numbers):
            state, tone = _("not checked yet"), "off"
        else:
            state, tone = _("works"), "good"
        found.append(Provider(provider.name, state, tone, numbers, reader.row_of("catalog.provider", provider.id)))
    rank = {"bad": 0, "warn": 1, "good": 2, "off": 3}
    return sorted(found, key=lambda line: rank[line.tone])


def _key(reader: Reader, info: HealthInfo, circuits: Sequence[Circuit]) -> Number:
    own = [each for each in circuits if each.credential_id == info.credential_id]
    open_ = [each for each in own if each.state != "closed"]
    if info.down or any(not each.model for each in open_):
        tone, text = "bad", _("down")
    elif open_:
        tone, text = "warn", ", ".join(each.model for each in open_[:3])
    elif own or info.checked_at is not None:
        tone, text = "good", f"{info.latency_ms} ms" if info.latency_ms is not None else _("works")
    else:
        tone, text = "off", _("not checked yet")
    note = _("%(count)d failures in a row") % {"count": info.consecutive_failures} if info.consecutive_failures else ""
    return Number(
        f"{info.label} …{info.hint}", text, reader.row_of("vault.providercredential", info.credential_id), tone, note
    )
