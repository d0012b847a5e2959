from __future__ import annotations

import pytest

from persistence.base import Append, Snapshot, Store, VersionInfo
from persistence.errors import DocumentDeletedError, DocumentMissingError
from tests.contract.past import write

MIB = 1 << 20


async def test_a_named_version_is_kept_with_all_that_was_said_of_it(store: Store, other: Store) -> None:
    await store.append([Append("r", b"1")])

    first = await store.add_version("r", "Draft → 🚄\0", "ann\0 ö", 10, b"state\0one", False)
    second = await other.add_version("r", "", None, 5, b"", True)

    assert 0 < first < second
    assert list(await other.list_versions("r")) == [
        VersionInfo(second, "", 5, None, True, 0),
        VersionInfo(first, "Draft → 🚄\0", 10, "ann\0 ö", False, 9),
    ]
    assert await other.read_version("r", first) == b"state\0one"
    assert await store.read_version("r", second) == b""


async def test_versions_are_listed_in_pages_newest_first(store: Store) -> None:
    await store.append([Append("r", b"1"), Append("other", b"2")])
    ids = [await store.add_version("r", f"v{n % 2}", None, -n, b"", False) for n in range(7)]
    await store.add_version("other", "v", None, 1, b"", False)

    seen: list[int] = []
    while page := await store.list_versions("r", before=seen[-1] if seen else None, limit=3):
        assert len(page) <= 3
        seen += [info.id for info in page]

    assert seen == ids[::-1]
    assert list(await store.list_versions("r", limit=0)) == []
    assert list(await store.list_versions("r", limit=-1)) == []


async def test_a_version_is_of_one_document_only(store: Store) -> None:
    await store.append([Append("a", b"1"), Append("b", b"2")])
    version = await store.add_version("a", "v", None, 1, b"mine", False)

    assert await store.read_version("b", version) is None
    assert not await store.set_pinned("b", version, True)
    assert not await store.rename_version("b", version, "x")
    assert not await store.delete_version("b", version)
    assert list(await store.list_versions("b")) == []
    assert list(await store.list_versions("a")) == [VersionInfo(version, "v", 1, None, False, 4)]


async def test_a_version_can_be_pinned_and_renamed_and_removed(store: Store, other: Store) -> None:
    await store.append([Append("r", b"1")])
    version = await store.add_version("r", "v", "ann", 1, b"state", False)
    kept = await store.add_version("r", "kept", None, 2, b"kept", False)

    assert await store.set_pinned("r", version, True)
    assert await store.set_pinned("r", version, True)
    assert await other.rename_version("r", version, "w")
    assert (await other.list_versions("r"))[1] == VersionInfo(version, "w", 1, "ann", True, 5)
    assert await store.set_pinned("r", version, False)
    assert not (await other.list_versions("r"))[1].pinned

    assert await other.delete_version("r", version)
    assert not await store.delete_version("r", version)
    assert not await store.set_pinned("r", version, True)
    assert not await store.rename_version("r", version, "x")
    assert await store.read_version("r", version) is None
    assert [info.id for info in await store.list_versions("r")] == [kept]


async def test_only_a_document_that_is_there_has_versions(store: Store) -> None:
    with pytest.raises(DocumentMissingError):
        await store.add_version("nowhere", "v", None, 1, b"", False)
    await store.append([Append("r", b"1")])
    await store.delete("r")
    with pytest.raises(DocumentDeletedError):
        await store.add_version("r", "v", None, 1, b"", False)

    assert await store.load("nowhere") is None
    await store.restore_name("r")
    assert await store.load("r") is None
    assert list(await store.list_versions("r")) == []
    assert await store.read_version("nowhere", 1) is None


async def test_a_name_that_is_no_text_is_refused(store: Store) -> None:
    await store.append([Append("r", b"1")])
    version = await store.add_version("r", "v", None, 1, b"", False)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        await store.add_version("r", "\ud800", None, 1, b"", False)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        await store.add_version("r", "v", "\ud800", 1, b"", False)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        await store.rename_version("r", version, "\ud800")

    assert [info.name for info in await store.list_versions("r")] == ["v"]


async def test_a_version_does_not_change_when_the_document_is_compacted(store: Store) -> None:
    await write(store, b"1")
    version = await store.add_version("r", "v", None, 1, b"1", False)
    last = await write(store, b"2", checkpoint=True)

    assert await store.read_version("r", version) == b"1"
    assert [info.id for info in await store.list_segments("r", limit=1)] == [last]


async def test_a_version_of_twenty_megabytes_is_kept(store: Store) -> None:
    data = bytes(range(256)) * (20 * MIB // 256)
    await store.append([Append("r", b"1")])

    version = await store.add_version("r", "big", None, 1, data, True)

    assert await store.read_version("r", version) == data
    assert [info.bytes_total for info in await store.list_versions("r")] == [20 * MIB]


async def test_versions_do_not_count_as_the_document(store: Store) -> None:
    (row,) = await store.append([Append("r", b"1")])
    await store.add_version("r", "v", None, 1, b"state", True)
    await store.compact("r", Snapshot(b"1"), [row.id])

    (info,) = await store.list_documents()
    assert (info.bytes_total, info.updates_count) == (1, 0)
