"""The history drawer of the playground in a real browser, with the real history behind it."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from tests.browser.conftest import Playground

pytestmark = [pytest.mark.browser, pytest.mark.node]

_SCENARIOS = Path(__file__).with_name("history.mjs")


@pytest.fixture
def play(own_playground: Playground) -> functools.partial[None]:
    """Runs a scenario of ``history.mjs``."""
    return functools.partial(own_playground.play, script=_SCENARIOS)


def test_the_drawer_lists_versions_and_shows_the_trip_as_it_was(play: functools.partial[None]) -> None:
    play("versions")


def test_what_changed_is_told_in_sentences_and_marked_not_by_colour_alone(
    play: functools.partial[None],
) -> None:
    play("changes")


def test_a_restore_is_seen_by_everybody_at_once_and_undone_by_the_toast(
    play: functools.partial[None],
) -> None:
    play("restore")


def test_a_version_can_be_named_pinned_restored_and_deleted(play: functools.partial[None]) -> None:
    play("named")


def test_everything_can_be_done_by_keyboard_and_the_focus_comes_back(play: functools.partial[None]) -> None:
    play("keyboard")


def test_an_empty_history_or_one_that_is_away_is_told_in_words(play: functools.partial[None]) -> None:
    play("away")


def test_a_long_history_is_loaded_page_by_page(play: functools.partial[None]) -> None:
    play("many")


def test_edits_of_others_while_the_drawer_is_open_are_offered(play: functools.partial[None]) -> None:
    play("newer")


def test_versions_of_a_document_of_another_shape_can_be_looked_at(play: functools.partial[None]) -> None:
    play("hostile")


def test_a_phone_shows_the_history_over_the_whole_window(play: functools.partial[None]) -> None:
    play("phone")
