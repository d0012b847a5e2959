from __future__ import annotations

from pathlib import Path

import pytest

from collab_server.config import Settings, masked_url, parse_size, shown
from collab_server.errors import ConfigError
from collab_server.settings_sources import bounds, load
from collab_server.settings_tables import as_data, as_markdown, as_text

DOCUMENTATION = Path(__file__).parents[3] / "docs" / "settings.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


def complaint(folder: Path, **sources: object) -> str:
    """The one line that somebody reads who wrote this."""
    with pytest.raises(ConfigError) as failure:
        load(folder=folder, **sources)  # type: ignore[arg-type]
    text = str(failure.value)
    assert "\n" not in text
    assert "pydantic" not in text
    return text


def test_every_setting_has_a_default_within_its_own_bounds() -> None:
    Settings(**Settings().model_dump())
    assert Settings().port == 4000


@pytest.mark.parametrize("key", Settings.model_fields)
def test_every_setting_says_in_one_line_what_it_does(key: str) -> None:
    description = Settings.model_fields[key].description
    assert description
    assert "\n" not in description
    assert len(description) <= 110


@pytest.mark.parametrize(
    "key", [key for key, field in Settings.model_fields.items() if field.annotation in {int, float}]
)
def test_every_number_is_bounded_on_both_sides(key: str) -> None:
    least, above, most = bounds(key)
    assert most is not None
    assert least is not None or above is not None


def test_flags_win_over_environment_over_file_over_defaults(file: Path, tmp_path: Path) -> None:
    file.write_text('host = "a"\nport = 1\nops_port = 2\n')
    loaded = load(
        {"host": "c", "drain_s": None}, {"COLLAB_HOST": "b", "COLLAB_PORT": "11"}, file, folder=tmp_path
    )
    settings = loaded.settings
    assert (settings.host, settings.port, settings.ops_port, settings.drain_s) == ("c", 11, 2, 30)
    assert loaded.origins["host"] == "--host"
    assert loaded.origins["port"] == "COLLAB_PORT"
    assert loaded.origins["ops_port"] == f"{file} line 3"
    assert loaded.origins["drain_s"] == "default"


def test_the_file_in_the_current_folder_is_taken_if_there_is_one(tmp_path: Path) -> None:
    assert load(folder=tmp_path).settings.port == 4000
    (tmp_path / "collab-server.toml").write_text("port = 5")
    assert load(folder=tmp_path).settings.port == 5


def test_a_file_named_in_the_environment_is_taken_before_the_one_that_lies_there(
    file: Path, tmp_path: Path
) -> None:
    (tmp_path / "collab-server.toml").write_text("port = 5")
    file.write_text("port = 6")
    assert load(environment={"COLLAB_CONFIG": str(file)}, folder=tmp_path).settings.port == 6


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert complaint(tmp_path, config_file=missing) == (
        f"cannot read the settings file {missing}: No such file or directory"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prot = 1", "line 1: unknown setting prot; did you mean port?"),
        ("# a\nxyzzy = 1", "line 2: unknown setting xyzzy; `collab-server config` lists them all"),
        ("[server]\nport = 1", "line 1: settings are not in tables, but [server] is one"),
        ("\nport = 'x'", "line 2) must be a whole number from 0 to 65535, but is 'x'"),
        ("port = true", "must not be true or false, but is 'true'"),
        ("port = 1.5", "must be a whole number from 0 to 65535, but is '1.5'"),
        ("port = -1", "must be a whole number from 0 to 65535, but is '-1'"),
        ("port = []", "must be a whole number"),
        ("drain_s = nan", "must be a number above 0 and up to 86400, but is 'nan'"),
        ("frame_bytes_max = '16 parsecs'", "must be a whole number of bytes (16MiB and 64k work too)"),
        ("log_format = 'xml'", "must be one of text, json, but is 'xml'"),
        ("playground = 'perhaps'", "must be true or false, but is 'perhaps'"),
        ("host = ''", "must not be empty"),
        ("ports_from = 70000", "must be a whole number from 0 to 65535"),
        ("host = 4", "must be text"),
        ("tls_cert = 'a.pem'", "tls_cert is set but tls_key is not: TLS needs both"),
        ("connection_buffered_bytes_max = '64k'", "must not be more than connection_buffered_bytes_max"),
        ("port = ", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_that_says_where_and_what(
    file: Path, tmp_path: Path, text: str, expected: str
) -> None:
    file.write_text(text)
    assert expected in complaint(tmp_path, config_file=file)


def test_a_file_that_is_no_text_is_one_line(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"port = 1\xff")
    assert complaint(tmp_path, config_file=file).endswith("is not UTF-8 text (byte 8)")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("COLLAB_PROT", "1", "unknown setting COLLAB_PROT in the environment; did you mean COLLAB_PORT?"),
        ("COLLAB_PORT", "x", "COLLAB_PORT must be a whole number from 0 to 65535, but is 'x'"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, variable: str, value: str, expected: str
) -> None:
    assert complaint(tmp_path, environment={variable: value}) == expected


def test_other_programs_and_our_tests_variables_are_none_of_ours(tmp_path: Path) -> None:
    load(environment={"COLLAB_TEST_URL": "x", "COLLABORATE": "x", "PATH": "x"}, folder=tmp_path)


def test_a_mistake_in_a_flag_names_the_flag(tmp_path: Path) -> None:
    assert complaint(tmp_path, flags={"drain_s": "soon"}).startswith("--drain-s must be a number")


@pytest.mark.parametrize(
    ("written", "expected"),
    [("16MiB", 16 << 20), ("64k", 64 << 10), ("1 GB", 1 << 30), ("12", 12), ("12b", 12), (7, 7)],
)
def test_sizes_can_be_written_as_people_write_them(written: object, expected: int) -> None:
    assert parse_size(written) == expected


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("sqlite:///a/b.sqlite3", "sqlite:///a/b.sqlite3"),
        ("memory:", "memory:"),
        ("postgresql://u:s3cret@h:5432/d?sslmode=require", "postgresql://u:***@h:5432/d?sslmode=require"),
        ("postgresql://u:p@ss@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?user=u&password=s3cret", "postgresql://h/d?user=u&password=***"),
        ("postgresql://[::1/d", "postgresql:***"),
    ],
)
def test_a_password_in_a_url_is_never_shown(url: str, masked: str) -> None:
    assert masked_url(url) == masked


