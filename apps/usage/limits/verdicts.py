"""What a limit store says of a call, and what the client is told of it."""

import math
from typing import NamedTuple

from apps.core.errors import RateLimited
from apps.usage.limits.rules import Dimension

RPM, TPM, CONCURRENCY = "rpm", "tpm", "concurrency"

_WHAT = {
    RPM: "Too many requests in a minute",
    TPM: "Too many tokens in a minute",
    CONCURRENCY: "Too many requests at the same time",
}
# In words and without an id: the caller need not know whose neighbour it is.
_WHOSE = {
    "platform": "for this service",
    "developer": "for this developer",
    "app": "for this app",
    "feature": "for this feature",
    "feature_user": "for this user of the feature",
    "end_user": "for this user",
    "key": "with this key",
    "credential": "with this provider key",
    "session": "in this session",
    "ip": "from this address",
}


class Standing(NamedTuple):
    """How much of a limit is left: `remaining` requests or tokens, all of them again in `reset` seconds."""

    limit: int
    remaining: int
    reset: float


class Refused(NamedTuple):
    """Which limit refused a call, and in how many seconds it would pass if nothing else were counted meanwhile."""

    dimension: Dimension
    kind: str
    retry_after: float

    @property
    def limit(self) -> int:
        """Return the limit that was reached."""
        limit: int = getattr(self.dimension, self.kind)
        return limit


class Verdict(NamedTuple):
    """Whether a call may go on (`refused` is None), and the tightest limits of requests and of tokens.

    A standing is None where no dimension has such a limit, and where the store is out of reach.
    """

    refused: Refused | None
    requests: Standing | None
    tokens: Standing | None

    @property
    def passed(self) -> bool:
        """Tell whether the call may go on."""
        return self.refused is None


PASSED = Verdict(None, None, None)


def refusal(verdict: Verdict) -> RateLimited:
    """Return the error for a call that did not pass."""
    refused = verdict.refused
    if refused is None:
        raise ValueError("this call passed")
    scope = refused.dimension.scope
    return RateLimited(
        f"{_WHAT[refused.kind]} {_WHOSE[scope]}: the limit is {refused.limit}.",
        code="rate_limit_exceeded",
        retry_after=max(math.ceil(refused.retry_after), 1),
        details={"scope": scope, "limit": refused.limit, "kind": refused.kind},
    )


def limit_headers(verdict: Verdict) -> list[tuple[bytes, bytes]]:
    """Return the `x-ratelimit-*` headers as OpenAI's clients read them; none for what is not limited."""
    headers = []
    for name, standing in ((b"requests", verdict.requests), (b"tokens", verdict.tokens)):
        if standing is not None:
            headers += [
                (b"x-ratelimit-limit-" + name, b"%d" % standing.limit),
                (b"x-ratelimit-remaining-" + name, b"%d" % standing.remaining),
                (b"x-ratelimit-reset-" + name, duration(standing.reset).encode()),
            ]
    return headers


def duration(seconds: float) -> str:
    """Return a time as OpenAI writes it: `120ms`, `1s`, `8.64s`, `6m0s`; never shorter than it is."""
    thousandths = math.ceil(round(seconds * 1000, 3))
    if thousandths < 1000:
        return f"{thousandths}ms"
    minutes, rest = divmod(thousandths, 60_000)
    whole, part = divmod(rest, 1000)
    text = f"{whole}.{part:03d}".rstrip("0").rstrip(".") if part else str(whole)
    return f"{minutes}m{text}s" if minutes else f"{text}s"
