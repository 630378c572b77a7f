"""Recordings as receivers: SigMF (cf32, ci16, cu8) and raw files, in real time or as fast as they are taken.

The file is mapped, never loaded: a recording may be larger than the memory.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import DeviceError
from app_core.base.iq_file import IqFile, open_iq_file
from app_core.radio.receiver import Reading, ReplaySettings, Tuning

_LATEST_S = 1.0
"""A real-time replay that is this far behind was held up by the machine: it skips, as a device would. [seconds]"""


class ReplayReceiver:
    """Play a recording.

    Parameters
    ----------
    settings
        Path, and for raw files format, rate and frequency.
    """

    def __init__(self, settings: ReplaySettings) -> None:
        self._settings = settings
        self._file: IqFile | None = None
        self._position = 0
        self._played = 0
        self._started_s = 0.0
        self._started_utc_s = 0.0

    @property
    def waits(self) -> bool:
        """Whether the samples are taken as fast as there is room for them."""
        return not self._settings.realtime

    def open(self) -> Tuning:
        """Map the file.

        Raises
        ------
        ConfigError
            If it is not a recording that can be played.
        DeviceError
            If it cannot be read now.
        """
        settings = self._settings
        self._file = open_iq_file(
            settings.path,
            iq_format=settings.iq_format,
            sample_rate_hz=settings.sample_rate_hz,
            center_frequency_hz=settings.center_frequency_hz,
        )
        self._position = self._played = 0
        self._started_s = time.monotonic()
        self._started_utc_s = time.time()
        return Tuning(self._file.sample_rate_hz, self._file.center_frequency_hz, self._file.iq_format)

    def read_into(self, iq: NDArray[np.complex64], timeout_s: float) -> Reading:
        """Give the next samples; in real time, as many as have been "captured" by now.

        Raises
        ------
        DeviceError
            If the receiver is not open, or the file was cut short under us.
        """
        file = self._file
        if file is None:
            raise DeviceError(f"recording {self._settings.path} is not open")
        lost, wanted = 0, len(iq)
        if self._settings.realtime and not self._at_end(file):
            lost = self._wait_for(len(iq), timeout_s, file.sample_rate_hz)
            due = int((time.monotonic() - self._started_s) * file.sample_rate_hz) - self._played
            wanted = min(len(iq), max(due, 0))
        if self._at_end(file):
            return Reading(0, time.time(), lost_samples=lost, ended=True)
        self._position %= file.n_samples
        n_samples = file.read_into(iq[:wanted], self._position)
        timestamp = self._started_utc_s + self._played / file.sample_rate_hz
        self._position += n_samples
        self._played += n_samples
        return Reading(n_samples, timestamp, lost_samples=lost)

    def close(self) -> None:
        """Unmap the file."""
        self._file = None

    def _at_end(self, file: IqFile) -> bool:
        return self._position >= file.n_samples and not self._settings.loop

    def _wait_for(self, n_samples: int, timeout_s: float, sample_rate_hz: float) -> int:
        """Wait until `n_samples` are due, or `timeout_s` is over. Give the samples that had to be skipped."""
        due_s = self._started_s + (self._played + n_samples) / sample_rate_hz
        wait_s = due_s - time.monotonic()
        if wait_s > 0:
            time.sleep(min(wait_s, timeout_s))
            return 0
        if wait_s < -_LATEST_S:
            skipped = int(-wait_s * sample_rate_hz)
            self._played += skipped
            self._position += skipped
            return skipped
        return 0
