"""Loaded into the test run of OpenAI's own suite: its client gets a token of this server for an API key."""

import os
import sys


def pytest_collection_finish() -> None:
    sys.modules["tests.conftest"].api_key = os.environ["MODELFAUCET_TOKEN"]  # type: ignore[attr-defined]
