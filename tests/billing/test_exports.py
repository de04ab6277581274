"""CSV by period: whose it is, what stands in its cells, and that it streams."""

import csv
import io
import socket
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.test import Client

from apps.billing.queries.exports import DEVELOPER_KINDS, OPERATOR_KINDS, operator_export
from apps.core.clock import now
from apps.core.csv_stream import APPLICATION, Cell, Column, CsvStream, Export, safe_text
from apps.core.errors import RateLimited, Unavailable
from apps.ledger.models import AccountKind
from apps.ledger.services.accounts import open_account
from apps.ledger.services.transfers import adjust
from tests.gateway.api_factories import (
    Api,
    code_of,
    error_of,
    make_api,
    make_developer_token,
    make_stranger,
    settle_call,
)
from tests.live import ACTOR, Server, rate_all, wait_until

# An export has a connection of its own: it sees what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

PRICE, SHARE = "0.0084945", "0.0009708"
# Fifty thousand rows of half a kilobyte: 25 MB, if somebody kept them.
MANY = 50_000
WIDE = Export(
    "wide",
    (Column("number", "n", Cell.NUMBER), Column("text", "repeat('x', 500)")),
    f"FROM (SELECT generate_series(1, {MANY}) AS n) s",
)
# A set-returning function in FROM would be written out whole first.
ENDLESS = Export(
    "endless", (Column("number", "n", Cell.NUMBER),), "FROM (SELECT generate_series(1, 2000000000) AS n) s"
)


@pytest.fixture
def api(client: Client) -> Api:
    return make_api(client)


@pytest.fixture
def streams() -> Iterator[list[CsvStream]]:
    """Give a list whose streams are closed afterwards."""
    opened: list[CsvStream] = []
    yield opened
    for stream in opened:
        stream.close()


async def _collect(response: Any) -> bytes:
    return b"".join([part async for part in response])


def body_of(response: Any) -> bytes:
    content: bytes = async_to_sync(_collect)(response)
    response.close()
    return content


