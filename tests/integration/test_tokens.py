"""Tokens against a server process: of the command, of keys that rotate, and never seen in what it writes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support import frames
from tests.support.rawpeer import RawPeer
from tests.support.server import ServerProcess, free_port, start_server
from tests.support.tokens import SECRET, SigningKey, claims, ec_key, ed_key, key_set, rsa_key, secret
from tests.support.webstub import Asked, reply, web_stub
from tests.support.yupdate import text_update

MARKER = "m4rk3r"
PATIENCE_S = 30


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("COLLAB_")} | environment
    code = "import sys; from collab_server.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def made(*arguments: str) -> str:
    """What ``collab-server token`` prints."""
    done = command("token", "--secret", SECRET, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def joined(server: ServerProcess, room: str, query: str = "", **more: Any) -> connect:
    return connect(f"{server.ws_url}/{room}{query}", proxy=None, **more)


async def greeted(socket: ClientConnection) -> bytes:
    frame = await asyncio.wait_for(socket.recv(), PATIENCE_S)
    assert isinstance(frame, bytes)
    return frame


async def ending(socket: ClientConnection) -> tuple[int, str]:
    """With what the server closes."""
    await asyncio.wait_for(read_on(socket), PATIENCE_S)
    assert socket.close_code is not None
    return socket.close_code, socket.close_reason or ""


async def read_on(socket: ClientConnection) -> bytes:
    """Everything that comes until the end."""
    heard = b""
    with contextlib.suppress(ConnectionClosed):
        while isinstance(frame := await socket.recv(), bytes):
            heard += frame
    return heard


async def refused_with(server: ServerProcess, room: str, token: str) -> int:
    async with joined(server, room, f"?token={token}") as socket:
        return (await ending(socket))[0]


# -- made by the command


async def test_a_token_of_the_command_lets_its_bearer_do_what_it_says() -> None:
    with start_server(jwt_secret=SECRET) as server:
        editor = made("--room", "trip-*", "--role", "editor", "--sub", "ada")
        viewer = made("--room", "trip-1", "--role", "viewer")
        async with (
            joined(server, "trip-1", f"?auth={editor}") as ada,
            joined(server, "trip-1", subprotocols=["bearer", viewer]) as bob,
        ):
            assert bob.subprotocol == "bearer"
            await greeted(ada)
            await greeted(bob)
            await bob.send(frames.step1())
            await ada.send(frames.update(text_update(1, 0, "hello")))
            await ada.send(frames.sync_status(b"1"))
            while await greeted(ada) != frames.sync_status(b"1"):
                pass
            while b"hello" not in await greeted(bob):
                pass
            await bob.send(frames.update(text_update(2, 0, "not mine")))
            assert (await ending(bob))[0] == 4205
        assert await refused_with(server, "other", editor) == 4403
        assert await refused_with(server, "trip-2", viewer) == 4403
        assert await refused_with(server, "trip-1", "") == 4401
        other = command("token", "--secret", "x" * 32, "--room", "*", "--role", "owner").stdout.strip()
        assert await refused_with(server, "trip-1", other) == 4401


async def test_a_token_runs_out_while_its_bearer_is_here() -> None:
    with start_server(jwt_secret=SECRET, jwt_clock_skew_s=0) as server:
        token = made("--room", "*", "--role", "editor", "--ttl", "3s")
        async with joined(server, "trip-1", f"?auth={token}") as socket:
            await greeted(socket)
            assert (await ending(socket))[0] == 4401
        assert await refused_with(server, "trip-1", token) == 4401


# -- all kinds of keys, and one that is exchanged


async def test_all_kinds_of_keys_hold_at_once_and_one_is_exchanged(tmp_path: Path) -> None:
    (tmp_path / "rsa.pem").write_bytes(rsa_key().pem)
    (tmp_path / "ed.pem").write_bytes(ed_key().pem)
    old, new = ec_key().named("old"), ec_key(1).named("new")
    async with web_stub(reply(key_set(old))) as keys:
        with start_server(
            jwt_secret=SECRET,
            jwt_key=f"{tmp_path}/rsa.pem,{tmp_path}/ed.pem",
            jwks=f"{keys.url}/jwks.json",
            jwks_unknown_refresh_s=1,
            wait=False,
        ) as server:
            await asyncio.to_thread(server.wait_ready)

            async def enters(key: SigningKey) -> int:
                async with joined(server, "trip-1", f"?token={key.sign(claims())}") as socket:
                    if (await greeted(socket))[0] == 0:
                        return 0
                    return (await ending(socket))[0]

            for key in (secret(), rsa_key(), ed_key(), old):
                assert await enters(key) == 0
            assert await enters(rsa_key(1)) == 4401
            keys.answer = reply(key_set(new))
            while await enters(new) != 0:  # noqa: ASYNC110 - the test's time limit is the patience
                await asyncio.sleep(0.2)
            assert await enters(old) == 4401
            keys.answer = reply(b"", "503 Service Unavailable")
            assert await enters(new) == 0
            assert server.metric("collab_keys") == 4


async def test_the_application_decides_over_a_running_server() -> None:
    async def answer(asked: Asked) -> bytes:
        question = json.loads(asked.body)
        if question["token"] != "opaque-of-ada":
            return reply(b"", "401 Unauthorized")
        assert question["address"] == "127.0.0.1"
        return reply({"role": "editor", "sub": "ada"} if question["room"] == "trip-1" else {"role": "none"})

    async with web_stub(answer) as application:
        server = start_server(access_callback=f"{application.url}/access", host="0.0.0.0", wait=False)  # noqa: S104
        with server:
            await asyncio.to_thread(server.wait_ready)
            server.settings["host"] = "127.0.0.1"
            async with joined(server, "trip-1", "?token=opaque-of-ada") as socket:
                assert (await greeted(socket))[0] == 0
            assert await refused_with(server, "trip-2", "opaque-of-ada") == 4403
            assert await refused_with(server, "trip-1", "opaque-of-eve") == 4401
            assert await refused_with(server, "trip-1", "") == 4401
            application.answer = reply(b"", "500 Oops")
            assert await refused_with(server, "trip-1", "opaque-of-bob") == 1013


# -- what it writes


async def test_no_token_and_no_secret_is_ever_written_or_told() -> None:
    """Through every door, good and bad, with the most talkative log."""
    marked_secret = f"{MARKER}-of-the-secret-of-this-very-server"
    signing = secret(marked_secret)
    good = signing.sign(claims(sid="s", **{MARKER: 1}), kid=MARKER)
    tokens = [
        good,
        signing.sign(claims(exp=1), kid=MARKER),
        secret("y" * 32).sign(claims(), kid=MARKER),
        signing.sign(claims(rooms={"trip-1": MARKER}), kid=MARKER),
        f"opaque-{MARKER}",
        f"{MARKER}.{MARKER}.{MARKER}",
        f"%F0%9F%92%A9{MARKER}",
    ]
    secrets_shown = [MARKER, base64.urlsafe_b64encode(MARKER.encode()).decode().rstrip("="), *tokens]

    async def answer(asked: Asked) -> bytes:
        return reply(asked.body, "500 Oops")  # an application that says everything back

    async with web_stub(answer) as application:
        server = start_server(
            jwt_secret=marked_secret,
            jwks=f"{application.url.replace('http://', f'http://me:{MARKER}@')}/jwks?token={MARKER}",
            access_callback=f"{application.url}/access?secret={MARKER}",
            log_level="debug",
            wait=False,
        )
        with server:
            while "started" not in server.log_text:  # noqa: ASYNC110 - the test's time limit is the patience
                await asyncio.sleep(0.05)
            told = await _every_door(server, tokens)
            told += [server.ops_url, *await _every_page(server)]
            for text in (*told, server.log_text):
                for shown in secrets_shown:
                    assert shown not in text
            assert "cannot be read" in server.log_text
            assert "the application did not say who may enter" in server.log_text
            assert server.terminate() == 0
            assert MARKER not in server.log_text


async def _every_door(server: ServerProcess, tokens: list[str]) -> list[str]:
    """Knock with each token in each place where one can be; what the server says."""
    told: list[str] = []
    async with httpx.AsyncClient(base_url=server.http_url, trust_env=False, timeout=PATIENCE_S) as http:
        for token in tokens:
            for query in (f"?token={token}", f"?auth={token}"):
                async with joined(server, "trip-1", query) as socket:
                    told.append(str(await ending(socket)))
                told.append((await http.get(f"/v1/documents/trip-1{query}")).text)
                told.append((await http.get(f"/no/such/page{query}")).text)
            bearing = {"Authorization": f"Bearer {token}"}
            async with joined(server, "trip-1", additional_headers=bearing) as socket:
                told.append(str(await ending(socket)))
            answer = await http.post("/v1/access/revoke", headers=bearing, json={"user": 5})
            told.append(answer.text + str(answer.headers))
            if "%" not in token:
                async with joined(server, "trip-1", subprotocols=["bearer", token]) as socket:
                    told.append(str(socket.response and socket.response.headers))
                    told.append(str(await ending(socket)))
            async with joined(server, "") as socket:
                await socket.send(frames.var_string("trip-1") + b"\x02\x00" + frames.var_string(token))
                # Denied, by a frame or by a close; whichever, this comes after it.
                await socket.send(b"\xff")
                told.append(
                    repr(await asyncio.wait_for(read_on(socket), PATIENCE_S)) + str(socket.close_reason)
                )
            for changed in ({"Upgrade": "x"}, {"Sec-WebSocket-Version": "8"}, {"Sec-WebSocket-Key": "x"}):
                async with RawPeer(server.ws_url) as raw:
                    told.append(repr(await raw.request(f"/trip-1?token={token}", **changed)))
            async with RawPeer(server.ws_url) as raw:
                raw.writer.write(
                    f"GET /trip-1?token={token} HTTP/1.1\r\nBroken\x00: {token}\r\n\r\n".encode()
                )
                told.append(repr(await asyncio.wait_for(raw.reader.read(4096), PATIENCE_S)))
    return told


async def _every_page(server: ServerProcess) -> list[str]:
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S) as http:
        return [
            (await http.get(url)).text
            for url in (
                f"{server.http_url}/openapi.json",
                f"{server.http_url}/playground",
                f"{server.ops_url}/ready",
                f"{server.ops_url}/metrics",
                f"{server.ops_url}/health",
            )
        ]


def test_the_settings_are_shown_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text(
        f'jwt_secret = "{MARKER}-of-32-bytes-or-more-of-the-server"\n'
        f'jwks = ["https://me:{MARKER}@keys.example/", "keys.json"]\n'
        f'access_callback = "https://me:{MARKER}@app.example/access?token={MARKER}"\n'
    )
    for more in ((), ("--json",)):
        done = command("config", "--config", str(tmp_path / "settings.toml"), *more)
        assert done.returncode == 0
        assert MARKER not in done.stdout + done.stderr
        assert "https://me:***@keys.example/" in done.stdout


# -- mistakes at the start


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--host", "0.0.0.0"], 2, "set --jwt-secret, --jwt-key, --jwks or --access-callback"),  # noqa: S104
        (["--jwt-secret", "sh0rt", "--host", "0.0.0.0"], 2, "has 5 bytes, and HS256 needs 32 or more"),  # noqa: S104
        (["--jwt-key", "/nowhere/key.pem"], 1, "jwt_key /nowhere/key.pem cannot be read"),
        (["--jwks", "http://keys.example/"], 1, "is not encrypted"),
        (["--jwks", "/nowhere/jwks.json"], 1, "jwks /nowhere/jwks.json cannot be used: No such file"),
        (["--jwt-isuer", "us"], 2, "jwt-isuer"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(arguments: list[str], code: int, told: str) -> None:
    ports = ("--port", str(free_port()), "--ops-port", str(free_port()), "--store", "memory:")
    done = command("serve", *ports, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert told in done.stderr
    assert "sh0rt" not in done.stderr
    assert done.stderr.startswith("collab-server: ")
    assert done.stderr.count("\n") == 1


def test_a_server_serves_everybody_when_told_to() -> None:
    with start_server(host="0.0.0.0", allow_anonymous=True) as server:  # noqa: S104
        assert server.ready()
