"""Alerts in a database, for those who look back: SQLite by default, any database that SQLAlchemy speaks.

Each alert is one row, found by its id; storing it again, or a later revision, changes that row. Two processes that
heard the same alert give it the same id, so their hearings meet in one row. The order of rows is the order in which
alerts came, which is right even where the clock is not.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, NoSuchModuleError, SQLAlchemyError

from app_core.alerts.alert import Alert
from app_core.base.errors import ConfigError, LinkError, WireError

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
"""Version of the tables; a database of a later one is refused."""

SQLITE_BUSY_S = 10.0
"""How long one writer waits for another. [seconds]"""

_metadata = MetaData()

_schema = Table("herald_schema", _metadata, Column("version", Integer, primary_key=True))

_alerts = Table(
    "herald_alerts",
    _metadata,
    Column("row_id", Integer, primary_key=True, autoincrement=True),
    Column("alert_id", String(64), nullable=False, unique=True),
    Column("revision", Integer, nullable=False),
    Column("state", String(8), nullable=False),
    Column("originator", String(3), nullable=False),
    Column("event_code", String(3), nullable=False, index=True),
    Column("heard_at_s", Float(53), nullable=False, index=True),
    Column("demo", Boolean, nullable=False),
    Column("document", Text, nullable=False),
)

_T = TypeVar("_T")


class AlertStore:
    """One database. Made without touching it; every method connects when it has to and may be called again.

    Parameters
    ----------
    url
        SQLAlchemy URL, or the path of an SQLite file.

    Raises
    ------
    ConfigError
        If `url` is not one, or the database's driver is not installed.
    """

    def __init__(self, url: str | URL | Path) -> None:
        self._url = URL.create("sqlite", database=str(url)) if isinstance(url, Path) else _parse_url(url)
        is_sqlite = self._url.get_backend_name() == "sqlite"
        try:
            self._engine: Engine = create_engine(
                self._url, pool_pre_ping=not is_sqlite, connect_args={"timeout": SQLITE_BUSY_S} if is_sqlite else {}
            )
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            shown = self._url.render_as_string(hide_password=True)
            raise ConfigError(f"the alert database {shown} cannot be used: {error}") from error
        if is_sqlite:
            event.listen(self._engine, "connect", _prepare_sqlite)
            event.listen(self._engine, "begin", _begin_sqlite)
        self._is_ready = False

    def put(self, alert: Alert) -> None:
        """Store an alert, or a later revision of it; an earlier one, or the same again, changes nothing.

        Raises
        ------
        LinkError
            If the database is away, locked or full.
        ConfigError
            If it is of a later version.
        """
        try:
            self._do(lambda connection: _put(connection, alert), writes=True)
        except _InsertedByAnotherError:
            try:
                self._do(lambda connection: _put(connection, alert), writes=True)
            except _InsertedByAnotherError as error:
                raise LinkError(f"the alert database refuses alert {alert.alert_id}: {error.__cause__}") from error

    def latest(self, count: int = 50) -> list[Alert]:
        """Give the alerts that came last, the last one first; a row that is not an alert of this version is left out.

        Raises
        ------
        LinkError, ConfigError
            As `put`.
        """
        query = select(_alerts.c.document).order_by(_alerts.c.row_id.desc()).limit(count)
        documents = self._do(lambda connection: list(connection.execute(query).scalars()))
        return [alert for alert in map(_read, documents) if alert is not None]

    def get(self, alert_id: str) -> Alert | None:
        """Give one alert by its id, or None.

        Raises
        ------
        LinkError, ConfigError
            As `put`.
        """
        document = self._do(lambda connection: _find(connection, alert_id))
        return None if document is None else _read(document)

    def close(self) -> None:
        """Let go of all connections; a later call makes new ones."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _do(self, work: Callable[[Connection], _T], writes: bool = False) -> _T:
        try:
            if not self._is_ready:
                with self._writing() as connection:
                    _make_tables(connection)
                self._is_ready = True
            with self._writing() if writes else self._engine.begin() as connection:
                return work(connection)
        except (SQLAlchemyError, sqlite3.Error, OSError) as error:
            # Whatever is in the pool may be broken, and the file may be another one when it is back.
            self._engine.dispose()
            self._is_ready = False
            reason = str(error).splitlines()[0]
            raise LinkError(f"alert database {self._url.render_as_string(hide_password=True)}: {reason}") from error

    def _writing(self) -> Any:
        return self._engine.execution_options(herald_writes=True).begin()


class _InsertedByAnotherError(Exception):
    """Another process inserted the alert between our look and our insert."""


def _parse_url(url: str | URL) -> URL:
    try:
        return make_url(url)
    except ArgumentError as error:
        raise ConfigError("the alert database's URL is not one; it looks like sqlite:////path/alerts.db") from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transactions begin too late to keep a look and a change together; ours begin in _begin_sqlite.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("herald_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_tables(connection: Connection) -> None:
    _metadata.create_all(connection)
    version = connection.execute(select(_schema.c.version)).scalars().first()
    if version is None:
        connection.execute(insert(_schema).values(version=SCHEMA_VERSION))
    elif version > SCHEMA_VERSION:
        raise ConfigError(
            f"the alert database is of version {version}, this program knows {SCHEMA_VERSION}: update the program, "
            "or name another database"
        )


def _find(connection: Connection, alert_id: str) -> str | None:
    return connection.execute(select(_alerts.c.document).where(_alerts.c.alert_id == alert_id)).scalar_one_or_none()


def _put(connection: Connection, alert: Alert) -> None:
    known = _find(connection, alert.alert_id)
    if known is None:
        try:
            connection.execute(insert(_alerts).values(_row(alert)))
        except IntegrityError as error:
            raise _InsertedByAnotherError from error
        return
    stored = _read(known)
    merged = alert if stored is None else merge_alerts(stored, alert)
    connection.execute(update(_alerts).where(_alerts.c.alert_id == alert.alert_id).values(_row(merged)))


def _read(document: str) -> Alert | None:
    try:
        return Alert.from_json(document)
    except WireError as error:
        log.error("a row of the alert database is left out: %s", error)
        return None


def _row(alert: Alert) -> dict[str, object]:
    return {
        "alert_id": alert.alert_id,
        "revision": alert.revision,
        "state": alert.state,
        "originator": alert.originator,
        "event_code": alert.event_code,
        "heard_at_s": alert.heard_at.timestamp(),
        "demo": alert.demo,
        "document": alert.to_json().decode(),
    }


def merge_alerts(known: Alert, alert: Alert) -> Alert:
    """Make one of two accounts of the same alert: the further one, with the hearings of both."""
    ahead, behind = (alert, known) if _progress(alert) >= _progress(known) else (known, alert)
    heard = {(hearing.channel_id, hearing.receiver_id) for hearing in ahead.hearings}
    others = tuple(h for h in behind.hearings if (h.channel_id, h.receiver_id) not in heard)
    merged = replace(ahead, hearings=ahead.hearings + others)
    if merged.recording is None and behind.recording is not None:
        merged = replace(
            merged, recording=behind.recording, recording_complete=behind.recording_complete, marks=behind.marks
        )
    return merged


def _progress(alert: Alert) -> tuple[bool, int]:
    return alert.state == "ended", alert.revision
