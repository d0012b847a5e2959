from __future__ import annotations

import pytest
from pycrdt import Doc, Map, Text

from collab_server.errors import BusyError, CloseCode, MalformedError, PeerError, RefusedError, TooBigError
from collab_server.room.flush import Flush
from collab_server.room.member import Member
from collab_server.room.room import Room
from collab_server.room.settings import RoomSettings
from collab_server.wire.awareness import AwarenessEntry, encode_awareness
from collab_server.wire.sync import PLAIN
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.statevector import decode_state_vector
from tests.support import yupdate

NOTHING = b"\x00"


class Writer:
    """A client that edits one text, and keeps the update of each edit."""

    def __init__(self, client_id: int) -> None:
        self.doc: Doc[Text] = Doc(client_id=client_id)
        self.text = self.doc.get("t", type=Text)
        self._made: list[bytes] = []
        self._watching = self.doc.observe(lambda event: self._made.append(event.update))

    def types(self, text: str) -> bytes:
        self._made.clear()
        self.text += text
        return self._made[-1]

    def deletes(self, start: int, stop: int) -> bytes:
        self._made.clear()
        del self.text[start:stop]
        return self._made[-1]

    def takes(self, update: bytes | None) -> None:
        assert update is not None
        self.doc.apply_update(update)

    @property
    def reads(self) -> str:
        return str(self.text)


class Scene:
    """A room with a clock."""

    def __init__(self, settings: RoomSettings | None = None, bounds: Bounds | None = None) -> None:
        self.room = Room(
            "trip-1", DocumentLog(bounds) if bounds else DocumentLog(), settings or RoomSettings()
        )
        self.now = 1000.0
        self._members = 0

    def joins(
        self,
        *,
        synced: bool = True,
        can_write: bool = True,
        wants_echo: bool = False,
        user_id: str | None = None,
    ) -> Member:
        self._members += 1
        member = Member(self._members, PLAIN, can_write=can_write, wants_echo=wants_echo, user_id=user_id)
        self.room.join(member, self.now)
        if synced:
            self.room.receive_step1(member, NOTHING, self.now)
        return member

    def sends(self, member: Member, update: bytes) -> bool:
        return self.room.receive_update(member, update, self.now)

    def flush(self) -> Flush:
        return self.room.flush(self.now)


@pytest.fixture
def scene() -> Scene:
    return Scene()


# -- an edit


