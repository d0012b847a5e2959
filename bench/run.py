"""A run: generator processes here or on other machines, started, watched, and put together.

``run_scenario`` is the whole of it. It blocks; Ctrl-C stops the generators and raises KeyboardInterrupt.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

from bench.collect import Collection
from bench.errors import BenchError
from bench.generator.load import Share
from bench.result import RunResult, times_of
from bench.scenario import Scenario
from bench.serverwatch import Sample, ServerWatch, server_figures
from bench.target import Target
from bench.worker import LINE_BYTES_MAX, job_line

_START_AFTER_S: Final = 0.3
_READY_TIMEOUT_S: Final = 600.0
_STOP_TIMEOUT_S: Final = 5.0
_SILENCE_MAX_S: Final = 60.0
_BUSY_SECONDS_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the generator is made up, and what it demands of itself."""

    processes: int = 1
    """Generator processes: here, or on each agent."""
    agents: tuple[str, ...] = ()
    """``host:port`` of ``collab-bench agent`` on other machines; then nothing is generated here."""
    secret: str = ""
    """What the agents were started with."""
    check_replicas_max: int = 500
    """Replicas whose whole content is compared at the end, whole rooms at a time. 0: none."""
    room_prefix: str = "bench"
    lag_p99_max_ms: float = 10.0
    """A run in which messages were sent later than this (p99) measured the generator: it is invalid."""
    cpu_max_percent: float = 90.0
    """So it is when a generator process used more of its core than this in a tenth of the seconds."""
    run_id: str = ""
    """Part of the rooms' names; random when empty."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands, once a second."""

    phase: str
    """``preparing``, ``running``, ``settling`` or ``checking``."""
    elapsed_s: float
    total_s: float
    stage: str
    connected: int = 0
    sent: int = 0
    delivered: int = 0
    sent_per_s: float = 0.0
    delivered_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    duplicated: int = 0
    errors: int = 0
    generator_cpu_percent: float = 0.0
    generator_lag_ms: float | None = None
    server_cpu_percent: float | None = None
    server_rss_bytes: int | None = None


OnProgress = Callable[[Progress], None]


def run_scenario(
    scenario: Scenario,
    target: Target,
    options: RunOptions | None = None,
    on_progress: OnProgress | None = None,
) -> RunResult:
    """Put a load on a target, and say how it bore it.

    Raises:
        BenchError: It could not be done: nobody listens, files run out, an agent is away.
    """
    options = options or RunOptions()
    if not options.run_id:
        options = dataclasses.replace(options, run_id=secrets.token_hex(4))
    if options.processes < 1:
        raise BenchError("--processes: at least 1")
    return asyncio.run(_Run(scenario, target, options, on_progress or (lambda _: None)).run())


class Channel(Protocol):
    """A generator process, wherever it is."""

    reader: asyncio.StreamReader
    name: str
    is_here: bool

    def write(self, line: dict[str, Any]) -> None:
        """Send it a line."""
        ...

    async def close(self) -> str:
        """End it; what it had to say on stderr."""
        ...


class _LocalProcess:
    """A process of this machine."""

    is_here = True

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        assert process.stdout is not None and process.stdin is not None  # noqa: S101, PT018
        self.name = name
        self.reader = process.stdout
        self._stdin = process.stdin
        self._process = process
        self._is_closed = False

    @classmethod
    async def start(cls, name: str) -> _LocalProcess:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.worker",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=child_environment(), limit=LINE_BYTES_MAX, start_new_session=True,
        )  # fmt: skip
        return cls(process, name)

    def write(self, line: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._stdin.write(json.dumps(line).encode() + b"\n")

    async def close(self) -> str:
        if self._is_closed:
            return ""
        self._is_closed = True
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                _, said = await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            return "it did not end"
        return (said or b"").decode(errors="replace").strip()


class _RemoteProcess:
    """A process of an agent; one TCP connection each."""

    is_here = False

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
        self.name = name
        self.reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, address: str, secret: str) -> _RemoteProcess:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise BenchError(f"--agents: {address!r} is not host:port")
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(host, int(port), limit=LINE_BYTES_MAX)
        except OSError as error:
            raise BenchError(
                f"the agent {address} does not answer: {error.strerror or 'timed out'}"
            ) from None
        channel = cls(reader, writer, f"agent {address}")
        channel.write({"type": "hello", "secret": secret})
        return channel

    def write(self, line: dict[str, Any]) -> None:
        self._writer.write(json.dumps(line).encode() + b"\n")

    async def close(self) -> str:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
        return ""


