"""Header text to the audio of a whole transmission (47 CFR 11.31(c) and (d)).

Three header bursts, each followed by a one-second pause; the attention signal; a pause; the voice; a pause; three end
of message bursts with pauses between them. A `Transmission` says where each part stands, so that a test can hold a
decoder against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.eas.attention import Attention, attention_tone
from app_core.eas.header import SameHeader, parse_header
from app_core.eas.waveform import END_OF_MESSAGE, PREAMBLE, afsk

BURSTS = 3
"""How often the header and the end of message are sent."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a transmission that sounds.

    Attributes
    ----------
    name
        ``"header"``, ``"attention"``, ``"voice"`` or ``"end"``.
    start_sample, end_sample
        First sample, and the sample after the last, in the transmission's `pcm`.
    """

    name: str
    start_sample: int
    end_sample: int


@dataclass(frozen=True, slots=True, eq=False)
class Transmission:
    """The audio of one alert.

    Attributes
    ----------
    header
        The header that it carries.
    pcm
        Shape (n,), float32, mono. [full scale = ±1]
    sample_rate_hz
        Rate of `pcm`. [samples per second]
    parts
        What sounds when, in order; pauses stand between them.
    """

    header: SameHeader
    pcm: NDArray[np.float32]
    sample_rate_hz: float
    parts: tuple[Part, ...]


def burst_bytes(text: str) -> bytes:
    """Bytes of one burst: the preamble and `text`.

    Raises
    ------
    WireError
        If `text` is neither ``NNNN`` nor one well-formed header.
    """
    if text.encode("ascii", "replace") != END_OF_MESSAGE:
        text = parse_header(text).text
    return PREAMBLE + text.encode("ascii")


def encode_transmission(
    header: SameHeader | str,
    sample_rate_hz: float,
    *,
    voice_pcm: NDArray[np.float32] | None = None,
    attention: Attention = Attention.NWR,
    attention_s: float = 8.0,
    pause_s: float = 1.0,
    burst_level: float = 0.4,
    attention_level: float = 0.5,
) -> Transmission:
    """Encode one alert, from the first header burst to the last end of message burst.

    Parameters
    ----------
    header
        What is announced, as fields or as text from ``ZCZC`` to the last dash.
    sample_rate_hz
        Rate of the result. [samples per second]
    voice_pcm
        Shape (n,), at `sample_rate_hz`; None or an empty array leaves the voice out. [full scale = ±1]
    attention, attention_s
        The attention signal and its length; `Attention.NONE` leaves it out. [s]
    pause_s
        Silence between any two parts. [s]
    burst_level, attention_level
        Peaks of the bursts and of the attention signal. [full scale = 1]

    Returns
    -------
    transmission
        Begins with the first bit of the first burst, ends with the last bit of the last.

    Raises
    ------
    WireError
        If `header` is not well-formed.
    ValueError
        If `pause_s` is negative, `voice_pcm` is not one-dimensional, or `sample_rate_hz` is too low for the tones.
    """
    fields = parse_header(header.text if isinstance(header, SameHeader) else header)
    if not 0.0 <= pause_s < np.inf:
        raise ValueError(f"a pause cannot last {pause_s} s")
    voice = np.zeros(0, np.float32) if voice_pcm is None else np.asarray(voice_pcm, np.float32)
    if voice.ndim != 1:
        raise ValueError(f"voice_pcm must have one dimension, not {voice.ndim}")
    header_burst = afsk(burst_bytes(fields.text), sample_rate_hz) * np.float32(burst_level)
    end_burst = afsk(PREAMBLE + END_OF_MESSAGE, sample_rate_hz) * np.float32(burst_level)
    tone = attention_tone(attention, attention_s, sample_rate_hz, level=attention_level)
    sounds = [
        *[("header", header_burst)] * BURSTS,
        *([("attention", tone)] if tone.size else []),
        *([("voice", voice)] if voice.size else []),
        *[("end", end_burst)] * BURSTS,
    ]
    n_pause = round(pause_s * sample_rate_hz)
    pcm = np.zeros(sum(sound.size for _, sound in sounds) + n_pause * (len(sounds) - 1), np.float32)
    parts = []
    start = 0
    for name, sound in sounds:
        pcm[start : start + sound.size] = sound
        parts.append(Part(name, start, start + sound.size))
        start += sound.size + n_pause
    return Transmission(fields, pcm, sample_rate_hz, tuple(parts))
