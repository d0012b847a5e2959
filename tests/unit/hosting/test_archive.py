from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from pycrdt import Doc, Map

from collab_server.errors import GoneError, HistoryError, HistoryFault
from collab_server.hosting.archive import (
    CHECKPOINTS,
    DOCUMENT,
    ENTRIES,
    MANIFEST,
    SEGMENTS,
    VERSIONS,
    ArchiveBounds,
    Refusal,
    looked_through,
    read_archive,
    write_archive,
)
from collab_server.hosting.folding import Past
from collab_server.hosting.settings import HistorySettings
from collab_server.views.pool import ViewFailedError
from collab_server.ydoc.bounds import DEFAULT_BOUNDS, Bounds
from persistence.base import (
    DocumentDump,
    DumpedCheckpoint,
    DumpedSegment,
    DumpedVersion,
    HistorySize,
    Snapshot,
    StoredDocument,
    UpdateRow,
)
from persistence.history import SegmentRule
from tests.unit.hosting.house import InPlace, house
from tests.unit.hosting.test_history import SMALL, fault_of, states, text_of, write
from tests.unit.hosting.test_registry import edit

BOUNDS = ArchiveBounds(1024 * 1024, 512, DEFAULT_BOUNDS)
PAST = Past(HistorySize(), rule=SegmentRule(2))
ONE, TWO = edit("one", 1), edit("two", 2)


def dump(**changes: Any) -> DocumentDump:
    return replace(
        DocumentDump(
            "trip",
            StoredDocument("trip", Snapshot(edit("one", 1)), ()),
            created_at_ms=10,
            changed_at_ms=20,
            segments=[DumpedSegment(ONE, 10, 12, ("ada",), 3), DumpedSegment(TWO, 12, 15, (), 1)],
            checkpoints=[DumpedCheckpoint(ONE, 12, 1)],
            versions=[DumpedVersion("first plan", 13, "ada", True, ONE)],
        ),
        **changes,
    )


def written(given: DocumentDump | None = None) -> bytes:
    return write_archive(given or dump(), 30, PAST, DEFAULT_BOUNDS)


def altered(change: Callable[[dict[str, bytes], dict[str, Any]], object], data: bytes | None = None) -> bytes:
    """The archive with its entries and its manifest changed by hand."""
    with zipfile.ZipFile(io.BytesIO(data or written())) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    manifest, before = json.loads(entries[MANIFEST]), json.loads(entries[MANIFEST])
    change(entries, manifest)
    if manifest != before:
        entries[MANIFEST] = json.dumps(manifest).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


def refusal(data: bytes, bounds: ArchiveBounds = BOUNDS) -> str:
    with pytest.raises(HistoryError) as refused:
        read_archive(data, "copy", bounds)
    assert "\n" not in str(refused.value)
    assert looked_through(data, "copy", bounds) == Refusal(refused.value.fault, str(refused.value))
    return str(refused.value)


def test_what_goes_in_comes_out() -> None:
    found = read_archive(written(), None, BOUNDS)
    stored = found.stored
    assert replace(found, stored=dump().stored) == dump()
    assert stored.snapshot is not None
    assert (stored.room, stored.snapshot.data, list(stored.updates)) == ("trip", ONE, [])
    assert stored.snapshot.index


def test_it_can_be_given_another_name() -> None:
    found = read_archive(written(), "copy", BOUNDS)
    assert (found.room, found.stored.room) == ("copy", "copy")


def test_rows_that_wait_for_a_compaction_become_history_in_the_archive() -> None:
    rows = [UpdateRow(number, edit(str(number), number), ("bob",), 20 + number) for number in (3, 4, 5)]
    found = read_archive(written(dump(stored=StoredDocument("trip", Snapshot(ONE), rows))), None, BOUNDS)
    assert [(part.from_ms, part.to_ms, part.updates_count) for part in found.segments[2:]] == [
        (23, 24, 2),
        (25, 25, 1),
    ]
    assert found.stored.snapshot is not None
    assert sorted(text_of(found.stored.snapshot.data)) == sorted("one345")
    assert not found.stored.updates


