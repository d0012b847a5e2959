"""The command line. The only file that prints.

Whatever goes wrong is one line on stderr that begins with ``collab-server:``. The exit code is 0 for done, 1
for failed, 2 for a command or a setting that makes no sense, 130 for Ctrl-C.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from collab_server.config import Addresses, LogFormat, Settings, is_list, masked_url, shown
from collab_server.errors import CollabError, ConfigError
from collab_server.settings_sources import Loaded, load
from collab_server.settings_tables import aligned, as_data, as_markdown, as_text
from collab_server.telemetry.logs import without_secrets
from collab_server.version import version
from persistence.errors import StoreError, StoreUrlError

NAME = "collab-server"
CLIENTS_SHOWN = 10

Command = TypeVar("Command", bound=Callable[..., Any])


class Failure(click.ClickException):
    """A command failed; exit code 1."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code."""
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        result = _commands.main(args=list(given), prog_name=NAME, standalone_mode=False, obj=given)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # Whoever read our output has enough. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except click.ClickException as error:
        return _complain(error.format_message(), error.exit_code)
    except StoreUrlError as error:
        return _complain(str(error), 2)
    except (CollabError, StoreError) as error:
        return _complain(str(error), 1)
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except Exception as error:  # noqa: BLE001 - a person gets a line, never a traceback
        return _complain(f"internal error: {type(error).__name__}: {error}", 1)


def _complain(message: str, exit_code: int) -> int:
    print(f"{NAME}: {without_secrets(' '.join(message.split()))}", file=sys.stderr)
    return exit_code


def _with_settings(command: Command) -> Command:
    """One flag for each setting, and --config."""
    for key, field in reversed(Settings.model_fields.items()):
        default = "none" if field.default in {None, ()} else shown(key, field.default)
        help_text = f"{field.description} Default: {default}"
        option = click.option(_flag(key), key, metavar="VALUE", multiple=is_list(key), help=help_text)
        command = option(command)
    return _with_config(command)


def _with_store(command: Command) -> Command:
    """Only --store and --config."""
    return _with_config(
        click.option("--store", metavar="URL", help="The store; default: as serve has it.")(command)
    )


def _with_config(command: Command) -> Command:
    help_text = "A TOML file with settings. Default: COLLAB_CONFIG, or ./collab-server.toml if it is there."
    return click.option("--config", "config_file", metavar="FILE", help=help_text)(command)


def _flag(key: str) -> str:
    return "--" + key.replace("_", "-")


def _loaded(config_file: str | None, flags: dict[str, Any]) -> Loaded:
    try:
        return load(flags, os.environ, config_file)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


@click.group(name=NAME, invoke_without_command=True)
@click.version_option(version(), prog_name=NAME, message="%(prog)s %(version)s")
@click.pass_context
def _commands(context: click.Context) -> None:
    """A real-time collaboration server for Yjs documents."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@_commands.command(short_help="Run the server.")
@click.option("--supervisor-fd", type=int, hidden=True)
@_with_settings
@click.pass_context
def serve(context: click.Context, /, supervisor_fd: int | None, config_file: str | None, **flags: Any) -> int:
    """Run the server until Ctrl-C or SIGTERM.

    Every setting is a flag here, a key of the TOML file, and a variable COLLAB_<KEY> of the environment.
    Flags win, then the environment, then the file.
    """
    settings = _loaded(config_file, flags).settings
    from collab_server.access.assembly import check_exposure  # noqa: PLC0415 - see below

    try:
        check_exposure(settings)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
    _make_default_folder(settings)
    if supervisor_fd is not None:
        return _work(settings, supervisor_fd)
    from collab_server import workers  # noqa: PLC0415 - the other commands start in a tenth of the time

    def welcome(addresses: Sequence[Addresses]) -> None:
        if settings.log_format is LogFormat.TEXT:
            print(_welcome(addresses, settings), flush=True)

    if workers.is_wanted(settings):
        try:
            workers.check(settings)
        except ConfigError as error:
            raise click.UsageError(str(error)) from error
        return workers.run(settings, [sys.executable, "-m", "collab_server", *context.obj], welcome)
    from collab_server.server import run  # noqa: PLC0415 - a supervisor does without it

    return run(settings, lambda addresses: welcome([addresses]))


def _work(settings: Settings, supervisor_fd: int) -> int:
    """Be a worker of a supervisor, which talks through this file."""
    from collab_server.server import run  # noqa: PLC0415 - see serve
    from collab_server.workerlink import Place  # noqa: PLC0415 - the same

    try:
        place = Place.take(supervisor_fd)
    except (OSError, ValueError, KeyError) as error:
        raise click.UsageError("--supervisor-fd is for workers, which the server starts by itself") from error
    return run(settings, place.say_started, place)


def _make_default_folder(settings: Settings) -> None:
    """The default store's folder is ours to make; any other that is missing may be a slip of the pen."""
    if settings.store != Settings.model_fields["store"].default:
        return
    folder = Path(settings.store.removeprefix("sqlite:///")).parent
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the store's folder {folder}: {error.strerror}") from error


