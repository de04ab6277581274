"""Pages of apps: who sees them, what they show, what a change does."""

from typing import Any

import pytest
from django.test import Client

from apps.billing.services.allowances import monthly_allowance
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.developers.models import Role
from apps.features.models import App, PricingTerms
from apps.features.queries import app_by_id, load_terms
from apps.features.services.apps import create_app, set_app_terms, suspend_app
from apps.features.services.terms import TermsInput
from apps.usage.services.days import rebuild_days
from apps.usage.services.rating import rate_pending
from tests.console.factories import Page
from tests.console.seats import ACTOR, House, make_house, new_person

pytestmark = pytest.mark.django_db
READ = ("", "apps/", "apps/{app}/")
CHANGE = (
    "apps/new",
    "apps/{app}/edit",
    "apps/{app}/prices",
    "apps/{app}/switch",
    "apps/{app}/features/new",
    "apps/{app}/features/default/settings",
    "apps/{app}/features/default/switch",
)
READ_MORE = (
    "apps/{app}/first-call",
    "apps/{app}/first-call/state",
    "apps/{app}/features/default/",
    "apps/{app}/features/default/versions",
)


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def house() -> House:
    return make_house()


def path_of(house: House, path: str) -> str:
    return house.url(path.format(app=house.app_id))


@pytest.mark.parametrize("path", [*READ, *READ_MORE, *CHANGE])
def test_owner_sees_it_a_stranger_and_a_visitor_do_not(house: House, path: str, client: Client) -> None:
    url = path_of(house, path)
    answered = house.owner.get(url)
    assert answered.status_code == 200
    found = Page(answered.content.decode())
    assert found.inline == [] and len(found.ids) == len(set(found.ids))
    assert new_person("eve")[0].get(url).status_code == 404
    assert client.get(url)["location"].startswith("/accounts/login/")


@pytest.mark.parametrize("path", [*READ, *READ_MORE, *CHANGE])
@pytest.mark.parametrize("role", [Role.ADMIN, Role.ANALYST, Role.FINANCE])
def test_roles_read_all_and_builders_change(house: House, path: str, role: str) -> None:
    expected = 403 if path in CHANGE and role != Role.ADMIN else 200
    assert house.member(role).get(path_of(house, path)).status_code == expected


@pytest.mark.parametrize("path", [path for path in (*READ, *READ_MORE, *CHANGE) if "{app}" in path])
def test_app_of_another_developer_is_not_there(house: House, path: str) -> None:
    from apps.developers.services.developers import create_developer

    other = create_developer("Other", "o@example.com", now=now(), actor=ACTOR)
    theirs = create_app(developer_id=other, name="Theirs", now=now(), actor=ACTOR)
    url = house.url(path.format(app=theirs))
    assert house.owner.get(url).status_code == 404
    assert house.owner.post(url, {"to": "off", "language": "curl", "feature": "default"}).status_code == 404
    found = app_by_id(theirs)
    assert found is not None and found.active


def test_analyst_changes_nothing(house: House) -> None:
    analyst = house.member(Role.ANALYST)
    for path in (*CHANGE, "apps/{app}/first-call", "apps/{app}/features/default/"):
        assert analyst.post(path_of(house, path), {"to": "off", "action": "save"}).status_code == 403
    assert App.objects.get().status == "active"


@pytest.mark.parametrize("path", [*READ, *READ_MORE, *CHANGE])
def test_any_page_takes_twelve_queries_at_most_however_many_rows(
    house: House, path: str, django_assert_max_num_queries: Any
) -> None:
    url = path_of(house, path)
    house.desk.served()
    rate_pending(now=now())
    rebuild_days()
    house.owner.get(url)  # what a process reads once
    counts = []
    for _ in range(2):
        with django_assert_max_num_queries(12) as queries:
            assert house.owner.get(url).status_code == 200
        counts.append(len(queries))
        for number in range(2):
            app = create_app(developer_id=house.developer_id, name=f"App {number}", now=now(), actor=ACTOR)
            house.desk.served(app_id=app, end_user_id=f"usr_{app}")
        rate_pending(now=now())
        rebuild_days()
    assert counts[0] == counts[1]


def test_pages_show_calls_and_shares(house: House) -> None:
    for _ in range(3):
        house.desk.served()
    rate_pending(now=now())
    rebuild_days()
    for path in ("", "apps/", "apps/{app}/"):
        html = house.owner.get(path_of(house, path)).content.decode()
        assert "Test app" in html
        assert '">3</td>' in html


def test_overview_tells_what_to_do_next(house: House) -> None:
    html = house.owner.get(house.url()).content.decode()
    assert "What to do next" in html and "Make the first call" in html
    assert html.count('<li class="done">') == 2  # an app, and a feature with a model
    house.desk.served()
    house.owner.post(house.app_url("edit"), {"name": "Test app", "allowed_origins": "https://example.com"})
    assert house.owner.get(house.url()).content.decode().count('<li class="done">') == 4
    assert "What to do next" not in house.member(Role.ANALYST).get(house.url()).content.decode()


