"""Stripe Connect: onboarding, what Stripe says of an account, and its end."""

from typing import Any

import pytest

from apps.billing.models.payouts import PayoutAccount
from apps.billing.services.payout_accounts import (
    account_info,
    disconnect,
    refresh_account,
    start_onboarding,
    use_bank_details,
)
from apps.billing.stripe_api import StripeUnknown
from apps.core.errors import BadRequest, Unavailable
from tests.billing.conftest import Deliver
from tests.billing.payout_factories import BANK, NOW, developer, paid_by_stripe, payout, proposed
from tests.fakestripe import FakeStripe

pytestmark = pytest.mark.django_db
URLS = {"return_url": "https://dev.example/back", "refresh_url": "http://localhost:3000/again"}


def onboard(developer_id: str, **changed: Any) -> str:
    given: dict[str, Any] = {"country": "US", **URLS, "now": NOW, "actor": "token:dtok_1", **changed}
    return start_onboarding(developer_id, **given).url


def test_onboarding_makes_one_account_and_a_link_each_time(fakestripe: FakeStripe) -> None:
    acme = developer()
    first, second = onboard(acme), onboard(acme)
    assert first != second
    (account,) = fakestripe.all("account")
    assert account["settings"]["payouts"]["schedule"] == {"interval": "manual"}
    assert account["metadata"] == {"developer_id": acme}
    found = account_info(acme)
    assert (found.rail, found.stripe_account_id, found.ready) == ("stripe", account["id"], False)


def test_what_stripe_requires_is_shown_until_it_is_through(fakestripe: FakeStripe, deliver: Deliver) -> None:
    acme = developer()
    onboard(acme)
    account = account_info(acme).stripe_account_id or ""
    found = refresh_account(account, now=NOW)
    assert found is not None
    assert found.required == ("external_account", "tos_acceptance.date")
    fakestripe.onboard(account)
    deliver()
    found = account_info(acme)
    assert (found.ready, found.details_submitted, found.required) == (True, True, ())
    fakestripe.restrict(account)
    deliver()
    found = account_info(acme)
    assert (found.ready, found.disabled_reason) == (False, "rejected.fraud")


def test_disconnecting_holds_what_waits_and_a_new_account_follows(fakestripe: FakeStripe, deliver: Deliver) -> None:
    acme = paid_by_stripe(fakestripe)
    payout_id = proposed(acme)
    account = account_info(acme).stripe_account_id or ""
    fakestripe.deauthorize(account)
    deliver()
    found = account_info(acme)
    assert (found.ready, found.disconnected, payout(payout_id).status) == (False, True, "held")
    onboard(acme)
    assert account_info(acme).stripe_account_id != account
    assert not account_info(acme).disconnected


def test_an_account_that_we_may_not_see_counts_as_disconnected(fakestripe: FakeStripe) -> None:
    acme = paid_by_stripe(fakestripe)
    account = account_info(acme).stripe_account_id or ""
    fakestripe.webhooks.drop = True
    fakestripe.deauthorize(account)
    found = refresh_account(account, now=NOW)
    assert found is not None and found.disconnected


def test_an_event_of_a_strange_account_changes_nothing(fakestripe: FakeStripe) -> None:
    assert refresh_account("acct_strange", now=NOW) is None
    disconnect("acct_strange", now=NOW)
    assert not PayoutAccount.objects.exists()


def test_an_unanswered_call_leaves_no_second_account(fakestripe: FakeStripe, settings: Any) -> None:
    settings.STRIPE_TIMEOUT = 0.5
    acme = developer()
    fakestripe.fail_next("timeout_after", method="POST", path="/v1/accounts")
    with pytest.raises(StripeUnknown):
        onboard(acme)
    onboard(acme)
    assert len(fakestripe.all("account")) == 1


def test_from_stripe_to_the_bank_and_back_keeps_the_account(fakestripe: FakeStripe) -> None:
    acme = paid_by_stripe(fakestripe)
    account = account_info(acme).stripe_account_id
    use_bank_details(acme, BANK, now=NOW, actor="token:dtok_1")
    found = account_info(acme)
    assert (found.rail, found.ready, found.details_hint) == ("manual", True, "3000")
    onboard(acme)
    found = account_info(acme)
    assert (found.rail, found.ready, found.stripe_account_id) == ("stripe", True, account)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "dev.example",
        "http://dev.example",
        "javascript:alert(1)",
        "https://",
        "https://u@dev.example",
        "https://[",
        "https://a b",
    ],
)
def test_addresses_are_checked(fakestripe: FakeStripe, url: str) -> None:
    with pytest.raises(BadRequest) as info:
        onboard(developer(), return_url=url)
    assert (info.value.code, info.value.param) == ("invalid_url", "return_url")
    assert fakestripe.calls == []


def test_onboarding_with_stripe_off_is_refused(settings: Any) -> None:
    settings.STRIPE_ENABLED = False
    with pytest.raises(Unavailable) as info:
        onboard(developer())
    assert info.value.code == "payments_off"
