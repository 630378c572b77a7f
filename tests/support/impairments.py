"""What happens to audio on its way to a decoder, by fixed seeds: level, speed, clipping, hum, echo, twist, voices, MP3.

PCM is float32, mono, shape (n,), of any level; `relative` levels are to the loudest sample of what is impaired.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from app_core.base.child import run_quietly
from app_core.synth.speech import imitate_speech
from tests.support.programs import require_program

Pcm = NDArray[np.float32]

_TEXT = "The National Weather Service has issued a warning for the following counties. Take cover now. "
_SPEECH_RATE_HZ = 8_000


def peak(pcm: Pcm) -> float:
    """Largest magnitude."""
    return float(np.abs(pcm).max())


def at_level(pcm: Pcm, level_dbfs: float) -> Pcm:
    """Bring the peak to a level, as 16-bit samples have it: at -60 dBFS there are five bits left."""
    scaled = pcm * (10.0 ** (level_dbfs / 20.0) / peak(pcm))
    return np.asarray(np.round(scaled * 32767.0) / 32767.0, np.float32)


def at_speed(pcm: Pcm, speed: float) -> Pcm:
    """Play faster or slower, 1.03 is 3 % fast; by a windowed sinc of 32 samples at 64 phases."""
    place = np.arange(16.0, len(pcm) - 17.0, speed)
    whole = place.astype(np.int64)
    offsets = np.arange(-15, 17)
    result = np.empty(len(place))
    for first in range(0, len(place), 65_536):
        piece = slice(first, first + 65_536)
        distance = offsets - (place[piece] - whole[piece])[:, None]
        window = np.cos(np.pi * distance / 34.0) ** 2
        result[piece] = (pcm[whole[piece, None] + offsets] * np.sinc(distance) * window).sum(axis=1)
    return np.asarray(result, np.float32)


def clipped(pcm: Pcm, by_db: float) -> Pcm:
    """Overdrive by so much."""
    limit = peak(pcm) * 10.0 ** (-by_db / 20.0)
    return np.clip(pcm, -limit, limit)


def with_hum(pcm: Pcm, relative_db: float, rate_hz: int, mains_hz: float = 60.0) -> Pcm:
    """Add mains hum with its harmonics, each 3 dB below the one before."""
    time_s = np.arange(len(pcm)) / rate_hz
    harmonics = sum(0.7**n * np.sin(2.0 * np.pi * mains_hz * (n + 1) * time_s + n) for n in range(12))
    hum = np.asarray(harmonics)
    return np.asarray(pcm + hum * (peak(pcm) * 10.0 ** (relative_db / 20.0) / np.abs(hum).max()), np.float32)


def with_echo(pcm: Pcm, delay_s: float, relative_db: float, rate_hz: int) -> Pcm:
    """Add one echo."""
    n = round(delay_s * rate_hz)
    result = pcm.copy()
    result[n:] += np.float32(10.0 ** (relative_db / 20.0)) * pcm[:-n]
    return result


def twisted(pcm: Pcm, twist_db: float, rate_hz: int) -> Pcm:
    """Tilt the spectrum, so that mark gains `twist_db` against space; what is outside keeps what its edge has."""
    frequency_hz = np.fft.rfftfreq(len(pcm), 1.0 / rate_hz)
    share = np.clip((frequency_hz - 1562.5) / (2083.3 - 1562.5), -0.5, 1.5) - 0.5
    spectrum = np.fft.rfft(pcm) * 10.0 ** (twist_db * share / 20.0)
    return np.asarray(np.fft.irfft(spectrum, len(pcm)), np.float32)


def with_speech(pcm: Pcm, relative_db: float, rate_hz: int) -> Pcm:
    """Let somebody talk all the time, from the first sample to the last."""
    said = imitate_speech(_TEXT * 3, "en-us")
    places = np.arange(0.0, len(said) - 1.0, _SPEECH_RATE_HZ / rate_hz)
    voice = np.resize(np.interp(places, np.arange(len(said)), said), len(pcm))
    return np.asarray(pcm + voice * (peak(pcm) * 10.0 ** (relative_db / 20.0) / np.abs(voice).max()), np.float32)


def through_mp3(pcm: Pcm, rate_hz: int, kbit_s: int, folder: Path) -> tuple[Pcm, int]:
    """Encode as MP3 and decode again, with FFmpeg; a low bit rate lowers the sample rate, too.

    Returns
    -------
    pcm, sample_rate_hz
        Of what came out.
    """
    ffmpeg = require_program("ffmpeg")
    original, coded, decoded = (folder / name for name in ("original.wav", "coded.mp3", "decoded.wav"))
    soundfile.write(original, pcm * (0.5 / peak(pcm)), rate_hz, "PCM_16")
    quiet = [ffmpeg, "-v", "error", "-y"]
    coding = ["-i", str(original), "-c:a", "libmp3lame", "-b:a", f"{kbit_s}k", str(coded)]
    for arguments in (coding, ["-i", str(coded), str(decoded)]):
        assert run_quietly([*quiet, *arguments], timeout_s=60.0) is not None
    result, result_rate_hz = soundfile.read(decoded, dtype="float32")
    return result, result_rate_hz
