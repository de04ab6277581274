"""GET /v1/developers/{id}/savings and /baseline: what was saved, against what, and what that costs."""

from datetime import date
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.months import month_of
from apps.billing.queries.value import BaselineInfo, baselines_of, bills_of
from apps.billing.services.value import enter_baseline, savings_of
from apps.core.clock import now
from apps.core.errors import BadRequest
from apps.core.money import MAX_NANO, usd
from apps.developers.models import Scope
from apps.gateway.api.inputs import Query, read_json
from apps.gateway.api.views import ApiView, actor_of, identity_of, list_of, require_developer


class DeveloperSavings(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show what a month (`month`, by default the present one) cost and saved, and the bills so far."""
        require_developer(identity_of(request, Scope.BILLING_READ), developer_id)
        moment = now()
        asked = Query(request).text("month", most=10)
        found = savings_of(developer_id, month_of(moment) if asked is None else read_month(asked), now=moment)
        fee = found.fee
        content: dict[str, Any] = {
            "object": "savings",
            "developer_id": developer_id,
            "currency": "usd",
            "month": f"{found.month:%Y-%m}",
            "complete": found.complete,
            "actual_usd": usd(found.actual),
            "baseline_usd": None if fee is None else usd(fee.baseline),
            "saved_usd": None if fee is None else usd(fee.savings),
            "fee_usd": None if fee is None else usd(fee.fee),
            "total_usd": None if fee is None else usd(fee.total),
            "gain_usd": None if fee is None else usd(fee.gain),
            "billed": found.billed,
            "bills": [
                {
                    "month": f"{bill.month:%Y-%m}",
                    "baseline_usd": usd(bill.baseline),
                    "actual_usd": usd(bill.actual),
                    "saved_usd": usd(bill.savings),
                    "fee_usd": usd(bill.fee),
                    "transaction_id": None if bill.transaction_id is None else str(bill.transaction_id),
                }
                for bill in bills_of(developer_id)
            ],
        }
        return Response(content)


class DeveloperBaseline(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """List the months of the baseline, newest first."""
        require_developer(identity_of(request, Scope.BILLING_READ), developer_id)
        rows = [_month(row) for row in baselines_of(developer_id)]
        return Response(list_of(rows, len(rows)))

    def post(self, request: Request, developer_id: str) -> Response:
        """Enter what a month cost before, with evidence; it counts once the operator has accepted it."""
        identity = identity_of(request, Scope.BILLING_WRITE)
        require_developer(identity, developer_id)
        body = read_json(request)
        cost = body.money("cost_usd", most=MAX_NANO)
        if cost is None:
            raise BadRequest("cost_usd is required.", code="missing_parameter", param="cost_usd")
        row_id = enter_baseline(
            developer_id,
            read_month(body.required_text("month", most=10)),
            cost,
            evidence=body.required_text("evidence", most=2_000),
            accepted=False,
            now=now(),
            actor=actor_of(identity),
        )
        row = next(row for row in baselines_of(developer_id) if row.id == row_id)
        return Response(_month(row), status=201)


def read_month(text: str) -> date:
    """Return the first day of a month written as 2026-01. Raises BadRequest."""
    year, _, month = text.partition("-")
    try:
        if not (text.isascii() and year.isdigit() and month.isdigit() and len(year) == 4 and len(month) == 2):
            raise ValueError(text)
        return date(int(year), int(month), 1)
    except ValueError as error:
        raise BadRequest("month is a year and a month such as 2026-01.", code="invalid_type", param="month") from error


def _month(row: BaselineInfo) -> dict[str, Any]:
    return {
        "object": "baseline_month",
        "id": row.id,
        "month": f"{row.month:%Y-%m}",
        "cost_usd": usd(row.cost),
        "source": row.source,
        "evidence": row.evidence,
        "accepted": row.accepted,
        "created_at": row.created_at.isoformat(),
    }
