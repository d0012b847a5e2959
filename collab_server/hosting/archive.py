"""One document with all its history as one file: a zip of five entries, written and read without trust.

    manifest.json      what it is, and a line for each part of the history, with its length in bytes
    document.update    the whole document as one Yjs update (v1)
    segments.bin       the updates of each segment, one after the other in the manifest's order, oldest first
    checkpoints.bin    the full states at places of that line
    versions.bin       the full states that were named

Pure functions on bytes that run in a worker process: whoever sends a file that swells, lies or nests harms
that worker. Nothing is written to a store before all of it has been looked at.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collab_server.errors import HistoryError, HistoryFault, PeerError
from collab_server.hosting.folding import Past, fold
from collab_server.version import version
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from persistence.base import (
    DocumentDump,
    DumpedCheckpoint,
    DumpedSegment,
    DumpedVersion,
    HistorySize,
    Snapshot,
    StoredDocument,
)

FORMAT = "collab-server document"
FORMAT_VERSION = 1
MEDIA_TYPE = "application/zip"

MANIFEST = "manifest.json"
DOCUMENT = "document.update"
SEGMENTS = "segments.bin"
CHECKPOINTS = "checkpoints.bin"
VERSIONS = "versions.bin"
ENTRIES = (MANIFEST, DOCUMENT, SEGMENTS, CHECKPOINTS, VERSIONS)

NAME_CHARACTERS_MAX = 200
"""Length of a version's name."""
_MANIFEST_BYTES_MAX = 32 * 1024 * 1024
_AUTHOR_CHARACTERS_MAX = 512
_AUTHORS_MAX = 10_000
_PARTS_MAX = 1_000_000
_TIME_MAX_MS = 253_402_300_799_999
"""The end of the year 9999."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DEFLATE_LEVEL = 6

_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error, EOFError, OSError),
    *(NotImplementedError, RuntimeError, ValueError, LookupError, OverflowError),
)
"""What ``zipfile`` raises over bytes that were not written by it."""

TimeMs = Annotated[int, Field(ge=0, le=_TIME_MAX_MS)]
Length = Annotated[int, Field(ge=0, le=1 << 40)]
_LINE = r"^[^\x00-\x1f\x7f]+$"
VersionName = Annotated[str, Field(min_length=1, max_length=NAME_CHARACTERS_MAX, pattern=_LINE)]
"""What a version may be called: one line."""
User = Annotated[str, Field(min_length=1, max_length=_AUTHOR_CHARACTERS_MAX, pattern=_LINE)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Segment(_Line):
    bytes: Length
    from_ms: TimeMs
    to_ms: TimeMs
    authors: Annotated[list[User], Field(max_length=_AUTHORS_MAX)]
    updates: Annotated[int, Field(ge=0, le=1_000_000_000)]


class _Checkpoint(_Line):
    bytes: Length
    at_ms: TimeMs
    after_segments: Annotated[int, Field(ge=0, le=_PARTS_MAX)]


class _Version(_Line):
    bytes: Length
    at_ms: TimeMs
    name: VersionName
    author: User | None
    pinned: bool


class _Manifest(_Line):
    format: Literal["collab-server document"]
    version: int
    room: Annotated[str, Field(min_length=1, max_length=4096)]
    written_by: Annotated[str, Field(max_length=200)]
    exported_at_ms: TimeMs
    created_at_ms: TimeMs
    changed_at_ms: TimeMs
    segments: Annotated[list[_Segment], Field(max_length=_PARTS_MAX)]
    checkpoints: Annotated[list[_Checkpoint], Field(max_length=_PARTS_MAX)]
    versions: Annotated[list[_Version], Field(max_length=_PARTS_MAX)]


Line = TypeVar("Line", _Segment, _Checkpoint, _Version)


@dataclass(frozen=True, slots=True)
class ArchiveBounds:
    """What an archive may hold."""

    bytes_max: int
    """Everything in it, unpacked."""
    room_name_bytes_max: int
    document: Bounds
    """What its document, and each state in its history, may be."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an archive was not taken."""

    fault: HistoryFault
    message: str


