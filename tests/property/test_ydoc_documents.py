"""Random documents through the bytes: content is what it is without us (pycrdt is the judge)."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from collab_server.ydoc.bounds import DEFAULT_BOUNDS
from collab_server.ydoc.compaction import compact
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.update import collect, since, splice, squash
from tests.support.ydocs import Session, content

seeds = st.integers(0, 2**32)
steps = st.integers(0, 60)


def _log(updates: list[bytes]) -> DocumentLog:
    log = DocumentLog()
    for update in updates:
        log.add(inspect(update))
    return log


def _disorder(updates: list[bytes], dice: random.Random) -> list[bytes]:
    """The same updates in another order and grouping, some of them twice."""
    shuffled = updates + dice.sample(updates, len(updates) // 4)
    dice.shuffle(shuffled)
    grouped: list[bytes] = []
    while shuffled:
        size = dice.randint(1, 4)
        grouped.append(splice(shuffled[:size]))
        shuffled = shuffled[size:]
    return grouped


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_order_grouping_and_duplicates_make_no_difference(seed: int, count: int) -> None:
    updates = Session(seed).edit(count)
    log = _log(_disorder(updates, random.Random(seed)))
    assert log.pending_bytes == 0
    assert log.state_vector == _log(updates).state_vector
    assert log.deletes == _log(updates).deletes
    assert content([log.encode()]) == content(updates)


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_what_a_log_passes_on_is_everything_and_nothing_twice(seed: int, count: int) -> None:
    updates = Session(seed).edit(count)
    sender, receiver, stored = DocumentLog(), DocumentLog(), DocumentLog()
    for update in _disorder(updates, random.Random(seed)):
        novelty = sender.add(inspect(update))
        if novelty.update is not None:
            passed = receiver.add(inspect(novelty.update))
            assert passed.update is novelty.update
        if novelty.journal is not None:
            assert stored.add(inspect(novelty.journal)).journal is not None
        assert receiver.state_vector == sender.state_vector
        assert receiver.deletes == sender.deletes
        assert stored.state_vector == sender.state_vector
        assert stored.pending_bytes == sender.pending_bytes


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_an_update_that_is_known_brings_nothing(seed: int, count: int) -> None:
    updates = Session(seed).edit(count)
    log = _log(updates)
    whole = log.encode()
    for update in [*updates, whole, squash(whole)]:
        novelty = log.add(inspect(update))
        assert novelty.update is None
        assert novelty.journal is None
    assert log.encode() is whole


@settings(deadline=None, max_examples=60)
@given(seeds, steps, st.booleans())
def test_a_difference_fills_exactly_what_is_missing(seed: int, count: int, folded: bool) -> None:
    dice = random.Random(seed)
    updates = Session(seed).edit(count)
    log = _log(updates)
    if folded:
        log.fold()
    behind = _log(dice.sample(updates, dice.randint(0, len(updates))))
    difference = log.since(behind.state_vector)
    behind.add(inspect(difference))
    assert behind.state_vector == log.state_vector
    assert behind.pending_bytes == 0
    assert behind.deletes == log.deletes
    assert content([behind.encode()]) == content(updates)
    again = log.since(log.state_vector)
    assert again == b"\x00" + log.deletes.encode()


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_a_difference_from_any_clocks_needs_nothing_but_what_those_clocks_say(seed: int, count: int) -> None:
    dice = random.Random(seed)
    log = _log(Session(seed).edit(count))
    log.fold()
    vector = {client: dice.randint(0, end) for client, end in log.state_vector.items() if dice.random() < 0.8}
    for difference in (log.since(vector), since(log.encode(), vector)):
        sections = inspect(difference).sections
        assert {section.client for section in sections} == {
            client for client, end in log.state_vector.items() if end > vector.get(client, 0)
        }
        for section in sections:
            assert section.clock <= vector.get(section.client, 0)
            assert section.end == log.state_vector[section.client]


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_folding_and_adopting_at_any_moment_change_nothing(seed: int, count: int) -> None:
    dice = random.Random(seed)
    updates = Session(seed).edit(count)
    log = DocumentLog()
    for number, update in enumerate(updates):
        log.add(inspect(update))
        if dice.random() < 0.15:
            log.fold()
        if dice.random() < 0.05:
            covered = dice.sample(updates[: number + 1], dice.randint(0, number + 1))
            compacted = compact(None, covered)
            log.adopt(compacted.data, compacted.index)
    plain = _log(updates)
    assert log.state_vector == plain.state_vector
    assert log.deletes.subtract(plain.deletes).is_empty() or content([log.encode()]) == content(updates)
    assert plain.deletes.subtract(log.deletes).is_empty()
    assert content([log.encode()]) == content(updates)
    assert content(updates) == content([log.since({})])


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_small_forms_mean_the_same(seed: int, count: int) -> None:
    updates = Session(seed).edit(count)
    whole = splice(updates) if updates else b"\x00\x00"
    wanted = content(updates)
    assert content([whole]) == wanted
    assert content([squash(whole)]) == wanted
    assert content([collect(whole)]) == wanted
    assert content([*updates, collect(whole)]) == wanted
    assert content([collect(whole), *updates]) == wanted
    assert collect(collect(whole)) == collect(whole)
    assert squash(squash(whole)) == squash(whole)


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_opening_with_and_without_an_index_is_the_same(seed: int, count: int) -> None:
    dice = random.Random(seed)
    updates = Session(seed).edit(count)
    shuffled = dice.sample(updates, len(updates))
    split = dice.randint(0, len(updates))
    compacted = compact(None, shuffled[:split])
    fast = DocumentLog.open(compacted.data, compacted.index, shuffled[split:], DEFAULT_BOUNDS)
    slow = DocumentLog.open(compacted.data, b"", shuffled[split:], DEFAULT_BOUNDS)
    assert fast.state_vector == slow.state_vector
    assert fast.encode() == slow.encode()
    assert fast.pending_bytes == slow.pending_bytes == 0
    assert content([fast.encode()]) == content(updates)


@settings(deadline=None, max_examples=60)
@given(seeds, steps)
def test_compacting_keeps_what_still_waits(seed: int, count: int) -> None:
    dice = random.Random(seed)
    updates = Session(seed).edit(count)
    some = dice.sample(updates, dice.randint(0, len(updates)))
    compacted = compact(None, some)
    log = DocumentLog.open(compacted.data, compacted.index, [])
    assert log.state_vector == _log(some).state_vector
    for update in updates:
        log.add(inspect(update))
    assert log.pending_bytes == 0
    assert content([log.encode()]) == content(updates)
    assert content([compact(compacted.data, updates).data]) == content(updates)
