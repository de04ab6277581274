"""Provider credentials: added, changed, rotated, switched off and on."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NotRequired, TypedDict, Unpack

from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from apps.catalog import queries as catalog
from apps.core.errors import Conflict, NotFound
from apps.core.ids import new_id
from apps.developers.services import audit
from apps.features.services.inputs import clean_name
from apps.vault.checking import KeyCheck
from apps.vault.fields import EncryptedField
from apps.vault.models import OWNERLESS, OwnerClass, ProviderCredential, Status
from apps.vault.services import inputs

_SECRET: EncryptedField = ProviderCredential._meta.get_field("secret")


class Asked(TypedDict):
    """What a credential is made of. `owner_id` is the developer or end user, and empty for the platform and the
    operator. `apps_allowed` are ids of apps, `features_allowed` keys of their features; empty allows all."""

    owner_class: str
    provider: str
    label: str
    secret: str
    owner_id: NotRequired[str]
    base_url: NotRequired[str]
    models_allowed: NotRequired[Iterable[str]]
    apps_allowed: NotRequired[Iterable[str]]
    features_allowed: NotRequired[Iterable[str]]
    weight: NotRequired[int]
    priority: NotRequired[int]


@transaction.atomic
def add_credential(*, now: datetime, actor: str, **asked: Unpack[Asked]) -> str:
    """Store a provider's key, untried, and return the credential's id. Takes and raises what `draft` does."""
    return store(draft(now=now, **asked), now=now, actor=actor)


def draft(*, now: datetime, **asked: Unpack[Asked]) -> ProviderCredential:
    """Return a credential that is not stored yet, and could be.

    An address of one's own in `base_url` is vetted; only the platform and the operator may name the private endpoints
    of this instance. An end user's key is for the end user's app only. Raises BadRequest (address_not_allowed among
    others), NotFound (provider_not_found, owner_not_found, app_not_found, feature_not_found) and Conflict
    (provider_not_open).
    """
    owner_class, owner_id = asked["owner_class"], asked.get("owner_id", "")
    inputs.check_owner(owner_class, owner_id)
    _find_provider(asked["provider"], owner_class)
    apps = inputs.clean_apps(asked.get("apps_allowed", ()), owner_class, owner_id)
    features = inputs.clean_features(asked.get("features_allowed", ()), apps, owner_class, owner_id)
    return ProviderCredential(
        id=new_id("cred"),
        owner_class=owner_class,
        owner_id=owner_id,
        provider_id=asked["provider"],
        label=clean_name(asked["label"], param="label"),
        secret=inputs.clean_secret(asked["secret"]),
        hint=inputs.hint_of(asked["secret"]),
        base_url=inputs.clean_base_url(asked.get("base_url", ""), owner_class),
        models_allowed=inputs.clean_models(asked.get("models_allowed", ())),
        apps_allowed=apps,
        features_allowed=features,
        weight=inputs.clean_weight(asked.get("weight", 1)),
        priority=inputs.clean_priority(asked.get("priority", 100)),
        created_at=now,
    )


@transaction.atomic
def store(
    row: ProviderCredential, *, now: datetime, actor: str, check: KeyCheck | None = None, at_most: int | None = None
) -> str:
    """Store a draft and return its id.

    `check` is what a live call with its key came to. Raises Conflict (too_many_provider_keys) where the owner has
    `at_most` keys already.
    """
    if at_most is not None:
        check_count(row.owner_class, row.owner_id, at_most)
    for name, value in check_columns(check, now).items():
        setattr(row, name, value)
    row.save(force_insert=True)
    detail = {"provider": row.provider_id, "label": row.label, "hint": row.hint, "validation": row.validation}
    record_event("credential.add", row, detail, now=now, actor=actor)
    return row.id


@transaction.atomic
def update_credential(
    credential_id: str,
    *,
    now: datetime,
    actor: str,
    label: str | None = None,
    models_allowed: Iterable[str] | None = None,
    apps_allowed: Iterable[str] | None = None,
    features_allowed: Iterable[str] | None = None,
    weight: int | None = None,
    priority: int | None = None,
) -> None:
    """Change what is given (None leaves a value as it is); raises BadRequest and NotFound (credential_not_found).

    The address is not among them: sending a stored key to a new address would hand it over.
    """
    row = locked(credential_id)
    changes: dict[str, object] = {}
    if label is not None:
        changes["label"] = clean_name(label, param="label")
    if models_allowed is not None:
        changes["models_allowed"] = inputs.clean_models(models_allowed)
    if apps_allowed is not None or features_allowed is not None:
        apps = (
            row.apps_allowed if apps_allowed is None else inputs.clean_apps(apps_allowed, row.owner_class, row.owner_id)
        )
        keys = row.features_allowed if features_allowed is None else features_allowed
        changes["apps_allowed"] = apps
        changes["features_allowed"] = inputs.clean_features(keys, apps, row.owner_class, row.owner_id)
    if weight is not None:
        changes["weight"] = inputs.clean_weight(weight)
    if priority is not None:
        changes["priority"] = inputs.clean_priority(priority)
    _change(row, "credential.update", changes, now=now, actor=actor)


@transaction.atomic
def rotate_credential(
    credential_id: str,
    *,
    secret: str,
    now: datetime,
    actor: str,
    base_url: str | None = None,
    check: KeyCheck | None = None,
) -> str:
    """Put a new secret in the place of an active credential's and return the new credential's id.

    The old row is disabled and linked from the new one, in one transaction: there is always one to call with, and
    calls under way end with the key they began with. `check` is what a live call with the new key came to. Raises
    BadRequest, NotFound (credential_not_found) and Conflict (credential_disabled).
    """
    old = locked(credential_id)
    check_rotates(old)
    new = ProviderCredential(
        id=new_id("cred"),
        owner_class=old.owner_class,
        owner_id=old.owner_id,
        provider_id=old.provider_id,
        label=old.label,
        secret=inputs.clean_secret(secret),
        hint=inputs.hint_of(secret),
        base_url=old.base_url if base_url is None else inputs.clean_base_url(base_url, old.owner_class),
        models_allowed=old.models_allowed,
        apps_allowed=old.apps_allowed,
        features_allowed=old.features_allowed,
        weight=old.weight,
        priority=old.priority,
        replaces=old,
        created_at=now,
        **check_columns(check, now),
    )
    new.save(force_insert=True)
    old.status = Status.DISABLED.value
    old.save(update_fields=["status"])
    detail = {"replaces": old.id, "hint": new.hint, "validation": new.validation}
    record_event("credential.rotate", new, detail, now=now, actor=actor)
    return new.id


@transaction.atomic
def disable_credential(credential_id: str, *, now: datetime, actor: str) -> None:
    """Call no provider with this key from now on; raises NotFound (credential_not_found)."""
    row = locked(credential_id)
    if row.status == Status.ACTIVE:
        _change(row, "credential.disable", {"status": Status.DISABLED.value}, now=now, actor=actor)


@transaction.atomic
def enable_credential(credential_id: str, *, now: datetime, actor: str) -> None:
    """Use this key again.

    Raises NotFound (credential_not_found) and Conflict: credential_replaced when a rotation has replaced it,
    credential_deleted.
    """
    row = locked(credential_id)
    if row.status == Status.DELETED:
        raise Conflict(_("A deleted credential has no key any more: add a new one."), code="credential_deleted")
    if ProviderCredential.objects.filter(replaces=row, status=Status.ACTIVE).exists():
        raise Conflict(_("A newer key has replaced this one: disable that first."), code="credential_replaced")
    _change(row, "credential.enable", {"status": Status.ACTIVE.value}, now=now, actor=actor)


@transaction.atomic
def delete_credential(credential_id: str, *, now: datetime, actor: str) -> None:
    """Erase a key for good, with those that it replaced; the rows stay for the history. Again changes nothing.

    Raises NotFound (credential_not_found).
    """
    row: ProviderCredential | None = locked(credential_id)
    while row is not None:
        if row.status != Status.DELETED:
            before = row.status
            row.status = Status.DELETED.value
            _SECRET.erase(row)
            row.save(update_fields=["status", "secret"])
            record_event("credential.delete", row, {"before": {"status": before}}, now=now, actor=actor)
        row = locked(row.replaces_id) if row.replaces_id is not None else None


def check_rotates(row: ProviderCredential) -> None:
    """Raise Conflict (credential_disabled) unless a credential is active, and so can be replaced."""
    if row.status != Status.ACTIVE:
        raise Conflict(_("A disabled credential is not rotated: add a new one."), code="credential_disabled")


def _find_provider(provider: str, owner_class: str) -> None:
    found = catalog.provider(provider)
    if found is None:
        raise NotFound(_("There is no such provider."), code="provider_not_found", param="provider")
    if owner_class not in OWNERLESS and not (found.active and found.byok_allowed):
        raise Conflict(_("This provider takes no keys of one's own here."), code="provider_not_open", param="provider")


@transaction.atomic
def check_count(owner_class: str, owner_id: str, at_most: int) -> None:
    """Raise Conflict (too_many_provider_keys) where the owner has `at_most` keys, deleted and replaced ones apart.

    Within a transaction, two that count at once do so one after the other.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"provider_keys:{owner_id}"])
    newer = ProviderCredential.objects.filter(replaces=OuterRef("pk"))
    rows = ProviderCredential.objects.filter(~Exists(newer), owner_class=owner_class, owner_id=owner_id)
    if rows.exclude(status=Status.DELETED).count() >= at_most:
        raise Conflict(
            _("There are %(at_most)s keys already: delete one first.") % {"at_most": at_most},
            code="too_many_provider_keys",
        )


