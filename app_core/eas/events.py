"""What a SAME decoder says, in the order of the samples. Two layers: the link (a burst was heard) and the message.

Every position is a sample index of the decoder's input stream, counted from its first sample, gaps included.
"""

from __future__ import annotations

from dataclasses import dataclass

from app_core.eas.header import SameHeader


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
    """

    kind: str
    start_sample: int
    end_sample: int
    snr_db: float
    clock_error: float


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
    """

    header: SameHeader
    start_sample: int
    end_sample: int
    bursts: int
    error_probability: float
    snr_db: float


@dataclass(frozen=True, slots=True)
class HeaderUnverified:
    """Message layer: bursts were heard whose header could not be relied upon. Never an alert.

    Attributes
    ----------
    best_guess
        Likeliest text, or an empty string when there is none.
    start_sample, end_sample, bursts, error_probability, snr_db
        As in `HeaderDecoded`.
    """

    best_guess: str
    start_sample: int
    end_sample: int
    bursts: int
    error_probability: float
    snr_db: float


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


SameEvent = BurstHeard | HeaderDecoded | HeaderUnverified | EndOfMessage
