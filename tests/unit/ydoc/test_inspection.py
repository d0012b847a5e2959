"""What ``inspect`` takes, and what it refuses."""

from __future__ import annotations

import pytest

from collab_server.errors import CloseCode, MalformedError, TooBigError
from collab_server.wire.lib0 import encode_var_string
from collab_server.ydoc.bounds import Bounds
from collab_server.ydoc.inspection import inspect
from tests.support.ydocs import array_type, gc, item, skip, string, update, varints

BIG = 2**53 - 1


def _refused(data: bytes) -> str:
    with pytest.raises(MalformedError) as caught:
        inspect(data)
    assert len(caught.value.reason.encode()) <= 123
    return caught.value.reason


def test_an_empty_update_brings_nothing() -> None:
    assert inspect(b"\x00\x00").is_empty


def test_no_bytes_are_not_an_update() -> None:
    _refused(b"")


def test_a_section_tells_its_client_its_clocks_and_its_bytes() -> None:
    data = update((7, 3, [string("ab", origin=(7, 2)), gc(4)]), (0, 0, [string("x")]))
    first, second = inspect(data).sections
    assert (first.client, first.clock, first.end, first.count) == (7, 3, 9, 2)
    assert data[first.at : first.until] == string("ab", origin=(7, 2)) + gc(4)
    assert (second.client, second.clock, second.end) == (0, 0, 1)


@pytest.mark.parametrize(
    ("text", "units"), [("abc", 3), ("ß", 1), ("日本", 2), ("😀", 2), ("a😀b", 4), ("x" * 300, 300)]
)
def test_text_counts_in_utf16_units(text: str, units: int) -> None:
    assert inspect(update((1, 0, [string(text)]))).sections[0].end == units


