"""A stateful Stripe on loopback for tests: see `fake.py` for what it can be told to do."""

from tests.fakestripe.fake import FakeStripe
from tests.fakestripe.hooks import Delivery, event_of, sign
from tests.fakestripe.server import FAULTS, Call

__all__ = ["FAULTS", "Call", "Delivery", "FakeStripe", "event_of", "sign"]