def test_the_file_can_be_read_without_us() -> None:
    with zipfile.ZipFile(io.BytesIO(written())) as archive:
        assert archive.testzip() is None
        assert tuple(archive.namelist()) == ENTRIES
        manifest = json.loads(archive.read(MANIFEST))
        assert archive.read(SEGMENTS) == ONE + TWO
        assert text_of(archive.read(DOCUMENT)) == "one"
    assert (manifest["format"], manifest["version"], manifest["room"]) == (
        "collab-server document",
        1,
        "trip",
    )
    assert [line["bytes"] for line in manifest["segments"]] == [len(ONE), len(TWO)]


def test_a_file_that_is_cut_anywhere_is_refused() -> None:
    data = written()
    for length in [*range(0, len(data), 37), len(data) - 1]:
        assert "zip" in refusal(data[:length])


def test_a_byte_that_was_changed_never_passes_for_another_document() -> None:
    data = written()
    for at in range(0, len(data), 3):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        found = looked_through(damaged, "copy", BOUNDS)
        # Some bytes of a zip say nothing, such as times; what is read is then what was written.
        if not isinstance(found, Refusal):
            assert found.segments == dump().segments
            assert found.stored.snapshot == read_archive(data, None, BOUNDS).stored.snapshot


def test_a_small_file_that_swells_is_refused_before_it_does() -> None:
    data = altered(lambda entries, _: entries.update({SEGMENTS: b"\0" * (1 << 24)}))
    assert len(data) < 100_000
    assert "over archive_bytes_max" in refusal(data)


def test_a_length_that_lies_is_found() -> None:
    data = bytearray(altered(lambda entries, _: entries.update({SEGMENTS: b"\0" * 100_000})))
    directory = data.rindex(SEGMENTS.encode()) - 46
    assert data[directory : directory + 4] == b"PK\x01\x02"
    data[directory + 24 : directory + 28] = (100).to_bytes(4, "little")
    assert "damaged" in refusal(bytes(data))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda entries, _: entries.pop(VERSIONS), "does not hold exactly"),
        (lambda entries, _: entries.update({"../../evil": b""}), "does not hold exactly"),
        (lambda entries, _: entries.update({MANIFEST: b"{}"}), "does not say"),
        (lambda entries, _: entries.update({MANIFEST: b"[1]"}), "does not say"),
        (lambda _, manifest: manifest.update(format="docx"), "does not say"),
        (lambda _, manifest: manifest.update(version=2), "version 2"),
        (lambda _, manifest: manifest.update(version="1"), "version '1'"),
        (lambda _, manifest: manifest.update(more=1), "more"),
        (lambda _, manifest: manifest.pop("segments"), "segments"),
        (lambda _, manifest: manifest.update(created_at_ms=-1), "created_at_ms"),
        (lambda _, manifest: manifest.update(created_at_ms=10**30), "created_at_ms"),
        (lambda _, manifest: manifest["segments"][0].update(bytes=-1), "segments.0.bytes"),
        (lambda _, manifest: manifest["segments"][0].update(bytes=1), "not as long"),
        (lambda _, manifest: manifest["segments"][0].update(bytes=True), "segments.0.bytes"),
        (lambda _, manifest: manifest["segments"][0].update(to_ms=5), "order of time"),
        (lambda _, manifest: manifest["segments"][1].update(from_ms=5), "order of time"),
        (lambda _, manifest: manifest["segments"][0].update(authors=["a\0b"]), "authors"),
        (lambda _, manifest: manifest["checkpoints"][0].update(after_segments=3), "checkpoints"),
        (lambda _, manifest: manifest["versions"][0].update(name=""), "name"),
        (lambda _, manifest: manifest["versions"][0].update(name="a\nb"), "name"),
        (lambda entries, _: entries.update({CHECKPOINTS: b"\xff" * len(ONE)}), "state 0"),
        (lambda entries, _: entries.update({VERSIONS: b"\xff" * len(ONE)}), "state 1"),
        (lambda entries, _: entries.update({SEGMENTS: ONE + b"\xff" * len(TWO)}), "segment 1"),
        (lambda entries, _: entries.update({DOCUMENT: b""}), DOCUMENT),
        (lambda entries, _: entries.update({DOCUMENT: ONE[:-1]}), DOCUMENT),
    ],
)
def test_a_wrong_archive_is_refused_in_one_line_that_says_why(change: Any, words: str) -> None:
    assert words in refusal(altered(change))


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 200_000])
def test_a_manifest_that_is_no_json_is_refused(raw: bytes) -> None:
    def change(entries: dict[str, bytes], manifest: dict[str, Any]) -> None:
        entries[MANIFEST] = raw

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ENTRIES:
            archive.writestr(name, raw if name == MANIFEST else b"")
    assert "not JSON" in refusal(file.getvalue())


