"""Transmissions to test a decoder with: random legal headers, bursts as they occur on the air, everything by seed.

PCM is float32, mono, the bursts of amplitude 1. Nothing here is impaired yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from app_core.eas.waveform import BAUD, END_OF_MESSAGE, PREAMBLE, afsk

Pcm = NDArray[np.float32]
Rng = np.random.Generator

RATE_HZ = 22050
"""Rate at which transmissions are made, unless a condition asks for another. [samples per second]"""

_ORIGINATORS = ("WXR", "WXR", "WXR", "EAS", "CIV", "PEP")
_EVENTS = (
    "TOR",
    "SVR",
    "FFW",
    "TOA",
    "SVA",
    "RWT",
    "RMT",
    "SVS",
    "FLW",
    "WSW",
    "BZW",
    "HUW",
    "SMW",
    "SPS",
    "TOE",
    "CAE",
    "CEM",
    "EVI",
    "DMO",
    "NPT",
    "EAN",
    "LEW",
    "HMW",
    "TSW",
    "EWW",
    "SQW",
    "DSW",
)
_UNKNOWN_EVENTS = ("XYZ", "QQW", "ZZE", "TXB", "BH9")
_PURGE_TIMES = ("0015", "0030", "0045", "0100", "0130", "0200", "0300", "0430", "0600", "1200", "9930")
_CALLSIGNS = (
    "KEAX/NWS",
    "KLOT/NWS",
    "WTSP/TV ",
    "KR8MER  ",
    "WJON/TV ",
    "WXYZ    ",
    "KOAX/NWS",
    "NOCALL00",
    "W1AW/FM ",
)
_SHORT_CALLSIGNS = ("WACN/FM", "KXYZ-FM".replace("-", "/"), "WTIC AM")
_TEXT = (
    "The National Weather Service in Kansas City has issued a tornado warning for the following counties. At seven "
    "twelve p m central daylight time, a severe thunderstorm capable of producing a tornado was located near the city, "
    "moving north east at thirty five miles an hour. Take cover now. Move to a basement or an interior room on the "
    "lowest floor of a sturdy building. This is station K E A X, one hundred sixty two decimal five five megahertz. "
)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """What is played to a decoder, and what it should say.

    Attributes
    ----------
    pcm
        Shape (n,). [full scale = ±1]
    sample_rate_hz
        Its rate.
    headers
        The headers that it carries, in order.
    bursts
        First sample, and sample after the last, of the first header's bursts; empty where they are not kept track of.
    """

    pcm: Pcm
    sample_rate_hz: int
    headers: tuple[str, ...]
    bursts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Aired:
    """One message before it is impaired.

    Attributes
    ----------
    pcm
        Shape (n,), the bursts of amplitude 1.
    header
        Its header.
    bursts
        First sample, and sample after the last, of every header burst.
    sample_rate_hz
        Rate of `pcm`.
    """

    pcm: Pcm
    header: str
    bursts: tuple[tuple[int, int], ...]
    sample_rate_hz: int


def random_header(rng: Rng) -> str:
    """Make a legal header of 1 to 31 locations; a few name unknown events or have a callsign of seven characters."""
    share = rng.random()
    n_locations = int(
        rng.integers(1, 6) if share < 0.5 else rng.integers(6, 13) if share < 0.8 else rng.integers(13, 32)
    )
    places = []
    for _ in range(n_locations):
        part = 0 if rng.random() < 0.8 else int(rng.integers(1, 10))
        county = 0 if rng.random() < 0.05 else int(rng.integers(1, 512))
        places.append(f"{part}{rng.integers(1, 98):02d}{county:03d}")
    event = str(rng.choice(_UNKNOWN_EVENTS if rng.random() < 0.03 else _EVENTS))
    callsign = str(rng.choice(_SHORT_CALLSIGNS if rng.random() < 0.03 else _CALLSIGNS))
    issued = f"{rng.integers(1, 367):03d}{rng.integers(0, 24):02d}{rng.integers(0, 60):02d}"
    start = f"ZCZC-{rng.choice(_ORIGINATORS)}-{event}-{'-'.join(places)}"
    return f"{start}+{rng.choice(_PURGE_TIMES)}-{issued}-{callsign}-"


def silence(seconds: float, rate_hz: int = RATE_HZ) -> Pcm:
    """Give zeros, shape (round(seconds * rate_hz),)."""
    return np.zeros(round(seconds * rate_hz), np.float32)


def burst(content: str | bytes, rate_hz: int = RATE_HZ, baud: float = BAUD) -> Pcm:
    """Give one burst with its preamble."""
    content = content.encode("ascii") if isinstance(content, str) else content
    return afsk(PREAMBLE + content, float(rate_hz), baud=baud)


@cache
def _speech(rate_hz: int) -> Pcm:
    """Speech of a minute or so, peak 1; espeak-ng where there is one, else an imitation."""
    from app_core.synth.speech import speak

    pcm, spoken_hz = speak(_TEXT * 2, "en-us")
    places = np.arange(0.0, len(pcm) - 1.0, spoken_hz / rate_hz)
    voice = np.interp(places, np.arange(len(pcm)), pcm)
    return np.asarray(voice / np.abs(voice).max(), np.float32)


def speech(n: int, rng: Rng, rate_hz: int = RATE_HZ) -> Pcm:
    """Give `n` samples of speech from anywhere, peak 1."""
    voice = _speech(rate_hz)
    return np.resize(np.roll(voice, -int(rng.integers(len(voice)))), n)


def message(
    header: str,
    *,
    rate_hz: int = RATE_HZ,
    present: Sequence[bool] = (True, True, True),
    pause_s: float = 1.0,
    cut_s: float = 0.0,
    lead_s: float = 0.5,
    tail_s: float = 0.5,
    end: bool = True,
    tone_s: float = 0.0,
    eighth: str = "0",
) -> Aired:
    """Put a message on the air.

    Parameters
    ----------
    header
        From ``ZCZC`` to the last dash.
    rate_hz
        Rate of the result.
    present
        Which of the three header bursts are sent; in place of the others there is silence.
    pause_s
        Silence behind every burst.
    cut_s
        How much of the first burst's beginning is not heard.
    lead_s, tail_s
        Silence around everything.
    end
        Whether the end of message is sent.
    tone_s
        Length of an attention tone of 1050 Hz behind the header.
    eighth
        ``0``, ``1``, or ``even`` parity.
    """
    content = bytes(_with_eighth(byte, eighth) for byte in header.encode("ascii"))
    one = burst(content, rate_hz)
    pieces, spans = [silence(lead_s, rate_hz)], []
    at = len(pieces[0])

    def add(piece: Pcm) -> None:
        nonlocal at
        pieces.append(piece)
        at += len(piece)

    for number, here in enumerate(present):
        sound = one[round(cut_s * rate_hz) :] if number == 0 else one
        if here:
            spans.append((at, at + len(sound)))
        add(sound if here else np.zeros_like(sound))
        add(silence(pause_s, rate_hz))
    if tone_s:
        turn = 2.0 * np.pi * 1050.0 / rate_hz
        add(np.sin(turn * np.arange(round(tone_s * rate_hz))).astype(np.float32))
        add(silence(0.5, rate_hz))
    if end:
        last = burst(bytes(_with_eighth(byte, eighth) for byte in END_OF_MESSAGE), rate_hz)
        for _ in range(3):
            add(last)
            add(silence(pause_s, rate_hz))
    add(silence(tail_s, rate_hz))
    return Aired(np.concatenate(pieces), header, tuple(spans), rate_hz)


def _with_eighth(byte: int, eighth: str) -> int:
    if eighth == "even":
        return byte | (byte.bit_count() & 1) << 7
    return byte | (0x80 if eighth == "1" else 0)
