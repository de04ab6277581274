"""Adding providers that are known by name."""

from datetime import datetime

from apps.catalog.presets import PRESETS
from apps.catalog.services.offers import add_provider
from apps.core.errors import BadRequest, NotFound


def add_preset(
    preset: str,
    *,
    provider_id: str = "",
    name: str = "",
    base_url: str = "",
    resale_allowed: bool | None = None,
    trains_on_data: bool | None = None,
    now: datetime,
    actor: str,
) -> str:
    """Add the provider of a preset and return its id. What is given takes the place of what the preset says.

    Raises NotFound (no such preset), BadRequest (the address has to be named; address_not_allowed for one inside the
    private network that OUTBOUND_PRIVATE_ENDPOINTS does not name) and Conflict (the id is taken).
    """
    known = PRESETS.get(preset)
    if known is None:
        raise NotFound(f"There is no preset {preset}; there are {', '.join(PRESETS)}.", param="preset")
    if not base_url and known.needs_base_url:
        raise BadRequest(f"The address of {preset} has to be named, as {known.base_url}.", param="base_url")
    return add_provider(
        id=provider_id or known.id,
        name=name or known.name,
        base_url=base_url or known.base_url,
        adapter=known.adapter,
        resale_allowed=known.resale_allowed if resale_allowed is None else resale_allowed,
        trains_on_data=known.trains_on_data if trains_on_data is None else trains_on_data,
        keeps_cache_control=known.keeps_cache_control,
        terms_url=known.terms_url,
        notes=known.notes,
        now=now,
        actor=actor,
    )
