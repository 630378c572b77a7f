"""Audio of alerts: the last seconds of every channel in memory, and FLAC files from ten seconds before the header on.

Positions are sample indices of a channel's time line (`PreRoll`): samples that were lost count, as silence, so that a
recording lasts as long as what it recorded. Audio is 16 bit, mono, at the channel's rate.

A file is written as ``<alert_id>.flac.part`` and gets its name when it is complete. libsndfile hands every encoded
block to the system as it comes, but writes the length into the header only at the end; a file whose process was killed
therefore lacks its length and less than two blocks of 4096 samples, and players cannot seek in it. `mend_recordings`
writes such files anew at start.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from app_core.alerts.alert import PROGRAM_RELEASED
from app_core.alerts.spool import sync_directory
from app_core.base.errors import LinkError

log = logging.getLogger(__name__)

PART_SUFFIX = ".flac.part"

_SILENCE = np.zeros(16_384, dtype=np.int16)
_MEND_SAMPLES = 1024
_LONGEST_OVERLAP_S = 2.0
_SYNC_EVERY_S = 5.0
_SYSTEM_ERROR = 2
"""libsndfile's code of an error that is the system's and not the file's."""


def to_int16(pcm: NDArray[np.float32]) -> NDArray[np.int16]:
    """Quantise audio, in a copy.

    Parameters
    ----------
    pcm
        Shape (n,); what is beyond full scale is clipped, what is not a number is silence. [full scale = ±1]

    Returns
    -------
    pcm_int16
        Shape (n,). [full scale = ±32767]
    """
    scaled = np.clip(pcm, np.float32(-1.0), np.float32(1.0))
    scaled *= np.float32(32767.0)
    np.rint(scaled, out=scaled)
    np.nan_to_num(scaled, copy=False, nan=0.0)
    return scaled.astype(np.int16)


class PreRoll:
    """The last seconds of one channel, on one time line that runs through restarts of its stream.

    Parameters
    ----------
    sample_rate_hz
        Of the audio; another rate needs another `PreRoll`.
    seconds
        Length of the memory.

    Attributes
    ----------
    end
        Index after the last sample on the time line, which begins at 0.
    lost_samples
        Samples that were filled with silence.
    """

    def __init__(self, sample_rate_hz: float, seconds: float) -> None:
        self.sample_rate_hz = sample_rate_hz
        self.end = 0
        self.lost_samples = 0
        self._ring = np.zeros(max(int(seconds * sample_rate_hz), 1), dtype=np.int16)
        self._epoch: int | None = None
        # Index on the time line = first_sample of the stream + offset.
        self._offset = 0
        self._timestamp = 0.0

    @property
    def start(self) -> int:
        """Index of the oldest sample that is kept."""
        return max(0, self.end - len(self._ring))

    def append(self, pcm: NDArray[np.int16], first_sample: int, timestamp: float, config_epoch: int) -> int:
        """Take the next block.

        A jump of `first_sample` is filled with silence, and so is, by the timestamps, the time between two streams:
        another `config_epoch`, or a counter that begins anew. Samples that were there already are left out.

        Parameters
        ----------
        pcm
            Shape (n,). [full scale = ±32767]
        first_sample, timestamp, config_epoch
            As in `PcmBlock`.

        Returns
        -------
        index
            Where the new part of the time line begins, silence included; it ends at `end`.
        """
        index = first_sample + self._offset
        if self._epoch is None:
            index = 0
        elif config_epoch != self._epoch or index + _LONGEST_OVERLAP_S * self.sample_rate_hz < self.end:
            gap_s = min(max(0.0, timestamp - self._timestamp), len(self._ring) / self.sample_rate_hz)
            index = self.end + round(gap_s * self.sample_rate_hz)
        self._epoch = config_epoch
        self._offset = index - first_sample
        begin = self.end
        if index < begin:
            pcm = pcm[begin - index :]
        elif index > begin:
            self.lost_samples += index - begin
            # Of a gap that is longer than the memory only the last part is written.
            self.end = max(begin, index - len(self._ring))
            while self.end < index:
                self._write(_SILENCE[: index - self.end])
        self._write(pcm)
        self._timestamp = timestamp + (self.end - index) / self.sample_rate_hz
        return begin

    def index_at(self, utc_s: float) -> int:
        """Give the index of a time, by the timestamp of the last block; it may lie outside of what is kept."""
        return self.end + round((utc_s - self._timestamp) * self.sample_rate_hz)

    def read(self, start: int, stop: int) -> NDArray[np.int16]:
        """Give samples by their indices, in a copy.

        Raises
        ------
        ValueError
            If a part of them is not kept, or `stop` is before `start`.
        """
        if not self.start <= start <= stop <= self.end:
            raise ValueError(f"samples {start} to {stop} are not within {self.start} to {self.end}")
        at = start % len(self._ring)
        head = self._ring[at : at + stop - start]
        return np.concatenate((head, self._ring[: stop - start - len(head)]))

    def _write(self, pcm: NDArray[np.int16]) -> None:
        kept = pcm[-len(self._ring) :]
        self.end += len(pcm)
        at = (self.end - len(kept)) % len(self._ring)
        head = kept[: len(self._ring) - at]
        self._ring[at : at + len(head)] = head
        self._ring[: len(kept) - len(head)] = kept[len(head) :]


