"""SAME audio for the decoder's tests: bursts, pauses, noise and clock errors, with fixed seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app_core.eas.decoder import SameDecoder
from app_core.eas.events import EndOfMessage, HeaderDecoded, SameEvent
from app_core.eas.waveform import BAUD, BIT_S, END_OF_MESSAGE, PREAMBLE, afsk

RATE_HZ = 24000.0
HEADER = "ZCZC-WXR-TOR-029095-029047-020091+0045-1232359-KEAX/NWS-"
OTHER_HEADER = "ZCZC-EAS-RWT-048113+0015-0010000-WTSP/TV -"

Pcm = NDArray[np.float32]


def silence(seconds: float, rate_hz: float = RATE_HZ) -> Pcm:
    return np.zeros(round(seconds * rate_hz), np.float32)


def burst(text: str | bytes, rate_hz: float = RATE_HZ, clock: float = 0.0) -> Pcm:
    """One burst; `clock` 0.01 is 1 % fast."""
    content = text.encode("ascii") if isinstance(text, str) else text
    return afsk(PREAMBLE + content, rate_hz, baud=BAUD * (1.0 + clock))


def group(text: str | bytes, rate_hz: float = RATE_HZ, clock: float = 0.0, n: int = 3, pause_s: float = 1.0) -> Pcm:
    """`n` bursts, each with a pause behind it."""
    return np.concatenate([burst(text, rate_hz, clock), silence(pause_s, rate_hz)] * n)


def message(text: str, rate_hz: float = RATE_HZ, clock: float = 0.0) -> Pcm:
    """A whole message without attention signal and voice, ending with the last end-of-message burst."""
    ends = group(END_OF_MESSAGE, rate_hz, clock)
    lead = silence(0.5, rate_hz)
    return np.concatenate([lead, group(text, rate_hz, clock), ends])[: -round(rate_hz)]


def noisy(pcm: Pcm, eb_n0_db: float, seed: int = 1, rate_hz: float = RATE_HZ) -> Pcm:
    """Add white noise; the bursts have amplitude 1."""
    power = 0.5 * BIT_S / 10 ** (eb_n0_db / 10) * rate_hz / 2
    noise = np.random.default_rng(seed).standard_normal(len(pcm)) * np.sqrt(power)
    return np.asarray(pcm + noise, np.float32)


def decode(pcm: Pcm, rate_hz: float = RATE_HZ, blocks: Sequence[int] = (4096,)) -> list[SameEvent]:
    """All events of `pcm`, pushed in blocks of the sizes given, over and over, which must not all be 0."""
    decoder = SameDecoder(rate_hz)
    events: list[SameEvent] = []
    start = turn = 0
    while start < len(pcm):
        size = blocks[turn % len(blocks)]
        events += decoder.push(pcm[start : start + size])
        start, turn = start + size, turn + 1
    return events + decoder.finish()


def headers(events: list[SameEvent]) -> list[str]:
    return [e.header.text for e in events if isinstance(e, HeaderDecoded)]


def transport(events: list[SameEvent]) -> list[str]:
    """Headers, and ``NNNN`` for each end of message, in order."""
    wanted = (HeaderDecoded, EndOfMessage)
    return [e.header.text if isinstance(e, HeaderDecoded) else "NNNN" for e in events if isinstance(e, wanted)]
