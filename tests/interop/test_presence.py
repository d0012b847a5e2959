"""Who is here: awareness through real providers, through clean and abrupt ends of connections."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interop.conftest import Place
from tests.interop.peers import Peers
from tests.support.server import ServerProcess

pytestmark = pytest.mark.node

_WATCH = """
memory.removed = []; memory.seen = []
awareness.on('change', ({ added, updated, removed }) => {
  memory.seen.push(...added, ...updated); memory.removed.push(...removed)
})
"""
_STATE = "awareness.getStates().get(args.client)"


@pytest.mark.parametrize("versions", [(3, 3), (2, 3), (2, 2)])
async def test_a_state_is_seen_by_others_and_by_late_joiners_and_goes_when_it_is_removed(
    place: Place, peers: Peers, versions: tuple[int, int]
) -> None:
    room = place.room()
    await peers.open("ann", room, version=versions[0], client=101)
    await peers.open("ben", room, version=versions[1], client=102)
    await peers.synced("ann", "ben")
    await peers.run(
        "ann", "awareness.setLocalState({ user: { name: 'Ann 🏔', colour: '#f00' }, cursor: null })"
    )
    await peers.wait("ben", f"{_STATE}?.user.name === 'Ann 🏔'", client=101)
    await peers.run("ann", "awareness.setLocalStateField('cursor', { section: 'notes', index: 7 })")
    await peers.wait("ben", f"{_STATE}?.cursor?.index === 7", client=101)
    await peers.open("late", room)
    await peers.wait("late", f"{_STATE}?.cursor?.index === 7 && {_STATE}.user.colour === '#f00'", client=101)
    await peers.run("ann", "awareness.setLocalState(null)")
    for name in ("ben", "late"):
        await peers.wait(name, "!awareness.getStates().has(101)")


async def test_the_newest_of_many_quick_states_is_what_the_others_end_up_with(
    place: Place, peers: Peers
) -> None:
    names = await peers.open_many(3, place.room())
    await peers.synced(*names)
    await peers.run(
        names[0],
        "for (let n = 0; n <= 500; n++) {"
        " awareness.setLocalStateField('at', n); if (n % 50 === 0) await delay(3) }",
    )
    client = await peers.run(names[0], "return doc.clientID")
    for name in names[1:]:
        await peers.wait(name, f"{_STATE}?.at === 500", client=client)


async def test_thirty_clients_see_each_other(place: Place, peers: Peers) -> None:
    names = await peers.open_many(30, place.room())
    for name in names:
        await peers.run(name, "awareness.setLocalStateField('user', { name: args.name })", name=name)
    for name in names:
        await peers.wait(
            name, "[...awareness.getStates().values()].filter(state => state.user?.name).length === 30"
        )


async def test_a_client_that_closes_politely_is_gone_at_once(server: ServerProcess, peers: Peers) -> None:
    server.settings["presence_grace_s"] = 600
    server.restart()
    await peers.open("ann", "trip", url=server.ws_url, client=101)
    await peers.open("ben", "trip", url=server.ws_url)
    await peers.run("ann", "awareness.setLocalState({ name: 'Ann' })")
    await peers.wait("ben", _STATE, client=101)
    await peers.disconnect("ann")
    await peers.wait("ben", "!awareness.getStates().has(101)", seconds=3)


async def test_a_client_that_is_cut_off_stays_for_the_grace_and_then_goes(
    server: ServerProcess, peers: Peers
) -> None:
    await peers.open("ann", "trip", url=server.ws_url, client=101)
    await peers.open("ben", "trip", url=server.ws_url)
    await peers.run("ann", "awareness.setLocalState({ name: 'Ann' })")
    await peers.wait("ben", _STATE, client=101)
    await peers.cut("ann")
    await peers.open("late", "trip", url=server.ws_url)
    await peers.wait("late", _STATE, client=101)
    await peers.wait("ben", "!awareness.getStates().has(101)", seconds=8)
    await peers.wait("late", "!awareness.getStates().has(101)", seconds=8)


async def test_a_process_that_is_killed_takes_all_its_users_along(
    server: ServerProcess, peers: Peers
) -> None:
    async with Peers(server.ws_url) as doomed:
        names = await doomed.open_many(5, "trip")
        for name in names:
            # The state that a provider has from the beginning has clock 0, which y-protocols takes for none.
            await doomed.run(name, "awareness.setLocalState({ name: args.name })", name=name)
        await peers.open("ben", "trip", url=server.ws_url)
        await peers.wait("ben", "awareness.getStates().size === 6")
        await doomed.kill()
        await peers.wait("ben", "awareness.getStates().size === 1", seconds=10)


async def test_a_client_that_comes_back_after_a_cut_within_the_grace_never_looks_gone(
    server_factory: Callable[..., ServerProcess], peers: Peers
) -> None:
    server = server_factory(presence_grace_s=3)
    await peers.open("ann", "trip", url=server.ws_url, client=101)
    await peers.open("ben", "trip", url=server.ws_url, client=102)
    await peers.run("ann", "awareness.setLocalState({ name: 'Ann' })")
    await peers.wait("ben", _STATE, client=101)
    await peers.run("ben", _WATCH)
    await peers.cut("ann")
    await peers.connect("ann")
    # When a third one who was cut later is gone, the grace is over for all.
    await peers.open("clock", "trip", url=server.ws_url, client=103)
    await peers.run("clock", "awareness.setLocalState({ name: 'Clock' })")
    await peers.wait("ben", _STATE, client=103)
    await peers.cut("clock")
    await peers.wait("ben", "memory.removed.includes(103)")
    assert 101 not in await peers.run("ben", "return memory.removed")
    await peers.wait("ben", _STATE, client=101)


@pytest.mark.parametrize("ending", ["old.terminate()", "old.close()"])
async def test_a_client_that_comes_back_before_its_old_socket_died_keeps_its_presence(
    server: ServerProcess, peers: Peers, ending: str
) -> None:
    await peers.open("ann", "trip", url=server.ws_url, client=101)
    await peers.open("ben", "trip", url=server.ws_url, client=102)
    await peers.synced("ann", "ben")
    await peers.run("ann", "awareness.setLocalState({ name: 'Ann' })")
    await peers.wait("ben", _STATE, client=101)
    await peers.run("ben", _WATCH)
    # The provider forgets its socket, as it does when the network changes under it, and opens a second one.
    await peers.run(
        "ann",
        "memory.old = provider.ws; memory.old.onclose = memory.old.onmessage = memory.old.onerror = () => {};"
        "provider.ws = null; provider.wsconnected = false; provider.synced = false; provider.connect()",
    )
    await peers.synced("ann")
    await peers.run("ann", "awareness.setLocalStateField('back', true)")
    await peers.wait("ben", f"{_STATE}?.back", client=101)
    await peers.run("ann", f"const old = memory.old; {ending}")
    await peers.open("clock", "trip", url=server.ws_url, client=103)
    await peers.run("clock", "awareness.setLocalState({ name: 'Clock' })")
    await peers.wait("ben", _STATE, client=103)
    await peers.cut("clock")
    await peers.wait("ben", "memory.removed.includes(103)")
    assert 101 not in await peers.run("ben", "return memory.removed")
    await peers.open("late", "trip", url=server.ws_url)
    await peers.wait("late", f"{_STATE}?.back", client=101)


async def test_a_second_socket_that_says_nothing_new_owns_the_client_as_well(
    server: ServerProcess, peers: Peers
) -> None:
    """The state that comes over the new socket has the clock that the server knows already."""
    await peers.open("ann", "trip", url=server.ws_url, client=101)
    await peers.open("ben", "trip", url=server.ws_url, client=102)
    await peers.run("ann", "awareness.setLocalState({ name: 'Ann' })")
    await peers.wait("ben", _STATE, client=101)
    await peers.run("ben", _WATCH)
    await peers.run(
        "ann",
        "memory.old = provider.ws; memory.old.onclose = memory.old.onmessage = memory.old.onerror = () => {};"
        "provider.ws = null; provider.wsconnected = false; provider.synced = false; provider.connect()",
    )
    await peers.synced("ann")
    await peers.run("ann", "memory.old.close()")
    await peers.open("clock", "trip", url=server.ws_url, client=103)
    await peers.run("clock", "awareness.setLocalState({ name: 'Clock' })")
    await peers.wait("ben", _STATE, client=103)
    await peers.cut("clock")
    await peers.wait("ben", "memory.removed.includes(103)")
    assert 101 not in await peers.run("ben", "return memory.removed")


@pytest.mark.slow
async def test_a_connection_on_which_nothing_happens_is_not_given_up_by_the_provider(
    own_place: Place, peers: Peers
) -> None:
    """y-websocket closes a socket on which no data frame came for 30 s; it cannot see pings."""
    names = []
    for version in (2, 3):
        room = own_place.room()
        names.append(await peers.open(f"alone{version}", own_place.room(), version=version))
        for peer in ("silent", "other"):
            names.append(await peers.open(f"{peer}{version}", room, version=version))
            await peers.run(names[-1], "awareness.setLocalState(null)")
    await peers.synced(*names)
    for name in names:
        await peers.run(name, "memory.socket = provider.ws")
    await peers._call("run", 60, id=names[0], code="await delay(37000)", args={})
    for name in names:
        assert await peers.run(name, "return provider.ws === memory.socket && provider.wsconnected"), name
        assert await peers.run(name, "return peer.closes") == [], name
