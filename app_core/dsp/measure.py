"""Levels of samples and of spectra.

Convention: 0 dBFS is the power of a complex tone of amplitude 1; a level of nothing at all is `FLOOR_DBFS`, never
minus infinity, so that every reading is a number that JSON can carry.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FLOOR_DBFS = -200.0
"""Lowest level that is reported."""

MAX_SNR_DB = 80.0
"""Highest ratio that is reported: beyond it, float32 and not the antenna sets the noise."""

CLIPPING_AMPLITUDE = 0.99
"""From here on a component counts as clipped; the largest code of an 8-bit converter, 127/128, is 0.992."""


def mean_power(iq: NDArray[np.complex64]) -> float:
    """Mean of ``|iq|²``.

    Parameters
    ----------
    iq
        Shape (n,). [full scale = 1]

    Returns
    -------
    power
        0 for an empty block; not finite if a sample is not. [full scale = 1]
    """
    if iq.shape[0] == 0:
        return 0.0
    components = np.ascontiguousarray(iq).view(np.float32)
    return float(np.square(components).sum(dtype=np.float64) / iq.shape[0])


def power_dbfs(power: float) -> float:
    """Express a power in dBFS, not below `FLOOR_DBFS`; NaN reads as the floor."""
    if not power > 10.0 ** (FLOOR_DBFS / 10.0):
        return FLOOR_DBFS
    return 10.0 * math.log10(power)


def level_dbfs(iq: NDArray[np.complex64]) -> float:
    """Level of a block: its mean power in dBFS.

    Parameters
    ----------
    iq
        Shape (n,); an empty block reads `FLOOR_DBFS`. [full scale = 1]
    """
    return power_dbfs(mean_power(iq))


def clipping_share(iq: NDArray[np.complex64], amplitude: float = CLIPPING_AMPLITUDE) -> float:
    """Share of samples, 0 to 1, with I or Q at `amplitude` or beyond; 0 for an empty block.

    Parameters
    ----------
    iq
        Shape (n,). [full scale = 1]
    amplitude
        Where clipping begins. [full scale = 1]
    """
    if iq.shape[0] == 0:
        return 0.0
    components = np.ascontiguousarray(iq).view(np.float32)
    # Most blocks do not clip at all, and that is seen thirty times faster; both are False for NaN.
    if components.max() < amplitude and components.min() > -amplitude:
        return 0.0
    magnitudes = np.abs(components).reshape(-1, 2)
    return float(np.count_nonzero((magnitudes >= amplitude).any(axis=1)) / iq.shape[0])


def channel_snr_db(
    spectrum_dbfs: NDArray[np.float32],
    sample_rate_hz: float,
    offset_hz: float,
    bandwidth_hz: float,
    noise_quantile: float = 0.25,
) -> float:
    """Power in a channel over the noise that the same bandwidth would hold, from a spectrum of the whole capture.

    The noise is a low quantile of the bins, which no signal that fills less than ``1 - noise_quantile`` of the
    capture can move. It lies a little below the mean of the noise: by 0.5 dB when 32 frames were averaged, by 5 dB for
    one frame; an empty channel reads about that. The window's noise bandwidth cancels.

    Parameters
    ----------
    spectrum_dbfs
        Averaged power per bin, shape (n_bins,), lowest frequency first. [dBFS per bin]
    sample_rate_hz
        Width of the spectrum.
    offset_hz
        Centre of the channel, relative to the centre of the spectrum.
    bandwidth_hz
        Width of the channel; at least one bin is taken.
    noise_quantile
        Share of the bins that lie below the noise reading.

    Returns
    -------
    snr_db
        (Signal + noise) / noise, from -`MAX_SNR_DB` to `MAX_SNR_DB`. [dB]

    Raises
    ------
    ValueError
        If no part of the channel lies inside the spectrum.
    """
    n_bins = spectrum_dbfs.shape[0]
    bin_hz = sample_rate_hz / n_bins
    first = round((offset_hz - bandwidth_hz / 2.0) / bin_hz) + n_bins // 2
    last = max(round((offset_hz + bandwidth_hz / 2.0) / bin_hz) + n_bins // 2, first + 1)
    first, last = max(first, 0), min(last, n_bins)
    if first >= last:
        raise ValueError(f"a channel at {offset_hz:.0f} Hz lies outside a spectrum of {sample_rate_hz:.0f} Hz")
    power = np.power(10.0, spectrum_dbfs.astype(np.float64) / 10.0)
    noise = max(float(np.quantile(power, noise_quantile)), 10.0 ** (FLOOR_DBFS / 10.0))
    ratio_db = power_dbfs(float(power[first:last].mean()) / noise)
    return min(max(ratio_db, -MAX_SNR_DB), MAX_SNR_DB)


def constant_envelope_snr_db(second_moment: float, fourth_moment: float) -> float:
    """Signal-to-noise ratio of a carrier of constant envelope in Gaussian noise, from the moments of its magnitude.

    With signal power S and noise power N, the mean of ``|z|²`` is S + N and that of ``|z|⁴`` is S² + 4 S N + 2 N².

    Parameters
    ----------
    second_moment
        Mean of ``|z|²``.
    fourth_moment
        Mean of ``|z|⁴``.

    Returns
    -------
    snr_db
        S / N from -10 (nothing there) to `MAX_SNR_DB`. [dB]
    """
    signal_squared = 2.0 * second_moment**2 - fourth_moment
    if not (second_moment > 0.0 and signal_squared > 0.0):
        return -10.0
    signal = math.sqrt(signal_squared)
    noise = second_moment - signal
    if noise <= signal * 10.0 ** (-MAX_SNR_DB / 10.0):
        return MAX_SNR_DB
    return max(10.0 * math.log10(signal / noise), -10.0)
