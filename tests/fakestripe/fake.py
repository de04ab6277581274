"""The fake itself: a Stripe account on loopback, and what people and banks do to it.

    with FakeStripe() as stripe:
        session = ...                           # our code makes a checkout session through the stripe library
        stripe.pay(session.id, tax_cents=80)    # a person pays on Stripe's page
        stripe.deliver(receive)                 # receive(body, signature) for each event since

Amounts are cents. `stripe.objects[id]` is any object as it is now; `stripe.calls` what was asked.
"""

from collections.abc import Callable
from typing import Any

from tests.fakestripe import checkout, connect, payments, plans
from tests.fakestripe.hooks import Delivery, Webhooks
from tests.fakestripe.server import FAULTS, Call, Server
from tests.fakestripe.state import Clock, Object, State


class FakeStripe:
    """A stateful Stripe on a loopback port. What a control changes is told by events, as Stripe would."""

    key = "sk_test_" + "f4ke" * 8

    def __init__(self) -> None:
        from stripe import _api_version

        self.state = State()
        self.state.api_version = self.api_version = _api_version._ApiVersion.CURRENT
        self.clock: Clock = self.state.clock
        self.webhooks = Webhooks(self.clock)
        self.state.on_event = self.webhooks.add
        self._server = Server(self.state, self.key)
        self.url = self._server.url

    def __enter__(self) -> "FakeStripe":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    # ---- looking ----

    @property
    def objects(self) -> dict[str, Object]:
        return self.state.objects

    def all(self, kind: str) -> list[Object]:
        """Return every object of a kind ("transfer", "refund"), oldest first, of any account."""
        return [row for row in self.state.objects.values() if row["object"] == kind]

    @property
    def calls(self) -> list[Call]:
        return self._server.calls

    def calls_to(self, method: str, path: str) -> list[Call]:
        """Return the calls of a method and an exact path."""
        return [call for call in self.calls if (call.method, call.path) == (method, path)]

    @property
    def available_cents(self) -> int:
        """Our own balance that can be transferred."""
        return payments.available(self.state)

    # ---- webhooks ----

    @property
    def deliveries(self) -> list[Delivery]:
        """What is to be delivered now, as the switches of `webhooks` have it; it is handed out once."""
        return self.webhooks.take()

    def deliver(self, receive: Callable[[bytes, str], Any]) -> list[Any]:
        """Hand each delivery's raw body and signature header to `receive`; return what it returned."""
        return [receive(delivery.body, delivery.signature) for delivery in self.deliveries]

    def deliver_to(self, url: str) -> list[int]:
        """Post each delivery to a URL; return the statuses. What was refused waits to be delivered again."""
        return self.webhooks.post(url)

    # ---- calls that go wrong ----

    def fail_next(self, fault: str, *, method: str = "", path: str = "", times: int = 1) -> None:
        """Let the next call (of a method, to a path that begins so) go wrong: one of `FAULTS`."""
        if fault not in FAULTS:
            raise AssertionError(f"{fault} is none of {FAULTS}")
        self._server.faults.extend([(fault, method, path)] * times)

    # ---- people at checkout ----

    def pay(
        self, session_id: str, *, tax_cents: int = 0, behaviour: str = "ok", address: Object | None = None
    ) -> Object:
        """Let a person finish a checkout session; `behaviour` "processing" pays by a method that takes days."""
        with self.state.lock:
            row = self._get("checkout.session", session_id)
            return checkout.complete(
                self.state, row, tax_cents=tax_cents, behaviour=behaviour, customer_address=address
            )

    def pay_later(self, session_id: str, *, tax_cents: int = 0) -> Object:
        """Let a person finish a session with a method that takes days: complete, and unpaid."""
        return self.pay(session_id, tax_cents=tax_cents, behaviour="processing")

    def fail_payment(self, session_id: str) -> Object:
        """Let a person try a card that is declined; the session stays open."""
        return self.pay(session_id, behaviour="card_declined")

    def succeed_async(self, session_id: str) -> Object:
        with self.state.lock:
            return checkout.finish_async(self.state, self._get("checkout.session", session_id), paid=True)

    def fail_async(self, session_id: str) -> Object:
        with self.state.lock:
            return checkout.finish_async(self.state, self._get("checkout.session", session_id), paid=False)

    def expire(self, session_id: str) -> Object:
        """Let a session's time pass."""
        with self.state.lock:
            return checkout.expire(self.state, self._get("checkout.session", session_id))

    def card(self, customer: str | None = None, behaviour: str = "ok", last4: str = "4242") -> str:
        """Make a card (of a customer) that does as `behaviour` says and return its id.

        ok, card_declined, insufficient_funds, expired_card, requires_action, processing.
        """
        with self.state.lock:
            row = payments.make_card(self.state, behaviour, last4=last4)
            if customer is not None:
                payments.attach(self.state, row["id"], customer)
            return str(row["id"])

    def set_card(self, payment_method: str, behaviour: str) -> None:
        """Let a card do something else from now on."""
        with self.state.lock:
            self._get("payment_method", payment_method)["_behaviour"] = behaviour

    def confirm(self, payment_intent: str) -> Object:
        """Let a person confirm a payment that requires action, or let one that was processing come."""
        with self.state.lock:
            row = self._get("payment_intent", payment_intent)
            payments.succeed(self.state, row, self._get("payment_method", row["payment_method"]))
            return row

    # ---- the dashboard, banks and card networks ----

    def fund(self, cents: int) -> None:
        """Put money into our own balance, for transfers."""
        with self.state.lock:
            payments.post(self.state, cents, "topup", None, text="Top-up")

    def refund_in_dashboard(self, charge: str, amount: int | None = None) -> Object:
        """Let somebody refund a charge (or payment intent) in Stripe's dashboard."""
        with self.state.lock:
            params: Object = {} if amount is None else {"amount": amount}
            return payments.refund(self.state, self._charge(charge), params)

    def succeed_refund(self, refund: str) -> Object:
        with self.state.lock:
            payments.finish_refund(self.state, self._get("refund", refund))
            return self.objects[refund]

    def fail_refund(self, refund: str, reason: str = "lost_or_stolen_card") -> Object:
        """Let a refund fail after all: the money is back with us."""
        with self.state.lock:
            payments.finish_refund(self.state, self._get("refund", refund), failed=reason)
            return self.objects[refund]

    def open_dispute(
        self, charge: str, *, amount: int | None = None, reason: str = "fraudulent", inquiry: bool = False
    ) -> Object:
        """Let the holder of a card dispute a charge (or payment intent)."""
        with self.state.lock:
            return payments.open_dispute(self.state, self._charge(charge), amount, reason, inquiry=inquiry)

    def escalate_dispute(self, dispute: str) -> Object:
        """Let an inquiry become a dispute that takes the money."""
        with self.state.lock:
            row = self._get("dispute", dispute)
            row |= {"status": "needs_response", "is_charge_refundable": False}
            payments.withdraw(self.state, row)
            self.state.emit("charge.dispute.updated", row)
            return row

    def close_dispute(self, dispute: str, outcome: str) -> Object:
        """End a dispute: "won", "lost", or "warning_closed" for an inquiry."""
        with self.state.lock:
            return payments.close_dispute(self.state, self._get("dispute", dispute), outcome)

    # ---- connected accounts ----

    def onboard(self, account: str) -> Object:
        """Let a developer finish Stripe's onboarding: transfers and payouts are on."""
        with self.state.lock:
            connect.onboard(self.state, self._get("account", account))
            return self.objects[account]

    def restrict(self, account: str, reason: str = "rejected.fraud") -> Object:
        with self.state.lock:
            connect.restrict(self.state, self._get("account", account), reason)
            return self.objects[account]

    def deauthorize(self, account: str) -> None:
        """Let a developer cut the connection."""
        with self.state.lock:
            self._get("account", account)["_deauthorized"] = True
            application = {"id": "ca_fake", "object": "application", "name": "ModelFaucet"}
            connect.emit(self.state, "account.application.deauthorized", application, account)

    def reverse_transfer(self, transfer: str, amount: int | None = None) -> Object:
        """Let somebody reverse a transfer in the dashboard."""
        with self.state.lock:
            return connect.create_reversal(self.state, {} if amount is None else {"amount": amount}, transfer)

    def start_payout(self, account: str | None = None, amount: int | None = None) -> Object:
        """Let Stripe send an account's balance (None: our own) to its bank, as it does by itself."""
        with self.state.lock:
            self.state.account = account
            try:
                return connect.make_payout(self.state, amount, automatic=amount is None, params={})
            finally:
                self.state.account = None

    def finish_payout(self, payout: str) -> Object:
        return self._end_payout(payout, None)

    def fail_payout(self, payout: str, code: str = "account_closed") -> Object:
        """Let a payout fail, also days after it was `paid`."""
        return self._end_payout(payout, code)

    def _end_payout(self, payout: str, failure: str | None) -> Object:
        with self.state.lock:
            row = self._get("payout", payout)
            self.state.account = self.state.owners[payout]
            try:
                return connect.finish_payout(self.state, row, failure=failure)
            finally:
                self.state.account = None

    # ---- subscriptions ----

    def renew(self, subscription: str, *, tax_cents: int = 0) -> Object:
        """Let the next period of a subscription begin; return its invoice (the subscription if it ended instead)."""
        with self.state.lock:
            return plans.renew(self.state, self._get("subscription", subscription), tax_cents=tax_cents)

    def end_subscription(self, subscription: str) -> Object:
        """Let a subscription end now, as after the last failed attempt or in the dashboard."""
        with self.state.lock:
            return plans.end(self.state, self._get("subscription", subscription))

    # ---- helpers ----

    def _get(self, kind: str, object_id: str) -> Object:
        row = self.state.objects.get(object_id)
        if row is None or row["object"] != kind:
            raise AssertionError(f"the fake has no {kind} {object_id}")
        return row

    def _charge(self, object_id: str) -> Object:
        if object_id.startswith("pi_"):
            object_id = self._get("payment_intent", object_id)["latest_charge"]
        return self._get("charge", object_id)
