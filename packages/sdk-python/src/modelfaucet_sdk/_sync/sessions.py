# Made from _async/sessions.py by scripts/unasync.py: change that one.
"""Opening sessions, and keeping one: opened when it is first needed, renewed before it ends."""

from __future__ import annotations

from datetime import timedelta

from modelfaucet_sdk._concurrency import Lock, TokenSource, resolve
from modelfaucet_sdk._sync.transport import Transport
from modelfaucet_sdk.calls import call, given
from modelfaucet_sdk.errors import AuthenticationError
from modelfaucet_sdk.results import Session, read_object, read_session, utc_now

# Renewed this long before its end, so that no call sets out with a token that ends on the way.
MARGIN = timedelta(seconds=30)


class Sessions:
    """`POST /v1/sessions` with the app's secret, from a server, for any of its users."""

    def __init__(self, transport: Transport, app_id: str | None, app_secret: str | None) -> None:
        self._transport = transport
        self._app_id = app_id
        self._app_secret = app_secret

    def create(
        self,
        external_user_id: str,
        *,
        feature_key: str | None = None,
        ttl: int | None = None,
        client_address: str | None = None,
        client_user_agent: str | None = None,
    ) -> Session:
        """Open a session for one of the app's users and return it; its `token` is what the user's device gets.

        `ttl` is in seconds, at most a day. `client_address` and `client_user_agent` are the user's, for risk checks.
        """
        if self._app_secret is None:
            raise ValueError("sessions.create needs app_secret; a client with another proof opens its own session")
        body = given(
            public_app_id=self._app_id,
            external_user_id=external_user_id,
            feature_key=feature_key,
            ttl=ttl,
            client_address=client_address,
            client_user_agent=client_user_agent,
        )
        return open_session(self._transport, body, self._app_secret)

    def revoke(self, session_token: str) -> None:
        """End a session at once."""
        self._transport.send(call("DELETE", "sessions", "current"), session_token)


class SessionKeeper:
    """The token that calls go out with: a fixed one, or that of a session opened with a proof.

    Whoever needs a session while one is being opened waits for that one.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        fixed: str | None = None,
        app_id: str | None = None,
        user_token: TokenSource | None = None,
        device_id: str | None = None,
        feature_key: str | None = None,
        ttl: int | None = None,
    ) -> None:
        self._transport = transport
        self._fixed = fixed
        self._app_id = app_id
        self._user_token = user_token
        self._device_id = device_id
        self._feature_key = feature_key
        self._ttl = ttl
        self._session: Session | None = None
        self._lock = Lock()

    @property
    def can_renew(self) -> bool:
        return self._fixed is None and (self._user_token is not None or self._device_id is not None)

    def token(self) -> str:
        """Return the token to call with. Raises FaucetError where a session cannot be opened."""
        return self._fixed if self._fixed is not None else (self.session()).token

    def session(self, *, instead_of: str | None = None) -> Session:
        """Return the session, a new one where there is none, it ends soon, or its token is `instead_of`."""
        if not self.can_renew:
            raise ValueError(
                "there is nothing to open a session with: give user_token or device_id, or call for_user(id) on a "
                "client with app_secret"
            )
        with self._lock:
            kept = self._session
            if kept is None or kept.token == instead_of or not kept.is_fresh(utc_now(), _margin(kept)):
                self._session = kept = self._open()
            return kept

    def forget(self) -> None:
        """Have the next call open a new session."""
        self._session = None

    def _open(self) -> Session:
        proof: dict[str, str] = {}
        if self._user_token is not None:
            proof["user_token"] = resolve(self._user_token)
        elif self._device_id is not None:
            proof["device_id"] = self._device_id
        more = given(public_app_id=self._app_id, feature_key=self._feature_key, ttl=self._ttl)
        return open_session(self._transport, {**more, **proof}, None)


def open_session(transport: Transport, body: dict[str, object], secret: str | None) -> Session:
    """Open a session with the proof in `body`, or with the app's secret."""
    began = utc_now()
    # A second session does no harm: tried again like anything else.
    answer = transport.send(call("POST", "sessions", json=body, repeatable=True), secret)
    return read_session(read_object(answer.body), began)


def _margin(session: Session) -> timedelta:
    """Return how long before its end a session is renewed; one that lives shortly anyway, later."""
    lives = session.raw.get("expires_in")
    return min(MARGIN, timedelta(seconds=lives) / 10) if isinstance(lives, int) else MARGIN


def is_renewable(error: AuthenticationError) -> bool:
    """Tell whether a new session may help where a call was refused."""
    return error.code in {"token_expired", "token_revoked", "invalid_token"}
