"""How many samples a device lost, told from its own time where it has one, else from ours.

A device's time (SoapySDR's ``timeNs`` with ``HAS_TIME``) is usually its sample counter in nanoseconds: exact, and a
jump is a loss, reported or not. Some drivers give the host's time instead, with jitter: for these, and until the time
has proved exact, only a jump that follows a reported overflow, or a long one, counts.

Without a device's time nothing is seen but reported overflows. Then the samples that have come are compared with the
time that has passed: the shortest delay so far says how late a sample is when nothing is lost; what the first read
after the overflow is later than that was lost. It is an estimate: samples that waited in the driver count as lost too,
up to the depth of its buffers. A reported overflow lost one sample at least, so that the gap is marked.
"""

from __future__ import annotations

_EXACT_SAMPLES = 0.5
_EXACT_AFTER_READS = 8

LONG_JUMP_S = 0.01
"""A jump that no jitter of a driver's clock explains. [seconds]"""

_FOLLOW = 1e-3
"""How fast the shortest delay follows longer ones, so that the drift of the device's crystal is not taken for loss."""


class GapFinder:
    """Count the samples lost between the reads of one stream.

    Parameters
    ----------
    sample_rate_hz
        Of the stream. [samples per second]
    """

    def __init__(self, sample_rate_hz: float) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._is_jittery = False
        self.restart()

    def restart(self) -> None:
        """Forget where the stream was: the device was retuned or its time was set."""
        self._next_ns: float | None = None
        self._exact_reads = 0
        self._received = 0
        self._offset_s: float | None = None

    def lost_before(self, n_samples: int, time_ns: int | None, arrived_s: float, *, overflowed: bool) -> int:
        """Take in one read, and give the samples lost right before it.

        Parameters
        ----------
        n_samples
            Samples read.
        time_ns
            The device's time of the first of them; None without one. [nanoseconds]
        arrived_s
            Our time when they had come, of a clock that never steps. [seconds]
        overflowed
            Whether the device reported an overflow since the last read.
        """
        if time_ns is not None:
            self._offset_s = None
            lost = self._by_device_time(n_samples, time_ns, overflowed=overflowed)
        else:
            self._next_ns = None
            lost = self._by_our_time(n_samples, arrived_s, overflowed=overflowed)
        return max(lost, int(overflowed))

    def _by_device_time(self, n_samples: int, time_ns: int, *, overflowed: bool) -> int:
        expected_ns, length_ns = self._next_ns, n_samples * 1e9 / self._sample_rate_hz
        self._next_ns = time_ns + length_ns
        if expected_ns is None:
            return 0
        jump = (time_ns - expected_ns) * self._sample_rate_hz / 1e9
        if jump < -_EXACT_SAMPLES:
            self._is_jittery = True
            return 0
        if jump < _EXACT_SAMPLES:
            self._exact_reads += 1
            return 0
        exact = self._exact_reads >= _EXACT_AFTER_READS and not self._is_jittery
        if exact or overflowed or jump >= LONG_JUMP_S * self._sample_rate_hz:
            return round(jump)
        self._exact_reads = 0
        return 0

    def _by_our_time(self, n_samples: int, arrived_s: float, *, overflowed: bool) -> int:
        offset_s = arrived_s - (self._received + n_samples) / self._sample_rate_hz
        before_s, lost = self._offset_s, 0
        if before_s is not None and overflowed:
            lost = max(0, round((offset_s - before_s) * self._sample_rate_hz))
            offset_s = min(offset_s, before_s)
        self._received += n_samples + lost
        if before_s is None or offset_s < before_s:
            self._offset_s = offset_s
        elif not overflowed:
            self._offset_s = before_s + (offset_s - before_s) * _FOLLOW
        return lost
