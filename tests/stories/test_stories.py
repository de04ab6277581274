"""Textbook stories of money. What each does to the ledger stands beside this file, to be read and reviewed.

Run with WRITE_STORIES=1 to write the texts again after a change that is meant.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import transaction

from apps.core.errors import FaucetError
from apps.core.money import nano_from_usd
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import freeze_wallet, open_account
from apps.ledger.services.batches import Capture, Leg, Posting, post_batch
from apps.ledger.services.holds import expire_hold
from apps.ledger.services.transfers import adjust, grant, reverse, top_up, transfer
from tests.ledger.factories import meter, sql, take
from tests.stories.payouts import failed_payout, payout
from tests.stories.storyteller import HERE, Story

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LEASE = NOW + timedelta(seconds=120)
WHO = {"now": NOW, "actor": "story"}


def open_(kind: str, owner_id: str) -> int:
    return open_account(kind=kind, owner_id=owner_id, now=NOW)


def user(name: str, funds: str) -> int:
    account_id = open_(AccountKind.END_USER, name)
    top_up(account_id, nano_from_usd(funds), source="stripe", idempotency_key=f"stripe:{name}", **WHO)
    return account_id


def hold(request_id: str, account_id: int, amount: str, *, minimum: str | None = None) -> str:
    least = nano_from_usd(minimum or amount)
    return take(request_id, account_id, nano_from_usd(amount), minimum=least, expires_at=LEASE)[2]


def rate(request_id: str, payer: int, *, price: str, cost: str, developer: str, platform: str) -> int:
    """Post the split of a call and settle its hold, as rating does."""
    legs = (
        (payer, -nano_from_usd(price)),
        (open_(AccountKind.PROVIDER_COST, "openai"), nano_from_usd(cost)),
        (open_(AccountKind.DEVELOPER, "acme"), nano_from_usd(developer)),
        (open_(AccountKind.PLATFORM, "operator"), nano_from_usd(platform)),
    )
    posting = Posting(
        f"usage:{request_id}", "usage", [Leg(*leg) for leg in legs if leg[1]], NOW, {"request_id": request_id}
    )
    with transaction.atomic():
        return post_batch([posting], [Capture(request_id, nano_from_usd(price))], **WHO)[f"usage:{request_id}"]


SPLIT = {"price": "0.0140", "cost": "0.0100", "developer": "0.0016", "platform": "0.0024"}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(FaucetError) as error:
        call()
    return f"refused: {error.value.code}"


def paid_call() -> Story:
    story = Story("A call that is paid")
    ada = open_(AccountKind.END_USER, "ada")
    top_up(ada, nano_from_usd("5"), source="stripe", idempotency_key="stripe:evt_1", **WHO)
    story.tell("Ada tops up 5 USD.")
    top_up(ada, nano_from_usd("5"), source="stripe", idempotency_key="stripe:evt_1", **WHO)
    story.tell("Stripe delivers the same event once more.")
    story.tell("She asks. The worst case costs 0.0500 and is held.", hold("req_1", ada, "0.05"))
    story.tell("The answer is finished: it costs 0.0140, the rest is hers again.", meter("req_1", 14_000_000))
    rate("req_1", ada, **SPLIT)
    story.tell("Rating posts the split: cost 0.0100, markup 40 %, the developer's share 40 % of the margin.")
    rate("req_1", ada, **SPLIT)
    story.tell("The worker is killed before it can say so, and another rates the call again.")
    return story


def refused_and_clamped() -> Story:
    story = Story("Two calls on the money for one and a half")
    bo = user("bo", "0.15")
    story.tell("Bo has 0.15 USD.")
    story.tell("A first call holds its worst case, 0.10.", hold("req_1", bo, "0.10"))
    story.tell("A second one needs 0.10 as well, and takes no less.", hold("req_2", bo, "0.10"))
    story.tell("A third one takes what there is, if it is at least 0.02.", hold("req_3", bo, "0.10", minimum="0.02"))
    story.tell("A fourth one asks for the same.", hold("req_4", bo, "0.10", minimum="0.02"))
    sql("SELECT * FROM ledger_void_holds(ARRAY['req_1'])")
    story.tell("The first call failed before its first byte: its hold is given back.")
    return story


def refund() -> Story:
    story = Story("A refund")
    ada = user("ada", "1")
    hold("req_1", ada, "0.05")
    meter("req_1", 14_000_000)
    call = rate("req_1", ada, **SPLIT)
    story.tell("Ada has paid for a call.")
    reverse(call, cause="refund:ticket_7", **WHO)
    story.tell("The answer was no good, support refunds it: each leg is mirrored.")
    reverse(call, cause="refund:ticket_7", **WHO)
    story.tell("Support presses the button again.")
    outcome = refusal(lambda: reverse(call, cause="refund:ticket_8", **WHO))
    story.tell("A second ticket asks for the same call.", outcome)
    return story


def chargeback() -> Story:
    story = Story("A chargeback")
    eve = user("eve", "5")
    for number in range(2):
        hold(f"req_{number}", eve, "2")
        meter(f"req_{number}", 2_000_000_000)
        rate(f"req_{number}", eve, price="2", cost="1.5", developer="0.2", platform="0.3")
    story.tell("Eve has topped up 5 USD and spent 4.")
    story.tell("A call of hers is under way.", hold("req_2", eve, "0.80"))
    adjust(eve, -nano_from_usd("5"), reason="chargeback dp_1", idempotency_key="stripe:dp_1", **WHO)
    story.tell("Her bank takes the 5 USD back: the wallet goes below zero, whatever is held.")
    freeze_wallet(eve, now=NOW, actor="story", reason="chargeback dp_1")
    story.tell("The operator freezes the wallet.")
    story.tell("A new call is refused.", hold("req_3", eve, "0.01"))
    meter("req_2", 500_000_000)
    rate("req_2", eve, price="0.5", cost="0.4", developer="0.04", platform="0.06")
    story.tell("The call under way ends and is charged all the same.")
    adjust(eve, nano_from_usd("5"), reason="dispute dp_1 won", idempotency_key="stripe:dp_1:won", **WHO)
    story.tell("The dispute is won: a new row, nothing is erased.")
    return story


def sweep(now: datetime) -> str:
    return "expired" if expire_hold("req_1", now=now) else "left alone"


def crash() -> Story:
    story = Story("A server that dies in the middle of an answer")
    ada = user("ada", "1")
    story.tell("Ada has 1 USD.")
    story.tell("A call is sent to the provider.", hold("req_1", ada, "0.05"))
    story.tell("The server dies. A sweeper looks before the lease is over.", sweep(NOW))
    story.tell("It looks again after the lease.", sweep(LEASE))
    cost = nano_from_usd("0.01")
    loss, provider = open_(AccountKind.PLATFORM_LOSS, "operator"), open_(AccountKind.PROVIDER_COST, "openai")
    with transaction.atomic():
        post_batch([Posting("usage:req_1", "loss", [Leg(loss, -cost), Leg(provider, cost)], NOW)], [], **WHO)
    story.tell("The provider will bill what it did: the platform bears it, Ada pays nothing.")
    return story


def allowance() -> Story:
    story = Story("A free allowance that runs out")
    app, ada = open_(AccountKind.APP_ALLOWANCE, "app_1"), open_(AccountKind.END_USER, "ada")
    grant(app, nano_from_usd("1"), idempotency_key="allowance:app_1:2026-03", **WHO)
    story.tell("The operator gives an app 1 USD for its guests.")

    def give(name: str) -> int:
        return transfer(
            from_account_id=app,
            to_account_id=ada,
            amount=nano_from_usd("0.75"),
            idempotency_key=name,
            kind="grant",
            **WHO,
        )

    give("guest:ada")
    story.tell("Ada gets 0.75 of it.")
    give("guest:ada")
    story.tell("She reloads the page.")
    story.tell("A second guest would get as much.", refusal(lambda: give("guest:bo")))
    return story


STORIES = (paid_call, refused_and_clamped, refund, chargeback, crash, allowance, payout, failed_payout)


@pytest.mark.django_db
@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_story_is_told_as_written(story: Callable[[], Story]):
    path = HERE / f"{story.__name__}.txt"
    text = story().text()
    if os.environ.get("WRITE_STORIES"):
        path.write_text(text)
    assert text == path.read_text()


def test_every_text_has_its_story():
    assert {path.stem for path in HERE.glob("*.txt")} == {story.__name__ for story in STORIES}