class Recording:
    """One FLAC file that grows while its message is on the air.

    Parameters
    ----------
    path
        Final name, ending in ``.flac``; its directory is made if need be.
    sample_rate_hz
        Of the audio; the file knows whole hertz only.

    Raises
    ------
    LinkError
        If the file cannot be made.
    """

    def __init__(self, path: Path, sample_rate_hz: float) -> None:
        self.path = path
        self.sample_rate_hz = sample_rate_hz
        self.n_samples = 0
        self._part = path.with_name(path.stem + PART_SUFFIX)
        self._unsynced = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _open_flac(self._part, sample_rate_hz)
        except (OSError, soundfile.SoundFileError) as error:
            raise LinkError(f"the recording {self._part} cannot be made: {error}") from error

    def write(self, pcm: NDArray[np.int16]) -> None:
        """Add audio; every few seconds it is brought to the disk, not only to the system.

        Parameters
        ----------
        pcm
            Shape (n,). [full scale = ±32767]

        Raises
        ------
        LinkError
            If the disk does not take it.
        """
        try:
            self._file.write(pcm)
            self.n_samples += len(pcm)
            self._unsynced += len(pcm)
            if self._unsynced > _SYNC_EVERY_S * self.sample_rate_hz:
                self._unsynced = 0
                _sync_file(self._part)
        except (OSError, soundfile.SoundFileError, AssertionError) as error:
            # soundfile asserts that libsndfile took every sample, which it does not on a full disk.
            raise LinkError(f"the recording {self._part} cannot be written: {error or 'disk full'}") from error

    def write_silence(self, n_samples: int) -> None:
        """Add silence.

        Raises
        ------
        LinkError
            As `write`.
        """
        for done in range(0, n_samples, len(_SILENCE)):
            self.write(_SILENCE[: n_samples - done])

    def close(self) -> None:
        """Complete the file and give it its name.

        Raises
        ------
        LinkError
            If the disk does not take it; what is there stays under the temporary name and is mended at next start.
        """
        try:
            self._file.close()
            _finish(self._part, self.path)
        except (OSError, soundfile.SoundFileError) as error:
            raise LinkError(f"the recording {self._part} cannot be completed: {error}") from error


def mend_recordings(directory: Path) -> list[Path]:
    """Complete the recordings that a killed process left behind: before any `Recording` is made there.

    Returns
    -------
    mended
        Their final names. Files without a single sample are removed; one that cannot be written stays as it is.
    """
    mended: list[Path] = []
    for part in sorted(directory.glob(f"*{PART_SUFFIX}")):
        final = part.with_name(part.name.removesuffix(PART_SUFFIX) + ".flac")
        copy = part.with_name(part.name + ".mending")
        try:
            n_samples = _copy_flac(part, copy)
            if n_samples:
                _finish(copy, final)
                mended.append(final)
                log.info("recording %s was cut short and is mended: %d samples", final.name, n_samples)
            else:
                log.warning("recording %s held no audio and is removed", final.name)
            part.unlink(missing_ok=True)
        except (OSError, soundfile.SoundFileError) as error:
            log.error("recording %s cannot be mended: %s", part.name, error)
        copy.unlink(missing_ok=True)
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


def _open_flac(path: Path, sample_rate_hz: float) -> soundfile.SoundFile:
    return soundfile.SoundFile(path, "w", samplerate=round(sample_rate_hz), channels=1, format="FLAC", subtype="PCM_16")


def _copy_flac(source: Path, target: Path) -> int:
    """Copy all samples that can be read, and return their number; nothing is written if there are none."""
    n_samples = 0
    with contextlib.ExitStack() as stack:
        target_file: soundfile.SoundFile | None = None
        for pcm, sample_rate_hz in _read_torn_flac(source):
            if target_file is None:
                target_file = stack.enter_context(_open_flac(target, sample_rate_hz))
            target_file.write(pcm)
            n_samples += len(pcm)
    return n_samples


def _read_torn_flac(path: Path) -> Iterator[tuple[NDArray[np.int16], int]]:
    """Give pieces of audio and the rate up to the end of the file, or to where the decoder gives up."""
    try:
        with soundfile.SoundFile(path) as file:
            while len(pcm := file.read(_MEND_SAMPLES, dtype="int16")):
                yield pcm, file.samplerate
    except soundfile.LibsndfileError as error:
        if error.code == _SYSTEM_ERROR:
            raise
        log.debug("%s ends with: %s", path, error)


def _finish(part: Path, final: Path) -> None:
    _sync_file(part)
    part.replace(final)
    sync_directory(final.parent)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
