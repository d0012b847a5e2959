from __future__ import annotations

import pytest

from collab_server.errors import CloseCode, TooBigError
from collab_server.room.awareness import CLOCK_STEP_MAX, Presence
from collab_server.room.member import Member
from collab_server.room.settings import RoomSettings
from collab_server.wire.awareness import AwarenessBounds, AwarenessEntry, decode_awareness
from collab_server.wire.sync import PLAIN

ANNA, BEN = 11, 22


class Scene:
    """A room's presence with a clock, and what everybody was told."""

    def __init__(self, settings: RoomSettings | None = None) -> None:
        self.settings = settings or RoomSettings()
        self.presence = Presence(self.settings)
        self.now = 1000.0
        self.told: list[dict[int, tuple[int, str | None]]] = []
        self.published: list[dict[int, tuple[int, str | None]]] = []
        self.asked: list[tuple[Member, dict[int, tuple[int, str | None]]]] = []
        self.sole_authors: list[Member | None] = []
        self._members = 0

    def member(self, user_id: str | None = None) -> Member:
        self._members += 1
        return Member(self._members, PLAIN, user_id=user_id)

    def says(self, member: Member, *entries: tuple[int, int, str | None]) -> None:
        self.presence.receive(member, [AwarenessEntry(*entry) for entry in entries], self.now)

    def other_node_says(self, *entries: tuple[int, int, str | None]) -> None:
        self.presence.receive_remote([AwarenessEntry(*entry) for entry in entries], self.now)

    def leaves(self, member: Member, *, goodbye: bool = False) -> None:
        self.presence.leave(member, self.now, goodbye=goodbye)

    def after(self, seconds: float) -> None:
        """Let time pass, and flush whenever the presence asks for it."""
        end = self.now + seconds
        while (due := self.presence.next_due()) is not None and due <= end:
            self.now = max(self.now, due)
            self.flush()
        self.now = end

    def flush(self) -> None:
        flush = self.presence.flush(self.now)
        if flush is None:
            return
        if flush.payload is not None:
            self.told.append(read(flush.payload))
            self.sole_authors.append(flush.sole_author)
        if flush.publish is not None:
            self.published.append(read(flush.publish))
        self.asked += [(member, read(payload)) for member, payload in flush.private]

    @property
    def here(self) -> dict[int, tuple[int, str | None]]:
        snapshot = self.presence.snapshot()
        return {} if snapshot is None else read(snapshot)


def read(payload: bytes) -> dict[int, tuple[int, str | None]]:
    return {e.client: (e.clock, e.state) for e in decode_awareness(payload, AwarenessBounds())}


@pytest.fixture
def scene() -> Scene:
    return Scene()


# -- clocks


def test_an_announcement_is_told_at_once(scene: Scene) -> None:
    scene.says(scene.member(), (ANNA, 0, '"a"'))
    assert scene.presence.next_due() == scene.now
    scene.after(0)
    assert scene.told == [{ANNA: (0, '"a"')}]
    assert scene.published == scene.told
    assert scene.here == {ANNA: (0, '"a"')}


def test_a_higher_clock_wins_and_a_lower_or_equal_one_does_not(scene: Scene) -> None:
    anna = scene.member()
    scene.says(anna, (ANNA, 5, '"a"'))
    scene.says(anna, (ANNA, 5, '"b"'))
    scene.says(anna, (ANNA, 4, '"c"'))
    assert scene.here == {ANNA: (5, '"a"')}
    scene.says(anna, (ANNA, 6, '"d"'))
    assert scene.here == {ANNA: (6, '"d"')}


@pytest.mark.parametrize("clock", [5, 6])
def test_null_wins_with_an_equal_or_higher_clock(scene: Scene, clock: int) -> None:
    anna = scene.member()
    scene.says(anna, (ANNA, 5, '"a"'))
    scene.says(anna, (ANNA, 4, None))
    assert scene.here
    scene.says(anna, (ANNA, clock, None))
    scene.after(1)
    assert scene.here == {}
    assert scene.told[-1] == {ANNA: (clock, None)}


def test_a_renewal_of_the_same_state_is_passed_on(scene: Scene) -> None:
    anna = scene.member()
    scene.says(anna, (ANNA, 1, '"a"'))
    scene.after(15)
    scene.says(anna, (ANNA, 2, '"a"'))
    scene.after(15)
    assert scene.told == [{ANNA: (1, '"a"')}, {ANNA: (2, '"a"')}]


