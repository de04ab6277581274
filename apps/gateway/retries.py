"""How long to wait before a failed call is tried again. Pure."""

from random import Random

# The longest pause before the first further try, in seconds; each later one may be twice as long, up to the longest.
FIRST = 0.25
LONGEST = 8.0


def backoff(attempt: int, retry_after: float | None, remaining: float, rng: Random) -> float | None:
    """Return the seconds to wait before try number `attempt` (1 is the first repetition), or None to give up.

    Full jitter: anything up to a limit that doubles with every try, so that callers who failed together do not come
    back together; never sooner than the provider's Retry-After. None where the wait would not end before the one
    deadline of the call, `remaining` seconds from now.
    """
    limit = min(FIRST * 2.0 ** min(attempt - 1, 16), LONGEST)
    wait = rng.uniform(0, limit)
    if retry_after is not None:
        wait += retry_after
    return wait if wait < remaining else None
