"""What a handler of Stripe's events gets, and how it says "not yet". Apart from their table, which imports them."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a handler gets it. `object` is what it was about as it was then; `account` is a connected one."""

    id: str
    type: str
    created_at: datetime
    account: str | None
    livemode: bool
    object: dict[str, Any]
    now: datetime


class Later(Exception):
    """Not yet: what the event is about is not known here so far."""


Handler = Callable[[Event], None]
