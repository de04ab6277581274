"""A site with something of everything: what is looked at by the checks that go over every page.

One developer with two apps, a team, keys, calls, budgets, credit, revenue and payouts; an end user of an app of theirs,
who came by its link; and a neighbour who has nothing to do with any of it. `add_rows` adds a row to every list.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from apps.billing.models.plans import Subscription, SubscriptionInvoice
from apps.billing.months import month_after, month_of
from apps.billing.services.credits import grant_promo
from apps.billing.services.fees import FeeInput, charge_in_app, publish_fee, subscribe
from apps.billing.services.notices import notify
from apps.billing.services.payout_accounts import use_bank_details
from apps.billing.services.payout_reviews import approve, mark_paid
from apps.billing.services.plans import assign_plan, note_attempts
from apps.billing.services.value import enter_baseline
from apps.core import addresses
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.developers.models import Member, Role
from apps.developers.services.developers import add_member
from apps.developers.services.invitations import invite
from apps.developers.services.tokens import issue_token
from apps.features.queries import feature_by_key
from apps.features.services.apps import create_app, set_app_terms, update_app
from apps.features.services.bridges import create_bridge
from apps.features.services.features import create_feature
from apps.features.services.local_endpoints import add_endpoint
from apps.features.services.manifests import put_manifest
from apps.features.services.terms import TermsInput
from apps.features.services.tokens import issue_virtual_key
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.usage.rate import Tokens
from apps.usage.services.alerts import raise_alert, set_endpoint
from apps.usage.services.budgets import create_budget
from apps.usage.services.limits import create_limit_rule
from apps.vault.models import AppSecret
from apps.vault.services.app_secrets import issue_app_secret
from tests.billing.payout_factories import BANK, NOW, WHY, earn, operator, proposed
from tests.billing.plan_factories import measure, seed
from tests.billing.risk_factories import card, top_up
from tests.console.neighbours import Neighbour, make_neighbour
from tests.console.seats import ACTOR, House, make_house, new_person
from tests.console.user.factories import Visitor, other_user
from tests.live import MODEL, rate_all
from tests.usage.factories import Desk

USD = 10**9
WHO: dict[str, Any] = {"actor": ACTOR}
DAY = timedelta(days=1)
EXPIRING = {"remaining_usd": "1.0000", "lot_id": "lot_1", "expires_at": "2027-01-20T00:00:00+00:00"}
MANIFEST = "# What the diary may do.\nversion: 1\ndescription: Summaries of diary entries\nlimits:\n  rpm: {}\n"
MODELS = ("gpt-5-mini", "claude-sonnet-4-5", "qwen3-30b-a3b")
FEE: dict[str, Any] = {
    "name": "Bridge Pro",
    "type": "bridge_pro",
    "route": "byok",
    "amount": 2 * USD,
    "interval": "month",
    "developer_share_bps": 2_500,
    "disclosure_en": "Bridge Pro keeps your bridges connected, also while your computer sleeps.",
    "disclosure_zh": "Bridge Pro 让您的网桥保持连接。",
}


@dataclass
class Site:
    """The site; `args` are what the addresses' parameters stand for, `args_of` where a name means something else."""

    house: House
    visitor: Visitor
    neighbour: Neighbour
    other: Visitor
    args: dict[str, str] = field(default_factory=dict)
    args_of: dict[str, dict[str, str]] = field(default_factory=dict)
    rows: int = 0

    def kwargs(self, name: str, parameters: Any) -> dict[str, Any]:
        """Return what the address of this name is made with."""
        known = {**self.args, **self.args_of.get(name, {})}
        return {parameter: known[parameter] for parameter in parameters}


def furnish() -> Site:
    """Make a site with a row in each list."""
    addresses.forget()
    house = make_house(usd="40")
    visitor = Visitor(house.desk, house.desk.world)
    visitor.enter()
    site = Site(house, visitor, make_neighbour(), other_user(visitor, usd="1"))
    site.args = {"developer_id": house.developer_id, "app_id": house.app_id, "link_id": visitor.base.split("/")[2]}
    seed()
    assign_plan(house.developer_id, "pro", now=now(), **WHO)
    update_app(
        app_id=house.app_id, name="Diary for iPhone", allowed_origins=["https://diary.example"], now=now(), **WHO
    )
    terms = TermsInput(markup_bps=4_000, share_bps=4_000, byok_fee=nano_from_usd("0.0005"))
    set_app_terms(app_id=house.app_id, terms=terms, now=now(), **WHO)
    use_bank_details(house.developer_id, BANK, now=now() - 200 * DAY, **WHO)
    card(open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=house.developer_id, now=now()), now())
    card(visitor.world.account_id, now(), last4="1881")
    set_endpoint(house.developer_id, "https://hooks.example.com/modelfaucet", now=now(), **WHO)
    add_rows(site)
    _name_args(site)
    return site


