"""Who may call: the owner with the bridge's own token, a web page with the token of its origin."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from modelfaucet_bridge.home import stamp, write_private

PREFIX = "mf_local_"
CODE_SECONDS = 120
WAITING = 5  # pairing requests at once: a page must not be able to flood its reader
UI_KEY_SECONDS = 15 * 60
UI_SECONDS = 12 * 3600


def new_token() -> str:
    """Return a token of 192 bits that nobody has."""
    return PREFIX + secrets.token_urlsafe(24)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class Paired:
    """A web page's permission. Its token itself is kept by the page only."""

    origin: str
    app_name: str
    token_sha256: str
    created_at: float


class Origins:
    """The origins that were allowed by pairing, in a file that commands change too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = (-1, -1)
        self._paired: list[Paired] = []

    def all(self) -> list[Paired]:
        found = stamp(self._path)
        if found != self._stamp:
            self._paired = self._read()
            self._stamp = found
        return self._paired

    def add(self, origin: str, app_name: str, now: float) -> str:
        """Allow an origin and return its token. An earlier token of the origin goes on working."""
        token = new_token()
        with FileLock(f"{self._path}.lock"):
            self._write([*self._read(), Paired(origin, app_name, _hash(token), now)])
        return token

    def remove(self, origin: str) -> bool:
        """Revoke every token of an origin; tell whether there was one."""
        with FileLock(f"{self._path}.lock"):
            before = self._read()
            self._write([paired for paired in before if paired.origin != origin])
            return any(paired.origin == origin for paired in before)

    def of(self, token: str) -> Paired | None:
        digest = _hash(token)
        return next((paired for paired in self.all() if hmac.compare_digest(paired.token_sha256, digest)), None)

    def _read(self) -> list[Paired]:
        try:
            return [Paired(**item) for item in json.loads(self._path.read_text(encoding="utf-8"))]
        except FileNotFoundError:
            return []

    def _write(self, paired: list[Paired]) -> None:
        write_private(self._path, json.dumps([asdict(item) for item in paired], indent=1))


@dataclass
class Pairing:
    """A page that asks. The person compares the code that the page shows."""

    id: str
    code: str
    origin: str
    app_name: str
    until: float
    state: str = "waiting"  # waiting | allowed | denied
    token: str = ""


class Pairings:
    """The requests of the last two minutes."""

    def __init__(self, origins: Origins, clock: Callable[[], float] = time.time) -> None:
        self._origins, self._clock = origins, clock
        self._all: dict[str, Pairing] = {}

    def waiting(self) -> list[Pairing]:
        self._forget()
        return [pairing for pairing in self._all.values() if pairing.state == "waiting"]

    def ask(self, origin: str, app_name: str) -> Pairing | None:
        """Keep a page's request; None if too many wait."""
        waiting = self.waiting()
        for earlier in waiting:
            if earlier.origin == origin:  # it asks again: the code that it showed before is void
                del self._all[earlier.id]
        if len(self.waiting()) >= WAITING:
            return None
        taken = {pairing.code for pairing in self._all.values()}
        code = next(code for code in iter(lambda: f"{secrets.randbelow(10_000):04d}", "") if code not in taken)
        pairing = Pairing(f"pair_{secrets.token_hex(12)}", code, origin, app_name, self._clock() + CODE_SECONDS)
        self._all[pairing.id] = pairing
        return pairing

    def decide(self, code: str, allowed: bool) -> Pairing | None:
        """Allow or deny the request with this code; None if there is none."""
        pairing = next((pairing for pairing in self.waiting() if hmac.compare_digest(pairing.code, code)), None)
        if pairing is not None:
            pairing.state = "allowed" if allowed else "denied"
            if allowed:
                pairing.token = self._origins.add(pairing.origin, pairing.app_name, self._clock())
        return pairing

    def collect(self, pairing_id: str, origin: str) -> Pairing | None:
        """Return a request to the page that made it; once decided it is given once."""
        self._forget()
        pairing = self._all.get(pairing_id)
        if pairing is None or pairing.origin != origin:
            return None
        if pairing.state != "waiting":
            del self._all[pairing_id]
        return pairing

    def _forget(self) -> None:
        now = self._clock()
        self._all = {key: pairing for key, pairing in self._all.items() if pairing.until > now}


class PageKeys:
    """One-time keys that open the page, and the cookies that they become. A restart ends them all."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._keys: dict[str, float] = {}
        self._cookies: dict[str, float] = {}

    def new_key(self) -> str:
        key = secrets.token_urlsafe(24)
        self._keys[_hash(key)] = self._clock() + UI_KEY_SECONDS
        return key

    def cookie_for(self, key: str) -> str | None:
        """Take a key and return a cookie; None if the key is not one, or no longer."""
        if self._keys.pop(_hash(key), 0) <= self._clock():
            return None
        cookie = secrets.token_urlsafe(32)
        self._cookies[_hash(cookie)] = self._clock() + UI_SECONDS
        return cookie

    def knows(self, cookie: str) -> bool:
        return self._cookies.get(_hash(cookie), 0) > self._clock()
