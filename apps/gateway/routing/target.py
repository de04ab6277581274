"""Targets: where a call can be sent."""

from dataclasses import dataclass, field

from apps.catalog.queries import Offer
from apps.gateway.providers.registry import ADAPTERS
from apps.usage.rate import PLATFORM
from apps.vault.queries import Credential

# What health is kept by: a credential with the model as the provider calls it; an empty model is the whole credential.
HealthKey = tuple[str, str]

_OUR_HEADERS = ((b"content-type", b"application/json"), (b"user-agent", b"ModelFaucet"))


@dataclass(frozen=True, slots=True)
class Target:
    """Where a call can be sent: an offer reached with a credential, in a route mode.

    `base_url` is the address that the adapter completes. `degraded`: the last resort that a manifest names, whose
    answer is flagged.
    """

    offer: Offer
    credential: Credential
    mode: str
    base_url: str
    headers: tuple[tuple[bytes, bytes], ...] = field(repr=False)
    degraded: bool = False

    @property
    def adapter(self) -> str:
        """Return the name of the adapter that speaks to the provider."""
        return self.offer.adapter

    @property
    def health_key(self) -> HealthKey:
        """Return what the health of this target is kept by."""
        return self.credential.id, self.offer.upstream_model

    @property
    def cap_name(self) -> str:
        """Return the name under which this provider takes an output limit the caller did not name."""
        return "max_completion_tokens" if "max_completion_tokens" in self.offer.capabilities else "max_tokens"


def make_target(offer: Offer, credential: Credential, mode: str = PLATFORM) -> Target:
    """Return the target of an offer with a credential."""
    base = (credential.base_url or offer.base_url).rstrip("/")
    headers = tuple((name.encode(), value.encode()) for name, value in credential.headers.items())
    adapter = ADAPTERS.get(offer.adapter)
    extra = adapter.extra_headers if adapter is not None else ()
    return Target(offer, credential, mode, base, (*headers, *extra, *_OUR_HEADERS))


def label_of(offer: Offer) -> str:
    """Return the name under which callers are told of a candidate: they are not to learn of credentials."""
    return f"{offer.provider}/{offer.upstream_model}"
