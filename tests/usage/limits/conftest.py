import pytest

from tests.usage.limits.stores import Stores, maker


@pytest.fixture(params=["memory", "redis"])
def stores(request: pytest.FixtureRequest) -> Stores:
    """Give what opens a store of each kind."""
    return maker(request.param, request.getfixturevalue("redis_url") if request.param == "redis" else None)
