"""GET /v1/user/usage: an end user's own calls."""

from dataclasses import replace

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.money import usd
from apps.gateway.api.fees import end_user_of
from apps.gateway.api.inputs import Query, decode_cursor, encode_cursor
from apps.gateway.api.usage import asked_calls
from apps.gateway.api.views import ApiView
from apps.gateway.api.wallet import call_of_payer
from apps.usage.queries import UsageTotals, usage_page, usage_totals


class UserUsage(ApiView):
    def get(self, request: Request) -> Response:
        """List the calls of the session's end user, newest first, with their sums over the same filter."""
        principal = end_user_of(request)
        query = Query(request)
        begin, end = query.period()
        which = replace(asked_calls(query), end_user_id=principal.end_user_id, begin=begin, end=end)
        page = usage_page(which, after=decode_cursor("cursor", query.text("cursor")), limit=query.limit())
        return Response(
            {
                "object": "list",
                "period": {"from": begin and begin.isoformat(), "to": end and end.isoformat()},
                "currency": "usd",
                "totals": _totals(usage_totals(which)) if query.switch("totals", default=True) else None,
                "data": [call_of_payer(call) for call in page.calls],
                "has_more": page.next is not None,
                "next_cursor": encode_cursor(page.next) if page.next else None,
            }
        )


def _totals(totals: UsageTotals) -> dict[str, object]:
    tokens = totals.tokens
    return {
        "calls": totals.calls,
        "input_tokens": tokens.input,
        "cache_read_tokens": tokens.cache_read,
        "cache_write_tokens": tokens.cache_write,
        "output_tokens": tokens.output,
        "reasoning_tokens": tokens.reasoning,
        "total_tokens": tokens.prompt + tokens.output,
        "price_usd": usd(totals.price),
    }
