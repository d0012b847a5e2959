"""A generator process: a job comes on stdin, reports go out on stdout, a JSON object a line.

-> {"type": "job", ...}       what to do
<- {"type": "ready"}          rooms are filled, limits are checked     or {"type": "error", "message": ...}
-> {"type": "go", "at": t}    second 0 is at ``time.monotonic()`` t; "after_s" instead, from another machine
<- {"type": "second", ...}    once a second
-> {"type": "stop"}           end now, and report
<- {"type": "result", ...}    the last line
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import os
import resource
import sys
import time
from typing import Any

from bench.errors import BenchError
from bench.generator.load import Load, Share
from bench.processes import resident_bytes, waited_s
from bench.scenario import Scenario, scenario_from_data
from bench.target import Dialect, Target

LINE_BYTES_MAX = 64 * 1024 * 1024


def job_line(scenario: Scenario, target: Target, share: Share) -> dict[str, Any]:
    """What a process is to do, as a line."""
    return {
        "type": "job",
        "scenario": scenario.as_data(),
        "target": dataclasses.asdict(target),
        "share": dataclasses.asdict(share),
    }


def job_of(line: dict[str, Any]) -> tuple[Scenario, Target, Share]:
    """The inverse of ``job_line``."""
    target = dict(line["target"])
    target.update(urls=tuple(target["urls"]), pids=tuple(target["pids"]), dialect=Dialect(target["dialect"]))
    return scenario_from_data(line["scenario"]), Target(**target), Share(**line["share"])


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


class _Reporter:
    """Once a second, what was counted, and what this process itself cost."""

    def __init__(self, load: Load, start: float) -> None:
        self._load = load
        self._start = start
        self._cpu_s = time.process_time()
        self._waited_s = waited_s(os.getpid())
        self._at = time.monotonic()
        self.second = 0

    def report(self, phase: str) -> None:
        """Write a line about the time since the last one."""
        load = self._load
        now, cpu_s, waited = time.monotonic(), time.process_time(), waited_s(os.getpid())
        passed_s = max(1e-6, now - self._at)
        received = sum(m.connection.bytes_received for m in load.members if m.connection is not None)
        _write(
            {
                "type": "second",
                "second": self.second,
                "phase": phase,
                "passed_s": passed_s,
                "connected": load.connected,
                "live_bytes_received": received,
                "cpu_percent": 100 * (cpu_s - self._cpu_s) / passed_s,
                "wait_percent": 100 * (waited - self._waited_s) / passed_s,
                "rss_bytes": resident_bytes(os.getpid()),
                **load.tally.take(),
            }
        )
        self._at, self._cpu_s, self._waited_s = now, cpu_s, waited
        self.second += 1

    async def run(self) -> None:
        """Report at each full second of the run."""
        while True:
            await asyncio.sleep(max(0.0, self._start + self.second + 1 - time.monotonic()))
            self.report(
                "running" if time.monotonic() - self._start < self._load.scenario.duration_s else "settling"
            )


async def work() -> int:
    """Do one job."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    scenario, target, share = job_of(json.loads(await reader.readline()))
    load = Load(scenario, target, share)
    rss_before = resident_bytes(os.getpid())
    try:
        await load.prepare()
    except BenchError as error:
        _write({"type": "error", "message": str(error)})
        return 2
    # Nothing here makes cycles while the load runs, and a pause of ours would be taken for the server's.
    gc.collect()
    gc.freeze()
    gc.disable()
    _write({"type": "ready", "members": len(load.members), "rooms": len(load.rooms)})
    line = json.loads(await reader.readline() or b'{"type": "stop"}')
    if line["type"] != "go":
        return 0
    start = float(line["at"]) if "at" in line else time.monotonic() + float(line["after_s"])
    stopped = asyncio.Event()

    async def listen() -> None:
        await reader.readline()  # "stop", or the end of whoever started us
        stopped.set()

    listener = asyncio.create_task(listen())
    await asyncio.sleep(max(0.0, start - time.monotonic()))
    reporter = _Reporter(load, start)
    reporting = asyncio.create_task(reporter.run())
    await load.run(start, stopped)
    await load.settle()
    reporting.cancel()
    listener.cancel()
    reporter.report("settling")
    result = await load.finish()
    reporter.report("checking")
    _write(
        {
            "type": "result",
            **result,
            "stopped_early": stopped.is_set(),
            "rss_before_bytes": rss_before,
            "rss_max_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
    return 0


def main() -> None:
    """Run the worker on uvloop."""
    import uvloop  # noqa: PLC0415 - only the workers need it

    sys.exit(uvloop.run(work()))


if __name__ == "__main__":
    main()
