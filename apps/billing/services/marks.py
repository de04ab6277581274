"""How this instance knows its own objects at Stripe: several instances may use one Stripe account."""

from collections.abc import Mapping
from typing import Any

from apps.core.hashing import keyed_hash

INSTANCE = "modelfaucet"


def instance() -> str:
    """Return this instance's mark: the same for as long as its pepper is."""
    return keyed_hash("stripe_instance", "")[:24]


def marks(**ids: str) -> dict[str, str]:
    """Return the metadata of an object that stands for rows of ours: `marks(top_up="top_…")`."""
    return {INSTANCE: instance(), **ids}


def marked(found: Mapping[str, Any], name: str) -> str | None:
    """Return the id of our row that an object of Stripe's stands for; None if it is none of this instance's."""
    metadata = found.get("metadata") or {}
    return metadata.get(name) if metadata.get(INSTANCE) == instance() else None
