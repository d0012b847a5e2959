from __future__ import annotations

import pytest

from collab_server.errors import RefusedError
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.narrow import narrow, strays
from collab_server.ydoc.roots import DEAD, RootIndex
from collab_server.ydoc.structs import root_name
from tests.support.ydocs import array_type, gc, item, skip, string, update, varints

COMMENTS = frozenset({"comments"})
EDITOR, WRITER, STRANGER = 1, 2, 3

BUDGET_TEXT = 0  # "secret", six ids
BUDGET_LIST = 6
COMMENT_TEXT = 7  # "kind", four ids
COMMENT_LIST = 11
COMMENT_SUBDOCUMENT = 12
BUDGET_FORMAT = 13
BURIED = 14  # three ids without a place
DOCUMENT = update(
    (
        EDITOR,
        0,
        [
            string("secret", root="budget"),
            array_type(root="budget"),
            string("kind", root="comments"),
            array_type(root="comments"),
            item(9, b"\x04guid\x76\x00", root="comments"),
            item(6, b"\x04bold\x04true", root="budget"),
            gc(3),
        ],
    )
)
AFTER = 17
"""The editor's next clock."""


class Scene:
    """A document, and somebody who may write comments."""

    def __init__(self, *updates: bytes, roots: frozenset[str] = COMMENTS) -> None:
        self.log = DocumentLog()
        for known in updates or (DOCUMENT,):
            self.log.add(inspect(known))
        self.index = RootIndex(self.log)
        self.index.keep_up()
        self.roots = roots

    def takes(self, sent: bytes, *, is_answer: bool = False) -> bytes | None:
        """What is taken of an update; it is added to the document."""
        taken = narrow(self.index, self.log, inspect(sent), self.roots, is_answer=is_answer)
        if taken is None:
            return None
        novelty = self.log.add(taken)
        assert self.log.pending_bytes == 0
        self.index.keep_up()
        return novelty.update

    def state(self) -> object:
        return self.log.encode(), [
            (
                client,
                places.end,
                list(places.clocks),
                list(places.codes),
                list(places.bearer_ends),
                places.seen,
            )
            for client, places in self.index.clients.items()
        ]


def written(*structs: bytes, client: int = WRITER, clock: int = 0) -> bytes:
    return update((client, clock, structs))


