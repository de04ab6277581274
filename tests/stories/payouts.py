"""Stories of money that goes out to developers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import User

from apps.billing.models.payouts import Payout
from apps.billing.services.payout_accounts import set_terms, use_bank_details
from apps.billing.services.payout_reviews import approve, mark_failed, mark_paid
from apps.billing.services.payouts import payable, propose, run_proposals
from apps.billing.services.verify import differences
from apps.core.errors import FaucetError
from apps.core.money import nano_from_usd, usd
from apps.developers.models import Developer
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.ledger.services.batches import Leg, post
from tests.billing.payout_factories import BANK, add_to_day
from tests.stories.storyteller import Story

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class Acme:
    """A developer whose revenue comes from one end user, and the operators who pay it."""

    def __init__(self) -> None:
        Developer.objects.create(id="acme", name="Acme", email="acme@example.com", created_at=NOW - 90 * DAY)
        use_bank_details("acme", BANK, now=NOW, actor="token:dtok_1")
        terms: dict[str, Any] = {"trusted": False, "hold_days": None, "reserve_bps": 0, "minimum": None}
        set_terms("acme", **terms, now=NOW, actor="user:1")
        self.operators = [f"user:{User.objects.create_user(name, is_staff=True).pk}" for name in ("ada", "bob")]

    def move(self, key: str, amount: str, when: datetime, *, kind: str = "usage") -> None:
        own, other = (
            open_account(kind=name, owner_id=owner, now=NOW)
            for name, owner in ((AccountKind.DEVELOPER, "acme"), (AccountKind.END_USER, "eve"))
        )
        nano = nano_from_usd(amount)
        if kind == "usage":
            add_to_day("acme", nano, when.date())
        legs = (Leg(own, nano), Leg(other, -nano))
        post(kind=kind, legs=legs, idempotency_key=key, now=NOW, actor="story", effective_at=when)

    def payable(self, now: datetime) -> str:
        found = payable("acme", now=now)
        return f"{usd(found.payable)} payable, {usd(found.immature)} maturing"


def outcome(call: Callable[[], Any]) -> str:
    try:
        return str(call() or "done")
    except FaucetError as error:
        return f"refused: {error.code}"


def payout() -> Story:
    story = Story("A payout")
    acme = Acme()
    acme.move("usage:req_1", "1200", NOW - 40 * DAY)
    acme.move("usage:req_2", "300", NOW - 5 * DAY)
    story.tell("Acme earned 1200 USD forty days ago and 300 five days ago.", acme.payable(NOW))
    acme.move("clawback:dp_1", "-50", NOW, kind="clawback")
    story.tell("A dispute is lost: 50 of the 300 are clawed back, and count at once.", acme.payable(NOW))
    run_proposals(now=NOW)
    row = Payout.objects.get()
    story.tell("The run of March proposes a payout.", f"{usd(row.amount_nano)} {row.status}")
    ada, bob = acme.operators
    paid: dict[str, Any] = {"reference": "SEPA-1", "reason": "sent", "now": NOW}
    story.tell("Ada marks it as paid.", outcome(lambda: mark_paid(row.pk, actor=ada, **paid)))
    looked: dict[str, Any] = {"reason": "looked at it", "now": NOW}
    story.tell("She approves it; so large a payout needs two.", outcome(lambda: approve(row.pk, actor=ada, **looked)))
    story.tell("She approves it again.", outcome(lambda: approve(row.pk, actor=ada, **looked)))
    story.tell("Bob approves it: the amount is set aside.", outcome(lambda: approve(row.pk, actor=bob, **looked)))
    story.tell("The bank has sent it.", outcome(lambda: mark_paid(row.pk, actor=bob, **paid)))
    story.tell("Once more.", outcome(lambda: mark_paid(row.pk, actor=bob, **paid)))
    later = NOW + 26 * DAY
    story.tell("Twenty-six days later the rest has matured.", acme.payable(later))
    return _named(story, row.pk)


def failed_payout() -> Story:
    story = Story("A payout that comes back")
    acme = Acme()
    acme.move("usage:req_1", "100", NOW - 40 * DAY)
    story.tell("Acme earned 100 USD forty days ago.", acme.payable(NOW))
    ada, bob = acme.operators
    payout_id = propose("acme", origin="operator", now=NOW, actor=ada)
    looked: dict[str, Any] = {"reason": "looked at it", "now": NOW}
    story.tell(
        "Ada proposes a payout, and approves it herself.", outcome(lambda: approve(payout_id, actor=ada, **looked))
    )
    story.tell("Bob approves it.", outcome(lambda: approve(payout_id, actor=bob, **looked)))
    mark_paid(payout_id, reference="SEPA-2", reason="sent", now=NOW, actor=bob)
    story.tell("The bank has sent it.")
    mark_failed(payout_id, reason="the account is closed", now=NOW + 3 * DAY, actor=bob)
    story.tell("Three days later it comes back: both steps are mirrored.", acme.payable(NOW + 3 * DAY))
    again = outcome(lambda: mark_failed(payout_id, reason="again", now=NOW + 3 * DAY, actor=bob))
    story.tell("Bob presses the button again.", again)
    return _named(story, payout_id)


def _named(story: Story, payout_id: str) -> Story:
    story.lines = [line.replace(payout_id, "pay_1") for line in story.lines]
    assert list(differences()) == []
    return story
