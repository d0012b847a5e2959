"""Recorded sessions: read, written, and put into a schedule."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.generator.edits import Typist
from bench.generator.replay import Part, Record, prepare, read_session, write_session
from bench.profile import Cumulative, rate_lines
from bench.scenario import Stage, Timing


def session(*times_ms: int) -> list[Record]:
    typists = [Typist(client, "notes", random.Random(client)) for client in (11, 12)]
    return [Record(at_ms, n % 2, typists[n % 2].insert(2).update) for n, at_ms in enumerate(times_ms)]


def test_a_session_reads_back(tmp_path: Path) -> None:
    records = session(0, 10, 20)
    write_session(tmp_path / "s.yupd.gz", records)
    assert read_session(tmp_path / "s.yupd.gz") == records


CUT = b"\x00" * 5 + b"\x09" + bytes(3)


@pytest.mark.parametrize(
    "data",
    [b"no gzip", gzip.compress(b""), gzip.compress(bytes(5)), gzip.compress(CUT)],
    ids=["no gzip", "nothing", "half a head", "a record that is cut"],  # gzip writes the time into its bytes
)
def test_what_is_no_session_is_said_to_be_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "s").write_bytes(data)
    with pytest.raises(BenchError, match=str(tmp_path / "s")):
        read_session(tmp_path / "s")


def test_each_person_plays_their_own_part_in_order() -> None:
    prepared = prepare(session(0, 10, 20, 30), Timing.EVEN, 5)
    assert prepared.clients == [11, 12]
    assert prepared.places == [[0, 2], [1, 3]]
    part = Part(prepared, 1)
    assert [edit.end for edit in iter(part.next, None)] == [2, 4]


def test_recorded_gaps_are_kept_in_proportion_and_long_ones_are_cut() -> None:
    prepared = prepare(session(0, 1000, 2000, 102_000), Timing.RECORDED, 2.0)
    cumulative = Cumulative(rate_lines([Stage("hold", 100)]), 1.0)
    due = [*Part(prepared, 0).times(cumulative), *Part(prepared, 1).times(cumulative)]
    assert sorted(due) == pytest.approx([0, 1, 2, 4])


def test_a_session_without_times_is_played_evenly() -> None:
    assert prepare(session(0, 0, 0), Timing.RECORDED, 5).places == [[0, 2], [1]]


def test_a_message_that_only_deletes_is_known_by_what_it_deletes() -> None:
    typist = Typist(11, "notes", random.Random(1))
    updates = [typist.insert(3).update]
    deletion = typist.backspace()
    assert deletion
    prepared = prepare([Record(0, 0, updates[0]), Record(0, 1, deletion.update)], Timing.EVEN, 5)
    assert prepared.edits[1][0].deleted == (11, 2)


def test_the_recorded_sessions_can_be_played() -> None:
    path = Path(__file__).parents[4] / "shared/data/clownschool.yupd.gz"
    if not path.exists():
        pytest.skip("the recorded sessions are not at hand")
    prepared = prepare(read_session(path), Timing.RECORDED, 5)
    assert len(prepared.clients) == 3
    assert sum(map(len, prepared.edits)) == 23_136
