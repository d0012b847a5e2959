from __future__ import annotations

import json

import pytest

from collab_server.room.awareness import Presence
from collab_server.room.member import Member
from collab_server.room.settings import RoomSettings
from collab_server.room.stamp import IdentityStamp
from collab_server.wire.awareness import AwarenessBounds, AwarenessEntry, decode_awareness
from collab_server.wire.sync import PLAIN

ADA = {"id": "ada", "name": "Ada"}


def ada() -> IdentityStamp:
    return IdentityStamp("ada", "Ada")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('{"user":{"id":"bob","name":"Bob","k":"#fff"},"c":1}', {"user": {**ADA, "k": "#fff"}, "c": 1}),
        ('{"cursor":1}', {"user": ADA, "cursor": 1}),
        ("{}", {"user": ADA}),
        (' { } ', {"user": ADA}),
        ('{"user":null}', {"user": ADA}),
        ('{"user":"Bob"}', {"user": ADA}),
        ('{"user":["bob"],"a":[{"user":1}]}', {"user": ADA, "a": [{"user": 1}]}),
        ('{"user":{"id":"x"},"user":{"id":"bob","k":1}}', {"user": {**ADA, "k": 1}}),
        ('{"user":{"id":"x"},"\\u0075ser":{"\\u0069d":"bob","n\\u0061me":"Bob"}}', {"user": ADA}),
        ('{"user":{"id":"a","id":"bob","id":"c","name":1,"name":2}}', {"user": ADA}),
        (
            '{ "a" : "}" , "user" : { "id" : {"id":"bob"} , "x" : [1, 2] } , "b" : {} }',
            {"user": {**ADA, "x": [1, 2]}, "a": "}", "b": {}},
        ),
        ('"bob"', {"user": ADA}),
        ('[{"user":{"id":"bob"}}]', {"user": ADA}),
        ("5", {"user": ADA}),
        ("true", {"user": ADA}),
    ],
)  # fmt: skip
def test_whatever_is_said_the_verified_user_is_shown(said: str, shown: object) -> None:
    stamped = ada()(said)
    # The first of two equal names would count in some parsers: there must be one only.
    pairs = json.loads(stamped, object_pairs_hook=lambda found: [name for name, _ in found])
    assert pairs.count("user") == 1
    assert json.loads(stamped) == shown


def test_what_is_not_the_identity_stays_byte_for_byte() -> None:
    rest = '"n":1e400,"big":123456789012345678901234567890,"z":-0,"t":1.0,"u":"\\ud800 é"'
    assert ada()('{"user":{"color":"\\u0041"},' + rest + "}") == (
        '{"user":{"id":"ada","name":"Ada","color":"\\u0041"},' + rest + "}"
    )


def test_a_cursor_that_moves_costs_no_second_reading_and_cannot_bring_a_second_user_in() -> None:
    stamp = ada()
    begin = '{"user":{"name":"Bob"},'
    assert json.loads(stamp(begin + '"cursor":1}')) == {"user": ADA, "cursor": 1}
    assert json.loads(stamp(begin + '"cursor":2}')) == {"user": ADA, "cursor": 2}
    for late in ('"user":{"id":"bob"}}', '"\\u0075ser":{"id":"bob"}}', '"c":1,"user" : {"id":"bob"}}'):
        assert json.loads(stamp(begin + late))["user"] == ADA, late
    assert json.loads(stamp('{"user":{"name":"Bob"}}')) == {"user": ADA}


@pytest.mark.parametrize(
    ("user_id", "name", "shown"),
    [
        ("ada", None, {"id": "ada", "name": "ada"}),
        (None, None, {"id": None, "name": "anonymous"}),
        (None, "Guest", {"id": None, "name": "Guest"}),
        ('a"}\ud800', "x" * 999, {"id": 'a"}\ud800', "name": "x" * 256}),
    ],
)
def test_who_has_no_name_cannot_choose_one(user_id: str | None, name: str | None, shown: object) -> None:
    stamped = IdentityStamp(user_id, name)('{"user":{"id":"bob","name":"Bob"}}')
    stamped.encode()
    assert json.loads(stamped) == {"user": shown}


def member(member_id: int, user: str, *, invisible: bool = False) -> Member:
    stamp = IdentityStamp(user, user.title())
    return Member(member_id, PLAIN, user_id=user, stamp=stamp, invisible=invisible)


def shown(presence: Presence) -> dict[int, tuple[int, object]]:
    payload = presence.snapshot()
    entries = decode_awareness(payload, AwarenessBounds()) if payload else []
    return {entry.client: (entry.clock, json.loads(entry.state or "null")["user"]["id"]) for entry in entries}


def said(client: int, clock: int, user: str) -> AwarenessEntry:
    return AwarenessEntry(client, clock, json.dumps({"user": {"id": user}}))


def test_all_clients_of_a_connection_are_stamped_and_keep_their_clocks() -> None:
    presence = Presence(RoomSettings())
    first = member(1, "ada")
    presence.receive(first, [said(7, 3, "bob"), said(8, 5, "eve")], 0.0)
    assert shown(presence) == {7: (3, "ada"), 8: (5, "ada")}
    flush = presence.flush(0.0)
    assert flush is not None
    assert flush.sole_author is first
    assert flush.publish == flush.payload


def test_nobody_takes_over_a_state_that_carries_anothers_name() -> None:
    presence = Presence(RoomSettings())
    first, other, again = member(1, "ada"), member(2, "bob"), member(3, "ada")
    presence.receive(first, [said(7, 3, "ada")], 0.0)
    presence.leave(first, 1.0, goodbye=False)
    presence.receive(other, [said(7, 3, "ada")], 2.0)
    assert other.owned == ()
    assert shown(presence) == {7: (3, "ada")}
    presence.receive(again, [said(7, 3, "ada")], 3.0)
    assert again.owned == (7,)


def test_an_echo_of_somebody_else_changes_nothing() -> None:
    presence = Presence(RoomSettings())
    first, other = member(1, "ada"), member(2, "bob")
    presence.receive(first, [said(7, 3, "ada")], 0.0)
    presence.receive(other, [said(9, 1, "bob")], 0.0)
    presence.flush(0.0)
    presence.receive(other, [said(7, 3, "ada"), said(7, 4, "eve")], 1.0)
    assert shown(presence) == {7: (3, "ada"), 9: (1, "bob")}


def test_the_invisible_are_not_shown_and_vanish_when_they_become_so() -> None:
    presence = Presence(RoomSettings())
    hidden, seen = member(1, "ada", invisible=True), member(2, "bob")
    presence.receive(hidden, [said(7, 1, "ada")], 0.0)
    assert presence.snapshot() is None
    assert presence.flush(0.0) is None
    presence.receive(seen, [said(9, 1, "bob")], 1.0)
    presence.flush(1.0)
    seen.invisible = True
    presence.receive(seen, [said(9, 2, "bob")], 2.0)
    flush = presence.flush(2.0)
    assert flush is not None
    assert flush.publish is not None
    (gone,) = decode_awareness(flush.publish, AwarenessBounds())
    assert (gone.client, gone.state) == (9, None)
    assert presence.snapshot() is None
