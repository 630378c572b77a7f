"""The signal of SAME: constants of 47 CFR 11.31(a)(1) and its modulator.

520 5/6 bits a second, mark (1) 2083 1/3 Hz, space (0) 1562 1/2 Hz, each bit 1.92 ms, least significant bit first,
eight bits a character, continuous phase. Mark is exactly four and space exactly three cycles a bit, so the carrier
phase is the same at the start of every bit.
"""

from __future__ import annotations

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
