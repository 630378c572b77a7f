"""Test signals of the radio side: tones, FM transmitters, noise.

Convention: an array's rate is an argument named `sample_rate_hz`; IQ is complex64 at full scale 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def complex_tone(
    frequency_hz: float, sample_rate_hz: float, n_samples: int, amplitude: float = 1.0
) -> NDArray[np.complex64]:
    """A complex tone that begins at phase 0, shape (n_samples,)."""
    cycles = np.arange(n_samples) * (frequency_hz / sample_rate_hz) % 1.0
    return np.asarray(amplitude * np.exp(2j * np.pi * cycles), dtype=np.complex64)


def audio_tone(
    frequency_hz: float, sample_rate_hz: float, n_samples: int, amplitude: float = 1.0
) -> NDArray[np.float64]:
    """A sine that begins at phase 0, shape (n_samples,)."""
    return np.asarray(amplitude * np.sin(2.0 * np.pi * frequency_hz / sample_rate_hz * np.arange(n_samples)))


def preemphasis_gain(frequency_hz: float, corner_hz: float = 300.0, reference_hz: float = 1000.0) -> float:
    """Gain of a transmitter's pre-emphasis for a tone: 6 dB an octave above the corner, 1 at the reference."""
    return float(np.sqrt((1.0 + (frequency_hz / corner_hz) ** 2) / (1.0 + (reference_hz / corner_hz) ** 2)))


def fm_modulate(
    audio: NDArray[np.floating],
    sample_rate_hz: float,
    deviation_hz: float,
    offset_hz: float = 0.0,
    amplitude: float = 1.0,
) -> NDArray[np.complex64]:
    """Frequency-modulate a carrier at `offset_hz`, without pre-emphasis.

    Parameters
    ----------
    audio
        Shape (n,), already at `sample_rate_hz`; 1 gives `deviation_hz`.
    sample_rate_hz, deviation_hz, offset_hz, amplitude
        Of the IQ.

    Returns
    -------
    iq
        Shape (n,).
    """
    frequency_hz = offset_hz + deviation_hz * audio.astype(np.float64)
    cycles = np.cumsum(frequency_hz / sample_rate_hz) % 1.0
    return np.asarray(amplitude * np.exp(2j * np.pi * cycles), dtype=np.complex64)


def complex_noise(n_samples: int, power: float, seed: int) -> NDArray[np.complex64]:
    """White Gaussian noise, shape (n_samples,), mean of ``|z|²`` = `power`."""
    rng = np.random.default_rng(seed)
    parts = rng.standard_normal((n_samples, 2)) * np.sqrt(power / 2.0)
    return np.asarray(parts[:, 0] + 1j * parts[:, 1], dtype=np.complex64)


def tone_amplitude(samples: NDArray[np.generic], frequency_hz: float, sample_rate_hz: float) -> float:
    """Amplitude of the part of `samples` at a known frequency (Hann window), as of a sine or a complex tone.

    A real sine of amplitude 1 and a complex tone of amplitude 1 both read 1.
    """
    n = samples.shape[0]
    window = np.hanning(n)
    kernel = window * np.exp(-2j * np.pi * frequency_hz / sample_rate_hz * np.arange(n))
    part = abs(np.dot(samples.astype(np.complex128), kernel)) / window.sum()
    return float(part if np.iscomplexobj(samples) else 2.0 * part)


def tone_frequency_hz(samples: NDArray[np.generic], sample_rate_hz: float) -> float:
    """Frequency of the strongest tone, within about a thousandth of a bin of the whole length."""
    n = samples.shape[0]
    spectrum = np.abs(np.fft.fft(samples.astype(np.complex128) * np.hanning(n)))
    peak = int(np.argmax(spectrum[: n // 2])) if not np.iscomplexobj(samples) else int(np.argmax(spectrum))
    below, top, above = (np.log(spectrum[(peak + step) % n] + 1e-300) for step in (-1, 0, 1))
    place = peak + 0.5 * (below - above) / (below - 2.0 * top + above)
    return float((place if place < n / 2 else place - n) * sample_rate_hz / n)


def sinad_db(
    pcm: NDArray[np.floating], frequency_hz: float, sample_rate_hz: float, highest_hz: float = np.inf
) -> float:
    """Power of a tone over all else from 20 Hz to `highest_hz`, shape (n,)."""
    turns = 2.0 * np.pi * frequency_hz / sample_rate_hz * np.arange(pcm.shape[0])
    parts = np.stack((np.sin(turns), np.cos(turns), np.ones_like(turns)), axis=1)
    fit = parts @ np.linalg.lstsq(parts, pcm.astype(np.float64), rcond=None)[0]
    rest = np.fft.rfft((pcm - fit) * np.hanning(pcm.shape[0]))
    frequencies_hz = np.fft.rfftfreq(pcm.shape[0], 1.0 / sample_rate_hz)
    rest[(frequencies_hz < 20.0) | (frequencies_hz > highest_hz)] = 0.0
    power = 2.0 * np.square(np.abs(rest)).sum() / pcm.shape[0] ** 2 / 0.375
    return float(10.0 * np.log10(fit.var() / power))
