"""Makes what the developers' tests work on, through the room's own services."""

from datetime import UTC, datetime
from typing import Any

from django.contrib.auth import get_user_model

from apps.developers.services.developers import create_developer
from apps.developers.services.tokens import issue_token

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
WHO: dict[str, Any] = {"now": NOW, "actor": "user:ada"}


def make_user(name: str = "ada") -> int:
    return get_user_model().objects.create_user(username=name).pk


def make_developer(name: str = "Acme", **fields: Any) -> str:
    return create_developer(name, f"{name.lower()}@example.com", **(WHO | fields))


def make_token(developer_id: str, *scopes: str, **fields: Any) -> tuple[str, str]:
    return issue_token(developer_id, "CI", scopes or ("usage:read",), **(WHO | fields))
