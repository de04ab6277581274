"""What is held about an end user here, as tables to be written. Secrets are not among it: they never come out."""

from apps.core.csv_stream import Cell, Column, Export

_KEY = (
    Column("key_id", "k.id"),
    Column("provider", "k.provider_id"),
    Column("label", "k.label"),
    Column("last_characters", "k.hint"),
    Column("base_url", "k.base_url"),
    Column("status", "k.status"),
    Column("priority", "k.priority", Cell.NUMBER),
    Column("models", "array_to_string(k.models_allowed, ' ')"),
    Column("features", "array_to_string(k.features_allowed, ' ')"),
    Column("last_check", "k.validation"),
    Column("checked_at", "k.validated_at", Cell.TIME),
    Column("last_used_at", "k.last_used_at", Cell.TIME),
    Column("created_at", "k.created_at", Cell.TIME),
)
_CONSENT = (
    Column("consent_id", "c.id"),
    Column("mode", "c.mode"),
    Column("fee_usd", "c.fee_nano", Cell.USD),
    Column("text", "c.text"),
    Column("acknowledged_at", "c.acknowledged_at", Cell.TIME),
)


def personal(end_user_id: str) -> tuple[Export, ...]:
    """Return an end user's keys for providers and the fees that were acknowledged."""
    who = {"user": end_user_id}
    keys = "FROM provider_credentials k WHERE k.owner_class = 'end_user' AND k.owner_id = %(user)s ORDER BY k.id"
    return (
        Export("provider_keys", _KEY, keys, who),
        Export("fee_consents", _CONSENT, "FROM fee_consents c WHERE c.end_user_id = %(user)s ORDER BY c.id", who),
    )
