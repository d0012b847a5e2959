"""What goes wrong in a way that a load tester can mend: one line, and no traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """The text is one line for the person at the command line."""


def meant(word: str, known: Iterable[str]) -> str:
    """The end of a complaint about an unknown word: what was probably meant, or what there is."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"there are: {', '.join(names)}"
