"""Bytes of all kinds at every decoder: a value or a ``PeerError``, and no more out of it than went in."""

from __future__ import annotations

from collections.abc import Callable

from collab_server.errors import PeerError
from collab_server.wire import hocuspocus, sync
from collab_server.wire.awareness import AwarenessBounds, decode_awareness, encode_awareness
from collab_server.ydoc.inspection import inspect
from collab_server.ydoc.log import DocumentLog
from collab_server.ydoc.statevector import decode_state_vector, encode_state_vector
from collab_server.ydoc.update import collect, since, splice, squash
from tests.fuzz.material import Material

CLOSE_REASON_BYTES_MAX = 123
_ADDRESSES = ("room", "room\0session", "", "ü" * 50, "a\0b\0c")
_GROWTH_MAX = 4
"""A spliced or squashed update may need more bytes than it came in: for GC and Skip structs, and headers."""


def run(seed: int, rounds: int) -> None:
    """So many messages of one seed."""
    material = Material(seed)
    for _ in range(rounds):
        whole = material.plain()
        mux = material.multiplexed(_ADDRESSES, ("", "t" * 300))
        for data in (whole, mux, material.bent(whole), material.bent(mux), material.dice.randbytes(20)):
            _try(sync.decode, data)
            _try(_read_multiplexed, data)
        update = material.update()
        for data in (update, material.bent(update), material.dice.randbytes(30)):
            _try(_take_update, data)
        vector = material.state_vector()
        for data in (vector, material.bent(vector)):
            _try(_read_vector, data)
        awareness = material.awareness()[1:]
        for data in (awareness, material.bent(awareness)):
            _try(_read_awareness, data)


def _try(work: Callable[[bytes], object], data: bytes) -> None:
    try:
        work(data)
    except PeerError as error:
        if len(error.reason.encode()) > CLOSE_REASON_BYTES_MAX:
            raise AssertionError("a reason must fit into a close frame") from error


def _read_multiplexed(data: bytes) -> None:
    address, at = hocuspocus.read_address(data)
    assert len(address) <= len(data)
    hocuspocus.room_bytes(address)
    hocuspocus.session_bytes(address)
    hocuspocus.decode(data, at)


def _read_vector(data: bytes) -> None:
    vector = decode_state_vector(data)
    known = {client: clock for client, clock in vector.items() if clock}
    assert decode_state_vector(encode_state_vector(known)) == known


def _read_awareness(data: bytes) -> None:
    entries = decode_awareness(data, AwarenessBounds())
    again = decode_awareness(encode_awareness(entries), AwarenessBounds())
    assert again == entries


def _take_update(data: bytes) -> None:
    inspected = inspect(data)
    log = DocumentLog()
    novelty = log.add(inspected)
    if novelty.update is not None:
        inspect(novelty.update)
    log.fold()
    bound = _GROWTH_MAX * len(data) + 64
    for made in (log.encode(), splice([data, data]), squash(data), collect(data), since(data, {1: 1})):
        inspect(made)
        assert len(made) <= bound, (len(made), len(data))
