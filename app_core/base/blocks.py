"""Blocks of samples, with the facts that must travel with them.

Conventions for the whole program: ``iq`` is complex64 at full scale 1, ``pcm`` is float32 within ±1. A block carries
its rate, so nothing downstream guesses one; it carries ``first_sample``, a counter that runs from the start of the
stream, so that lost samples show as a jump and never as an exception; and ``config_epoch``, the UTC time in
nanoseconds of the last start, retune or rate change, which grows over restarts too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class IqBlock:
    """Consecutive complex baseband samples of one receiver.

    Attributes
    ----------
    iq
        Shape (n,), complex64. [full scale = 1]
    sample_rate_hz
        Rate of `iq`. [samples per second]
    center_frequency_hz
        Radio frequency that stands at 0 Hz in `iq`.
    first_sample
        Index of ``iq[0]`` since the stream began; the next block of an unbroken stream starts at
        ``first_sample + n``.
    timestamp
        Time at which ``iq[0]`` was captured. [UTC seconds]
    config_epoch
        Time of the last start, retune or rate change. [UTC nanoseconds]
    frequency_correction_ppm
        Correction of the receiver's crystal under which it was tuned; None where there is none, or nobody knows.
    """

    iq: NDArray[np.complex64]
    sample_rate_hz: float
    center_frequency_hz: float
    first_sample: int
    timestamp: float
    config_epoch: int
    frequency_correction_ppm: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class PcmBlock:
    """Consecutive audio samples of one channel.

    Attributes
    ----------
    pcm
        Shape (n,), float32, mono; or (n, 2), left and right, on the way to listeners. [full scale = ±1]
    sample_rate_hz
        Rate of `pcm`. [samples per second]
    first_sample
        Index of ``pcm[0]`` since the stream began; a jump means that samples were lost.
    timestamp
        Time at which ``pcm[0]`` was captured (not demodulated). [UTC seconds]
    config_epoch
        As in `IqBlock`. [UTC nanoseconds]
    """

    pcm: NDArray[np.float32]
    sample_rate_hz: float
    first_sample: int
    timestamp: float
    config_epoch: int
