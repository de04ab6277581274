"""What the tests of payouts are made of: developers with revenue, an account to pay it to, and operators."""

from datetime import date, timedelta
from typing import Any

from django.contrib.auth.models import User
from django.db.models import F

from apps.billing.models.payouts import Payout, PayoutAccount
from apps.billing.models.risk import RiskScore, RiskSignal
from apps.billing.services.payout_accounts import refresh_account, start_onboarding, use_bank_details
from apps.billing.services.payout_reviews import approve
from apps.billing.services.payouts import propose
from apps.core.clock import now as clock
from apps.core.ids import new_id
from apps.core.money import nano_from_usd
from apps.developers.services.developers import create_developer
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.ledger.services.accounts import open_accounts
from apps.ledger.services.batches import Leg, post
from apps.usage.days import SUMS
from apps.usage.models import UsageDay
from tests.fakestripe import FakeStripe

NOW = clock().replace(microsecond=0)
LONG_AGO = timedelta(days=200)
BANK = {
    "holder": "Acme GmbH",
    "country": "DE",
    "bank_name": "Bank",
    "iban": "DE89370400440532013000",
    "bic": "COBADEFF",
}
WHY = {"reason": "looked at it", "now": NOW}


def developer(name: str = "Acme") -> str:
    return create_developer(name, f"{name.lower()}@example.com", now=NOW - LONG_AGO, actor="test")


def earn(developer_id: str, amount: str, *, ago: timedelta = LONG_AGO, kind: str = "usage") -> int:
    """Post a developer's share that took effect `ago`, with its day; a negative one is a claw-back."""
    nano = nano_from_usd(amount)
    if kind == "usage":
        add_to_day(developer_id, nano, (NOW - ago).date())
    owners = [(AccountKind.DEVELOPER, developer_id), (AccountKind.PLATFORM, "operator")]
    accounts = open_accounts(owners, now=NOW)
    legs = (Leg(accounts[owners[0]], nano), Leg(accounts[owners[1]], -nano))
    return post(kind=kind, legs=legs, idempotency_key=new_id("test"), now=NOW, actor="test", effective_at=NOW - ago)


def add_to_day(developer_id: str, nano: int, day: date) -> None:
    """Add a share to the daily totals, as rating does with what it posts."""
    keys = {"developer_id": developer_id, "day": day, "app_id": "app_earned"}
    sums = dict.fromkeys((field.name for field in UsageDay._meta.fields if field.name in SUMS), 0)
    row, _ = UsageDay.objects.get_or_create(**keys, defaults=sums | {"calls": 1})
    UsageDay.objects.filter(pk=row.pk).update(developer_nano=F("developer_nano") + nano)


def paid_by_hand(amount: str = "100", name: str = "Acme") -> str:
    """Make a developer with matured revenue and bank details."""
    developer_id = developer(name)
    use_bank_details(developer_id, BANK, now=NOW, actor="token:dtok_1")
    earn(developer_id, amount)
    return developer_id


def paid_by_stripe(stripe: FakeStripe, amount: str = "100", name: str = "Acme") -> str:
    """Make a developer with matured revenue and a connected account that is through its onboarding."""
    developer_id = developer(name)
    urls = {"return_url": "https://dev.example/back", "refresh_url": "https://dev.example/again"}
    start_onboarding(developer_id, country="US", **urls, now=NOW, actor="token:dtok_1")
    connected = PayoutAccount.objects.get(pk=developer_id).stripe_account_id
    assert connected is not None
    stripe.onboard(connected)
    refresh_account(connected, now=NOW)
    earn(developer_id, amount)
    stripe.fund(10_000_00)
    return developer_id


def operator(name: str = "ada") -> str:
    """Make an operator and return the name under which reviews know them."""
    return f"user:{User.objects.get_or_create(username=name, defaults={'is_staff': True})[0].pk}"


def proposed(developer_id: str, **more: Any) -> str:
    return propose(developer_id, **{"origin": "scheduled", "now": NOW, "actor": "system", **more})


def approved(developer_id: str, *operators: str) -> str:
    """Propose a payout and have it approved by each of the operators, by default one."""
    payout_id = proposed(developer_id)
    for name in operators or ("ada",):
        approve(payout_id, actor=operator(name), **WHY)
    return payout_id


def payout(payout_id: str) -> Payout:
    return Payout.objects.get(pk=payout_id)


def posted(kind: str, owner_id: str) -> int:
    """Return an account's balance in nano-USD, 0 where it was never opened."""
    found = account_id(kind, owner_id)
    return 0 if found is None else balance(found).posted


def score(subject_id: str, value: int, *, kind: str = "developer") -> None:
    """Store a risk score with one signal."""
    row = RiskScore.objects.create(
        id=new_id("rsk"), subject_kind=kind, subject_id=subject_id, score=value, computed_at=NOW, confirmed_at=NOW
    )
    if value:
        values = {"code": "velocity", "value": 9, "threshold": 3, "unit": "calls", "explanation": "Many calls at once."}
        RiskSignal.objects.create(score=row, points=value, **values)
