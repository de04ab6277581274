"""GET /v1/apps/{id}/usage."""

from dataclasses import replace
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import BadRequest
from apps.core.money import usd
from apps.developers.models import Scope
from apps.features.entitlements import kept_since
from apps.gateway.api.inputs import Query, decode_cursor, encode_cursor
from apps.gateway.api.views import ApiView, app_of, identity_of
from apps.usage.models import Outcome
from apps.usage.queries import UsageCall, UsageFilter, UsageTotals, usage_page, usage_totals
from apps.usage.rate import ROUTE_MODES


class AppUsage(ApiView):
    def get(self, request: Request, app_id: str) -> Response:
        """List an app's calls, newest first, with their sums over the same filter.

        The sums are of all calls; one by one they are shown for as long as the developer's plan keeps them.
        """
        identity = identity_of(request, Scope.USAGE_READ)
        app = app_of(identity, app_id)
        query = Query(request)
        begin, end = query.period()
        which = replace(asked_calls(query), app_id=app.id, developer_id=identity.developer_id, begin=begin, end=end)
        kept = kept_since(identity.developer_id, now=now())
        shown = which if kept is None else replace(which, begin=kept if begin is None else max(kept, begin))
        page = usage_page(shown, after=decode_cursor("cursor", query.text("cursor")), limit=query.limit())
        content: dict[str, Any] = {
            "object": "list",
            "app_id": app.id,
            "period": {"from": begin and begin.isoformat(), "to": end and end.isoformat()},
            "kept_since": kept and kept.isoformat(),
            "currency": "usd",
            "totals": usage_totals_of(usage_totals(which)) if query.switch("totals", default=True) else None,
            "data": [usage_row(call) for call in page.calls],
            "has_more": page.next is not None,
            "next_cursor": encode_cursor(page.next) if page.next else None,
        }
        return Response(content)


def asked_calls(query: Query) -> UsageFilter:
    """Return which calls a list is asked for. Raises BadRequest."""
    asked = {name: query.text(name) for name in ("feature_key", "route_mode", "outcome", "model")}
    for name, known in (("outcome", Outcome.values), ("route_mode", ROUTE_MODES)):
        if asked[name] is not None and asked[name] not in known:
            raise BadRequest(f"{name} is one of {', '.join(known)}.", param=name)
    return UsageFilter(
        feature_key=asked["feature_key"], route_mode=asked["route_mode"], outcome=asked["outcome"], model=asked["model"]
    )


def usage_row(call: UsageCall) -> dict[str, Any]:
    """Return a call as its app's developer sees it. The split is null only where rating has set the call aside."""
    charge = call.charge
    return {
        "request_id": call.request_id,
        "app_id": call.app_id,
        "developer_id": call.developer_id,
        "end_user_id": call.end_user_id,
        "feature_key": call.feature_key,
        "route_mode": call.route_mode,
        "policy": call.policy,
        "task_class": call.task_class,
        "provider": call.provider,
        "model": call.served_model,
        "input_tokens": call.tokens.input,
        "output_tokens": call.tokens.output,
        "upstream_cost_usd": usd(call.cost),
        "retail_price_usd": usd(call.price),
        "gross_margin_usd": usd(call.price - call.cost),
        "channel_revenue_usd": usd(charge.developer) if charge else None,
        "platform_revenue_usd": usd(charge.platform - charge.loss) if charge else None,
        "infra_cost_usd": usd(charge.infra) if charge else None,
        "payment_cost_usd": usd(charge.payment) if charge else None,
        "provider_bill_usd": usd(charge.provider_bill) if charge else None,
        "cache_read_tokens": call.tokens.cache_read,
        "cache_write_tokens": call.tokens.cache_write,
        "reasoning_tokens": call.tokens.reasoning,
        "requested_model": call.requested_model,
        "served_model": call.served_model,
        "endpoint": call.endpoint,
        "stream": call.stream,
        "outcome": call.outcome,
        "charged": call.charged,
        "finish_reason": call.finish_reason,
        "status": call.status,
        "error_code": call.error_code,
        "estimated": call.estimated,
        "output_cap": call.output_cap,
        "degraded": call.degraded,
        "cache": call.cache,
        "redactions": call.redactions,
        "attempts": list(call.attempts),
        "first_byte_ms": call.first_byte_ms,
        "duration_ms": call.duration_ms,
        "rated": call.rated_at is not None,
        "rated_at": call.rated_at.isoformat() if call.rated_at else None,
        "at": call.effective_at.isoformat(),
    }


def usage_totals_of(totals: UsageTotals) -> dict[str, Any]:
    """Return sums over a filter. The split counts the rated calls alone."""
    return {
        "calls": totals.calls,
        "rated_calls": totals.rated,
        "input_tokens": totals.tokens.input,
        "cache_read_tokens": totals.tokens.cache_read,
        "cache_write_tokens": totals.tokens.cache_write,
        "output_tokens": totals.tokens.output,
        "reasoning_tokens": totals.tokens.reasoning,
        "upstream_cost_usd": usd(totals.cost),
        "retail_price_usd": usd(totals.price),
        "gross_margin_usd": usd(totals.price - totals.cost),
        "rated": {
            "upstream_cost_usd": usd(totals.rated_cost),
            "retail_price_usd": usd(totals.rated_price),
            "gross_margin_usd": usd(totals.rated_price - totals.rated_cost),
            "infra_cost_usd": usd(totals.infra),
            "payment_cost_usd": usd(totals.payment),
            "channel_revenue_usd": usd(totals.developer),
            "platform_revenue_usd": usd(totals.platform - totals.loss),
        },
    }
