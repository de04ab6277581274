"""/v1/developers/{id}/tokens: a developer token issues others, never stronger than itself."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import BadRequest, Forbidden, NotFound
from apps.developers.models import Scope
from apps.developers.queries import TokenInfo, token_by_id, tokens_of
from apps.developers.services.tokens import DeveloperIdentity, issue_token, revoke_token
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer

MAX_NAME = 100


class DeveloperTokens(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """List the developer's tokens, newest first."""
        identity = identity_of(request, Scope.TOKENS_WRITE)
        require_developer(identity, developer_id)
        query = Query(request)
        limit = query.limit()
        rows = tokens_of(developer_id, before=query.text("cursor"), limit=limit + 1)
        return Response(list_of([_token(row) for row in rows], limit))

    def post(self, request: Request, developer_id: str) -> Response:
        """Issue a token as a child of the one that asks: with its scopes or fewer, for its life or shorter."""
        identity = identity_of(request, Scope.TOKENS_WRITE)
        require_developer(identity, developer_id)
        body = read_json(request)
        scopes = body.texts("scopes")
        if scopes is None:
            raise BadRequest("scopes is required.", code="missing_parameter", param="scopes")
        expires_at = body.moment("expires_at")
        if expires_at is None:
            parent = token_by_id(identity.token_id)
            expires_at = parent.expires_at if parent is not None else None
        token, token_id = issue_token(
            developer_id,
            body.required_text("name", most=MAX_NAME),
            scopes,
            expires_at,
            identity.token_id,
            now=now(),
            actor=actor_of(identity),
        )
        issued = token_by_id(token_id)
        assert issued is not None
        return Response({**_token(issued), "token": token}, status=201)


class DeveloperTokenItem(ApiView):
    def delete(self, request: Request, developer_id: str, token_id: str) -> Response:
        """Revoke a token that can do no more than the one that asks, with everything that descends from it."""
        identity = identity_of(request, Scope.TOKENS_WRITE)
        require_developer(identity, developer_id)
        found = token_by_id(token_id)
        if found is None or found.developer_id != developer_id:
            raise NotFound("There is no such token.", code="token_not_found", param="token_id")
        _check_reach(identity, found)
        revoke_token(token_id, now=now(), actor=actor_of(identity))
        return Response(status=204)


def _check_reach(identity: DeveloperIdentity, other: TokenInfo) -> None:
    if excess := set(other.scopes) - identity.scopes:
        raise Forbidden(
            f"That token has scopes this one lacks: {', '.join(sorted(excess))}.", code="insufficient_scope"
        )


def _token(row: TokenInfo) -> dict[str, Any]:
    return {
        "object": "developer_token",
        "id": row.id,
        "name": row.name,
        "hint": row.hint,
        "scopes": list(row.scopes),
        "parent_id": row.parent_id,
        "expires_at": row.expires_at and row.expires_at.isoformat(),
        "revoked_at": row.revoked_at and row.revoked_at.isoformat(),
        "last_used_at": row.last_used_at and row.last_used_at.isoformat(),
        "created_at": row.created_at.isoformat(),
    }
