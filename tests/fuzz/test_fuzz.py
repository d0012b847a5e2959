"""A bounded run of the fuzzers for CI: always the same seeds. ``python -m tests.fuzz`` goes on from there."""

from __future__ import annotations

import pytest

from tests.fuzz import decoders, drivers
from tests.fuzz.material import Material


@pytest.mark.parametrize("seed", range(3))
def test_no_bytes_harm_a_decoder(seed: int) -> None:
    decoders.run(seed, rounds=1_000)


@pytest.mark.parametrize("first_seed", [10_000, 20_000, 30_000])
async def test_no_message_harms_a_room_or_the_next_one(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + 4):
        await drivers.run(seed, rounds=2_000)


def test_the_same_seed_makes_the_same_messages() -> None:
    one, other = Material(7), Material(7)
    for _ in range(300):
        assert one.plain() == other.plain()
        assert one.multiplexed(("a", "b"), ("t",)) == other.multiplexed(("a", "b"), ("t",))
        assert one.bent(b"abc" * 20) == other.bent(b"abc" * 20)
