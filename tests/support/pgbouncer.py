"""A private PgBouncer in transaction mode, in front of the tests' PostgreSQL, where it is installed."""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.postgres import as_user, free_port, nobody_or_self
from tests.support.tools import needed

START_LIMIT_S = 20.0

SETTINGS = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_reset_query =
logfile = {folder}/log
"""


@cache
def shared_pgbouncer(dsn: str) -> str:
    """Host and port of a PgBouncer in front of the server of ``dsn``. Skips the test where there is none."""
    program = needed("pgbouncer", "to stand in front of PostgreSQL")
    server = urlsplit(dsn)
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    folder.chmod(0o777)
    listen_port = free_port()
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        SETTINGS.format(host=server.hostname, port=server.port, listen_port=listen_port, folder=folder)
        # With auth_type "any" every client is the user that is forced here.
        .replace("* = ", f"* = user={server.username or pwd.getpwuid(os.getuid()).pw_name} ")
    )
    process = subprocess.Popen(
        as_user([program, str(settings)], nobody_or_self(), parent=True), stderr=subprocess.DEVNULL
    )

    def stop() -> None:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", listen_port)).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start: {(folder / 'log').read_text()}") from None
            time.sleep(0.01)
        else:
            return f"127.0.0.1:{listen_port}"