async def _together(waits: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them; when one fails, the others are given up, and its error is raised."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def child_environment() -> dict[str, str]:
    """The environment of a generator process: it finds the same ``bench`` as we did."""
    here = str(Path(__file__).resolve().parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


class _Run:
    def __init__(
        self, scenario: Scenario, target: Target, options: RunOptions, on_progress: OnProgress
    ) -> None:
        self.scenario = scenario
        self.target = target
        self.options = options
        self.on_progress = on_progress
        self.collection = Collection(scenario)
        self.watch = ServerWatch(target)
        self.channels: list[Channel] = []
        self.samples: list[Sample | None] = []
        self.before: Sample | None = None
        self.after: Sample | None = None
        self.start = 0.0
        self._shown = 0

    async def run(self) -> RunResult:
        started_at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        self.on_progress(Progress("preparing", 0, self.scenario.duration_s, ""))
        try:
            await self._start_all()
            self.before = await self.watch.look()
            self.start = time.monotonic() + _START_AFTER_S
            for channel in self.channels:
                when = {"at": self.start} if channel.is_here else {"after_s": _START_AFTER_S}
                channel.write({"type": "go", **when})
            sampling = asyncio.create_task(self._sample())
            try:
                await _together(self._follow(channel) for channel in self.channels)
            finally:
                sampling.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await sampling
            self.after = await self.watch.look()
        finally:
            for channel in self.channels:
                await channel.close()
        return self._result(started_at)

    async def _start_all(self) -> None:
        options = self.options
        for index in range(options.processes * max(1, len(options.agents))):
            if options.agents:
                address = options.agents[index % len(options.agents)]
                self.channels.append(await _RemoteProcess.start(address, options.secret))
            else:
                self.channels.append(await _LocalProcess.start(f"generator {index}"))
        count = len(self.channels)
        for index, channel in enumerate(self.channels):
            share = Share(
                index=index,
                count=count,
                run_id=options.run_id,
                room_prefix=options.room_prefix,
                check_replicas_max=-(-options.check_replicas_max // count),
                process=index,
            )
            channel.write(job_line(self.scenario, self.target, share))
        await _together(self._await_ready(channel) for channel in self.channels)

    async def _await_ready(self, channel: Channel) -> None:
        line = await self._line(channel, _READY_TIMEOUT_S)
        if line["type"] == "error":
            raise BenchError(line["message"])

    async def _line(self, channel: Channel, timeout_s: float) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout_s):
                raw = await channel.reader.readline()
        except TimeoutError:
            raise BenchError(f"{channel.name} has been silent for {timeout_s:g} s") from None
        except OSError as error:
            raise BenchError(f"{channel.name} is gone: {error}") from None
        if not raw:
            said = await channel.close()
            last = said.splitlines()[-1] if said else "without a word"
            raise BenchError(f"{channel.name} has ended: {last}")
        line: dict[str, Any] = json.loads(raw)
        return line

    async def _follow(self, channel: Channel) -> None:
        while True:
            line = await self._line(channel, _SILENCE_MAX_S + self.scenario.settle_s)
            if line["type"] == "result":
                self.collection.results.append(line)
                return
            if line["type"] == "error":
                raise BenchError(line["message"])
            self.collection.add(line)
            self._show()

    async def _sample(self) -> None:
        while True:
            wake = self.start + len(self.samples) + 1
            await asyncio.sleep(max(0.0, wake - time.monotonic()))
            self.samples.append(await self.watch.look())
            while self.start + len(self.samples) + 1 < time.monotonic():
                self.samples.append(None)  # looking took longer than a second

    def _show(self) -> None:
        seconds = self.collection.seconds
        if len(seconds) <= self._shown or seconds[self._shown].reports < len(self.channels):
            return
        second = seconds[self._shown]
        number = self._shown
        self._shown += 1
        server_cpu, server_rss = self._server_at(min(number, len(self.samples) - 1))
        edits = times_of(second.edits)
        totals = self.collection.totals
        self.on_progress(
            Progress(
                phase=second.phase,
                elapsed_s=number + 1,
                total_s=self.scenario.duration_s,
                stage=self.scenario.stages[self.collection.stage_of(number + 0.5)].name,
                connected=second.connected,
                sent=totals["sent"],
                delivered=totals["delivered"] + totals["caught_up"],
                sent_per_s=second.counts["sent"],
                delivered_per_s=second.counts["delivered"],
                p50_ms=edits["p50_ms"],
                p99_ms=edits["p99_ms"],
                duplicated=totals["duplicated"],
                errors=totals["errors"],
                generator_cpu_percent=second.cpu_percent,
                generator_lag_ms=times_of(second.lag)["p99_ms"],
                server_cpu_percent=server_cpu,
                server_rss_bytes=server_rss,
            )
        )

    def _server_at(self, number: int) -> tuple[float | None, int | None]:
        if not self.watch.sees_processes or not 0 <= number < len(self.samples):
            return None, None
        sample = self.samples[number]
        previous = self.samples[number - 1] if number else self.before
        if sample is None or previous is None:
            return None, None
        return 100 * (sample.cpu_s - previous.cpu_s), sample.rss_bytes

    # -- the result

    def _result(self, started_at: str) -> RunResult:
        collection, scenario = self.collection, self.scenario
        latency = collection.measured(collection.stage_edits)
        awareness = collection.measured(collection.stage_cursors)
        series = collection.series()
        seconds = range(len(collection.seconds))
        at = [self._server_at(number) for number in seconds]
        series["server_cpu_percent"] = [None if cpu is None else round(cpu, 1) for cpu, _ in at]
        series["server_rss_bytes"] = [rss for _, rss in at]
        series["server_connections"] = [self._metric_at(number, "collab_connections") for number in seconds]
        is_measured = [collection.is_measured(number) for number in seconds]
        counts = self._counts()
        measured = {
            "sent": sum(
                n for stage, n in zip(scenario.stages, collection.stage_sent, strict=True) if stage.measured
            ),
            "delivered": latency.count,
            "awareness_delivered": awareness.count,
            "bytes_received": sum(
                size for size, yes in zip(series["bytes_received"], is_measured, strict=True) if yes
            ),
            "frames_received": sum(
                n for n, yes in zip(series["frames_received"], is_measured, strict=True) if yes
            ),
        }
        server = server_figures(
            self.samples, self.before, self.after, is_measured,
            latency.count + awareness.count, series["connected"],
        )  # fmt: skip
        server["pids"] = list(self.watch.pids)
        generator, validity, notes = self._generator(is_measured, counts)
        return RunResult(
            run_id=self.options.run_id,
            started_at=started_at,
            label=self.target.label or ", ".join(self.target.urls),
            harness=machine(),
            scenario=scenario.as_data(),
            target=dataclasses.asdict(self.target),
            options={**dataclasses.asdict(self.options), "secret": ""},
            duration_s=scenario.duration_s,
            measured_s=scenario.measured_s,
            stages=collection.stages(),
            counts=counts,
            measured=measured,
            latency=times_of(latency),
            awareness=times_of(awareness),
            connect=times_of(collection.times["connect"]),
            join=times_of(collection.times["join"]),
            reconnect=times_of(collection.times["reconnect"]),
            series=series,
            server=server,
            generator=generator,
            validity=validity,
            failures=self._failures(counts),
            notes=notes,
        )

    def _metric_at(self, number: int, name: str) -> float | None:
        sample = self.samples[number] if number < len(self.samples) else None
        return None if sample is None else sample.metrics.get(name)

    def _counts(self) -> dict[str, int]:
        results = self.collection.results
        counts = {"clients": self.scenario.clients, "rooms": self.scenario.rooms, **self.collection.totals}
        for name in ("lost", "awareness_lost", "absent", "unconverged", "replicas_compared"):
            counts[name] = sum(result[name] for result in results)
        return counts

    def _failures(self, counts: dict[str, int]) -> list[str]:
        failures = [text.format(count=counts[name]) for name, text in _FAILURES.items() if counts[name]]
        complaints: dict[str, int] = {}
        for result in self.collection.results:
            for text, times in result["complaints"].items():
                complaints[text] = complaints.get(text, 0) + times
        shown = sorted(complaints.items(), key=lambda each: -each[1])[:10]
        if failures or counts["errors"]:
            failures += [f"{text} ({times} times)" if times > 1 else text for text, times in shown]
        return failures

    def _generator(
        self, is_measured: list[bool], counts: dict[str, int]
    ) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        collection, options = self.collection, self.options
        lag, loop_lag = collection.own_lag("lag"), collection.own_lag("loop_lag")
        seconds = [second for second, yes in zip(collection.seconds, is_measured, strict=True) if yes]
        busy = sum(second.cpu_percent > options.cpu_max_percent for second in seconds)
        reasons = []
        if seconds and busy > len(seconds) * _BUSY_SECONDS_SHARE:
            reasons.append(
                f"a generator process used more than {options.cpu_max_percent:g} % of a core in {busy} of "
                f"{len(seconds)} measured seconds: give it more --processes, or less load"
            )
        for what, histogram in (("messages were sent", lag), ("the generator's loop ran", loop_lag)):
            late_ms = histogram.percentile(99) / 1000
            if histogram.count and late_ms > options.lag_p99_max_ms:
                reasons.append(
                    f"{what} {late_ms:.1f} ms late at the 99th percentile, which may be "
                    f"{options.lag_p99_max_ms:g} ms: the machine or the generator was too busy to measure"
                )
        if not seconds:
            reasons.append("no whole second was measured")
        notes = []
        waited = max((second.wait_percent for second in seconds), default=0.0)
        if waited > 20:
            notes.append(f"a generator process waited for a CPU up to {waited:.0f} % of a second")
        if any(result["stopped_early"] for result in collection.results):
            reasons.append("it was stopped before its end")
        if counts["replicas_compared"] < counts["clients"]:
            notes.append(
                f"{counts['replicas_compared']} replicas were compared by content, all clients by the books"
            )
        times = times_of(lag)
        used = max((result["rss_max_bytes"] for result in collection.results), default=0)
        grown = sum(r["rss_max_bytes"] - r["rss_before_bytes"] for r in collection.results)
        most = max((second.connected for second in collection.seconds), default=0)
        figures = {
            "processes": len(self.channels),
            "cpu_percent_max": round(max((second.cpu_percent for second in seconds), default=0.0), 1),
            "lag_p50_ms": times["p50_ms"],
            "lag_p99_ms": times["p99_ms"],
            "lag_max_ms": times["max_ms"],
            "loop_lag_p99_ms": times_of(loop_lag)["p99_ms"],
            "wait_percent": round(waited, 1),
            "rss_max_bytes": used,
            "bytes_per_connection": round(grown / most) if most else None,
        }
        return figures, {"valid": not reasons, "reasons": reasons}, notes


_FAILURES: Final = {
    "lost": "{count} messages never reached a client that should have got them",
    "duplicated": "{count} messages reached a client twice",
    "unconverged": "{count} replicas hold another document than was written",
    "awareness_lost": "{count} times a client does not know where another's cursor is",
    "absent": "{count} clients were not connected and synced in the end",
    "connections_dropped": "{count} connections were lost",
    "connections_failed": "{count} connections were not taken",
    "errors": "{count} things went wrong",
}


def machine() -> dict[str, Any]:
    """The harness and the machine on which it runs."""
    try:
        version = metadata.version("collab-server")
    except metadata.PackageNotFoundError:
        version = ""
    model = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "version": version,
        "python": platform.python_version(),
        "machine": {
            "cpus": os.cpu_count(),
            "cpu_model": model,
            "memory_bytes": memory,
            "kernel": platform.release(),
            "system": platform.system(),
        },
    }
