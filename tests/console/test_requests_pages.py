"""The request log and receipts: what is listed, how it is narrowed and paged, what a receipt tells and to whom."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from apps.console.paging import place_of, place_text
from apps.core.clock import now
from apps.developers.models import Role
from apps.features.models import Entitlement
from apps.features.services.apps import create_app
from apps.usage.models import UsageEvent
from apps.usage.rate import DEVELOPER_KEY, Tokens
from tests.console.seats import ACTOR, House, make_house, new_person
from tests.console.test_usage_pages import text_of
from tests.gateway.api_factories import make_stranger
from tests.live import rate_all

pytestmark = pytest.mark.django_db
ROUTING = {
    "rule": 1,
    "targets": [{"candidate": "double-0/test-model", "mode": "platform"}],
    "rejected": [{"candidate": "other/large", "mode": "platform", "reason": "resale_not_allowed"}],
}


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def house() -> House:
    return make_house()


def listed(house: House, query: str = "") -> list[str]:
    answered = house.owner.get(house.url(f"requests/{query}"))
    assert answered.status_code == 200
    return [row["call"].request_id for row in answered.context["rows"]]


def test_log_lists_newest_first_and_leads_to_receipts(house: House) -> None:
    calls = [house.desk.served(effective_at=time.time() - ago).request_id for ago in (30, 20, 10)]
    rate_all()
    assert listed(house) == calls[::-1]
    html = house.owner.get(house.url("requests/")).content.decode()
    assert all(f'href="{house.url(f"requests/{call}")}"' in html for call in calls)


def test_log_is_narrowed(house: House) -> None:
    other = create_app(developer_id=house.developer_id, name="Second app", now=now(), actor=ACTOR)
    in_app = house.desk.served(app_id=other).request_id
    of_model = house.desk.served(requested_model="asked", served_model="served").request_id
    of_feature = house.desk.served(feature_key="summary").request_id
    failed = house.desk.served(charged=False).request_id
    own_key = house.desk.served(mode=DEVELOPER_KEY).request_id
    old = house.desk.served(effective_at=time.time() - 10 * 86_400).request_id
    assert listed(house, f"?app={other}") == [in_app]
    assert listed(house, "?model=asked") == listed(house, "?model=served") == [of_model]
    assert listed(house, "?feature=summary") == [of_feature]
    assert listed(house, "?outcome=provider_failed") == [failed]
    assert listed(house, "?route=developer_key") == [own_key]
    assert old not in listed(house)
    day = now() - timedelta(days=10)
    assert listed(house, f"?begin={day:%Y-%m-%d}&end={day:%Y-%m-%d}") == [old]
    assert listed(house, "?model=nothing") == []


def test_log_is_searched_by_id(house: House) -> None:
    request_id = house.desk.served().request_id
    answered = house.owner.get(house.url(f"requests/?request_id={request_id}"))
    assert answered["location"] == house.url(f"requests/{request_id}")
    for wrong in ("req_nobody", "%00"):
        page = house.owner.get(house.url(f"requests/?request_id={wrong}"))
        assert page.status_code == 200
    assert "There is no such call" in text_of(house.owner.get(house.url("requests/?request_id=req_nobody")))


def test_log_is_walked_page_by_page_without_losing_a_call(house: House) -> None:
    moment = time.time() - 60
    calls = {house.desk.served(effective_at=moment).request_id for _ in range(53)}  # all of the same microsecond
    first = house.owner.get(house.url("requests/"))
    assert first.context["newest"] is None
    second = house.owner.get(house.url(f"requests/?{first.context['older']}"))
    pages = [[row["call"].request_id for row in page.context["rows"]] for page in (first, second)]
    assert [len(page) for page in pages] == [50, 3] and set(pages[0]) | set(pages[1]) == calls
    assert second.context["older"] is None and second.context["newest"] is not None


def test_rare_calls_are_looked_for_in_bounded_pieces(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.console.developer.requests.LOOK", 3)
    moment = time.time() - 60
    house.desk.served(charged=False, effective_at=moment - 10)
    rare = house.desk.served(charged=False, effective_at=moment - 5).request_id
    for ago in range(5):
        house.desk.served(effective_at=moment + ago)
    found, query, looks = [], "?outcome=provider_failed", 0
    while query:
        page = house.owner.get(house.url(f"requests/{query}"))
        found += [row["call"].request_id for row in page.context["rows"]]
        query, looks = f"?{page.context['older']}" if page.context["older"] else "", looks + 1
        assert looks < 5
    assert looks == 3 and len(found) == 2 and found[0] == rare


@pytest.mark.parametrize("text", ["", "x", "1-", "-1", "1-2-3", "١-٢", "9" * 18 + "-1", "1-" + "9" * 30])
def test_place_that_is_none_is_the_first_page(text: str) -> None:
    assert place_of(text) is None


def test_place_survives_its_address() -> None:
    place = (now(), 42)
    assert place_of(place_text(place)) == place


def test_receipt_tells_cost_tokens_attempts_route_and_price_version(house: House) -> None:
    tokens = Tokens(input=1_000, cache_read=200, output=30, reasoning=10)
    attempt = {"provider": "azure", "model": "m", "code": "provider_rate_limited", "status": 429, "ms": 31}
    call = house.desk.served(
        tokens, attempts=[{**attempt, "credential_id": "cred_secret"}], policy="cheapest_sufficient", routing=ROUTING
    )
    rate_all()
    page = text_of(house.owner.get(house.url(f"requests/{call.request_id}")))
    charge = UsageEvent.objects.select_related("charge").get(pk=call.pk).charge
    assert (
        f"${charge.price_nano / 1e9:.7f}".rstrip("0") in page and f"${charge.cost_nano / 1e9:.7f}".rstrip("0") in page
    )
    assert "Input from the provider’s cache" in page and "10 for reasoning" in page
    assert "$3.00" in page and "$4.20" in page and "40 %" in page  # list price, with the markup, markup and share
    assert (
        "azure" in page
        and "provider_rate_limited" in house.owner.get(house.url(f"requests/{call.request_id}")).content.decode()
    )
    assert "number 2 of the manifest" in page and "the cheapest that is good enough" in page
    assert "other/large" in page and "the provider’s terms allow no resale" in page
    assert call.price_version_id is not None and call.price_version_id in page
    assert "cred_secret" not in page and "cred_1" not in page


def test_receipt_before_rating_says_that_it_is_on_its_way(house: House) -> None:
    call = house.desk.served()
    assert "on its way to the ledger" in text_of(house.owner.get(house.url(f"requests/{call.request_id}")))


@pytest.mark.parametrize("role", Role.values)
def test_every_role_sees_receipts(house: House, role: str) -> None:
    call = house.desk.served()
    member = house.owner if role == Role.OWNER else house.member(role)
    assert member.get(house.url(f"requests/{call.request_id}")).status_code == 200


def test_receipt_of_another_developer_is_not_there(house: House, client: Client) -> None:
    stranger, app, _ = make_stranger()
    theirs = house.desk.served(developer_id=stranger, app_id=app).request_id
    mine = house.desk.served().request_id
    assert house.owner.get(house.url(f"requests/{theirs}")).status_code == 404
    assert new_person("eve")[0].get(house.url(f"requests/{mine}")).status_code == 404
    assert client.get(house.url(f"requests/{mine}"))["location"].startswith("/accounts/login/")
    assert house.owner.get(house.url("requests/%00")).status_code == 404


def test_plan_bounds_what_is_shown(house: House) -> None:
    old = house.desk.served(effective_at=time.time() - 3 * 86_400).request_id
    recent = house.desk.served().request_id
    assert listed(house) == [recent, old]
    Entitlement.objects.create(developer_id=house.developer_id, plan="free", retention_days=2, **_plan())
    assert listed(house) == [recent]
    assert house.owner.get(house.url(f"requests/{old}")).status_code == 404
    assert "Your plan keeps calls since" in text_of(house.owner.get(house.url("requests/")))


def _plan() -> dict[str, Any]:
    fields = {field.name for field in Entitlement._meta.get_fields()}
    given: dict[str, Any] = {"gates": [], "upgrade": "", "changed_at": now(), "changed_by": ACTOR}
    return {name: value for name, value in given.items() if name in fields}


def test_receipt_takes_twelve_queries_at_most(house: House, django_assert_max_num_queries: Any) -> None:
    call = house.desk.served(routing=ROUTING)
    rate_all()
    house.owner.get(house.url(f"requests/{call.request_id}"))
    with django_assert_max_num_queries(12):
        assert house.owner.get(house.url(f"requests/{call.request_id}")).status_code == 200
