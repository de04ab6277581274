"""/v1/developers/{id}/analytics/…: cost by day, model usage and a forecast, from daily totals."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.errors import BadRequest
from apps.core.money import usd
from apps.developers.models import Scope
from apps.developers.services.tokens import DeveloperIdentity
from apps.gateway.api.inputs import Query
from apps.gateway.api.views import ApiView, app_of, identity_of, require_developer
from apps.usage.advice import Advice, Amounts
from apps.usage.days import DayTotals, day_totals, every_step, summed
from apps.usage.outlook import outlook_of

DAYS = 30
MOST_DAYS = 366


class CostDaily(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show every day of a period: calls, tokens, cost, price and share."""
        identity = identity_of(request, Scope.USAGE_READ)
        require_developer(identity, developer_id)
        which = _which(identity, Query(request), now=now())
        rows = every_step(day_totals("day", **which), begin=which["begin"], end=which["end"], step="day")
        content: dict[str, Any] = {
            **_head("cost_daily", developer_id, which),
            "totals": _sums(summed(rows)),
            "data": [{"date": row.key[0].isoformat(), **_sums(row)} for row in rows],
        }
        return Response(content)


class ModelUsage(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show which models served a period's calls, most calls first."""
        identity = identity_of(request, Scope.USAGE_READ)
        require_developer(identity, developer_id)
        which = _which(identity, Query(request), now=now())
        rows = day_totals("served_model", "provider", "route_mode", **which)
        total = summed(rows)
        content: dict[str, Any] = {
            **_head("model_usage", developer_id, which),
            "totals": _sums(total),
            "data": [
                {
                    "model": row.key[0],
                    "provider": row.key[1],
                    "route_mode": row.key[2],
                    "calls_bps": row.calls * 10_000 // total.calls,
                    "mean_ms": row.mean_ms,
                    **_sums(row),
                }
                for row in sorted(rows, key=lambda row: (-row.calls, row.key))
            ],
        }
        return Response(content)


class UsageForecast(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show what the present month will come to, and what would be cheaper."""
        require_developer(identity_of(request, Scope.USAGE_READ), developer_id)
        outlook = outlook_of(developer_id, now=now())
        found = outlook.forecast
        content: dict[str, Any] = {
            "object": "forecast",
            "developer_id": developer_id,
            "currency": "usd",
            "month": f"{found.month:%Y-%m}",
            "enough_data": found.projected is not None,
            "days_in_month": found.days_in_month,
            "days_left": found.days_left,
            "averaged_days": found.averaged,
            "month_to_date": _amounts(found.to_date),
            "daily_average": _amounts(found.daily),
            "projected": _amounts(found.projected),
            "recommendations": [_advice(advice) for advice in outlook.advice],
        }
        return Response(content)


def _which(identity: DeveloperIdentity, query: Query, *, now: datetime) -> dict[str, Any]:
    """Return the days, app and feature that are asked for. Raises BadRequest and NotFound."""
    today = now.astimezone(UTC).date()
    begin, until = _day(query, "from"), _day(query, "to")
    end = today if until is None else until - timedelta(days=1)
    begin = end - timedelta(days=DAYS - 1) if begin is None else begin
    if end < begin:
        raise BadRequest("to must be later than from.", param="to")
    if (end - begin).days >= MOST_DAYS:
        raise BadRequest(f"A period has at most {MOST_DAYS} days.", param="from")
    app_id = query.text("app_id")
    return {
        "begin": begin,
        "end": end,
        "developer_id": identity.developer_id,
        "app_id": None if app_id is None else app_of(identity, app_id).id,
        "feature_key": query.text("feature_key"),
    }


def _day(query: Query, name: str) -> date | None:
    moment = query.moment(name)
    if moment is None:
        return None
    if moment.timetz() != datetime.min.replace(tzinfo=UTC).timetz() or not 2000 <= moment.year < 9999:
        raise BadRequest(f"{name} takes a date such as 2026-01-31.", code="invalid_type", param=name)
    return moment.date()


def _head(kind: str, developer_id: str, which: dict[str, Any]) -> dict[str, Any]:
    return {
        "object": kind,
        "developer_id": developer_id,
        "currency": "usd",
        "time_zone": "UTC",
        "period": {"from": which["begin"].isoformat(), "to": (which["end"] + timedelta(days=1)).isoformat()},
    }


def _sums(row: DayTotals) -> dict[str, Any]:
    return {
        "calls": row.calls,
        "failed_calls": row.failed,
        "cached_calls": row.cached,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "upstream_cost_usd": usd(row.cost),
        "retail_price_usd": usd(row.price),
        "channel_revenue_usd": usd(row.developer),
        "provider_bill_usd": usd(row.provider_bill),
    }


def _amounts(found: Amounts | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "calls": found.calls,
        "cost_usd": usd(found.cost),
        "retail_price_usd": usd(found.price),
        "channel_revenue_usd": usd(found.share),
    }


def _advice(advice: Advice) -> dict[str, Any]:
    return {
        "kind": advice.kind.value,
        "basis": advice.basis.value,
        "app_id": advice.app_id,
        "feature_key": advice.feature_key,
        "monthly_cost_usd": usd(advice.spend),
        "monthly_saving_usd": usd(advice.saving),
        "saving_bps": advice.part_bps,
        "model": advice.model or None,
        "better_model": advice.better or None,
        "calls_bps": advice.calls_bps or None,
    }
