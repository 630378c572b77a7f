"""What becomes of audio on its way: noise, machines, rooms, codecs. Arrays in, arrays out, by a generator's seed.

Eb/N0 is over one burst: Eb = A^2 / 2 * 1.92 ms for bursts of amplitude A = 1, N0 the noise's one-sided power density.
Levels of what is added are over a burst's amplitude.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from app_core.eas.waveform import BIT_S, MARK_HZ, SPACE_HZ
from benchmarks.campaigns.transmissions import Pcm, Rng, speech

_STRUCK_S = 0.04
_WOW_HZ = 0.7
_FLUTTER_HZ = 8.0
_HUM_HZ = 60.0
_HARMONICS = 12


def amplitude(decibels: float) -> np.float32:
    """Factor of a level in dB."""
    return np.float32(10.0 ** (decibels / 20.0))


def white_noise(pcm: Pcm, eb_n0_db: float, rng: Rng, rate_hz: int) -> Pcm:
    """Add white noise to bursts of amplitude 1."""
    sigma = np.sqrt(0.5 * BIT_S / 10.0 ** (eb_n0_db / 10.0) * rate_hz / 2.0)
    return pcm + np.float32(sigma) * rng.standard_normal(len(pcm), np.float32)


def played_at(pcm: Pcm, speed: NDArray[np.float64] | float) -> Pcm:
    """Play at another speed, 1.01 is 1 % fast, constant or for every sample its own, shape (n,)."""
    if isinstance(speed, float):
        place = np.arange(0.0, len(pcm) - 1.0, speed)
    else:
        place = np.concatenate([[0.0], np.cumsum(speed)])
        place = place[place < len(pcm) - 1.0]
    # Cubic interpolation of audio at four times its rate leaves errors far under any noise that follows.
    dense = signal.resample_poly(pcm, 4, 1)
    at = 4.0 * place
    whole = np.clip(at.astype(np.int64), 1, len(dense) - 3)
    t = (at - whole).astype(np.float32)
    a, b, c, d = (dense[whole + i] for i in (-1, 0, 1, 2))
    value = b + 0.5 * t * (c - a + t * (2.0 * a - 5.0 * b + 4.0 * c - d + t * (3.0 * (b - c) + d - a)))
    return np.asarray(value, np.float32)


def wow_and_flutter(pcm: Pcm, wow_percent: float, flutter_percent: float, rng: Rng, rate_hz: int) -> Pcm:
    """Vary the speed as a tape does: wow at 0.7 Hz and flutter at 8 Hz, both given as peak. [percent]"""
    time_s = np.arange(len(pcm)) / rate_hz
    phase = rng.uniform(0.0, 2.0 * np.pi, 2)
    slow = np.sin(2.0 * np.pi * _WOW_HZ * time_s + phase[0])
    fast = np.sin(2.0 * np.pi * _FLUTTER_HZ * time_s + phase[1])
    return played_at(pcm, 1.0 + 0.01 * (wow_percent * slow + flutter_percent * fast))


def impulses(pcm: Pcm, spans: Sequence[tuple[int, int]], which: Sequence[int], rng: Rng, rate_hz: int) -> Pcm:
    """Replace 40 ms of each burst in `which` by loud noise, behind the preamble, in different thirds of the header."""
    struck = pcm.copy()
    width = round(_STRUCK_S * rate_hz)
    for number, i in enumerate(which):
        start, end = spans[i]
        body = start + round(128 * BIT_S * rate_hz)
        third = (end - body - width) / 3
        at = int(body + (number % 3) * third + rng.random() * max(1.0, third - width))
        struck[at : at + width] = 3.0 * rng.standard_normal(width)
    return struck


def twist(pcm: Pcm, decibels: float, rate_hz: int) -> Pcm:
    """Make mark stronger than space by `decibels`; the stronger tone keeps its level.

    The gain rises evenly in dB from below space to above mark, as a bad audio line's does, and not in a step.
    """
    frequency_hz = np.linspace(0.0, rate_hz / 2.0, 513)
    place = np.clip((frequency_hz - SPACE_HZ) / (MARK_HZ - SPACE_HZ), -0.5, 1.5)
    gain = 10.0 ** ((decibels * place - max(decibels, 0.0)) / 20.0)
    taps = signal.firwin2(2 * round(0.004 * rate_hz) + 1, frequency_hz, gain, fs=rate_hz)
    return np.asarray(signal.oaconvolve(pcm, taps.astype(np.float32), "same"), np.float32)


def echo(pcm: Pcm, delay_s: float, gain: float, rate_hz: int) -> Pcm:
    """Add the sound once more, later by whole samples; a negative gain inverts it."""
    late = round(delay_s * rate_hz)
    later = np.zeros_like(pcm)
    later[late:] = pcm[: len(pcm) - late]
    return pcm + np.float32(gain) * later


def hum(pcm: Pcm, decibels: float, rng: Rng, rate_hz: int) -> Pcm:
    """Add mains hum with its harmonics up to 720 Hz, each 3 dB below the one before; the level is the sum's peak."""
    turn = 2.0 * np.pi * _HUM_HZ * np.arange(len(pcm)) / rate_hz
    total = np.zeros(len(pcm))
    for n in range(_HARMONICS):
        total += 0.7**n * np.sin((n + 1) * turn + rng.uniform(0.0, 2.0 * np.pi))
    added: Pcm = (total / np.abs(total).max()).astype(np.float32)
    return pcm + amplitude(decibels) * added


