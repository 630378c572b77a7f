"""What the programs read at their start: which place wins, and what is refused by its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app_core.base.errors import ConfigError
from app_core.bridge.connection import RedisSettings
from services.settings import load, parse_table, read_station

_SEED_VARIABLES = {
    "REDIS_HOST": "redis",
    "REDIS_PORT": "6380",
    "REDIS_DB": "2",
    "POSTGRES_HOST": "alerts-db",
    "POSTGRES_PORT": "5433",
    "POSTGRES_DB": "alerts",
    "POSTGRES_USER": "postgres",
    "POSTGRES_PASSWORD": "not-shown",
    "SDR_ARGS": "driver=airspy",
}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the developer's environment, and a folder without a ``station.toml``."""
    for name in list(os.environ):
        if name.startswith(("HERALD_", "REDIS_", "POSTGRES_", "SDR_", "CONFIG_PATH")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def _station(folder: Path, text: str, name: str = "station.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_without_anything_the_defaults_hold() -> None:
    loaded = load()
    assert loaded.station_path is None
    assert loaded.redis.describe() == "127.0.0.1:6379/0"
    assert loaded.program.herald_log_level == "INFO"


def test_the_seeds_names_are_all_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in _SEED_VARIABLES.items():
        monkeypatch.setenv(name, value)
    loaded = load()
    assert loaded.redis.describe() == "redis:6380/2"
    assert (loaded.program.postgres_host, loaded.program.postgres_port) == ("alerts-db", 5433)
    assert (loaded.program.postgres_db, loaded.program.postgres_user) == ("alerts", "postgres")
    assert loaded.program.sdr_args == "driver=airspy"
    assert "not-shown" not in repr(loaded)


def test_environment_wins_over_dotenv_and_dotenv_over_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _station(tmp_path, '[redis]\nhost = "of-toml"\nport = 1111\ndb = 1\n')
    assert load().redis.describe() == "of-toml:1111/1"
    dotenv_path = tmp_path / ".env"
    dotenv_path.write_text('REDIS_HOST=of-dotenv\nREDIS_PORT=2222\nTZ="UTC"\n# a remark\n')
    monkeypatch.setenv("CONFIG_PATH", str(dotenv_path))
    assert load().redis.describe() == "of-dotenv:2222/1"
    monkeypatch.setenv("REDIS_HOST", "of-environment")
    assert load().redis.describe() == "of-environment:2222/1"
    monkeypatch.setenv("REDIS_HOST", "")
    assert load().redis.describe() == "of-dotenv:2222/1", "an empty variable is none"


def test_config_path_may_name_the_station(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _station(tmp_path, '[station]\nname = "Roof"\n', "other.toml")
    monkeypatch.setenv("CONFIG_PATH", str(path))
    loaded = load()
    assert (loaded.station_path, loaded.station.name) == (path, "Roof")


def test_the_station_of_the_command_line_wins_then_herald_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _station(tmp_path, '[station]\nname = "here"\n')
    named = _station(tmp_path, '[station]\nname = "named"\n', "station.conf")
    given = _station(tmp_path, '[station]\nname = "given"\n', "given.toml")
    assert load().station.name == "here"
    monkeypatch.setenv("HERALD_STATION", str(named))
    assert load().station.name == "named"
    assert load(given).station.name == "given"


def test_a_dotenv_file_that_is_not_there_or_not_text_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONFIG_PATH", str(tmp_path / "nothing.env"))
    with pytest.raises(ConfigError, match=r"CONFIG_PATH.*nothing\.env"):
        load()
    (tmp_path / "binary.env").write_bytes(b"REDIS_HOST=\xff\xfe\n")
    monkeypatch.setenv("CONFIG_PATH", str(tmp_path / "binary.env"))
    with pytest.raises(ConfigError, match=r"binary\.env, which cannot be read"):
        load()


def test_variables_of_others_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_EXPORTER_PORT", "nonsense")
    monkeypatch.setenv("STATION", "nonsense")
    monkeypatch.setenv("HOST", "nonsense")
    dotenv_path = tmp_path / ".env"
    dotenv_path.write_text("POSTGRES_INITDB_ARGS=x\nSOMETHING=else\n")
    monkeypatch.setenv("CONFIG_PATH", str(dotenv_path))
    assert load().redis.describe() == "127.0.0.1:6379/0"


def test_an_unknown_name_of_ours_is_refused_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HERALD_LOGLEVEL", "DEBUG")
    with pytest.raises(ConfigError, match=r"unknown variable HERALD_LOGLEVEL; known are .*HERALD_LOG_LEVEL"):
        load()
    monkeypatch.delenv("HERALD_LOGLEVEL")
    (tmp_path / ".env").write_text("HERALD_STATON=x\n")
    monkeypatch.setenv("CONFIG_PATH", str(tmp_path / ".env"))
    with pytest.raises(ConfigError, match="unknown variable HERALD_STATON"):
        load()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_PORT", "0"),
        ("REDIS_PORT", "six"),
        ("REDIS_DB", "-1"),
        ("POSTGRES_PORT", "70000"),
        ("HERALD_LOG_LEVEL", "LOUD"),
        ("HERALD_LOG_JSON", "perhaps"),
    ],
)
def test_a_senseless_variable_is_refused_by_its_name(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"^{name}: "):
        load()


def test_a_log_level_may_be_written_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_LOG_LEVEL", "debug")
    assert load().program.herald_log_level == "DEBUG"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[recievers]\n", r"unknown table \[recievers\]; known are .*receivers"),
        ("[redis]\nhots = 'x'\n", r"redis\.hots: no such setting"),
        ("[station]\nnmae = 'x'\n", r"station\.nmae: no such setting"),
        ("[redis]\nport = 'x'\n", r"redis\.port: "),
        ("[redis\n", "is not TOML"),
        ("redis = 5\n", "redis must be a table"),
        ("station = 5\n", "station: "),
    ],
)
def test_a_broken_station_is_refused_with_the_place(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load(_station(tmp_path, text))


def test_a_station_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml cannot be read: No such file"):
        read_station(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_station(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        read_station(tmp_path / "binary.toml")


def test_the_redis_password_comes_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    password_path = tmp_path / "redis-password"
    password_path.write_text("s3cret\n")
    monkeypatch.setenv("REDIS_PASSWORD_FILE", str(password_path))
    loaded = load()
    assert loaded.redis.password_file == password_path
    assert "s3cret" not in repr(loaded)
    with pytest.raises(ConfigError, match=r"redis\.password: no such setting"):
        load(_station(tmp_path, "[redis]\npassword = 's3cret'\n", "with-password.toml"))


def test_every_wrong_setting_of_a_table_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        parse_table(RedisSettings, {"port": 0, "hots": "x", "db": -1}, "redis")
    text = str(refusal.value)
    assert all(name in text for name in ("redis.port", "redis.hots", "redis.db"))
