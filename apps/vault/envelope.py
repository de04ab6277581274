"""Envelope encryption: each secret under a data key of its own, each data key under a key of the keyring.

A sealed secret is `mfv1.<key id>.<wrapped data key>.<box>`. The box is AES-256-GCM with the secret's place (table,
column, row) as associated data, so it opens nowhere else. The data key is wrapped in Fernet, as
django-encrypted-model-fields does. Rotation re-wraps the data key and leaves the box as it is.
"""

import binascii
import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from encrypted_model_fields.fields import parse_key

VERSION = "mfv1"
_NONCE_BYTES = 12


class VaultProblem(Exception):
    """A secret that cannot be sealed or opened. Never holds the secret or the ciphertext."""


class Keyring(Protocol):
    """What wraps data keys. A key management service implements this much and nothing else."""

    @property
    def current_key_id(self) -> str:
        """Return the id of the key that wraps from now on: eight hexadecimal digits."""

    def holds(self, key_id: str) -> bool:
        """Tell whether this key can unwrap."""

    def wrap(self, data_key: bytes) -> str:
        """Return the data key under the current key, without a dot in it."""

    def unwrap(self, key_id: str, wrapped: str) -> bytes:
        """Return the data key; raises VaultProblem when the key is not held or does not fit."""


class LocalKeyring:
    """The Fernet keys of FIELD_ENCRYPTION_KEYS (or its file): the first wraps, all unwrap."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        if not keys:
            raise VaultProblem("FIELD_ENCRYPTION_KEYS is not set")
        self._keys: dict[str, Fernet] = {}
        for number, key in enumerate(keys, start=1):
            try:
                self._keys[_key_id(key)] = parse_key(key)
            except ValueError as error:
                raise VaultProblem(f"key {number} of FIELD_ENCRYPTION_KEYS is not a Fernet key") from error
        self.current_key_id = _key_id(keys[0])

    def holds(self, key_id: str) -> bool:
        return key_id in self._keys

    def wrap(self, data_key: bytes) -> str:
        return self._keys[self.current_key_id].encrypt(data_key).decode()

    def unwrap(self, key_id: str, wrapped: str) -> bytes:
        key = self._keys.get(key_id)
        if key is None:
            raise VaultProblem(f"key {key_id} is not among FIELD_ENCRYPTION_KEYS")
        try:
            return key.decrypt(wrapped)
        except InvalidToken as error:
            raise VaultProblem("the wrapped data key was altered") from error


class _Parts(NamedTuple):
    key_id: str
    wrapped: str
    box: str


def keyring() -> Keyring:
    """Return the keyring of the settings as they are now, so that new keys need no other switch."""
    return _local_keyring(tuple(settings.FIELD_ENCRYPTION_KEY))


@lru_cache(maxsize=4)
def _local_keyring(keys: tuple[str, ...]) -> LocalKeyring:
    return LocalKeyring(keys)


def seal(plain: str, *, place: str) -> str:
    """Return `plain` sealed under the current key for one place (`table.column:row`)."""
    ring = keyring()
    data_key, nonce = AESGCM.generate_key(bit_length=256), secrets.token_bytes(_NONCE_BYTES)
    box = nonce + AESGCM(data_key).encrypt(nonce, plain.encode(), place.encode())
    return f"{VERSION}.{ring.current_key_id}.{ring.wrap(data_key)}.{urlsafe_b64encode(box).decode()}"


def open_sealed(sealed: str, *, place: str) -> str:
    """Return the plain text sealed for this very place.

    Raises VaultProblem for anything else: plain text, an unknown key, altered bytes, another row's secret.
    """
    parts = _parse(sealed)
    data_key = keyring().unwrap(parts.key_id, parts.wrapped)
    try:
        box = urlsafe_b64decode(parts.box)
        return AESGCM(data_key).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], place.encode()).decode()
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise VaultProblem(f"the secret at {place} was altered or belongs elsewhere") from error


def rewrap(sealed: str) -> str:
    """Return the same box with its data key under the current key; raises VaultProblem."""
    parts, ring = _parse(sealed), keyring()
    data_key = ring.unwrap(parts.key_id, parts.wrapped)
    return f"{VERSION}.{ring.current_key_id}.{ring.wrap(data_key)}.{parts.box}"


def key_id_of(sealed: str) -> str:
    """Return the id of the key that a sealed secret is under; raises VaultProblem."""
    return _parse(sealed).key_id


def _parse(sealed: str) -> _Parts:
    version, *rest = sealed.split(".")
    if version != VERSION or len(rest) != 3 or not all(rest):
        raise VaultProblem("the column does not hold a sealed secret")
    return _Parts(*rest)


def _key_id(key: str) -> str:
    return hashlib.sha256(f"modelfaucet vault key\0{key}".encode()).hexdigest()[:8]
