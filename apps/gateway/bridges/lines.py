"""The two ends of a call: the way to its bridge, and who takes the bridge's answer. Both may be in another process."""

from collections.abc import Sequence
from typing import Protocol

from apps.gateway.bridges.protocol import Opening


class Reply(Protocol):
    """Takes the answer to one call, in the order in which the bridge sends it."""

    def accepted(self) -> None: ...

    def head(self, status: int, content_type: str) -> None: ...

    def chunk(self, data: bytes) -> None: ...

    def end(self) -> None: ...

    def failed(self, code: str) -> None:
        """Take that nothing more comes; `code` is one of bridges.errors."""
        ...


class Line(Protocol):
    """A way to one connected bridge. What it does takes effect in order and does not wait, `body` excepted."""

    def open(self, opening: Opening, reply: Reply) -> None: ...

    async def body(self, call: str, parts: Sequence[bytes]) -> None:
        """Send what was left out of the opening; returns as the bridge takes it."""
        ...

    def credit(self, call: str, chunks: int) -> None: ...

    def cancel(self, call: str) -> None:
        """End a call: nothing more is taken of its answer."""
        ...
