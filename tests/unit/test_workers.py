"""What the supervisor decides before it starts anybody."""

from __future__ import annotations

from typing import Any

import pytest

from collab_server import workers
from collab_server.config import Settings
from collab_server.errors import ConfigError

SHARED: dict[str, Any] = {"bus": "redis://127.0.0.1", "store": "postgresql://user@127.0.0.1/db"}


def settings(**given: Any) -> Settings:
    return Settings.model_validate(given)


def test_one_process_needs_no_supervisor() -> None:
    assert not workers.is_wanted(settings())
    assert not workers.is_wanted(settings(workers=1))


def test_several_workers_or_a_row_of_ports_need_one() -> None:
    assert workers.is_wanted(settings(workers=2))
    assert workers.is_wanted(settings(ports_from=5000))


def test_workers_without_a_bus_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"workers is 2, .* through Redis: set bus"):
        workers.check(settings(workers=2))


def test_workers_that_would_each_keep_their_own_documents_are_refused() -> None:
    with pytest.raises(ConfigError, match="memory: is not shared"):
        workers.check(settings(workers=2, **SHARED | {"store": "memory:"}))


def test_one_supervised_worker_shares_nothing() -> None:
    workers.check(settings(ports_from=5000, store="memory:"))


def test_workers_may_share_one_sqlite_file() -> None:
    workers.check(settings(workers=2, **SHARED | {"store": "sqlite:///rooms.sqlite3"}))


def test_a_row_of_ports_that_meets_the_operations_ports_is_refused_when_both_were_asked_for() -> None:
    with pytest.raises(
        ConfigError, match=r"port 4001 is asked for twice.*4000 to 4002.*4001 to 4003; set ops_port"
    ):
        workers.check(settings(workers=3, ports_from=4000, ops_port=4001, **SHARED))


def test_operations_ports_that_nobody_asked_for_make_way() -> None:
    given = settings(workers=3, ports_from=4000, **SHARED)
    workers.check(given)
    assert workers.ports(given) == ([4000, 4001, 4002], [4003, 4004, 4005])


def test_operations_ports_follow_one_another() -> None:
    assert workers.ports(settings(workers=3, port=80, ops_port=9000)) == ([80], [9000, 9001, 9002])


def test_free_ports_stay_free() -> None:
    assert workers.ports(settings(workers=2, ports_from=0, ops_port=0)) == ([0, 0], [0, 0])


def test_one_port_for_two_purposes_is_refused() -> None:
    with pytest.raises(ConfigError, match="port 4001 is asked for twice"):
        workers.check(settings(workers=2, port=4001, ops_port=4001, **SHARED))


@pytest.mark.parametrize("given", [{"ports_from": 65535}, {"ops_port": 65535}])
def test_ports_past_the_last_one_are_refused(given: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="leaves no room for 2 ports: the last is 65535"):
        workers.check(settings(workers=2, **SHARED, **given))


def test_pauses_grow_to_a_bound() -> None:
    pauses = [workers.back_off_s(deaths) for deaths in range(20)]
    assert pauses[0] == 0
    assert pauses == sorted(pauses)
    assert pauses[-1] == 30
