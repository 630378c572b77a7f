"""Narrow FM from a transmitter to the project's own receiver: the audio of a burst by way of IQ, noise and fading.

The transmitter is `app_core.synth.modulation`: pre-emphasis of 6 dB an octave from 300 Hz, audio up to 3.4 kHz. The
mark tone deviates by 4.5 kHz. The receiver is `app_core.demod.channel.ChannelBank` as the station runs it: a channel of
16 kHz, discriminator, de-emphasis. C/N is the carrier's power over the noise's in 12.5 kHz.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from app_core.base.blocks import IqBlock
from app_core.demod.channel import ChannelBank, ChannelConfig
from app_core.eas.waveform import MARK_HZ
from app_core.synth.modulation import DEVIATION_HZ, LOW_RATE_HZ, MODULATION_STEP, emphasis_gain, modulate
from benchmarks.campaigns.transmissions import Pcm, Rng

IQ_RATE_HZ = 2 * LOW_RATE_HZ
"""Rate of the IQ: wide enough that the receiver's filter, and not the generator, cuts the noise."""

NOISE_BANDWIDTH_HZ = 12_500.0
MARK_DEVIATION_HZ = 4_500.0

_CENTER_HZ = 162_550_000.0
_CARRIER = 0.25
_FADING_RATE_HZ = 100.0
_SETTLING = 300
_BLOCK = 1 << 16


def rayleigh(n: int, fade_hz: float, rng: Rng, rate_hz: float) -> NDArray[np.complex64]:
    """Make a complex Gaussian gain, as of many reflected waves and no direct one.

    It is white Gaussian noise behind a low-pass of second order (Butterworth); the mean power is 1 over the `n` samples
    themselves, so that a C/N is the mean of this transmission and not of a climate.

    Parameters
    ----------
    n
        Number of samples.
    fade_hz
        Corner of the low-pass, which is also the root mean square of the Doppler shifts. [Hz]
    rng
        Where it comes from.
    rate_hz
        Rate of the result.

    Returns
    -------
    gain
        Shape (n,).
    """
    n_coarse = int(n / rate_hz * _FADING_RATE_HZ) + _SETTLING + 2
    coarse = rng.standard_normal(n_coarse) + 1j * rng.standard_normal(n_coarse)
    coarse = signal.sosfilt(signal.butter(2, fade_hz, fs=_FADING_RATE_HZ, output="sos"), coarse)[_SETTLING:]
    place, grid = np.arange(n) * (_FADING_RATE_HZ / rate_hz), np.arange(len(coarse))
    gain = np.interp(place, grid, coarse.real) + 1j * np.interp(place, grid, coarse.imag)
    return np.asarray(gain / np.sqrt(np.mean(np.abs(gain) ** 2)), np.complex64)


def narrow_fm(pcm: Pcm, c_n_db: float, rng: Rng, rate_hz: int, fade_hz: float | None = None) -> Pcm:
    """Send audio through narrow FM.

    Parameters
    ----------
    pcm
        Shape (n,), the bursts of amplitude 1.
    c_n_db
        C/N in 12.5 kHz, its mean where it fades. [dB]
    rng
        Of the noise and the fading.
    rate_hz
        Rate of `pcm` and of the result: one that a channel's audio may have.
    fade_hz
        Rayleigh fading as of `rayleigh`; None for none.

    Returns
    -------
    pcm
        Shape (m,), some milliseconds shorter at the end.
    """
    level = np.float32(MARK_DEVIATION_HZ / DEVIATION_HZ / emphasis_gain(MARK_HZ))
    modulation = modulate(level * pcm, rate_hz).astype(np.float64) * MODULATION_STEP
    swing_hz = DEVIATION_HZ * signal.resample_poly(modulation, IQ_RATE_HZ // LOW_RATE_HZ, 1)
    turns = np.cumsum(swing_hz) / IQ_RATE_HZ
    iq = np.exp(2j * np.pi * (turns % 1.0)).astype(np.complex64)
    if fade_hz is not None:
        iq *= rayleigh(len(iq), fade_hz, rng, IQ_RATE_HZ)
    sigma = np.sqrt(0.5 * 10.0 ** (-c_n_db / 10.0) * IQ_RATE_HZ / NOISE_BANDWIDTH_HZ)
    iq += np.float32(sigma) * rng.standard_normal(2 * len(iq), np.float32).view(np.complex64)
    return receive(np.float32(_CARRIER / (1.0 + 2.0 * sigma)) * iq, rate_hz)


def receive(iq: NDArray[np.complex64], rate_hz: int) -> Pcm:
    """Give the audio of a channel in the middle of IQ of shape (n,) at `IQ_RATE_HZ`."""
    settings = {"id": "c", "receiver_id": "r", "frequency_hz": _CENTER_HZ, "mode": "nfm", "audio_rate_hz": rate_hz}
    bank = ChannelBank([ChannelConfig.model_validate(settings)])
    pieces = []
    for first in range(0, len(iq), _BLOCK):
        block = IqBlock(iq[first : first + _BLOCK], float(IQ_RATE_HZ), _CENTER_HZ, first, first / IQ_RATE_HZ, 1)
        pieces += [audio.pcm for _, audio in bank.push(block)]
    pieces += [audio.pcm for _, audio in bank.flush()]
    return np.concatenate(pieces)
