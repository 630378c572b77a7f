"""The power spectrum of every sample, against numpy frame by frame.

Ours is `SpectrumEstimator`, fed with messages of 32,768 samples as the publisher does, read once. The peer is the
obvious way: for each frame of 2048 samples the window, ``numpy.fft.fft``, ``fftshift``, the square of the magnitude,
added up; the logarithm of the mean at the end. Both are given complex64 and the same window, the peer in double
precision, as numpy's own window functions give one.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.spectrum import SpectrumEstimator
from benchmarks.report import Figure, at_least

FFT_SIZE = 2048
SAMPLES_PER_MESSAGE = 32_768
N_SAMPLES = 1 << 20
ROUNDS = 7

CAVEATS = (
    "one thread; the spectra agree within 0.001 dB",
    "the peer without fftshift in its loop, and with a window of single precision, is up to 1.5 times faster",
    "median of 7 rounds, ours and the peer in turns",
)


def _ours(estimator: SpectrumEstimator, iq: NDArray[np.complex64]) -> NDArray[np.floating]:
    for start in range(0, len(iq), SAMPLES_PER_MESSAGE):
        estimator.push(iq[start : start + SAMPLES_PER_MESSAGE])
    spectrum = estimator.read()
    assert spectrum is not None
    return spectrum


def _peer(window: NDArray[np.float64], iq: NDArray[np.complex64]) -> NDArray[np.floating]:
    power = np.zeros(FFT_SIZE)
    for start in range(0, len(iq), FFT_SIZE):
        frame = iq[start : start + FFT_SIZE] * window
        power += np.abs(np.fft.fftshift(np.fft.fft(frame))) ** 2
    return np.asarray(10.0 * np.log10(power / (len(iq) // FFT_SIZE)))


def run() -> Iterator[Figure]:
    """Measure both in turns."""
    rng = np.random.default_rng(1)
    iq = rng.normal(0.0, 0.1, 2 * N_SAMPLES).astype(np.float32).view(np.complex64)
    estimator = SpectrumEstimator(FFT_SIZE)
    window = estimator.window.astype(np.float64)
    assert np.abs(_ours(estimator, iq) - _peer(window, iq)).max() < 0.001
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        _ours(estimator, iq)
        between_s = time.perf_counter()
        _peer(window, iq)
        times[0].append(between_s - begun_s)
        times[1].append(time.perf_counter() - between_s)
    ours, peer = (N_SAMPLES / statistics.median(each) / 1e6 for each in times)
    yield at_least("spectrum of every sample, 2048 bins [MS/s]", ours, peer, 5.0)
