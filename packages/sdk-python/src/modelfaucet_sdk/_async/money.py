"""The end user's money: wallet, top-ups, budget, fees. Amounts are decimal texts in USD, as the gateway has them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

from modelfaucet_sdk._async.resources import AsyncResource
from modelfaucet_sdk.calls import call, given
from modelfaucet_sdk.results import Record

Amount = str | int | Decimal


class AsyncWallet(AsyncResource):
    """What the caller has and spent."""

    async def get(self, *, limit: int | None = None, before: str | None = None, **filters: Any) -> Record:
        """Return balances, what they consist of, notices and the latest calls."""
        return await self._object(call("GET", "user", "wallet", query={"limit": limit, "before": before, **filters}))

    def credits(self) -> AsyncIterator[Record]:
        """Yield the lots of the wallet, newest first, each with its latest draws."""
        return self._walk("user", "credits", query={})

    async def redeem(self, code: str) -> Record:
        """Redeem a promo code; the answer is the lot, with `balance_usd`."""
        return await self._object(call("POST", "user", "promo-codes", json={"code": code}))


class AsyncTopUps(AsyncResource):
    """Buying credit."""

    async def create(
        self,
        amount_usd: Amount,
        *,
        method: str = "checkout",
        return_url: str | None = None,
        save_card: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Record:
        """Start a top-up: send the payer to its `checkout_url`, or (`saved_card`) it is charged at once.

        Keep your own `idempotency_key` where a restart of your program may ask again.
        """
        body = given(amount_usd=str(amount_usd), method=method, return_url=return_url, save_card=save_card)
        return await self._object(
            call("POST", "user", "top-ups", json=body, keyed=True, idempotency_key=idempotency_key)
        )

    async def list(self, *, limit: int | None = None, cursor: str | None = None) -> Record:
        """Return a page of them, newest first."""
        return await self._object(call("GET", "user", "top-ups", query={"limit": limit, "cursor": cursor}))

    def walk(self) -> AsyncIterator[Record]:
        """Yield all of them, newest first."""
        return self._walk("user", "top-ups", query={})

    async def get(self, top_up_id: str) -> Record:
        """Return one of them with its refunds."""
        return await self._object(call("GET", "user", "top-ups", top_up_id))

    async def refund(
        self,
        top_up_id: str,
        amount_usd: Amount | None = None,
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Record:
        """Give unused credit back: an amount, or all that is left."""
        body = given(amount_usd=None if amount_usd is None else str(amount_usd), reason=reason)
        return await self._object(
            call("POST", "user", "top-ups", top_up_id, "refund", json=body, keyed=True, idempotency_key=idempotency_key)
        )

    async def auto(self) -> Record:
        """Return when the wallet is topped up by itself."""
        return await self._object(call("GET", "user", "auto-top-up"))

    async def set_auto(self, *, threshold_usd: Amount, amount_usd: Amount, monthly_cap_usd: Amount) -> Record:
        """Have the saved card charged `amount_usd` whenever less than the threshold is left, up to the cap a month."""
        body = {
            "threshold_usd": str(threshold_usd),
            "amount_usd": str(amount_usd),
            "monthly_cap_usd": str(monthly_cap_usd),
        }
        return await self._object(call("PUT", "user", "auto-top-up", json=body))

    async def stop_auto(self) -> None:
        """Switch that off."""
        await self._nothing(call("DELETE", "user", "auto-top-up"))

    async def card(self) -> Record:
        """Return the saved card. Raises NotFoundError."""
        return await self._object(call("GET", "user", "payment-method"))

    async def forget_card(self) -> None:
        """Forget the saved card, here and at Stripe."""
        await self._nothing(call("DELETE", "user", "payment-method"))


class AsyncBudget(AsyncResource):
    """What the end user lets themself spend."""

    async def get(self) -> Record:
        """Return the limits of a day and of a month, with what is left of each."""
        return await self._object(call("GET", "user", "budget"))

    async def set(self, **limits: Amount | None) -> Record:
        """Set `daily_usd` or `monthly_usd`; None takes a limit away, one that is not named stays."""
        body = {name: None if amount is None else str(amount) for name, amount in limits.items()}
        return await self._object(call("PUT", "user", "budget", json=body))


class AsyncFees(AsyncResource):
    """What is charged beside the calls, told and agreed to beforehand."""

    async def list(self) -> Record:
        """Return the fee of each mode with the text to show, and the app's other fees (`catalogue`)."""
        return await self._object(call("GET", "user", "fees"))

    async def accept(self, mode: str, fee_usd: Amount) -> Record:
        """Acknowledge the fee of a mode (`byok`, `local`) as it was shown. Raises ConflictError (fee_changed)."""
        body = {"mode": mode, "fee_usd": str(fee_usd)}
        return await self._object(call("POST", "user", "fee-consents", json=body, repeatable=True))

    async def subscribe(self, fee_key: str, amount_usd: Amount) -> Record:
        """Agree to a fee of the catalogue as it was shown; its first period is charged now."""
        body = {"fee_key": fee_key, "amount_usd": str(amount_usd)}
        return await self._object(call("POST", "user", "fee-subscriptions", json=body))

    async def cancel(self, subscription_id: str) -> Record:
        """End a fee with what is paid."""
        return await self._object(call("DELETE", "user", "fee-subscriptions", subscription_id))