def test_a_clock_that_leaps_to_the_end_of_the_numbers_is_ignored(scene: Scene) -> None:
    anna = scene.member()
    scene.says(anna, (BEN, CLOCK_STEP_MAX + 1, '"a"'))
    scene.says(anna, (ANNA, 1, '"a"'))
    scene.says(anna, (ANNA, 2 + CLOCK_STEP_MAX, '"b"'))
    scene.says(anna, (ANNA, 2 + CLOCK_STEP_MAX, None))
    assert scene.here == {ANNA: (1, '"a"')}
    scene.says(anna, (ANNA, 1 + CLOCK_STEP_MAX, '"c"'))
    assert scene.here == {ANNA: (1 + CLOCK_STEP_MAX, '"c"')}


# -- windows


def test_only_the_latest_state_of_a_client_is_told_in_a_window(scene: Scene) -> None:
    anna, ben = scene.member(), scene.member()
    scene.says(anna, (ANNA, 0, '"0"'))
    scene.after(0)
    for clock in range(1, 10):
        scene.says(anna, (ANNA, clock, f'"{clock}"'))
        scene.says(ben, (BEN, clock, '"b"'))
    scene.after(0)
    assert len(scene.told) == 1
    scene.after(0.05)
    assert scene.told[1:] == [{ANNA: (9, '"9"'), BEN: (9, '"b"')}]


def test_a_fast_cursor_is_told_twenty_times_a_second(scene: Scene) -> None:
    anna = scene.member()
    for clock in range(200):
        scene.says(anna, (ANNA, clock, "1"))
        scene.after(0.01)
    assert 40 <= len(scene.told) <= 41


def test_the_author_of_everything_is_named_so_that_it_need_not_hear_itself(scene: Scene) -> None:
    anna, ben = scene.member(), scene.member()
    scene.says(anna, (ANNA, 0, "1"))
    scene.after(1)
    scene.says(anna, (ANNA, 1, "1"))
    scene.says(ben, (BEN, 0, "1"))
    scene.after(1)
    assert scene.sole_authors == [anna, None]


# -- coming and going


def test_a_goodbye_removes_at_once_at_the_clock_that_was_known(scene: Scene) -> None:
    anna = scene.member()
    scene.says(anna, (ANNA, 3, '"a"'))
    scene.after(1)
    scene.leaves(anna, goodbye=True)
    scene.after(0)
    assert scene.told[-1] == {ANNA: (3, None)}
    assert scene.published[-1] == {ANNA: (3, None)}


def test_a_broken_connection_is_shown_for_the_grace(scene: Scene) -> None:
    anna = scene.member()
    scene.says(anna, (ANNA, 3, '"a"'))
    scene.after(10)
    scene.leaves(anna)
    scene.after(29.9)
    assert scene.here
    scene.after(0.2)
    assert scene.here == {}
    assert scene.told[-1] == {ANNA: (3, None)}


@pytest.mark.parametrize("clock", [2, 3, 4])
def test_a_client_that_comes_back_within_the_grace_keeps_its_presence(scene: Scene, clock: int) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.after(1)
    scene.leaves(old)
    scene.after(20)
    scene.says(new := scene.member(), (ANNA, clock, '"a"'))
    scene.after(20)
    assert scene.here
    assert all(entry[1] is not None for told in scene.told for entry in told.values())
    scene.leaves(new, goodbye=True)
    assert scene.here == {}


def test_nobody_else_can_pick_up_a_presence_within_the_grace(scene: Scene) -> None:
    scene.says(anna := scene.member(), (ANNA, 3, '"a"'))
    scene.says(ben := scene.member(), (BEN, 0, '"b"'))
    scene.leaves(anna)
    scene.says(ben, (ANNA, 3, '"a"'))
    scene.says(ben, (ANNA, 4, '"forged"'))
    scene.says(ben, (ANNA, 5, None))
    assert scene.here[ANNA] == (3, '"a"')
    scene.after(30)
    assert ANNA not in scene.here


def test_a_client_that_is_not_renewed_is_removed(scene: Scene) -> None:
    anna = scene.member()
    scene.says(anna, (ANNA, 3, '"a"'))
    scene.after(29)
    scene.says(anna, (ANNA, 4, '"a"'))
    scene.after(29)
    assert scene.here
    scene.after(1.1)
    assert scene.here == {}
    assert scene.told[-1] == {ANNA: (4, None)}
    scene.says(anna, (ANNA, 5, '"a"'))
    assert scene.here


