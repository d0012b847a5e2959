"""Node for tests: the pinned npm packages, installed once per user, and a way to run a script with them.

The packages of ``tests/interop/package.json`` are installed into a cache folder outside of the repository,
named by the hash of their exact versions: every work tree and every pytest-xdist worker shares one copy.
Where Node is missing a test is skipped with the reason; in CI (the variable ``CI`` is set) it fails instead.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.tools import missing

_PACKAGES = Path(__file__).resolve().parent.parent / "interop"
_REGISTER = Path(__file__).resolve().parent / "node_register.mjs"
_INSTALL_TIMEOUT_S = 300
_NODE_OLDEST = (18, 19)
"""The first version with ``--import`` and ``module.register``, which the resolve hook needs."""


def cache_folder() -> Path:
    """The user's cache folder for what tests download or build."""
    configured = os.environ.get("COLLAB_TEST_CACHE")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "collab-server-tests"


@functools.cache
def _node() -> tuple[str, str] | str:
    """The paths of node and npm, or why they cannot be used."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return "Node and npm are not installed: the tests with real Yjs clients need them"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    major, minor, _ = version.removeprefix("v").split(".", 2)
    if (int(major), int(minor)) < _NODE_OLDEST:
        return f"Node {version} is too old: the tests with real Yjs clients need 18.19 or newer"
    return node, npm


@functools.cache
def _install(npm: str) -> Path | str:
    """Install the packages where they are not yet; the folder, or why it did not work."""
    manifests = [_PACKAGES / "package.json", _PACKAGES / "package-lock.json"]
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in manifests)).hexdigest()[:16]
    folder = cache_folder() / digest
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{digest}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, also when this process dies
        if folder.exists():
            return folder
        # A folder of its own name is complete: it is filled under another name and renamed at the end.
        filling = folder.parent / f"{digest}.filling"
        shutil.rmtree(filling, ignore_errors=True)
        filling.mkdir()
        for path in manifests:
            shutil.copy(path, filling)
        command = [npm, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                command, cwd=filling, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            return f"npm ci did not end within {_INSTALL_TIMEOUT_S} s"
        if done.returncode != 0:
            return f"npm ci failed: {done.stderr.strip()[-500:]}"
        filling.rename(folder)
    return folder


def node_modules() -> Path:
    """The folder that contains ``node_modules`` with the pinned packages; installs them on first use.

    Skips the running test (fails it in CI) where Node or npm are missing or the packages cannot be had.
    """
    found = _node()
    if isinstance(found, str):
        missing(found)
    folder = _install(found[1])
    if isinstance(folder, str):
        missing(folder)
    return folder


def node_command(script: Path, *args: str) -> tuple[Sequence[str], dict[str, str]]:
    """The command line and the environment with which ``script`` finds the packages, imported or required."""
    folder = node_modules()
    found = _node()
    assert isinstance(found, tuple)
    env = dict(os.environ)
    env["COLLAB_TEST_NODE_FOLDER"] = str(folder)
    env["NODE_PATH"] = str(folder / "node_modules")
    return [found[0], "--import", _REGISTER.as_uri(), str(script), *args], env


def run_node(
    script: Path,
    *args: str,
    timeout_s: float,
    input: bytes | None = None,  # noqa: A002 - named as in subprocess.run
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run an ES module or a CommonJS script to its end and return its output.

    The process is killed after ``timeout_s``.
    With ``check`` a non-zero exit fails the test with what it printed.
    """
    command, env = node_command(script, *args)
    try:
        done = subprocess.run(
            command, env=env, input=input, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as late:
        printed = (late.stderr or b"").decode(errors="replace")
        pytest.fail(f"{script.name} did not end within {timeout_s} s\n{printed[-4000:]}")
    if check and done.returncode != 0:
        printed = (done.stdout[-4000:] + done.stderr[-4000:]).decode(errors="replace")
        pytest.fail(f"{script.name} {' '.join(args)} ended with {done.returncode}\n{printed}")
    return done
