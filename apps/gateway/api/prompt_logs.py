"""GET /v1/apps/{id}/prompt-logs."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.developers.models import Scope
from apps.gateway.api.inputs import Query
from apps.gateway.api.views import ApiView, actor_of, app_of, identity_of, list_of
from apps.usage.prompts.queries import PromptLogInfo, prompt_logs_of_app
from apps.usage.services.prompt_logs import open_prompt_log


class AppPromptLogs(ApiView):
    def get(self, request: Request, app_id: str) -> Response:
        """List an app's logged prompts, newest first; with `request_id` that of one call, with its text."""
        identity = identity_of(request, Scope.PROMPTS_READ)
        app = app_of(identity, app_id)
        query = Query(request)
        limit, moment = query.limit(), now()
        request_id = query.text("request_id")
        logs = prompt_logs_of_app(
            app.id, now=moment, request_id=request_id, before=query.text("cursor"), limit=limit + 1
        )
        rows = [_row(log) for log in logs]
        if request_id is not None:
            for row in rows:
                text = open_prompt_log(row["id"], now=moment, actor=actor_of(identity))
                row |= {"prompt": text.prompt, "answer": text.answer, "truncated": text.truncated}
        return Response({**list_of(rows, limit), "app_id": app.id})


def _row(log: PromptLogInfo) -> dict[str, Any]:
    return {
        "id": log.id,
        "request_id": log.request_id,
        "feature_key": log.feature_key,
        "kind": log.kind,
        "at": log.created_at.isoformat(),
        "expires_at": log.expires_at.isoformat(),
    }
