"""What Claude models take, as far as their names tell."""

import re

_NAMED = re.compile(r"claude-(?:[a-z]+-)*?(\d{1,2})(?:[-.](\d{1,2})(?!\d))?(?!\d)")

# From here on thinking is `adaptive` with an effort; before, it is a budget in tokens.
_ADAPTIVE = (4, 6)
_ALL_EFFORTS = (4, 7)
_STRUCTURED = (4, 1)


def version_of(model: str) -> tuple[int, int] | None:
    """Return the version in a Claude model's name ((4, 5) of claude-sonnet-4-5-20250929), None for other names."""
    found = _NAMED.search(model)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def thinks_adaptively(model: str) -> bool:
    """Tell whether the model takes an effort in place of a thinking budget."""
    version = version_of(model)
    return version is not None and version >= _ADAPTIVE


def knows_all_efforts(model: str) -> bool:
    """Tell whether the model takes the effort xhigh and lets the caller choose how thinking is shown."""
    version = version_of(model)
    return version is not None and version >= _ALL_EFFORTS


def follows_schemas(model: str) -> bool:
    """Tell whether answers and tool calls can be bound to a JSON schema; unknown names are tried."""
    version = version_of(model)
    return version is None or version >= _STRUCTURED
