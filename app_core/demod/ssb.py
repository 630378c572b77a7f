"""Single sideband: a complex band-pass filter of one sideband, then gain control.

Convention: the IQ is centred on the suppressed carrier, which is the frequency that is tuned in; the upper sideband
lies at positive frequencies. So the channel in front is twice as wide as the audio: `channel_bandwidth_hz`. The real
part of what the filter keeps is the audio (a product detector whose oscillator is the centre of the channel).

The filter is symmetric in time: all audio is late by the same `delay_s`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app_core.demod.agc import Agc
from app_core.dsp._audio_kernels import ABSURD
from app_core.dsp._polyphase_kernels import polyphase
from app_core.dsp.fir import LowPass

LOW_EDGE_HZ = 300.0
"""Lower edge of the audio; the carrier, this far below, and the other sideband are in the stop band."""

MIN_BANDWIDTH_HZ = 500.0
ATTENUATION_DB = 70.0

_TAPS_STEP = 8
"""Filters are this many complex taps long, or a multiple: whole vector registers."""

Sideband = Literal["usb", "lsb"]


class SidebandFilter:
    """Keep one sideband of IQ, as a stream, late by `SsbDemodulator.delay_s`.

    Parameters
    ----------
    sample_rate_hz, sideband, bandwidth_hz
        As of `SsbDemodulator`, which checks them.
    """

    def __init__(self, sample_rate_hz: float, sideband: Sideband, bandwidth_hz: float) -> None:
        taps = _taps(sample_rate_hz, sideband, bandwidth_hz)
        self._rows = (_row(taps), _row(-1j * taps))
        self.reset()

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""
        self._past: NDArray[np.complex64] = np.zeros(self._rows[0].shape[1] // 2 - 1, dtype=np.complex64)

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.complex64]:
        """Filter the next part of the stream, shape (n,), any level; samples that are not finite count as 0."""
        samples = _behind(self._past, iq)
        self._past = samples[iq.shape[0] :].copy()
        kept = np.zeros((2, iq.shape[0]), dtype=np.float32)
        for row, part in zip(self._rows, kept, strict=True):
            polyphase(samples.view(np.float32), row, 1, 2, 0, part)
        return np.asarray(kept[0] + 1j * kept[1], dtype=np.complex64)


class SsbDemodulator:
    """Demodulate one sideband, as a stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of IQ and of audio.
    sideband
        ``"usb"`` or ``"lsb"``.
    bandwidth_hz
        Upper edge of the audio; `LOW_EDGE_HZ` above it the stop band begins.
    agc
        Gain control, at `sample_rate_hz`; by default one with the times of `Agc`.

    Attributes
    ----------
    n_audio
        1: mono.
    channel_bandwidth_hz
        Width of the channel, centred on the carrier, that holds the sideband.
    delay_s
        How late the audio is.
    frequency_error_hz, deviation_hz
        0: there is no carrier to measure.

    Raises
    ------
    ValueError
        If `sideband` is neither, or the sideband with its transition does not fit below half the sample rate or is
        narrower than `MIN_BANDWIDTH_HZ`.
    """

    def __init__(
        self, sample_rate_hz: float, sideband: Sideband = "usb", bandwidth_hz: float = 2800.0, agc: Agc | None = None
    ) -> None:
        if sideband not in ("usb", "lsb"):
            raise ValueError(f"a sideband is usb or lsb, not {sideband}")
        if not MIN_BANDWIDTH_HZ <= bandwidth_hz <= sample_rate_hz / 2.0 - LOW_EDGE_HZ:
            raise ValueError(f"a sideband of {bandwidth_hz} Hz does not fit {sample_rate_hz} samples a second")
        taps = _taps(sample_rate_hz, sideband, bandwidth_hz)
        self._row = _row(taps)
        self._agc = Agc(sample_rate_hz) if agc is None else agc
        self.n_audio = 1
        self.channel_bandwidth_hz = 2.0 * bandwidth_hz
        self.delay_s = (taps.shape[0] - 1) / 2.0 / sample_rate_hz
        self.frequency_error_hz = 0.0
        self.deviation_hz = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget the past, for a gap in the stream."""
        self._past: NDArray[np.complex64] = np.zeros(self._row.shape[1] // 2 - 1, dtype=np.complex64)
        self._agc.reset()

    def readings(self) -> dict[str, float | bool | None]:
        """What this mode measures: ``gain_db`` of the gain control."""
        return {"gain_db": self._agc.gain_db}

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0, any level; samples that are not finite or absurd count as 0.

        Returns
        -------
        pcm
            Shape (n,). [full scale = ±1]
        """
        samples = _behind(self._past, iq)
        self._past = samples[iq.shape[0] :].copy()
        audio = np.zeros(iq.shape[0], dtype=np.float32)
        # The real part of a complex filter is a real filter of twice the length over the interleaved parts.
        polyphase(samples.view(np.float32), self._row, 1, 2, 0, audio)
        return self._agc.push(audio)


def _behind(past: NDArray[np.complex64], iq: NDArray[np.complex64]) -> NDArray[np.complex64]:
    sane = np.abs(iq) < ABSURD
    return np.concatenate((past, iq if sane.all() else np.where(sane, iq, np.complex64(0))))


def _row(taps: NDArray[np.complex128]) -> NDArray[np.float32]:
    """What gives the real part of the filtered samples, over their parts in turn: shape (1, n), oldest sample first."""
    backwards = np.pad(taps[::-1], (-taps.shape[0] % _TAPS_STEP, 0))  # zeros before the first tap
    return np.stack((backwards.real, -backwards.imag), axis=1).reshape(1, -1).astype(np.float32)


def _taps(sample_rate_hz: float, sideband: Sideband, bandwidth_hz: float) -> NDArray[np.complex128]:
    """Taps of the band-pass, shape (n_taps,), n_taps odd; gain 1 in the pass band."""
    half_width = (bandwidth_hz - LOW_EDGE_HZ) / 2.0 / sample_rate_hz
    low_pass = LowPass.design(half_width, half_width + LOW_EDGE_HZ / sample_rate_hz, ATTENUATION_DB).taps()
    center = (bandwidth_hz + LOW_EDGE_HZ) / 2.0 / sample_rate_hz * (1.0 if sideband == "usb" else -1.0)
    reach = low_pass.shape[0] // 2
    return np.asarray(low_pass * np.exp(2j * np.pi * center * np.arange(-reach, reach + 1)), dtype=np.complex128)
