# Made from _async/resources.py by scripts/unasync.py: change that one.
"""Keys, usage, receipts and models, as the gateway's JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from modelfaucet_sdk._sync.transport import Answer
from modelfaucet_sdk.calls import Call, call, given
from modelfaucet_sdk.results import Record, read_object

Sender = Callable[[Call], Answer]


class Resource:
    """What all of them do: send a call, read an object, walk through pages."""

    def __init__(self, send: Sender) -> None:
        self._send = send

    def _object(self, made: Call) -> Record:
        return read_object((self._send(made)).body)

    def _nothing(self, made: Call) -> None:
        self._send(made)

    def _walk(self, *path: str, query: dict[str, Any], **how: Any) -> Iterator[Record]:
        """Yield the rows of every page."""
        cursor = None
        while True:
            page = self._object(call("GET", *path, query={**query, "cursor": cursor}, **how))
            yield from page["data"]
            cursor = page.get("next_cursor")
            if not page.get("has_more") or cursor is None:
                return


class Models(Resource):
    """The models that the caller may use."""

    def list(self) -> Sequence[Record]:
        """Return them, each with `context_window`, `capabilities`, `route_modes` and `pricing`."""
        found: Sequence[Record] = (self._object(call("GET", "models")))["data"]
        return found

    def get(self, model: str) -> Record:
        """Return one of them. Raises NotFoundError."""
        return self._object(call("GET", "models", model))


class ProviderKeys(Resource):
    """The end user's own keys for model providers (BYOK). A key goes in and never comes out again."""

    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Record:
        """Return a page of them, newest first."""
        return self._object(call("GET", "user", "provider-keys", query={"limit": limit, "cursor": cursor}))

    def walk(self) -> Iterator[Record]:
        """Yield all of them, newest first."""
        return self._walk("user", "provider-keys", query={})

    def get(self, key_id: str) -> Record:
        """Return one of them."""
        return self._object(call("GET", "user", "provider-keys", key_id))

    def add(self, provider: str, secret: str, **settings: Any) -> Record:
        """Try a key with its provider and store it.

        `settings`: `label`, `base_url`, `models`, `features`, `weight`, `priority`, `monthly_budget_usd`,
        `acknowledge_fee_usd`. The answer has the `fee` for calls with it. Raises BadRequestError (key_rejected).
        """
        body = {"provider": provider, "secret": secret, **given(**settings)}
        return self._object(call("POST", "user", "provider-keys", json=body))

    def update(self, key_id: str, **settings: Any) -> Record:
        """Change settings, or `status` (`active`, `disabled`); `monthly_budget_usd=None` takes the budget away."""
        return self._object(call("PATCH", "user", "provider-keys", key_id, json=settings))

    def remove(self, key_id: str) -> None:
        """Erase a key, with those that it replaced."""
        self._nothing(call("DELETE", "user", "provider-keys", key_id))

    def validate(self, key_id: str) -> Record:
        """Try a stored key with its provider; the answer's `validation` says how that went."""
        return self._object(call("POST", "user", "provider-keys", key_id, "validate", repeatable=True))

    def rotate(self, key_id: str, secret: str) -> Record:
        """Try a new key and put it in the place of the old one; the answer is the new one."""
        return self._object(call("POST", "user", "provider-keys", key_id, "rotate", json={"secret": secret}))


