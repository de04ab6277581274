from typing import Any

import pytest

from tests.console.user.factories import Visitor, make_visitor


@pytest.fixture(autouse=True)
def test_host(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]


@pytest.fixture
def visitor(db: None) -> Visitor:
    """Give an end user with 10 USD in a browser that opened the app's link."""
    return make_visitor()