def test_a_late_echo_does_not_bring_the_gone_back(scene: Scene) -> None:
    anna, ben = scene.member(), scene.member()
    scene.says(anna, (ANNA, 3, '"a"'))
    scene.leaves(anna, goodbye=True)
    scene.says(ben, (ANNA, 3, '"a"'))
    scene.says(ben, (ANNA, 2, '"a"'))
    assert scene.here == {}


def test_who_comes_back_at_a_buried_clock_is_asked_to_speak_above_it(scene: Scene) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.leaves(old, goodbye=True)
    scene.after(1)
    scene.says(new := scene.member(), (ANNA, 3, '"a"'))
    scene.after(1)
    assert scene.asked == [(new, {ANNA: (3, None)})]
    scene.says(new, (ANNA, 4, '"a"'))
    assert scene.here == {ANNA: (4, '"a"')}


# -- somebody else's client id


def test_echoes_of_others_change_nothing(scene: Scene) -> None:
    anna, ben = scene.member(), scene.member()
    scene.says(anna, (ANNA, 3, '"a"'))
    scene.says(ben, (BEN, 0, '"b"'))
    scene.after(1)
    scene.says(ben, (ANNA, 3, '"a"'))
    scene.says(ben, (ANNA, 2, '"a"'), (BEN, 0, '"b"'))
    scene.leaves(ben, goodbye=True)
    scene.after(1)
    assert scene.here == {ANNA: (3, '"a"')}
    assert scene.asked == []


def test_a_member_cannot_speak_for_another_nor_remove_it(scene: Scene) -> None:
    anna, ben = scene.member(), scene.member()
    scene.says(anna, (ANNA, 3, '"a"'))
    scene.says(ben, (BEN, 0, '"b"'))
    scene.after(1)
    told = len(scene.told)
    for clock in (3, 4, 1000):
        scene.says(ben, (ANNA, clock, '"forged"'))
        scene.says(ben, (ANNA, clock, None))
    scene.after(1)
    assert scene.here[ANNA] == (3, '"a"')
    assert len(scene.told) == told
    assert scene.asked == []


def test_a_stranger_without_a_presence_of_its_own_cannot_remove_anybody(scene: Scene) -> None:
    scene.says(scene.member(), (ANNA, 3, '"a"'))
    scene.says(scene.member(), (ANNA, 9, None))
    assert scene.here


def test_claims_for_many_at_once_are_no_claims(scene: Scene) -> None:
    anna, ben, eve = scene.member(), scene.member(), scene.member()
    scene.says(anna, (ANNA, 3, '"a"'))
    scene.says(ben, (BEN, 3, '"b"'))
    scene.says(eve, (ANNA, 4, '"e"'), (BEN, 4, '"e"'))
    scene.after(5)
    assert scene.here == {ANNA: (3, '"a"'), BEN: (3, '"b"')}


@pytest.mark.parametrize("goodbye", [True, False])
@pytest.mark.parametrize("clock", [3, 4])
def test_the_close_of_an_old_connection_does_not_remove_a_client_that_is_back(
    scene: Scene, clock: int, goodbye: bool
) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.after(1)
    scene.says(new := scene.member(), (ANNA, clock, '"a"'))
    scene.leaves(old, goodbye=goodbye)
    scene.after(10)
    assert scene.here == {ANNA: (clock, '"a"')}
    assert all(entry[1] is not None for told in scene.told for entry in told.values())
    scene.says(new, (ANNA, clock + 1, '"b"'))
    assert scene.here == {ANNA: (clock + 1, '"b"')}
    scene.leaves(new, goodbye=True)
    assert scene.here == {}


def test_the_newest_connection_owns_the_id_when_the_old_one_is_silent(scene: Scene) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.after(1)
    scene.says(new := scene.member(), (ANNA, 7, '"new"'))
    scene.after(0)
    assert scene.here == {ANNA: (3, '"a"')}
    assert scene.asked == [(old, {ANNA: (7, None)})]
    scene.says(new, (ANNA, 8, '"newer"'))
    scene.after(0.6)
    assert scene.here == {ANNA: (8, '"newer"')}
    scene.leaves(old, goodbye=True)
    assert scene.here == {ANNA: (8, '"newer"')}