def check_columns(check: KeyCheck | None, now: datetime) -> dict[str, Any]:
    """Return the columns that say what a check came to."""
    if check is None:
        return {}
    return {
        "validation": check.result.value,
        "validation_status": check.status,
        "validation_ms": check.ms,
        "validated_at": now,
    }


def locked(credential_id: str) -> ProviderCredential:
    """Return a credential locked until the transaction ends. Raises NotFound (credential_not_found)."""
    row = ProviderCredential.objects.select_for_update().filter(pk=credential_id).first()
    if row is None:
        raise NotFound(_("There is no such credential."), code="credential_not_found", param="credential_id")
    return row


def _change(row: ProviderCredential, action: str, changes: dict[str, object], *, now: datetime, actor: str) -> None:
    before = {name: getattr(row, name) for name in changes}
    if before == changes:
        return
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=list(changes))
    record_event(action, row, {"before": before, "after": changes}, now=now, actor=actor)


def record_event(
    action: str, row: ProviderCredential, detail: Mapping[str, object], *, now: datetime, actor: str
) -> None:
    """Append to the audit trail what happened to a credential, in the transaction of the change."""
    audit.record(
        action,
        "credential",
        row.id,
        actor=actor,
        now=now,
        developer_id=_developer_of(row),
        detail={"owner_class": row.owner_class, "owner_id": row.owner_id, **detail},
    )


def _developer_of(row: ProviderCredential) -> str | None:
    return row.owner_id if row.owner_class == OwnerClass.DEVELOPER else None