def test_a_list_is_commas_or_a_toml_list_or_a_flag_given_more_than_once(file: Path, tmp_path: Path) -> None:
    assert load(None, {"COLLAB_JWT_AUDIENCE": "a, b,,"}).settings.jwt_audience == ("a", "b")
    file.write_text('jwt_audience = ["a", "b"]')
    loaded = load({"jwt_audience": ()}, {}, file)
    assert loaded.settings.jwt_audience == ("a", "b")
    assert loaded.origins["jwt_audience"] == f"{file} line 1"
    assert load({"jwt_audience": ("c", "d,e")}, {}, file).settings.jwt_audience == ("c", "d", "e")
    file.write_text("jwt_audience = [1]")
    assert "jwt_audience" in (told := complaint(tmp_path, config_file=file))
    assert "must be text, or a list of texts" in told


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    secret = "s3cr3t-" * 6
    environment = {"COLLAB_JWT_SECRET": secret, "COLLAB_JWKS": "https://me:pass@keys.example/a,b.json"}
    loaded = load(None, environment, folder=tmp_path)
    assert loaded.settings.jwt_secret == secret
    for text in (as_text(loaded), str(as_data(loaded)), repr(loaded), str(loaded.settings)):
        assert "s3cr3t" not in text
        assert "pass" not in text.replace("passed", "")
    assert "https://me:***@keys.example/a, b.json" in as_text(loaded)


def test_what_is_shown_of_the_settings_holds_no_password(tmp_path: Path) -> None:
    loaded = load({"store": "postgresql://u:s3cret@h/d"}, folder=tmp_path)
    assert "s3cret" not in as_text(loaded)
    assert "s3cret" not in str(as_data(loaded))
    assert "postgresql://u:***@h/d" in as_text(loaded)


def test_the_table_has_a_line_for_each_setting_and_says_where_from(tmp_path: Path) -> None:
    lines = as_text(load({"port": "7"}, folder=tmp_path)).splitlines()
    assert len(lines) == 1 + len(Settings.model_fields)
    assert [line.split() for line in lines if line.startswith("port ")] == [["port", "7", "--port"]]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("frame_bytes_max", 16 << 20, "16 MiB"),
        ("frame_bytes_max", 1000, "1000"),
        ("drain_s", 30.0, "30"),
        ("tls_cert", None, "(none)"),
        ("playground", True, "true"),
    ],
)
def test_values_are_shown_as_people_read_them(key: str, value: object, expected: str) -> None:
    assert shown(key, value) == expected


def test_the_documentation_is_up_to_date() -> None:
    table = as_markdown()
    assert table in DOCUMENTATION.read_text(encoding="utf-8"), (
        "docs/settings.md is old: put the output of `collab-server config --markdown` into it"
    )
