from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pycrdt import Array, Doc, Map, Text

from collab_server.views.differences import COUNTED, difference
from tests.support.trips import trip_item, trip_update

HISTORY = Path(__file__).resolve().parents[3] / "docs" / "history.md"


def example() -> dict[str, Any]:
    """The difference that ``docs/history.md`` shows."""
    old = trip_update(
        {
            "title": "A week in Rome",
            "itinerary": [
                {"id": "i1", "day": 1, "title": "Trevi fountain", "cost": 0},
                {"id": "i2", "day": 1, "title": "Dinner", "cost": 40},
                {"id": "i3", "day": 2, "title": "Ferry"},
            ],
            "budget": {"EUR": 1200},
        },
        client_id=1,
    )
    doc: Doc[Any] = Doc(client_id=2)
    doc.apply_update(old)
    with doc.transaction():
        title = doc.get("title", type=Text)
        del title[2:6]
        title.insert(2, "weekend", {"bold": True})
        itinerary = doc.get("itinerary", type=Array)
        itinerary[1]["cost"] = 55
        del itinerary[2]
        del itinerary[0]
        itinerary.append(trip_item({"id": "i1", "day": 1, "title": "Trevi fountain", "cost": 0}))
        doc.get("budget", type=Map)["CHF"] = 80
    return difference(old, doc.get_update(), ["ann"])


def test_the_example_in_the_documentation_is_what_comes_out() -> None:
    blocks = re.findall(r"```json\n(.*?)```", HISTORY.read_text(encoding="utf-8"), re.DOTALL)
    assert example() in [json.loads(block) for block in blocks]


def test_every_count_is_described() -> None:
    text = HISTORY.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in COUNTED)
