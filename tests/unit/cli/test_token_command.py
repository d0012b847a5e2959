from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.tokens import SECRET
from tests.unit.cli.test_cli import Run, _own_folder, assert_one_line, run

__all__ = ["_own_folder", "run"]


def printed(run: Run, *arguments: str, secret: str = SECRET, **options: Any) -> dict[str, Any]:
    code, out, error = run("token", *arguments)
    assert (code, error) == (0, "")
    assert out.count("\n") == 1
    found: dict[str, Any] = jwt.decode(out.strip(), secret, algorithms=["HS256"], **options)
    return found


def refusal(run: Run, *arguments: str) -> str:
    code, out, error = run("token", *arguments)
    assert (code, out) == (2, "")
    assert_one_line(error)
    return error


def test_a_token_says_what_was_asked_for(run: Run) -> None:
    found = printed(
        run, "--secret", SECRET, "--room", "trip-*", "--role", "editor", "--sub", "ada", "--name", "Ada L"
    )
    assert found["rooms"] == {"trip-*": "editor"}
    assert (found["sub"], found["name"]) == ("ada", "Ada L")
    assert found["exp"] - found["iat"] == 3600
    assert abs(found["iat"] - time.time()) < 600
    assert found["jti"]
    assert not {"iss", "aud", "sid", "tenant"} & found.keys()


def test_each_room_has_its_role_or_all_have_one(run: Run) -> None:
    base = ("--secret", SECRET)
    pairs = printed(run, *base, "--room", "a", "--role", "owner", "--room", "b*", "--role", "viewer")
    assert pairs["rooms"] == {"a": "owner", "b*": "viewer"}
    shared = printed(run, *base, "--room", "a", "--room", "b*", "--role", "commenter")
    assert shared["rooms"] == {"a": "commenter", "b*": "commenter"}
    narrowed = printed(run, *base, "--room", "a", "--role", "editor", "--roots", "itinerary, notes")
    assert narrowed["rooms"] == {"a": {"role": "editor", "roots": ["itinerary", "notes"]}}


@pytest.mark.parametrize(
    ("ttl", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2H", 7200), ("7d", 604800)]
)
def test_a_lifetime_can_be_written_as_people_write_it(run: Run, ttl: str, seconds: int) -> None:
    found = printed(run, "--secret", SECRET, "--room", "a", "--role", "editor", "--ttl", ttl)
    assert found["exp"] - found["iat"] == seconds


def test_the_settings_secret_issuer_and_audience_are_used(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLAB_JWT_SECRET", SECRET)
    (tmp_path / "collab-server.toml").write_text('jwt_issuer = "us"\njwt_audience = ["rooms", "x"]\n')
    found = printed(run, "--room", "a", "--role", "editor", audience="rooms", issuer="us")
    assert (found["iss"], found["aud"]) == ("us", "rooms")
    monkeypatch.delenv("COLLAB_JWT_SECRET")
    (tmp_path / "secret").write_text("another secret of 32 bytes or more\n")
    (tmp_path / "collab-server.toml").write_text('jwt_secret_file = "secret"\n')
    printed(run, "--room", "a", "--role", "editor", secret="another secret of 32 bytes or more")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--role", "edtor"), "--role edtor is no role; did you mean editor?"),
        (("--role", "Viewer"), "did you mean viewer?"),
        (("--role", "root"), "there are none, viewer, commenter, editor, owner"),
        ((), "--role is missing"),
        (
            ("--role", "editor", "--room", "b", "--role", "viewer", "--room", "c"),
            "3 times and --role 2 times",
        ),
        (("--role", "editor", "--room", "a"), "twice"),
        (("--role", "editor", "--room", "a\\b"), "backslash"),
        (("--role", "editor", "--ttl", "soon"), "--ttl soon is no time"),
        (("--role", "editor", "--ttl", "0"), "--ttl 0 is no time"),
        (("--role", "editor", "--ttl", "-1h"), "is no time"),
        (("--role", "editor", "--ttl", "9999d"), "is no time"),
        (("--role", "editor", "--sub", "a\nb"), "sub must be a text"),
    ],
)
def test_a_mistake_is_one_line(run: Run, arguments: tuple[str, ...], told: str) -> None:
    assert told in refusal(run, "--secret", SECRET, "--room", "a", *arguments)


def test_a_short_secret_is_for_loopback_and_not_shown(run: Run) -> None:
    code, out, told = run("token", "--secret", "s3cr3t", "--room", "a", "--role", "editor")
    assert (code, out.count("."), out.count("\n")) == (0, 2, 1)
    assert "has 6 bytes, and HS256 needs 32 or more" in told
    assert "a server on loopback takes it" in told
    assert "s3cr3t" not in told


def test_what_is_missing_is_named(run: Run) -> None:
    assert "--secret is missing" in refusal(run, "--room", "a", "--role", "editor")
    assert "--room is missing" in refusal(run, "--secret", SECRET, "--role", "editor")
