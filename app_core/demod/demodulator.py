"""What every demodulator is, and the list of those that exist."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app_core.demod.fm import FmDemodulator


class Mode(StrEnum):
    """Modulations that can be received; the values are those of the settings."""

    NFM = "nfm"


class Demodulator(Protocol):
    """IQ of one channel to audio, as a stream: one audio sample for each IQ sample.

    Attributes
    ----------
    frequency_error_hz
        Mean frequency of the carrier in the last `push` that was not empty, relative to the centre of the channel.
    deviation_hz
        Peak deviation of a tone with the power of the modulation that was heard in that `push`; 0 for modes without.
    """

    frequency_error_hz: float
    deviation_hz: float

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream: (n,) at full scale 1 to (n,), ±1."""

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""


def make_demodulator(mode: Mode, sample_rate_hz: float, deviation_hz: float) -> Demodulator:
    """Make the demodulator of a mode.

    Parameters
    ----------
    mode
        Modulation.
    sample_rate_hz
        Rate of the channel's IQ.
    deviation_hz
        Deviation that gives audio of ±1, for the modes that have one.

    Raises
    ------
    ValueError
        As the mode's own class does.
    """
    match mode:
        case Mode.NFM:
            return FmDemodulator(sample_rate_hz, deviation_hz)