def test_app_is_changed(house: House) -> None:
    given = {
        "name": "Renamed",
        "allowed_origins": "https://example.com\nhttps://b.example.com/",
        "monthly_allowance": "0.05",
        "anonymous_allowance": "0.01",
    }
    answered = house.owner.post(house.app_url("edit"), given)
    assert answered["location"] == house.app_url()
    app = App.objects.get()
    assert (app.name, app.allowed_origins) == ("Renamed", ["https://example.com", "https://b.example.com"])
    assert (monthly_allowance(app.id), app.anonymous_allowance) == (nano_from_usd("0.05"), nano_from_usd("0.01"))


def test_what_is_wrong_with_a_change_is_told_beside_its_field(house: House) -> None:
    url = house.app_url("edit")
    page = house.owner.post(url, {"name": "Renamed", "allowed_origins": "example.com/path"})
    assert page.status_code == 200
    assert page.context["form"].errors.keys() == {"allowed_origins"}
    page = house.owner.post(url, {"name": "Renamed", "monthly_allowance": "much", "anonymous_allowance": "-1"})
    assert page.context["form"].errors.keys() == {"monthly_allowance", "anonymous_allowance"}
    assert App.objects.get().name == "Test app"


def test_prices_alter_the_next_charge(house: House) -> None:
    before = house.desk.served().price_nano
    given = {"markup_bps": "100", "developer_pricing": "own_price", "own_price": "0.02"}
    assert house.owner.post(house.app_url("prices"), given)["location"] == house.app_url()
    app = App.objects.get()
    house.desk.terms = load_terms([app.terms_id])[app.terms_id]
    terms = house.desk.terms
    assert (terms.markup_bps, terms.developer_pricing, terms.own_price) == (
        10_000,
        "own_price",
        nano_from_usd("0.02"),
    )
    assert terms.share_bps == 4_000  # the operator's, as it was
    assert house.desk.served(terms_id=terms.id).price_nano == before * 20_000 // 14_000


def test_share_and_fees_cannot_be_posted(house: House) -> None:
    given = {"markup_bps": "40", "developer_pricing": "fee_only", "own_price": "0", "share_bps": "10000"}
    house.owner.post(house.app_url("prices"), {**given, "gateway_fee": "0", "platform_pricing": "fixed"})
    terms = App.objects.get().terms
    assert (terms.share_bps, terms.platform_pricing) == (4_000, "markup")
    assert PricingTerms.objects.count() == 1  # nothing was changed, so nothing was written


def test_own_price_below_the_gateway_fee_is_refused(house: House) -> None:
    terms = TermsInput(markup_bps=1_000, gateway_fee=nano_from_usd("0.01"), share_bps=4_000)
    set_app_terms(app_id=house.app_id, terms=terms, now=now(), actor=ACTOR)
    given = {"markup_bps": "10", "developer_pricing": "own_price", "own_price": "0.001"}
    page = house.owner.post(house.app_url("prices"), given)
    assert page.context["form"].errors.keys() == {"own_price"}


def test_fixed_price_is_the_operators(house: House) -> None:
    terms = TermsInput(platform_pricing="fixed", fixed_price=nano_from_usd("0.01"), share_bps=4_000)
    set_app_terms(app_id=house.app_id, terms=terms, now=now(), actor=ACTOR)
    page = house.owner.get(house.app_url("prices"))
    assert "markup_bps" not in page.context["form"].fields
    assert "$0.01 a call" in page.content.decode()


def test_operator_may_keep_prices_to_itself(house: House, settings: Any) -> None:
    settings.DEVELOPERS_SET_PRICES = False
    given = {"markup_bps": "10", "developer_pricing": "fee_only", "own_price": "0"}
    page = house.owner.post(house.app_url("prices"), given)
    assert "set by the operator here" in page.content.decode()
    assert App.objects.get().terms.markup_bps == 4_000


def test_app_is_switched_off_and_on_after_a_question(house: House) -> None:
    assert "Switch “Test app” off?" in house.owner.get(house.app_url("switch")).content.decode()
    assert App.objects.get().status == "active"
    for to, status in (("off", "disabled"), ("off", "disabled"), ("on", "active")):
        assert house.owner.post(house.app_url("switch"), {"to": to})["location"] == house.app_url()
        assert App.objects.get().status == status


def test_app_that_the_operator_switched_off_says_so_and_stays_off(house: House) -> None:
    suspend_app(app_id=house.app_id, now=now(), actor="test")
    page = house.owner.get(house.url(f"apps/{house.app_id}/")).content.decode()
    assert "suspended" in page and "Ask them why" in page
    refused = house.owner.post(house.url(f"apps/{house.app_id}/switch"), {"to": "on"})
    assert refused.status_code == 403 and "The operator has switched this app off." in refused.content.decode()
    settings_page = house.owner.get(house.url("settings")).content.decode()
    assert "suspended" in settings_page and f'settings/apps/{house.app_id}"' not in settings_page
    found = app_by_id(house.app_id)
    assert found is not None and not found.active


def test_page_tells_what_an_app_lacks(house: House) -> None:
    page = house.owner.get(house.app_url())
    assert dict(page.context["gates"]) == {
        "The app is on": True,
        "Allowed origins are named": False,
        "A limit bounds its calls; the operator sets it": False,
        "A feature has a manifest": False,
        "The price is above cost": True,
        "You have a share; the operator sets it": True,
    }
