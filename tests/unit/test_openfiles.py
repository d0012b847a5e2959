import resource
import subprocess
import sys

from collab_server.openfiles import RESERVE, shortage

_RAISED = """
import resource
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
from collab_server.openfiles import raise_limit
assert raise_limit() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
"""


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    subprocess.run([sys.executable, "-c", _RAISED], check=True)


def test_a_limit_that_is_too_low_is_said_with_what_would_be_enough() -> None:
    told = shortage(1024, 20_000)
    assert told is not None
    assert f"ulimit -n {20_000 + RESERVE}" in told


def test_a_limit_that_is_enough_is_not_mentioned() -> None:
    assert shortage(20_000 + RESERVE, 20_000) is None
    assert shortage(resource.RLIM_INFINITY, 20_000) is None
