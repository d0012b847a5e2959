"""``python -m tests.fuzz --minutes N --seed S``: until something is found, and say its seed."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import traceback

from tests.fuzz import decoders, drivers

_ROUNDS = 2_000


def main() -> int:
    """0 when nothing was found in the time."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; the next ones follow")
    parser.add_argument("--target", choices=("decoders", "drivers", "both"), default="both")
    options = parser.parse_args()
    ends_at = time.monotonic() + options.minutes * 60
    seed = options.seed
    while True:
        try:
            if options.target != "drivers":
                decoders.run(seed, _ROUNDS)
            if options.target != "decoders":
                asyncio.run(drivers.run(seed, _ROUNDS))
        except KeyboardInterrupt:
            return 130
        except BaseException:  # noqa: BLE001 - a panic in native code is a find too
            traceback.print_exc()
            sys.stderr.write(f"found with --seed {seed} --target {options.target}\n")
            return 1
        seed += 1
        if time.monotonic() >= ends_at:
            sys.stdout.write(f"nothing found with seeds {options.seed} to {seed - 1}\n")
            return 0


if __name__ == "__main__":
    sys.exit(main())
