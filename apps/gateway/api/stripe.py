"""POST /v1/stripe/webhook."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services import inbox
from apps.core.clock import now
from apps.gateway.api.views import ApiView


class StripeWebhook(ApiView):
    def post(self, request: Request) -> Response:
        """Keep an event of Stripe's and answer at once; what it means is worked out later.

        Its signature is who it is from: there is no token. The body is read as it came, since every byte is signed.
        """
        raw = request._request.read(inbox.MOST_BYTES + 1)
        received = inbox.receive(raw, request.headers.get("stripe-signature"), now=now())
        return Response({"object": "stripe_event", "id": received.event_id, "new": received.new})
