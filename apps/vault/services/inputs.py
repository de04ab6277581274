"""What is asked of a credential, made fit to store."""

from collections.abc import Iterable

from django.utils.translation import gettext as _

from apps.core.errors import BadRequest, NotFound
from apps.core.outbound import AddressNotAllowed, check_url, names_private_endpoint
from apps.developers import queries as developers
from apps.features import queries as features
from apps.features.services.inputs import clean_slug
from apps.vault.models import OWNERLESS, OwnerClass

MAX_SCOPE = 200


def check_owner(owner_class: str, owner_id: str) -> None:
    """Raise BadRequest or NotFound (owner_not_found) unless there is such an owner."""
    if owner_class not in OwnerClass.values:
        raise BadRequest("owner_class is platform, operator, developer or end_user.", param="owner_class")
    if owner_class in OWNERLESS:
        if owner_id:
            raise BadRequest(
                _("A credential of the %(owner_class)s names no owner.") % {"owner_class": owner_class},
                param="owner_id",
            )
        return
    find = developers.developer if owner_class == OwnerClass.DEVELOPER else features.end_user_by_id
    if find(owner_id) is None:
        raise NotFound(_("There is no such owner."), code="owner_not_found", param="owner_id")


def clean_secret(value: str) -> str:
    """Return a provider's key; raises BadRequest."""
    # It goes into a header: a line break in it would start another one.
    if not 1 <= len(value) <= 4096 or not value.isascii() or not value.isprintable() or " " in value:
        raise BadRequest(_("A provider's key is 1 to 4096 visible ASCII characters."), param="secret")
    return value


def hint_of(secret: str) -> str:
    """Return what may be shown of a key."""
    # Four characters of a short key would be too much of it.
    return secret[-4:] if len(secret) >= 16 else ""


def clean_base_url(value: str, owner_class: str) -> str:
    """Return an address without a slash at its end; raises BadRequest (address_not_allowed)."""
    url = value.strip().rstrip("/")
    if not url:
        return ""
    if len(url) > 500:
        raise BadRequest(_("base_url takes up to 500 characters."), param="base_url")
    try:
        if owner_class in OWNERLESS:
            check_url(url)
        else:
            check_url(url, allowed_private=())
            if names_private_endpoint(url):  # a name that looks public, which calls would reach past the guard
                raise AddressNotAllowed(_("This address is the operator's own."))
    except AddressNotAllowed as error:
        error.param = "base_url"
        raise
    return url


def clean_models(values: Iterable[str]) -> list[str]:
    """Return names of models without duplicates; raises BadRequest."""
    names = list(dict.fromkeys(value.strip() for value in values))
    if len(names) > MAX_SCOPE or any(not 0 < len(name) <= 200 or not name.isprintable() for name in names):
        raise BadRequest(
            _("models_allowed takes up to %(max_scope)s model names.") % {"max_scope": MAX_SCOPE},
            param="models_allowed",
        )
    return names


def clean_apps(values: Iterable[str], owner_class: str, owner_id: str) -> list[str]:
    """Return ids of apps without duplicates: an end user's app always, a developer's own, anybody's otherwise.

    Raises BadRequest, and NotFound (app_not_found) for what is not the owner's.
    """
    asked = list(dict.fromkeys(values))
    if len(asked) > MAX_SCOPE:
        raise BadRequest(
            _("apps_allowed takes up to %(max_scope)s apps.") % {"max_scope": MAX_SCOPE}, param="apps_allowed"
        )
    if owner_class == OwnerClass.END_USER:
        user = features.end_user_by_id(owner_id)
        own = [user.app_id] if user is not None else []
        if not set(asked) <= set(own):
            raise _no_app()
        return own
    for app_id in asked:
        app = features.app_by_id(app_id)
        if app is None or (owner_class == OwnerClass.DEVELOPER and app.developer_id != owner_id):
            raise _no_app()
    return asked


def clean_features(values: Iterable[str], apps: Iterable[str], owner_class: str, owner_id: str) -> list[str]:
    """Return keys of features without duplicates.

    Raises BadRequest, and NotFound (feature_not_found) for a key that none of the apps has: of `apps`, or of the
    developer's where there are none. The platform's and the operator's keys, for all apps, may name any.
    """
    keys = [clean_slug(value, param="features_allowed") for value in dict.fromkeys(values)]
    if len(keys) > MAX_SCOPE:
        raise BadRequest(
            _("features_allowed takes up to %(max_scope)s keys.") % {"max_scope": MAX_SCOPE}, param="features_allowed"
        )
    app_ids = list(apps)
    if not app_ids and owner_class == OwnerClass.DEVELOPER:
        app_ids = [app.id for app in features.apps_of_developer(owner_id)]
    if keys and (app_ids or owner_class not in OWNERLESS):
        known = {feature.key for app_id in app_ids for feature in features.features_of_app(app_id)}
        if not set(keys) <= known:
            raise NotFound(_("There is no such feature."), code="feature_not_found", param="features_allowed")
    return keys


def clean_weight(value: int) -> int:
    """Return a weight; raises BadRequest."""
    if not 1 <= value <= 1000:
        raise BadRequest(_("weight takes 1 to 1000."), param="weight")
    return value


def clean_priority(value: int) -> int:
    """Return a priority; raises BadRequest."""
    if not -1000 <= value <= 1000:
        raise BadRequest(_("priority takes -1000 to 1000."), param="priority")
    return value


def _no_app() -> NotFound:
    return NotFound(_("There is no such app."), code="app_not_found", param="apps_allowed")
