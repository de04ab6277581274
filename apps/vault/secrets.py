"""Holders of plain secrets that do not leak by accident: into a log line, a traceback, a pickle or JSON."""

from typing import Any, NoReturn

REDACTED = "[secret]"


class Secret:
    """A secret in plain text; only `reveal()` gives it away."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the plain text."""
        return self._value

    def __repr__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled or copied")


class AuthHeaders:
    """The header pairs that authenticate a call upstream; only `items()` gives them away."""

    __slots__ = ("_pairs",)

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def items(self) -> tuple[tuple[str, str], ...]:
        """Return the pairs, such as ("authorization", "Bearer …")."""
        return self._pairs

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, AuthHeaders) and self._pairs == other._pairs

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return REDACTED

    def __reduce__(self) -> NoReturn:
        raise TypeError("authentication headers are not pickled or copied")


# How the adapters of apps/gateway/providers take a key, where it is not the bearer's way.
_KEY_HEADERS = {"anthropic": "x-api-key", "azure_openai": "api-key", "gemini": "x-goog-api-key"}


def auth_headers(adapter: str, secret: Secret) -> AuthHeaders:
    """Return the headers that carry a provider's key for an adapter: a bearer's, or those of its own."""
    name = _KEY_HEADERS.get(adapter)
    if name is None:
        return AuthHeaders(("authorization", f"Bearer {secret.reveal()}"))
    return AuthHeaders((name, secret.reveal()))
