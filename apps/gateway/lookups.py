"""Look-ups in the database, a few at a time: each thing once, and the addresses that ask in turn.

A flood of tokens that nobody knows costs a query each. Whoever sends it waits behind themselves, not before the others.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from channels.db import database_sync_to_async

from apps.core.errors import Unavailable

T = TypeVar("T")

# At most half of the connections that the process may have.
LANES = 4
# A look-up takes milliseconds: what is further back than this would not be served within its asker's patience.
MOST_OF_ADDRESS = 1_000
MOST = 10_000
RETRY_AFTER = 2  # seconds


class _Lookup(Generic[T]):
    """One thing to look up, for all who ask for it meanwhile."""

    __slots__ = ("address", "arguments", "askers", "found", "key", "started")

    def __init__(self, key: Hashable, address: str, arguments: tuple[Any, ...]) -> None:
        self.key = key
        self.address = address
        self.arguments = arguments
        self.askers = 0
        self.started = False
        self.found: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.found.add_done_callback(_noticed)


class Lookups(Generic[T]):
    """Call `load` in threads, `lanes` of them; used from one event loop.

    At most `most` look-ups wait, and `most_of_address` for one address.
    """

    def __init__(
        self,
        load: Callable[..., T],
        *,
        lanes: int = LANES,
        most: int = MOST,
        most_of_address: int = MOST_OF_ADDRESS,
    ) -> None:
        # Threads of its own: the loop's may all be counting long prompts.
        executor = ThreadPoolExecutor(lanes, thread_name_prefix="lookups")
        self._load = database_sync_to_async(load, thread_sensitive=False, executor=executor)
        self._lanes = lanes
        self._most = most
        self._most_of_address = most_of_address
        self._lookups: dict[Hashable, _Lookup[T]] = {}
        # Those not started, by address; the address at the front is served next and goes to the back.
        self._waiting: OrderedDict[str, OrderedDict[Hashable, _Lookup[T]]] = OrderedDict()
        self._waiting_count = 0
        self._running: set[asyncio.Task[None]] = set()

    async def get(self, key: Hashable, *arguments: Any, address: str) -> T:
        """Return `load(*arguments)`, or what is being loaded already under the same key.

        Raises what `load` raises, and Unavailable (too_many_lookups) where too many are ahead.
        """
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._enqueue(_Lookup(key, address, arguments))
        lookup.askers += 1
        try:
            return await asyncio.shield(lookup.found)
        finally:
            lookup.askers -= 1
            if not lookup.askers and not lookup.started:
                self._take_out(lookup)
                del self._lookups[key]

    def _enqueue(self, lookup: _Lookup[T]) -> _Lookup[T]:
        queue = self._waiting.get(lookup.address)
        if self._waiting_count >= self._most or (queue is not None and len(queue) >= self._most_of_address):
            raise Unavailable(
                "Too many tokens are being looked up; nothing was charged.",
                code="too_many_lookups",
                retry_after=RETRY_AFTER,
            )
        if queue is None:
            queue = self._waiting[lookup.address] = OrderedDict()
        queue[lookup.key] = lookup
        self._waiting_count += 1
        self._lookups[lookup.key] = lookup
        if len(self._running) < self._lanes:
            lane = asyncio.get_running_loop().create_task(self._serve())
            self._running.add(lane)
            lane.add_done_callback(self._running.discard)
        return lookup

    def _take_out(self, lookup: _Lookup[T]) -> None:
        queue = self._waiting[lookup.address]
        del queue[lookup.key]
        self._waiting_count -= 1
        if not queue:
            del self._waiting[lookup.address]

    def _next(self) -> _Lookup[T]:
        address, queue = next(iter(self._waiting.items()))
        lookup = next(iter(queue.values()))
        self._waiting.move_to_end(address)
        self._take_out(lookup)
        lookup.started = True
        return lookup

    async def _serve(self) -> None:
        """Load what waits until nothing does."""
        while self._waiting:
            lookup = self._next()
            try:
                found = await self._load(*lookup.arguments)
            except Exception as error:
                lookup.found.set_exception(error)
            else:
                lookup.found.set_result(found)
            finally:
                del self._lookups[lookup.key]


def _noticed(found: "asyncio.Future[Any]") -> None:
    """Take note of an error whose askers have all given up, or asyncio complains that nobody did."""
    if not found.cancelled():
        found.exception()