def test_a_live_client_defends_its_id_against_a_stranger(scene: Scene) -> None:
    scene.says(anna := scene.member(), (ANNA, 3, '"a"'))
    scene.after(1)
    scene.says(eve := scene.member(), (ANNA, 50, '"forged"'))
    scene.after(0.1)
    assert scene.asked == [(anna, {ANNA: (50, None)})]
    scene.says(anna, (ANNA, 51, '"a"'))
    scene.after(1)
    for clock in (51, 52, 1000):
        scene.says(eve, (ANNA, clock, '"forged"'))
        scene.after(1)
    scene.leaves(eve, goodbye=True)
    assert scene.here == {ANNA: (51, '"a"')}
    assert not any("forged" in str(told) for told in scene.told)


def test_an_owner_that_answered_too_late_takes_its_id_back(scene: Scene) -> None:
    scene.says(anna := scene.member(), (ANNA, 3, '"a"'))
    scene.after(1)
    scene.says(eve := scene.member(), (ANNA, 50, '"forged"'))
    scene.after(1)
    scene.says(anna, (ANNA, 51, '"a"'))
    assert scene.here == {ANNA: (51, '"a"')}
    scene.says(eve, (ANNA, 52, '"forged"'))
    scene.leaves(eve, goodbye=True)
    assert scene.here == {ANNA: (51, '"a"')}


def test_what_was_under_way_on_the_old_connection_is_no_defence(scene: Scene) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"3"'))
    scene.after(1)
    scene.says(new := scene.member(), (ANNA, 5, '"5"'))
    scene.says(old, (ANNA, 4, '"4"'))
    scene.says(old, (ANNA, 5, '"5"'))
    scene.leaves(old)
    scene.says(new, (ANNA, 6, '"6"'))
    assert scene.here == {ANNA: (6, '"6"')}


def test_an_echo_taken_for_a_claim_ends_with_the_owners_next_word(scene: Scene) -> None:
    scene.says(anna := scene.member(), (ANNA, 3, '"a"'))
    scene.says(
        viewer := scene.member(), (ANNA, 3, '"a"')
    )  # has no state of its own, and repeats what it was told
    scene.says(anna, (ANNA, 4, '"b"'))
    scene.says(viewer, (ANNA, 4, '"b"'))
    scene.leaves(anna, goodbye=True)
    assert scene.here == {}
    scene.after(1)
    assert scene.asked == []


def test_an_echo_does_not_displace_a_client_that_is_back(scene: Scene) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.says(new := scene.member(), (ANNA, 3, '"a"'))
    scene.says(viewer := scene.member(), (ANNA, 3, '"a"'))
    scene.leaves(old)
    scene.leaves(viewer, goodbye=True)
    scene.says(new, (ANNA, 4, '"b"'))
    assert scene.here == {ANNA: (4, '"b"')}


def test_a_known_user_gets_its_id_back_at_once_and_another_never(scene: Scene) -> None:
    scene.says(scene.member("anna"), (ANNA, 3, '"a"'))
    scene.says(scene.member("eve"), (ANNA, 9, '"forged"'))
    scene.says(scene.member(), (ANNA, 9, '"forged"'))
    scene.after(5)
    assert scene.here == {ANNA: (3, '"a"')}
    scene.says(scene.member("anna"), (ANNA, 4, '"b"'))
    assert scene.here == {ANNA: (4, '"b"')}
    assert scene.asked == []


def test_a_goodbye_in_a_message_counts_also_with_a_claim_open(scene: Scene) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.says(scene.member(), (ANNA, 3, '"a"'))
    scene.says(old, (ANNA, 3, None))
    assert scene.here == {}


def test_a_claim_above_the_owners_goodbye_is_granted_by_it(scene: Scene) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.says(scene.member(), (ANNA, 5, '"b"'))
    scene.says(old, (ANNA, 4, None))
    assert scene.here == {ANNA: (5, '"b"')}


# -- other nodes


def test_what_other_nodes_say_is_told_and_not_published_again(scene: Scene) -> None:
    scene.other_node_says((ANNA, 3, '"a"'))
    scene.says(scene.member(), (BEN, 0, '"b"'))
    scene.after(1)
    assert scene.told == [{ANNA: (3, '"a"'), BEN: (0, '"b"')}]
    assert scene.published == [{BEN: (0, '"b"')}]
    scene.other_node_says((ANNA, 3, None))
    scene.after(1)
    assert scene.told[-1] == {ANNA: (3, None)}
    assert len(scene.published) == 1


def test_a_client_of_another_node_that_is_not_renewed_is_removed(scene: Scene) -> None:
    scene.other_node_says((ANNA, 3, '"a"'))
    scene.after(31)
    assert scene.told[-1] == {ANNA: (3, None)}
    assert scene.published == []


