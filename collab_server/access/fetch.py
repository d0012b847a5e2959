"""Asking others over HTTP: key servers, and the application. Bounded in time and bytes, and led nowhere else.

A redirect is an answer like any other, so it is not followed; cookies are not kept; the environment's proxies
are not used; and what comes back compressed is not taken, because it could grow.
"""

from __future__ import annotations

import asyncio
import functools
import json
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx

from collab_server.config import masked_url
from collab_server.errors import CollabError, ConfigError

_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "collab-server"}
_ERROR_CHARS_MAX = 200


class FetchError(CollabError):
    """No usable answer. The text is for the log; it holds nothing that was sent."""


def checked_url(setting: str, url: str, *, http_allowed: bool) -> str:
    """The URL, if it may be asked: https, or http on this machine, or anywhere if that is allowed.

    Raises ConfigError, with the URL's password masked.
    """
    shown = masked_url(url)
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise ConfigError(f"{setting} {shown} is no URL") from None
    if parsed.scheme not in {"https", "http"} or not parsed.host or parsed.fragment:
        raise ConfigError(f"{setting} {shown} must be an https:// URL")
    if parsed.scheme == "http" and not http_allowed and not _is_this_machine(parsed.host):
        raise ConfigError(
            f"{setting} {shown} is not encrypted: it must be https://, or on this machine; "
            "access_http allows it on a network that is trusted"
        )
    return url


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@functools.cache
def _public_authorities() -> ssl.SSLContext:
    """Read once: it takes a while."""
    return httpx.create_ssl_context(trust_env=False)


def _authorities(file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"access_ca {file} cannot be used: {error.strerror}") from error


class Fetcher:
    """A client with bounds. ``close`` it at the end.

    Args:
        timeout_s: for one request, from the call to the last byte; waiting for a connection counts.
        bytes_max: of an answer.
        connections_max: open at once.
        ca_file: the authorities to trust; the public ones if None.

    Raises:
        ConfigError: ``ca_file`` cannot be used.
    """

    def __init__(
        self, *, timeout_s: float, bytes_max: int, connections_max: int = 1, ca_file: Path | None = None
    ) -> None:
        self._timeout_s = timeout_s
        self._bytes_max = bytes_max
        self._client = httpx.AsyncClient(
            verify=_public_authorities() if ca_file is None else _authorities(ca_file),
            headers=_HEADERS,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            follow_redirects=False,
            trust_env=False,
            timeout=timeout_s,
            limits=httpx.Limits(max_connections=connections_max, max_keepalive_connections=connections_max),
        )

    async def get(self, url: str) -> bytes:
        """The body of a 200. Raises FetchError."""
        status, body = await self._ask(self._client.build_request("GET", url))
        if status != httpx.codes.OK:
            raise FetchError(f"the answer was {status}")
        return body

    async def post(self, url: str, value: Any) -> tuple[int, bytes]:
        """Send a value as JSON; status and body of the answer. Raises FetchError."""
        return await self._ask(
            self._client.build_request(
                "POST",
                url,
                # In ASCII, whatever text it holds.
                content=json.dumps(value).encode(),
                headers={"content-type": "application/json"},
            )
        )

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _ask(self, request: httpx.Request) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._client.send(request, stream=True)
                try:
                    return response.status_code, await self._body(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            # From None, here and below: what httpx raises holds the request, and so the token in it.
            raise FetchError(f"there was no answer within {self._timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
            told = str(error)[:_ERROR_CHARS_MAX] or type(error).__name__
            raise FetchError(told) from None

    async def _body(self, response: httpx.Response) -> bytes:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError("the answer is compressed, though that was not asked for")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._bytes_max:
                raise FetchError(f"the answer is larger than {self._bytes_max} bytes")
        return bytes(body)
