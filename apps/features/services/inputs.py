"""What callers typed, made fit to store."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from apps.core.errors import BadRequest

MAX_EXTERNAL_ID = 256
MAX_ORIGINS = 100
MAX_MODELS = 200
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?\Z")
_PUBLIC_ID = re.compile(r"app_pub_[A-Za-z0-9_-]{4,48}\Z")
# The audit trail keeps names for good and refuses what looks like a secret.
_TOKEN = re.compile(r"mf_(?:sess|key|dev|app|brg|local)_|\bsk-[\w-]{16}|[Bb]earer\s")
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\Z|\[[0-9a-f:.]+\]\Z")


def storable(text: str) -> bool:
    """Tell whether PostgreSQL takes `text`: no NUL, no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def clean_name(value: str, *, param: str = "name") -> str:
    """Return a name of 1 to 200 printable characters; raises BadRequest."""
    name = value.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise BadRequest(_("%(param)s takes 1 to 200 printable characters.") % {"param": param}, param=param)
    if _TOKEN.search(name):
        raise BadRequest(_("%(param)s looks like a secret, and is not kept as one.") % {"param": param}, param=param)
    return name


def clean_slug(value: str, *, param: str = "key") -> str:
    """Return a key such as `chat-assist`; raises BadRequest."""
    if not _SLUG.match(value):
        raise BadRequest(
            _("%(param)s takes up to 64 of a-z, 0-9, - and _, ending in a letter or digit.") % {"param": param},
            param=param,
        )
    return value


def clean_public_id(value: str) -> str:
    """Return a public app id such as `app_pub_my-app`; raises BadRequest."""
    if not _PUBLIC_ID.match(value):
        raise BadRequest(_("public_id is app_pub_ and 4 to 48 of A-Z, a-z, 0-9, - and _."), param="public_id")
    return value


def clean_origins(values: Iterable[str]) -> list[str]:
    """Return origins as browsers send them, without duplicates; raises BadRequest (`*` and `null` are refused)."""
    origins = list(dict.fromkeys(_clean_origin(value) for value in values))
    if len(origins) > MAX_ORIGINS:
        raise BadRequest(
            _("An app allows at most %(max_origins)s origins.") % {"max_origins": MAX_ORIGINS}, param="allowed_origins"
        )
    return origins


def _clean_origin(value: str) -> str:
    origin = value.strip().lower().rstrip("/")
    try:
        parts = urlsplit(origin)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    host = parts.netloc.removesuffix(f":{port}")
    # Extensions and desktop shells have schemes of their own, so any scheme with a host is one.
    well_formed = re.fullmatch(r"[a-z][a-z0-9+.-]*", parts.scheme) and _HOST.match(host)
    if not well_formed or parts.path or parts.query or parts.fragment or len(origin) > 300:
        raise BadRequest(
            _("An allowed origin is a scheme and host such as https://example.com, without a path."),
            param="allowed_origins",
        )
    default_port = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" if port in {None, default_port} else f"{parts.scheme}://{host}:{port}"


def clean_models(models: Iterable[str], default_model: str) -> list[str]:
    """Return the allowed models without duplicates; raises BadRequest when the default is not among them."""
    names = list(dict.fromkeys(model.strip() for model in models))
    if len(names) > MAX_MODELS or any(not _is_model(name) for name in names):
        raise BadRequest(
            _("models takes up to %(max_models)s model names.") % {"max_models": MAX_MODELS}, param="models"
        )
    if default_model and (not _is_model(default_model) or (names and default_model not in names)):
        raise BadRequest(_("default_model must be one of the allowed models."), param="default_model")
    return names


def _is_model(name: str) -> bool:
    return 0 < len(name) <= 200 and name.isprintable() and " " not in name


def clean_max_output_tokens(value: int) -> int:
    """Return the ceiling of an answer in tokens; raises BadRequest."""
    if not 1 <= value <= 10_000_000:
        raise BadRequest(_("max_output_tokens takes 1 to 10,000,000."), param="max_output_tokens")
    return value


def clean_external_id(value: str) -> str:
    """Return the app's own id of a user, or a device id, as it is; raises BadRequest."""
    if not value or len(value) > MAX_EXTERNAL_ID or not storable(value):
        raise BadRequest(
            _("A user id takes 1 to %(max_external_id)s characters.") % {"max_external_id": MAX_EXTERNAL_ID},
            param="user_id",
        )
    return value