def test_a_client_that_moved_to_another_node_survives_its_old_connection(scene: Scene) -> None:
    scene.says(old := scene.member(), (ANNA, 3, '"a"'))
    scene.other_node_says((ANNA, 4, '"b"'))
    scene.leaves(old, goodbye=True)
    assert scene.here == {ANNA: (4, '"b"')}


def test_a_client_that_moved_here_answers_its_removal_elsewhere(scene: Scene) -> None:
    scene.other_node_says((ANNA, 3, '"a"'))
    scene.says(anna := scene.member(), (ANNA, 4, '"a"'))
    scene.after(1)
    scene.other_node_says((ANNA, 4, None))
    scene.after(1)
    assert scene.here == {ANNA: (4, '"a"')}
    assert scene.asked == [(anna, {ANNA: (4, None)})]
    scene.says(anna, (ANNA, 5, '"a"'))
    scene.after(1)
    assert scene.published[-1] == {ANNA: (5, '"a"')}


def test_a_client_that_moved_here_unchanged_inherits_when_the_other_node_lets_go(scene: Scene) -> None:
    scene.other_node_says((ANNA, 3, '"a"'))
    scene.says(anna := scene.member(), (ANNA, 3, '"a"'))
    scene.other_node_says((ANNA, 3, None))
    scene.after(1)
    assert scene.here == {ANNA: (3, '"a"')}
    assert scene.asked == [(anna, {ANNA: (3, None)})]


# -- bounds


def test_more_states_than_the_room_may_hold_cost_their_sender_4413() -> None:
    scene = Scene(RoomSettings(awareness_clients_max=2))
    scene.says(scene.member(), (1, 0, "1"))
    scene.says(scene.member(), (2, 0, "1"))
    with pytest.raises(TooBigError) as caught:
        scene.says(scene.member(), (3, 0, "1"))
    assert caught.value.close_code is CloseCode.OVER_LIMIT
    scene.other_node_says((4, 0, "1"))
    assert set(scene.here) == {1, 2}


def test_more_bytes_than_the_room_may_hold_cost_their_sender_4413() -> None:
    scene = Scene(RoomSettings(awareness_bytes_max=10))
    anna, ben = scene.member(), scene.member()
    scene.says(anna, (ANNA, 0, "12345"))
    scene.says(ben, (BEN, 0, "12345"))
    with pytest.raises(TooBigError):
        scene.says(ben, (BEN, 1, "123456"))
    assert scene.here == {ANNA: (0, "12345"), BEN: (0, "12345")}
    scene.leaves(ben, goodbye=True)
    scene.says(anna, (ANNA, 1, "1234567890"))
    assert scene.here == {ANNA: (1, "1234567890")}


def test_a_member_speaks_for_a_few_clients_only_and_is_not_punished_for_more() -> None:
    scene = Scene(RoomSettings(awareness_clients_per_member_max=3))
    scene.says(scene.member(), *[(client, 0, "1") for client in range(10)])
    assert set(scene.here) == {0, 1, 2}


def test_the_gone_are_remembered_up_to_a_bound() -> None:
    scene = Scene(RoomSettings(awareness_tombstones_max=3))
    for client in range(10):
        anna = scene.member()
        scene.says(anna, (client, 5, "1"))
        scene.leaves(anna, goodbye=True)
        scene.after(1)
    scene.says(scene.member(), (9, 5, "1"))
    assert scene.here == {}
    scene.says(scene.member(), (0, 5, "1"))
    assert scene.here == {0: (5, "1")}
    assert len(scene.presence._gone) == 3


def test_nobody_is_told_of_those_who_came_and_went_in_one_window() -> None:
    scene = Scene(RoomSettings(awareness_tombstones_max=3))
    for client in range(10):
        anna = scene.member()
        scene.says(anna, (client, 5, "1"))
        scene.leaves(anna, goodbye=True)
    scene.after(1)
    assert scene.told == []
    assert len(scene.presence._gone) == 3


def test_a_joiner_that_saw_somebody_is_told_when_that_one_goes_in_the_same_window(scene: Scene) -> None:
    scene.says(anna := scene.member(), (ANNA, 0, "1"))
    assert ANNA in scene.here
    scene.leaves(anna, goodbye=True)
    scene.after(1)
    assert scene.told == [{ANNA: (0, None)}]