def _welcome(workers: Sequence[Addresses], settings: Settings) -> str:
    first = workers[0]
    urls = list(dict.fromkeys(worker.ws_url for worker in workers))
    rows: list[tuple[str, ...]] = []
    if settings.playground:
        rows.append(("  Playground", f"{first.http_url}/playground"))
    rows.append(("  WebSocket", f"{urls[0]}/<room>"))
    rows += [("", f"{url}/<room>") for url in urls[1:]]
    rows.append(("  Operations", f"{first.ops_url}/health  /ready  /metrics"))
    rows += [("", worker.ops_url) for worker in workers[1:]]
    rows.append(("  Store", masked_url(settings.store)))
    if settings.bus is not None:
        rows.append(("  Bus", masked_url(settings.bus)))
    if len(workers) > 1:
        rows.append(("  Workers", str(len(workers))))
    return f"""
{NAME} {version()} is running.

{aligned(rows)}

Connect with yjs and y-websocket:

  import * as Y from 'yjs'
  import {{ WebsocketProvider }} from 'y-websocket'

  const doc = new Y.Doc()
  const provider = new WebsocketProvider('{first.ws_url}', 'my-room', doc)

Ctrl-C stops it.
"""


@_commands.command(short_help="Show the settings in force.")
@click.option("--json", "as_json", is_flag=True, help="For a program.")
@click.option("--markdown", is_flag=True, help="Every setting with its bounds, for documentation.")
@_with_settings
def config(config_file: str | None, as_json: bool, markdown: bool, **flags: Any) -> None:
    """Show the settings in force, and where each value came from."""
    if markdown:
        print(as_markdown(), end="")
        return
    loaded = _loaded(config_file, flags)
    print(json.dumps(as_data(loaded), indent=2) if as_json else as_text(loaded))


