from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Array, Doc, Map, Text

from collab_server import cli
from collab_server.config import Addresses, Settings
from collab_server.errors import ConfigError
from persistence.base import NoticeKind
from persistence.urls import open_store

Run = Callable[..., tuple[int, str, str]]


def trip() -> bytes:
    doc: Doc[Any] = Doc(client_id=7)
    doc["title"] = Text("Paris")
    doc["budget"] = Map({"EUR": 12})
    return doc.get_update()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("COLLAB_"):
            monkeypatch.delenv(name)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = cli.main(arguments)
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


@pytest.fixture
def stored(tmp_path: Path, run: Run) -> Run:
    """Commands on a store that holds trip-1."""
    (tmp_path / "trip.bin").write_bytes(trip())
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"

    def call(*arguments: str) -> tuple[int, str, str]:
        return run("doc", *arguments, "--store", store)

    code, _, error = call("import", "trip-1", "trip.bin")
    assert (code, error) == (0, "")
    return call


def assert_one_line(error: str) -> None:
    assert error.startswith("collab-server: ")
    assert error.count("\n") == 1
    assert error.endswith("\n")


# -- the command itself


def test_the_version_is_told(run: Run) -> None:
    code, out, _ = run("--version")
    assert code == 0
    assert out.startswith("collab-server ")


def test_without_a_command_there_is_help(run: Run) -> None:
    code, out, _ = run()
    assert code == 0
    assert "serve" in out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["frob"], "No such command"),
        (["serve", "--prot", "1"], "--port"),
        (["serve", "--port"], "requires an argument"),
        (["serve", "--port", "x"], "--port must be a whole number from 0 to 65535, but is 'x'"),
        (["serve", "--config", "none.toml"], "cannot read the settings file none.toml"),
        (["serve", "extra"], "unexpected extra argument"),
        (["config", "--log-format", "xml"], "must be one of text, json"),
        (["doc", "show"], "Missing argument 'ROOM'"),
        (["doc", "list", "--store", "sqlit:///x"], "is no kind of store"),
        (["doc", "list", "--store", "rooms.sqlite3"], "is not a store's address"),
    ],
)
def test_a_command_that_makes_no_sense_is_one_line_and_two(run: Run, arguments: list[str], hint: str) -> None:
    code, out, error = run(*arguments)
    assert (code, out) == (2, "")
    assert hint in error
    assert_one_line(error)


def test_an_unknown_variable_is_refused_by_every_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLAB_PROT", "1")
    for command in (["serve"], ["config"], ["doc", "list"]):
        code, _, error = run(*command)
        assert code == 2
        assert "did you mean COLLAB_PORT?" in error
        assert_one_line(error)


# -- config