def test_many_who_go_at_once_are_all_told_of_and_then_forgotten() -> None:
    scene = Scene(RoomSettings(awareness_tombstones_max=3))
    members = [scene.member() for _ in range(10)]
    for client, anna in enumerate(members):
        scene.says(anna, (client, 5, "1"))
    scene.after(1)
    for anna in members:
        scene.leaves(anna, goodbye=True)
    scene.after(1)
    assert scene.told[-1] == dict.fromkeys(range(10), (5, None))
    assert len(scene.presence._gone) == 3


# -- slow members, and being idle


def test_since_tells_who_came_and_who_went(scene: Scene) -> None:
    anna, ben = scene.member(), scene.member()
    scene.says(anna, (ANNA, 0, '"a"'))
    scene.after(1)
    told = scene.presence.told
    assert scene.presence.since(told) is None
    scene.says(ben, (BEN, 0, '"b"'))
    scene.leaves(anna, goodbye=True)
    missed = scene.presence.since(told)
    assert missed is not None
    assert read(missed) == {ANNA: (0, None), BEN: (0, '"b"')}


def test_what_was_not_flushed_when_a_member_became_slow_is_not_lost(scene: Scene) -> None:
    anna = scene.member()
    scene.says(anna, (ANNA, 0, '"a"'))
    told = scene.presence.told
    scene.after(1)
    missed = scene.presence.since(told)
    assert missed is not None
    assert ANNA in read(missed)


def test_an_empty_presence_never_asks_for_a_flush(scene: Scene) -> None:
    assert scene.presence.next_due() is None
    anna = scene.member()
    scene.says(anna, (ANNA, 0, '"a"'))
    scene.leaves(anna, goodbye=True)
    scene.after(100)
    assert scene.presence.next_due() is None
    assert scene.presence._expiries == []


def test_renewals_do_not_pile_up_in_the_heap(scene: Scene) -> None:
    anna = scene.member()
    for clock in range(1000):
        scene.says(anna, (ANNA, clock, '"a"'))
        scene.after(0.01)
    assert len(scene.presence._expiries) <= 2


def test_joiners_share_one_snapshot(scene: Scene) -> None:
    scene.says(scene.member(), (ANNA, 0, '"a"'))
    assert scene.presence.snapshot() is scene.presence.snapshot()


# -- connections of one client that came back more than once


def came_back(scene: Scene, times: int) -> list[Member]:
    """Anna's connections, oldest first; she says the same on each."""
    connections = [scene.member() for _ in range(times + 1)]
    for member in connections:
        scene.says(member, (ANNA, 3, '"a"'))
    return connections


@pytest.mark.parametrize("goodbye", [True, False])
def test_each_connection_inherits_from_the_one_before_it(scene: Scene, goodbye: bool) -> None:
    connections = came_back(scene, 3)
    for member in connections[:-1]:
        scene.leaves(member, goodbye=goodbye)
        assert scene.here == {ANNA: (3, '"a"')}
    scene.says(connections[-1], (ANNA, 4, '"b"'))
    assert scene.here == {ANNA: (4, '"b"')}
    scene.leaves(connections[-1], goodbye=True)
    assert scene.here == {}


def test_connections_in_between_may_end_in_any_order(scene: Scene) -> None:
    first, second, third, fourth = came_back(scene, 3)
    for member in (third, second, first):
        scene.leaves(member, goodbye=True)
        assert scene.here == {ANNA: (3, '"a"')}
    scene.says(fourth, (ANNA, 4, '"b"'))
    assert scene.here == {ANNA: (4, '"b"')}


def test_the_newest_connection_speaks_for_its_client_once_the_oldest_was_asked_and_is_silent(
    scene: Scene,
) -> None:
    first, second, third = came_back(scene, 2)
    scene.after(0)
    scene.says(third, (ANNA, 4, '"b"'))
    scene.after(0.1)
    assert (first, {ANNA: (4, None)}) in scene.asked
    assert scene.here == {ANNA: (3, '"a"')}
    scene.after(scene.settings.presence_claim_patience_ms / 1000)
    assert scene.here == {ANNA: (4, '"b"')}
    for member in (first, second):
        scene.leaves(member, goodbye=True)
    assert scene.here == {ANNA: (4, '"b"')}


def test_who_has_claimed_once_without_being_remembered_claims_nobody_else(scene: Scene) -> None:
    scene.says(scene.member(), (BEN, 0, '"ben"'))
    for member in came_back(scene, 9):
        scene.says(member, (BEN, 1, '"forged"'))
    scene.after(scene.settings.presence_claim_patience_ms / 1000 + 1)
    assert scene.here[BEN] == (0, '"ben"')
