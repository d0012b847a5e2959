"""Run an async test on uvloop, as the server does, and on asyncio's own loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

Test = Callable[..., Coroutine[Any, Any, None]]


def on_both_loops(test: Test) -> Callable[..., None]:
    """Make an async test a synchronous one with a parameter for the loop; fixtures work as before."""

    def run(new_loop: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(**fixtures))

    signature = inspect.signature(test)
    loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    parameters = [*signature.parameters.values(), loop]
    # pytest reads the signature to find the fixtures.
    setattr(run, "__signature__", signature.replace(parameters=parameters))  # noqa: B010
    run.__name__ = test.__name__
    loops = pytest.mark.parametrize(
        "new_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
    )
    marked: Callable[..., None] = loops(run)
    return marked