def write_archive(dump: DocumentDump, exported_at_ms: int, past: Past, bounds: Bounds) -> bytes:
    """The archive of a dump. Rows that no compaction has absorbed yet become segments first.

    Raises:
        MalformedError: the store holds something that is no update.
    """
    document, more = _folded(dump, past, bounds)
    segments = [*dump.segments, *more]
    manifest = _Manifest(
        format="collab-server document",
        version=FORMAT_VERSION,
        room=dump.room,
        written_by=f"collab-server {version()}",
        exported_at_ms=exported_at_ms,
        created_at_ms=dump.created_at_ms,
        changed_at_ms=dump.changed_at_ms,
        segments=[
            _Segment(
                bytes=len(part.data),
                from_ms=part.from_ms,
                to_ms=part.to_ms,
                authors=list(part.authors),
                updates=part.updates_count,
            )
            for part in segments
        ],
        checkpoints=[
            _Checkpoint(bytes=len(part.data), at_ms=part.at_ms, after_segments=part.after_segments)
            for part in dump.checkpoints
        ],
        versions=[
            _Version(
                bytes=len(part.data), at_ms=part.at_ms, name=part.name, author=part.author, pinned=part.pinned
            )
            for part in dump.versions
        ],
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_DEFLATE_LEVEL) as archive:
        archive.writestr(MANIFEST, manifest.model_dump_json(indent=1))
        archive.writestr(DOCUMENT, document)
        for name, parts in (
            (SEGMENTS, [part.data for part in segments]),
            (CHECKPOINTS, [part.data for part in dump.checkpoints]),
            (VERSIONS, [part.data for part in dump.versions]),
        ):
            with archive.open(name, "w", force_zip64=True) as entry:
                for part in parts:
                    entry.write(part)
    return file.getvalue()


