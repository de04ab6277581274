"""What is held about an end user here, as tables to be written."""

from apps.core.csv_stream import Cell, Column, Export

_ACCOUNT = (
    Column("end_user_id", "u.id"),
    Column("app_id", "u.app_id"),
    Column("app", "a.name"),
    Column("anonymous", "u.anonymous", Cell.FLAG),
    Column("status", "u.status"),
    Column("known_since", "u.created_at", Cell.TIME),
)
_SESSION = (
    Column("session_id", "s.id"),
    Column("proof", "s.assurance"),
    Column("created_at", "s.created_at", Cell.TIME),
    Column("expires_at", "s.expires_at", Cell.TIME),
    Column("revoked_at", "s.revoked_at", Cell.TIME),
)
_BRIDGE = (
    Column("bridge_id", "b.id"),
    Column("name", "b.name"),
    Column("version", "c.version"),
    Column("models", "c.served_models::text"),
    Column("created_at", "b.created_at", Cell.TIME),
    Column("last_seen_at", "c.seen_at", Cell.TIME),
    Column("revoked_at", "b.revoked_at", Cell.TIME),
)
_ENDPOINT = (
    Column("endpoint_id", "e.id"),
    Column("name", "e.name"),
    Column("kind", "e.kind"),
    Column("base_url", "e.base_url"),
    Column("models", "e.served_models::text"),
    Column("bridge_id", "e.bridge_id"),
    Column("created_at", "e.created_at", Cell.TIME),
    Column("changed_at", "e.changed_at", Cell.TIME),
)
_BRIDGES = """FROM bridges b LEFT JOIN bridge_connections c ON c.bridge_id = b.id
WHERE b.end_user_id = %(user)s ORDER BY b.id"""


def personal(end_user_id: str) -> tuple[Export, ...]:
    """Return an end user's own row, sessions, bridges and local endpoints."""
    who = {"user": end_user_id}
    return (
        Export("account", _ACCOUNT, "FROM end_users u JOIN apps a ON a.id = u.app_id WHERE u.id = %(user)s", who),
        Export("sessions", _SESSION, "FROM virtual_sessions s WHERE s.end_user_id = %(user)s ORDER BY s.id", who),
        Export("bridges", _BRIDGE, _BRIDGES, who),
        Export(
            "local_endpoints", _ENDPOINT, "FROM local_endpoints e WHERE e.end_user_id = %(user)s ORDER BY e.id", who
        ),
    )
