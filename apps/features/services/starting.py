"""An app with all that its first call takes: the app, and a feature that asks a model something."""

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, NotFound
from apps.features.library import templates
from apps.features.principals import DEFAULT_FEATURE
from apps.features.queries import app_by_id
from apps.features.services.apps import create_app
from apps.features.services.features import create_feature
from apps.features.services.manifests import put_manifest
from apps.features.services.terms import standard_terms


@transaction.atomic
def start_app(
    *,
    developer_id: str,
    name: str,
    allowed_origins: Iterable[str],
    template: str,
    default_model: str,
    now: datetime,
    actor: str,
) -> tuple[str, str]:
    """Create an app on the standard terms with a feature from a template; return (app id, feature key).

    Without a template it is the feature `default`, for conversations. Raises what `create_app` and
    `create_feature_from_template` raise.
    """
    app_id = create_app(
        developer_id=developer_id,
        name=name,
        allowed_origins=allowed_origins,
        terms=standard_terms(),
        default_model=default_model,
        now=now,
        actor=actor,
    )
    if not template:
        return app_id, DEFAULT_FEATURE
    key = template.rpartition(".")[0]
    create_feature_from_template(
        app_id=app_id, key=key, name="", template=template, default_model=default_model, now=now, actor=actor
    )
    return app_id, key


@transaction.atomic
def create_feature_from_template(
    *, app_id: str, key: str, name: str, template: str, default_model: str, now: datetime, actor: str
) -> str:
    """Create a feature with a template's manifest in force, without one where `template` is empty; return its id.

    Without a `name` it is called as the template describes itself. Raises BadRequest (invalid_template; what
    `create_feature` raises), NotFound (app_not_found), Conflict (feature_key_taken) and Forbidden
    (plan_upgrade_required).
    """
    if app_by_id(app_id) is None:
        raise NotFound(_("There is no such app."), code="app_not_found", param="app_id")
    found = templates().get(template)
    if template and found is None:
        raise BadRequest(_("There is no such template."), code="invalid_template", param="template")
    feature_id = create_feature(
        app_id=app_id,
        key=key,
        name=name or (found.title if found is not None else key),
        default_model=default_model,
        now=now,
        actor=actor,
    )
    if found is not None:
        put_manifest(
            feature_id=feature_id, source=found.source, source_format="yaml", now=now, actor=actor, may_price=False
        )
    return feature_id
