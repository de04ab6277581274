"""A report of a call that an end user's own machine served: what it may say. Pure."""

import hashlib
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from django.utils.translation import gettext as _
from msgspec import Meta

from apps.core.errors import Conflict, FaucetError
from apps.usage.models import Outcome
from apps.usage.rate import Tokens

MAX_AGE = timedelta(days=7)
# Clocks of end users' machines go wrong.
MAX_AHEAD = timedelta(minutes=5)
# No model has a longer context; a sum of such calls stays far from overflowing.
MAX_TOKENS = 10_000_000
MAX_LATENCY_MS = 86_400_000

_Count = Annotated[int, Meta(ge=0, le=MAX_TOKENS)]


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is told of one call: numbers and names, and no member that could carry a prompt or an answer.

    Tokens are in disjoint kinds, as everywhere: `input_tokens` without those read from a cache; `reasoning_tokens` are
    a part of `output_tokens`.
    """

    report_id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}\Z")]
    model: Annotated[str, Meta(min_length=1, max_length=200)]
    endpoint_kind: Literal["ollama", "vllm", "lm_studio", "llama_cpp", "openai_compatible"]
    input_tokens: _Count
    output_tokens: _Count
    cache_read_tokens: _Count = 0
    reasoning_tokens: _Count = 0
    status: Literal["ok", "error"]
    error_code: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}\Z")] | None = None
    latency_ms: Annotated[int, Meta(ge=0, le=MAX_LATENCY_MS)]
    started_at: Annotated[datetime, Meta(tz=True)]
    feature_key: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{1,64}\Z")] | None = None

    def __post_init__(self) -> None:
        if not self.model.isprintable():
            raise ValueError("model takes printable characters")
        if self.reasoning_tokens > self.output_tokens:
            raise ValueError("reasoning_tokens are a part of output_tokens")

    @property
    def tokens(self) -> Tokens:
        return Tokens(
            input=self.input_tokens,
            cache_read=self.cache_read_tokens,
            output=self.output_tokens,
            reasoning=self.reasoning_tokens,
        )

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def outcome(self) -> Outcome:
        """Return how the call ended: an answer that broke off is not one that never came."""
        if self.ok:
            return Outcome.FINISHED
        return Outcome.PROVIDER_FAILED if self.output_tokens else Outcome.NOT_SERVED

    @property
    def content_hash(self) -> str:
        """Return what tells whether a report with the same id says the same."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


def out_of_time(report: Report, *, now: datetime) -> FaucetError | None:
    """Return why a report's time is not taken: report_too_old or report_in_future. None where it is."""
    if report.started_at < now - MAX_AGE:
        return Conflict(
            _("Reports are taken for %(days)s days.") % {"days": MAX_AGE.days},
            code="report_too_old",
            param="started_at",
        )
    if report.started_at > now + MAX_AHEAD:
        return Conflict(_("This call has not begun yet."), code="report_in_future", param="started_at")
    return None
