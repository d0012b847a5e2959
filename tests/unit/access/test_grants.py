"""``access/grants``: what claims let one do."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_server.access.grants import EVERYTHING, ClaimsError, Pattern, grants_of, identity_of
from collab_server.access.identity import Identity, Role


def allowed(claims: dict[str, Any], room: str) -> tuple[Role, frozenset[str] | None] | None:
    grant = grants_of(claims).of(room)
    return None if grant is None or grant.role is None else (grant.role, grant.writable_roots)


# -- patterns


@pytest.mark.parametrize(
    ("pattern", "room", "matches"),
    [
        ("trip-1", "trip-1", True),
        ("trip-1", "trip-10", False),
        ("trip-1", "Trip-1", False),
        ("trip-*", "trip-", True),
        ("trip-*", "trip-1/notes", True),
        ("trip-*", "a-trip-1", False),
        ("*-notes", "trip-1-notes", True),
        ("*-notes", "trip-1-notes-2", False),
        ("a*b*c", "a-b-c", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "acb", False),
        ("a*a", "a", False),
        ("ab*ba", "aba", False),
        ("*a*a*", "a", False),
        ("*", "", True),
        ("**", "anything/at all\n", True),
        (r"\*", "*", True),
        (r"\*", "x", False),
        (r"trip-\**", "trip-*-1", True),
        (r"trip-\**", "trip-1", False),
        (r"a\\b", r"a\b", True),
        # Nothing else means anything.
        ("trip.1", "trip-1", False),
        ("trip-?", "trip-1", False),
        ("trip-[12]", "trip-1", False),
        ("trip-[12]", "trip-[12]", True),
        ("trip-%2a", "trip-*", False),
    ],
)
def test_a_star_stands_for_anything_and_all_else_for_itself(pattern: str, room: str, matches: bool) -> None:
    assert Pattern.parse(pattern).matches(room) is matches


@pytest.mark.parametrize(
    "room",
    [
        "../trip-1",
        "x/../trip-1",
        "./trip-1",
        "/trip-1",
        "trip%2d1",
        "%74rip-1",
        "TRIP-1",
        "trip-1"[:4] + "\u2010" + "1",  # another hyphen
        "tr\u0456p-1",  # a Cyrillic letter that looks the same
        "\uff54\uff52\uff49\uff50-1",  # full-width letters, the same after NFKC
        "trip\u00ad-1",  # a soft hyphen, which nobody sees
        "\u200btrip-1",
        "trip-1\n"[::-1],
        " trip-1",
    ],
)
def test_tricks_in_a_rooms_name_do_not_widen_a_grant(room: str) -> None:
    assert allowed({"rooms": {"trip-*": "editor", "trip-1": "editor"}}, room) is None


def test_two_ways_to_write_one_letter_are_two_rooms() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert allowed({"room": composed, "role": "editor"}, composed) is not None
    assert allowed({"room": composed, "role": "editor"}, decomposed) is None


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=8))
def test_matching_is_what_a_regular_expression_says(pattern: str, room: str) -> None:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert Pattern.parse(pattern).matches(room) == bool(re.fullmatch(expression, room, re.DOTALL))


@given(st.text(min_size=1, max_size=20).filter(lambda text: "\0" not in text))
def test_any_name_can_be_granted_by_escaping_it(room: str) -> None:
    escaped = room.replace("\\", "\\\\").replace("*", "\\*")
    assert Pattern.parse(escaped).matches(room)
    assert not Pattern.parse(escaped).matches(room + "x")
    assert Pattern.exactly(room).matches(room)


@pytest.mark.parametrize("pattern", ["", "a\\", "a\\b", "x" * 1025])
def test_a_pattern_that_cannot_be_understood_is_refused(pattern: str) -> None:
    with pytest.raises(ClaimsError):
        Pattern.parse(pattern)


# -- which grant holds


def test_claims_can_be_written_in_three_ways() -> None:
    for claims in (
        {"rooms": {"trip-1": "editor"}},
        {"rooms": {"trip-1": {"role": "editor"}}},
        {"rooms": ["trip-2", "trip-1"], "role": "editor"},
        {"room": "trip-1", "role": "editor"},
        {"room": "trip-1", "role": "editor", "rooms": {"trip-2": "viewer"}},
    ):
        assert allowed(claims, "trip-1") == (Role.EDITOR, None)
        assert allowed(claims, "trip-3") is None


@pytest.mark.parametrize("role", ["viewer", "commenter", "editor", "owner"])
def test_each_role_can_be_granted(role: str) -> None:
    granted = allowed({"room": "a", "role": role}, "a")
    assert granted is not None
    assert granted[0] is Role[role.upper()]


def test_a_commenter_writes_comments_only() -> None:
    assert allowed({"room": "a", "role": "commenter"}, "a") == (Role.COMMENTER, frozenset({"comments"}))
    for roots, left in ((["comments", "budget"], {"comments"}), (["budget"], set()), ([], set())):
        granted = allowed({"room": "a", "role": "commenter", "roots": roots}, "a")
        assert granted == (Role.COMMENTER, frozenset(left))


def test_a_grant_is_narrowed_to_root_types() -> None:
    claims = {"rooms": {"a": {"role": "editor", "roots": ["itinerary", "notes"]}}}
    assert allowed(claims, "a") == (Role.EDITOR, frozenset({"itinerary", "notes"}))


def test_the_most_specific_pattern_decides_alone() -> None:
    claims = {
        "rooms": {
            "*": "viewer",
            "trip-*": "owner",
            "trip-4*": "commenter",
            "trip-42": {"role": "editor", "roots": ["itinerary"]},
            "trip-43": "none",
            "*-secret": "none",
        }
    }
    assert allowed(claims, "x") == (Role.VIEWER, None)
    assert allowed(claims, "trip-1") == (Role.OWNER, None)
    assert allowed(claims, "trip-41") == (Role.COMMENTER, frozenset({"comments"}))
    assert allowed(claims, "trip-42") == (Role.EDITOR, frozenset({"itinerary"}))
    assert allowed(claims, "trip-43") is None
    assert allowed(claims, "trip-secret") is None


def test_a_whole_name_is_more_specific_than_any_pattern() -> None:
    assert allowed({"rooms": {"ab": "viewer", "ab*": "owner", "*ab*": "owner"}}, "ab") == (Role.VIEWER, None)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("owner", "viewer", (Role.VIEWER, None)),
        ("owner", "none", None),
        ("editor", "commenter", (Role.COMMENTER, frozenset({"comments"}))),
        (
            {"role": "editor", "roots": ["a", "b"]},
            {"role": "owner", "roots": ["b", "c"]},
            (Role.EDITOR, frozenset({"b"})),
        ),
        ({"role": "editor", "roots": ["a"]}, "owner", (Role.EDITOR, frozenset({"a"}))),
        ({"role": "editor", "roots": ["a"]}, "commenter", (Role.COMMENTER, frozenset())),
    ],
)
def test_of_equally_specific_patterns_what_both_allow_holds(one: Any, other: Any, both: Any) -> None:
    for first, second in ((one, other), (other, one)):
        assert allowed({"rooms": {"a*": first, "*b": second}}, "ab") == both


def test_a_claim_named_role_is_somebody_elses_where_no_room_stands_beside_it() -> None:
    assert allowed({"role": "authenticated", "rooms": {"a": "editor"}}, "a") == (Role.EDITOR, None)
    assert allowed({"role": "authenticated"}, "a") is None


def test_a_role_alone_is_for_the_room_that_was_asked_about() -> None:
    grants = grants_of({"role": "editor"}, here=Pattern.exactly("a*"))
    assert grants.of("a*") is not None
    assert grants.of("ab") is None


@pytest.mark.parametrize(
    "claims",
    [
        {"rooms": "trip-1", "role": "editor"},
        {"rooms": 5},
        {"rooms": {"a": "admin"}},
        {"rooms": {"a": None}},
        {"rooms": {"a": 3}},
        {"rooms": {"a": {"role": "editor", "root": ["x"]}}},
        {"rooms": {"a": {}}},
        {"rooms": {"": "editor"}},
        {"rooms": ["a"]},
        {"rooms": [5], "role": "editor"},
        {"rooms": ["a"], "role": "Editor"},
        {"room": "a"},
        {"room": ["a"], "role": "editor"},
        {"room": "a", "role": ["editor"]},
        {"room": "a", "role": "editor", "roots": "itinerary"},
        {"room": "a", "role": "editor", "roots": [""]},
        {"room": "a", "role": "editor", "roots": [1]},
        {"room": "a", "role": "editor", "roots": ["x"] * 257},
        {"rooms": ["a"] * 1001, "role": "editor"},
    ],
)
def test_grants_that_cannot_be_understood_void_the_claims(claims: dict[str, Any]) -> None:
    with pytest.raises(ClaimsError):
        grants_of(claims)


def test_everywhere_needs_a_grant_on_all_rooms_and_counts_the_exceptions_in() -> None:
    def everywhere(claims: dict[str, Any]) -> Role | None:
        grant = grants_of(claims).everywhere()
        return None if grant is None else grant.role

    assert everywhere({"rooms": {"*": "owner"}}) is Role.OWNER
    assert everywhere({"room": "**", "role": "owner"}) is Role.OWNER
    assert everywhere({"rooms": {"*": "owner", "a": "viewer"}}) is Role.VIEWER
    assert everywhere({"rooms": {"*": "owner", "a": "none"}}) is None
    assert everywhere({"rooms": {"*": "none"}}) is None
    assert everywhere({"rooms": {r"\*": "owner"}}) is None
    assert everywhere({"rooms": {"a*": "owner"}}) is None
    assert everywhere({}) is None
    assert EVERYTHING.is_everything
    assert not Pattern.exactly("").is_everything


# -- who


def test_who_somebody_is() -> None:
    claims = {"sub": "ada", "name": "Ada 👩‍👩‍👧", "tenant": "t", "sid": "s", "jti": "j", "invisible": True}
    assert identity_of(claims, 5) == Identity("ada", "Ada 👩‍👩‍👧", "s", "t", invisible=True, issued_at_ms=5)
    assert identity_of({"jti": "j", "name": ""}, None) == Identity(session_id="j")


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": 42},
        {"sub": ""},
        {"sub": "a\nb"},
        {"sub": "a\0b"},
        {"sub": "\ud800"},
        {"sub": "x" * 257},
        {"name": ["Ada"]},
        {"tenant": {}},
        {"sid": 1},
        {"invisible": "yes"},
        {"invisible": None},
    ],
)
def test_who_cannot_be_understood_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(ClaimsError):
        identity_of(claims, None)