def test_one_edit_is_passed_on_as_the_very_same_bytes(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    update = Writer(1).types("hello")
    assert scene.sends(anna, update)
    assert scene.room.next_due() == scene.now
    flush = scene.flush()
    assert flush.update is update
    assert flush.journal is update
    assert flush.publish is update
    assert flush.recipients == [ben]
    assert scene.room.next_due() is None
    assert scene.flush().update is None


def test_several_edits_of_one_turn_become_one(scene: Scene) -> None:
    anna, ben, carla = scene.joins(), scene.joins(), scene.joins()
    one, two = Writer(1), Writer(2)
    scene.sends(anna, one.types("a"))
    scene.sends(anna, one.types("b"))
    scene.sends(ben, two.types("c"))
    flush = scene.flush()
    assert flush.update is flush.journal
    assert flush.recipients == [anna, ben, carla]
    reader = Writer(3)
    reader.takes(flush.update)
    one.takes(flush.update)
    assert reader.reads == one.reads
    assert sorted(reader.reads) == ["a", "b", "c"]


def test_the_sole_author_of_several_edits_does_not_get_them_back(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer = Writer(1)
    scene.sends(anna, writer.types("a"))
    scene.sends(anna, writer.types("b"))
    assert scene.flush().recipients == [ben]


def test_what_is_known_is_neither_sent_nor_stored(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    update = Writer(1).types("a")
    scene.sends(anna, update)
    scene.flush()
    assert not scene.sends(anna, update)
    assert not scene.sends(ben, update)
    assert scene.room.next_due() is None


def test_an_empty_update_is_nothing(scene: Scene) -> None:
    assert not scene.sends(scene.joins(), b"\x00\x00")
    assert scene.room.next_due() is None


@pytest.mark.parametrize("update", [b"", b"\xff", b"\x01\x01", b"\x00\x00\x00", b"\x01\x01\x05\x00\x1f"])
def test_what_is_no_update_costs_its_sender_4400_and_nobody_else(scene: Scene, update: bytes) -> None:
    anna, ben = scene.joins(), scene.joins()
    good = Writer(1).types("a")
    scene.sends(ben, good)
    with pytest.raises(MalformedError):
        scene.sends(anna, update)
    assert scene.flush().update is good


def test_the_users_who_wrote_are_named_once_each(scene: Scene) -> None:
    anna, again, ben = scene.joins(user_id="anna"), scene.joins(user_id="anna"), scene.joins(user_id="ben")
    nobody = scene.joins()
    for number, member in enumerate((anna, again, ben, nobody), start=1):
        scene.sends(member, Writer(number).types("x"))
    assert scene.flush().authors == ("anna", "ben")
    scene.sends(nobody, Writer(9).types("x"))
    assert scene.flush().authors == ()


def test_the_numbers_for_telemetry_are_there(scene: Scene) -> None:
    anna = scene.joins()
    writer = Writer(1)
    scene.sends(anna, writer.types("a"))
    received_at = scene.now
    scene.now += 0.004
    scene.sends(anna, writer.types("b"))
    flush = scene.flush()
    assert flush.received_at == received_at
    assert flush.window_ms == pytest.approx(4.0)
    assert flush.updates_count == 2


def test_a_busy_room_gathers_and_a_forced_flush_does_not_wait(scene: Scene) -> None:
    members = [scene.joins() for _ in range(50)]
    writers = [Writer(number + 1) for number in range(50)]
    for _ in range(5):
        for member, writer in zip(members, writers, strict=True):
            scene.sends(member, writer.types("a"))
        scene.room.flush(scene.now, force=True)
    scene.now += 0.001
    scene.sends(members[0], writers[0].types("b"))
    due = scene.room.next_due()
    assert due is not None
    assert 0.015 < due - scene.now <= 0.020
    assert scene.flush().update is None
    assert scene.room.has_edits_waiting
    assert scene.room.flush(scene.now, force=True).update is not None
    assert not scene.room.has_edits_waiting


# -- echo


def test_who_wants_its_echo_gets_it_apart_from_the_others(scene: Scene) -> None:
    anna, ben = scene.joins(wants_echo=True), scene.joins()
    update = Writer(1).types("a")
    scene.sends(anna, update)
    flush = scene.flush()
    assert flush.echo == [anna]
    assert flush.recipients == [ben]
    scene.sends(ben, Writer(2).types("b"))
    flush = scene.flush()
    assert flush.echo == []
    assert flush.recipients == [anna]


def test_who_wants_its_echo_among_several_authors_gets_everything_once(scene: Scene) -> None:
    anna, ben = scene.joins(wants_echo=True), scene.joins()
    scene.sends(anna, Writer(1).types("a"))
    scene.sends(ben, Writer(2).types("b"))
    flush = scene.flush()
    assert flush.echo == [anna]
    assert flush.recipients == [ben]


# -- joining


def test_a_joiner_is_greeted_with_what_the_room_has(scene: Scene) -> None:
    scene.sends(scene.joins(), Writer(7).types("abc"))
    vector, awareness = scene.room.greeting(scene.joins())
    assert decode_state_vector(vector) == {7: 3}
    assert awareness is None


def test_a_joiner_gets_nothing_live_before_its_step_1_is_answered(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins(synced=False)
    writer = Writer(1)
    scene.sends(anna, writer.types("a"))
    assert scene.flush().recipients == []
    reader = Writer(2)
    reader.takes(scene.room.receive_step1(ben, NOTHING, scene.now))
    assert reader.reads == "a"
    scene.sends(anna, writer.types("b"))
    flush = scene.flush()
    assert flush.recipients == [ben]
    scene.now += 5
    assert scene.room.next_due() is None


def test_a_joiner_without_a_step_1_gets_what_came_since_when_patience_ends(scene: Scene) -> None:
    anna = scene.joins()
    writer = Writer(1)
    early = writer.types("a")
    scene.sends(anna, early)
    scene.flush()
    mute, idle = scene.joins(synced=False), scene.joins(synced=False)
    scene.room.leave(idle, scene.now, goodbye=True)
    scene.sends(anna, writer.types("b"))
    scene.flush()
    assert scene.room.next_due() == scene.now + 1
    scene.now += 1
    flush = scene.flush()
    assert [member for member, _ in flush.late] == [mute]
    reader = Writer(2)
    reader.takes(early)
    reader.takes(flush.late[0][1])
    assert reader.reads == "ab"
    scene.sends(anna, writer.types("c"))
    assert scene.flush().recipients == [mute]


def test_nobody_is_late_for_nothing(scene: Scene) -> None:
    scene.joins(synced=False)
    scene.now += 1
    assert scene.flush().late == []
    assert scene.room.next_due() is None


def test_patience_that_ends_in_an_open_window_waits_for_its_end(scene: Scene) -> None:
    scene.room = Room(
        "busy", DocumentLog(), RoomSettings(flush_quiet_deliveries_per_s=0, flush_full_deliveries_per_s=1)
    )
    anna, mute = scene.joins(), scene.joins(synced=False)
    writer = Writer(1)
    scene.sends(anna, writer.types("a"))
    scene.flush()
    scene.now += 0.99
    scene.sends(anna, writer.types("b"))
    scene.flush()
    scene.now += 0.009
    scene.sends(anna, writer.types("c"))
    scene.now += 0.001
    assert scene.flush().late == []
    scene.now += 0.02
    flush = scene.flush()
    assert mute not in flush.recipients
    assert [member for member, _ in flush.late] == [mute]
    reader = Writer(2)
    reader.takes(flush.late[0][1])
    assert reader.reads == "abc"


def test_a_step_1_brings_only_what_is_missing(scene: Scene) -> None:
    anna = scene.joins()
    writer = Writer(1)
    scene.sends(anna, writer.types("a" * 1000))
    scene.flush()
    reader = Writer(2)
    reader.takes(scene.room.log.encode())
    scene.sends(anna, writer.types("b"))
    scene.flush()
    answer = scene.room.receive_step1(scene.joins(synced=False), reader.doc.get_state(), scene.now)
    assert len(answer) < 50
    reader.takes(answer)
    assert reader.reads == writer.reads


def test_joiners_who_have_nothing_share_one_answer(scene: Scene) -> None:
    scene.sends(scene.joins(), Writer(1).types("a"))
    scene.flush()
    ben, carla = scene.joins(synced=False), scene.joins(synced=False)
    answer = scene.room.receive_step1(ben, NOTHING, scene.now)
    assert scene.room.receive_step1(carla, NOTHING, scene.now) is answer


def test_an_answer_inside_an_open_window_is_not_repeated_by_its_flush(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins(synced=False)
    writer = Writer(1)
    scene.sends(anna, writer.types("a"))
    reader = Writer(2)
    reader.takes(scene.room.receive_step1(ben, NOTHING, scene.now))
    assert reader.reads == "a"
    flush = scene.flush()
    assert flush.recipients == []
    assert flush.late == []
    scene.sends(anna, writer.types("b"))
    reader.takes(scene.room.receive_step1(ben, reader.doc.get_state(), scene.now))
    scene.sends(anna, writer.types("c"))
    flush = scene.flush()
    assert flush.recipients == []
    reader.takes(flush.late[0][1])
    assert reader.reads == "abc"


@pytest.mark.parametrize("vector", [b"", b"\x01", b"\xff\xff\xff\xff\x0f", b"\x01\x05\x03\x00"])
def test_what_is_no_state_vector_costs_its_sender_4400(scene: Scene, vector: bytes) -> None:
    with pytest.raises(MalformedError):
        scene.room.receive_step1(scene.joins(synced=False), vector, scene.now)


def test_a_full_room_takes_nobody_more() -> None:
    scene = Scene(RoomSettings(members_max=2))
    scene.joins()
    ben = scene.joins()
    with pytest.raises(BusyError) as caught:
        scene.joins()
    assert caught.value.close_code is CloseCode.OVERLOADED
    scene.room.leave(ben, scene.now, goodbye=True)
    scene.joins()
    assert scene.room.members_count == 2


def test_leaving_twice_or_without_having_joined_is_harmless(scene: Scene) -> None:
    anna = scene.joins()
    scene.room.leave(anna, scene.now, goodbye=True)
    scene.room.leave(anna, scene.now, goodbye=False)
    scene.room.leave(Member(99, PLAIN), scene.now, goodbye=False)
    assert scene.room.members_count == 0
    assert scene.room.next_due() in {None, scene.now + 1}


def test_what_a_member_wrote_just_before_it_left_is_kept(scene: Scene) -> None:
    anna, ben = scene.joins(user_id="anna", wants_echo=True), scene.joins()
    update = Writer(1).types("a")
    scene.sends(anna, update)
    scene.room.leave(anna, scene.now, goodbye=False)
    flush = scene.flush()
    assert flush.journal is update
    assert flush.authors == ("anna",)
    assert flush.recipients == [ben]
    assert flush.echo == []


# -- slow members


def test_a_slow_member_gets_one_difference_when_it_is_back(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer, reader = Writer(1), Writer(2)
    scene.sends(anna, writer.types("a"))
    reader.takes(scene.flush().update)
    scene.room.mark_slow(ben)
    scene.room.mark_slow(ben)
    for _ in range(3):
        scene.sends(anna, writer.types("b"))
        assert scene.flush().recipients == []
        scene.now += 1
    update, awareness = scene.room.resume(ben, scene.now)
    assert awareness is None
    reader.takes(update)
    assert reader.reads == "abbb"
    assert scene.room.resume(ben, scene.now) == (None, None)
    scene.sends(anna, writer.types("c"))
    assert scene.flush().recipients == [ben]


def test_a_slow_member_may_send_an_edit_of_which_a_part_must_wait(scene: Scene) -> None:
    ben = scene.joins()
    scene.room.mark_slow(ben)
    ready = (5, 0, [yupdate.string("ready")])
    waits = (7, 0, [yupdate.string("waits", origin=(9, 0))])
    assert scene.sends(ben, yupdate.update([ready, waits]))
    assert scene.room.log.state_vector == {5: 5}
    assert scene.room.resume(ben, scene.now) == (None, None)


def test_a_slow_member_that_missed_nothing_gets_nothing(scene: Scene) -> None:
    ben = scene.joins()
    scene.room.mark_slow(ben)
    assert scene.room.resume(ben, scene.now) == (None, None)


def test_a_slow_member_learns_of_deletions(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer, reader = Writer(1), Writer(2)
    scene.sends(anna, writer.types("abc"))
    reader.takes(scene.flush().update)
    scene.room.mark_slow(ben)
    scene.sends(anna, writer.deletes(0, 2))
    scene.flush()
    update, _ = scene.room.resume(ben, scene.now)
    reader.takes(update)
    assert reader.reads == "c"


def test_a_member_that_becomes_slow_in_an_open_window_gets_that_window_and_no_more(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer, reader = Writer(1), Writer(2)
    scene.sends(anna, writer.types("a"))
    scene.room.mark_slow(ben)
    flush = scene.flush()
    assert flush.recipients == [ben]
    reader.takes(flush.update)
    scene.sends(anna, writer.types("b"))
    assert scene.flush().recipients == []
    update, _ = scene.room.resume(ben, scene.now)
    reader.takes(update)
    assert reader.reads == "ab"


def test_a_member_that_was_slow_for_less_than_a_window_missed_nothing(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    scene.sends(anna, Writer(1).types("a"))
    scene.room.mark_slow(ben)
    assert scene.room.resume(ben, scene.now) == (None, None)
    assert scene.flush().recipients == [ben]


def test_a_member_that_resumes_in_an_open_window_gets_its_difference_with_the_flush(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer, reader = Writer(1), Writer(2)
    scene.room.mark_slow(ben)
    scene.sends(anna, writer.types("a"))
    assert scene.room.resume(ben, scene.now) == (None, None)
    flush = scene.flush()
    assert flush.recipients == []
    assert [member for member, _ in flush.late] == [ben]
    reader.takes(flush.late[0][1])
    assert reader.reads == "a"


def test_a_joiner_that_is_slow_when_patience_ends_gets_its_difference_when_it_is_back(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins(synced=False)
    scene.room.mark_slow(ben)
    update = Writer(1).types("a")
    scene.sends(anna, update)
    scene.flush()
    scene.now += 1
    assert scene.flush().late == []
    assert scene.room.next_due() is None
    difference, _ = scene.room.resume(ben, scene.now)
    reader = Writer(2)
    reader.takes(difference)
    assert reader.reads == "a"


def test_a_joiner_that_was_slow_for_a_moment_is_still_waited_for(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins(synced=False)
    scene.room.mark_slow(ben)
    scene.sends(anna, Writer(1).types("a"))
    scene.flush()
    assert scene.room.resume(ben, scene.now) == (None, None)
    reader = Writer(2)
    reader.takes(scene.room.receive_step1(ben, NOTHING, scene.now))
    assert reader.reads == "a"
    scene.now += 5
    assert scene.flush().late == []


def test_a_step_1_of_a_slow_member_moves_its_mark(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer, reader = Writer(1), Writer(2)
    scene.room.mark_slow(ben)
    scene.sends(anna, writer.types("a"))
    scene.flush()
    reader.takes(scene.room.receive_step1(ben, NOTHING, scene.now))
    assert scene.room.resume(ben, scene.now) == (None, None)
    scene.sends(anna, writer.types("b"))
    flush = scene.flush()
    assert flush.recipients == [ben]


# -- rights and bounds


def test_a_reader_may_say_what_is_known_and_nothing_new(scene: Scene) -> None:
    anna, reader = scene.joins(), scene.joins(can_write=False)
    writer = Writer(1)
    known = writer.types("abc")
    scene.sends(anna, known)
    deletion = writer.deletes(0, 1)
    scene.sends(anna, deletion)
    scene.flush()
    assert not scene.sends(reader, known)
    assert not scene.sends(reader, deletion)
    assert not scene.sends(reader, writer.doc.get_update())
    for news in (writer.types("d"), writer.deletes(0, 1), Writer(2).types("x")):
        with pytest.raises(RefusedError) as caught:
            scene.room.receive_update(reader, news, scene.now, is_answer=False)
        assert caught.value.close_code is CloseCode.FORBIDDEN
    assert scene.room.next_due() is None
    assert decode_state_vector(scene.room.greeting(reader)[0]) == {1: 3}


def test_a_reader_is_not_blamed_for_what_yjs_deletes_by_itself(scene: Scene) -> None:
    anna, ben, reader = scene.joins(), scene.joins(), scene.joins(can_write=False)
    for client_id, member in ((1, anna), (2, ben)):
        doc: Doc[Map[int]] = Doc(client_id=client_id)
        doc.get("m", type=Map)["key"] = client_id
        scene.sends(member, doc.get_update())
    seen: Doc[Map[int]] = Doc(client_id=3)
    seen.apply_update(scene.room.log.encode())
    answer = seen.get_update(scene.room.greeting(reader)[0])
    assert answer != b"\x00\x00"
    before = scene.room.log.encode()
    assert not scene.sends(reader, answer)
    assert scene.room.log.encode() is before


def test_while_the_store_is_away_only_what_is_new_is_refused(scene: Scene) -> None:
    anna = scene.joins()
    writer = Writer(1)
    known = writer.types("a")
    scene.sends(anna, known)
    scene.room.refuses_edits = BusyError("the store is away", CloseCode.STORE_UNAVAILABLE)
    assert not scene.sends(anna, known)
    news = writer.types("b")
    with pytest.raises(PeerError) as caught:
        scene.sends(anna, news)
    assert caught.value.close_code is CloseCode.STORE_UNAVAILABLE
    assert caught.value is not scene.room.refuses_edits
    scene.room.refuses_edits = None
    assert scene.sends(anna, news)


def test_a_room_over_its_bytes_refuses_the_sender_of_more_and_takes_deletions() -> None:
    scene = Scene(RoomSettings(room_bytes_max=2000))
    anna, ben = scene.joins(), scene.joins()
    writer = Writer(1)
    first = writer.types("a" * 1500)
    scene.sends(anna, first)
    with pytest.raises(TooBigError) as caught:
        scene.sends(ben, Writer(2).types("b" * 1000))
    assert caught.value.close_code is CloseCode.OVER_LIMIT
    assert scene.flush().update is first
    assert not scene.sends(ben, first)
    assert scene.sends(anna, writer.deletes(0, 700))
    assert scene.sends(anna, writer.types("c"))


def test_many_small_edits_fit_where_their_squashed_form_does() -> None:
    scene = Scene(RoomSettings(room_bytes_max=2000))
    anna = scene.joins()
    writer = Writer(1)
    for _ in range(1000):
        scene.sends(anna, writer.types("a"))
        scene.flush()
        scene.now += 1
    assert scene.room.log.bytes_total <= 2000


def test_a_long_tail_is_folded_at_the_end_of_a_flush() -> None:
    scene = Scene(RoomSettings(tail_bytes_max=100))
    anna = scene.joins()
    writer = Writer(1)
    for _ in range(100):
        scene.sends(anna, writer.types("a"))
        scene.flush()
        scene.now += 1
        assert scene.room.log.tail_bytes <= 100
    reader = Writer(2)
    reader.takes(scene.room.log.encode())
    assert reader.reads == "a" * 100


# -- gaps


def test_what_waits_for_its_earlier_part_is_stored_and_not_sent(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer = Writer(1)
    first, second = writer.types("a"), writer.types("b")
    assert scene.sends(anna, second)
    flush = scene.flush()
    assert flush.update is None
    assert flush.recipients == []
    assert flush.journal == second
    assert flush.publish == second
    assert not scene.sends(anna, second)
    assert scene.sends(anna, first)
    flush = scene.flush()
    assert flush.recipients == [ben]
    reader = Writer(2)
    reader.takes(flush.update)
    assert reader.reads == "ab"


def test_who_closes_the_gap_of_another_gets_what_it_set_free(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    writer = Writer(1)
    first, second = writer.types("a"), writer.types("b")
    scene.sends(anna, second)
    scene.flush()
    scene.sends(ben, first)
    flush = scene.flush()
    assert set(flush.recipients) == {anna, ben}
    reader = Writer(2)
    reader.takes(first)
    reader.takes(flush.update)
    assert reader.reads == "ab"


def test_a_gap_that_never_closes_does_not_make_others_hear_themselves(scene: Scene) -> None:
    anna, ben, eve = scene.joins(), scene.joins(), scene.joins()
    gone = Writer(9)
    gone.types("x")
    scene.sends(eve, gone.types("y"))
    scene.flush()
    scene.sends(anna, Writer(1).types("a"))
    assert scene.flush().recipients == [ben, eve]


# -- from other nodes and the store


def test_what_comes_from_elsewhere_goes_to_everybody_and_nowhere_else(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    update = Writer(1).types("a")
    scene.room.receive_remote(update, scene.now)
    flush = scene.flush()
    assert flush.update is update
    assert flush.recipients == [anna, ben]
    assert flush.journal is None
    assert flush.publish is None
    scene.room.receive_remote(update, scene.now)
    assert scene.room.next_due() is None


def test_a_mixed_window_stores_and_publishes_only_what_is_ours(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    ours = Writer(1).types("a")
    scene.sends(anna, ours)
    scene.room.receive_remote(Writer(2).types("b"), scene.now)
    flush = scene.flush()
    assert flush.journal is ours
    assert flush.publish is ours
    assert flush.recipients == [anna, ben]
    reader = Writer(3)
    reader.takes(flush.update)
    assert sorted(reader.reads) == ["a", "b"]


# -- presence


def here(client: int, clock: int, state: str | None = '"x"') -> bytes:
    return encode_awareness([AwarenessEntry(client, clock, state)])


def test_presence_goes_to_everybody_but_its_sole_author(scene: Scene) -> None:
    anna, ben, new = scene.joins(), scene.joins(), scene.joins(synced=False)
    scene.room.receive_awareness(anna, here(1, 0), scene.now)
    flush = scene.flush()
    assert flush.awareness == here(1, 0)
    assert flush.awareness_publish == here(1, 0)
    assert flush.awareness_recipients == [ben, new]
    assert flush.update is None
    assert scene.room.query_awareness() == here(1, 0)
    assert scene.room.greeting(new)[1] == here(1, 0)


def test_a_reader_may_be_seen(scene: Scene) -> None:
    scene.room.receive_awareness(scene.joins(can_write=False), here(1, 0), scene.now)
    assert scene.room.query_awareness() == here(1, 0)


def test_a_slow_member_learns_who_came_and_went_when_it_is_back(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    scene.room.receive_awareness(anna, here(1, 0), scene.now)
    scene.flush()
    scene.room.mark_slow(ben)
    scene.room.leave(anna, scene.now, goodbye=True)
    scene.now += 1
    flush = scene.flush()
    assert flush.awareness == here(1, 0, None)
    assert flush.awareness_recipients == []
    assert scene.room.resume(ben, scene.now) == (None, here(1, 0, None))


def test_an_owner_is_asked_in_private(scene: Scene) -> None:
    anna, ben = scene.joins(), scene.joins()
    scene.room.receive_awareness(anna, here(1, 0), scene.now)
    scene.flush()
    scene.now += 1
    scene.room.receive_awareness(ben, here(1, 5), scene.now)
    flush = scene.flush()
    assert flush.awareness is None
    assert flush.awareness_recipients == []
    assert flush.awareness_private == [(anna, here(1, 5, None))]


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\x01\x01\x01\x01{", b"\xff\xff\xff\xff\x0f"])
def test_what_is_no_awareness_costs_its_sender_4400(scene: Scene, payload: bytes) -> None:
    with pytest.raises(MalformedError):
        scene.room.receive_awareness(scene.joins(), payload, scene.now)


def test_an_awareness_message_over_its_bound_costs_its_sender_4413() -> None:
    scene = Scene(RoomSettings(awareness_bytes_max=100))
    with pytest.raises(TooBigError):
        scene.room.receive_awareness(scene.joins(), here(1, 0, '"' + "x" * 100 + '"'), scene.now)


def test_an_idle_room_asks_for_nothing(scene: Scene) -> None:
    assert scene.room.next_due() is None
    anna = scene.joins()
    assert scene.room.next_due() is None
    scene.room.leave(anna, scene.now, goodbye=True)
    assert scene.room.next_due() is None
