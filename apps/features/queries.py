"""What other rooms may ask about apps, features, end users and tokens."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.features.models import (
    App,
    AppFeature,
    EndUser,
    FeatureManifest,
    PricingTerms,
    Status,
    VirtualKey,
    VirtualSession,
)
from apps.features.principals import Principal, Terms, authenticate, principal_for_feature, principal_of_session
from apps.features.services.inputs import storable

__all__ = [
    "AppInfo",
    "EndUserInfo",
    "FeatureInfo",
    "ManifestInfo",
    "Principal",
    "Terms",
    "VirtualKeyInfo",
    "allowed_origins_of_all",
    "app_by_id",
    "app_by_public_id",
    "app_developers",
    "apps_of_developer",
    "authenticate",
    "end_user_by_id",
    "end_user_of_session",
    "end_users_by_id",
    "feature_by_key",
    "features_of_app",
    "features_of_apps",
    "load_terms",
    "manifest_in_force",
    "manifest_version",
    "manifests_of",
    "principal_for_feature",
    "principal_of_session",
    "virtual_key_by_id",
    "virtual_keys_of_app",
]

_TERMS_FIELDS = tuple(Terms.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class AppInfo:
    """An app as other rooms see it; `anonymous_allowance` in nano-USD per device. A suspended one is not active."""

    id: str
    public_id: str
    developer_id: str
    name: str
    allowed_origins: tuple[str, ...]
    anonymous_allowance: int
    active: bool
    suspended: bool
    terms_id: int


@dataclass(frozen=True, slots=True)
class FeatureInfo:
    """A feature as other rooms see it; `terms_id` None means the app's, empty `models` allow every model.

    `manifest_id` is the version in force, None where every default is.
    """

    id: str
    app_id: str
    key: str
    name: str
    active: bool
    models: frozenset[str]
    default_model: str
    max_output_tokens: int
    affordable_clamp: bool
    terms_id: int | None
    manifest_id: str | None


@dataclass(frozen=True, slots=True)
class ManifestInfo:
    """A version of a feature's manifest; `content` is what its `source` says, without defaults."""

    id: str
    feature_id: str
    number: int
    source: str
    source_format: str
    content: dict[str, Any]
    in_force: bool
    created_by: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class EndUserInfo:
    """An end user as other rooms see it."""

    id: str
    app_id: str
    anonymous: bool
    active: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VirtualKeyInfo:
    """A virtual key as other rooms see it; `hint` is its last four characters, `feature_key` None the default."""

    id: str
    app_id: str
    name: str
    hint: str
    feature_key: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime


def load_terms(ids: Collection[int]) -> dict[int, Terms]:
    """Return the pricing terms with these ids, by id; terms never change, so they may be kept for good."""
    rows = PricingTerms.objects.filter(pk__in=ids).values_list(*_TERMS_FIELDS)
    return {row[0]: Terms(*row) for row in rows}


def app_by_public_id(public_id: str) -> AppInfo | None:
    """Return the app with this public id, active or not."""
    return _app_info(App.objects.filter(public_id=public_id).first()) if storable(public_id) else None


def app_by_id(app_id: str) -> AppInfo | None:
    """Return the app with this id, active or not."""
    return _app_info(App.objects.filter(pk=app_id).first()) if storable(app_id) else None


def apps_of_developer(developer_id: str) -> tuple[AppInfo, ...]:
    """Return a developer's apps, oldest first."""
    apps = App.objects.filter(developer_id=developer_id).order_by("created_at", "id")
    return tuple(info for app in apps if (info := _app_info(app)))


def app_developers() -> dict[str, str]:
    """Return the developer's id of every app by the app's id, active or not."""
    return dict(App.objects.values_list("pk", "developer_id"))


def features_of_app(app_id: str) -> tuple[FeatureInfo, ...]:
    """Return an app's features by key."""
    return tuple(_feature_info(feature) for feature in AppFeature.objects.filter(app_id=app_id).order_by("key"))


def features_of_apps(app_ids: Collection[str]) -> dict[str, tuple[FeatureInfo, ...]]:
    """Return the features of several apps by app, each app's by key; one without any is left out."""
    found: dict[str, tuple[FeatureInfo, ...]] = {}
    for row in AppFeature.objects.filter(app_id__in=app_ids).order_by("app_id", "key"):
        found[row.app_id] = (*found.get(row.app_id, ()), _feature_info(row))
    return found


def feature_by_key(app_id: str, key: str) -> FeatureInfo | None:
    """Return the feature of an app with this key, active or not."""
    feature = AppFeature.objects.filter(app_id=app_id, key=key).first() if storable(key) else None
    return None if feature is None else _feature_info(feature)