CONTENTS = {
    "deleted": (1, varints(5), 5),
    "json": (2, varints(2) + encode_var_string('{"a":1}') + encode_var_string("undefined"), 2),
    "binary": (3, varints(3) + b"\x00\xff\x80", 1),
    "embed": (5, encode_var_string('{"image":"x"}'), 1),
    "format": (6, encode_var_string("bold") + encode_var_string("true"), 1),
    "array": (7, varints(0), 1),
    "map": (7, varints(1), 1),
    "text": (7, varints(2), 1),
    "element": (7, varints(3) + encode_var_string("p"), 1),
    "fragment": (7, varints(4), 1),
    "hook": (7, varints(5) + encode_var_string("h"), 1),
    "xmltext": (7, varints(6), 1),
    "any": (8, varints(3) + b"\x7f\x7e" + b"\x7d\x41", 3),
    "any float32": (8, varints(1) + b"\x7c\x00\x00\x00\x00", 1),
    "any float64": (8, varints(1) + b"\x7b" + bytes(8), 1),
    "any bigint": (8, varints(1) + b"\x7a" + bytes(8), 1),
    "any booleans": (8, varints(2) + b"\x79\x78", 2),
    "any string": (8, varints(1) + b"\x77" + encode_var_string("😀"), 1),
    "any object": (
        8,
        varints(1) + b"\x76\x02" + encode_var_string("k") + b"\x76\x00" + encode_var_string("l") + b"\x7e",
        1,
    ),
    "any array": (8, varints(2) + b"\x75\x02\x75\x00\x7e" + b"\x7e", 2),
    "any bytes": (8, varints(1) + b"\x74\x02\x00\xff", 1),
    "doc": (9, encode_var_string("guid") + b"\x76\x01" + encode_var_string("gc") + b"\x79", 1),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_kind_of_content_is_measured_and_every_shorter_form_refused(name: str) -> None:
    ref, content, length = CONTENTS[name]
    data = update((1, 0, [item(ref, content), string("after", origin=(1, length - 1))]))
    section = inspect(data).sections[0]
    assert section.end == length + 5
    assert data[section.at : section.until].startswith(item(ref, content))
    for size in range(len(data)):
        _refused(data[:size])
    _refused(data + b"\x00")


@pytest.mark.parametrize(
    "struct",
    [
        pytest.param(item(11, b"\x01"), id="unknown content"),
        pytest.param(item(31, b"\x01"), id="unknown content, highest"),
        pytest.param(item(7, varints(7)), id="unknown type"),
        pytest.param(item(8, b"\x01\x73"), id="unknown any tag"),
        pytest.param(item(8, b"\x01\x80"), id="any tag over 127"),
        pytest.param(item(8, b"\x00"), id="no values"),
        pytest.param(item(2, b"\x00"), id="no json values"),
        pytest.param(item(1, b"\x00"), id="nothing deleted"),
        pytest.param(string(""), id="empty text"),
        pytest.param(gc(0), id="empty gc"),
        pytest.param(skip(0), id="empty skip"),
        pytest.param(b"\x80" + varints(1, 0, 5), id="gc with an origin"),
        pytest.param(b"\x20" + varints(5), id="gc with a key"),
        pytest.param(b"\x8a" + varints(1, 0, 5), id="skip with an origin"),
        pytest.param(item(4, b"\x01\xff"), id="text of one bad byte"),
        pytest.param(item(4, b"\x03\xed\xa0\x80"), id="half a surrogate pair in UTF-8"),
        pytest.param(item(4, b"\x02\xc0\x80"), id="over-long UTF-8"),
        pytest.param(b"\x04\x01\x01\xff\x01a", id="root name that is not UTF-8"),
        pytest.param(b"\x24\x01\x01r\x01\xff\x01a", id="key that is not UTF-8"),
        pytest.param(item(5, encode_var_string("{")), id="embed that is not JSON"),
        pytest.param(item(5, encode_var_string("NaN")), id="embed of NaN"),
        pytest.param(item(5, encode_var_string("undefined")), id="embed of undefined"),
        pytest.param(
            item(6, encode_var_string("b") + encode_var_string("tru")), id="format that is not JSON"
        ),
        pytest.param(item(2, b"\x01" + encode_var_string("'x'")), id="json that is not JSON"),
        pytest.param(item(9, encode_var_string("g") + b"\x7e"), id="subdocument with null for options"),
        pytest.param(item(9, encode_var_string("g") + b"\x7f"), id="subdocument without options"),
        pytest.param(item(8, b"\x01\x7d" + b"\xff" * 9 + b"\x7f"), id="integer out of range"),
        pytest.param(string("x", origin=(1, 0)), id="its own origin"),
        pytest.param(string("x", right=(1, 5)), id="a right origin of its own future"),
        pytest.param(string("x", parent=(1, 0)), id="its own parent"),
    ],
)
def test_what_a_client_would_choke_on_is_refused(struct: bytes) -> None:
    _refused(update((1, 0, [struct])))


def test_counts_that_nothing_stands_behind_cost_nothing() -> None:
    for data in (
        varints(2**29),
        varints(1, 2**29, 1, 0),
        varints(0, 2**29),
        varints(0, 1, 1, 2**29),
        varints(1, 1, 1, 0) + item(8, varints(2**50)),
        varints(1, 1, 1, 0) + item(8, b"\x01\x75" + varints(2**50)),
        varints(1, 1, 1, 0) + item(4, varints(2**50)),
        varints(1, 1, 1, 0) + item(2, varints(2**50)),
    ):
        _refused(data)


def test_clocks_end_where_javascript_stops_counting() -> None:
    assert inspect(update((1, BIG - 1, [gc(1)]))).sections[0].end == BIG
    assert "clock" in _refused(update((1, BIG, [gc(1)])))
    assert "clock" in _refused(update((1, 0, [gc(BIG), gc(BIG)])))
    assert "deletion" in _refused(update(deletes=[(1, BIG, 1)]))
    _refused(varints(1, 1, 1) + b"\xff" * 7 + b"\x7f" + gc(1) + b"\x00")


@pytest.mark.parametrize("levels", [499, 500])
@pytest.mark.parametrize("opening", [b"\x75\x01", b"\x76\x01\x01k"])
def test_values_may_be_nested_up_to_the_bound(levels: int, opening: bytes) -> None:
    inspect(update((1, 0, [item(8, b"\x01" + opening * levels + b"\x7e")])))


@pytest.mark.parametrize("levels", [501, 100_000])
@pytest.mark.parametrize("opening", [b"\x75\x01", b"\x76\x01\x01k"])
def test_values_nested_deeper_are_refused(levels: int, opening: bytes) -> None:
    assert "deep" in _refused(update((1, 0, [item(8, b"\x01" + opening * levels + b"\x7e")])))
    assert "deep" in _refused(update((1, 0, [item(9, b"\x01g" + opening * levels + b"\x7e")])))


@pytest.mark.parametrize("levels", [501, 100_000])
def test_json_nested_deeper_is_refused(levels: int) -> None:
    for text in ("[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels):
        assert "deep" in _refused(update((1, 0, [item(5, encode_var_string(text))])))


def test_brackets_inside_of_json_strings_are_no_depth() -> None:
    text = '{"a":"' + "[{" * 2000 + '\\"[[' + '"}'
    inspect(update((1, 0, [item(5, encode_var_string(text))])))


def test_json_of_absurdly_many_values_is_refused() -> None:
    bounds = Bounds(json_values_max=100)
    inspect(update((1, 0, [item(5, encode_var_string("[" + "1," * 90 + "1]"))])), bounds)
    inspect(update((1, 0, [item(5, encode_var_string('["' + "1," * 900 + '1"]'))])), bounds)
    with pytest.raises(MalformedError, match="many"):
        inspect(update((1, 0, [item(5, encode_var_string("[" + "1," * 120 + "1]"))])), bounds)


def test_a_number_of_many_digits_is_json() -> None:
    inspect(update((1, 0, [item(5, encode_var_string("9" * 5000))])))


def test_an_update_over_its_bound_is_too_big() -> None:
    data = update((1, 0, [string("x" * 50)]))
    inspect(data, Bounds(update_bytes_max=len(data)))
    with pytest.raises(TooBigError) as caught:
        inspect(data, Bounds(update_bytes_max=len(data) - 1))
    assert caught.value.close_code is CloseCode.TOO_BIG


def test_sections_without_structs_and_empty_deletions_are_passed_over() -> None:
    data = update((5, 9, []), (1, 0, [string("a")]), deletes=[(1, 4, 0)])
    inspected = inspect(data)
    assert [section.client for section in inspected.sections] == [1]
    assert not inspected.spans


def test_deletions_come_in_any_order() -> None:
    data = varints(0) + varints(2, 1, 3, 9, 1, 4, 2, 5, 2, 1, 1, 0, 1)
    assert list(inspect(data).spans) == [1, 9, 10, 1, 4, 6, 1, 5, 7, 1, 0, 1]


def test_ids_of_others_that_must_be_there_are_noted() -> None:
    data = update(
        (
            1,
            5,
            [string("a", origin=(2, 3), right=(3, 4)), array_type(parent=(4, 9)), string("b", origin=(1, 6))],
        )
    )
    assert inspect(data).sections[0].needs == [2, 3, 3, 4, 4, 9]


def test_text_that_goes_on_where_it_was_is_noted_nowhere() -> None:
    data = update(
        (1, 5, [string("a", origin=(1, 4)), string("b", origin=(1, 5)), string("c", origin=(1, 6))])
    )
    section = inspect(data).sections[0]
    assert section.needs == section.anchors == []


def test_a_big_update_is_walked_again_rather_than_noted() -> None:
    many = [string("a", origin=(2, 0), right=(3, 0)) for _ in range(20_000)]
    inspected = inspect(update((1, 0, many)))
    assert not inspected.plain
    assert len(inspected.sections[0].needs) + len(inspected.sections[0].anchors) < 40_000


def test_a_client_that_comes_twice_and_gaps_are_seen() -> None:
    assert not inspect(update((1, 0, [string("a")]), (1, 1, [string("b")]))).plain
    assert not inspect(update((1, 0, [skip(5), string("b")]))).plain
    assert inspect(update((1, 0, [string("a")]), (2, 1, [string("b")]))).plain


def test_structs_and_deletions_of_one_update_are_bounded_in_number() -> None:
    bounds = Bounds(update_parts_max=10)
    for made in (update((1, 0, [gc(1)] * 10)), update(deletes=[(1, 2 * n, 1) for n in range(10)])):
        inspect(made, bounds)
    for made in (
        update((1, 0, [gc(1)] * 11)),
        update((1, 0, [gc(1)] * 6), (2, 0, [gc(1)] * 6)),
        update(deletes=[(1, 2 * n, 1) for n in range(11)]),
    ):
        with pytest.raises(TooBigError):
            inspect(made, bounds)
