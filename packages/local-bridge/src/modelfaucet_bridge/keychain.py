"""Secrets, and where they are: the operating system's keychain, else a file that only its owner may read.

A secret is named by a reference: `keychain:NAME`, `env:NAME` or `file:PATH`.
"""

import hashlib
import json
import os
import stat
import threading
from pathlib import Path

import keyring
from filelock import FileLock
from keyring.errors import KeyringError, PasswordDeleteError

from modelfaucet_bridge.home import write_private

SERVICE = "modelfaucet-bridge"
LOCAL_TOKEN = "local-token"  # noqa: S105 - the name of a secret
TOKEN_VARIABLE = "MODELFAUCET_LOCAL_TOKEN"  # noqa: S105 - the name of a variable
GATEWAY_TOKEN = "gateway-token"  # noqa: S105 - the name of a secret


class SecretError(Exception):
    """A secret is not there or cannot be read; the message names its reference and never its value."""


class Keychain:
    """The secrets of one bridge directory."""

    def __init__(self, home: Path, backend: str = "auto") -> None:
        self._names, self._file = home / "keychain.json", home / "secrets.json"
        default = Path.home() / ".modelfaucet"
        # Two bridges of one person, such as a test's, do not see each other's secrets.
        mark = "" if home == default else f"-{hashlib.sha256(str(home).encode()).hexdigest()[:8]}"
        self._service = f"{SERVICE}{mark}"
        self.uses_file = backend == "file" or (backend == "auto" and not system_keychain())
        self._lock = threading.Lock()
        self._cache: dict[str, str] = {}

    @property
    def where(self) -> str:
        """Say where the secrets are, for people."""
        if self.uses_file:
            return f"{self._file} (readable by its owner only; this machine has no keychain that can be used)"
        return f"the keychain ({keyring.get_keyring().name})"

    @property
    def index(self) -> Path:
        """The file that changes with every change of a secret."""
        return self._names

    def get(self, name: str) -> str | None:
        with self._lock:
            if name not in self._cache:
                value = self._read().get(name) if self.uses_file else self._ask(name)
                if value is None:
                    return None
                self._cache[name] = value
            return self._cache[name]

    def keep(self, name: str, value: str) -> None:
        """Keep a secret. Raises SecretError if the keychain refuses."""
        with self._lock, FileLock(f"{self._names}.lock"):
            if self.uses_file:
                write_private(self._file, json.dumps({**self._read(), name: value}))
            else:
                try:
                    keyring.set_password(self._service, name, value)
                except KeyringError as error:
                    raise SecretError(f"the keychain refused to keep {name}: {type(error).__name__}") from None
            self._cache[name] = value
            self._keep_names({*self._listed(), name})

    def delete(self, name: str) -> bool:
        """Forget a secret; tell whether there was one."""
        with self._lock, FileLock(f"{self._names}.lock"):
            names = self._listed()
            if self.uses_file:
                kept = self._read()
                kept.pop(name, None)
                write_private(self._file, json.dumps(kept))
            else:
                try:
                    keyring.delete_password(self._service, name)
                except PasswordDeleteError:
                    pass
                except KeyringError as error:
                    raise SecretError(f"the keychain refused to delete {name}: {type(error).__name__}") from None
            self._cache.pop(name, None)
            self._keep_names(names - {name})
            return name in names

    def names(self) -> list[str]:
        """Return the names of the secrets that are kept; a keychain itself cannot be listed."""
        return sorted(self._listed())

    def forget(self) -> None:
        """Read secrets anew: another process has changed one."""
        with self._lock:
            self._cache.clear()

    def resolve(self, reference: str) -> str:
        """Return the secret that a reference names. Raises SecretError."""
        kind, _, name = reference.partition(":")
        value: str | None = None
        if kind == "keychain":
            value = self.get(name)
        elif kind == "env":
            value = os.environ.get(name)
        elif kind == "file":
            value = _private_file(Path(name).expanduser(), reference)
        else:
            raise SecretError(f"{reference!r} is no reference: write keychain:NAME, env:NAME or file:PATH")
        if not value:
            hint = f": run `modelfaucet-bridge keychain set {name}`" if kind == "keychain" else ""
            raise SecretError(f"there is no secret at {reference}{hint}")
        return value

    def _ask(self, name: str) -> str | None:
        try:
            return keyring.get_password(self._service, name)
        except KeyringError as error:
            raise SecretError(f"the keychain refused to give {name}: {type(error).__name__}") from None

    def _read(self) -> dict[str, str]:
        try:
            kept = json.loads(self._file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        return {str(name): str(value) for name, value in kept.items()}

    def _listed(self) -> set[str]:
        try:
            return set(json.loads(self._names.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return set()

    def _keep_names(self, names: set[str]) -> None:
        write_private(self._names, json.dumps(sorted(names)))


def local_token(keychain: Keychain) -> str:
    """Return the bridge's own token, empty if it was never initialised."""
    return os.environ.get(TOKEN_VARIABLE) or keychain.get(LOCAL_TOKEN) or ""


def system_keychain() -> bool:
    """Tell whether this machine has a keychain that can be used without a person at its screen each time."""
    backend = keyring.get_keyring()
    try:
        usable = float(getattr(backend, "priority", 0)) > 0
    except (RuntimeError, ValueError):
        return False
    if type(backend).__module__.startswith("keyring.backends.chainer"):
        return bool(backend.backends)  # type: ignore[attr-defined]
    return usable


def _private_file(path: Path, reference: str) -> str | None:
    try:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SecretError(f"{reference} can be read by others: chmod 600 it")
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
