"""Addresses of the admin's lists, and who may follow them: whoever may not see a table is told no number of it."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

# Who reviews payouts may look at them.
_ALSO = {"billing.payout": "billing.review_payout"}


class Reader:
    """Whoever looks at a page, and what the permissions let them see."""

    def __init__(self, request: HttpRequest) -> None:
        self.user: AbstractBaseUser | AnonymousUser = request.user

    def sees(self, *tables: str) -> bool:
        """Tell whether every one of these tables (`usage.usageevent`) may be seen."""
        return all(
            self._may(table, "view") or self._may(table, "change") or (table in _ALSO and self.has(_ALSO[table]))
            for table in tables
        )

    def changes(self, table: str) -> bool:
        """Tell whether a table may be changed."""
        return self._may(table, "change")

    def has(self, permission: str) -> bool:
        return bool(self.user.has_perm(permission))  # type: ignore[union-attr]  # any user of ours has permissions

    def list_of(self, table: str, **filters: Any) -> str:
        """Return the address of a table's list, filtered; empty for whoever may not see it."""
        if not self.sees(table):
            return ""
        return _address(table, "changelist", query={name: str(value) for name, value in filters.items()})

    def row_of(self, table: str, pk: Any) -> str:
        """Return the address of a row in its table; empty for whoever may not see it."""
        return _address(table, "change", pk) if self.sees(table) else ""

    def _may(self, table: str, what: str) -> bool:
        room, _, model = table.partition(".")
        return self.has(f"{room}.{what}_{model}")


def _address(table: str, page: str, *args: Any, query: dict[str, str] | None = None) -> str:
    try:
        return reverse(f"admin:{table.replace('.', '_')}_{page}", args=args, query=query or None)
    except NoReverseMatch:
        return ""
