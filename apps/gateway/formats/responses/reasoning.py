"""Reasoning that has to come back as it was: signed blocks in the place of OpenAI's encrypted content.

Nothing is kept here between requests, so a client that asks for `reasoning.encrypted_content` gets the blocks of the
model's provider, packed into text, and sends them with its next request.
"""

import base64
from typing import Any

import msgspec

from apps.gateway.formats.events import signature_of

_MARK = "mf1."
CALL_SIGNATURE = "call_signature"
_encode = msgspec.json.Encoder().encode


def pack(blocks: list[dict[str, Any]]) -> str:
    """Return thinking blocks as text."""
    return _MARK + base64.b64encode(_encode(blocks)).decode()


def signatures(calls: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return Gemini's signatures of canonical tool calls, each as a block that names its call."""
    return [
        {"type": CALL_SIGNATURE, "call_id": call["id"], "signature": signature}
        for call in calls
        if isinstance(call.get("id"), str) and (signature := signature_of(call))
    ]


def unpack(text: Any) -> list[dict[str, Any]]:
    """Return the blocks that `pack` packed, [] for anything else (OpenAI's own is of no use to anybody else)."""
    if not isinstance(text, str) or not text.startswith(_MARK):
        return []
    try:
        blocks = msgspec.json.decode(base64.b64decode(text.removeprefix(_MARK), validate=True))
    except (ValueError, RecursionError):
        return []
    if not isinstance(blocks, list):
        return []
    return [block for block in blocks if isinstance(block, dict) and isinstance(block.get("type"), str)]