class VirtualKeys(Resource):
    """The app's virtual keys, which spend the developer's prepaid credit. Needs `developer_token`."""

    def __init__(self, send: Sender, app_id: str | None) -> None:
        super().__init__(send)
        self._app_id = app_id

    def list(self, *, app_id: str | None = None, limit: int | None = None, cursor: str | None = None) -> Record:
        """Return a page of them, newest first."""
        query = {"limit": limit, "cursor": cursor}
        return self._object(call("GET", "apps", app_of(app_id, self._app_id), "keys", query=query, **DEVELOPER))

    def walk(self, *, app_id: str | None = None) -> Iterator[Record]:
        """Yield all of them, newest first."""
        return self._walk("apps", app_of(app_id, self._app_id), "keys", query={}, **DEVELOPER)

    def create(
        self, name: str, *, feature_key: str | None = None, expires_at: str | None = None, app_id: str | None = None
    ) -> Record:
        """Issue one; the answer's `key` is shown this once."""
        body = given(name=name, feature_key=feature_key, expires_at=expires_at)
        return self._object(call("POST", "apps", app_of(app_id, self._app_id), "keys", json=body, **DEVELOPER))

    def revoke(self, key_id: str, *, app_id: str | None = None) -> None:
        """Revoke one, within a second."""
        self._nothing(call("DELETE", "apps", app_of(app_id, self._app_id), "keys", key_id, **DEVELOPER))


class Usage(Resource):
    """Calls one by one: the caller's own, or, with `developer_token`, the app's."""

    def __init__(self, send: Sender, app_id: str | None) -> None:
        super().__init__(send)
        self._app_id = app_id

    def list(self, *, since: str | None = None, until: str | None = None, **filters: Any) -> Record:
        """Return a page of the end user's own calls, newest first, with `totals` of the whole filter.

        `since` (inclusive) and `until` (exclusive) are dates or times; filters: `feature_key`, `route_mode`, `model`,
        `outcome`, `limit`, `cursor`.
        """
        return self._object(call("GET", "user", "usage", query={"from": since, "to": until, **filters}))

    def walk(self, *, since: str | None = None, until: str | None = None, **filters: Any) -> Iterator[Record]:
        """Yield all of them, newest first."""
        return self._walk("user", "usage", query={"from": since, "to": until, "totals": False, **filters})

    def export_csv(self, *, since: str | None = None, until: str | None = None) -> bytes:
        """Return the caller's own calls as CSV, from `since` (a date or time) to `until`, which is exclusive."""
        query = {"from": since, "to": until}
        made = call("GET", "user", "exports", "usage.csv", query=query, headers={"accept": "text/csv"})
        return (self._send(made)).body

    def of_app(
        self, *, app_id: str | None = None, since: str | None = None, until: str | None = None, **filters: Any
    ) -> Record:
        """Return a page of the app's calls with `totals`; filters as the gateway's (`limit`, `cursor`, `model`, …)."""
        query = {"from": since, "to": until, **filters}
        return self._object(call("GET", "apps", app_of(app_id, self._app_id), "usage", query=query, **DEVELOPER))

    def walk_app(
        self, *, app_id: str | None = None, since: str | None = None, until: str | None = None, **filters: Any
    ) -> Iterator[Record]:
        """Yield all calls of the app, newest first."""
        query = {"from": since, "to": until, "totals": False, **filters}
        return self._walk("apps", app_of(app_id, self._app_id), "usage", query=query, **DEVELOPER)

    def daily(self, developer_id: str, *, since: str | None = None, until: str | None = None) -> Record:
        """Return a developer's cost and price of every day (UTC)."""
        query = {"from": since, "to": until}
        return self._object(
            call("GET", "developers", developer_id, "analytics", "cost-daily", query=query, **DEVELOPER)
        )


class Receipts(Resource):
    """What became of one call: its route, what it was priced by, and who got what of it."""

    def get(self, request_id: str) -> Record:
        """Return the caller's part of a receipt. Raises NotFoundError."""
        return self._object(call("GET", "receipts", request_id))

    def get_as_developer(self, request_id: str) -> Record:
        """Return the developer's part of a receipt. Needs `developer_token`. Raises NotFoundError."""
        return self._object(call("GET", "receipts", request_id, **DEVELOPER))


DEVELOPER: dict[str, Any] = {"by": "developer"}


def app_of(named: str | None, own: str | None) -> str:
    app = named or own
    if app is None:
        raise ValueError("for which app? Give app_id here or to the client")
    return app