def speech_beneath(pcm: Pcm, decibels: float, rng: Rng, rate_hz: int) -> Pcm:
    """Let somebody talk all the time; the level is the speech's peak."""
    return pcm + amplitude(decibels) * speech(len(pcm), rng, rate_hz)


def clipped(pcm: Pcm, decibels: float) -> Pcm:
    """Clip `decibels` under the peak of a burst."""
    limit = amplitude(-decibels)
    return np.clip(pcm, -limit, limit)


def as_16_bits(pcm: Pcm) -> Pcm:
    """Clip at full scale, and round as 16-bit samples are."""
    return np.asarray(np.clip(np.rint(pcm * 32768.0), -32768, 32767) / 32768.0, np.float32)


_CODECS = {"mp3": ("libmp3lame", "mp3"), "opus": ("libopus", "ogg"), "aac": ("aac", "adts")}
CODECS = tuple(_CODECS)
"""What `through_codec` knows."""


def through_codec(pcm: Pcm, codec: str, kbit_s: int, rate_hz: int) -> Pcm:
    """Encode and decode with FFmpeg, at the sample rate that it takes for the codec; the result is at `rate_hz` again.

    Parameters
    ----------
    pcm
        Shape (n,), within full scale.
    codec
        One of `CODECS`.
    kbit_s
        Its bit rate. [kilobit per second]
    rate_hz
        Rate of `pcm` and of the result.

    Raises
    ------
    RuntimeError
        If FFmpeg is missing, or cannot do it.
    """
    name, container = _CODECS[codec]
    raw = ["-f", "f32le", "-ar", str(rate_hz), "-ac", "1"]
    quiet = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-threads", "1"]
    encode = [*quiet, *raw, "-i", "-", "-c:a", name, "-b:a", f"{kbit_s}k", "-f", container, "-"]
    decode = [*quiet, "-i", "-", *raw, "-"]
    try:
        coded = subprocess.run(encode, input=pcm.astype("<f4").tobytes(), capture_output=True, check=True).stdout
        plain = subprocess.run(decode, input=coded, capture_output=True, check=True).stdout
    except FileNotFoundError as error:
        raise RuntimeError("ffmpeg is missing; type: sudo apt-get install ffmpeg") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"ffmpeg could not code as {codec}: {error.stderr.decode(errors='replace')}") from error
    return np.frombuffer(plain, "<f4").astype(np.float32)
