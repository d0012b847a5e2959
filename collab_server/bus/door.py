"""The way in: find the server, connect, say who we are, and look whether it will do."""

from __future__ import annotations

import ssl

import hiredis
import structlog

from collab_server.bus.base import NodeId
from collab_server.bus.client import find_master, tls_context
from collab_server.bus.link import Link, LinkError, Reply, command, connect
from collab_server.bus.settings import BusAddress
from collab_server.errors import BusConfigError

log = structlog.get_logger(__name__)

VERSION_MIN = (6, 2)
_CREDENTIAL_CODES = frozenset({"NOAUTH", "WRONGPASS"})


class RefusedLinkError(LinkError):
    """There is a server, and it will not have us, or not now."""


class CredentialsError(RefusedLinkError):
    """The name or the password is wrong."""


def code_of(error: hiredis.ReplyError) -> str:
    """The first word of an error, which says what kind it is."""
    return str(error).partition(" ")[0]


def client_name(node: NodeId) -> str:
    """What ``CLIENT LIST`` shows of a node; Redis allows only what is printed, without spaces."""
    printed = "".join(letter if "!" <= letter <= "~" else "-" for letter in node.name)
    return f"collab-server:{printed}"


class Door:
    """Opens links to the Redis of an address, whichever server that is at the time."""

    def __init__(self, address: BusAddress, client_name: str, timeout_s: float) -> None:
        self._address = address
        self._client_name = client_name
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        self._has_warned = False

    def prepare(self) -> None:
        """Read the certificates.

        Raises:
            BusConfigError: They cannot be read.
        """
        self._tls = tls_context(self._address)

    async def open(self, *, checks: bool = True) -> Link:
        """A link to the master, logged in; with ``checks``, one that can carry the bus.

        Raises:
            LinkError: It cannot be had now.
            BusConfigError: It is there, and is too old or a kind of server that cannot carry the bus.
        """
        address = self._address
        if address.service:
            host, port = await find_master(address, self._tls, self._timeout_s)
        else:
            host, port = address.places[0]
        link = await connect(host, port, self._tls, self._timeout_s, address.path)
        try:
            await self._log_in(link, address.username, address.password)
            if checks:
                await self._check(link)
        except BaseException:
            link.abort()
            raise
        return link

    async def _log_in(self, link: Link, username: str, password: str) -> None:
        commands = []
        if password or username:
            words = ["AUTH", username, password] if username else ["AUTH", password]
            commands.append(command(*words))
        if self._address.database:
            commands.append(command("SELECT", self._address.database))
        if not commands:
            return
        for reply in await link.call(commands, self._timeout_s):
            if isinstance(reply, hiredis.ReplyError):
                raise _login_error(reply)

    async def _check(self, link: Link) -> None:
        info, name = await link.call(
            [command("INFO"), command("CLIENT", "SETNAME", self._client_name)], self._timeout_s
        )
        del name  # Only for who looks at CLIENT LIST; not every server allows it.
        if isinstance(info, hiredis.ReplyError):
            if code_of(info) == "NOPERM":
                return
            raise _login_error(info)
        facts = _facts(info)
        version = facts.get("redis_version", "")
        if "valkey_version" not in facts and version and _numbers(version) < VERSION_MIN:
            raise BusConfigError(f"the bus needs Redis 6.2 or newer, or Valkey; this is Redis {version}")
        if facts.get("redis_mode") == "cluster" or facts.get("cluster_enabled") == "1":
            raise BusConfigError(
                "the bus needs a single Redis, or one with Sentinels; this is a node of a Redis Cluster"
            )
        if facts.get("loading") == "1":
            raise RefusedLinkError("Redis is loading its data")
        if facts.get("role", "master") not in {"master", "primary"}:
            raise RefusedLinkError("this Redis is a read-only replica")
        policy = facts.get("maxmemory_policy", "")
        if policy.startswith("allkeys") and not self._has_warned:
            self._has_warned = True
            log.warning(
                "Redis may drop what nodes say to each other when full; set maxmemory-policy noeviction",
                maxmemory_policy=policy,
            )


def _login_error(error: hiredis.ReplyError) -> LinkError:
    text = str(error)
    # Redis 6 says WRONGPASS; older ones, and servers without users, say it in words.
    if code_of(error) in _CREDENTIAL_CODES or "invalid password" in text or "without any password" in text:
        return CredentialsError("Redis refuses the password, or the name with it")
    return RefusedLinkError(f"Redis refuses: {text}")


def _facts(info: Reply) -> dict[str, str]:
    if not isinstance(info, bytes):
        raise LinkError("what answers is no Redis")
    lines = info.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
