"""Keys and tokens for tests: real ones of every algorithm, and some that nobody should take."""

from __future__ import annotations

import functools
import json
import time
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

SECRET = "a secret for tests, of 32 bytes or more"


@dataclass(frozen=True)
class SigningKey:
    """A key that can sign, and its public half in all forms."""

    algorithm: str
    private: Any
    kid: str | None = None

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token. ``header`` adds to its header; ``kid`` is the key's."""
        headers = {"kid": self.kid, **header} if self.kid is not None else header
        return jwt.encode(claims, self.private, algorithm=self.algorithm, headers=headers)

    def named(self, kid: str) -> SigningKey:
        return SigningKey(self.algorithm, self.private, kid)

    @property
    def pem(self) -> bytes:
        return self.private.public_key().public_bytes(  # type: ignore[no-any-return]
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )

    @property
    def private_pem(self) -> bytes:
        return self.private.private_bytes(  # type: ignore[no-any-return]
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    @property
    def jwk(self) -> dict[str, Any]:
        kinds: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
        found: dict[str, Any] = kinds[self.algorithm].to_jwk(self.private.public_key(), as_dict=True)
        return found | ({"kid": self.kid} if self.kid is not None else {})


@functools.cache
def rsa_key(number: int = 0, bits: int = 2048) -> SigningKey:
    return SigningKey("RS256", rsa.generate_private_key(65537, bits))


@functools.cache
def ec_key(number: int = 0) -> SigningKey:
    return SigningKey("ES256", ec.generate_private_key(ec.SECP256R1()))


@functools.cache
def ed_key(number: int = 0) -> SigningKey:
    return SigningKey("EdDSA", ed25519.Ed25519PrivateKey.generate())


def secret(text: str = SECRET) -> SigningKey:
    return SigningKey("HS256", text)


def key_set(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.jwk for key in keys]}).encode()


def claims(**more: Any) -> dict[str, Any]:
    """An editor of every trip for ten minutes, unless ``more`` says otherwise; None drops a claim."""
    now = int(time.time())
    found = {"sub": "ada", "iat": now, "exp": now + 600, "rooms": {"trip-*": "editor"}} | more
    return {key: value for key, value in found.items() if value is not None}


def encoded(part: object) -> str:
    """A part of a token: JSON, or bytes as they are."""
    data = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(data).rstrip(b"=").decode()
