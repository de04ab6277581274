"""Whether a provider takes a key: one cheap real call, which costs nobody anything."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from apps.core.fetch import Fetched, FetchFailed, fetch
from apps.core.outbound import AddressNotAllowed
from apps.vault.models import Validation
from apps.vault.secrets import Secret, auth_headers

# Below the patience of whoever waits for the answer of the form.
SECONDS = 5.0
# Hosts whose list of models is open to everybody: there it proves nothing, and this does.
_PATHS_OF_HOSTS = {"openrouter.ai": "/key", "ai-gateway.vercel.sh": "/credits"}
_VERSION = re.compile(r"/v\d+$")
_GEMINI_VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?(?:(?:/.*)?/publishers/[^/]+)?$")
_AZURE_VERSION = "2024-10-21"
_HEADERS = {"anthropic": {"anthropic-version": "2023-06-01"}}
_OF_STATUS = {
    200: Validation.OK,
    401: Validation.AUTH_FAILED,
    403: Validation.RESTRICTED,  # such as OpenAI's keys that may chat and not list
    404: Validation.NOT_SUPPORTED,
    405: Validation.NOT_SUPPORTED,
    501: Validation.NOT_SUPPORTED,
}


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """What a check came to: a Validation, the answer's HTTP status and milliseconds where there was an answer."""

    result: Validation
    status: int | None = None
    ms: int | None = None


def check_url_of(adapter: str, base_url: str) -> str | None:
    """Return the URL whose GET proves a key at `base_url`, or None where the adapter has none.

    The same as the adapters' own `check_url` (apps/gateway/providers, a room above this one; a test compares them),
    but for hosts that list their models to everybody.
    """
    base = base_url.rstrip("/")
    if path := _PATHS_OF_HOSTS.get(urlsplit(base).hostname or ""):
        return base + path
    if adapter == "openai_compatible":
        return f"{base}/models"
    if adapter == "anthropic":
        return f"{base if _VERSION.search(base) else f'{base}/v1'}/models"
    if adapter == "gemini":
        return f"{base if _GEMINI_VERSION.search(base) else f'{base}/v1beta'}/models"
    return _azure_url(base_url) if adapter == "azure_openai" else None


def _azure_url(base_url: str) -> str:
    parts = urlsplit(base_url)
    base = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    query = f"?{parts.query}" if parts.query else ""
    if base.endswith("/v1"):
        return f"{base}/models{query}"
    return f"{base.removesuffix('/openai')}/openai/models{query or f'?api-version={_AZURE_VERSION}'}"


def check_key(*, adapter: str, base_url: str, secret: Secret, operators_url: bool) -> KeyCheck:
    """Call the provider with a key and return what it says; no database is needed, up to SECONDS pass.

    `operators_url` tells that the operator entered `base_url`, and so may have named a private endpoint.
    """
    url = check_url_of(adapter, base_url)
    if url is None:
        return KeyCheck(Validation.NOT_SUPPORTED)
    headers = dict(auth_headers(adapter, secret).items()) | _HEADERS.get(adapter, {})
    try:
        answer = fetch(
            url, headers=headers, seconds=SECONDS, most=10_000, allowed_private=None if operators_url else ()
        )
    except AddressNotAllowed:
        return KeyCheck(Validation.REFUSED_ADDRESS)
    except FetchFailed:
        return KeyCheck(Validation.UNREACHABLE)
    return KeyCheck(_meaning(answer), answer.status, answer.ms)


def _meaning(answer: Fetched) -> Validation:
    if answer.status == 400 and b"API_KEY_INVALID" in answer.body:  # Gemini's way to say 401
        return Validation.AUTH_FAILED
    return _OF_STATUS.get(answer.status, Validation.UNCLEAR)
