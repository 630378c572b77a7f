"""The signal of SAME: constants of 47 CFR 11.31(a)(1) and its modulator.

520 5/6 bits a second, mark (1) 2083 1/3 Hz, space (0) 1562 1/2 Hz, each bit 1.92 ms, least significant bit first,
eight bits a character, continuous phase. Mark is exactly four and space exactly three cycles a bit, so the carrier
phase is the same at the start of every bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BAUD = 3125.0 / 6.0
"""Bits per second: 520 5/6."""

MARK_HZ = 6250.0 / 3.0
"""Tone of a 1: 2083 1/3 Hz, four cycles a bit."""

SPACE_HZ = 1562.5
"""Tone of a 0: three cycles a bit."""

BIT_S = 1.0 / BAUD
"""Duration of a bit: 1.92 ms."""

PREAMBLE = b"\xab" * 16
"""Sixteen bytes that precede every burst; 0xAB least significant bit first is 11010101."""

HEADER_START = b"ZCZC"
"""Start of a header burst."""

END_OF_MESSAGE = b"NNNN"
"""Text of an end-of-message burst."""

MAX_LOCATIONS = 31
"""Most locations that one header may name."""

MAX_HEADER_BYTES = 252
"""Length of a header with 31 locations and an 8-character callsign."""

ATTENTION_EAS_HZ = (853.0, 960.0)
"""The two tones of the EAS attention signal, 8 to 25 s (47 CFR 11.31(a)(2))."""

ATTENTION_NWR_HZ = 1050.0
"""The warning alarm tone of NOAA Weather Radio (NWS 10-1710)."""

_ROUNDING = 1e-6
"""Allowance for rounding, where a burst ends on a sample exactly. [samples]"""


def afsk(
    message_bytes: bytes, sample_rate_hz: float, *, baud: float = BAUD, start_offset: float = 0.0
) -> NDArray[np.float32]:
    """Modulate bytes as SAME does: least significant bit first, continuous phase, unit amplitude.

    Bit boundaries stand at their exact fractional sample positions. Mark and space have four and three cycles a bit
    at any `baud`, as in a sender whose whole clock is fast or slow.

    Parameters
    ----------
    message_bytes
        Bytes as sent, preamble included; the eighth bit of each is sent as it is.
    sample_rate_hz
        Rate of the result. [samples per second]
    baud
        Bit rate. [bits per second]
    start_offset
        Where the first bit begins, 0 <= start_offset < 1; samples before it are zero. [samples]

    Returns
    -------
    pcm
        Shape (n,), n = ceil(start_offset + 8 * len(message_bytes) * sample_rate_hz / baud). [peak = 1]

    Raises
    ------
    ValueError
        If `sample_rate_hz` is not above ``8 * baud`` (twice the mark tone), `baud` is not positive, or `start_offset`
        is outside [0, 1).
    """
    if not baud > 0.0:
        raise ValueError(f"baud must be positive, not {baud}")
    if not sample_rate_hz > 8.0 * baud:
        raise ValueError(f"{sample_rate_hz} Hz cannot carry the mark tone of {4.0 * baud:.1f} Hz")
    if not 0.0 <= start_offset < 1.0:
        raise ValueError(f"start_offset must be within [0, 1), not {start_offset}")
    bits = np.unpackbits(np.frombuffer(message_bytes, dtype=np.uint8), bitorder="little")
    n_samples = math.ceil(start_offset + bits.size * sample_rate_hz / baud - _ROUNDING)
    position = (np.arange(n_samples) - start_offset) * (baud / sample_rate_hz)
    # A sample on a boundary may fall to either bit by rounding: both give phase 0 there, so it does not matter.
    index = np.clip(np.floor(position).astype(np.int64), 0, max(bits.size - 1, 0))
    cycles = np.where(bits[index] == 1, 4.0, 3.0) if bits.size else np.zeros(n_samples)
    pcm: NDArray[np.float32] = np.sin(2.0 * np.pi * cycles * (position - index)).astype(np.float32)
    pcm[position < 0.0] = 0.0
    return pcm