FORGED = {
    "a root that is not allowed": written(string("x", root="budget")),
    "a root that looks alike": written(string("x", root="Comments")),
    "a root with a mark in front": written(string("x", root="\ufeffcomments")),
    "a root with a zero behind": written(string("x", root="comments\x00")),
    "a root composed of other signs": written(string("x", root="c\u043emments")),
    "the root of all objects": written(string("x", root="__proto__")),
    "a root without a name": written(string("x", root="")),
    "a key of a root that is not allowed": written(string("x", root="budget", key="comments")),
    "an origin elsewhere": written(string("x", origin=(EDITOR, BUDGET_TEXT))),
    "a right origin elsewhere": written(string("x", right=(EDITOR, BUDGET_TEXT))),
    "an origin here and a right origin elsewhere": written(
        string("x", origin=(EDITOR, COMMENT_TEXT), right=(EDITOR, BUDGET_TEXT))
    ),
    "an origin elsewhere and a right origin here": written(
        string("x", origin=(EDITOR, BUDGET_TEXT + 5), right=(EDITOR, COMMENT_TEXT))
    ),
    "an origin without a place and a right origin elsewhere": written(
        string("x", origin=(EDITOR, BURIED), right=(EDITOR, BUDGET_TEXT))
    ),
    "an own origin without a place and a right origin elsewhere": written(
        gc(1), string("x", origin=(WRITER, 0), right=(EDITOR, BUDGET_TEXT))
    ),
    "a parent elsewhere": written(string("x", parent=(EDITOR, BUDGET_LIST))),
    "a parent elsewhere that is no type": written(string("x", parent=(EDITOR, BUDGET_TEXT))),
    "a parent here that is text": written(string("x", parent=(EDITOR, COMMENT_TEXT))),
    "a parent in the middle of text": written(string("x", parent=(EDITOR, COMMENT_TEXT + 2))),
    "a parent that is a subdocument": written(string("x", parent=(EDITOR, COMMENT_SUBDOCUMENT))),
    "an own parent that is text": written(string("x", root="comments"), string("y", parent=(WRITER, 0))),
    "a second struct elsewhere": written(string("x", root="comments"), string("y", root="budget")),
    "a second client elsewhere": update(
        (STRANGER, 0, [string("x", root="comments")]), (WRITER, 0, [string("y", root="budget")])
    ),
    "the same client twice": update(
        (WRITER, 0, [string("x", root="comments")]), (WRITER, 1, [string("y", root="budget")])
    ),
    "the same client twice, later clocks first": update(
        (WRITER, 1, [string("y", root="budget")]), (WRITER, 0, [string("x", root="comments")])
    ),
    "something elsewhere by way of another client that comes later": update(
        (WRITER, 0, [string("x", origin=(STRANGER, 0))]), (STRANGER, 0, [string("y", root="budget")])
    ),
    "a clock that comes too early": written(string("x", root="comments"), clock=1),
    "a skip": written(skip(1), string("x", root="comments")),
    "a skip between": written(string("x", root="comments"), skip(1), string("x", root="comments")),
    "an origin that nobody has written": written(string("x", origin=(STRANGER, 0))),
    "an origin that its client has not reached": written(string("x", origin=(EDITOR, AFTER))),
    "a right origin that nobody has written": written(
        string("x", origin=(EDITOR, COMMENT_TEXT), right=(STRANGER, 0))
    ),
    "a parent that nobody has written": written(string("x", parent=(STRANGER, 0))),
    "two that wait for each other": update(
        (WRITER, 0, [string("x", origin=(STRANGER, 0))]), (STRANGER, 0, [string("y", origin=(WRITER, 0))])
    ),
    "three that wait for each other": update(
        (WRITER, 0, [string("x", origin=(STRANGER, 0))]),
        (STRANGER, 0, [string("y", right=(4, 0))]),
        (4, 0, [string("z", parent=(WRITER, 0))]),
    ),
    "a deletion elsewhere": update(deletes=[(EDITOR, BUDGET_TEXT, 1)]),
    "a deletion of a type elsewhere": update(deletes=[(EDITOR, BUDGET_LIST, 1)]),
    "a deletion that begins here": update(deletes=[(EDITOR, COMMENT_LIST, 3), (EDITOR, BUDGET_LIST, 1)]),
    "a deletion that ends here": update(deletes=[(EDITOR, BUDGET_TEXT, COMMENT_TEXT + 1)]),
    "a deletion that begins elsewhere": update(deletes=[(EDITOR, BUDGET_LIST, 2)]),
    "a deletion of everything": update(deletes=[(EDITOR, 0, AFTER)]),
    "a deletion in advance": update(deletes=[(EDITOR, AFTER, 1)]),
    "a deletion in advance of everything": update(deletes=[(EDITOR, AFTER, 2**40)]),
    "a deletion that reaches into the future": update(deletes=[(EDITOR, COMMENT_LIST, 1000)]),
    "a deletion in advance of somebody new": update(deletes=[(STRANGER, 0, 1)]),
    "a deletion elsewhere behind a format": update(
        deletes=[(EDITOR, BUDGET_FORMAT, 1), (EDITOR, BUDGET_TEXT, 1)]
    ),
    "a deletion elsewhere beside an edit here": update(
        (WRITER, 0, [string("x", root="comments")]), deletes=[(EDITOR, BUDGET_TEXT, 1)]
    ),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_what_is_forged_is_refused_and_leaves_no_trace(forged: bytes) -> None:
    scene = Scene()
    before = scene.state()
    with pytest.raises(RefusedError) as refused:
        scene.takes(forged)
    assert scene.state() == before
    assert len(refused.value.reason.encode()) <= 123


@pytest.mark.parametrize(
    "name", [name for name in FORGED if "deletion" not in name or name.endswith("elsewhere beside")]
)
def test_structs_of_an_answer_are_judged_as_those_of_an_update(name: str) -> None:
    scene = Scene()
    with pytest.raises(RefusedError):
        scene.takes(FORGED[name], is_answer=True)


@pytest.mark.parametrize("name", [name for name in FORGED if "deletion" in name])
def test_of_an_answer_only_the_deletions_that_are_allowed_are_taken(name: str) -> None:
    scene = Scene()
    scene.takes(FORGED[name], is_answer=True)
    assert not scene.log.deletes.touches(EDITOR, BUDGET_TEXT, COMMENT_TEXT)
    assert not scene.log.deletes.touches(EDITOR, BUDGET_FORMAT, BUDGET_FORMAT + 1)
    assert not scene.log.deletes.touches(EDITOR, AFTER, 2**50)
    assert not scene.log.deletes.touches(STRANGER, 0, 2**50)


HONEST = {
    "text in the root": written(string("x", root="comments")),
    "a key of the root": written(string("x", root="comments", key="budget")),
    "text beside text": written(string("x", origin=(EDITOR, COMMENT_TEXT + 3))),
    "text in the middle of text": written(
        string("x", origin=(EDITOR, COMMENT_TEXT), right=(EDITOR, COMMENT_TEXT + 1))
    ),
    "text in a nested list": written(string("x", parent=(EDITOR, COMMENT_LIST))),
    "text in an own list": written(array_type(root="comments"), string("x", parent=(WRITER, 0))),
    "an own list within an own list": written(
        array_type(root="comments"), array_type(parent=(WRITER, 0)), string("x", parent=(WRITER, 1))
    ),
    "another client that comes later": update(
        (WRITER, 0, [string("x", origin=(STRANGER, 0))]), (STRANGER, 0, [string("y", root="comments")])
    ),
    "clients that need each other in turn": update(
        (WRITER, 0, [array_type(root="comments"), string("x", origin=(STRANGER, 0))]),
        (STRANGER, 0, [string("y", parent=(WRITER, 0)), string("z", origin=(WRITER, 1))]),
    ),
    "what has lost its place": written(gc(3)),
    "something beside what has lost its place": written(string("x", origin=(EDITOR, BURIED))),
    "something in what has lost its place": written(string("x", parent=(EDITOR, BURIED + 1))),
    "a deletion of text": update(deletes=[(EDITOR, COMMENT_TEXT, 2)]),
    "a deletion of a list and its subdocument": update(deletes=[(EDITOR, COMMENT_LIST, 2)]),
    "a deletion of what came with it": update(
        (WRITER, 0, [string("xyz", root="comments")]), deletes=[(WRITER, 0, 3)]
    ),
    "a deletion of what has lost its place": written(gc(2))[:-1] + varints(1, WRITER, 1, 0, 2),
}


@pytest.mark.parametrize("is_answer", [False, True])
@pytest.mark.parametrize("honest", HONEST.values(), ids=HONEST)
def test_what_is_honest_is_taken_as_it_is(honest: bytes, is_answer: bool) -> None:
    scene = Scene()
    assert scene.takes(honest, is_answer=is_answer) is honest
    assert scene.takes(honest, is_answer=is_answer) is None


def test_what_is_known_is_not_looked_at_again() -> None:
    scene = Scene()
    assert scene.takes(DOCUMENT, is_answer=True) is None
    assert scene.takes(scene.log.encode(), is_answer=False) is None


def test_what_an_update_says_of_known_ids_does_not_count() -> None:
    scene = Scene()
    scene.takes(written(string("ab", root="comments")))
    # the known ids are said to be in the budget, where the new one would be with them
    taken = scene.takes(written(string("abx", root="budget")))
    assert taken == written(string("x", origin=(WRITER, 1)), clock=2)
    taken = scene.takes(written(string("ab", root="budget"), string("xy", origin=(EDITOR, 0))))
    assert taken == written(string("y", origin=(WRITER, 2)), clock=3)


def test_a_known_beginning_does_not_hide_a_right_origin_elsewhere() -> None:
    scene = Scene()
    scene.takes(written(string("ab", root="comments")))
    with pytest.raises(RefusedError):
        scene.takes(written(string("abx", origin=(EDITOR, COMMENT_TEXT), right=(EDITOR, BUDGET_TEXT))))


def test_a_known_text_that_is_said_to_be_a_list_is_none() -> None:
    scene = Scene()
    scene.takes(written(string("a", root="comments")))
    with pytest.raises(RefusedError, match="hold nothing"):
        scene.takes(written(array_type(root="comments"), string("x", parent=(WRITER, 0))))


def test_what_waits_in_the_document_is_not_there_yet() -> None:
    waiting = update((STRANGER, 5, [string("x", root="comments")]))
    scene = Scene(DOCUMENT, waiting)
    with pytest.raises(RefusedError):
        scene.takes(written(string("x", origin=(STRANGER, 5))))
    with pytest.raises(RefusedError):
        scene.takes(update(deletes=[(STRANGER, 5, 1)]))


def test_an_edit_may_set_free_what_others_have_sent() -> None:
    waiting = update((EDITOR, AFTER, [string("x", origin=(WRITER, 0))]))
    scene = Scene(DOCUMENT, waiting)
    assert scene.takes(written(string("y", root="comments"))) is not None
    assert scene.log.state_vector == {EDITOR: AFTER + 1, WRITER: 1}
    assert scene.index.names[scene.index.code_at(EDITOR, AFTER)] == "comments"


def test_a_list_that_was_deleted_and_collected_can_still_be_written_into() -> None:
    collected = update((EDITOR, 0, [item(1, b"\x02", root="comments"), gc(1)]), deletes=[(EDITOR, 0, 3)])
    scene = Scene(collected)
    assert scene.takes(written(string("x", parent=(EDITOR, 0)))) is not None
    elsewhere = Scene(update((EDITOR, 0, [item(1, b"\x02", root="budget")]), deletes=[(EDITOR, 0, 2)]))
    with pytest.raises(RefusedError):
        elsewhere.takes(written(string("x", parent=(EDITOR, 0))))


def test_formats_that_yjs_tidies_up_elsewhere_are_left_alone() -> None:
    scene = Scene()
    assert scene.takes(update(deletes=[(EDITOR, BUDGET_FORMAT, 1)])) is None
    mixed = update(
        (WRITER, 0, [string("x", root="comments")]),
        deletes=[(EDITOR, BUDGET_FORMAT, 1), (EDITOR, COMMENT_TEXT, 1)],
    )
    taken = scene.takes(mixed)
    assert taken == update((WRITER, 0, [string("x", root="comments")]), deletes=[(EDITOR, COMMENT_TEXT, 1)])


def test_several_roots_may_be_allowed() -> None:
    scene = Scene(roots=frozenset({"comments", "budget"}))
    across = written(string("x", origin=(EDITOR, COMMENT_TEXT), right=(EDITOR, BUDGET_TEXT)))
    assert scene.takes(across) is across
    assert scene.index.names[scene.index.code_at(WRITER, 0)] == "comments"
    assert scene.takes(update(deletes=[(EDITOR, 0, AFTER)])) is not None
    with pytest.raises(RefusedError):
        scene.takes(written(string("x", root="title"), clock=1))


def test_nothing_may_be_written_where_no_root_is_allowed() -> None:
    scene = Scene(roots=frozenset())
    with pytest.raises(RefusedError):
        scene.takes(written(string("x", root="comments")))
    with pytest.raises(RefusedError):
        scene.takes(written(string("x", origin=(EDITOR, COMMENT_TEXT))))


def test_typing_on_is_judged_by_its_right_origin_too() -> None:
    scene = Scene()
    scene.takes(written(string("a", root="comments")))
    with pytest.raises(RefusedError):
        scene.takes(written(string("b", origin=(WRITER, 0), right=(EDITOR, BUDGET_TEXT)), clock=1))
    # one's own ids elsewhere, from a time with more rights
    more = Scene(DOCUMENT, written(string("a", root="budget"), string("b", root="comments")))
    with pytest.raises(RefusedError):
        more.takes(written(string("c", origin=(WRITER, 1), right=(WRITER, 0)), clock=2))


def test_the_name_of_a_root_is_cut_to_fit_into_a_reason() -> None:
    for name in ("x" * 10_000, "\u00e9" * 60, "\U0001f600" * 60, 'a"\x00\n\u202e\u2028b'):
        with pytest.raises(RefusedError) as refused:
            Scene().takes(written(string("x", root=name)))
        reason = refused.value.reason
        assert len(reason.encode()) <= 123
        assert reason.isprintable()


def test_a_client_strays_once_it_has_written_elsewhere() -> None:
    scene = Scene()
    assert strays(scene.index, EDITOR, COMMENTS)
    assert not strays(scene.index, EDITOR, frozenset({"comments", "budget"}))
    assert not strays(scene.index, WRITER, COMMENTS)
    scene.takes(written(gc(2)))
    assert not strays(scene.index, WRITER, COMMENTS)
    assert scene.index.code_at(WRITER, 1) == DEAD


def test_root_names_are_read_as_they_stand() -> None:
    from collab_server.ydoc.structs import read_struct

    for struct in (string("x", root="b\u00fcdget"), array_type(root="b\u00fcdget", key="k")):
        assert root_name(read_struct(struct, 0, 0)).decode() == "b\u00fcdget"


@pytest.mark.parametrize("towards", [1, -1])
def test_a_long_chain_of_clients_is_followed_to_its_end(towards: int) -> None:
    clients = [*range(10, 5000)][::towards]
    sections = [
        (client, 0, [string("x", origin=(clients[at + 1], 0))]) for at, client in enumerate(clients[:-1])
    ]
    chain = update(*sections, (clients[-1], 0, [string("x", root="comments")]))
    assert Scene().takes(chain) is chain
    astray = update(*sections, (clients[-1], 0, [string("x", root="budget")]))
    with pytest.raises(RefusedError):
        Scene().takes(astray)