def add_rows(site: Site) -> None:
    """Add a row to every list of every page: of the developer, of the end user, of the operator."""
    site.rows += 1
    number = site.rows
    made = create_app(developer_id=site.house.developer_id, name=f"Side project {number}", now=now(), **WHO)
    _build(site, made, number)
    _call(site, made, number)
    _limit(site, made, number)
    _team(site, number)
    _money(site, made, number)
    _end_user(site, number)
    addresses.forget()


def call_often(site: Site, days: int = 30) -> None:
    """Have calls made on each of the last days, so that charts and totals have something to show."""
    for day in range(days):
        for number in range(1 + (day * 7) % 4):
            model = MODELS[(day + number) % len(MODELS)]
            size = 900 + 350 * ((day * 5 + number * 3) % 7)
            failed = (day + number) % 11 == 0
            _served(site.house.desk, now() - day * DAY, Tokens(input=size, output=size // 3), model, failed=failed)
    for ago in range(1, 40, 3):
        earn(site.house.developer_id, f"{3 + ago % 5}.25", ago=ago * DAY)
    rate_all()


def _served(desk: Desk, at: datetime, tokens: Tokens, model: str, *, failed: bool = False, **row: Any) -> None:
    times = {"started_at": at.timestamp() - 1.2, "effective_at": at.timestamp()}
    words = {"first_byte_ms": 340, "duration_ms": 1_180, "served_model": model, "requested_model": "auto"}
    desk.served(tokens, charged=not failed, **{**times, **words, **row})


def _build(site: Site, app_id: str, number: int) -> None:
    house = site.house
    key = "summary" if number == 1 else f"summary-{number}"
    create_feature(app_id=house.app_id, key=key, name="Summaries", default_model=MODEL, now=now(), **WHO)
    feature = feature_by_key(house.app_id, "summary")
    assert feature is not None
    source = MANIFEST.format(number + 4)
    put_manifest(feature_id=feature.id, source=source, source_format="yaml", may_price=True, now=now(), **WHO)
    house.desk.world.key("developer", f"sk-live-0123456789abcdef-{number:04}", label=f"Main account {number}")
    issue_virtual_key(app_id=house.app_id, name=f"Nightly job {number}", feature_key="summary", now=now(), **WHO)
    issue_app_secret(app_id if number > 1 else house.app_id, now=now(), **WHO)
    issue_token(house.developer_id, f"CI {number}", ["usage:read", "apps:read"], now=now(), **WHO)


def _call(site: Site, app_id: str, number: int) -> None:
    whose = ((site.house.app_id, "summary", site.visitor.world.end_user_id), (app_id, "default", f"usr_{app_id}"))
    for app, feature, user in whose:
        _served(
            site.house.desk,
            now() - timedelta(minutes=number),
            Tokens(input=1_200, output=400),
            f"model-{number}",
            app_id=app,
            feature_key=feature,
            end_user_id=user,
        )
    rate_all()


def _limit(site: Site, app_id: str, number: int) -> None:
    developer_id = site.house.developer_id
    whose = {"developer_id": developer_id, "now": now(), **WHO}
    create_budget(scope="app", scope_id=app_id, period="month", amount=5 * USD * number, **whose)
    create_limit_rule(scope="app", scope_id=app_id, rpm=60 * number, now=now(), **WHO)
    for reader in (developer_id, None):
        about = {"scope": "app", "scope_id": site.house.app_id, "data": {}, "now": now()}
        raise_alert("anomaly", f"{reader}-{number}", developer_id=reader, **about)


def _team(site: Site, number: int) -> None:
    user = new_person(f"colleague{number}")[1]
    add_member(site.house.developer_id, user.pk, Role.ANALYST, now=now(), **WHO)
    address = f"grace{number}@example.com"
    token, _ = invite(site.house.developer_id, address, Role.ANALYST, by_role=Role.OWNER, now=now(), **WHO)
    site.args.setdefault("token", token)


def _money(site: Site, app_id: str, number: int) -> None:
    developer_id = site.house.developer_id
    account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=developer_id, now=now())
    grant_promo(account, 3 * USD, reason="Welcome", expires_at=now() + number * 20 * DAY, now=now(), **WHO)
    notify(account, "credit_expiring", period_key=str(number), data=EXPIRING, now=now())
    top_up(account, now() - number * DAY, cents=2_500)
    earn(developer_id, "140")
    earn(developer_id, "1.5", ago=number * DAY)
    payout = proposed(developer_id, origin="operator")
    approve(payout, actor=operator(), **WHY)
    mark_paid(payout, actor=operator(), reference=f"SEPA-{number}", reason="sent", now=NOW)
    enter_baseline(
        developer_id,
        month_after(month_of(now()), -number),
        40 * USD,
        evidence=f"Invoice {number}",
        accepted=number == 1,
        now=now(),
        **WHO,
    )
    publish_fee(f"fee-{number}", FeeInput(**{**FEE, "name": f"Bridge Pro {number}"}), now=now(), **WHO)
    charge_in_app(site.house.app_id, f"fee-{number}", required=False, now=now(), **WHO)
    note_attempts(developer_id, [("custom_rules", "value_pricing", "semantic_cache")[number % 3]], **_about(app_id))
    subscription = Subscription.objects.get(developer_id=developer_id)
    SubscriptionInvoice.objects.create(
        id=f"in_{number}",
        subscription_id=subscription.pk,
        developer_id=developer_id,
        paid=False,
        amount_nano=99 * USD,
        tax_nano=0,
        created_at=now(),
    )
    measure()


def _about(subject: str) -> dict[str, Any]:
    return {"subject": subject, "now": now(), **WHO}


def _end_user(site: Site, number: int) -> None:
    world = site.visitor.world
    world.key("end_user", f"sk-mine-0123456789abcdef-{number:04}", label=f"Mine {number}")
    top_up(world.account_id, now() - number * DAY)
    notify(world.account_id, "credit_expiring", period_key=str(number), data=EXPIRING, now=now())
    fee = f"fee-{number}"
    told = subscribe(world.end_user_id, world.app_id, fee, amount=2 * USD, language="en", now=now(), **WHO)
    site.args.setdefault("subscription_id", told.subscription_id or "")
    made = create_bridge(end_user_id=world.end_user_id, name=f"Mac {number}", now=now(), **WHO)
    server = {"kind": "ollama", "base_url": "http://127.0.0.1:11434/v1", "models": [{"id": "llama3.2:3b"}]}
    endpoint = add_endpoint(end_user_id=world.end_user_id, name=f"Ollama {number}", bridge_id=None, now=now(), **server)
    site.args.setdefault("bridge_id", made.bridge_id)
    site.args.setdefault("endpoint_id", endpoint)
    whose = {"scope": "end_user", "scope_id": world.end_user_id, "end_user_id": world.end_user_id}
    if number < 3:
        period = ("day", "month")[number - 1]
        create_budget(**whose, period=period, amount=5 * USD, thresholds=(), now=now(), **WHO)


def _name_args(site: Site) -> None:
    from apps.billing.models.payouts import Payout
    from apps.billing.models.top_ups import TopUp
    from apps.developers.models import DeveloperToken, Invitation
    from apps.features.models import VirtualKey
    from apps.usage.models import Budget, UsageEvent
    from apps.vault.models import ProviderCredential

    world, developer_id = site.visitor.world, site.house.developer_id
    account = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=developer_id, now=now())
    mine, theirs = (ProviderCredential.objects.get(owner_class=whose).pk for whose in ("end_user", "developer"))
    bought = TopUp.objects.get(account_id=world.account_id).pk
    site.args |= {
        "key": "summary",
        "feature_key": "summary",
        "number": "1",
        "kind": "usage",
        "name": "calls",
        "plan_key": "basic",
        "key_id": theirs,
        "budget_id": Budget.objects.get(developer_id=developer_id).pk,
        "invitation_id": Invitation.objects.get().pk,
        "member_id": Member.objects.get(developer_id=developer_id, role=Role.ANALYST).pk,
        "payout_id": Payout.objects.get(developer_id=developer_id).pk,
        "request_id": UsageEvent.objects.filter(app_id=site.house.app_id).latest("id").request_id,
        "secret_id": AppSecret.objects.get(app_id=site.house.app_id).pk,
        "token_id": DeveloperToken.objects.get(developer_id=developer_id).pk,
        "top_up_id": TopUp.objects.get(account_id=account).pk,
    }
    site.args_of = {
        "console:key-revoke": {"key_id": VirtualKey.objects.get(app_id=site.house.app_id).pk},
        "me:top-up": {"top_up_id": bought},
        "me:refund": {"top_up_id": bought},
        **{f"me:{name}": {"key_id": mine} for name in ("key", *(f"key-{v}" for v in KEY_VERBS))},
    }


KEY_VERBS = ("validate", "rotate", "switch", "delete")
