"""The pool of Django's connections after the database went away."""

import threading
import time

import pytest
from django.db import connection, connections

pytestmark = pytest.mark.django_db(transaction=True)
IDLE = 6


def test_connections_that_died_idle_cost_no_patience() -> None:
    everybody = threading.Barrier(IDLE)

    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        everybody.wait(20)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(IDLE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool = connection.pool  # type: ignore[attr-defined]
    with connection.cursor() as cursor:
        assert pool.get_stats()["pool_available"] >= IDLE - 1
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connections.close_all()
    patience, pool.timeout = pool.timeout, 5.0
    try:
        began = time.monotonic()
        for _ in range(3):
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            connection.close()
        assert time.monotonic() - began < pool.timeout
    finally:
        pool.timeout = patience
