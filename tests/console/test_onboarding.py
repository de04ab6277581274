"""From signing up to a first call: a developer with credit, an app, a key that is shown once, and the call."""

import re
import subprocess
import time
from typing import Any

import pytest
from django.test import Client

from apps.billing.models import CreditLot
from apps.billing.services.allowances import monthly_allowance
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.developers.models import Member
from apps.features.models import App, AppFeature, VirtualKey
from apps.features.services.tokens import issue_virtual_key
from apps.ledger.models import AccountKind
from apps.ledger.queries import account_id, balance
from apps.ledger.services.accounts import open_account
from apps.usage.services.rating import rate_pending
from apps.vault.models import AppSecret
from tests.billing.credit_factories import paid
from tests.console.seats import ACTOR, House, make_house, new_person
from tests.live import MODEL, World

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "127.0.0.1"]


@pytest.fixture
def house(db: None) -> House:
    return make_house()


def credit(developer_id: str) -> int:
    account = account_id(AccountKind.DEVELOPER_CREDIT, developer_id)
    return 0 if account is None else balance(account).available


def start(client: Client, url: str, **given: str) -> Any:
    values = {"name": "Diary", "allowed_origins": "https://diary.example.com", "model": MODEL, "language": "curl"}
    return client.post(f"{url}apps/new", {**values, "template": "", **given})


def test_first_developer_of_a_person_is_given_credit_once(settings: Any) -> None:
    settings.STARTER_CREDIT_USD = "0.75"
    client, user = new_person("ada")
    for name in ("Engines", "Looms"):
        client.post("/console/new", {"name": name})
    members = Member.objects.filter(user=user).order_by("created_at", "id")
    assert [credit(member.developer_id) for member in members] == [nano_from_usd("0.75"), 0]
    lot = CreditLot.objects.get()
    assert lot.kind == "promo" and lot.expires_at is not None
    assert (lot.expires_at - now()).days == settings.STARTER_CREDIT_DAYS - 1


def test_starter_credit_of_nothing_gives_nothing(settings: Any) -> None:
    settings.STARTER_CREDIT_USD = "0"
    client, user = new_person("ada")
    client.post("/console/new", {"name": "Engines"})
    assert credit(Member.objects.get(user=user).developer_id) == 0
    assert not CreditLot.objects.exists()


@pytest.mark.parametrize(
    ("template", "key"), [("", "default"), ("summary.en", "summary"), ("translate.en", "translate")]
)
def test_app_begins_with_a_feature_on_the_standard_terms(house: House, settings: Any, template: str, key: str) -> None:
    settings.APP_MARKUP_BPS, settings.APP_SHARE_BPS = 2_500, 6_000
    answered = start(house.owner, house.url(), template=template, language="python")
    app = App.objects.exclude(pk=house.app_id).get()
    assert answered["location"] == f"{house.url()}apps/{app.id}/first-call?feature={key}&language=python"
    assert (app.name, app.allowed_origins) == ("Diary", ["https://diary.example.com"])
    assert (app.terms.markup_bps, app.terms.share_bps) == (2_500, 6_000)
    feature = AppFeature.objects.get(app=app, key=key)
    assert (feature.default_model, feature.manifest is not None) == (MODEL, bool(template))


def test_what_is_wrong_is_told_and_nothing_is_made(house: House) -> None:
    page = start(house.owner, house.url(), allowed_origins="not an origin", template="summary.en")
    assert page.status_code == 200 and page.context["form"].errors.keys() == {"allowed_origins"}
    page = start(house.owner, house.url(), name=" ", model="no-model", template="no-template")
    assert page.context["form"].errors.keys() == {"name", "model", "template"}
    assert App.objects.count() == 1


def test_refusal_of_a_service_is_in_the_readers_language(house: House) -> None:
    given = {"name": "Diary", "allowed_origins": "diary.example.com", "model": MODEL, "language": "curl"}
    page = house.owner.post(f"{house.url()}apps/new", given, headers={"accept-language": "zh-CN"})
    assert page.context["form"].errors["allowed_origins"] == [
        "允许的来源由协议和主机组成，例如 https://example.com，不含路径。"
    ]


def test_template_that_the_model_cannot_serve_is_refused(house: House) -> None:
    page = start(house.owner, house.url(), template="extract.en")
    assert page.context["form"].errors["model"] == ["This template needs a model that can do this: json."]
    assert not App.objects.filter(developer_id=house.developer_id, name=page.context["form"]["name"].value()).exists()


def test_templates_are_in_the_readers_language(house: House) -> None:
    url = f"{house.url()}apps/new"
    assert "summary.en" in house.owner.get(url, headers={"accept-language": "en"}).content.decode()
    chinese = house.owner.get(url, headers={"accept-language": "zh-CN"}).content.decode()
    assert "summary.zh" in chinese and "summary.en" not in chinese


def test_installation_without_a_model_says_so(house: House) -> None:
    from apps.catalog.models import ModelOffer

    ModelOffer.objects.update(status="disabled")
    html = house.owner.get(f"{house.url()}apps/new").content.decode()
    assert "offers no model" in html and "<textarea" not in html


