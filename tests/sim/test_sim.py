"""Many seeds of the deterministic world; and that it notices when something is broken."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.sim.world import Told, simulate

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
