"""The folder of captures: names, and how much of the disk it may take.

``captures/`` holds what somebody asked for, ``captures/automatic/`` what was saved around alerts and near misses. When
room is needed the oldest automatic captures go; those that were asked for are never removed, and when they fill the
folder the next capture is refused.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import stat
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app_core.base.errors import ConfigError, DeviceError

log = logging.getLogger(__name__)

AUTOMATIC = "automatic"
DATA_SUFFIX = ".sigmf-data"
META_SUFFIX = ".sigmf-meta"
PART_SUFFIX = ".part"

ABANDONED_AFTER_S = 600.0
"""Age of an unfinished file after which the one who wrote it is taken for dead. [seconds]"""


class CaptureSettings(BaseModel):
    """The ``[captures]`` table of ``station.toml``.

    Attributes
    ----------
    folder
        None: ``captures`` in the data directory.
    longest_s, max_bytes
        Limits of one capture. [seconds; bytes]
    folder_max_bytes
        Limit of all captures together.
    keep_free_bytes
        Room on the disk that captures leave to others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: Path | None = None
    longest_s: Annotated[float, Field(gt=0.0, le=86_400.0)] = 600.0
    max_bytes: Annotated[int, Field(ge=1)] = 1_000_000_000
    folder_max_bytes: Annotated[int, Field(ge=0)] = 4_000_000_000
    keep_free_bytes: Annotated[int, Field(ge=0)] = 500_000_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where one capture will be, and the room that is kept for it.

    Attributes
    ----------
    data_path, meta_path
        Not there yet.
    n_bytes
        Room kept.
    """

    data_path: Path
    meta_path: Path
    n_bytes: int


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    n_bytes: int
    modified: float


class CaptureFolder:
    """The folder, shared by the capture threads of all receivers.

    Parameters
    ----------
    path
        Made when the first capture comes.
    settings
        Limits.
    """

    def __init__(self, path: Path, settings: CaptureSettings) -> None:
        self.path = path
        self.settings = settings
        self._lock = threading.Lock()
        self._reserved: dict[Path, int] = {}
        self.removed_count = 0

    def reserve(self, name: str, n_bytes: int, *, automatic: bool) -> Place:
        """Find a free name, and room for `n_bytes`; `release` gives the room back.

        Raises
        ------
        ConfigError
            If the capture is larger than one may be, or no room can be made.
        DeviceError
            If the folder cannot be used.
        """
        settings = self.settings
        if n_bytes > settings.max_bytes:
            raise ConfigError(f"the capture would take {n_bytes} bytes; the longest may take {settings.max_bytes}")
        folder = self.path / AUTOMATIC if automatic else self.path
        with self._lock:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                self._make_room(n_bytes)
                data_path, meta_path = self._free_name(folder, name)
            except OSError as error:
                raise DeviceError(f"{self.path} cannot be used for captures: {error.strerror or error}") from error
            self._reserved[data_path] = n_bytes
        return Place(data_path, meta_path, n_bytes)

    def release(self, place: Place) -> None:
        """Give back the room of a capture that is written, or will not be."""
        with self._lock:
            self._reserved.pop(place.data_path, None)

    def _free_name(self, folder: Path, name: str) -> tuple[Path, Path]:
        number = 1
        while True:
            stem = name if number == 1 else f"{name}_{number}"
            data_path, meta_path = folder / (stem + DATA_SUFFIX), folder / (stem + META_SUFFIX)
            if not data_path.exists() and not meta_path.exists() and data_path not in self._reserved:
                return data_path, meta_path
            number += 1

    def _make_room(self, n_bytes: int) -> None:
        """Remove the oldest automatic captures until `n_bytes` fit; none of them when that would not be enough."""
        files = self._files()
        self._remove_abandoned(files)
        shortfall, why = self._shortfall(files, n_bytes)
        captures = _automatic_captures(files)
        if shortfall > sum(file.n_bytes for capture in captures for file in capture):
            raise ConfigError(f"no room for a capture of {n_bytes} bytes: {why}; remove captures from {self.path}")
        for capture in captures:
            if shortfall <= 0:
                return
            shortfall -= sum(file.n_bytes for file in capture)
            # The metadata first: samples without it are rubbish, it without samples is a lie.
            for file in sorted(capture, key=lambda file: file.path.suffix, reverse=True):
                file.path.unlink(missing_ok=True)
            self.removed_count += 1
            log.info("removed the capture %s to make room", capture[0].path.stem)

    def _shortfall(self, files: list[_File], n_bytes: int) -> tuple[int, str]:
        """Give the bytes that another `n_bytes` lack, and why; room that is kept for open captures counts as taken."""
        reserved = sum(self._reserved.values())
        held = sum(file.n_bytes for file in files if file.path.suffix != PART_SUFFIX)
        of_folder = held + reserved + n_bytes - self.settings.folder_max_bytes
        # What an open capture has written already is missing from the free room, and is still counted as kept.
        written = sum(file.n_bytes for file in files if file.path.suffix == PART_SUFFIX)
        free = shutil.disk_usage(self.path).free + min(written, reserved)
        of_disk = self.settings.keep_free_bytes + reserved + n_bytes - free
        if of_folder >= of_disk:
            return of_folder, f"the folder holds {held} bytes of at most {self.settings.folder_max_bytes}"
        return of_disk, f"the disk has {free} bytes free, of which {self.settings.keep_free_bytes} are not for captures"

    def _files(self) -> list[_File]:
        """Look at all files; one that goes away meanwhile is not there."""
        files: list[_File] = []
        for folder in (self.path, self.path / AUTOMATIC):
            if not folder.is_dir():
                continue
            for path in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    if stat.S_ISREG(status.st_mode):
                        files.append(_File(path, status.st_size, status.st_mtime))
        return files

    def _remove_abandoned(self, files: list[_File]) -> None:
        oldest = time.time() - ABANDONED_AFTER_S
        for file in files[:]:
            if file.path.suffix == PART_SUFFIX and file.modified < oldest:
                file.path.unlink(missing_ok=True)
                files.remove(file)


def _automatic_captures(files: list[_File]) -> list[list[_File]]:
    """Give the files of each automatic capture, the oldest capture first."""
    captures: dict[str, list[_File]] = {}
    for file in files:
        if file.path.parent.name == AUTOMATIC and file.path.suffix in (DATA_SUFFIX, META_SUFFIX):
            captures.setdefault(file.path.stem, []).append(file)
    return sorted(captures.values(), key=lambda capture: min(file.modified for file in capture))
