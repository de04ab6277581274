"""What a plan came to."""

from dataclasses import dataclass, field
from typing import Any

from apps.gateway.routing.reasons import Rejected, listed
from apps.gateway.routing.target import Target


@dataclass(frozen=True, slots=True)
class Decision:
    """Targets in the order in which they are tried, and why each other candidate was rejected.

    `requested` is the model that was asked for, possibly `auto`; `model` the one that the first target serves.
    `rule` is the position of the manifest's rule that applied. `redact`: what is sent to a target that is not local
    must be redacted before.
    """

    requested: str
    model: str
    targets: tuple[Target, ...]
    rejected: tuple[Rejected, ...]
    policy: str
    task_class: str | None = None
    rule: int | None = None
    redact: bool = False
    _note: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    def note(self) -> dict[str, Any]:
        """Return the decision as it goes onto the usage event and into the receipt; no credential is in it."""
        if not self._note:
            self._note.update(self._written())
        return self._note

    def _written(self) -> dict[str, Any]:
        return {
            "policy": self.policy,
            "requested_model": self.requested,
            **({"rule": self.rule} if self.rule is not None else {}),
            **({"task_class": self.task_class} if self.task_class is not None else {}),
            "targets": [
                {
                    "candidate": f"{target.offer.provider}/{target.offer.upstream_model}",
                    "mode": target.mode,
                    **({"degraded": True} if target.degraded else {}),
                }
                for target in self.targets
            ],
            "rejected": listed(self.rejected),
        }
