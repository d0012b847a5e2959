"""Functions that a worker process can import and run."""

from __future__ import annotations

import os
import signal
import sys
import time


def echo(value: object) -> object:
    return value


def pid() -> int:
    return os.getpid()


def fail(text: str) -> None:
    raise ValueError(text)


def hang(marker: str = "") -> None:
    if marker:
        with open(marker, "w", encoding="utf-8") as file:
            file.write(str(os.getpid()))
    while True:
        time.sleep(60)


def spin() -> None:
    while True:
        pass


def hog(size_bytes: int) -> int:
    return len(bytearray(size_bytes))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def unsendable() -> object:
    return lambda: None


def shout() -> str:
    print("this must not end up among the results")  # noqa: T201
    sys.stdout.flush()
    return "quiet"


def ignores_interrupts() -> bool:
    os.kill(os.getpid(), signal.SIGINT)
    return True


def panic() -> None:
    raise BaseException("native panics derive from this")  # noqa: TRY002
