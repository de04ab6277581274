"""GET /v1/developers/{id}/revenue."""

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.billing.services.payouts import payable
from apps.core.clock import now
from apps.core.money import usd
from apps.developers.models import Scope
from apps.gateway.api.inputs import Query
from apps.gateway.api.payouts import maturing
from apps.gateway.api.views import ApiView, identity_of, require_developer
from apps.ledger.models import AccountKind
from apps.ledger.queries import Balance, Entry, EntryPage, account_id, balance, entries_of
from apps.usage.queries import RevenueLine, revenue_of

MAX_ENTRY = 2**63 - 1


class DeveloperRevenue(ApiView):
    def get(self, request: Request, developer_id: str) -> Response:
        """Show what a developer earned: now, in all, and within a period; entries are those of its account."""
        identity = identity_of(request, Scope.REVENUE_READ)
        require_developer(identity, developer_id)
        query = Query(request)
        begin, end = query.period()
        limit = query.limit()
        before = query.whole("cursor", least=1, most=MAX_ENTRY, default=MAX_ENTRY)
        account = account_id(AccountKind.DEVELOPER, developer_id)
        # The ledger first: what is rated meanwhile is then missing from the answer rather than in it twice.
        funds = balance(account) if account is not None else Balance(0, 0, 0, False)
        page = EntryPage((), None)
        if account is not None:
            page = entries_of(account, before=before, limit=limit, begin=begin, end=end)
        revenue = revenue_of(developer_id, begin=begin, end=end)
        content: dict[str, Any] = {
            "object": "revenue",
            "developer_id": developer_id,
            "currency": "usd",
            "balance_usd": usd(funds.posted),
            "pending_usd": usd(revenue.pending),
            "pending_calls": revenue.pending_calls,
            "lifetime_usd": usd(revenue.lifetime),
            **maturing(payable(developer_id, now=now(), by_app=False)),
            "period": {
                "from": begin and begin.isoformat(),
                "to": end and end.isoformat(),
                "calls": revenue.calls,
                "retail_price_usd": usd(revenue.price),
                "channel_revenue_usd": usd(revenue.developer),
            },
            "by_app": [{"app_id": line.app_id, **_line(line)} for line in revenue.by_app],
            "by_day": [{"date": line.date and line.date.isoformat(), **_line(line)} for line in revenue.by_day],
            "entries": [_entry(entry) for entry in page.entries],
            "has_more": page.next_before is not None,
            "next_cursor": str(page.next_before) if page.next_before is not None else None,
        }
        return Response(content)


def _line(line: RevenueLine) -> dict[str, Any]:
    return {
        "calls": line.calls,
        "retail_price_usd": usd(line.price),
        "channel_revenue_usd": usd(line.developer),
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": str(entry.id),
        "transaction_id": str(entry.transaction_id),
        "kind": entry.kind,
        "amount_usd": usd(entry.amount),
        "request_id": entry.memo.get("request_id"),
        "at": entry.effective_at.isoformat(),
        "posted_at": entry.created_at.isoformat(),
    }
