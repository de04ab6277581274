"""CSV by period: /v1/developers/{id}/exports/{kind}.csv and /v1/user/exports/usage.csv."""

from django.http import HttpResponseBase
from rest_framework.request import Request

from apps.billing.queries.exports import DEVELOPER_KINDS, developer_export, payer_export
from apps.core.csv_stream import csv_response
from apps.core.errors import NotFound
from apps.developers.models import Scope
from apps.gateway.api.inputs import Query
from apps.gateway.api.views import ApiView, identity_of, principal_of, require_developer

_SCOPES = {kind: Scope.USAGE_READ if kind == "usage" else Scope.REVENUE_READ for kind in DEVELOPER_KINDS}


class _Exports(ApiView):
    # No HEAD: it would run the query for nothing.
    http_method_names = ["get"]


class DeveloperExport(_Exports):
    def get(self, request: Request, developer_id: str, kind: str) -> HttpResponseBase:
        """Stream a developer's usage, revenue, payouts or ledger entries of a period."""
        if kind not in _SCOPES:
            raise NotFound(f"There is no export {kind}.", code="unknown_url", param="kind")
        require_developer(identity_of(request, _SCOPES[kind]), developer_id)
        query = Query(request)
        begin, end = query.period()
        export = developer_export(kind, developer_id, begin=begin, end=end)
        return csv_response(export, owner=developer_id, bom=query.switch("bom", default=False), begin=begin, end=end)


class UserExport(_Exports):
    def get(self, request: Request) -> HttpResponseBase:
        """Stream the caller's own calls of a period: an end user's, or a virtual key's."""
        principal = principal_of(request)
        query = Query(request)
        begin, end = query.period()
        key_id = principal.id if principal.end_user_id is None else None
        export = payer_export(end_user_id=principal.end_user_id, key_id=key_id, begin=begin, end=end)
        return csv_response(
            export,
            owner=principal.end_user_id or principal.id,
            bom=query.switch("bom", default=False),
            begin=begin,
            end=end,
        )
