"""See the package."""

from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's own, but for what its pool does with connections that died while they were idle.

    psycopg's pool tries them one after the other with pauses that double: after a restart of the server, four of them
    outlast any patience, request after request. Here the first one that is found dead empties the pool.
    """

    @property
    def pool(self) -> Any:
        pool = super().pool
        if pool is not None and pool._check is ConnectionPool.check_connection:
            pool._check = lambda connection: _check(pool, connection)
        return pool


def _check(pool: ConnectionPool, connection: psycopg.Connection) -> None:
    try:
        pool.check_connection(connection)
    except psycopg.Error:
        pool.drain()
        raise
