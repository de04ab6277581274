"""The cache of one process."""

import asyncio

from apps.gateway.cache.stores import AnswerStore, open_answers


class AnswerCache:
    """The store, and by key what is being asked at this moment."""

    def __init__(self, redis_url: str | None) -> None:
        self.store: AnswerStore = open_answers(redis_url)
        self.flights: dict[str, asyncio.Event] = {}
