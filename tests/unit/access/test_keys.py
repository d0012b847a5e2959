"""``access/keys``: which keys are taken, and what is said of the others."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from collab_server.access.keys import (
    Algorithm,
    KeyUnusableError,
    public_key,
    read_pem,
    read_secret,
    secret_key,
)
from collab_server.errors import ConfigError
from tests.support.tokens import SECRET, ec_key, ed_key, rsa_key


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return tmp_path / "keys.pem"


def certificate(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=key.public_key(),
        serial_number=1,
        not_valid_before=start,
        not_valid_after=start + dt.timedelta(days=1),
    )
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def test_a_key_is_for_one_algorithm(pem: Path) -> None:
    found = []
    for key in (rsa_key(), ec_key(), ed_key()):
        pem.write_bytes(key.pem)
        found += [one.algorithm for one in read_pem(pem)]
    assert found == [Algorithm.RS256, Algorithm.ES256, Algorithm.EDDSA]


def test_a_file_may_hold_several_keys_and_certificates(pem: Path) -> None:
    pem.write_bytes(b"the old one:\n" + rsa_key().pem + b"\n" + certificate(ec_key().private) + ed_key().pem)
    assert [key.algorithm.value for key in read_pem(pem)] == ["RS256", "ES256", "EdDSA"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no public key in PEM"),
        (b"ssh-ed25519 AAAA", "holds no public key in PEM"),
        (rsa_key().private_pem, "holds a private key, which the server must not have"),
        (rsa_key().pem + ec_key().private_pem, "holds a private key"),
        (rsa_key(0, 1024).pem, "is an RSA key of 1024 bits"),
        (
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
            "holds a PUBLIC KEY that cannot be read",
        ),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
            "a CERTIFICATE that cannot be read",
        ),
        (b"-----BEGIN PUBLIC KEY-----\n" + b"A" * 2_000_000, "is larger than 1048576 bytes"),
    ],
)
def test_what_is_no_key_is_told_in_one_line(pem: Path, content: bytes, told: str) -> None:
    pem.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        read_pem(pem)
    assert told in str(refused.value)
    assert str(refused.value).startswith(f"jwt_key {pem} ")
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_pem(tmp_path / "missing")
    with pytest.raises(ConfigError, match=r"jwt_secret_file .* cannot be read: Is a directory"):
        read_secret(tmp_path)


def test_a_key_on_another_curve_is_refused() -> None:
    with pytest.raises(KeyUnusableError, match="P-256"):
        public_key(ec.generate_private_key(ec.SECP384R1()).public_key())
    with pytest.raises(KeyUnusableError, match="RSA, P-256 and Ed25519"):
        public_key(ed448.Ed448PrivateKey.generate().public_key())


def test_a_secret_is_read_without_the_line_end(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\r\n")
    key = read_secret(path)
    assert key.material == SECRET.encode()
    assert SECRET not in repr(key)


@pytest.mark.parametrize(
    ("content", "told"), [(b"short\n", "has 5 bytes"), (rsa_key().pem, "is a public key and no secret")]
)
def test_a_file_with_a_bad_secret_is_told_without_showing_it(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=told) as refused:
        read_secret(path)
    assert "short" not in str(refused.value)


def test_a_secret_has_32_bytes_or_more() -> None:
    secret_key(b"x" * 32)
    with pytest.raises(KeyUnusableError):
        secret_key(b"x" * 31)
