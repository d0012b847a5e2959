"""Programs that some tests need and that a machine may lack."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip the running test because a tool is missing; in CI that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"in CI nothing may be missing: {reason}", pytrace=False)
    pytest.skip(reason)


def needed(program: str, purpose: str) -> str:
    """The path of a program, also of one that lies where only root looks; ``missing`` where there is none."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    return found if found is not None else missing(f"{program} is needed {purpose}")
