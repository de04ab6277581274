"""GET /v1/user/credits and the credit part of wallets: one's own lots, paged, in as few queries for many as for one."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.billing.services.credits import draw
from apps.billing.tasks import credits as tasks
from apps.core.clock import now
from apps.core.money import nano_from_usd
from apps.features.queries import authenticate
from apps.features.services.tokens import revoke_session
from tests.billing.credit_factories import ACTOR, assert_drawn, given, paid, spend
from tests.gateway.api_factories import Api, code_of, make_api, make_stranger, settle_call
from tests.live import rate_all

pytestmark = pytest.mark.django_db
ADDRESS = "/v1/user/credits"


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


def lots(api: Api, query: str = "", token: str | None = None) -> Any:
    response = api.get(f"{ADDRESS}{query}", token or api.world.token)
    assert response.status_code == 200, response.content
    return response.json()


def test_lots_with_their_draws_page_by_page(api: Api) -> None:
    account = api.world.account_id
    for number in range(4):
        given(account, nano_from_usd("1"), reference=f"promo_{number}", now=now())
    spend(account, nano_from_usd("1.5"), "req_1")
    draw(account, now=now())

    first = lots(api, "?limit=3")
    rest = lots(api, f"?limit=3&cursor={first['next_cursor']}")

    assert (first["has_more"], len(first["data"]), rest["has_more"], len(rest["data"])) == (True, 3, False, 2)
    shown = [(lot["reference"], lot["kind"], lot["remaining_usd"]) for lot in (*first["data"], *rest["data"])]
    assert shown == [
        ("promo_3", "promo", "1.0000"),
        ("promo_2", "promo", "1.0000"),
        ("promo_1", "promo", "0.5000"),
        # What was there before the first lot came was found when it came.
        (None, "other", "10.0000"),
        ("promo_0", "promo", "0.0000"),
    ]
    (drawn,) = rest["data"][1]["draws"]
    assert (drawn["kind"], drawn["amount_usd"]) == ("spent", "1.0000")
    assert rest["data"][1]["closed_at"] is not None
    assert lots(api, "?cursor=a")["data"] == []


def test_a_call_is_taken_from_what_is_consumed_first(api: Api) -> None:
    account = api.world.account_id
    paid(account, nano_from_usd("1"), "top_1", now=now())
    given(account, nano_from_usd("0.005"), now=now())
    settle_call(api.world.token)
    rate_all()

    shown = api.get("/v1/user/wallet", api.world.token).json()["credits"]
    assert [(credit["kind"], credit["remaining_usd"]) for credit in shown] == [
        ("other", "9.9965055"),
        ("paid", "1.0000"),
    ]
    assert tasks.draw_lots() == 1
    assert api.get("/v1/user/wallet", api.world.token).json()["credits"] == shown
    assert (tasks.draw_lots(), tasks.expire(), tasks.notices()) == (0, 0, 0)
    assert_drawn(account)


def test_one_sees_ones_own(api: Api) -> None:
    other = api.world.new_session("carol")
    given(api.world.account_id, 5, now=now())
    _, _, stranger = make_stranger()

    assert lots(api, token=other.token)["data"] == []
    assert code_of(api.get(ADDRESS)) == (401, "missing_token")
    assert code_of(api.get(ADDRESS, stranger)) == (401, "invalid_token")
    assert code_of(api.get(ADDRESS, api.world.virtual_key())) == (403, "end_user_required")
    assert code_of(api.get(f"/v1/developers/{api.developer_id}/credits", stranger)) == (404, "developer_not_found")
    revoke_session(session_id=authenticate(other.token, now=now()).id, now=now(), actor=ACTOR)
    assert code_of(api.get(ADDRESS, other.token)) == (401, "token_revoked")


@pytest.mark.parametrize("query", ["?limit=0", "?limit=x", "?limit=100000"])
def test_page_that_cannot_be(api: Api, query: str) -> None:
    assert api.get(f"{ADDRESS}{query}", api.world.token).status_code == 400


def test_three_lots_take_as_many_queries_as_one(api: Api) -> None:
    counts = []
    for more in (1, 2):
        for _ in range(more):
            given(api.world.account_id, 5, now=now())
        spend(api.world.account_id, 2, f"req_{more}")
        draw(api.world.account_id, now=now())
        with CaptureQueriesContext(connection) as captured:
            lots(api)
        counts.append(len(captured))
    assert counts[0] == counts[1]
