"""A small receiver of the tests' own, so that what is generated is not judged by the code that generates it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.eas.waveform import MARK_HZ, SPACE_HZ

AUDIO_RATE_HZ = 25_000


def one_channel(iq: NDArray[np.complex64], sample_rate_hz: float, offset_hz: float) -> NDArray[np.complex128]:
    """Cut 25 kHz about `offset_hz` out of samples of shape (n,), at 25 kS/s; n is a multiple of the decimation."""
    decimation = round(sample_rate_hz / AUDIO_RATE_HZ)
    mixed = iq * np.exp(-2j * np.pi * offset_hz / sample_rate_hz * np.arange(iq.size))
    spectrum = np.fft.fftshift(np.fft.fft(mixed))
    n_kept = iq.size // decimation
    begin = (iq.size - n_kept) // 2
    kept = np.fft.ifftshift(spectrum[begin : begin + n_kept]) / decimation
    return np.fft.ifft(kept)


def deviation_hz(channel: NDArray[np.complex128]) -> NDArray[np.float64]:
    """Instantaneous frequency of a channel of shape (n,), shape (n - 1,)."""
    return np.angle(channel[1:] * channel[:-1].conj()) * AUDIO_RATE_HZ / (2.0 * np.pi)


def read_bytes(audio: NDArray[np.float64], first_sample: int, n_bytes: int) -> bytes:
    """Read AFSK at a known place by matched filters: 48 samples a bit at 25 kS/s."""
    bits = audio[first_sample : first_sample + n_bytes * 8 * 48].reshape(-1, 48)
    time_s = np.arange(48) / AUDIO_RATE_HZ
    # The mark tone is stronger by the pre-emphasis, since nothing here takes that back.
    mark = np.abs(bits @ np.exp(-2j * np.pi * MARK_HZ * time_s)) / 2.017
    space = np.abs(bits @ np.exp(-2j * np.pi * SPACE_HZ * time_s)) / 1.524
    return np.packbits((mark > space).astype(np.uint8), bitorder="little").tobytes()


def level_db(channel: NDArray[np.complex128]) -> float:
    """Power of samples of shape (n,). [dBFS]"""
    return float(10.0 * np.log10(np.mean(np.square(np.abs(channel)))))
