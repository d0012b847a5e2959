"""Versions of a document: what they are called, how they are listed, where the store keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from collab_server.errors import HistoryError, HistoryFault
from persistence.base import HistoryPart, SegmentInfo, Store, VersionInfo

_ID_DIGITS_MAX = 18


@dataclass(frozen=True, slots=True)
class Version:
    """A line of the list of versions."""

    id: str
    at_ms: int
    """When the document was so."""
    from_ms: int
    """When the first edit since the version before came; for a named version the same as ``at_ms``."""
    authors: Sequence[str]
    """Who edited since the version before; who named it, for a named one."""
    updates_count: int
    bytes_total: int
    name: str | None = None
    pinned: bool = False

    @property
    def is_named(self) -> bool:
        """Whether somebody named it."""
        return self.id.startswith("v")

    @property
    def number(self) -> int:
        """The number in its id."""
        return int(self.id[1:])


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions, newest first, and the cursor of the next page; None when this is the last one."""

    versions: Sequence[Version]
    next: str | None


async def list_page(store: Store, room: str, cursor: str | None, limit: int) -> VersionPage:
    """Versions, newest first, from a cursor on. Raises HistoryError for one that no page gave."""
    before_segment, before_version = parse_cursor(cursor)
    segments = await store.list_segments(room, before=before_segment, limit=limit + 1)
    named = await store.list_versions(room, before=before_version, limit=limit + 1)
    page = list(newest_first([*map(automatic_version, segments)], [*map(named_version, named)]))
    if len(page) <= limit:
        return VersionPage(page, None)
    del page[limit:]
    for version in page:
        if version.is_named:
            before_version = version.number
        else:
            before_segment = version.number
    return VersionPage(page, f"{before_segment or ''}.{before_version or ''}")


async def read_parts(store: Store, room: str, version: Version) -> list[bytes] | None:
    """What has to be spliced to have the document as it was; None if that is not there any more."""
    if version.is_named:
        data = await store.read_version(room, version.number)
        return None if data is None else [data]
    part = await store.read_history(room, segment=version.number)
    return None if part is None else parts_of(part)


def parts_of(part: HistoryPart) -> list[bytes]:
    """What has to be spliced, oldest first."""
    return [*part.segments] if part.checkpoint is None else [part.checkpoint, *part.segments]


async def find_version(store: Store, room: str, version_id: str) -> Version | None:
    """The version of this id; None if there is none. Raises HistoryError for what is no id."""
    number = _number(version_id)
    if version_id[0] == "s":
        segments = await store.list_segments(room, before=number + 1, limit=1)
        return automatic_version(segments[0]) if segments and segments[0].id == number else None
    named = await store.list_versions(room, before=number + 1, limit=1)
    return named_version(named[0]) if named and named[0].id == number else None


def automatic_version(info: SegmentInfo) -> Version:
    """The version that the end of a segment is."""
    return Version(
        f"s{info.id}", info.to_ms, info.from_ms, tuple(info.authors), info.updates_count, info.bytes_total
    )


def named_version(info: VersionInfo) -> Version:
    """The version that somebody named."""
    authors = (info.author,) if info.author is not None else ()
    return Version(
        f"v{info.id}", info.at_ms, info.at_ms, authors, 0, info.bytes_total, info.name, info.pinned
    )


def newest_first(automatic: list[Version], named: list[Version]) -> Iterator[Version]:
    """Both lists as one; each keeps its own order, so that a cursor into each is enough to go on."""
    i = j = 0
    while i < len(automatic) or j < len(named):
        if j < len(named) and (i == len(automatic) or named[j].at_ms >= automatic[i].at_ms):
            yield named[j]
            j += 1
        else:
            yield automatic[i]
            i += 1


def _number(version_id: str) -> int:
    digits = version_id[1:]
    if version_id[:1] not in ("s", "v") or not (digits.isascii() and digits.isdigit()):
        raise unknown_version(version_id)
    if len(digits) > _ID_DIGITS_MAX:
        raise unknown_version(version_id)
    return int(digits)


def number_of_named(version_id: str) -> int:
    """The number of a named version. Raises HistoryError for any other."""
    number = _number(version_id)
    if version_id[0] != "v":
        raise HistoryError(
            HistoryFault.AUTOMATIC, f"{version_id} is an automatic version; it goes when retention takes it"
        )
    return number


def parse_cursor(cursor: str | None) -> tuple[int | None, int | None]:
    """The segment and the named version below which a page begins. Raises HistoryError."""
    if cursor is None:
        return None, None
    numbers = cursor.split(".")
    if len(numbers) != 2 or any(
        number and not (number.isascii() and number.isdigit() and len(number) <= _ID_DIGITS_MAX)
        for number in numbers
    ):
        raise HistoryError(HistoryFault.BAD_CURSOR, "the cursor is not one that this list gave out")
    return int(numbers[0]) if numbers[0] else None, int(numbers[1]) if numbers[1] else None


def unknown_version(version_id: str) -> HistoryError:
    """There is no such version."""
    return HistoryError(HistoryFault.UNKNOWN_VERSION, f"there is no version {version_id[:40]!r}")
