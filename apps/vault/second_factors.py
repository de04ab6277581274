"""The secrets of second factors (authenticator apps, recovery codes), which django-allauth would keep in clear."""

from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db.models import QuerySet

from apps.vault import envelope

# One place for all rows: allauth seals before the row has an id.
PLACE = "mfa_authenticator.data"


class SecondFactors(DefaultMFAAdapter):
    """allauth's hooks for second factors, with their secrets sealed by the vault's keys."""

    def encrypt(self, text: str) -> str:
        return envelope.seal(text, place=PLACE)

    def decrypt(self, encrypted_text: str) -> str:
        return envelope.open_sealed(encrypted_text, place=PLACE)


# What allauth seals by the hooks above, by the name in a row's data.
SEALED = ("secret", "seed")


def sealed_factors() -> QuerySet[Authenticator]:
    """Return the rows whose data hold a sealed secret; a security key's hold none."""
    return Authenticator.objects.filter(type__in=(Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES))


def rewrap_data(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return a row's data under the current key, None where they are already. Raises VaultProblem."""
    current = envelope.keyring().current_key_id
    old = [name for name in SEALED if name in data and envelope.key_id_of(data[name]) != current]
    return {**data, **{name: envelope.rewrap(data[name]) for name in old}} if old else None
