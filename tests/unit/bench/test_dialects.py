"""Frames as a client makes and reads them, in both framings."""

from __future__ import annotations

import pytest

from bench.generator import dialects
from bench.generator.dialects import HocuspocusDialect, PlainDialect, dialect_for
from bench.target import Dialect
from collab_server.wire.lib0 import encode_var_string


@pytest.mark.parametrize("dialect", [PlainDialect("r"), HocuspocusDialect("r")])
@pytest.mark.parametrize("payload", [b"", b"abc", bytes(127), bytes(128), bytes(100_000)])
def test_what_is_written_reads_back(dialect: PlainDialect | HocuspocusDialect, payload: bytes) -> None:
    assert dialect.read(dialect.step1(payload)) == (dialects.STEP_1, payload)
    assert dialect.read(dialect.step2(payload)) == (dialects.STEP_2, payload)
    assert dialect.read(dialect.update(payload)) == (dialects.UPDATE, payload)
    assert dialect.read(dialect.awareness(payload)) == (dialects.AWARENESS, payload)


def test_a_room_is_a_path_or_the_name_in_each_frame() -> None:
    plain = dialect_for(Dialect.PLAIN, "Zürich 1")
    assert plain.target("/collab", "token=t") == "/collab/Z%C3%BCrich%201?token=t"
    assert dialect_for(Dialect.HOCUSPOCUS, "r").target("", "") == "/"
    assert dialect_for(Dialect.HOCUSPOCUS, "r").update(b"x").startswith(encode_var_string("r"))


def test_a_relay_has_no_document_to_ask_for() -> None:
    assert dialect_for(Dialect.PLAIN, "r").has_server_document
    assert not dialect_for(Dialect.RELAY, "r").has_server_document


def test_hocuspocus_welcomes_and_refuses() -> None:
    dialect = HocuspocusDialect("r")
    name = encode_var_string("r")
    assert dialect.read(name + b"\x02\x02\x0aread-write")[0] == dialects.WELCOME
    assert dialect.read(name + b"\x02\x01\x02no")[0] == dialects.REFUSED
    assert dialect.read(name + b"\x04\x01\x02\x00\x00") == (dialects.STEP_2, b"\x00\x00")
    assert dialect.read(name + b"\x08\x01")[0] == dialects.OTHER
    assert dialect.read(b"\x09")[0] == dialects.OTHER
    assert dialect.read(encode_var_string("other") + b"\x00\x02\x00")[0] == dialects.OTHER


def test_plain_refusals_and_unknown_messages_are_told_apart() -> None:
    dialect = PlainDialect("r")
    assert dialect.read(b"\x02\x00\x02no")[0] == dialects.REFUSED
    assert dialect.read(b"\x66\x00")[0] == dialects.OTHER
    with pytest.raises(IndexError):
        dialect.read(b"")
