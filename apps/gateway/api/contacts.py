"""GET /v1/contacts: how to reach whoever runs this instance."""

from django.conf import settings
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response

from apps.gateway.api.views import ApiView


class Contacts(ApiView):
    def get(self, request: Request) -> Response:
        """Show the contacts; null where the operator named none. Needs no token."""
        return Response(
            {
                "object": "contacts",
                "support_email": settings.SUPPORT_EMAIL or None,
                "security_email": settings.SECURITY_EMAIL or None,
                "abuse_email": settings.ABUSE_EMAIL or None,
                "incident_url": settings.INCIDENT_URL or None,
                "acceptable_use_url": request.build_absolute_uri(reverse("acceptable-use")),
            }
        )
