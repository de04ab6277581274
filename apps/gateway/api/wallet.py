"""GET /v1/user/wallet."""

from dataclasses import replace
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.clock import now
from apps.core.money import usd
from apps.features.queries import Principal
from apps.gateway.api.credits import credit_of
from apps.gateway.api.inputs import Query, decode_cursor, encode_cursor
from apps.gateway.api.top_ups import offered
from apps.gateway.api.usage import asked_calls
from apps.gateway.api.views import ApiView, principal_of
from apps.ledger.models import AccountKind
from apps.ledger.queries import balance
from apps.ledger.services.accounts import open_account
from apps.usage.queries import (
    Spending,
    UsageCall,
    UsagePage,
    spending_of_end_user,
    spending_of_keys,
    usage_page,
)


class Wallet(ApiView):
    def get(self, request: Request) -> Response:
        """Show what the caller has, of what it consists, what it spent, and on what.

        What was settled counts at once: until it is rated it is held, and so not available.
        """
        principal = principal_of(request)
        query = Query(request)
        kind, owner = payer_of(principal)
        account = open_account(kind=kind, owner_id=owner, now=now())
        funds = balance(account)
        spending, page = _spent(principal, query)
        content: dict[str, Any] = {
            "object": "wallet",
            "owner": kind.value,
            "currency": "usd",
            "frozen": funds.frozen,
            **_amounts(
                balance=funds.posted,
                held=funds.held,
                overdraft=funds.overdraft,
                available=funds.available,
                spent=spending.posted,
                pending=spending.pending,
            ),
            **credit_of(account),
            "top_up": offered(),
            "calls": [call_of_payer(call) for call in page.calls],
            "has_more": page.next is not None,
            "next_before": encode_cursor(page.next) if page.next else None,
        }
        return Response(content)


def payer_of(principal: Principal) -> tuple[AccountKind, str]:
    """Return the kind and owner of the account that pays for a principal's calls."""
    if principal.end_user_id is not None:
        return AccountKind.END_USER, principal.end_user_id
    return AccountKind.DEVELOPER_CREDIT, principal.developer_id


def _spent(principal: Principal, query: Query) -> tuple[Spending, UsagePage]:
    user, developer, asked = principal.end_user_id, principal.developer_id, asked_calls(query)
    if user is not None:
        spending, which = spending_of_end_user(user), replace(asked, end_user_id=user)
    else:
        spending, which = spending_of_keys(developer), replace(asked, developer_id=developer, key_id=principal.id)
    return spending, usage_page(which, after=decode_cursor("before", query.text("before")), limit=query.limit())


def _amounts(**nano: int) -> dict[str, str]:
    """Return each amount twice: as a decimal string in USD, and as a string of whole nano-USD."""
    amounts = {f"{name}_usd": usd(amount) for name, amount in nano.items()}
    return amounts | {f"{name}_nano": str(amount) for name, amount in nano.items()}


def call_of_payer(call: UsageCall) -> dict[str, Any]:
    """Return a call as the one who paid for it sees it."""
    return {
        "request_id": call.request_id,
        "model": call.served_model,
        "requested_model": call.requested_model,
        "feature_key": call.feature_key,
        "route_mode": call.route_mode,
        "policy": call.policy,
        "task_class": call.task_class,
        "price_usd": usd(call.price),
        "input_tokens": call.tokens.input,
        "cache_read_tokens": call.tokens.cache_read,
        "cache_write_tokens": call.tokens.cache_write,
        "output_tokens": call.tokens.output,
        "reasoning_tokens": call.tokens.reasoning,
        "total_tokens": call.tokens.prompt + call.tokens.output,
        "estimated": call.estimated,
        "output_cap": call.output_cap,
        "degraded": call.degraded,
        "cache": call.cache,
        "redactions": call.redactions,
        "outcome": call.outcome,
        "stream": call.stream,
        "rated": call.rated_at is not None,
        "at": call.effective_at.isoformat(),
    }