def test_config_says_what_is_in_force_and_where_from(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLAB_OPS_PORT", "9")
    Path("collab-server.toml").write_text("drain_s = 3\n")
    code, out, _ = run("config", "--port", "7", "--json")
    assert code == 0
    data = json.loads(out)
    assert data["port"] == {"value": 7, "from": "--port"}
    assert data["ops_port"] == {"value": 9, "from": "COLLAB_OPS_PORT"}
    assert data["drain_s"] == {"value": 3, "from": "collab-server.toml line 1"}
    assert data["ack"] == {"value": "committed", "from": "default"}
    assert set(data) == set(Settings.model_fields)


def test_config_shows_no_password(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLLAB_STORE", "postgresql://u:s3cret@h/d")
    for form in ([], ["--json"]):
        _, out, error = run("config", *form)
        assert "s3cret" not in out + error
        assert "u:***@h" in out


# -- serve


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What the server would run with; it starts and ends at once."""
    from collab_server import server

    seen: list[Settings] = []

    def fake(settings: Settings, on_started: Callable[[Addresses], None]) -> int:
        seen.append(settings)
        on_started(Addresses("http://127.0.0.1:4000", "ws://127.0.0.1:4000", "http://127.0.0.1:4001"))
        return 0

    monkeypatch.setattr(server, "run", fake)
    return seen


def test_every_setting_is_a_flag_of_serve(run: Run, served: list[Settings]) -> None:
    flags = [
        part
        for key, value in Settings().model_dump().items()
        if value not in {None, ()}
        for part in ("--" + key.replace("_", "-"), str(value))
    ]
    code, _, error = run("serve", *flags)
    assert (code, error) == (0, "")
    assert served == [Settings()]


def test_serve_prints_the_addresses_and_a_snippet_to_copy(run: Run, served: list[Settings]) -> None:
    _, out, _ = run("serve")
    assert "http://127.0.0.1:4000/playground" in out
    assert "new WebsocketProvider('ws://127.0.0.1:4000', 'my-room', doc)" in out
    assert "http://127.0.0.1:4001/health" in out
    assert len(served) == 1


def test_serve_prints_nothing_where_a_collector_reads(run: Run, served: list[Settings]) -> None:
    assert run("serve", "--log-format", "json") == (0, "", "")


def test_serve_makes_the_folder_of_the_default_store_only(run: Run, served: list[Settings]) -> None:
    run("serve", "--store", "sqlite:///elsewhere/x.sqlite3")
    assert not Path("elsewhere").exists()
    run("serve")
    assert Path("collab-data").is_dir()


@pytest.mark.parametrize(
    ("fault", "code", "line"),
    [
        (ConfigError("port 4000 is taken"), 1, "collab-server: port 4000 is taken\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (RuntimeError("what\nnow"), 1, "collab-server: internal error: RuntimeError: what now\n"),
    ],
)
def test_a_server_that_cannot_start_is_one_line(
    run: Run, monkeypatch: pytest.MonkeyPatch, fault: BaseException, code: int, line: str
) -> None:
    from collab_server import server

    def fail(*_arguments: object) -> int:
        raise fault

    monkeypatch.setattr(server, "run", fail)
    assert run("serve", "--store", "memory:") == (code, "", line)


def test_the_servers_exit_code_is_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from collab_server import server

    monkeypatch.setattr(server, "run", lambda *_arguments: 1)
    assert run("serve", "--store", "memory:")[0] == 1


# -- doc


def test_what_was_imported_is_listed(stored: Run) -> None:
    _, out, _ = stored("list")
    assert out.splitlines()[1].split()[:3] == ["trip-1", str(len(trip())), "1"]
    _, out, _ = stored("list", "--json")
    assert json.loads(out)["room"] == "trip-1"
    assert stored("list", "--prefix", "x")[2] == "no documents\n"


def test_more_documents_than_a_page_are_all_listed(
    stored: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collab_server.administration.PAGE", 2)
    for name in ("a", "b", "c", "d"):
        stored("import", name, "trip.bin")
    rooms = [json.loads(line)["room"] for line in stored("list", "--json")[1].splitlines()]
    assert rooms == ["a", "b", "c", "d", "trip-1"]


def test_show_tells_sizes_clients_and_roots(stored: Run) -> None:
    code, out, _ = stored("show", "trip-1")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["bytes", str(len(trip()))] in lines
    assert ["clients", "1"] in lines
    assert ["7:", "6"] in lines
    assert ["budget", "map", "1"] in lines
    assert ["title", "text", "5"] in lines


def test_show_json_is_the_document(stored: Run) -> None:
    _, out, _ = stored("show", "trip-1", "--json")
    assert json.loads(out) == {"title": "Paris", "budget": {"EUR": 12}}


def test_a_name_that_is_nearly_right_is_suggested(stored: Run) -> None:
    code, _, error = stored("show", "tripp-1")
    assert (code, error) == (1, "collab-server: there is no document 'tripp-1'; did you mean 'trip-1'?\n")


def test_export_writes_what_was_imported(stored: Run, tmp_path: Path) -> None:
    assert stored("export", "trip-1", "out.bin")[0] == 0
    assert (tmp_path / "out.bin").read_bytes() == trip()
    assert sorted(path.name for path in tmp_path.glob("*out.bin*")) == ["out.bin"]


def test_export_writes_through_a_link_and_replaces_no_device(stored: Run, tmp_path: Path) -> None:
    (tmp_path / "link.bin").symlink_to(tmp_path / "target.bin")
    assert stored("export", "trip-1", "link.bin")[0] == 0
    assert (tmp_path / "link.bin").is_symlink()
    assert (tmp_path / "target.bin").read_bytes() == trip()
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert stored("export", "trip-1", "pipe")[0] == 0
        assert os.read(reader, 1000) == trip()
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_export_writes_bytes_to_the_standard_output(stored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    stored("export", "trip-1", "-")
    assert out.buffer.getvalue() == trip()


def test_import_reads_the_standard_input(stored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(trip())))
    assert stored("import", "日本/x", "-")[0] == 0
    assert json.loads(stored("show", "日本/x", "--json")[1])["title"] == "Paris"


def test_imports_merge(stored: Run, tmp_path: Path) -> None:
    doc: Doc[Any] = Doc(client_id=8)
    doc["notes"] = Text("bring an umbrella")
    (tmp_path / "more.bin").write_bytes(doc.get_update())
    stored("import", "trip-1", "more.bin")
    shown = json.loads(stored("show", "trip-1", "--json")[1])
    assert shown == {"title": "Paris", "budget": {"EUR": 12}, "notes": "bring an umbrella"}


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"", "is empty"),
        (b"\x00\x00", "with nothing in it"),
        (b"{}", "is not a Yjs update"),
        (trip() + b"x", "bytes left over"),
        (trip()[:-3], "is not a Yjs update"),
    ],
)
def test_import_says_what_is_wrong_and_changes_nothing(
    stored: Run, tmp_path: Path, data: bytes, hint: str
) -> None:
    (tmp_path / "bad.bin").write_bytes(data)
    code, _, error = stored("import", "fresh", "bad.bin")
    assert code == 1
    assert hint in error
    assert_one_line(error)
    assert "fresh" not in stored("list")[1]


def test_import_refuses_what_no_room_would_take(stored: Run, tmp_path: Path) -> None:
    doc: Doc[Any] = Doc(client_id=9)
    inner: Array[Any] = Array()
    doc["a"] = inner
    for _ in range(600):
        inner.append(Array([]))
        inner = inner[0]
    (tmp_path / "deep.bin").write_bytes(doc.get_update())
    code, _, error = stored("import", "deep", "deep.bin")
    assert code == 1
    assert "nested" in error
    assert_one_line(error)


def test_import_reads_no_more_than_a_room_may_hold(
    stored: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLLAB_ROOM_BYTES_MAX", "4096")
    (tmp_path / "big.bin").write_bytes(bytes(5000))
    code, _, error = stored("import", "big", "big.bin")
    assert (code, error) == (1, "collab-server: big.bin is larger than room_bytes_max (4096 bytes)\n")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["import", "x", "none.bin"], "cannot read none.bin: No such file or directory"),
        (["export", "trip-1", "none/out.bin"], "cannot write none/out.bin: No such file or directory"),
        (["export", "trip-1", "."], "cannot write ."),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(stored: Run, arguments: list[str], hint: str) -> None:
    code, _, error = stored(*arguments)
    assert code == 1
    assert hint in error
    assert_one_line(error)


def test_a_deleted_document_is_gone_and_its_name_needs_a_word_to_be_used_again(stored: Run) -> None:
    assert stored("delete", "trip-1", "--yes")[1] == "deleted trip-1\n"
    assert stored("show", "trip-1")[2] == "collab-server: the document 'trip-1' was deleted\n"
    assert stored("delete", "trip-1", "--yes")[0] == 1
    code, _, error = stored("import", "trip-1", "trip.bin")
    assert code == 1
    assert "--revive" in error
    assert stored("import", "trip-1", "trip.bin", "--revive")[0] == 0
    assert stored("show", "trip-1")[0] == 0


class Terminal(io.StringIO):
    """A person who has typed an answer."""

    def isatty(self) -> bool:
        return True


def test_a_person_is_asked_before_a_document_is_deleted(stored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert stored("delete", "trip-1")[0] != 0
    assert stored("show", "trip-1")[0] == 0
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert stored("delete", "trip-1")[0] == 0
    assert stored("show", "trip-1")[0] == 1


def test_a_script_is_not_asked(stored: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert stored("delete", "trip-1")[1] == "deleted trip-1\n"
    assert stored("show", "trip-1")[0] == 1


async def test_servers_hear_of_imports_and_deletions(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/rooms.sqlite3")
    await store.open()
    try:
        (tmp_path / "trip.bin").write_bytes(trip())
        after, _ = await store.notices(None)
        import asyncio

        for command in (["import", "trip-1", "trip.bin"], ["delete", "trip-1", "--yes"]):
            arguments = ["doc", *command, "--store", f"sqlite:///{tmp_path}/rooms.sqlite3"]
            assert await asyncio.to_thread(cli.main, arguments) == 0
        _, notices = await store.notices(after)
        assert [(notice.room, notice.kind) for notice in notices] == [
            ("trip-1", NoticeKind.CHANGED),
            ("trip-1", NoticeKind.DELETED),
        ]
    finally:
        await store.close()


def test_a_store_that_is_not_there_is_not_made_by_looking(run: Run) -> None:
    code, _, error = run("doc", "list", "--store", "sqlite:///none.sqlite3")
    assert (code, error) == (1, "collab-server: there is no store at none.sqlite3\n")
    assert not Path("none.sqlite3").exists()


def test_a_store_in_memory_cannot_be_looked_at_from_outside(run: Run) -> None:
    code, _, error = run("doc", "list", "--store", "memory:")
    assert code == 1
    assert_one_line(error)


def test_a_name_cannot_drive_the_terminal(stored: Run) -> None:
    stored("import", "a\x1b[31mb", "trip.bin")
    out = stored("list")[1]
    assert "\x1b" not in out
    assert "a\\x1b[31mb" in out
