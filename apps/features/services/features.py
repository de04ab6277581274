"""Features of an app: made, changed, switched off and on."""

from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.core.errors import Conflict, NotFound
from apps.core.ids import new_id
from apps.developers.services import audit
from apps.features.models import App, AppFeature, Status
from apps.features.services import inputs
from apps.features.services.manifests import refuse_what_manifest_sets
from apps.features.services.terms import TermsInput, insert_terms


def insert_feature(
    *,
    app_id: str,
    key: str,
    name: str,
    models: Iterable[str],
    default_model: str,
    max_output_tokens: int,
    affordable_clamp: bool,
    terms_id: int | None,
    now: datetime,
) -> AppFeature:
    """Write a feature, in the caller's transaction; raises BadRequest and Conflict (feature_key_taken)."""
    feature = AppFeature(
        id=new_id("feat"),
        app_id=app_id,
        key=inputs.clean_slug(key),
        name=inputs.clean_name(name),
        models_allowed=inputs.clean_models(models, default_model),
        default_model=default_model,
        max_output_tokens=inputs.clean_max_output_tokens(max_output_tokens),
        affordable_clamp=affordable_clamp,
        terms_id=terms_id,
        created_at=now,
    )
    try:
        with transaction.atomic():
            feature.save(force_insert=True)
    except IntegrityError as error:
        raise Conflict(_("This app has a feature with this key."), code="feature_key_taken", param="key") from error
    return feature


@transaction.atomic
def create_feature(
    *,
    app_id: str,
    key: str,
    name: str,
    now: datetime,
    actor: str,
    models: Iterable[str] = (),
    default_model: str = "",
    max_output_tokens: int = 4096,
    affordable_clamp: bool = True,
    terms: TermsInput | None = None,
) -> str:
    """Create a feature and return its id; without `terms` it follows the app's.

    Raises BadRequest, NotFound (app_not_found) and Conflict (feature_key_taken).
    """
    if not App.objects.filter(pk=app_id).exists():
        raise NotFound(_("There is no such app."), code="app_not_found", param="app_id")
    feature = insert_feature(
        app_id=app_id,
        key=key,
        name=name,
        models=models,
        default_model=default_model,
        max_output_tokens=max_output_tokens,
        affordable_clamp=affordable_clamp,
        terms_id=insert_terms(terms, now=now).pk if terms is not None else None,
        now=now,
    )
    _record("feature.create", feature, {"key": feature.key}, now=now, actor=actor)
    return feature.id


@transaction.atomic
def update_feature(
    *,
    feature_id: str,
    now: datetime,
    actor: str,
    name: str | None = None,
    models: Iterable[str] | None = None,
    default_model: str | None = None,
    max_output_tokens: int | None = None,
    affordable_clamp: bool | None = None,
) -> None:
    """Change what is given (None leaves a value as it is).

    Raises BadRequest, NotFound (feature_not_found) and Conflict (set_by_manifest).
    """
    feature = _locked(feature_id)
    changes: dict[str, object] = {}
    if name is not None:
        changes["name"] = inputs.clean_name(name)
    if models is not None or default_model is not None:
        default = feature.default_model if default_model is None else default_model
        changes["models_allowed"] = inputs.clean_models(feature.models_allowed if models is None else models, default)
        changes["default_model"] = default
    if max_output_tokens is not None:
        changes["max_output_tokens"] = inputs.clean_max_output_tokens(max_output_tokens)
    if affordable_clamp is not None:
        changes["affordable_clamp"] = affordable_clamp
    _change(feature, "feature.update", changes, now=now, actor=actor)


@transaction.atomic
def set_feature_terms(*, feature_id: str, terms: TermsInput | None, now: datetime, actor: str) -> int | None:
    """Write new terms, point the feature to them and return their id; None makes it follow its app again.

    Raises BadRequest (invalid_terms), NotFound (feature_not_found) and Conflict (set_by_manifest).
    """
    feature = _locked(feature_id)
    terms_id = insert_terms(terms, now=now).pk if terms is not None else None
    _change(feature, "feature.set_terms", {"terms_id": terms_id}, now=now, actor=actor)
    return terms_id


@transaction.atomic
def disable_feature(*, feature_id: str, now: datetime, actor: str) -> None:
    """Refuse every request to this feature from now on; raises NotFound (feature_not_found)."""
    _change(_locked(feature_id), "feature.disable", {"status": Status.DISABLED.value}, now=now, actor=actor)


@transaction.atomic
def enable_feature(*, feature_id: str, now: datetime, actor: str) -> None:
    """Serve this feature again; raises NotFound (feature_not_found)."""
    _change(_locked(feature_id), "feature.enable", {"status": Status.ACTIVE.value}, now=now, actor=actor)


def _locked(feature_id: str) -> AppFeature:
    rows = AppFeature.objects.select_for_update(of=("self",)).select_related("app", "manifest")
    feature = rows.filter(pk=feature_id).first()
    if feature is None:
        raise NotFound(_("There is no such feature."), code="feature_not_found", param="feature_id")
    return feature


def _change(feature: AppFeature, action: str, changes: dict[str, object], *, now: datetime, actor: str) -> None:
    before = {name: getattr(feature, name) for name in changes}
    if before == changes:
        return
    refuse_what_manifest_sets(feature, changes)
    for name, value in changes.items():
        setattr(feature, name, value)
    feature.save(update_fields=list(changes))
    _record(action, feature, {"before": before, "after": changes}, now=now, actor=actor)


def _record(action: str, feature: AppFeature, detail: dict[str, object], *, now: datetime, actor: str) -> None:
    audit.record(
        action=action,
        subject_type="feature",
        subject_id=feature.id,
        actor=actor,
        now=now,
        developer_id=feature.app.developer_id,
        detail=detail,
    )
