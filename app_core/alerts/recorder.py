"""Audio of alerts: the last seconds of every channel in memory, and FLAC files from ten seconds before the header on.

Positions are sample indices of a channel's time line (`PreRoll`): samples that were lost count, as silence, so that a
recording lasts as long as what it recorded. Audio is 16 bit, mono, at the channel's rate.

A file is written as ``<alert_id>.flac.part`` and gets its name when it is complete and has been read to its end. One
that the disk did not take is mended at once, one whose process was killed when the next one starts.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app_core.alerts.flac_file import DISK_ERRORS, complete, mend, open_flac, sync_file, whole_length
from app_core.base.errors import LinkError

PART_SUFFIX = ".flac.part"

_SILENCE = np.zeros(16_384, dtype=np.int16)
_LONGEST_OVERLAP_S = 2.0
_SYNC_EVERY_S = 5.0


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

    def time_at(self, index: int) -> float:
        """Give the time of an index, as `index_at` counts it. [UTC seconds]"""
        return self._timestamp + (index - self.end) / self.sample_rate_hz

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

    Attributes
    ----------
    n_samples
        Samples that were written; once it is closed, those that can be played, and 0 if there is no file.
    is_whole
        Whether the disk has taken all that was written, as far as is known.
    is_closed
        Nothing more can be written.

    Raises
    ------
    LinkError
        If the file cannot be made.
    """

    def __init__(self, path: Path, sample_rate_hz: float) -> None:
        self.path = path
        self.sample_rate_hz = sample_rate_hz
        self.n_samples = 0
        self.is_whole = True
        self.is_closed = False
        self._part = path.with_name(path.stem + PART_SUFFIX)
        self._unsynced = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_flac(self._part, sample_rate_hz)
        except DISK_ERRORS as error:
            with contextlib.suppress(OSError):
                self._part.unlink(missing_ok=True)
            raise LinkError(f"the recording {self._part} cannot be made: {error}") from error

    @property
    def seconds(self) -> float:
        """Length of `n_samples`. [seconds]"""
        return self.n_samples / self.sample_rate_hz

    def write(self, pcm: NDArray[np.int16]) -> None:
        """Add audio; every few seconds it is brought to the disk, not only to the system.

        Parameters
        ----------
        pcm
            Shape (n,). [full scale = ±32767]

        Raises
        ------
        LinkError
            If the disk does not take it. The file can then only be closed: libsndfile cannot go on.
        """
        try:
            self._file.write(pcm)
            self.n_samples += len(pcm)
            self._unsynced += len(pcm)
            if self._unsynced > _SYNC_EVERY_S * self.sample_rate_hz:
                self._unsynced = 0
                sync_file(self._part)
        except DISK_ERRORS as error:
            self.is_whole = False
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
        """Complete the file and give it its name; closing it again does nothing.

        What the disk did not take whole is mended, or removed if it holds no audio: see `n_samples` and `is_whole`.

        Raises
        ------
        LinkError
            If it cannot even be mended; what is there stays under the temporary name and is mended at next start.
        """
        if self.is_closed:
            return
        self.is_closed = True
        try:
            with contextlib.suppress(*DISK_ERRORS):
                self._file.close()
            # Only reading tells: libsndfile keeps to itself what goes wrong while it closes a file.
            if self.is_whole and self.n_samples and whole_length(self._part)[0] == self.n_samples:
                complete(self._part, self.path)
                return
            self.is_whole = self.is_whole and not self.n_samples
            self.n_samples = mend(self._part, self.path)
        except DISK_ERRORS as error:
            self.n_samples, self.is_whole = 0, False
            raise LinkError(f"the recording {self._part} cannot be completed: {error or 'disk full'}") from error
