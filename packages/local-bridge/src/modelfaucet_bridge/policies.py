"""Policies: what may look at a call before and after, to refuse it, change it, or count it.

The bridge's own limits and budgets are policies. Others are installed as packages that name a class in the entry-point
group `modelfaucet_bridge.policies`, and take part once their name is in the file:

    [policies]
    enabled = ["office-hours"]

A policy is made without arguments. It sees the whole request, so it is as trusted as the bridge.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol

from modelfaucet_bridge.config import Channel
from modelfaucet_bridge.money import Tokens

GROUP = "modelfaucet_bridge.policies"


class Refused(Exception):
    """A call is not let through. `code` is for programs, `message` for people; `retry_after` is in seconds."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after

    @property
    def type(self) -> str:
        if self.status in (400, 404, 405, 413, 422):
            return "invalid_request_error"
        kinds = {401: "authentication_error", 402: "billing_error", 403: "permission_error", 429: "rate_limit_error"}
        return kinds.get(self.status, "api_error")

    def envelope(self) -> dict[str, Any]:
        """Return the body of the answer, in the form that clients of OpenAI's API know."""
        return {"error": {"message": self.message, "type": self.type, "param": None, "code": self.code}}


@dataclass
class Call:
    """One call on its way. A policy may change `body`; `started_at` is in seconds since 1970."""

    request_id: str
    operation: str  # chat | responses | embeddings
    model: str
    channel: Channel
    body: dict[str, Any]
    stream: bool
    started_at: float
    source: str = "http"  # http | relay
    origin: str | None = None
    input_estimate: int = 0
    notes: dict[str, Any] = field(default_factory=dict)  # what a policy keeps from before a call until after it


@dataclass(frozen=True)
class Outcome:
    """How a call ended. `tokens` is None if nothing was used or nobody knows; `cost` is nano-USD, None if unknown."""

    status: int
    error_code: str | None
    tokens: Tokens | None
    cost: int | None
    latency_ms: int


class Policy(Protocol):
    """What the bridge asks of a policy. Neither method may block; `after_call` follows every call let through."""

    async def before_call(self, call: Call) -> None:
        """Look at a call that is about to be made. Raise Refused to answer it at once."""

    async def after_call(self, call: Call, outcome: Outcome) -> None:
        """Look at a call that has ended, however it did."""


class PolicyError(Exception):
    """A policy that the file names is not installed or cannot be made."""


def load_policies(names: Iterable[str]) -> list[Policy]:
    """Make the installed policies of these names. Raises PolicyError."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    policies: list[Policy] = []
    for name in names:
        if name not in found:
            raise PolicyError(f"no installed package has a policy {name!r}")
        try:
            policies.append(found[name].load()())
        except Exception as error:
            raise PolicyError(f"the policy {name!r} cannot be made: {type(error).__name__}") from error
    return policies
