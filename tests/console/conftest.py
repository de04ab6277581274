import pytest

from tests.billing.conftest import deliver, fakestripe
from tests.console.factories import Demo, make_demo

__all__ = ["deliver", "fakestripe"]


@pytest.fixture
def demo_app(db: None) -> Demo:
    """Give the demo's app, which nobody has tried yet."""
    return make_demo()
