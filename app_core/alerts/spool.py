"""Alerts on disk before anything else happens to them: one JSON file each, and what has been handed over.

A file is written under a temporary name, fsynced, renamed, and its directory fsynced, so that at any instruction at
which the process may be killed there is either the old file, whole, or the new one. An entry holds the alert, the time
until which its key is remembered, and two marks: the revision that the store has, and the state that was published. A
mark is set after the deed; a process that is killed between the two does the deed again, so that nothing is ever lost,
and both deeds bear the alert's id, by which a second one can be told.

A disk that is full or gone costs no alert: the entry stays in memory, is handed over all the same, and is written when
the disk takes it (`Spool.write_unsaved`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import orjson

from app_core.alerts.alert import Alert
from app_core.alerts.tracker import remaining_s
from app_core.base.errors import LinkError, WireError

log = logging.getLogger(__name__)

ENTRY_VERSION = 1
"""Version of the files' JSON."""

PUBLISHED = ("nothing", "begun", "ended")
"""What has been published of an alert, in order."""

_LARGEST_ENTRY_BYTES = 1_000_000

Published = Literal["nothing", "begun", "ended"]


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """One alert and what has become of it.

    Attributes
    ----------
    alert
        Its latest revision.
    boot_id
        Of the run of the machine in which `expires_monotonic_s` counts.
    expires_monotonic_s
        When the tracker forgets it. [seconds of the monotonic clock]
    stored_revision
        Revision that the store has; 0 for none.
    published
        One of `PUBLISHED`.
    published_channels
        How many channels the alert had then; None where that is not known.
    """

    alert: Alert
    boot_id: str
    expires_monotonic_s: float
    stored_revision: int = 0
    published: Published = "nothing"
    published_channels: int | None = None

    @property
    def is_handed_over(self) -> bool:
        """Whether the message has ended and everybody has heard of it."""
        return self.published == "ended" and self.stored_revision >= self.alert.revision

    def to_json(self) -> bytes:
        """Write the entry as UTF-8 JSON."""
        return orjson.dumps(
            {
                "version": ENTRY_VERSION,
                "boot_id": self.boot_id,
                "expires_monotonic_s": self.expires_monotonic_s,
                "stored_revision": self.stored_revision,
                "published": self.published,
                "published_channels": self.published_channels,
                "alert": self.alert.to_dict(),
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> SpoolEntry:
        """Read what `to_json` wrote.

        Raises
        ------
        WireError
            If `text` is anything else.
        """
        try:
            fields = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise WireError(f"not JSON: {error}") from None
        if not isinstance(fields, dict) or fields.get("version") != ENTRY_VERSION:
            raise WireError("not a spool entry of this version")
        boot_id, expires, stored = (fields.get(n) for n in ("boot_id", "expires_monotonic_s", "stored_revision"))
        published, n_channels = fields.get("published"), fields.get("published_channels")
        if type(boot_id) is not str or type(expires) not in (int, float) or type(stored) is not int:
            raise WireError("a spool entry's fields are of other types")
        if n_channels is not None and type(n_channels) is not int:
            raise WireError(f"a spool entry was published with {n_channels!r} channels")
        if published not in PUBLISHED:
            raise WireError(f"a spool entry was published as {published!r}")
        alert = Alert.from_dict(fields.get("alert"))
        return cls(alert, boot_id, float(expires or 0.0), stored, published, n_channels)


def read_boot_id() -> str:
    """Name this run of the machine; empty where that cannot be known, which equals no other run."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


class Spool:
    """Entries in memory and on disk. Every method may be called from any thread.

    Parameters
    ----------
    directory
        Holds one ``<alert_id>.json`` an alert, and ``dead/`` for files that could not be read; it is made if need be.
    boot_id
        See `SpoolEntry`.
    """

    def __init__(self, directory: Path, boot_id: str | None = None) -> None:
        self.directory = directory
        self.boot_id = read_boot_id() if boot_id is None else boot_id
        self.write_errors = 0
        self.malformed_files = 0
        self._entries: dict[str, SpoolEntry] = {}
        self._unsaved: set[str] = set()
        self._lock = threading.Lock()

    def load(self, now: datetime, monotonic_s: float) -> list[SpoolEntry]:
        """Read the directory: at start, before anything is put. Leftovers of killed writers are removed.

        Expiry times of an earlier run of the machine are counted anew from `now` by the purge times.

        Raises
        ------
        LinkError
            If the directory cannot be made or listed.
        """
        try:
            (self.directory / "dead").mkdir(parents=True, exist_ok=True)
            paths = sorted(self.directory.iterdir())
        except OSError as error:
            raise LinkError(f"the alert spool cannot be read: {error}") from error
        for path in paths:
            if path.suffix == ".tmp":
                with contextlib.suppress(OSError):
                    path.unlink()
            elif path.suffix == ".json":
                entry = self._read(path)
                if entry is not None:
                    self._entries[entry.alert.alert_id] = self._in_this_boot(entry, now, monotonic_s)
        self._entries = dict(sorted(self._entries.items(), key=lambda item: item[1].alert.heard_at))
        return list(self._entries.values())

    def put(self, alert: Alert, expires_monotonic_s: float) -> None:
        """Take a new alert or a new revision of one; it is on the disk when this returns.

        Raises
        ------
        LinkError
            If the disk did not take it; the entry is in memory and unsaved.
        """
        with self._lock:
            known = self._entries.get(alert.alert_id)
            if known is None:
                entry = SpoolEntry(alert, self.boot_id, expires_monotonic_s)
            else:
                entry = replace(known, alert=alert, expires_monotonic_s=expires_monotonic_s, boot_id=self.boot_id)
            self._save(entry)

    def mark_stored(self, alert_id: str, revision: int) -> None:
        """Note that the store has a revision.

        Raises
        ------
        LinkError
            As `put`.
        """
        self._change(alert_id, lambda entry: replace(entry, stored_revision=max(entry.stored_revision, revision)))

    def mark_published(self, alert_id: str, published: Published, n_channels: int | None = None) -> None:
        """Note what has been published, and with how many channels.

        Raises
        ------
        LinkError
            As `put`.
        """
        self._change(alert_id, lambda entry: replace(entry, published=published, published_channels=n_channels))

    def write_unsaved(self) -> int:
        """Try again to write what the disk did not take, and return how many entries are still unsaved."""
        with self._lock:
            for alert_id in sorted(self._unsaved):
                try:
                    self._save(self._entries[alert_id])
                except LinkError:
                    break
            return len(self._unsaved)

    def forget_expired(self, monotonic_s: float, open_ids: frozenset[str] = frozenset()) -> None:
        """Remove the entries that nobody needs any more: handed over, expired, and not among `open_ids`."""
        with self._lock:
            for alert_id, entry in list(self._entries.items()):
                if entry.is_handed_over and entry.expires_monotonic_s <= monotonic_s and alert_id not in open_ids:
                    try:
                        self._path(alert_id).unlink(missing_ok=True)
                    except OSError as error:
                        log.warning("the spool's file of alert %s cannot be removed: %s", alert_id, error)
                        continue
                    self._unsaved.discard(alert_id)
                    del self._entries[alert_id]

    def get(self, alert_id: str) -> SpoolEntry | None:
        """Give one entry, or None."""
        return self._entries.get(alert_id)

    def entries(self) -> list[SpoolEntry]:
        """Give all entries, the oldest first."""
        with self._lock:
            return list(self._entries.values())

    @property
    def backlog(self) -> int:
        """Number of entries that have something to be handed over."""
        # Without the lock, which may be held while the disk is slow; copying the list is one step for other threads.
        return sum(1 for entry in list(self._entries.values()) if wants_store(entry) or next_publication(entry))

    @property
    def unsaved(self) -> int:
        """Number of entries that the disk did not take as they are in memory."""
        return len(self._unsaved)

    def _change(self, alert_id: str, change: Callable[[SpoolEntry], SpoolEntry]) -> None:
        with self._lock:
            entry = self._entries.get(alert_id)
            if entry is not None:
                self._save(change(entry))

    def _save(self, entry: SpoolEntry) -> None:
        alert_id = entry.alert.alert_id
        self._entries[alert_id] = entry
        try:
            write_durably(self._path(alert_id), entry.to_json())
        except OSError as error:
            # Only now: one that is just being written is no sign of a full disk.
            self._unsaved.add(alert_id)
            self.write_errors += 1
            raise LinkError(f"alert {alert_id} cannot be written to the spool: {error}") from error
        self._unsaved.discard(alert_id)

    def _path(self, alert_id: str) -> Path:
        return self.directory / f"{alert_id}.json"

    def _read(self, path: Path) -> SpoolEntry | None:
        try:
            if path.stat().st_size > _LARGEST_ENTRY_BYTES:
                raise WireError("too large")
            entry = SpoolEntry.from_json(path.read_bytes())
            if entry.alert.alert_id != path.stem:
                raise WireError(f"it holds alert {entry.alert.alert_id}")
        except (OSError, WireError) as error:
            self.malformed_files += 1
            log.error("the spool's file %s is set aside in %s: %s", path.name, path.parent / "dead", error)
            try:
                path.replace(path.parent / "dead" / path.name)
            except OSError as move_error:
                log.error("it could not be set aside: %s", move_error)
            return None
        return entry

    def _in_this_boot(self, entry: SpoolEntry, now: datetime, monotonic_s: float) -> SpoolEntry:
        if entry.boot_id and entry.boot_id == self.boot_id:
            return entry
        alert = entry.alert
        has_expired = alert.purge_time is not None and not alert.clock_doubt and now >= alert.purge_time
        expires = monotonic_s if has_expired else monotonic_s + remaining_s(alert, now)
        return replace(entry, boot_id=self.boot_id, expires_monotonic_s=expires)


def wants_store(entry: SpoolEntry) -> bool:
    """Whether the store lacks the entry's revision."""
    return entry.stored_revision < entry.alert.revision


def next_publication(entry: SpoolEntry) -> Alert | None:
    """Give the alert as it is to be published next, or None.

    An alert is published as it begins and as it ends, in this order, even if both are overdue; and, while its message
    goes on, when more channels hear it, for each of them has listeners who are to be told.
    """
    if entry.published == "nothing":
        return replace(entry.alert, end_reason=None, ended_at=None)
    if entry.published == "begun" and (entry.alert.state == "ended" or _has_more_channels(entry)):
        return entry.alert
    return None


def _has_more_channels(entry: SpoolEntry) -> bool:
    return entry.published_channels is not None and len(entry.alert.channels) > entry.published_channels


def write_durably(path: Path, content: bytes) -> None:
    """Write a file so that it is whole and on the disk, or not there at all.

    Raises
    ------
    OSError
        If the disk does not take it; an earlier file of that name is then still there.
    """
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk.

    Raises
    ------
    OSError
        If the disk does not take them.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