def read_archive(data: bytes, room: str | None, bounds: ArchiveBounds) -> DocumentDump:
    """What an archive holds, checked down to the last update.

    Args:
        data: the file.
        room: the name to give it; None for the one that it had.
        bounds: what it may hold.

    Raises:
        HistoryError: it is no archive, damaged, or over a bound; one line says what.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_entries(archive, bounds.bytes_max)
            manifest = _read_manifest(archive)
            contents = {name: archive.read(name) for name in ENTRIES[1:]}
    except _ZIP_ERRORS as error:
        raise _bad(f"it is not a zip file, or it is damaged ({error})") from error
    name = manifest.room if room is None else room
    if len(name.encode("utf-8", "surrogatepass")) > bounds.room_name_bytes_max:
        raise _bad(f"the room's name is longer than {bounds.room_name_bytes_max} bytes")
    document = contents[DOCUMENT]
    index = _check_state(document, DOCUMENT, bounds.document)
    segments = [
        DumpedSegment(part, line.from_ms, line.to_ms, tuple(line.authors), line.updates)
        for line, part in _parts(SEGMENTS, manifest.segments, contents)
    ]
    for number, segment in enumerate(segments):
        _check_update(segment.data, f"segment {number}", bounds.document)
    checkpoints = [
        DumpedCheckpoint(part, line.at_ms, line.after_segments)
        for line, part in _parts(CHECKPOINTS, manifest.checkpoints, contents)
    ]
    versions = [
        DumpedVersion(line.name, line.at_ms, line.author, line.pinned, part)
        for line, part in _parts(VERSIONS, manifest.versions, contents)
    ]
    _check_line(segments, checkpoints)
    states = [part.data for part in checkpoints] + [part.data for part in versions]
    for number, state in enumerate(states):
        _check_state(state, f"state {number} of the history", bounds.document)
    stored = StoredDocument(name, Snapshot(document, index), ())
    return DocumentDump(
        name, stored, manifest.created_at_ms, manifest.changed_at_ms, segments, checkpoints, versions
    )


def looked_through(data: bytes, room: str | None, bounds: ArchiveBounds) -> DocumentDump | Refusal:
    """``read_archive`` for a worker, whose errors reach nobody by their type."""
    try:
        return read_archive(data, room, bounds)
    except HistoryError as error:
        return Refusal(error.fault, str(error))


def _folded(dump: DocumentDump, past: Past, bounds: Bounds) -> tuple[bytes, list[DumpedSegment]]:
    if dump.stored.snapshot is not None and not dump.stored.updates:
        return dump.stored.snapshot.data, []
    until_ms = dump.segments[-1].to_ms if dump.segments else 0
    folded = fold(dump.stored, Past(HistorySize(), until_ms, past.is_kept, past.rule), bounds)
    return folded.compacted.data, [
        DumpedSegment(part.data, part.from_ms, part.to_ms, tuple(part.authors), part.updates_count)
        for part in folded.segments
    ]


def _check_entries(archive: zipfile.ZipFile, bytes_max: int) -> None:
    """By what the directory of the zip says; what comes out is held to that by its checksum and length."""
    entries = archive.infolist()
    if sorted(entry.filename for entry in entries) != sorted(ENTRIES):
        raise _bad(f"it does not hold exactly {', '.join(ENTRIES)}")
    for entry in entries:
        if entry.flag_bits & 1:
            raise _bad(f"{entry.filename} is encrypted")
        if entry.compress_type not in _METHODS:
            raise _bad(f"{entry.filename} is compressed in a way that is not taken")
    total = sum(entry.file_size for entry in entries)
    if total > bytes_max or archive.getinfo(MANIFEST).file_size > _MANIFEST_BYTES_MAX:
        raise HistoryError(
            HistoryFault.TOO_LARGE, f"the archive holds {total} bytes, over archive_bytes_max ({bytes_max})"
        )


def _read_manifest(archive: zipfile.ZipFile) -> _Manifest:
    raw = archive.read(MANIFEST)
    try:
        head = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _bad(f"{MANIFEST} is not JSON") from error
    if not isinstance(head, dict) or head.get("format") != FORMAT:
        raise _bad(f"{MANIFEST} does not say that this is a {FORMAT}")
    if head.get("version") != FORMAT_VERSION:
        raise _bad(f"its format has version {head.get('version')!r:.20}; this server reads {FORMAT_VERSION}")
    try:
        return _Manifest.model_validate_json(raw)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(step) for step in fault["loc"]) or "it is not JSON"
        raise _bad(f"{MANIFEST}: {place}: {fault['msg']}") from error


def _parts(name: str, lines: Sequence[Line], contents: dict[str, bytes]) -> Iterator[tuple[Line, bytes]]:
    data = contents[name]
    if sum(line.bytes for line in lines) != len(data):
        raise _bad(f"{name} is not as long as {MANIFEST} says")
    at = 0
    for line in lines:
        yield line, data[at : at + line.bytes]
        at += line.bytes


def _check_line(segments: Sequence[DumpedSegment], checkpoints: Sequence[DumpedCheckpoint]) -> None:
    until_ms = 0
    for segment in segments:
        if not until_ms <= segment.from_ms <= segment.to_ms:
            raise _bad("its segments are not in the order of time")
        until_ms = segment.to_ms
    places = [checkpoint.after_segments for checkpoint in checkpoints]
    if places != sorted(places) or any(place > len(segments) for place in places):
        raise _bad("its checkpoints are not where segments end")


def _check_update(data: bytes, name: str, bounds: Bounds) -> None:
    try:
        inspect(data, bounds)
    except PeerError as error:
        raise _bad(f"{name} is not a Yjs update: {error.reason}") from error


def _check_state(data: bytes, name: str, bounds: Bounds) -> bytes:
    """Whether it is a document within bounds; its index, with which it is opened without a walk."""
    try:
        log = DocumentLog(bounds)
        log.add(inspect(data, bounds))
        return DocumentLog.open(data, b"", (), bounds).index()
    except PeerError as error:
        raise _bad(f"{name} is not a document that could be here: {error.reason}") from error


def _bad(message: str) -> HistoryError:
    return HistoryError(HistoryFault.BAD_ARCHIVE, f"this is not an archive that can be read: {message}")
