"""What both programs read at their start: environment, dotenv, and ``station.toml``.

The order, the stronger first: environment variables, the dotenv file that ``CONFIG_PATH`` names, ``station.toml``,
defaults. ``CONFIG_PATH`` may name a TOML file instead: it is then the ``station.toml``. Unknown names are errors in
TOML and among ``HERALD_*`` alone, since an environment is shared with others. Secrets come from files.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from app_core.base.errors import ConfigError
from app_core.bridge.connection import RedisSettings
from services.presets import expand_presets

STATION_TABLES = (
    "station",
    "redis",
    "receivers",
    "channels",
    "alerts",
    "captures",
    "sources",
    "icecast",
    "web_audio",
    "loudspeaker",
    "dead_air",
)
"""Tables that ``station.toml`` may hold."""

STATION_PLACES = (Path("station.toml"), Path("/etc/herald/station.toml"))
"""Where ``station.toml`` is looked for when nothing names it."""

_TEST_VARIABLES = {"HERALD_CORPUS"}
"""Variables of the test suite, which may stand in a developer's environment."""


LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _log_level(value: str) -> str:
    if value.upper() not in LOG_LEVELS:
        raise ValueError(f"must be one of {', '.join(LOG_LEVELS)}")
    return value.upper()


class StationTable(BaseModel):
    """The ``[station]`` table: whose station this is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "Herald"
    demo: bool = False
    prometheus_host: str = "127.0.0.1"
    prometheus_port_sdr: Annotated[int, Field(ge=1, le=65535)] | None = None
    prometheus_port_audio: Annotated[int, Field(ge=1, le=65535)] | None = None
    prometheus_port_streams: Annotated[int, Field(ge=1, le=65535)] | None = None


class ProgramSettings(BaseSettings):
    """Environment of both programs: the seed's names, and ``HERALD_*``."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    redis_host: str | None = None
    redis_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    redis_db: Annotated[int, Field(ge=0, le=1023)] | None = None
    redis_url: str | None = None
    redis_username: str | None = None
    redis_password_file: Path | None = None
    postgres_host: str | None = None
    postgres_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    postgres_db: str = "alerts"
    postgres_user: str = "postgres"
    postgres_password: SecretStr | None = None
    postgres_password_file: Path | None = None
    sdr_args: str | None = None
    config_path: Path | None = None
    herald_station: Path | None = None
    herald_data_dir: Path | None = None
    herald_log_level: Annotated[str, AfterValidator(_log_level)] = "INFO"
    herald_log_json: bool = False
    herald_log_file: Path | None = None
    herald_prometheus_host: str | None = None
    herald_prometheus_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    herald_cache_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """Everything that was read.

    Attributes
    ----------
    program
        The environment.
    station_path
        The ``station.toml`` that was read, or None.
    tables
        Its tables, as TOML gives them, with the presets expanded; each half of the program checks its own.
    redis
        Where Redis is, environment and ``[redis]`` table joined.
    station
        The ``[station]`` table.
    """

    program: ProgramSettings
    station_path: Path | None
    tables: Mapping[str, Any]
    redis: RedisSettings
    station: StationTable


def load(station_path: Path | None = None) -> Loaded:
    """Read all settings.

    Parameters
    ----------
    station_path
        ``station.toml`` as named on the command line; it wins over the environment.

    Raises
    ------
    ConfigError
        If a file cannot be read or holds nonsense, or a name is unknown; the text names it.
    """
    config_path = os.environ.get("CONFIG_PATH")
    dotenv_path = Path(config_path) if config_path and not config_path.endswith(".toml") else None
    program = _program_settings(dotenv_path)
    if station_path is None:
        station_path = _find_station(program)
    tables = {} if station_path is None else expand_presets(read_station(station_path))
    station = parse_table(StationTable, tables.get("station", {}), "station")
    return Loaded(program, station_path, tables, _redis_settings(program, tables.get("redis", {})), station)


def load_redis_settings() -> RedisSettings:
    """Give where Redis is by the environment alone.

    Raises
    ------
    ConfigError
        If a variable is wrong.
    """
    return _redis_settings(_program_settings(None), {})


def settings_variables() -> set[str]:
    """Give the names of all variables that the programs read, and of all others of this environment that look so."""
    known = {field.upper() for field in ProgramSettings.model_fields}
    return known | {name for name in os.environ if name.upper().startswith("HERALD_")}


def data_directory(loaded: Loaded) -> Path:
    """Give the folder of everything that is kept: ``HERALD_DATA_DIR``, else the user's state folder."""
    if loaded.program.herald_data_dir is not None:
        return loaded.program.herald_data_dir
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "herald"


def read_station(path: Path) -> dict[str, Any]:
    """Read ``station.toml``.

    Raises
    ------
    ConfigError
        If it cannot be read, is not TOML, or holds an unknown table.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for name in tables:
        if name not in STATION_TABLES:
            raise ConfigError(f"{path}: unknown table [{name}]; known are {', '.join(STATION_TABLES)}")
    return tables


def parse_table(kind: Any, table: object, name: str, source: str = "station.toml: ") -> Any:
    """Check one table of ``station.toml``, or of `source`, which begins every complaint.

    Raises
    ------
    ConfigError
        If it holds an unknown or wrong setting; the text names it.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_python(table)
    except ValidationError as error:
        raise ConfigError("\n".join(source + _explain(name, problem) for problem in error.errors())) from error


def _explain(name: str, problem: Any) -> str:
    where = ".".join([name, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such setting"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _program_settings(dotenv_path: Path | None) -> ProgramSettings:
    names = {name for name, value in os.environ.items() if value}
    if dotenv_path is not None:
        if not dotenv_path.is_file():
            raise ConfigError(f"CONFIG_PATH names {dotenv_path}, which is not a file")
        try:
            values = dotenv_values(dotenv_path)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"CONFIG_PATH names {dotenv_path}, which cannot be read: {error}") from error
        for name, value in values.items():
            if value is None:
                raise ConfigError(f"{dotenv_path}: {name!r} has no value: write {name}=VALUE, or take the line out")
        names |= set(values)
    known = {field.upper() for field in ProgramSettings.model_fields} | _TEST_VARIABLES
    for name in sorted(names):
        if name.upper().startswith("HERALD_") and name.upper() not in known:
            choices = ", ".join(sorted(known_name for known_name in known if known_name.startswith("HERALD_")))
            raise ConfigError(f"unknown variable {name}; known are {choices}")
    try:
        return ProgramSettings(_env_file=dotenv_path)  # type: ignore[call-arg]  # pydantic-settings' own argument
    except ValidationError as error:
        lines = [f"{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}" for problem in error.errors()]
        raise ConfigError("\n".join(lines)) from error


def _find_station(program: ProgramSettings) -> Path | None:
    if program.herald_station is not None:
        return program.herald_station
    if program.config_path is not None and program.config_path.suffix == ".toml":
        return program.config_path
    return next((place for place in STATION_PLACES if place.is_file()), None)


def _redis_settings(program: ProgramSettings, table: object) -> RedisSettings:
    if not isinstance(table, dict):
        raise ConfigError("station.toml: redis must be a table")
    environment = {
        name.removeprefix("redis_"): value
        for name in ("redis_host", "redis_port", "redis_db", "redis_url", "redis_username", "redis_password_file")
        if (value := getattr(program, name)) is not None
    }
    settings: RedisSettings = parse_table(RedisSettings, {**table, **environment}, "redis")
    return settings
