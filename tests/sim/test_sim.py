"""Many seeds of the deterministic world; and that it notices when something is broken."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import pytest

from collab_server.hosting.sharedroom import SharedRoom
from collab_server.hosting.sharing import Sharing
from collab_server.room.room import Room
from persistence.base import Append, Appended
from persistence.memory import MemoryStore
from tests.sim.world import Told, WrongError, simulate

CHUNKS = 10
SEEDS = int(os.environ.get("COLLAB_TEST_SEEDS", "2000"))
"""All chunks together. By hand: ``python -m tests.sim --seeds 5000 --from 1000``."""


def seeds_of(chunk: int) -> Iterator[int]:
    return iter(range(chunk, SEEDS, CHUNKS))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_happens_all_replicas_are_equal_and_nothing_acknowledged_is_lost(chunk: int) -> None:
    total = Told()
    for seed in seeds_of(chunk):
        try:
            told = simulate(seed)
        except Exception as error:
            raise AssertionError(
                f"seed {seed} went wrong; again: python -m tests.sim --seeds 1 --from {seed} --log"
            ) from error
        for name, count in vars(told).items():
            setattr(total, name, getattr(total, name) + count)
    assert all(vars(total).values()), f"a world in which nothing happens proves nothing: {total}"


def test_a_seed_lives_the_same_life_each_time() -> None:
    assert [simulate(seed) for seed in (3, 4)] == [simulate(seed) for seed in (3, 4)]


def _nothing(*_args: object, **_options: object) -> None:
    return None


async def _lie(store: MemoryStore, group: Sequence[Append]) -> Sequence[Appended]:
    """Report a group as committed of which the last entry was not written."""
    written = await _honest_append(store, group[:-1])
    return [*written, Appended(10**6)]


_honest_append = MemoryStore.append

PLANTED: dict[str, tuple[list[tuple[type, str, Callable[..., object]]], str]] = {
    "dead nodes are not buried": ([(Sharing, "on_node_gone", _nothing)], "shows"),
    "gaps are not healed": ([(Sharing, "on_gap", _nothing), (SharedRoom, "ask", _nothing)], "differ"),
    "edits of dead nodes are not stored": ([(Room, "adopt_unproven", _nothing)], "never learned"),
    "what is acknowledged is not stored": ([(MemoryStore, "append", _lie)], "was told that"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_the_world_notices_what_is_broken(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, words = PLANTED[planted]
    for place, name, instead in changes:
        monkeypatch.setattr(place, name, instead)
    with pytest.raises(WrongError, match=words):
        _simulate_many(range(200))


def _simulate_many(seeds: Iterable[int]) -> None:
    for seed in seeds:
        simulate(seed)
