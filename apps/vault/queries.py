"""What other rooms may have of the vault: ready headers for calls upstream, and the secrets of apps to verify with."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet

from apps.core.hashing import keyed_hash
from apps.core.outbound import names_private_endpoint
from apps.features.services.inputs import storable
from apps.vault.envelope import VaultProblem
from apps.vault.models import (
    OWNERLESS,
    AppSecret,
    CredentialHealth,
    FeeConsent,
    OwnerClass,
    ProviderCredential,
    Status,
    Validation,
)
from apps.vault.secrets import AuthHeaders, auth_headers

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Credential:
    """An active key for a provider, ready to call with.

    `owner_class` is platform, operator, developer or end_user; an empty `base_url` is the provider's. Empty
    `models_allowed`, `apps_allowed` (ids) and `features_allowed` (keys) allow every one; an end user's key is always
    limited to the end user's app. Lower `priority` is tried first; `weight` balances within one priority. `headers`
    hold the key the way the provider's adapter takes it.
    """

    id: str
    owner_class: str
    owner_id: str
    provider: str
    base_url: str
    models_allowed: frozenset[str]
    weight: int
    priority: int
    headers: AuthHeaders
    apps_allowed: frozenset[str] = frozenset()
    features_allowed: frozenset[str] = frozenset()


def load_shared_credentials() -> tuple[Credential, ...]:
    """Return the active credentials of the platform and the operator, decrypted, by priority.

    One that does not open is left out and logged as an error: it serves nobody, and takes nobody else down.
    """
    return _load(Q(owner_class__in=OWNERLESS))


def credentials_of(*, developer_id: str | None, end_user_id: str | None) -> tuple[Credential, ...]:
    """Return the active credentials of a developer and of an end user (None: of nobody), by priority, in one query."""
    owners = Q()
    if developer_id:
        owners |= Q(owner_class=OwnerClass.DEVELOPER, owner_id=developer_id)
    if end_user_id:
        owners |= Q(owner_class=OwnerClass.END_USER, owner_id=end_user_id)
    return _load(owners) if owners else ()


def _load(owners: Q) -> tuple[Credential, ...]:
    loaded = []
    rows = ProviderCredential.objects.filter(owners, status=Status.ACTIVE).annotate(adapter=F("provider__adapter"))
    for row in rows.order_by("priority", "id"):
        try:
            _refuse_private(row)
            headers = auth_headers(row.adapter, row.secret)
        except VaultProblem as problem:
            logger.error("credential left out", extra={"credential_id": row.id, "reason": str(problem)})
            continue
        loaded.append(
            Credential(
                id=row.id,
                owner_class=row.owner_class,
                owner_id=row.owner_id,
                provider=row.provider_id,
                base_url=row.base_url,
                models_allowed=frozenset(row.models_allowed),
                weight=row.weight,
                priority=row.priority,
                headers=headers,
                apps_allowed=frozenset(row.apps_allowed),
                features_allowed=frozenset(row.features_allowed),
            )
        )
    return tuple(loaded)


def _refuse_private(row: ProviderCredential) -> None:
    """Raise VaultProblem where an address that somebody else entered became one of the operator's exempted ones."""
    if row.base_url and row.owner_class not in OWNERLESS and names_private_endpoint(row.base_url):
        raise VaultProblem("its address is now a private endpoint of the operator")


@dataclass(frozen=True, slots=True)
class CredentialInfo:
    """A credential as its owner and the doors may see it: never the key, only its last four characters (`hint`)."""

    id: str
    owner_class: str
    owner_id: str
    provider: str
    label: str
    hint: str
    base_url: str
    models_allowed: tuple[str, ...]
    apps_allowed: tuple[str, ...]
    features_allowed: tuple[str, ...]
    weight: int
    priority: int
    status: str
    replaces: str | None
    validation: str
    validation_status: int | None
    validation_ms: int | None
    validated_at: datetime | None
    failing_since: datetime | None
    last_used_at: datetime | None
    created_at: datetime


def credential_by_id(credential_id: str) -> CredentialInfo | None:
    """Return a credential that is not deleted."""
    if not storable(credential_id):
        return None
    row = _shown().filter(pk=credential_id).first()
    return None if row is None else _info(row)


def credentials_owned_by(
    owner_class: str, owner_id: str, *, before: str | None = None, limit: int
) -> tuple[CredentialInfo, ...]:
    """Return at most `limit` credentials of an owner, newest first, older than `before`.

    Without deleted ones, and without those that a rotation replaced.
    """
    newer = ProviderCredential.objects.filter(replaces=OuterRef("pk"))
    rows = _shown().filter(~Exists(newer), owner_class=owner_class, owner_id=owner_id).order_by("-id")
    if before is not None:
        rows = rows.filter(pk__lt=before)
    return tuple(_info(row) for row in rows[:limit])


