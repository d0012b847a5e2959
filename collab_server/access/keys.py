"""The keys that tokens are signed with. What a key is for is fixed by the key, never by what a token says.

A secret verifies HS256 and nothing else, an RSA key RS256, one on the curve P-256 ES256, an Ed25519 one EdDSA
(RFC 7518 section 3.1, RFC 8037 section 3.1). So nobody can have a public key taken for a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm as Verifier

from collab_server.config import SECRET_BYTES_MIN, too_short
from collab_server.errors import CollabError, ConfigError

RSA_BITS_MIN: Final = 2048
RSA_BITS_MAX: Final = 16_384
_PEM_BYTES_MAX: Final = 1024 * 1024
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class Algorithm(StrEnum):
    """How tokens may be signed."""

    HS256 = "HS256"
    RS256 = "RS256"
    ES256 = "ES256"
    EDDSA = "EdDSA"


_VERIFIERS: Final[dict[Algorithm, Verifier]] = {
    algorithm: jwt.get_algorithm_by_name(algorithm.value) for algorithm in Algorithm
}


class KeyUnusableError(CollabError):
    """Something is no key that tokens could be verified with. The text holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key, for one algorithm."""

    algorithm: Algorithm
    kid: str | None
    """The id by which tokens name it; None for one that is tried for every token of its algorithm."""
    material: Any = field(repr=False)

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's over ``signed``."""
        return _VERIFIERS[self.algorithm].verify(signed, self.material, signature)


class KeySource(Protocol):
    """Where keys come from."""

    @property
    def keys(self) -> Sequence[Key]:
        """Those that are known now."""
        ...

    @property
    def is_complete(self) -> bool:
        """False where the keys could never be read so far, so that an unknown one may be good."""
        ...

    async def look_again(self) -> bool:
        """A token named a key that is not known: read them again, if it is not too soon.

        Whether it was done; it may have failed.
        """
        ...


class FixedKeys:
    """Keys that were given at the start."""

    is_complete = True

    def __init__(self, keys: Sequence[Key]) -> None:
        self.keys: Sequence[Key] = tuple(keys)

    async def look_again(self) -> bool:
        """There is nothing to read."""
        return False


def secret_key(secret: bytes, kid: str | None = None, *, bytes_min: int = SECRET_BYTES_MIN) -> Key:
    """A secret for HS256. Raises KeyUnusableError for a short one, and for a public key in disguise."""
    if len(secret) < bytes_min:
        raise KeyUnusableError(too_short(secret))
    try:
        material = _VERIFIERS[Algorithm.HS256].prepare_key(secret)
    except jwt.InvalidKeyError:
        raise KeyUnusableError("is a public key and no secret; give it as jwt_key") from None
    return Key(Algorithm.HS256, kid, material)


def public_key(key: object, kid: str | None = None) -> Key:
    """A public key of ``cryptography``. Raises KeyUnusableError for one of no algorithm of ours."""
    if isinstance(key, RSAPublicKey):
        if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
            raise KeyUnusableError(
                f"is an RSA key of {key.key_size} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} are taken"
            )
        return Key(Algorithm.RS256, kid, key)
    if isinstance(key, EllipticCurvePublicKey):
        if not isinstance(key.curve, SECP256R1):
            raise KeyUnusableError(f"is on the curve {key.curve.name}; ES256 is on P-256 (secp256r1)")
        return Key(Algorithm.ES256, kid, key)
    if isinstance(key, Ed25519PublicKey):
        return Key(Algorithm.EDDSA, kid, key)
    raise KeyUnusableError("is of a kind that tokens are not verified with; RSA, P-256 and Ed25519 are")


def read_secret(path: Path) -> Key:
    """The secret in a file, without the line end behind it. Raises ConfigError."""
    try:
        return secret_key(_read(path, "jwt_secret_file").rstrip(b"\r\n"))
    except KeyUnusableError as error:
        raise ConfigError(f"jwt_secret_file {path} {error}") from error


def read_pem(path: Path) -> list[Key]:
    """The public keys and certificates of a PEM file. Raises ConfigError."""
    data = _read(path, "jwt_key")
    keys = []
    for block in _BLOCK.finditer(data):
        kind = block[1].decode()
        if "PRIVATE" in kind:
            raise ConfigError(
                f"jwt_key {path} holds a private key, which the server must not have; "
                f"`openssl pkey -in {path} -pubout` prints the public one"
            )
        try:
            if kind == "CERTIFICATE":
                keys.append(public_key(x509.load_pem_x509_certificate(block[0]).public_key()))
            else:
                keys.append(public_key(load_pem_public_key(block[0])))
        except KeyUnusableError as error:
            raise ConfigError(f"jwt_key {path} {error}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(f"jwt_key {path} holds a {kind} that cannot be read") from None
    if not keys:
        raise ConfigError(f"jwt_key {path} holds no public key in PEM (-----BEGIN PUBLIC KEY-----)")
    return keys


def _read(path: Path, setting: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_PEM_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{setting} {path} cannot be read: {error.strerror}") from error
    if len(data) > _PEM_BYTES_MAX:
        raise ConfigError(f"{setting} {path} is larger than {_PEM_BYTES_MAX} bytes")
    return data
