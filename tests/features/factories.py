"""Rows of the features room, made the way the doors make them."""

from datetime import UTC, datetime
from typing import Any

from apps.developers.services.developers import create_developer
from apps.features import services
from apps.features.models import App, AppFeature

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACTOR = "test"


def make_developer(name: str = "Ada") -> str:
    return create_developer(name, f"{name.lower()}@example.com", now=NOW, actor=ACTOR)


def make_app(developer_id: str | None = None, **fields: Any) -> App:
    fields.setdefault("name", "Notes")
    app_id = services.create_app(developer_id=developer_id or make_developer(), now=NOW, actor=ACTOR, **fields)
    return App.objects.get(pk=app_id)


def make_feature(app: App, key: str = "summarise", **fields: Any) -> AppFeature:
    fields.setdefault("name", key.title())
    feature_id = services.create_feature(app_id=app.id, key=key, now=NOW, actor=ACTOR, **fields)
    return AppFeature.objects.get(pk=feature_id)


def make_user(app: App, external_id: str = "alice", *, anonymous: bool = False) -> str:
    return services.ensure_end_user(app_id=app.id, external_id=external_id, anonymous=anonymous, now=NOW)


def make_session(app: App, end_user_id: str | None = None, **fields: Any) -> services.OpenedSession:
    defaults: dict[str, Any] = {"feature_key": None, "assurance": "user_token", "ttl": 3600, "now": NOW}
    return services.open_session(app_id=app.id, end_user_id=end_user_id or make_user(app), **defaults | fields)


def make_key(app: App, **fields: Any) -> tuple[str, str]:
    fields.setdefault("name", "CI")
    return services.issue_virtual_key(app_id=app.id, now=NOW, actor=ACTOR, **fields)
