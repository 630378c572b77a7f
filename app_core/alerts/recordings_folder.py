"""The folder of the recordings: torn ones are mended at start, the oldest ones go when there are too many."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path

from app_core.alerts.alert import PROGRAM_RELEASED
from app_core.alerts.flac_file import DISK_ERRORS, MENDING_SUFFIX, mend
from app_core.alerts.recorder import PART_SUFFIX

log = logging.getLogger(__name__)


def mend_recordings(directory: Path) -> list[Path]:
    """Complete the recordings that a killed process left behind: before any `Recording` is made there.

    All of them, whether anybody still knows their alerts or not.

    Returns
    -------
    mended
        Their final names. Files without a single sample are removed; one that the disk does not give stays as it is.
    """
    mended: list[Path] = []
    for part in sorted(directory.glob(f"*{PART_SUFFIX}")):
        final = part.with_name(part.name.removesuffix(PART_SUFFIX) + ".flac")
        try:
            n_samples = mend(part, final)
        except DISK_ERRORS as error:
            log.error("recording %s cannot be mended: %s", part.name, error)
            continue
        if n_samples:
            mended.append(final)
            log.info("recording %s was cut short and is mended: %d samples", final.name, n_samples)
        else:
            log.warning("recording %s held no audio and is removed", final.name)
    for copy in directory.glob(f"*{PART_SUFFIX}{MENDING_SUFFIX}"):
        with contextlib.suppress(OSError):
            copy.unlink()
    return mended


def prune_recordings(directory: Path, max_bytes: int, max_age_s: float, now_s: float | None = None) -> list[Path]:
    """Remove the oldest recordings until what is left keeps both limits; the newest one always stays.

    Parameters
    ----------
    directory
        Of the recordings; it need not exist. Those still being written are not looked at.
    max_bytes, max_age_s
        Limits of the sum of sizes, and of each one's age.
    now_s
        UTC seconds. Where it, or a file's time, lies before this program was made, the clock was wrong and the file's
        age is not known: no file is removed for it.

    Returns
    -------
    removed
        Their paths.
    """
    now_s = time.time() if now_s is None else now_s
    files: list[tuple[float, int, Path]] = []
    for path in directory.glob("*.flac"):
        try:
            stat = path.stat()
        except OSError:
            continue
        files.append((stat.st_mtime, stat.st_size, path))
    files.sort()
    total = sum(size for _, size, _ in files)
    removed: list[Path] = []
    for modified_s, size, path in files[:-1]:
        is_old = modified_s >= PROGRAM_RELEASED.timestamp() and now_s - modified_s > max_age_s
        if total <= max_bytes and not is_old:
            continue
        try:
            path.unlink()
        except OSError as error:
            log.warning("recording %s cannot be removed: %s", path.name, error)
            continue
        total -= size
        removed.append(path)
    return removed


class DiskRoom:
    """Keeps room on the disk at the cost of the oldest recordings, and says so once until there is room again.

    Parameters
    ----------
    directory
        Of the recordings; it need not exist, but the folder that it is in.
    keep_free_bytes
        The room to be kept; may be changed.
    """

    def __init__(self, directory: Path, keep_free_bytes: int) -> None:
        self._directory = directory
        self.keep_free_bytes = keep_free_bytes
        self._is_told = False

    def keep_free(self) -> None:
        """See that there is room before a recording begins: libsndfile cannot go on after a full disk."""
        with contextlib.suppress(OSError):
            lacking = self.keep_free_bytes - shutil.disk_usage(self._directory.parent).free
            if lacking > 0:
                self.make(lacking)
            elif self._is_told:
                self._is_told = False
                log.info("the disk has room for recordings again")

    def make(self, n_bytes: int | None = None) -> None:
        """Remove the oldest recordings, of `n_bytes` in all, or else of the room to be kept."""
        n_bytes = self.keep_free_bytes if n_bytes is None else n_bytes
        with contextlib.suppress(OSError):
            total = sum(path.stat().st_size for path in self._directory.glob("*.flac"))
            removed = prune_recordings(self._directory, max(0, total - n_bytes), float("inf"))
            if removed and not self._is_told:
                self._is_told = True
                log.warning("the disk is full: the oldest recordings are removed, %d of them now", len(removed))