@_commands.command(short_help="Print a token for development.")
@click.option("--secret", metavar="SECRET", help="What to sign with. Default: jwt_secret of the settings.")
@click.option("--room", "rooms", multiple=True, metavar="PATTERN", help="A room, or 'trip-*'; repeatable.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="For each --room, or one for all.")
@click.option("--roots", default="", metavar="A,B", help="Root types that may be written; default: all.")
@click.option("--sub", metavar="USER", help="The user's id.")
@click.option("--name", metavar="NAME", help="The user's name.")
@click.option("--tenant", metavar="TENANT", help="Whose quota counts.")
@click.option("--sid", metavar="SESSION", help="What this session is revoked by; default: a new jti.")
@click.option("--ttl", default="1h", metavar="TIME", help="Until it runs out: 90s, 15m, 1h, 7d. Default: 1h")
@_with_config
def token(
    config_file: str | None,
    secret: str | None,
    rooms: tuple[str, ...],
    roles: tuple[str, ...],
    roots: str,
    ttl: str,
    **who: str | None,
) -> None:
    """Print a token, signed by HS256, for trying things out.

    ROLE is viewer, commenter, editor or owner; none makes an exception to a wider PATTERN. With jwt_issuer or
    jwt_audience in the settings the token says what they ask for.
    """
    settings = _loaded(config_file, {"jwt_secret": secret}).settings
    from collab_server.access import issuing  # noqa: PLC0415 - see serve

    try:
        rights = issuing.rooms_claim(rooms, roles, roots)
        claims = who | issuing.lifetime(ttl, int(time.time())) | {"rooms": rights}
        print(issuing.issue(settings, {"jti": secrets.token_hex(8), **claims}))
        short = issuing.shortcoming(settings)
        if short is not None:
            print(f"collab-server: the secret {short}; a server on loopback takes it", file=sys.stderr)
    except ConfigError as error:
        raise click.UsageError(str(error)) from error


@_commands.command(short_help="Bring the store's schema up to date.")
@_with_store
def migrate(config_file: str | None, store: str | None) -> None:
    """Bring the store's schema up to date, as serve does at its start unless migrate_at_start is false.

    Safe to run more than once, and from several machines at once.
    """
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration_history as admin  # noqa: PLC0415 - see serve

    _make_default_folder(settings)
    before, after = asyncio.run(admin.migrate(settings))
    print(f"schema version {after}, as it was" if before == after else f"schema version {before} -> {after}")


@_commands.group(short_help="Look at and change stored documents.")
def doc() -> None:
    """List, show, export, import, restore and delete documents of a store, also while servers use it."""


@doc.command("list")
@click.option("--prefix", default="", help="Only rooms whose names begin so.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_with_store
def list_command(config_file: str | None, store: str | None, prefix: str, as_json: bool) -> None:
    """List the documents: name, bytes, waiting updates, last change."""
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve

    async def work() -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        async with admin.opened_store(settings) as opened:
            async for info in admin.list_documents(opened, prefix):
                if as_json:
                    print(
                        json.dumps(
                            {
                                "room": info.room,
                                "bytes": info.bytes_total,
                                "updates": info.updates_count,
                                "created_at_ms": info.created_at_ms,
                                "changed_at_ms": info.changed_at_ms,
                            },
                            ensure_ascii=False,
                        )
                    )
                else:
                    size, count = str(info.bytes_total), str(info.updates_count)
                    rows.append((_printable(info.room), size, count, _time(info.changed_at_ms)))
        return rows

    rows = asyncio.run(work())
    if rows:
        print(aligned([("ROOM", "BYTES", "UPDATES", "CHANGED"), *rows]))
    elif not as_json:
        print("no documents", file=sys.stderr)


@doc.command()
@click.argument("room")
@click.option("--json", "as_json", is_flag=True, help="The document itself as JSON.")
@click.option("--rich", is_flag=True, help="With --json: show formats, embeds and XML trees.")
@_with_store
def show(config_file: str | None, store: str | None, room: str, as_json: bool, rich: bool) -> None:
    """Show what a document holds: sizes, clients, root types; or, with --json, its content."""
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve

    async def work() -> str:
        async with admin.opened_store(settings) as opened:
            if as_json:
                return await admin.as_json(opened, room, settings, rich=rich)
            return _outline(await admin.outline(opened, room, settings))

    print(asyncio.run(work()))


def _outline(outline: Any) -> str:
    stored, info = outline.stored, outline.info
    snapshot_bytes = len(stored.snapshot.data) if stored.snapshot else 0
    updates_bytes = stored.bytes_total - snapshot_bytes
    rows: list[tuple[str, ...]] = [
        ("room", _printable(stored.room)),
        ("bytes", str(stored.bytes_total)),
        ("snapshot", f"{snapshot_bytes} bytes"),
        ("updates", f"{len(stored.updates)} ({updates_bytes} bytes)"),
    ]
    if info is not None:
        rows += [("created", _time(info.created_at_ms)), ("changed", _time(info.changed_at_ms))]
    clocks = sorted(outline.state_vector.items(), key=lambda entry: -entry[1])
    rows.append(("clients", str(len(clocks))))
    rows += [("", f"{client}: {clock}") for client, clock in clocks[:CLIENTS_SHOWN]]
    if len(clocks) > CLIENTS_SHOWN:
        rows.append(("", f"and {len(clocks) - CLIENTS_SHOWN} more"))
    text = aligned(rows)
    roots = [(_printable(name), kind, str(length)) for name, kind, length in outline.roots]
    return text + "\n\n" + aligned([("ROOT", "KIND", "LENGTH"), *roots]) if roots else text


@doc.command()
@click.argument("room")
@click.argument("file")
@_with_store
def export(config_file: str | None, store: str | None, room: str, file: str) -> None:
    """Write a document to FILE as one Yjs update; - is the standard output."""
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve
    from collab_server.administration_audit import AuditEvent, recorded  # noqa: PLC0415 - the same

    async def work() -> bytes:
        async with admin.opened_store(settings) as opened:
            return admin.whole(await admin.existing(opened, room))

    with recorded(settings, AuditEvent.EXPORT, room):
        update = asyncio.run(work())
        _write(file, update)


def _write(file: str, data: bytes) -> None:
    from collab_server import administration as admin  # noqa: PLC0415 - see serve

    if file == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        admin.write_file(Path(file), data)
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}") from error
    print(f"{len(data)} bytes written to {file}")


@doc.command("import")
@click.argument("room")
@click.argument("file")
@click.option("--revive", is_flag=True, help="Also if a document of this name was deleted.")
@_with_store
def import_command(config_file: str | None, store: str | None, room: str, file: str, revive: bool) -> None:
    """Merge a Yjs update from FILE into a document; - is the standard input.

    Members who are connected see it at once.
    """
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve
    from collab_server.administration_audit import AuditEvent, recorded  # noqa: PLC0415 - the same

    _check_room(room, settings)
    data = admin.checked_update(
        _read(file, settings.room_bytes_max), "the input" if file == "-" else file, settings
    )

    _make_default_folder(settings)

    async def work() -> None:
        async with admin.opened_store(settings, create=True) as opened:
            await admin.import_update(opened, room, data, revive=revive)

    with recorded(settings, AuditEvent.IMPORT, room):
        asyncio.run(work())
    print(f"{len(data)} bytes merged into {_printable(room)}")


def _check_room(room: str, settings: Settings) -> None:
    if not room or len(room.encode("utf-8", "surrogatepass")) > settings.room_name_bytes_max:
        raise click.UsageError(f"a room's name has 1 to {settings.room_name_bytes_max} bytes")


def _read(file: str, bytes_max: int, setting: str = "room_bytes_max") -> bytes:
    try:
        if file == "-":
            data = sys.stdin.buffer.read(bytes_max + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(bytes_max + 1)
    except OSError as error:
        raise Failure(f"cannot read {file}: {error.strerror}") from error
    if len(data) > bytes_max:
        raise Failure(f"{file} is larger than {setting} ({bytes_max} bytes)")
    return data


@doc.command()
@click.argument("room")
@click.option("--yes", is_flag=True, help="Do not ask, even at a terminal.")
@_with_store
def delete(config_file: str | None, store: str | None, room: str, yes: bool) -> None:
    """Delete a document for good. Members who are connected are sent away.

    A person at a terminal is asked first; a script is not.
    """
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve
    from collab_server.administration_audit import AuditEvent, recorded  # noqa: PLC0415 - the same

    async def work() -> None:
        async with admin.opened_store(settings) as opened:
            stored = await admin.existing(opened, room)
            if not yes and sys.stdin.isatty():
                click.confirm(f"Delete {_printable(room)} ({stored.bytes_total} bytes) for good?", abort=True)
            with recorded(settings, AuditEvent.DELETE, room):
                await admin.delete(opened, room)

    asyncio.run(work())
    print(f"deleted {_printable(room)}")


@doc.command("versions")
@click.argument("room")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_with_store
def versions_command(config_file: str | None, store: str | None, room: str, as_json: bool) -> None:
    """List the versions of a document, newest first: automatic ones (s...) and named ones (v...)."""
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve
    from collab_server import administration_history as past  # noqa: PLC0415 - the same

    async def work() -> list[tuple[str, ...]]:
        rows: list[tuple[str, ...]] = []
        async with admin.opened_store(settings) as opened:
            async for version in past.list_versions(opened, room, settings):
                if as_json:
                    print(json.dumps(_version_data(version), ensure_ascii=False))
                else:
                    note = _printable(version.name or "") + (" (pinned)" if version.pinned else "")
                    who = _printable(", ".join(version.authors))
                    size = str(version.bytes_total)
                    rows.append((version.id, _time(version.at_ms), size, who or "-", note.strip()))
        return rows

    rows = asyncio.run(work())
    if rows:
        print(aligned([("VERSION", "AT", "BYTES", "AUTHORS", "NAME"), *rows]))
    elif not as_json:
        print("no versions", file=sys.stderr)


def _version_data(version: Any) -> dict[str, Any]:
    return {
        "id": version.id,
        "at_ms": version.at_ms,
        "since_ms": version.from_ms,
        "name": version.name,
        "pinned": version.pinned,
        "authors": list(version.authors),
        "updates": version.updates_count,
        "bytes": version.bytes_total,
    }


@doc.command("restore")
@click.argument("room")
@click.argument("version")
@_with_store
def restore_command(config_file: str | None, store: str | None, room: str, version: str) -> None:
    """Give a document the content of a version, by an edit: nobody's other edits are lost.

    Members who are connected see it at once. To undo it, restore the version before.
    """
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve
    from collab_server import administration_history as past  # noqa: PLC0415 - the same
    from collab_server.administration_audit import AuditEvent, recorded  # noqa: PLC0415 - the same

    async def work() -> bool:
        async with admin.opened_store(settings) as opened:
            return await past.restore_version(opened, room, version, settings)

    with recorded(settings, AuditEvent.RESTORE, room, version=version):
        done = asyncio.run(work())
    print(f"{_printable(room)} is as it was at {version}" + ("" if done else " already"))


@doc.command()
@click.argument("room")
@click.argument("file")
@_with_store
def archive(config_file: str | None, store: str | None, room: str, file: str) -> None:
    """Write a document with all its history to FILE, a zip; - is the standard output."""
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve
    from collab_server import administration_history as past  # noqa: PLC0415 - the same
    from collab_server.administration_audit import AuditEvent, recorded  # noqa: PLC0415 - the same

    async def work() -> bytes:
        async with admin.opened_store(settings) as opened:
            return await past.archive(opened, room, settings)

    with recorded(settings, AuditEvent.EXPORT, room, form="archive"):
        _write(file, asyncio.run(work()))


@doc.command()
@click.argument("file")
@click.argument("room", required=False)
@click.option("--revive", is_flag=True, help="Also if a document of this name was deleted.")
@_with_store
def unarchive(config_file: str | None, store: str | None, file: str, room: str | None, revive: bool) -> None:
    """Make a document of an archive, with all its history; under the name that it had, or ROOM."""
    settings = _loaded(config_file, {"store": store}).settings
    from collab_server import administration as admin  # noqa: PLC0415 - see serve
    from collab_server import administration_history as past  # noqa: PLC0415 - the same
    from collab_server.administration_audit import AuditEvent, recorded  # noqa: PLC0415 - the same

    if room is not None:
        _check_room(room, settings)
    data = _read(file, settings.archive_bytes_max, "archive_bytes_max")
    _make_default_folder(settings)

    async def work() -> Any:
        async with admin.opened_store(settings, create=True) as opened:
            return await past.unarchive(opened, data, room, settings, revive=revive)

    with recorded(settings, AuditEvent.IMPORT, room, form="archive") as about:
        made = asyncio.run(work())
        about["room"] = made.room
    print(
        f"{_printable(made.room)}: {made.bytes_total} bytes, {len(made.segments)} segments, "
        f"{len(made.versions)} named versions"
    )


def _printable(text: str) -> str:
    """A name that cannot move the cursor or colour the terminal."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _time(at_ms: int) -> str:
    return dt.datetime.fromtimestamp(at_ms / 1000, tz=dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


if __name__ == "__main__":
    sys.exit(main())
