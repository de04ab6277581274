"""Usage as tables to be written: a period's calls for their developer, payer or operator, and revenue by day.

`begin` is inclusive, `end` exclusive; both bound when a call took effect.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any

from apps.core.csv_stream import Cell, Column, Export

_WHO = (
    Column("app_id", "e.app_id"),
    Column("feature_key", "e.feature_key"),
)
_CALL = (
    Column("endpoint", "e.endpoint"),
    Column("stream", "e.stream", Cell.FLAG),
    Column("route_mode", "e.route_mode"),
    Column("provider", "e.provider"),
    Column("requested_model", "e.requested_model"),
    Column("served_model", "e.served_model"),
    Column("outcome", "e.outcome"),
    Column("charged", "e.charged", Cell.FLAG),
    Column("status", "e.status", Cell.NUMBER),
    Column("error_code", "e.error_code"),
    Column("input_tokens", "e.input_tokens", Cell.NUMBER),
    Column("cache_read_tokens", "e.cache_read_tokens", Cell.NUMBER),
    Column("cache_write_tokens", "e.cache_write_tokens", Cell.NUMBER),
    Column("output_tokens", "e.output_tokens", Cell.NUMBER),
    Column("reasoning_tokens", "e.reasoning_tokens", Cell.NUMBER),
    Column("estimated", "e.estimated", Cell.FLAG),
    Column("duration_ms", "e.duration_ms", Cell.NUMBER),
)
_KEY = (Column("request_id", "e.request_id"), Column("at", "e.effective_at", Cell.TIME))
# What a developer sees of a call's money, as at GET /v1/apps/{id}/usage.
_SPLIT = (
    Column("retail_price_usd", "e.price_nano", Cell.USD),
    Column("upstream_cost_usd", "e.cost_nano", Cell.USD),
    Column("gross_margin_usd", "e.price_nano - e.cost_nano", Cell.USD),
    Column("infra_cost_usd", "c.infra_nano", Cell.USD),
    Column("payment_cost_usd", "c.payment_nano", Cell.USD),
    Column("channel_revenue_usd", "c.developer_nano", Cell.USD),
    Column("platform_revenue_usd", "c.platform_nano - c.loss_nano", Cell.USD),
    Column("provider_bill_usd", "c.provider_bill_nano", Cell.USD),
    Column("rated_at", "e.rated_at", Cell.TIME),
)
_OPERATOR = (
    Column("developer_id", "e.developer_id"),
    Column("principal_id", "e.principal_id"),
    Column("credential_id", "e.credential_id"),
    Column("transaction_id", "c.transaction_id", Cell.NUMBER),
    Column("rating_error", "e.rating_error"),
)
_BY_DAY = "(e.effective_at AT TIME ZONE 'UTC')::date"
_REVENUE = (
    Column("date", _BY_DAY, Cell.DATE),
    Column("developer_id", "e.developer_id"),
    Column("app_id", "e.app_id"),
    Column("feature_key", "e.feature_key"),
    Column("route_mode", "e.route_mode"),
    Column("calls", "count(*)", Cell.NUMBER),
    Column("retail_price_usd", "sum(c.price_nano)", Cell.USD),
    Column("upstream_cost_usd", "sum(c.cost_nano)", Cell.USD),
    Column("infra_cost_usd", "sum(c.infra_nano)", Cell.USD),
    Column("payment_cost_usd", "sum(c.payment_nano)", Cell.USD),
    Column("channel_revenue_usd", "sum(c.developer_nano)", Cell.USD),
    Column("platform_revenue_usd", "sum(c.platform_nano - c.loss_nano)", Cell.USD),
)
_CALLS = "FROM usage_events e LEFT JOIN usage_charges c ON c.event_id = e.id"

_LIMIT = (
    Column("limit_id", "b.id"),
    Column("scope", "b.scope"),
    Column("scope_id", "b.scope_id"),
    Column("period", "b.period"),
    Column("amount_usd", "b.amount_nano", Cell.USD),
    Column("enabled", "b.enabled", Cell.FLAG),
    Column("created_at", "b.created_at", Cell.TIME),
)
_PROMPT = (
    Column("request_id", "p.request_id"),
    Column("kind", "p.kind"),
    Column("created_at", "p.created_at", Cell.TIME),
    Column("kept_until", "p.expires_at", Cell.TIME),
)
_REPORT = (
    Column("report_id", "r.report_id"),
    Column("request_id", "r.request_id"),
    Column("created_at", "r.created_at", Cell.TIME),
)


def developer_usage(developer_id: str, *, begin: datetime | None, end: datetime | None) -> Export:
    """Return a developer's calls, oldest first. The split is empty until a call is rated."""
    where, parameters = _where(begin, end, developer_id=developer_id)
    columns = (*_KEY, *_WHO, Column("end_user_id", "e.end_user_id"), *_CALL, *_SPLIT)
    return Export("usage", columns, f"{_CALLS} {where} ORDER BY e.effective_at, e.id", parameters)


