"""The choice of the compression level, by what it costs here and now.

Level 1 shortens 8-bit samples to a third and 16-bit ones by a third. Where a second of samples takes more than its
budget to compress, or the ring fills up, they are stored as they are (level 0), which is legal zlib and six times
cheaper here, but longer for Redis and whoever listens. From time to time one message is compressed again, to see
whether the budget would do.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

COMPRESSED = 1
STORED = 0

FULL_SHARE = 0.5
"""Fill of the ring from which on nothing is compressed, whatever the measured cost says. [0..1]"""

_RETURN_SHARE = 0.7
"""Part of the budget that compression must keep to before it is taken up again."""

_AVERAGE_S = 1.0
_FIRST_RETRY_S = 5.0
_LONGEST_RETRY_S = 60.0


class LevelChooser:
    """Choose the level for each message of one receiver.

    Parameters
    ----------
    receiver_id
        For the log.
    share_max
        The budget: most seconds of encoding for a second of samples.
    monotonic
        Clock. [seconds]

    Attributes
    ----------
    level
        In use: `COMPRESSED` or `STORED`.
    share
        Seconds of encoding for a second of samples, over the last second or so.
    """

    def __init__(self, receiver_id: str, share_max: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._receiver_id = receiver_id
        self._share_max = share_max
        self._monotonic = monotonic
        self._retry_after_s = _FIRST_RETRY_S
        self._retry_s = 0.0
        self.level = COMPRESSED
        self.share = 0.0

    def next_level(self, fill_share: float) -> int:
        """Give the level for the next message; the ring is full to `fill_share`, 0 to 1."""
        now_s = self._monotonic()
        if self.level == COMPRESSED and fill_share > FULL_SHARE:
            self._store(now_s, f"the ring is full to {100.0 * fill_share:.0f} %")
        if self.level == STORED and now_s >= self._retry_s and fill_share < FULL_SHARE / 2.0:
            return COMPRESSED
        return self.level

    def note(self, level: int, encode_s: float, message_s: float) -> None:
        """Take in what a message has cost.

        Parameters
        ----------
        level
            With which it was encoded.
        encode_s, message_s
            Time that took, and duration of its samples. [seconds]
        """
        now_s, share = self._monotonic(), encode_s / message_s
        if level != self.level:
            self._judge_trial(share, now_s)
            return
        self.share += min(message_s / _AVERAGE_S, 1.0) * (share - self.share)
        if level == COMPRESSED and self.share > self._share_max:
            self._store(now_s, f"compressing takes {100.0 * self.share:.0f} % of the time")

    def _judge_trial(self, share: float, now_s: float) -> None:
        """One message was compressed while the others are stored."""
        if share <= _RETURN_SHARE * self._share_max:
            self.level, self.share = COMPRESSED, share
            log.info("%s: samples are compressed again (%.0f %% of the time)", self._receiver_id, 100.0 * share)
        else:
            self._retry_after_s = min(2.0 * self._retry_after_s, _LONGEST_RETRY_S)
            self._retry_s = now_s + self._retry_after_s

    def _store(self, now_s: float, why: str) -> None:
        self.level, self.share = STORED, 0.0
        self._retry_s = now_s + self._retry_after_s
        log.warning("%s: samples are not compressed any more: %s", self._receiver_id, why)
