"""The few things that differ between the asynchronous client and the synchronous one that is made from it."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable

AsyncTokenSource = str | Callable[[], str | Awaitable[str]]
TokenSource = str | Callable[[], str]

AsyncLock = asyncio.Lock
Lock = threading.Lock
async_sleep = asyncio.sleep
sleep = time.sleep


async def async_resolve(source: AsyncTokenSource) -> str:
    """Return the text that a source is or gives."""
    if isinstance(source, str):
        return source
    found = source()
    return await found if inspect.isawaitable(found) else str(found)


def resolve(source: TokenSource) -> str:
    """Return the text that a source is or gives."""
    return source if isinstance(source, str) else source()
