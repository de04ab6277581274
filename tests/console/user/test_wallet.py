"""What end users see of their money and calls."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.core.money import usd
from tests.console.user.factories import Visitor, other_user

pytestmark = pytest.mark.django_db


def test_wallet_shows_what_there_is_and_asks_for_no_key(visitor: Visitor) -> None:
    page = visitor.text()
    assert "$10.00" in page
    assert "None yet." in page
    assert 'type="password"' not in page
    assert "<form" not in page.split("<main", 1)[1]


def test_balance_moves_while_a_call_runs(visitor: Visitor) -> None:
    assert 'hx-trigger="every 2s"' in visitor.text()
    visitor.desk.hold(250_000_000)
    tiles = visitor.text("balance")
    assert "<html" not in tiles
    assert "$9.75" in tiles
    assert "$0.25" in tiles


def test_calls_are_ones_own_and_paged(visitor: Visitor) -> None:
    mine = [visitor.desk.served() for _ in range(27)]
    other = other_user(visitor, usd="1")
    first = visitor.text("calls")
    assert first.count("<tr>") == 1 + 25
    newest, oldest = mine[-1], mine[0]
    assert newest.request_id in first
    assert oldest.request_id not in first
    older = first.split('href="?before=')[1].split('"')[0]
    second = visitor.text(f"calls?before={older}")
    assert (second.count("<tr>"), oldest.request_id in second) == (3, True)
    assert visitor.text("calls?before=nonsense").count("<tr>") == 26
    assert mine[0].request_id not in other.text("calls")


def test_receipt_is_for_its_user_alone(visitor: Visitor) -> None:
    event = visitor.desk.served()
    page = visitor.text(f"calls/{event.request_id}")
    assert event.request_id in page
    assert usd(event.price_nano).rstrip("0") in page
    assert other_user(visitor).get(f"calls/{event.request_id}").status_code == 404
    assert visitor.get("calls/req_nothing").status_code == 404


@pytest.mark.parametrize("path", ["", "calls"])
def test_lists_take_as_many_queries_with_one_row_as_with_three(
    visitor: Visitor, path: str, django_assert_num_queries: Any
) -> None:
    visitor.desk.served()
    visitor.get(path)  # what never changes is read once per process
    with CaptureQueriesContext(connection) as one:
        visitor.get(path)
    visitor.desk.served()
    visitor.desk.served()
    with django_assert_num_queries(len(one)):
        visitor.get(path)


def test_credit_says_where_it_came_from(visitor: Visitor) -> None:
    page = visitor.text("credit")
    assert "Where your credit came from" in page
    assert visitor.get("credit?before=%00").status_code == 200
