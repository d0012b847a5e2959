"""Tokens as real clients meet them: who one is shown as, what one may write, until when."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.interop.conftest import SECRET, token
from tests.interop.peers import Peers
from tests.interop.test_durability import locked
from tests.support.server import ServerProcess, external_url, start_server

pytestmark = pytest.mark.node

CLIENTS = pytest.mark.parametrize("kind", ["y2", "y3", "h2", "h3", "h4"])
"""The provider of y-websocket or of Hocuspocus, and its major version."""
_STATE = "awareness.getStates().get(args.client)"
_NOTES = "doc.getText('notes').toString()"
_ALL = "JSON.stringify([doc.getText('notes'), doc.getMap('budget'), doc.getArray('comments')])"


@pytest.fixture(scope="module")
def stamping() -> Iterator[ServerProcess]:
    """A server that wants tokens, and shows everybody by the name in theirs."""
    if external_url():
        pytest.skip("needs a server process of its own")
    with start_server(
        jwt_secret=SECRET, jwt_clock_skew_s=0, presence_identity="stamp", awareness_window_ms=0
    ) as server:
        yield server


async def enter(
    peers: Peers, server: ServerProcess, name: str, kind: str, room: str, text: str, client: int | None = None
) -> None:
    """Have somebody come with a token, and wait until it is synced."""
    version = int(kind[1])
    if kind[0] == "y":
        await peers.open(
            name, room, version=version, client=client, url=server.ws_url, params={"token": text}
        )
    else:
        await peers.open_socket(f"socket of {name}", version=version, url=server.ws_url)
        await peers.open_document(name, f"socket of {name}", room, client=client, token=text)
    await peers.synced(name)


@pytest.mark.parametrize("version", [2, 3])
async def test_a_token_may_come_as_a_subprotocol_which_leaves_no_trace_in_an_address(
    stamping: ServerProcess, peers: Peers, version: int
) -> None:
    room = f"offered-{version}"
    text = token({room: "editor"})
    await peers.open("ann", room, version=version, url=stamping.ws_url, protocols=["bearer", text])
    await peers.synced("ann")
    assert await peers.run("ann", "return provider.ws.protocol") == "bearer"
    await peers.open("eve", room, version=version, url=stamping.ws_url, protocols=["bearer", text + "x"])
    await peers.wait("eve", "peer.closes.some(([code]) => code === 4401)")


async def test_who_has_no_token_does_what_anybody_may_beside_those_who_have_one(
    server_factory: Callable[..., ServerProcess], peers: Peers
) -> None:
    server = server_factory(jwt_secret=SECRET, allow_anonymous=True, anonymous_role="viewer")
    await enter(peers, server, "ann", "h3", "trip", token({"trip": "editor"}))
    anybody = ("y2", "y3", "h2", "h3", "h4")
    for name in anybody:
        await enter(peers, server, name, name, "trip", "")
    await peers.run("ann", "doc.getText('notes').insert(0, 'for all to read')")
    for name in anybody:
        await peers.wait(name, f"{_NOTES} === 'for all to read'")
        await peers.run(name, "doc.getText('notes').insert(0, 'not for all to write')")
    for name in ("h2", "h3", "h4"):
        assert await peers.run(name, "return provider.unsyncedChanges") > 0
    for name in ("y2", "y3"):
        await peers.wait(name, "peer.closes.some(([code]) => code === 4205)")
    await peers.run("ann", "doc.getText('notes').insert(0, 'still ')")
    await peers.wait("h2", f"{_NOTES}.includes('still ')")
    assert await peers.run("ann", f"return {_NOTES}") == "still for all to read"


@CLIENTS
async def test_nobody_appears_as_somebody_else_and_the_invisible_not_at_all(
    stamping: ServerProcess, peers: Peers, kind: str
) -> None:
    room = f"stamped-{kind}"
    watchers = {"plain": "y3", "multiplexed": "h4"}
    for name, how in watchers.items():
        await enter(peers, stamping, name, how, room, token({room: "viewer"}, name))
    await enter(peers, stamping, "ghost", kind, room, token({room: "editor"}, "ghost", invisible=True), 66)
    await enter(peers, stamping, "liar", kind, room, token({room: "editor"}, "ann", name="Ann"), 77)
    claims = "awareness.setLocalState({ user: { id: 'ben', name: 'Ben', color: '#f00' }, at: args.at })"
    for name in watchers:
        await peers.run(name, "memory.shown = []")
        await peers.run(
            name,
            "awareness.on('update', () => memory.shown.push("
            " ...[...awareness.getStates()].filter(([id]) => id !== doc.clientID)"
            ".map(([id, { user }]) => JSON.stringify([id, user?.id, user?.name]))))",
        )
    await peers.run("ghost", claims, at=1)
    for at in (1, 2):
        await peers.run("liar", claims, at=at)
        for name in watchers:
            await peers.wait(name, f"{_STATE}?.at === args.at", client=77, at=at)
    verified = {"user": {"id": "ann", "name": "Ann", "color": "#f00"}, "at": 2}
    for name in watchers:
        assert await peers.run(name, f"return {_STATE}", client=77) == verified
        shown = await peers.run(name, "return [...new Set(memory.shown)]")
        assert [json.loads(one) for one in shown] == [[77, "ann", "Ann"]]
    # What a client says of itself is its own to see: nobody sends it back.
    assert await peers.run("liar", f"return {_STATE}.user.id", client=77) == "ben"
    await peers.wait("ghost", f"{_STATE}?.user.id === 'ann'", client=77)


@pytest.mark.parametrize(
    "kind", ["y2", "y3", "h3", "h4"]
)  # version 2 of Hocuspocus cannot tell its application
async def test_a_forbidden_edit_reaches_nobody_and_who_made_it_begins_anew(
    stamping: ServerProcess, peers: Peers, kind: str
) -> None:
    room = f"narrowed-{kind}"
    mine = token({room: {"role": "editor", "roots": ["notes"]}})
    others = {"plain": "y3", "multiplexed": "h4"}
    for name, how in others.items():
        await enter(peers, stamping, name, how, room, token({room: "editor"}, name))
    await peers.run("plain", "doc.getMap('budget').set('EUR', 800)")
    await enter(peers, stamping, "ann", kind, room, mine)
    await peers.wait("ann", "doc.getMap('budget').get('EUR') === 800")
    await peers.run("ann", "doc.getText('notes').insert(0, 'allowed, ')")
    for name in others:
        await peers.wait(name, f"{_NOTES} === 'allowed, '")
    await peers.run("ann", "doc.getMap('budget').set('EUR', 1)")
    if kind[0] == "y":
        await peers.wait(
            "ann", "peer.closes.some(([code, reason]) => code === 4205 && reason.startsWith('reset'))"
        )
    else:
        await peers.wait("ann", "memory.closed.some(reason => reason.startsWith('reset'))")
    # What the application has to do then: away with the document, its history of undo and its local copy.
    await peers.close("ann")
    if kind[0] == "y":
        await enter(peers, stamping, "ann", kind, room, mine)
    else:
        await peers.open_document("ann", "socket of ann", room, token=mine)
        await peers.synced("ann")
    assert await peers.run("ann", "return doc.getMap('budget').get('EUR')") == 800
    await peers.run("ann", "doc.getText('notes').insert(0, 'again, ')")
    await peers.run("plain", "doc.getMap('budget').set('EUR', 900)")
    shared = await peers.converge("ann", *others)
    assert await peers.run("ann", f"return {_ALL}") == '["again, allowed, ",{"EUR":900},[]]'
    await enter(peers, stamping, "late", "y3", room, token({room: "viewer"}, "late"))
    assert await peers.converge("late") == shared


@pytest.mark.parametrize("kind", ["y2", "y3"])
async def test_who_does_not_begin_anew_stays_and_reads_on_and_nobody_sees_what_was_refused(
    stamping: ServerProcess, peers: Peers, kind: str
) -> None:
    """As an application does that has never heard of it: its provider comes back with the same document."""
    room = f"stubborn-{kind}"
    await enter(peers, stamping, "other", "y3", room, token({room: "editor"}, "other"))
    await enter(peers, stamping, "ann", kind, room, token({room: {"role": "editor", "roots": ["notes"]}}))
    await peers.run("ann", "doc.getMap('budget').set('EUR', 1)")
    await peers.wait("ann", "peer.closes.length === 1 && provider.synced")
    for number in range(5):
        await peers.run("other", "doc.getText('notes').insert(0, args.text)", text=f"{number} ")
        await peers.wait("ann", f"{_NOTES}.startsWith(args.text)", text=f"{number} ")
    assert await peers.run("ann", "return peer.closes.map(([code]) => code)") == [4205]
    # What it writes from now on builds on what was refused.
    await peers.run("ann", "doc.getText('notes').insert(0, 'lost ')")
    await peers.wait("ann", "peer.closes.length === 2 && provider.synced")
    await peers.run("other", "doc.getText('notes').insert(0, 'kept ')")
    await peers.wait("ann", f"{_NOTES}.includes('kept ')")
    assert await peers.run("ann", "return peer.closes.map(([code]) => code)") == [4205, 4205]
    assert await peers.run("other", f"return [doc.getMap('budget').size, {_NOTES}]") == [0, "kept 4 3 2 1 0 "]


@pytest.mark.parametrize("kind", ["h2", "h3"])
async def test_a_provider_that_does_not_heed_a_reset_reads_on_and_is_alone_with_what_was_refused(
    stamping: ServerProcess, peers: Peers, kind: str
) -> None:
    room = f"unheeding-{kind}"
    await enter(peers, stamping, "other", "h4", room, token({room: "editor"}, "other"))
    await enter(peers, stamping, "ann", kind, room, token({room: {"role": "editor", "roots": ["notes"]}}))
    await peers.run("ann", "doc.getMap('budget').set('EUR', 1)")
    told = "peer.thrown.length" if kind == "h2" else "memory.closed.length"
    await peers.wait("ann", f"{told} === 1")
    for number in range(5):
        await peers.run("ann", "doc.getMap('budget').set('EUR', args.number)", number=number)
        await peers.run("other", "doc.getText('notes').insert(0, args.text)", text=f"{number} ")
        await peers.wait("ann", f"{_NOTES}.startsWith(args.text)", text=f"{number} ")
    assert await peers.run("ann", f"return [{told}, provider.unsyncedChanges > 0, peer.closes]") == [
        1,
        True,
        [],
    ]
    assert await peers.run("other", "return doc.getMap('budget').size") == 0


@CLIENTS
async def test_a_commenter_comments_and_does_nothing_else(
    stamping: ServerProcess, peers: Peers, kind: str
) -> None:
    room = f"commented-{kind}"
    await enter(peers, stamping, "other", "h4", room, token({room: "editor"}, "other"))
    await enter(peers, stamping, "ann", kind, room, token({room: "commenter"}))
    await peers.run(
        "ann",
        "const comment = new Y.Map(); doc.getArray('comments').push([comment]);"
        " const text = new Y.Text(); comment.set('content', text); text.insert(0, 'Nice')",
    )
    await peers.wait("other", "doc.getArray('comments').get(0)?.get('content')?.toString() === 'Nice'")
    await peers.run("other", "doc.getArray('comments').get(0).set('resolved', true)")
    await peers.wait("ann", "doc.getArray('comments').get(0).get('resolved')")
    await peers.run("ann", "doc.getArray('comments').get(0).get('content').insert(4, ' hotel')")
    await peers.wait("other", "doc.getArray('comments').get(0).get('content').toString() === 'Nice hotel'")
    await peers.run("ann", "doc.getText('notes').insert(0, 'not mine to write')")
    said = {"y": "peer.closes.length > 0", "h": "memory.closed.length + peer.thrown.length > 0"}
    await peers.wait("ann", said[kind[0]])
    await peers.run("other", "doc.getText('notes').insert(0, 'mine')")
    assert await peers.run("other", f"return {_NOTES}") == "mine"


@pytest.mark.parametrize("kind", ["y2", "y3"])
async def test_who_has_a_new_token_comes_back_with_what_was_written_meanwhile(
    stamping: ServerProcess, peers: Peers, kind: str
) -> None:
    room = f"expired-{kind}"
    await enter(peers, stamping, "other", "y3", room, token({room: "editor"}, "other"))
    await enter(peers, stamping, "ann", kind, room, token({room: "editor"}, ttl_s=3))
    await peers.wait("ann", "peer.closes.some(([code]) => code === 4401)", seconds=30)
    assert (await peers.run("ann", "return peer.closes[0]"))[1] == "the token has run out"
    await peers.run("ann", "doc.getText('notes').insert(0, 'offline')")
    await peers.run(
        "ann", "provider.disconnect(); provider.params.token = args.fresh", fresh=token({room: "editor"})
    )
    await peers.connect("ann")
    await peers.converge("ann", "other")
    assert await peers.run("other", f"return {_NOTES}") == "offline"


@pytest.mark.parametrize("version", [2, 3, 4])
async def test_saved_is_said_after_the_commit_only(
    server_factory: Callable[..., ServerProcess], peers: Peers, version: int
) -> None:
    server = server_factory()
    for name in ("ann", "ben"):
        await peers.open_socket(name, version=version, url=server.ws_url)
        await peers.open_document(name, name, "trip")
    await peers.synced("ann", "ben")
    await peers.run("ann", "doc.getText('notes').insert(0, 'first ')")
    await peers.wait("ann", "!provider.hasUnsyncedChanges")
    with locked(server.store_path):
        # Others see it at once; saved it is not, however often they answer.
        for number in range(10):
            for name, other in (("ann", "ben"), ("ben", "ann")):
                text = f"{name} {number} "
                await peers.run(name, "doc.getText('notes').insert(0, args.text)", text=text)
                await peers.wait(other, f"{_NOTES}.startsWith(args.text)", text=text)
        for name in ("ann", "ben"):
            assert await peers.run(name, "return provider.unsyncedChanges") == 10
    for name in ("ann", "ben"):
        await peers.wait(name, "!provider.hasUnsyncedChanges", seconds=30)


async def test_a_stateless_message_of_the_server_reaches_the_one_it_is_for(
    stamping: ServerProcess, peers: Peers
) -> None:
    room = "told"
    for name, kind in (("ann", "h2"), ("ben", "h3"), ("cem", "h4"), ("plain", "y3")):
        await enter(
            peers, stamping, name, kind, room, token({room: "viewer"}, name, sid=f"session of {name}")
        )
    editor = token({room: "editor"}, "the application")
    for payload, to, reached in (
        ("for ben", {"user": "ben"}, 1),
        ("for cem", {"session": "session of cem"}, 1),
        ("for nobody", {"user": "eve"}, 0),
        ("for all", None, 3),
    ):
        assert post_stateless(stamping, room, editor, {"payload": payload, "to": to}) == {"members": reached}
    for name, expected in (("ann", []), ("ben", ["for ben"]), ("cem", ["for cem"])):
        await peers.wait(name, "memory.stateless.includes('for all')")
        assert await peers.run(name, "return memory.stateless") == [*expected, "for all"]


def post_stateless(server: ServerProcess, room: str, text: str, body: object) -> object:
    """Have the server send a message that nobody keeps."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{server.http_url}/v1/documents/{room}/stateless",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {text}"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


@pytest.mark.parametrize("kind", ["h3", "h4"])
async def test_a_renewed_token_changes_what_one_may_do_without_a_reconnect(
    stamping: ServerProcess, peers: Peers, kind: str
) -> None:
    room = f"changed-{kind}"
    await enter(peers, stamping, "other", "y3", room, token({room: "editor"}, "other"))
    await enter(peers, stamping, "ann", kind, room, token({room: "viewer"}))
    for role, scope in (("editor", "read-write"), ("viewer", "readonly")):
        await peers.run("ann", "memory.token = args.fresh", fresh=token({room: role}))
        await peers.run("ann", "await provider.sendToken()")
        await peers.wait("ann", "memory.scopes.at(-1) === args.scope", scope=scope)
        await peers.run("ann", f"doc.getText('notes').insert(0, '{role} ')")
    await peers.wait("other", f"{_NOTES}.includes('editor ')")
    await peers.run("other", "doc.getText('notes').insert(0, 'other ')")
    await peers.wait("ann", f"{_NOTES}.includes('other ')")
    text = await peers.run("other", f"return {_NOTES}")
    assert sorted(text.split()) == ["editor", "other"]
    assert await peers.run("ann", "return [memory.denied, peer.closes]") == [[], []]
