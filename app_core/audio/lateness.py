"""How late the decoder is: the time from the capture of a block to its arrival in the decoder.

Two estimates, of which the smaller holds. The first trusts the clocks: now, less the time of capture; it is wrong where
the capture's host and this one disagree. The second trusts the best block of the last minute to have been in time, and
counts what later ones take longer; it says nothing before the first live block.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

log = logging.getLogger(__name__)

LATE_S = 2.0
"""From here on the decoder is said to be late. [seconds]"""

_WINDOW_S = 60.0


class LatenessMeter:
    """Measure one receiver's lateness, and say when it begins and ends.

    Parameters
    ----------
    receiver_id
        For the log.
    utc, monotonic
        Clocks. [seconds]

    Attributes
    ----------
    lateness_s
        Of the last block. [seconds]
    is_late
        Whether that is more than `LATE_S`.
    alarm_count
        How often lateness began.
    """

    def __init__(
        self,
        receiver_id: str,
        *,
        utc: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._receiver_id = receiver_id
        self._utc = utc
        self._monotonic = monotonic
        # Lowest offsets between arrival and capture, rising: (when seen, offset).
        self._best: deque[tuple[float, float]] = deque()
        self.lateness_s = 0.0
        self.is_late = False
        self.alarm_count = 0

    def note(self, end_timestamp: float, arrived_s: float | None) -> None:
        """Take in one block.

        Parameters
        ----------
        end_timestamp
            Capture time of its last sample. [UTC seconds]
        arrived_s
            When it came from the sender; None for what comes out of the history. [monotonic seconds]
        """
        now_s = self._monotonic()
        if arrived_s is not None:
            offset_s = arrived_s - end_timestamp
            while self._best and self._best[-1][1] >= offset_s:
                self._best.pop()
            self._best.append((arrived_s, offset_s))
        while len(self._best) > 1 and now_s - self._best[0][0] > _WINDOW_S:
            self._best.popleft()
        lateness_s = self._utc() - end_timestamp
        if self._best:
            lateness_s = min(lateness_s, now_s - end_timestamp - self._best[0][1])
        self.lateness_s = max(lateness_s, 0.0)
        was_late, self.is_late = self.is_late, self.lateness_s > LATE_S
        if self.is_late and not was_late:
            self.alarm_count += 1
            log.warning("%s: the decoder is %.1f s late", self._receiver_id, self.lateness_s)
        elif was_late and not self.is_late:
            log.info("%s: the decoder is in time again", self._receiver_id)
