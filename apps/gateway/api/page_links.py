"""POST /v1/user/page-links: a link that opens the end user's own pages of this instance."""

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import addresses
from apps.core.clock import now
from apps.features.services.page_links import issue_page_link
from apps.gateway.api.buyers import own_address
from apps.gateway.api.fees import end_user_of
from apps.gateway.api.inputs import read_json
from apps.gateway.api.views import ApiView

# Of one session. Each page that embeds the wallet asks for one as it opens.
MOST = "60/minute"


class PageLinks(ApiView):
    http_method_names = ["post"]

    def post(self, request: Request) -> Response:
        """Make a link for the session's end user; with `embed` for a frame in the app's own page."""
        principal = end_user_of(request)
        embed = read_json(request).flag("embed") or False
        addresses.count("page_links", MOST, principal.id, message="Too many links; wait.")
        link = issue_page_link(principal.id, now=now())
        return Response(
            {
                "object": "page_link",
                "id": link.link_id,
                "url": f"{own_address(request)}/me/open/{link.code}{'?embed=1' if embed else ''}",
                "embed": embed,
                "expires_at": link.expires_at.isoformat(),
            },
            status=201,
        )
