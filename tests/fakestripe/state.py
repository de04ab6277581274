"""What the fake knows: objects in the order they were made, its clock, its events."""

import copy
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from tests.fakestripe.faults import invalid, missing

Object = dict[str, Any]

# Fields that hold another object's id and can be expanded.
EXPANDABLE = {
    "account",
    "balance_transaction",
    "charge",
    "customer",
    "default_payment_method",
    "destination",
    "destination_payment",
    "failure_balance_transaction",
    "invoice",
    "latest_charge",
    "latest_invoice",
    "payment_intent",
    "payment_method",
    "product",
    "setup_intent",
    "source",
    "source_transaction",
    "subscription",
    "transfer",
    "default_price",
    "reversed_by",
    "original_payout",
}


WITHOUT_LIVEMODE = {
    "account",
    "balance_transaction",
    "refund",
    "subscription_item",
    "transfer_reversal",
    "bank_account",
    "billing_portal.session_",
}


# Members that are only there when they are asked for, and of which the fake has none.
_NONE = {"object": "list", "data": [], "has_more": False, "url": "/v1/none"}
EMPTY: dict[str, Any] = {
    "sources": _NONE,
    "subscriptions": _NONE,
    "tax_ids": _NONE,
    "tax": {"automatic_tax": "unrecognized_location", "ip_address": None, "location": None},
    "line_items.data.discounts": [],
    "total_details.breakdown": {"discounts": [], "taxes": []},
}


class Clock:
    """The fake's time in whole seconds: real time plus what tests added."""

    def __init__(self) -> None:
        self.ahead = 0

    def now(self) -> int:
        return int(time.time()) + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += int(seconds)


class State:
    """Objects by id. Whoever reads or writes holds `lock`; what leaves is a copy."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.clock = Clock()
        self.objects: dict[str, Object] = {}
        self.owners: dict[str, str | None] = {}
        self.account: str | None = None  # whose objects the present call is about; None is the platform
        self.api_version = ""
        self.livemode = False
        self.instant = True  # charges are available at once
        self.refund_status = "succeeded"
        self.tax_bps = 0
        self.on_event: Callable[[Object], None] = lambda event: None

    def add(self, prefix: str, kind: str, /, **fields: Any) -> Object:
        """Keep a new object with an id, a kind and a creation time."""
        object_id = fields.pop("id", None) or f"{prefix}_{secrets.token_hex(9)}"
        row: Object = {"id": object_id, "object": kind, "created": self.clock.now(), **fields}
        if kind not in WITHOUT_LIVEMODE:
            row["livemode"] = self.livemode
        self.objects[object_id] = row
        self.owners[object_id] = self.account
        return row

    def get(self, kind: str, object_id: Any, param: str = "id") -> Object:
        """Return an object of the present account. Raises resource_missing."""
        row = self.objects.get(object_id) if isinstance(object_id, str) else None
        if row is None or row["object"] != kind or self.owners[object_id] != self.account:
            raise missing(kind.rpartition(".")[2], str(object_id), param)
        return row

    def all(self, kind: str) -> list[Object]:
        """Return the present account's objects of a kind, newest first, as Stripe lists them."""
        rows = [
            row for row in self.objects.values() if row["object"] == kind and self.owners[row["id"]] == self.account
        ]
        return rows[::-1]

    def page(self, rows: Iterable[Object], params: Object, url: str) -> Object:
        """Return one page of a list: `limit`, `starting_after`, `ending_before`, `created`."""
        rows = [row for row in rows if _created_within(row, params.get("created"))]
        limit = params.get("limit", 10)
        if not isinstance(limit, int) or not 1 <= limit <= 100:
            raise invalid("This value must be between 1 and 100.", code="parameter_invalid_integer", param="limit")
        ids = [row["id"] for row in rows]
        if (after := params.get("starting_after")) is not None:
            if after not in ids:
                raise missing("object", after, "starting_after")
            rows = rows[ids.index(after) + 1 :]
            shown, more = rows[:limit], len(rows) > limit
        elif (before := params.get("ending_before")) is not None:
            if before not in ids:
                raise missing("object", before, "ending_before")
            rows = rows[: ids.index(before)]
            shown, more = rows[-limit:], len(rows) > limit
        else:
            shown, more = rows[:limit], len(rows) > limit
        return {"object": "list", "url": url, "has_more": more, "data": shown}

    def answer(self, row: Object, expand: Iterable[str]) -> Object:
        """Return a copy of an object as the API shows it: private members left out, `expand` followed."""
        shown = copy.deepcopy(row)
        _strip(shown)
        for path in expand:
            self._expand(shown, path.split("."), path)
        return shown

    def _expand(self, node: Any, parts: list[str], path: str) -> None:
        if isinstance(node, list):
            for item in node:
                self._expand(item, parts, path)
            return
        if not isinstance(node, dict):
            return
        name, *rest = parts
        if name not in node:
            hidden = self.objects.get(node.get("id", ""), {}).get(f"_{name}")
            hidden = EMPTY.get(path) if hidden is None else hidden
            if hidden is None:
                raise invalid(f"This property cannot be expanded ({path}).", param="expand")
            node[name] = copy.deepcopy(hidden() if callable(hidden) else hidden)
            _strip(node[name])
        value = node[name]
        if isinstance(value, str) and name in EXPANDABLE and value in self.objects:
            value = node[name] = copy.deepcopy(self.objects[value])
            _strip(value)
        if rest:
            self._expand(value, rest, path)

    def emit(self, type: str, row: Object, **data: Any) -> Object:
        """Make an event about an object as it is now, and hand it to whoever delivers."""
        shown = self.answer(row, ())
        event = self.add(
            "evt",
            "event",
            api_version=self.api_version,
            type=type,
            data={"object": shown, **data},
            pending_webhooks=1,
            request={"id": f"req_{secrets.token_hex(7)}", "idempotency_key": None},
        )
        if self.account is not None:
            event["account"] = self.account
        self.on_event(self.answer(event, ()))
        return event


def _strip(node: Any) -> None:
    if isinstance(node, dict):
        for key in [key for key in node if key.startswith("_")]:
            del node[key]
        for value in node.values():
            _strip(value)
    elif isinstance(node, list):
        for value in node:
            _strip(value)


def _created_within(row: Object, created: Any) -> bool:
    if created is None:
        return True
    at = row["created"]
    if isinstance(created, int):
        return bool(at == created)
    return (
        at > created.get("gt", -1)
        and at >= created.get("gte", 0)
        and at < created.get("lt", at + 1)
        and at <= created.get("lte", at)
    )
