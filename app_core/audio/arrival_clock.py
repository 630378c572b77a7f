"""Capture times for audio that brings none: the clock at its arrival, without the network's haste and delay.

Audio comes early or late by what the network and the decoder hold back, so one arrival says little. The earliest
arrival of the last seconds, reckoned from the count of samples, says when audio came that was held back least; what
came later than that was held back, and what the count misses for longer was lost by the sender.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_S = 10.0
"""Time after which a delay that stays is taken for a loss. [seconds]"""

SET_BACK_S = 5.0
"""A clock that jumped back by more than this was set; times follow it. [seconds]"""


class ArrivalClock:
    """Stamp the blocks of one stream; their times never go back, unless the machine's clock was set back.

    Parameters
    ----------
    sample_rate_hz
        [samples per second]
    utc, monotonic
        Clocks. [seconds]
    """

    def __init__(
        self,
        sample_rate_hz: float,
        *,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate_hz = sample_rate_hz
        self._utc = utc
        self._monotonic = monotonic
        # Lowest offsets between arrival and count, rising: (when seen, offset).
        self._best: deque[tuple[float, float]] = deque()
        self._last = 0.0

    def stamp(self, first_sample: int, n_samples: int) -> float:
        """Give the time of the first sample of a block that has just come. [UTC seconds]"""
        now_s = self._monotonic()
        offset_s = now_s - (first_sample + n_samples) / self._rate_hz
        while self._best and self._best[-1][1] >= offset_s:
            self._best.pop()
        self._best.append((now_s, offset_s))
        while now_s - self._best[0][0] > WINDOW_S:
            self._best.popleft()
        timestamp = self._utc() - now_s + self._best[0][1] + first_sample / self._rate_hz
        if timestamp > self._last or timestamp < self._last - SET_BACK_S:
            self._last = timestamp
        return self._last
