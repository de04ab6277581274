import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.test import Client
from redis.exceptions import ConnectionError as RedisConnectionError


def test_healthz_needs_nothing() -> None:
    assert Client().get("/healthz").json() == {"status": "ok"}


@pytest.mark.django_db
def test_readyz_is_ready_with_a_database() -> None:
    assert Client().get("/readyz").json() == {"status": "ok", "failing": []}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("owner", "name", "error", "failing"),
    [
        (connection, "ensure_connection", OperationalError("gone"), ["database"]),
        (cache, "get", RedisConnectionError("gone"), ["redis"]),
    ],
)
def test_readyz_names_what_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: Exception, failing: list[str]
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(owner, name, fail)
    answer = Client().get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "failing", "failing": failing})
