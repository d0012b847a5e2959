"""The playground in a real browser; each scenario also asserts: no error is logged, nobody else is asked."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from collab_server.api import pages
from tests.browser.conftest import Playground
from tests.interop.conftest import SECRET, token
from tests.support.server import ServerProcess

pytestmark = [pytest.mark.browser, pytest.mark.node]


def test_two_pages_end_with_the_same_trip_after_writing_at_once(playground: Playground) -> None:
    playground.play("converge")


def test_each_page_shows_who_is_there_and_where_the_other_writes(playground: Playground) -> None:
    playground.play("presence")


def test_a_caret_stays_at_its_text_while_somebody_else_writes_before_it(playground: Playground) -> None:
    playground.play("caret")


def test_edits_of_both_sides_meet_when_an_offline_page_comes_back(playground: Playground) -> None:
    playground.play("offline")


def test_a_reload_keeps_what_was_written_offline(playground: Playground) -> None:
    playground.play("reload")


def test_undo_takes_back_only_what_this_page_did(playground: Playground) -> None:
    playground.play("undo")


def test_an_item_that_is_moved_keeps_what_somebody_else_types_in_it(playground: Playground) -> None:
    playground.play("move")


def test_the_budget_counts_the_costs_of_what_is_not_cancelled(playground: Playground) -> None:
    playground.play("budget")


def test_a_document_or_a_presence_of_another_shape_does_not_break_the_page(playground: Playground) -> None:
    playground.play("hostile")


def test_a_phone_sees_everything_without_scrolling_sideways(playground: Playground) -> None:
    playground.play("phone")


@pytest.mark.parametrize(
    ("code", "comes_back"),
    [
        (4400, False),
        (4401, False),
        (4403, False),
        (4404, False),
        (4413, False),
        (1009, False),
        (1012, True),
        (4503, True),
    ],
)
def test_a_close_code_is_told_in_words_and_obeyed(
    playground: Playground, code: int, comes_back: bool
) -> None:
    playground.play("closed", str(code), "again" if comes_back else "final")


def test_saved_is_said_only_when_the_server_has_answered(playground: Playground) -> None:
    playground.play("unconfirmed")


def test_saved_is_said_after_the_commit(own_playground: Playground) -> None:
    own_playground.play("saved")


def test_a_trip_is_as_it_was_after_the_server_was_killed(
    own_playground: Playground, server_factory: Callable[..., ServerProcess]
) -> None:
    server = server_factory()
    place = Playground(f"{server.http_url}/playground/", server)
    room = place.room()
    place.play("write", room=room)
    server.restart(kill=True)
    place.play("read", room=room)


def test_a_token_is_asked_for_and_what_it_does_not_allow_can_be_taken_back(
    own_playground: Playground, server_factory: Callable[..., ServerProcess]
) -> None:
    server = server_factory(jwt_secret=SECRET)
    place = Playground(f"{server.http_url}/playground/", server)
    room = place.room()
    place.play(
        "token",
        token({room: "editor"}),
        token({room: {"role": "editor", "roots": ["notes"]}}, "ben"),
        room=room,
    )


def test_the_committed_page_names_no_other_host() -> None:
    page = (pages.FOLDER / "index.html").read_text()
    found = re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert {link for link in found if not link.startswith(("#", "data:"))} == {"app.css", "app.js"}
