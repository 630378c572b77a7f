"""What is heard of SAME, in the order in which it is decided. Two layers: the link (a burst, a tone) and the message.

Every position is a sample index of the decoder's input stream, counted from its first sample, gaps included. Soft bits
are for people who want to see why (`app_core.eas.confidence` reads them): they are no part of what makes two events
equal.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app_core.eas.header import SameHeader

SoftBits = NDArray[np.float32]
"""Logarithm of the odds that each bit is 1, shape (n_bits,), from the start word's first bit on. [nats]"""


def no_soft_bits() -> SoftBits:
    """Give soft bits of nothing, shape (0,)."""
    return np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class BurstHeard:
    """Link layer: a preamble with ``ZCZC`` or ``NNNN`` was heard.

    Attributes
    ----------
    kind
        ``"header"`` or ``"end"``.
    start_sample, end_sample
        First sample of the preamble, and the sample after the last bit that could be placed.
    snr_db
        Estimated Eb/N0 of the burst. [dB]
    clock_error
        Relative error of the sender's clock against ours; 0.01 is 1 % fast.
    soft_bits
        What this burst alone says, as far as its text goes; empty for an end of message.
    """

    kind: str
    start_sample: int
    end_sample: int
    snr_db: float
    clock_error: float
    soft_bits: SoftBits = field(default_factory=no_soft_bits, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class AttentionHeard:
    """Link layer: an attention signal was heard, and is over.

    Attributes
    ----------
    kind
        ``"nwr"`` for the tone of NOAA Weather Radio, ``"eas"`` for the pair of EAS.
    start_sample, end_sample
        Its extent, measured to a few milliseconds.
    frequencies_hz
        Measured frequency of its tone, or of both, the lower one first. [Hz]
    level_dbfs
        Measured level; a sine of full scale has 0. [dBFS]
    """

    kind: str
    start_sample: int
    end_sample: int
    frequencies_hz: tuple[float, ...]
    level_dbfs: float


@dataclass(frozen=True, slots=True)
class HeaderDecoded:
    """Message layer: a header that may be relied upon.

    Attributes
    ----------
    header
        The header, exact.
    start_sample
        First sample of the first burst's preamble (of the first burst that was heard).
    end_sample
        Sample after the last burst that was used.
    bursts
        Number of bursts that were combined.
    error_probability
        Estimated probability that any character is wrong.
    snr_db
        Eb/N0 of the combined bursts' mean. [dB]
    soft_bits
        What all bursts together say, as far as the header goes.
    """

    header: SameHeader
    start_sample: int
    end_sample: int
    bursts: int
    error_probability: float
    snr_db: float
    soft_bits: SoftBits = field(default_factory=no_soft_bits, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class HeaderUnverified:
    """Message layer: bursts were heard whose header could not be relied upon. Never an alert.

    Attributes
    ----------
    best_guess
        Likeliest text, or an empty string when there is none.
    start_sample, end_sample, bursts, error_probability, snr_db, soft_bits
        As in `HeaderDecoded`.
    """

    best_guess: str
    start_sample: int
    end_sample: int
    bursts: int
    error_probability: float
    snr_db: float
    soft_bits: SoftBits = field(default_factory=no_soft_bits, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class EndOfMessage:
    """Message layer: the end of a message (``NNNN``), said once for the three bursts.

    Attributes
    ----------
    start_sample, end_sample
        Extent of the first end burst that was heard.
    """

    start_sample: int
    end_sample: int


@dataclass(frozen=True, slots=True)
class MessageTimedOut:
    """Message layer: a header was decoded, and no end of message came in time.

    Attributes
    ----------
    start_sample, end_sample
        First sample of the header, and where it was given up.
    """

    start_sample: int
    end_sample: int


@dataclass(frozen=True, slots=True)
class CarrierLost:
    """Message layer: the channel's carrier is gone within a message; said once for each loss.

    The message goes on: the carrier may come back with its end.

    Attributes
    ----------
    start_sample, end_sample
        First sample without a carrier, and where that had lasted long enough to be said.
    """

    start_sample: int
    end_sample: int


SameEvent = (
    BurstHeard | AttentionHeard | HeaderDecoded | HeaderUnverified | EndOfMessage | MessageTimedOut | CarrierLost
)
"""Whatever is heard; a `SameDecoder` says bursts, headers and ends, a `SameListener` all of it."""
