"""Redaction of a call: what a cloud is sent in place of the request, and what puts the values back into its answer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import msgspec

from apps.core.errors import BadRequest
from apps.core.hashing import keyed_hash
from apps.features.manifest import Privacy
from apps.gateway.formats.base import ModelRequest
from apps.gateway.privacy import Redactor, Restorer
from apps.gateway.tokens import Prompt
from apps.gateway.wire import ChatRequest

T = TypeVar("T")

# A longer prompt, in characters, is redacted beside the event loop.
REDACT_INLINE = 32_768

_NULL = msgspec.Raw(b"null")
_decode = msgspec.json.decode
_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Redaction:
    """A redacted request. `held` is the request with a prompt that neither it nor the original is larger than."""

    request: ModelRequest
    held: ModelRequest
    redactor: Redactor

    @property
    def count(self) -> int:
        """Return how many values were replaced."""
        return sum(self.redactor.counts.values())

    def restorer(self) -> Restorer | None:
        """Return what puts the values back into one answer, None where there is nothing to put back."""
        if not self.redactor.originals or not isinstance(self.request, ChatRequest):
            return None
        return self.redactor.restorer(choices=self.request.choices)


async def redact(request: ModelRequest, privacy: Privacy) -> Redaction | None:
    """Return a request redacted; None where it cannot be and the manifest then wants local models only.

    Raises BadRequest (redaction_impossible) where the manifest then wants the call refused, and (invalid_json).
    """
    try:
        redaction = await _beside(request, partial(_redact, request, privacy))
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        # In a member that nothing else reads.
        raise BadRequest("The request body holds JSON that cannot be read.", code="invalid_json") from error
    if not redaction.redactor.unredactable:
        return redaction
    if privacy.fallback == "local_only":
        return None
    raise BadRequest(
        "This request must be redacted before it leaves, and it holds what cannot be: an image, a file, audio, tokens "
        "in place of text, or too many sensitive values.",
        code="redaction_impossible",
    )


async def hash_prompt(request: ModelRequest, app_id: str) -> str:
    """Return a keyed hash by which an app's developer finds equal prompts again, and nobody else's."""
    return await _beside(request, partial(_hash, request, app_id))


async def _beside(request: ModelRequest, work: Callable[[], T]) -> T:
    return work() if len(request.prompt.text) <= REDACT_INLINE else await asyncio.to_thread(work)


def redactor_of(request: ModelRequest, privacy: Privacy, detectors: tuple[str, ...]) -> Redactor:
    """Return a redactor for a request: `detectors` (empty: all), the manifest's fields, a feature's sensitive input."""
    values = request.client.get("sensitive", ()) if isinstance(request, ChatRequest) else ()
    return Redactor(detectors, privacy.sensitive_fields, values)


def _redact(request: ModelRequest, privacy: Privacy) -> Redaction:
    redactor = redactor_of(request, privacy, privacy.detectors)
    members = redactor.redact_members(request.members)
    prompt = request.prompt
    # A placeholder is no more tokens than bytes. What it replaces is counted too: some of it may be shorter.
    held = replace(request, prompt=Prompt(prompt.text, prompt.other + redactor.growth, prompt.images))
    return Redaction(replace(request, members=members), held, redactor)


def _hash(request: ModelRequest, app_id: str) -> str:
    raw = request.members.get("messages") or request.members.get("input") or _NULL
    # Spaces and the order of names are the client's; equal prompts have equal hashes all the same.
    return keyed_hash("prompt", f"{app_id}\0{_encode(_decode(raw)).decode()}")
