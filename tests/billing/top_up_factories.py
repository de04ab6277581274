"""What the tests of top-ups are made of: a wallet whose owner pays at the fake. Amounts are cents."""

from dataclasses import dataclass
from typing import Any

from apps.billing.models.top_ups import TopUp
from apps.billing.queries.top_ups import TopUpInfo
from apps.billing.services import verify as billing_proof
from apps.billing.services.customers import Owner, card_of
from apps.billing.services.top_ups import charge_saved_card, start_top_up
from apps.core.clock import now as clock
from apps.core.ids import new_id
from apps.core.money import NANO_PER_CENT
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.ledger.services.accounts import open_account
from tests.billing.credit_factories import spend
from tests.fakestripe import FakeStripe
from tests.features.factories import make_app, make_user
from tests.ledger.factories import assert_proven as assert_ledger_proven

ACTOR = "test"
BASE = "https://ai.example.com"


@dataclass
class Payer:
    """An end user's wallet, and the fake that its owner pays at."""

    stripe: FakeStripe
    account: int
    owner: Owner

    def start(self, amount: int = 1000, **asked: Any) -> TopUpInfo:
        asked = {"idempotency_key": new_id("key"), "now": clock(), "actor": ACTOR, "base_url": BASE, **asked}
        return start_top_up(self.account, amount_cents=amount, owner=self.owner, **asked)

    def charge(self, amount: int = 1000, **asked: Any) -> TopUpInfo:
        asked = {"idempotency_key": new_id("key"), "now": clock(), "actor": ACTOR, **asked}
        return charge_saved_card(self.account, amount_cents=amount, owner=self.owner, **asked)

    def pay(self, top_up: TopUpInfo, **how: Any) -> dict[str, Any]:
        """Pay on Stripe's page; nobody is told yet."""
        return self.stripe.pay(session_of(top_up), **how)

    def bought(self, deliver: Any, amount: int = 1000, *, save_card: bool = False, **how: Any) -> TopUpInfo:
        """Buy credit and have it noticed by the webhook."""
        top_up = self.start(amount, save_card=save_card)
        self.pay(top_up, **how)
        deliver()
        return get(top_up)

    def card(self) -> str:
        found = card_of(self.account)
        assert found is not None
        return found.payment_method_id

    @property
    def cents(self) -> float:
        """The wallet's balance."""
        return balance(self.account).posted / NANO_PER_CENT

    @property
    def frozen(self) -> bool:
        return balance(self.account).frozen

    def spend(self, cents: int, key: str = "") -> None:
        spend(self.account, cents * NANO_PER_CENT, key or new_id("req"))


def make_payer(stripe: FakeStripe, external_id: str = "usr_1") -> Payer:
    """Make an end user of an app of their own, with an empty wallet."""
    app = make_app()
    user = make_user(app, external_id)
    account = open_account(kind=AccountKind.END_USER, owner_id=user, now=clock())
    return Payer(stripe, account, Owner("end_user", user, app.id))


def get(top_up: TopUpInfo | str) -> TopUpInfo:
    from apps.billing.queries.top_ups import top_up as find

    found = find(top_up if isinstance(top_up, str) else top_up.id)
    assert found is not None
    return found


def row_of(top_up: TopUpInfo) -> TopUp:
    return TopUp.objects.get(pk=top_up.id)


def session_of(top_up: TopUpInfo) -> str:
    found = row_of(top_up).checkout_session_id
    assert found is not None
    return found


def charge_of(top_up: TopUpInfo) -> str:
    found = row_of(top_up).charge_id
    assert found is not None
    return found


def posted_cents(kind: str, owner_id: str) -> float:
    """Return the balance of an account of the instance, in cents; 0 where it was never opened."""
    found = account_id(kind, owner_id)
    return 0 if found is None else balance(found).posted / NANO_PER_CENT


def funding_cents() -> float:
    return posted_cents(AccountKind.FUNDING, "stripe")


def tax_cents() -> float:
    return posted_cents(AccountKind.TAX, "operator")


def assert_proven() -> None:
    """Assert that neither the ledger nor billing differs from what its other rows say."""
    assert_ledger_proven()
    assert [f"{d.table} {d.row_id}: {d.message}" for d in billing_proof.differences()] == []
