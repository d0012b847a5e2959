"""What the real Yjs makes of a restore."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from collab_server.views.restore import restore
from tests.support.node import run_node
from tests.support.random_documents import random_document, random_edits
from tests.support.trips import ARRAY_ROOTS, MAP_ROOTS, TEXT_ROOTS, edited_trip, random_trip, trip_update

SCRIPT = Path(__file__).with_name("restore.mjs")
RANDOM_KINDS = {"notes": "text", "itinerary": "array", "budget": "map", "page": "xml"}
TRIP_KINDS = (
    dict.fromkeys(TEXT_ROOTS, "text") | dict.fromkeys(MAP_ROOTS, "map") | dict.fromkeys(ARRAY_ROOTS, "array")
)


def case(kinds: dict[str, str], live: bytes, target: bytes, meanwhile: bytes) -> bytes:
    change = restore(live, target, client_id=77)
    updates = {"live": live, "target": target, "change": change, "meanwhile": meanwhile}
    encoded: dict[str, Any] = {
        name: base64.b64encode(update).decode() if update else None for name, update in updates.items()
    }
    return json.dumps({"kinds": kinds} | encoded).encode() + b"\n"


def outcomes(cases: list[bytes]) -> list[dict[str, Any]]:
    printed = run_node(SCRIPT, input=b"".join(cases), timeout_s=60).stdout
    found = [json.loads(line) for line in printed.splitlines()]
    assert len(found) == len(cases)
    return found


@pytest.mark.node
def test_yjs_clients_that_hold_a_trip_show_its_earlier_state_after_a_restore() -> None:
    cases = []
    for seed in range(40):
        target = trip_update(random_trip(seed))
        live = edited_trip(target, seed + 1, client_id=2, edits_count=15)
        cases.append(case(TRIP_KINDS, live, target, edited_trip(live, seed + 2, client_id=3)))
    for outcome in outcomes(cases):
        assert outcome["restored"] == outcome["wanted"]
        assert outcome["one"] == outcome["other"]


@pytest.mark.node
def test_yjs_clients_show_what_a_restore_makes_of_every_kind_of_type() -> None:
    cases = []
    for seed in range(150):
        target = random_document(seed)
        live = random_edits(target, seed + 1, client_id=2, edits_count=12)
        cases.append(case(RANDOM_KINDS, live, target, random_edits(live, seed + 2, client_id=3)))
        cases.append(case(RANDOM_KINDS, live, random_document(seed + 1000, client_id=4), live))
    for outcome in outcomes(cases):
        assert outcome["restored"] == outcome["wanted"]
        assert outcome["one"] == outcome["other"]
