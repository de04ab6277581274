"""When a call is sent again, and after how long. Pure: the clients sleep."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from modelfaucet_sdk.errors import ConnectionFailedError, FaucetError

RETRIED_STATUSES = frozenset({429, 502, 503, 504})
# Answered while the first try is still being served: waiting brings that answer.
STILL_RUNNING = "idempotency_in_progress"


@dataclass(frozen=True)
class RetryPolicy:
    """At most `retries` more tries, `first` seconds apart, doubled each time up to `longest`, with jitter.

    Where the gateway asks for more than `patience` seconds (Retry-After), the error is raised at once: the caller
    knows better whether waiting that long makes sense.
    """

    retries: int = 2
    first: float = 0.5
    longest: float = 8.0
    patience: float = 30.0

    def wait(
        self,
        error: FaucetError,
        *,
        tries: int,
        repeatable: bool,
        unsent: bool,
        jitter: Callable[[], float] = random.random,
    ) -> float | None:
        """Return the seconds to wait before the next try, or None where there must be none.

        `tries` were made; `repeatable`: a second arrival does nothing twice; `unsent`: the request never left here.
        """
        if tries > self.retries:
            return None
        if isinstance(error, ConnectionFailedError) and error.status is None:
            again = repeatable or unsent
        else:
            # A refusal for want of capacity did nothing yet; 502 to 504 may hide an answer that got lost.
            again = error.status == 429 or (repeatable and error.status in RETRIED_STATUSES)
            again = again or (repeatable and error.code == STILL_RUNNING)
        if not again:
            return None
        pause = min(self.first * 2.0 ** (tries - 1), self.longest) * (0.5 + jitter() / 2)
        if error.retry_after is None:
            return pause
        # Later than asked for, so that those who were all told the same do not come back together.
        return None if error.retry_after > self.patience else error.retry_after + pause * 0.5