def consents_of(end_user_id: str) -> dict[str, int]:
    """Return the highest fee in nano-USD that an end user acknowledged, by mode (byok, local).

    A mode without an entry was never acknowledged, not even at no fee.
    """
    rows = FeeConsent.objects.filter(end_user_id=end_user_id).values("mode").annotate(fee=Max("fee_nano"))
    return {row["mode"]: row["fee"] for row in rows}


def _shown() -> QuerySet[ProviderCredential]:
    return ProviderCredential.objects.exclude(status=Status.DELETED).defer("secret")


def _info(row: ProviderCredential) -> CredentialInfo:
    return CredentialInfo(
        id=row.id,
        owner_class=row.owner_class,
        owner_id=row.owner_id,
        provider=row.provider_id,
        label=row.label,
        hint=row.hint,
        base_url=row.base_url,
        models_allowed=tuple(row.models_allowed),
        apps_allowed=tuple(row.apps_allowed),
        features_allowed=tuple(row.features_allowed),
        weight=row.weight,
        priority=row.priority,
        status=row.status,
        replaces=row.replaces_id,
        validation=row.validation,
        validation_status=row.validation_status,
        validation_ms=row.validation_ms,
        validated_at=row.validated_at,
        failing_since=row.failing_since,
        last_used_at=row.last_used_at,
        created_at=row.created_at,
    )


def app_id_of_secret(secret: str) -> str | None:
    """Return the id of the app that this secret, not revoked, belongs to."""
    if not secret.isascii():
        return None
    rows = AppSecret.objects.filter(secret_hash=keyed_hash("app_secret", secret), revoked_at__isnull=True)
    return rows.values_list("app_id", flat=True).first()


def apps_with_secrets(app_ids: Collection[str]) -> frozenset[str]:
    """Return those of these apps that have a secret which is not revoked."""
    rows = AppSecret.objects.filter(app_id__in=app_ids, revoked_at__isnull=True)
    return frozenset(rows.values_list("app_id", flat=True))


@dataclass(frozen=True, slots=True)
class AppSecretInfo:
    """An app secret as its developer may see it; `hint` is its last four characters."""

    id: str
    app_id: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None


def secrets_of_app(app_id: str, *, limit: int) -> tuple[AppSecretInfo, ...]:
    """Return at most `limit` of an app's secrets, revoked ones included, newest first."""
    rows = AppSecret.objects.filter(app_id=app_id).defer("secret").order_by("-created_at", "-id")
    return tuple(AppSecretInfo(row.id, row.app_id, row.hint, row.created_at, row.revoked_at) for row in rows[:limit])


def signing_secrets(app_id: str) -> tuple[str, ...]:
    """Return the app's secrets that are not revoked, newest first, to verify user tokens with.

    Raises VaultProblem when one does not open.
    """
    rows = AppSecret.objects.filter(app_id=app_id, revoked_at__isnull=True).order_by("-created_at", "-id")
    return tuple(row.secret.reveal() for row in rows)


@dataclass(frozen=True, slots=True)
class HealthInfo:
    """What the regular checks of a shared key have come to; `latency_ms` None where there was no answer.

    `down`: passed over until a check succeeds. `checked_at` is None for a key that was never checked, or cannot be.
    """

    credential_id: str
    provider: str
    owner_class: str
    label: str
    hint: str
    down: bool
    consecutive_failures: int
    result: str
    http_status: int | None
    latency_ms: int | None
    checked_at: datetime | None
    changed_at: datetime | None


def down_credentials() -> frozenset[str]:
    """Return the ids of the keys that the regular checks have found unusable."""
    return frozenset(CredentialHealth.objects.filter(down=True).values_list("credential_id", flat=True))


def shared_health() -> tuple[HealthInfo, ...]:
    """Return the platform's and the operator's active keys with what their checks came to, by provider."""
    rows = ProviderCredential.objects.filter(status=Status.ACTIVE, owner_class__in=OWNERLESS)
    found = {row.credential_id: row for row in CredentialHealth.objects.filter(credential__in=rows)}
    infos = []
    for row in rows.order_by("provider_id", "priority", "id"):
        health = found.get(row.id)
        infos.append(
            HealthInfo(
                credential_id=row.id,
                provider=row.provider_id,
                owner_class=row.owner_class,
                label=row.label,
                hint=row.hint,
                down=health is not None and health.down,
                consecutive_failures=health.consecutive_failures if health else 0,
                result=health.result if health else Validation.NEVER.value,
                http_status=health.http_status if health else None,
                latency_ms=health.latency_ms if health else None,
                checked_at=health.checked_at if health else None,
                changed_at=health.changed_at if health else None,
            )
        )
    return tuple(infos)