def test_key_is_shown_once_with_code_that_has_it(house: House) -> None:
    url = house.app_url("first-call")
    assert "mf_key_" not in house.owner.get(url).content.decode()
    answered = house.owner.post(url, {"language": "python", "feature": "default"})
    assert "no-store" in answered["cache-control"]
    html = answered.content.decode()
    [key] = set(re.findall(r"mf_key_[\w-]+", html))
    assert html.count(key) == 4  # by itself, and in three languages
    assert html.index("<h3>Python</h3>") < html.index("<summary>curl</summary>")
    assert "http://testserver/v1/chat/completions" in html and MODEL in html
    row = VirtualKey.objects.get()
    assert (row.app_id, row.feature.key if row.feature else None) == (house.app_id, "default")
    assert key not in house.owner.get(url).content.decode()


def test_new_key_takes_the_place_of_the_one_before_and_of_no_other(house: House) -> None:
    url = house.app_url("first-call")
    issue_virtual_key(app_id=house.app_id, name="Mine", now=now(), actor=ACTOR)
    for _ in range(2):
        house.owner.post(url, {"language": "curl", "feature": "default"})
    usable = VirtualKey.objects.filter(revoked_at=None).order_by("name").values_list("name", flat=True)
    assert list(usable) == ["First call", "Mine"]


def test_plan_without_room_for_a_key_says_so(house: House) -> None:
    from apps.features.entitlements import Entitlements
    from apps.features.services.entitlements import set_entitlements

    none = Entitlements("free", "", None, 0, None, ())
    set_entitlements(house.developer_id, none, now=now())
    page = house.owner.post(house.app_url("first-call"), {"language": "curl", "feature": "default"})
    assert page.status_code == 200 and "has 0 virtual keys" in page.content.decode()
    assert "mf_key_" not in page.content.decode()


def test_session_gets_a_secret_and_users_an_allowance_where_that_is_wanted(house: House) -> None:
    url = house.app_url("first-call")
    house.desk.world.virtual_key(usd="1")
    for allowance, included, left in (("", 0, "1"), ("on", nano_from_usd("0.05"), "0.75"), ("on", None, "0.75")):
        page = house.owner.post(url, {"language": "session", "feature": "default", "allowance": allowance})
        assert len(set(re.findall(r"mf_app_[\w-]+", page.content.decode()))) == 1
        assert monthly_allowance(house.app_id) == (nano_from_usd("0.05") if included is None else included)
        assert credit(house.developer_id) == nano_from_usd(left)
    assert AppSecret.objects.count() == 3


def test_developer_without_credit_is_told_before_the_call_is_refused(house: House) -> None:
    url = house.app_url("first-call")
    assert "no prepaid credit yet" in house.owner.get(url).content.decode()
    house.desk.world.virtual_key(usd="1")
    assert "no prepaid credit yet" not in house.owner.get(url).content.decode()


def test_page_waits_for_the_first_call_and_tells_of_it(house: House) -> None:
    url = house.app_url("first-call/state")
    waiting = house.owner.get(url).content.decode()
    assert f'hx-get="{url}"' in waiting and 'hx-trigger="every 2s"' in waiting
    event = house.desk.served()
    came = house.owner.get(url).content.decode()
    assert "It works" in came and event.request_id in came and "hx-trigger" not in came
    assert "It works" in house.owner.get(house.app_url("first-call")).content.decode()


def test_new_key_waits_for_a_call_of_its_own(house: House) -> None:
    house.desk.served(effective_at=time.time() - 60)
    page = house.owner.post(house.app_url("first-call"), {"language": "curl", "feature": "default"})
    html = page.content.decode()
    [address] = re.findall(r'hx-get="([^"]+)"', html)
    assert "It works" not in html and "Waiting for the first call" in house.owner.get(address).content.decode()
    house.desk.served(effective_at=time.time() + 1)
    assert "It works" in house.owner.get(address).content.decode()
    state = house.app_url("first-call/state")
    for nonsense in ("yesterday", "2026-01-01", "%00"):
        assert "It works" in house.owner.get(f"{state}?since={nonsense}").content.decode()


def test_failed_call_is_told_as_one(house: House) -> None:
    house.desk.served(charged=False, outcome="provider_failed", error_code="provider_timeout")
    html = house.owner.get(house.app_url("first-call/state")).content.decode()
    assert "no model answered" in html and "provider_timeout" in html and "It works" not in html


@pytest.mark.parametrize(("template", "language"), [("", "curl"), ("summary.en", "curl"), ("summary.en", "session")])
def test_code_on_the_page_works_as_it_stands(world: World, settings: Any, template: str, language: str) -> None:
    """Sign up, make an app, paste what the page shows into a shell, and see the call arrive."""
    settings.PUBLIC_BASE_URL = world.base_url
    settings.STARTER_CREDIT_USD = "1.00"
    client, _user = new_person("ada")
    url = client.post("/console/new", {"name": "Engines"})["location"].removesuffix("apps/new")
    if language == "session":  # only credit that was paid for pays for what users have included
        wallet = open_account(kind=AccountKind.DEVELOPER_CREDIT, owner_id=url.split("/")[-2], now=now())
        paid(wallet, nano_from_usd("1"), "top_1")
    first_call = start(client, url, template=template)["location"]
    key = "default" if not template else "summary"
    page = client.post(first_call, {"language": language, "feature": key, "allowance": "on"})
    [code] = [snippet.code for snippet in page.context["snippets"] if snippet.name == "curl"]
    run = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert '"error"' not in run.stdout and '"usage"' in run.stdout, run.stdout + run.stderr
    rate_pending(now=now())
    state = client.get(first_call.partition("?")[0] + "/state").content.decode()
    assert "It works" in state and f"<dd>{key}</dd>" in state
