"""A text to PCM: espeak-ng where there is one, else a signal that only sounds like speech.

The imitation is a sum of harmonics of a gliding pitch under moving formants, cut into syllables and words of the
length that the text's words have, with hiss for consonants. It has the spectrum, the envelope and the pauses of
speech, which is what a demodulator, a recorder and a level meter need.
"""

from __future__ import annotations

import shutil
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from app_core.base.child import run_quietly

ESPEAK = "espeak-ng"
SPEECH_LEVEL = 0.22
"""RMS of the parts that sound. [full scale = 1]"""

_ESPEAK_TIMEOUT_S = 30.0
_ESPEAK_WORDS_PER_MINUTE = 165
_IMITATION_RATE_HZ = 8_000
_FORMANTS_HZ = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
_FORMANT_WIDTH_HZ = (90.0, 130.0, 180.0)


def speech_engine() -> str:
    """Name what `speak` will use: ``espeak-ng`` or ``imitation``."""
    return ESPEAK if shutil.which(ESPEAK) else "imitation"


def speak(text: str, voice: str) -> tuple[NDArray[np.float32], int]:
    """Speak a text.

    Parameters
    ----------
    text
        What is said.
    voice
        A voice of espeak-ng, for example ``en-us+f3``; the imitation takes its pitch from it.

    Returns
    -------
    pcm
        Shape (n,), with an RMS of `SPEECH_LEVEL` where it sounds; single peaks exceed full scale, and are for the
        transmitter's limiter. [full scale = ±1]
    sample_rate_hz
        Its rate. [samples per second]
    """
    argv = [ESPEAK, "-v", voice, "-s", str(_ESPEAK_WORDS_PER_MINUTE), "--stdin", "--stdout"]
    wav = run_quietly(argv, timeout_s=_ESPEAK_TIMEOUT_S, stdin=text.encode())
    spoken = None if wav is None else _read_wav(wav)
    pcm, rate_hz = spoken or (imitate_speech(text, voice), _IMITATION_RATE_HZ)
    loud = np.abs(pcm) > 0.02 * max(float(np.abs(pcm).max(initial=0.0)), 1e-9)
    rms = float(np.sqrt(np.mean(np.square(pcm[loud])))) if loud.any() else 1.0
    return (pcm * np.float32(SPEECH_LEVEL / rms)).astype(np.float32), rate_hz


def _read_wav(wav: bytes) -> tuple[NDArray[np.float32], int] | None:
    """Read mono 16-bit WAV from a pipe, whose length fields are not to be believed; None if it is anything else."""
    at = wav.find(b"data")
    if wav[:4] != b"RIFF" or wav[12:16] != b"fmt " or at < 0:
        return None
    coding, n_channels, rate_hz = struct.unpack_from("<HHI", wav, 20)
    pcm = np.frombuffer(wav, "<i2", offset=at + 8, count=(len(wav) - at - 8) // 2)
    if coding != 1 or n_channels != 1 or pcm.size == 0 or not pcm.any():
        return None
    return pcm.astype(np.float32) / np.float32(32768.0), rate_hz


def imitate_speech(text: str, voice: str = "") -> NDArray[np.float32]:
    """Make a signal that sounds like somebody saying `text`.

    Parameters
    ----------
    text
        Gives the rhythm: a syllable for about three letters, a pause after a word, a longer one after a full stop.
    voice
        Gives the pitch.

    Returns
    -------
    pcm
        Shape (n,), at 8000 samples per second, the same for the same text and voice. [full scale = ±1]
    """
    rng = np.random.default_rng(zlib.crc32(f"{voice}\0{text}".encode()))
    pitch_hz = 95.0 + zlib.crc32(voice.encode()) % 110
    pieces = [np.zeros(_IMITATION_RATE_HZ // 20)]
    for word in text.split():
        for _ in range(max(1, len(word) // 3)):
            pieces.append(_hiss(rng, float(rng.uniform(0.02, 0.06))))
            pieces.append(_vowel(rng, pitch_hz, float(rng.uniform(0.09, 0.17))))
        pause_s = 0.35 if word[-1] in ".!?" else 0.15 if word[-1] in ",;:" else 0.04
        pieces.append(np.zeros(round(pause_s * _IMITATION_RATE_HZ)))
    return (0.3 * np.concatenate(pieces)).astype(np.float32)


def _vowel(rng: np.random.Generator, pitch_hz: float, duration_s: float) -> NDArray[np.float64]:
    n_samples = round(duration_s * _IMITATION_RATE_HZ)
    along = np.arange(n_samples) / n_samples
    glide = pitch_hz * (1.1 - 0.2 * along) * rng.uniform(0.9, 1.1)
    cycles = np.cumsum(glide) / _IMITATION_RATE_HZ
    formants = _FORMANTS_HZ[int(rng.integers(len(_FORMANTS_HZ)))]
    harmonics = np.arange(1, int(3_600.0 / pitch_hz / 1.25) + 1)
    at_hz = harmonics * pitch_hz
    gains = np.zeros(harmonics.size)
    for strength, formant_hz, width_hz in zip((1.0, 0.5, 0.25), formants, _FORMANT_WIDTH_HZ, strict=True):
        gains += strength / (1.0 + np.square((at_hz - formant_hz) / width_hz))
    pcm = gains @ np.sin(2.0 * np.pi * np.outer(harmonics, cycles))
    return np.asarray(pcm * np.sin(np.pi * along) ** 0.5)


def _hiss(rng: np.random.Generator, duration_s: float) -> NDArray[np.float64]:
    n_samples = round(duration_s * _IMITATION_RATE_HZ)
    # The difference of white noise leans to high frequencies, as a sibilant does.
    return 0.12 * np.diff(rng.standard_normal(n_samples + 1)) * np.hanning(n_samples)