def manifest_in_force(feature_id: str) -> ManifestInfo | None:
    """Return the version of a feature's manifest that is in force, None where it has none."""
    rows = AppFeature.objects.select_related("manifest")
    feature = rows.filter(pk=feature_id).first() if storable(feature_id) else None
    if feature is None or feature.manifest is None:
        return None
    return _manifest_info(feature.manifest, feature.manifest_id)


def manifest_version(feature_id: str, number: int) -> ManifestInfo | None:
    """Return one version of a feature's manifest."""
    row = FeatureManifest.objects.select_related("feature").filter(feature_id=feature_id, number=number).first()
    return None if row is None else _manifest_info(row, row.feature.manifest_id)


def manifests_of(feature_id: str, *, before: int | None = None, limit: int) -> tuple[ManifestInfo, ...]:
    """Return at most `limit` versions of a feature's manifest, newest first, older than number `before`."""
    rows = FeatureManifest.objects.select_related("feature").filter(feature_id=feature_id).order_by("-number")
    if before is not None:
        rows = rows.filter(number__lt=before)
    return tuple(_manifest_info(row, row.feature.manifest_id) for row in rows[:limit])


def end_user_by_id(end_user_id: str) -> EndUserInfo | None:
    """Return the end user with this id, active or not."""
    return end_users_by_id([end_user_id]).get(end_user_id) if storable(end_user_id) else None


def end_users_by_id(ids: Collection[str]) -> dict[str, EndUserInfo]:
    """Return several end users by id, active or not; unknown ids are left out."""
    return {
        user.id: EndUserInfo(
            id=user.id,
            app_id=user.app_id,
            anonymous=user.anonymous,
            active=user.status == Status.ACTIVE,
            created_at=user.created_at,
        )
        for user in EndUser.objects.filter(pk__in=ids)
    }


def end_user_of_session(session_id: str) -> str | None:
    """Return whose session this is, ended or not; None if there is no such session."""
    if not storable(session_id):
        return None
    return VirtualSession.objects.filter(pk=session_id).values_list("end_user_id", flat=True).first()


def virtual_keys_of_app(app_id: str, *, before: str | None = None, limit: int) -> tuple[VirtualKeyInfo, ...]:
    """Return at most `limit` of an app's keys, revoked ones included, newest first, older than `before`."""
    keys = VirtualKey.objects.filter(app_id=app_id).select_related("feature").order_by("-id")
    if before is not None:
        keys = keys.filter(pk__lt=before)
    return tuple(_key_info(key) for key in keys[:limit])


def virtual_key_by_id(key_id: str) -> VirtualKeyInfo | None:
    """Return the virtual key with this id, revoked or not."""
    key = VirtualKey.objects.select_related("feature").filter(pk=key_id).first() if "\0" not in key_id else None
    return None if key is None else _key_info(key)


def allowed_origins_of_all() -> frozenset[str]:
    """Return every origin that some active app allows."""
    lists = App.objects.filter(status=Status.ACTIVE).values_list("allowed_origins", flat=True)
    return frozenset(origin for origins in lists for origin in origins)


def _app_info(app: App | None) -> AppInfo | None:
    if app is None:
        return None
    return AppInfo(
        id=app.id,
        public_id=app.public_id,
        developer_id=app.developer_id,
        name=app.name,
        allowed_origins=tuple(app.allowed_origins),
        anonymous_allowance=app.anonymous_allowance,
        active=app.status == Status.ACTIVE,
        suspended=app.suspended,
        terms_id=app.terms_id,
    )


def _feature_info(feature: AppFeature) -> FeatureInfo:
    return FeatureInfo(
        id=feature.id,
        app_id=feature.app_id,
        key=feature.key,
        name=feature.name,
        active=feature.status == Status.ACTIVE,
        models=frozenset(feature.models_allowed),
        default_model=feature.default_model,
        max_output_tokens=feature.max_output_tokens,
        affordable_clamp=feature.affordable_clamp,
        terms_id=feature.terms_id,
        manifest_id=feature.manifest_id,
    )


def _manifest_info(row: FeatureManifest, in_force: str | None) -> ManifestInfo:
    return ManifestInfo(
        id=row.id,
        feature_id=row.feature_id,
        number=row.number,
        source=row.source,
        source_format=row.source_format,
        content=row.manifest,
        in_force=row.id == in_force,
        created_by=row.created_by,
        created_at=row.created_at,
    )


def _key_info(key: VirtualKey) -> VirtualKeyInfo:
    return VirtualKeyInfo(
        id=key.id,
        app_id=key.app_id,
        name=key.name,
        hint=key.hint,
        feature_key=key.feature.key if key.feature is not None else None,
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        created_at=key.created_at,
    )