def test_a_name_that_no_store_takes_is_refused() -> None:
    def change(entries: dict[str, bytes], manifest: dict[str, Any]) -> None:
        manifest["room"] = "\ud800"

    with pytest.raises(HistoryError, match="not JSON"):
        read_archive(altered(change), None, BOUNDS)
    with pytest.raises(HistoryError, match="longer than 3 bytes"):
        read_archive(written(), None, replace(BOUNDS, room_name_bytes_max=3))


def test_a_state_that_is_nested_too_deep_is_refused() -> None:
    doc: Doc[Any] = Doc()
    part = doc.get("m", type=Map)
    for _ in range(30):
        part["x"] = Map()
        part = part["x"]
    deep = doc.get_update()
    data = written(dump(versions=[DumpedVersion("deep", 13, None, False, deep)]))
    assert "state 1" in refusal(data, replace(BOUNDS, document=Bounds(nesting_depth_max=20)))
    assert read_archive(data, None, BOUNDS)


def test_an_encrypted_entry_is_refused() -> None:
    data = bytearray(written())
    for signature, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = data.index(signature)
        data[at + offset] |= 1
    assert "encrypted" in refusal(bytes(data))


# -- into a store and out of it


async def test_a_document_and_all_its_history_move_to_another_server() -> None:
    async with house(history_settings=SMALL) as home, house(history_settings=SMALL) as other:
        ada = await home.enter("r", user_id="ada")
        for number, word in enumerate("abc"):
            await write(home, ada, word, at_ms=1000 + number)
        await home.history.create_version("r", "named", pinned=True, author="ada")
        ada.write("d")
        file = await home.archives.export("r")
        await other.archives.restore(file, "r")
        before, after = await home.history.versions("r"), await other.history.versions("r")
        assert [replace(version, id="") for version in after.versions] == [
            replace(version, id="") for version in before.versions
        ]
        assert await states(other, list(after.versions)) == await states(home, list(before.versions))
        bob = await other.enter("r")
        assert str(bob.text) == "abcd"
        await write(other, bob, "e", at_ms=2000)
        assert (
            text_of(
                (await other.history.read_version("r", (await other.history.versions("r")).versions[0].id))[1]
            )
            == "abcde"
        )


async def test_a_name_that_is_taken_stays_as_it_is() -> None:
    async with house() as home:
        ada = await home.enter("r")
        await write(home, ada, "mine")
        assert await fault_of(home.archives.restore(written(), "r")) == HistoryFault.EXISTS
        assert str(ada.text) == "mine"
        await home.documents.delete("r")
        with pytest.raises(GoneError):
            await home.archives.export("r")
        assert await fault_of(home.archives.restore(written(), "r")) == HistoryFault.DELETED
        await home.archives.restore(written(), "r", revive=True)
        assert text_of(await home.history.read_at("r", 10**9)) != ""


async def test_a_document_that_is_too_large_for_an_archive_is_told_so() -> None:
    async with house() as home:
        await write(home, await home.enter("r"), "x" * (1 << 20))
        assert await fault_of(home.archives.export("r")) == HistoryFault.TOO_LARGE


async def test_an_archive_that_kills_its_worker_is_refused_and_a_busy_worker_is_not_its_fault() -> None:
    class Failing(InPlace):
        reason = "memory"

        async def run(self, function, /, *args):  # type: ignore[no-untyped-def]
            raise ViewFailedError(self.reason, "as it went")

    async with house(history_settings=HistorySettings()) as home:
        home.archives._workers = workers = Failing()
        assert await fault_of(home.archives.restore(written(), "r")) == HistoryFault.TOO_LARGE
        workers.reason = "full"
        with pytest.raises(ViewFailedError):
            await home.archives.restore(written(), "r")
