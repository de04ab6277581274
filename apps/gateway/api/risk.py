"""GET /v1/developers/{id}/risk: how risky a developer and its apps look, and whether that holds payouts."""

from django.conf import settings
from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services.risk import latest_scores
from apps.developers.models import Scope
from apps.features.queries import apps_of_developer
from apps.gateway.api.views import ApiView, identity_of, require_developer


class DeveloperRisk(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show the level of the developer and of each of its apps; never points or signals, which teach evasion."""
        require_developer(identity_of(request, Scope.REVENUE_READ), developer_id)
        own = latest_scores("developer", [developer_id]).get(developer_id)
        ids = [app.id for app in apps_of_developer(developer_id)]
        apps = latest_scores("app", ids)
        highest = max([score.score for score in apps.values()] + ([own.score] if own is not None else []), default=0)
        return Response(
            {
                "object": "risk",
                "developer_id": developer_id,
                "level": own.level if own is not None else None,
                "payouts_held": highest >= settings.PAYOUT_RISK_LIMIT,
                "apps": [{"app_id": id, "level": apps[id].level if id in apps else None} for id in ids],
            }
        )
