"""``python -m tests.sim --seeds 1000 --from 0``: live through many seeds, and print those that went wrong."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import traceback

import structlog

from tests.sim.world import simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--stop", action="store_true", help="stop at the first that goes wrong")
    parser.add_argument("--log", action="store_true", help="show the log of the nodes")
    asked = parser.parse_args()
    if not asked.log:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began = time.perf_counter()
    wrong = 0
    for seed in range(asked.first, asked.first + asked.seeds):
        try:
            told = simulate(seed)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this seed's
            wrong += 1
            print(f"seed {seed}: {type(error).__name__}: {str(error)[:600]}")
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            print(f"  again: python -m tests.sim --seeds 1 --from {seed} --log")
            if asked.stop:
                break
        else:
            if asked.seeds == 1:
                print(told)
    took_s = time.perf_counter() - began
    print(f"{asked.seeds} seeds, {wrong} went wrong, {took_s:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
