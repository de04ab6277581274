"""Calls as the gateway stores them, without a gateway. Amounts are nano-USD."""

import time
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import connection

from apps.catalog.queries import Price, load_catalog
from apps.core.clock import now
from apps.core.ids import new_id
from apps.features.queries import Terms, app_by_id, load_terms
from apps.ledger.statements import TAKE_HOLDS, HoldRequest, HoldResult, hold_results, take_parameters
from apps.usage.models import UsageEvent
from apps.usage.rate import PLATFORM, Charge, Overheads, Tokens, rate
from apps.usage.services.settle import (
    METER,
    SETTLE,
    Replayable,
    Settlement,
    UsageRecord,
    settle_parameters,
    settle_results,
)
from tests.live import MODEL, World, make_world


@dataclass
class Desk:
    """A world with its price and terms, and calls made in it by hand."""

    world: World
    price: Price = field(init=False)
    terms: Terms = field(init=False)

    def __post_init__(self) -> None:
        price = load_catalog(now=now()).offers[MODEL][0].price
        app = app_by_id(self.world.app_id)
        assert price is not None
        assert app is not None
        self.price = price
        self.terms = load_terms([app.terms_id])[app.terms_id]

    def charge(
        self, tokens: Tokens, *, mode: str = PLATFORM, charged: bool = True, cache_price_bps: int | None = None
    ) -> Charge:
        return rate(
            tokens,
            self.price,
            self.terms,
            mode=mode,
            overheads=Overheads(),
            charged=charged,
            cache_price_bps=cache_price_bps,
        )

    def memo(self, **changed: Any) -> dict[str, Any]:
        """Return what the gateway notes on a hold."""
        return {
            "app_id": self.world.app_id,
            "developer_id": self.world.developer_id,
            "end_user_id": self.world.end_user_id,
            "feature_key": "default",
            "principal_id": "sess_1",
            "endpoint": "chat.completions",
            "stream": False,
            "route_mode": PLATFORM,
            "provider": "double-0",
            "credential_id": "cred_1",
            "requested_model": MODEL,
            "served_model": MODEL,
            "price_version_id": self.price.version_id,
            "terms_id": self.terms.id,
            "infra_nano": 0,
            "payment_bps": 0,
            "started_at": time.time(),
            "prompt_tokens": 100,
            "output_tokens": 50,
            **changed,
        }

    def hold(self, amount: int, *, lease: float = 60, memo: dict[str, Any] | None = None) -> str:
        """Take a hold and return its request id."""
        request = HoldRequest(
            new_id("req"), self.world.account_id, amount, amount, lease, self.memo() if memo is None else memo
        )
        assert take(request).taken
        return request.request_id

    def record(
        self,
        request_id: str = "",
        tokens: Tokens = Tokens(input=100, output=20),  # noqa: B008 (frozen)
        *,
        mode: str = PLATFORM,
        charged: bool = True,
        **changed: Any,
    ) -> UsageRecord:
        """Return the event of a call, priced as the gateway would."""
        charge = self.charge(tokens, mode=mode, charged=charged, cache_price_bps=changed.get("cache_price_bps"))
        values: dict[str, Any] = {
            **{k: v for k, v in self.memo().items() if k not in ("prompt_tokens", "output_tokens")},
            "request_id": request_id or new_id("req"),
            "account_id": self.world.account_id,
            "route_mode": mode,
            "outcome": "finished" if charged else "provider_failed",
            "charged": charged,
            "finish_reason": "stop",
            "error_code": None,
            "status": 200,
            "input_tokens": tokens.input,
            "cache_read_tokens": tokens.cache_read,
            "cache_write_tokens": tokens.cache_write,
            "output_tokens": tokens.output,
            "reasoning_tokens": tokens.reasoning,
            "estimated": False,
            "output_cap": None,
            "price_nano": charge.price,
            "cost_nano": charge.cost,
            "provider_bill_nano": charge.provider_bill,
            "attempts": [],
            "first_byte_ms": 5,
            "duration_ms": 10,
            "effective_at": time.time(),
            **changed,
        }
        return UsageRecord(**values)

    def served(self, tokens: Tokens = Tokens(input=100, output=20), **record: Any) -> UsageEvent:  # noqa: B008 (frozen)
        """Hold for a call, settle it, and return its event."""
        event = self.record(tokens=tokens, **record)
        request_id = self.hold(self.charge(Tokens(input=1_000, output=1_000)).price)
        settle(msgspec.structs.replace(event, request_id=request_id))
        return UsageEvent.objects.get(request_id=request_id)


def make_desk(usd: str = "10", **world: Any) -> Desk:
    """Make a world that no gateway serves."""
    return Desk(make_world("", "https://api.example.com/v1", usd=usd, **world))


def take(request: HoldRequest) -> HoldResult:
    """Take one hold."""
    with connection.cursor() as cursor:
        cursor.execute(TAKE_HOLDS, take_parameters([request]))
        return hold_results([request], cursor.fetchall())[0]


def settle(*records: UsageRecord, kept: Replayable | None = None) -> list[str]:
    """Settle calls, both steps, and return what became of each."""
    outcomes = store(*records, kept=kept)
    meter(*[record.request_id for record in records])
    return outcomes


def store(*records: UsageRecord, kept: Replayable | None = None) -> list[str]:
    """Do the first step of settling only, in one statement, and return what became of each call."""
    settlements = [Settlement(record, kept) for record in records]
    with connection.cursor() as cursor:
        cursor.execute(SETTLE, settle_parameters(settlements))
        return settle_results(settlements, cursor.fetchall())


def meter(*request_ids: str) -> None:
    """Do the second step of settling."""
    with connection.cursor() as cursor:
        cursor.execute(METER, ([*request_ids],))