def rows_of(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200, response.content
    return list(csv.DictReader(io.StringIO(body_of(response).decode())))


def path_of(api: Api, kind: str, query: str = "") -> str:
    return f"/v1/developers/{api.developer_id}/exports/{kind}.csv{query}"


def export(api: Api, kind: str, query: str = "") -> list[dict[str, str]]:
    return rows_of(api.get(path_of(api, kind, query), api.developer_token))


def running() -> int:
    """Return how many exports the server has open."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()",
            [APPLICATION],
        )
        count: int = cursor.fetchone()[0]
        return count


def test_usage_of_a_developer(api: Api) -> None:
    first = settle_call(api.world.token, at=datetime(2026, 5, 1, 12, tzinfo=UTC))
    second = settle_call(api.world.token, at=datetime(2026, 5, 2, 0, tzinfo=UTC), feature_key="=cmd|'/C calc'!A1")
    response = api.get(path_of(api, "usage", "?from=2026-05-01&to=2026-05-03"), api.developer_token)
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="usage-2026-05-01-2026-05-03.csv"'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-request-id"].startswith("req_")
    before, hostile = rows_of(response)
    assert (before["request_id"], hostile["request_id"]) == (first, second)
    assert before["at"] == "2026-05-01T12:00:00+00:00"
    assert (before["retail_price_usd"], before["channel_revenue_usd"], before["rated_at"]) == (PRICE, "", "")
    assert (before["input_tokens"], before["charged"], before["estimated"]) == ("1000", "true", "false")
    assert hostile["feature_key"] == "'=cmd|'/C calc'!A1"
    rate_all()
    assert [row["channel_revenue_usd"] for row in export(api, "usage")] == [SHARE, SHARE]
    assert [row["request_id"] for row in export(api, "usage", "?from=2026-05-02")] == [second]
    assert [row["request_id"] for row in export(api, "usage", "?to=2026-05-02")] == [first]
    assert "credential_id" not in before  # the operator's own


def test_a_call_that_was_not_charged_has_a_negative_number(api: Api) -> None:
    settle_call(api.world.token, charged=False)
    rate_all()
    (row,) = export(api, "usage")
    assert float(row["platform_revenue_usd"]) < 0
    assert row["platform_revenue_usd"].startswith("-0.")  # a number stays one: no apostrophe


def test_revenue_by_day(api: Api) -> None:
    for day in (1, 2, 2):
        settle_call(api.world.token, at=datetime(2026, 5, day, 23, 59, tzinfo=UTC))
    rate_all()
    settle_call(api.world.token, at=datetime(2026, 5, 2, tzinfo=UTC))  # not rated: no revenue yet
    rows = export(api, "revenue")
    assert [(row["date"], row["app_id"], row["calls"], row["channel_revenue_usd"]) for row in rows] == [
        ("2026-05-01", api.app_id, "1", SHARE),
        ("2026-05-02", api.app_id, "2", "0.0019416"),
    ]
    assert [row["date"] for row in export(api, "revenue", "?from=2026-05-02")] == ["2026-05-02"]


def test_ledger_of_a_developers_own_accounts(api: Api) -> None:
    request_id = settle_call(api.world.token)
    settle_call(api.world.virtual_key(usd="1"))
    api.fund_allowance("0.50")
    rate_all()
    own = open_account(kind=AccountKind.DEVELOPER, owner_id=api.developer_id, now=now())
    adjust(own, -800, reason="=HYPERLINK()", idempotency_key="adjust", now=now(), actor=ACTOR)
    rows = export(api, "ledger")
    assert {(row["account"], row["account_owner"]) for row in rows} == {
        ("developer", api.developer_id),
        ("developer_credit", api.developer_id),
        ("app_allowance", api.app_id),
    }
    assert [row["entry_id"] for row in rows] == sorted((row["entry_id"] for row in rows), key=int)
    assert (rows[-1]["kind"], rows[-1]["amount_usd"]) == ("adjustment", "-0.0000008")
    assert request_id in [row["request_id"] for row in rows]
    assert "memo" not in rows[0]
    with_memo = CsvStream(operator_export("ledger", api.developer_id, begin=None, end=None), owner="test")
    assert "=HYPERLINK" in with_memo.read().decode()  # within the JSON of a memo, which begins with a brace
    with_memo.close()


def test_payouts_without_any_are_a_heading(api: Api) -> None:
    body = body_of(api.get(path_of(api, "payouts"), api.developer_token)).decode()
    assert body.startswith("payout_id,developer_id,period,status,amount_usd,")
    assert body.count("\r\n") == 1


@pytest.mark.parametrize("kind", OPERATOR_KINDS)
def test_every_table_of_an_operator_runs_with_and_without_filters(api: Api, kind: str) -> None:
    settle_call(api.world.token)
    rate_all()
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    for developer_id, begin, end in ((None, None, None), (api.developer_id, moment, now())):
        stream = CsvStream(operator_export(kind, developer_id, begin=begin, end=end), owner="test")
        assert stream.read().endswith(b"\r\n")
        stream.close()


def test_calls_of_an_end_user_are_its_own(api: Api) -> None:
    other = api.world.new_session("bob", usd="1")
    mine, theirs = settle_call(api.world.token), settle_call(other.token)
    key = api.world.virtual_key(usd="1")
    keys = settle_call(key)
    path = "/v1/user/exports/usage.csv"
    for token, request_id in ((api.world.token, mine), (other.token, theirs), (key, keys)):
        (row,) = rows_of(api.get(path, token))
        assert (row["request_id"], row["price_usd"]) == (request_id, PRICE)
        assert not {"upstream_cost_usd", "channel_revenue_usd", "end_user_id"} & row.keys()
    assert code_of(api.get(path)) == (401, "missing_token")
    assert code_of(api.get(path, api.developer_token)) == (401, "invalid_token")
    assert code_of(api.get(f"{path}?from=x", api.world.token)) == (400, "invalid_type")


@pytest.mark.parametrize("kind", DEVELOPER_KINDS)
def test_exports_are_for_the_developer_alone(api: Api, kind: str) -> None:
    settle_call(api.world.token)
    rate_all()
    strange_id, _, strange_token = make_stranger()
    path = path_of(api, kind)
    assert code_of(api.get(path, strange_token)) == (404, "developer_not_found")
    strange_path = f"/v1/developers/{strange_id}/exports/{kind}.csv"
    assert code_of(api.get(strange_path, api.developer_token)) == (404, "developer_not_found")
    assert rows_of(api.get(strange_path, strange_token)) == []
    other_scope = "revenue:read" if kind == "usage" else "usage:read"
    assert code_of(api.get(path, make_developer_token(api.developer_id, [other_scope]))) == (403, "insufficient_scope")
    assert code_of(api.get(path)) == (401, "missing_token")
    assert code_of(api.get(path, api.world.token)) == (401, "invalid_token")


@pytest.mark.parametrize(
    ("query", "param"), [("from=x", "from"), ("from=2026-05-02&to=2026-05-01", "to"), ("bom=maybe", "bom")]
)
def test_a_wrong_parameter_is_named_before_anything_is_sent(api: Api, query: str, param: str) -> None:
    response = api.get(path_of(api, "usage", f"?{query}"), api.developer_token)
    assert response.status_code == 400
    assert error_of(response)["param"] == param


def test_an_unknown_table_is_not_found(api: Api) -> None:
    assert code_of(api.get(path_of(api, "secrets"), api.developer_token)) == (404, "unknown_url")
    assert code_of(api.get(path_of(api, "tax"), api.developer_token)) == (404, "unknown_url")  # an operator's


def test_a_byte_order_mark_is_had_for_the_asking(api: Api) -> None:
    with_mark = body_of(api.get(path_of(api, "usage", "?bom=1"), api.developer_token))
    without = body_of(api.get(path_of(api, "usage"), api.developer_token))
    assert with_mark == b"\xef\xbb\xbf" + without


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("plain", "plain"),
        ("", ""),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("＝1", "'＝1"),
        ("a=1", "a=1"),
    ],
)
def test_text_is_never_a_formula(text: str, cell: str) -> None:
    assert safe_text(text) == cell


def test_cells_survive_a_spreadsheets_separators(streams: list[CsvStream]) -> None:
    hostile = 'a,"b"\r\nc;d\t=e'
    export = Export(
        "hostile",
        (
            Column("text", "%(text)s::text"),
            Column("none", "NULL::bigint", Cell.USD),
            Column("minus", "-5", Cell.NUMBER),
            Column("usd", "-1", Cell.USD),
            Column("cents", "-1234", Cell.CENTS),
            Column("at", "timestamptz '2026-05-01 02:00+02'", Cell.TIME),
            Column("flag", "false", Cell.FLAG),
        ),
        "",
        {"text": hostile},
    )
    stream = CsvStream(export, owner="test")
    streams.append(stream)
    (row,) = csv.DictReader(io.StringIO(stream.read().decode(), newline=""))
    assert row == {
        "text": hostile,
        "none": "",
        "minus": "-5",
        "usd": "-0.000000001",
        "cents": "-12.34",
        "at": "2026-05-01T00:00:00+00:00",
        "flag": "false",
    }


def test_many_rows_take_the_memory_of_few(streams: list[CsvStream]) -> None:
    stream = CsvStream(WIDE, owner="test")
    streams.append(stream)
    tracemalloc.start()
    try:
        lines = size = 0
        while piece := stream.read():
            lines += piece.count(b"\r\n")
            size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (lines, size > MANY * 500) == (MANY + 1, True)
    assert peak < 6_000_000  # a thousand rows in a few forms; all of them would be 25 MB as bytes alone


def test_one_export_at_a_time(api: Api, streams: list[CsvStream]) -> None:
    streams.append(CsvStream(ENDLESS, owner=api.developer_id))
    response = api.get(path_of(api, "usage"), api.developer_token)
    assert code_of(response) == (429, "export_running")
    assert int(response.headers["retry-after"]) > 0
    streams.append(CsvStream(ENDLESS, owner="another"))  # another's are none of its business
    streams[0].close()
    assert export(api, "usage") == []


def test_no_more_exports_than_the_process_has_places(streams: list[CsvStream], settings: Any) -> None:
    settings.EXPORTS_AT_ONCE = 2
    streams += [CsvStream(ENDLESS, owner=f"test-{number}") for number in range(2)]
    with pytest.raises(RateLimited):
        CsvStream(ENDLESS, owner="test-2")
    streams[0].close()
    streams[0].close()  # gives its place back once
    streams.append(CsvStream(ENDLESS, owner="test-2"))
    with pytest.raises(RateLimited):
        CsvStream(ENDLESS, owner="test-3")


def test_an_export_that_is_forgotten_ends() -> None:
    stream = CsvStream(ENDLESS, owner="test")
    assert running() == 1
    del stream
    wait_until(lambda: running() == 0)


def test_an_export_that_cannot_begin_leaves_its_place(settings: Any) -> None:
    settings.EXPORTS_AT_ONCE = 1
    wrong = Export("wrong", (Column("number", "1/n", Cell.NUMBER),), "FROM generate_series(0, 1) n")
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            CsvStream(wrong, owner="test")
    CsvStream(ENDLESS, owner="test").close()


def test_an_export_is_cut_off_where_the_database_is_lost(streams: list[CsvStream]) -> None:
    stream = CsvStream(ENDLESS, owner="test")
    streams.append(stream)
    assert stream.read()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = %s AND datname = current_database()",
            [APPLICATION],
        )
    with pytest.raises(Unavailable):
        while stream.read():
            pass
    assert stream.read() == b""


def test_a_client_that_stops_reading_loses_its_query(streams: list[CsvStream], settings: Any) -> None:
    settings.READER_TIMEOUT = 1
    stream = CsvStream(ENDLESS, owner="test")
    streams.append(stream)
    assert stream.read() and running() == 1
    wait_until(lambda: running() == 0)
    with pytest.raises(Unavailable):
        stream.read()


@pytest.fixture
def live(server: Server, client: Client) -> Api:
    """Give the api before a real server, whose developer has many calls."""
    return make_api(client)


def _many_calls(api: Api, count: int) -> None:
    """Copy one rated call so often."""
    settle_call(api.world.token)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
            " WHERE attrelid = 'usage_events'::regclass AND attnum > 0 AND NOT attisdropped"
            " AND attname NOT IN ('id', 'request_id')"
        )
        (columns,) = cursor.fetchone()
        copies = f"SELECT 'req_copy' || n, {columns} FROM usage_events, generate_series(1, %s) n"  # noqa: S608
        cursor.execute(f"INSERT INTO usage_events (request_id, {columns}) {copies}", [count])


def test_streams_over_a_real_server(server: Server, live: Api) -> None:
    _many_calls(live, 20_000)
    headers = {"authorization": f"Bearer {live.developer_token}"}
    lines = 0
    with httpx.stream("GET", f"{server.base_url}{path_of(live, 'usage')}", headers=headers, timeout=60) as response:
        assert response.status_code == 200
        assert response.headers["transfer-encoding"] == "chunked"
        for chunk in response.iter_bytes():
            lines += chunk.count(b"\r\n")
    assert lines == 20_002
    wait_until(lambda: running() == 0)


def test_a_client_that_leaves_stops_the_query(server: Server, live: Api) -> None:
    _many_calls(live, 30_000)
    address = urlsplit(server.base_url)
    request = (
        f"GET {path_of(live, 'usage')} HTTP/1.1\r\nhost: {address.netloc}\r\n"
        f"authorization: Bearer {live.developer_token}\r\n\r\n"
    )
    with socket.create_connection((address.hostname, address.port)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sendall(request.encode())
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        # It does not read: the server waits for it with the query open, and takes no row more.
        assert running() == 1
    wait_until(lambda: running() == 0)
    assert export(live, "revenue") == []  # and may have the next one
