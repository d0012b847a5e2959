"""The load of one node, in a process of its own; ``collab-bench million`` starts one for each node.

A job comes on stdin as JSON; lines of JSON go out: how the run stands, and in the end its result or why not.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Any

from bench.errors import BenchError
from bench.run import Progress, RunOptions, run_scenario
from bench.scenario import Scenario, scenario_from_data
from bench.target import Target


def job(scenario: Scenario, target: Target, options: RunOptions) -> bytes:
    """What is written to stdin."""
    data = {
        "scenario": scenario.as_data(),
        "urls": target.urls,
        "pids": target.pids,
        "ops_url": target.ops_url,
        "label": target.label,
        "processes": options.processes,
        "check_replicas_max": options.check_replicas_max,
    }
    return json.dumps(data).encode() + b"\n"


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _show(progress: Progress) -> None:
    _say({"progress": dataclasses.asdict(progress)})


def main() -> int:
    """Do one job."""
    data = json.loads(sys.stdin.readline())
    target = Target(
        tuple(data["urls"]), pids=tuple(data["pids"]), ops_url=data["ops_url"], label=data["label"]
    )
    options = RunOptions(processes=data["processes"], check_replicas_max=data["check_replicas_max"])
    try:
        result = run_scenario(scenario_from_data(data["scenario"]), target, options, _show)
    except BenchError as error:
        _say({"error": str(error)})
        return 1
    except KeyboardInterrupt:
        return 130
    _say({"result": dataclasses.asdict(result)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
