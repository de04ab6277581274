"""A bridge of its own for each test, and servers that end with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest
from keyring.backends.fail import Keyring
from support import Bench, Inbox, ModelServer


@pytest.fixture(autouse=True)
def no_keychain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the keychain of whoever runs them."""
    monkeypatch.setattr(keyring, "get_keyring", Keyring)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Give an initialised bridge that is not running and looks for nothing."""
    bench = Bench(tmp_path / "home")
    bench.init()
    yield bench
    bench.stop()


@pytest.fixture
def serve() -> Iterator[Callable[..., ModelServer]]:
    """Give what starts model servers."""
    started: list[ModelServer] = []

    def start(*arguments: Any, **options: Any) -> ModelServer:
        started.append(ModelServer(*arguments, **options))
        return started[-1]

    yield start
    for server in started:
        server.served.stop()


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    inbox = Inbox()
    yield inbox
    inbox.served.stop()
