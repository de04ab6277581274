"""What every JSON resource of /v1 has in common: request id, envelope, CORS, who calls."""

from typing import Any

from django.http import HttpRequest
from django.utils.cache import patch_vary_headers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.core.clock import now
from apps.core.errors import BadRequest, Forbidden, NotFound, Unauthorized
from apps.core.ids import new_id
from apps.developers.services.tokens import DeveloperIdentity, authenticate_token
from apps.features.queries import AppInfo, Principal, app_by_id, app_by_public_id, authenticate
from apps.gateway.api import policy
from apps.gateway.http import cors_headers

MAX_TOKEN = 512
# Of an Idempotency-Key, in characters.
MAX_KEY = 255


class AlwaysJson(BaseContentNegotiation):
    """Answer in JSON, whatever the client says it accepts."""

    def select_parser(self, request: Request, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class ApiView(APIView):
    """A JSON resource: its answers carry the request id and are never cached; allowed origins may read them."""

    content_negotiation_class = AlwaysJson
    metadata_class = None
    # Preflights never get here: apps/gateway/app.py answers them.
    http_method_names = ["get", "post", "delete", "head"]
    default_response_headers: dict[str, str] = {}

    def setup(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().setup(request, *args, **kwargs)
        self.request_id = new_id("req")
        self._readable_origin: str | None = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        origin = origin_of(request)
        if origin is not None and origin in policy.current(now=now()).origins:
            self._readable_origin = origin

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["x-request-id"] = self.request_id
        response["cache-control"] = "no-store"
        patch_vary_headers(response, ["Origin"])
        if self._readable_origin is not None:
            for name, value in cors_headers(self._readable_origin.encode("latin-1")):
                if name != b"vary":
                    response[name.decode()] = value.decode()
        return response


class UnknownAddress(ApiView):
    """Whatever else is asked of /v1."""

    def http_method_not_allowed(self, request: HttpRequest | Request, *args: Any, **kwargs: Any) -> Any:
        raise NotFound(f"There is no {request.method} {request.path} here.", code="unknown_url")


def origin_of(request: Request) -> str | None:
    """Return the Origin header of a request."""
    origin: str | None = request.headers.get("origin")
    return origin


def check_origin(request: Request, allowed: tuple[str, ...]) -> None:
    """Raise Forbidden (origin_not_allowed) for a page of an origin that is neither the app's nor our own."""
    origin = origin_of(request)
    if origin is None or origin in allowed:
        return
    host = request.headers.get("host")
    if host is None or origin not in (f"http://{host}", f"https://{host}"):
        raise Forbidden("This origin is not allowed for the app.", code="origin_not_allowed")


def bearer_of(request: Request, what: str) -> str:
    """Return the bearer token of a request; `what` names the kind that is wanted. Raises Unauthorized."""
    value = request.headers.get("authorization")
    if value is None:
        raise Unauthorized(f"Send {what} as 'Authorization: Bearer …'.", code="missing_token")
    scheme, _, token = value.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN or not token.isascii():
        raise Unauthorized("The Authorization header takes 'Bearer' and a token.", code="invalid_token")
    return token


def principal_of(request: Request) -> Principal:
    """Return who a session token or virtual key stands for.

    Raises what `authenticate` raises, and Forbidden (origin_not_allowed).
    """
    principal = authenticate(bearer_of(request, "a session token or virtual key"), now=now())
    check_origin(request, principal.allowed_origins)
    return principal


def identity_of(request: Request, scope: str) -> DeveloperIdentity:
    """Return who a developer token speaks for.

    Raises what `authenticate_token` raises, and Forbidden (insufficient_scope).
    """
    identity = authenticate_token(bearer_of(request, "a developer token"), now=now())
    identity.require(scope)
    return identity


def actor_of(identity: DeveloperIdentity) -> str:
    """Return the name under which the audit trail knows a developer token."""
    return f"token:{identity.token_id}"


def require_developer(identity: DeveloperIdentity, developer_id: str) -> None:
    """Raise NotFound unless the address names the token's own developer: others do not exist for it."""
    if identity.developer_id != developer_id:
        raise NotFound("There is no such developer.", code="developer_not_found", param="developer_id")


def app_of(identity: DeveloperIdentity, app_id: str) -> AppInfo:
    """Return the developer's app with this id or public id. Raises NotFound for anybody else's."""
    app = app_by_public_id(app_id) if app_id.startswith("app_pub_") else app_by_id(app_id)
    if app is None or app.developer_id != identity.developer_id:
        raise NotFound("There is no such app.", code="app_not_found", param="app_id")
    return app


def idempotency_key_of(request: Request) -> str:
    """Return the Idempotency-Key of a request that moves money. Raises BadRequest."""
    value: str | None = request.headers.get("idempotency-key")
    if value is None:
        raise BadRequest(
            "Send an Idempotency-Key, so that a repeat moves no money again.",
            code="missing_idempotency_key",
            param="Idempotency-Key",
        )
    if not 0 < len(value) <= MAX_KEY or not value.isascii() or not value.isprintable():
        raise BadRequest(
            f"Idempotency-Key takes 1 to {MAX_KEY} printable ASCII characters.",
            code="invalid_idempotency_key",
            param="Idempotency-Key",
        )
    return value


def list_of(rows: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """Return a page of rows that are ordered by their ids, given one row more than `limit` where there are more."""
    shown = rows[:limit]
    more = len(rows) > limit
    return {
        "object": "list",
        "data": shown,
        "has_more": more,
        "next_cursor": shown[-1]["id"] if more else None,
    }
