"""The opening handshake (RFC 6455 section 4): a request head in, an answer out. Pure; knows no socket."""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from http import HTTPStatus
from typing import Final

from collab_server.access.identity import Caller
from collab_server.errors import CollabError
from collab_server.gateway.deflate import Agreement, is_token, negotiate

_KEY_SUFFIX: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_KEY_BYTES: Final = 16
_VERSION: Final = "13"
_SCHEMES: Final = ("http://", "https://", "ws://", "wss://")


class HandshakeError(CollabError):
    """The request is no valid WebSocket handshake; ``response`` is the whole HTTP answer."""

    def __init__(self, status: HTTPStatus, reason: str, **headers: str) -> None:
        super().__init__(reason)
        self.status = status
        self.response = http_error(status, reason, **headers)


class Headers(Mapping[str, str]):
    """The headers of a request, names in lower case, repeated ones joined with a comma."""

    __slots__ = ("_values",)

    def __init__(self, raw: bytes) -> None:
        self._values: dict[str, list[str]] = {}
        for line in raw.decode("latin-1").split("\r\n"):
            name, colon, value = line.partition(":")
            if colon:
                self._values.setdefault(name.strip().lower(), []).append(value.strip(" \t"))

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def all(self, name: str) -> list[str]:
        """Every value of ``name``, in order."""
        return self._values.get(name.lower(), [])


_NO_HEADERS: Final = Headers(b"")


@dataclass(slots=True)
class Request:
    """An accepted upgrade request. Once its handler has begun, headers and addresses are forgotten.

    ``subprotocol`` is what the answer names: the client's first offer (browsers and Node's ``ws`` abort
    when they offered some and none was chosen). The handler factory may set it to another offered one, or
    to None.
    """

    path: str
    """Path and query as they came, still percent-encoded; begins with a slash."""
    headers: Headers
    remote_address: tuple[str, int] | None
    """Host and port of the TCP peer; None where there is none (a Unix socket)."""
    is_secure: bool
    subprotocols: tuple[str, ...] = ()
    subprotocol: str | None = field(default=None)
    caller: Caller | None = None
    """Who it comes from, proxies considered; ``entrance`` fills it in before a dialect sees the request."""
    counted_as: str | None = None
    """The address that this connection counts for; None if it counts for none."""

    def forget_head(self) -> None:
        """Let go of what only the beginning of a connection asks for: it may live for hours."""
        self.headers = _NO_HEADERS
        self.remote_address = None
        self.subprotocols = ()

    @property
    def query(self) -> str:
        """What follows the first question mark, still percent-encoded."""
        return self.path.partition("?")[2]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A request that may be accepted, and what its answer needs."""

    request: Request
    accept: str
    agreement: Agreement | None

    def response(self) -> bytes:
        """The 101 answer. The request's ``subprotocol`` is read now, after the factory had its say."""
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {self.accept}",
        ]
        if self.request.subprotocol is not None:
            lines.append(f"Sec-WebSocket-Protocol: {self.request.subprotocol}")
        if self.agreement is not None:
            lines.append(f"Sec-WebSocket-Extensions: {self.agreement.header}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def read_upgrade(
    head: bytes, *, remote_address: tuple[str, int] | None, is_secure: bool, deflate: bool
) -> Upgrade:
    """Judge a request head (ends with the empty line).

    Raises:
        HandshakeError: with the HTTP answer: 400, 405, 426 (with the version that is spoken) or 505.
    """
    request_line, _, rest = head.partition(b"\r\n")
    method, _, tail = request_line.partition(b" ")
    target, _, version = tail.rpartition(b" ")
    if method != b"GET":
        raise HandshakeError(HTTPStatus.METHOD_NOT_ALLOWED, "a WebSocket begins with GET", Allow="GET")
    if version != b"HTTP/1.1":
        raise HandshakeError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "a WebSocket needs HTTP/1.1")
    headers = Headers(rest)
    _check_headers(headers)
    offered = _subprotocols(headers)
    request = Request(
        path=_origin_form(target),
        headers=headers,
        remote_address=remote_address,
        is_secure=is_secure,
        subprotocols=offered,
        subprotocol=offered[0] if offered else None,
    )
    agreement = negotiate(headers.get("sec-websocket-extensions", "")) if deflate else None
    return Upgrade(request, _accept(headers), agreement)


def http_error(status: HTTPStatus, reason: str, **headers: str) -> bytes:
    """A whole HTTP error answer that ends the connection."""
    body = f"{reason}\n".encode()
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body


def _bad(reason: str) -> HandshakeError:
    return HandshakeError(HTTPStatus.BAD_REQUEST, reason)


def _check_headers(headers: Headers) -> None:
    """Section 4.2.1, items 2-6; ``Connection`` may hold other tokens too (Firefox sends keep-alive)."""
    if len(headers.all("host")) != 1:
        raise _bad("exactly one Host header is needed")
    if "transfer-encoding" in headers or headers.get("content-length", "0").strip("0"):
        raise _bad("an upgrade request has no body")
    if "websocket" not in _tokens(headers.get("upgrade", "")):
        raise _bad("the Upgrade header must be websocket")
    if "upgrade" not in _tokens(headers.get("connection", "")):
        raise _bad("the Connection header must hold Upgrade")
    if headers.all("sec-websocket-version") != [_VERSION]:
        raise HandshakeError(
            HTTPStatus.UPGRADE_REQUIRED,
            "only WebSocket version 13 is spoken",
            Upgrade="websocket",
            Sec_WebSocket_Version=_VERSION,
        )


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]


def _accept(headers: Headers) -> str:
    """Section 4.2.2 item 5.4, after checking that the key is 16 bytes in base64."""
    keys = headers.all("sec-websocket-key")
    if len(keys) != 1:
        raise _bad("exactly one Sec-WebSocket-Key is needed")
    key = keys[0].encode("latin-1")
    try:
        size = len(b64decode(key, validate=True))
    except binascii.Error:
        size = -1
    if size != _KEY_BYTES:
        raise _bad("Sec-WebSocket-Key must be 16 bytes in base64")
    return b64encode(sha1(key + _KEY_SUFFIX, usedforsecurity=False).digest()).decode()


def _subprotocols(headers: Headers) -> tuple[str, ...]:
    names = [name.strip() for value in headers.all("sec-websocket-protocol") for name in value.split(",")]
    if not all(is_token(name) for name in names):
        raise _bad("Sec-WebSocket-Protocol must be a list of tokens")
    return tuple(names)


def _origin_form(target: bytes) -> str:
    """Path and query; the absolute form is allowed too (section 4.2.1 item 1)."""
    try:
        text = target.decode()
    except UnicodeDecodeError:
        raise _bad("the request target is not UTF-8") from None
    if text.lower().startswith(_SCHEMES):
        _, slash, path = text.partition("://")[2].partition("/")
        text = slash + path or "/"
    if not text.startswith("/") or "#" in text:
        raise _bad("the request target must be a path")
    return text
