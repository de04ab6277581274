"""Rating: turn stored usage events into charges and balanced ledger transactions, in batches.

An unrated row is its own queue entry. A batch is claimed with SKIP LOCKED, so any number of workers may run; all
of a batch is committed or none of it, and an event's idempotency key in the ledger is its request id, so rating
again changes nothing.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from django.db import DataError, IntegrityError, connection, transaction

from apps.catalog.queries import Price, load_prices
from apps.core.errors import Conflict, NotFound
from apps.developers.services import audit
from apps.features.queries import Terms, load_terms
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_accounts
from apps.ledger.services.batches import Capture, Leg, Posting, post_batch
from apps.usage.models import Outcome, UsageEvent
from apps.usage.rate import Charge, Overheads, Tokens, rate
from apps.usage.services.days import add_to_days
from apps.usage.services.settle import CLOSE_USES
from apps.vault.services.uses import note_refusals, touch_credentials

logger = logging.getLogger(__name__)

BATCH = 500
# What an attempt says when the provider refused the key, and the outcomes of calls whose key was taken.
REFUSED_KEY = "provider_auth_failed"
_TAKEN = {Outcome.FINISHED, Outcome.EMPTY, Outcome.ERROR_FINISH, Outcome.PROVIDER_FAILED}
OPERATOR = "operator"

# Immutable rows, so a process may keep what it has read.
_prices: dict[str, Price] = {}
_terms: dict[int, Terms] = {}


def rate_pending(*, now: datetime, limit: int = BATCH) -> int:
    """Rate one batch of at most `limit` events and return how many were taken."""
    with transaction.atomic():
        events = list(
            UsageEvent.objects.select_for_update(skip_locked=True)
            .filter(rated_at=None, rating_error=None)
            .order_by("id")[:limit]
        )
        if events:
            _rate_or_set_aside(events, now)
            with connection.cursor() as cursor:
                # Wallets are locked before budgets, everywhere. Nearly all of these were closed just after settling.
                cursor.execute(CLOSE_USES, [[event.request_id for event in events]])
        return len(events)


def charge_for(event: UsageEvent, price: Price | None, terms: Terms) -> Charge:
    """Return the split of a stored event; the same function the gateway settled it with."""
    return rate(
        Tokens(
            input=event.input_tokens,
            cache_read=event.cache_read_tokens,
            cache_write=event.cache_write_tokens,
            output=event.output_tokens,
            reasoning=event.reasoning_tokens,
        ),
        price,
        terms,
        mode=event.route_mode,
        overheads=Overheads(infra=event.infra_nano, payment_bps=event.payment_bps),
        charged=event.charged,
        cache_price_bps=event.cache_price_bps,
    )


def _rate_or_set_aside(events: Sequence[UsageEvent], now: datetime) -> None:
    """Rate the events; where the database refuses them, halve them until the one at fault is found.

    An event that could never be posted would otherwise keep all those behind it from being rated.
    """
    try:
        with transaction.atomic():
            _rate_batch(events, now)
    except (IntegrityError, DataError) as error:
        if len(events) == 1:
            _set_aside(events[0], f"cannot be posted: {str(error).partition(chr(10))[0]}")
            return
        middle = len(events) // 2
        _rate_or_set_aside(events[:middle], now)
        _rate_or_set_aside(events[middle:], now)


def _set_aside(event: UsageEvent, problem: str) -> None:
    logger.error("usage event set aside", extra={"request_id": event.request_id, "problem": problem})
    UsageEvent.objects.filter(pk=event.pk).update(rating_error=problem[:200])


@transaction.atomic
def rate_again(request_id: str, *, now: datetime, actor: str) -> None:
    """Let rating take up a call that it set aside, once what was wrong is mended.

    Raises NotFound and Conflict (not_set_aside).
    """
    row = UsageEvent.objects.select_for_update().filter(request_id=request_id).first()
    if row is None:
        raise NotFound("There is no such call.")
    if row.rating_error is None or row.rated_at is not None:
        raise Conflict("The call was not set aside.", code="not_set_aside")
    UsageEvent.objects.filter(pk=row.pk).update(rating_error=None)
    detail = {"was": row.rating_error}
    audit.record(
        "usage.rate_again",
        "usage_event",
        request_id,
        actor=actor,
        now=now,
        developer_id=row.developer_id,
        detail=detail,
    )


def _rate_batch(events: Sequence[UsageEvent], now: datetime) -> None:
    prices = known_prices(e.price_version_id for e in events if e.price_version_id)
    terms = known_terms(e.terms_id for e in events)
    rated: list[tuple[UsageEvent, Charge]] = []
    for event in events:
        price = prices.get(event.price_version_id) if event.price_version_id else None
        problem = None
        try:
            charge = charge_for(event, price, terms[event.terms_id])
        except (KeyError, ValueError) as error:
            problem = f"cannot be rated: {error}"
        else:
            rated_at = charge.price, charge.cost, charge.provider_bill
            settled_at = event.price_nano, event.cost_nano, event.provider_bill_nano
            if rated_at != settled_at:
                # Two versions of the code disagree. Nobody is charged what they were not told.
                problem = f"rated {_amounts(rated_at)}, settled {_amounts(settled_at)} nano-USD"
        if problem is None:
            rated.append((event, charge))
        else:
            _set_aside(event, problem)

    owners = {owner for event, charge in rated for owner, amount in _shares(event, charge) if amount}
    accounts = open_accounts(owners, now=now)
    postings = [
        Posting(
            idempotency_key=f"usage:{event.request_id}",
            kind="usage",
            legs=legs,
            effective_at=event.effective_at,
            memo={"request_id": event.request_id},
        )
        for event, charge in rated
        if (legs := _legs(event, charge, accounts))
    ]
    _note_keys([event for event, _ in rated], now)
    captures = [Capture(event.request_id, charge.price) for event, charge in rated]
    transactions = post_batch(postings, captures, now=now, actor="rating")
    _store_charges(
        [
            (event.pk, *msgspec.structs.astuple(charge), transactions.get(f"usage:{event.request_id}"))
            for event, charge in rated
        ],
        now,
    )
    if rated:
        add_to_days([event.pk for event, _ in rated])


def _note_keys(events: Sequence[UsageEvent], now: datetime) -> None:
    """Tell the vault which keys were used, which their providers refused, and which they took."""
    touch_credentials({event.credential_id for event in events if event.cache is None}, now=now)
    note_refusals(
        refused={
            attempt["credential_id"]
            for event in events
            for attempt in event.attempts
            if attempt.get("code") == REFUSED_KEY and attempt.get("credential_id")
        },
        served={event.credential_id for event in events if event.outcome in _TAKEN and event.cache is None},
        now=now,
        actor="rating",
    )


def _amounts(amounts: tuple[int, ...]) -> str:
    return "/".join(map(str, amounts))


def known_prices(version_ids: Iterable[str]) -> dict[str, Price]:
    """Return price versions by id, read once a process."""
    if missing := set(version_ids) - _prices.keys():
        _prices.update(load_prices(missing))
    return _prices


def known_terms(terms_ids: Iterable[int]) -> dict[int, Terms]:
    """Return pricing terms by id, read once a process."""
    if missing := set(terms_ids) - _terms.keys():
        _terms.update(load_terms(missing))
    return _terms


Owner = tuple[str, str]


def _shares(event: UsageEvent, charge: Charge) -> tuple[tuple[Owner, int], ...]:
    """Return who is credited (+) or debited (−) beside the payer."""
    return (
        ((AccountKind.PROVIDER_COST, event.provider), charge.cost),
        ((AccountKind.PLATFORM_LOSS, OPERATOR), -charge.loss),
        ((AccountKind.INFRA_COST, OPERATOR), charge.infra),
        ((AccountKind.PAYMENT_COST, OPERATOR), charge.payment),
        ((AccountKind.DEVELOPER, event.developer_id), charge.developer),
        ((AccountKind.PLATFORM, OPERATOR), charge.platform),
    )


def _legs(event: UsageEvent, charge: Charge, accounts: Mapping[Owner, int]) -> tuple[Leg, ...]:
    legs = [Leg(accounts[owner], amount) for owner, amount in _shares(event, charge) if amount]
    if charge.price:
        legs.append(Leg(event.account_id, -charge.price))
    return tuple(legs)


STORE_CHARGES = """
WITH charge AS (
    SELECT * FROM unnest(
        %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bigint[], %s::bigint[]
    ) AS c (event_id, price, cost, infra, payment, developer, platform, loss, bill, transaction_id)
), stored AS (
    INSERT INTO usage_charges (
        event_id, price_nano, cost_nano, infra_nano, payment_nano, developer_nano, platform_nano, loss_nano,
        provider_bill_nano, transaction_id, created_at
    )
    SELECT event_id, price, cost, infra, payment, developer, platform, loss, bill, transaction_id, %s FROM charge
)
UPDATE usage_events SET rated_at = %s FROM charge WHERE usage_events.id = charge.event_id
"""


def _store_charges(rows: Sequence[tuple[int | None, ...]], now: datetime) -> None:
    if not rows:
        return
    columns = [list(column) for column in zip(*rows, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(STORE_CHARGES, [*columns, now, now])