def payer_usage(*, end_user_id: str | None, key_id: str | None, begin: datetime | None, end: datetime | None) -> Export:
    """Return the calls of one end user, or of one virtual key, oldest first, with what the payer may see of them."""
    if end_user_id is not None:
        where, parameters = _where(begin, end, end_user_id=end_user_id)
    else:
        where, parameters = _where(begin, end, principal_id=key_id)
        where += " AND e.end_user_id IS NULL"
    columns = (*_KEY, *_WHO, *_CALL, Column("price_usd", "e.price_nano", Cell.USD))
    return Export("usage", columns, f"FROM usage_events e {where} ORDER BY e.effective_at, e.id", parameters)


def personal(end_user_id: str) -> tuple[Export, ...]:
    """Return an end user's calls, limits, which calls left a redacted prompt with the app, and which were reported."""
    who = {"user": end_user_id}
    calls = replace(payer_usage(end_user_id=end_user_id, key_id=None, begin=None, end=None), name="calls")
    prompts = (
        "FROM prompt_logs p JOIN usage_events e ON e.request_id = p.request_id"
        " WHERE e.end_user_id = %(user)s ORDER BY p.id"
    )
    return (
        calls,
        Export("limits", _LIMIT, "FROM budgets b WHERE b.end_user_id = %(user)s ORDER BY b.id", who),
        Export("logged_prompts", _PROMPT, prompts, who),
        Export("local_reports", _REPORT, "FROM local_reports r WHERE r.end_user_id = %(user)s ORDER BY r.id", who),
    )


def operator_usage(developer_id: str | None, *, begin: datetime | None, end: datetime | None) -> Export:
    """Return the calls of the whole instance or of one developer, oldest first, with all that is known."""
    where, parameters = _where(begin, end, developer_id=developer_id)
    columns = (*_KEY, *_WHO, Column("end_user_id", "e.end_user_id"), *_CALL, *_SPLIT, *_OPERATOR)
    return Export("usage", columns, f"{_CALLS} {where} ORDER BY e.effective_at, e.id", parameters)


def revenue(developer_id: str | None, *, begin: datetime | None, end: datetime | None) -> Export:
    """Return rated calls summed by day (UTC), app, feature and route mode, of one developer or of all."""
    where, parameters = _where(begin, end, developer_id=developer_id)
    source = (
        f"FROM usage_events e JOIN usage_charges c ON c.event_id = e.id {where} "
        f"GROUP BY {_BY_DAY}, e.developer_id, e.app_id, e.feature_key, e.route_mode ORDER BY 1, 2, 3, 4, 5"
    )
    return Export("revenue", _REVENUE, source, parameters)


def _where(begin: datetime | None, end: datetime | None, **columns: str | None) -> tuple[str, dict[str, Any]]:
    """Return the conditions on a call, and their parameters."""
    parameters: dict[str, Any] = {name: value for name, value in columns.items() if value is not None}
    conditions = [f"e.{name} = %({name})s" for name in parameters]
    for name, moment, condition in (
        ("begin", begin, "e.effective_at >= %(begin)s"),
        ("end", end, "e.effective_at < %(end)s"),
    ):
        if moment is not None:
            conditions.append(condition)
            parameters[name] = moment
    return f"WHERE {' AND '.join(conditions or ['true'])}", parameters
