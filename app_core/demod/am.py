"""Amplitude modulation, by the envelope and by a carrier that is followed.

Convention: full modulation gives ±1 whatever the level of the carrier, which is measured as the slow mean of the
envelope and divided out. A carrier that comes or goes is heard again within 30 ms, and no sample is louder than 200 %
of modulation meanwhile. The audio is `DELAY_S` late, so that it can be faded before such a step is heard.
"""

from __future__ import annotations

import cmath
import math

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._am_kernels import CarrierLevel, CarrierLoop, normalize_carrier, track_carrier

MIN_RATE_HZ = 4000.0

DELAY_S = 0.005
"""Delay of the audio."""

LEVEL_S = 0.2
"""Time constant of the carrier's level: 0.8 Hz, so that it does not follow any audio."""

MEDIUM_S = 0.015
_FAST_S = 0.005
"""Time constants of the means that see the carrier change and come or go; see `AM_RISE` of the kernels."""

_MUTE_S = 0.01
_RISE_S = 0.01
_FALL_S = 0.001

_LOOP_HZ = 25.0
"""Natural frequency of the carrier loop, with a damping of 0.7: far below speech, above the drift of any oscillator."""

_LOOP_MEAN_S = 0.05
_LOOP_PULL_S = 0.01
_LOOP_PULL_HZ = 120.0
"""Distance that the loop alone pulls in within 0.1 s; three standard deviations of the mean frequency at 0 dB."""

_LOOP_BLEND_S = 0.02
_LOCK_COHERENCE = 0.7
_UNLOCK_COHERENCE = 0.5
_MAX_ERROR_SHARE = 0.4
"""Largest frequency error that is followed, as a share of the sample rate."""


class AmDemodulator:
    """Demodulate AM by its envelope, as a stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of IQ and of audio.
    level_s
        Time constant with which the carrier's level follows small changes; steps are followed at once.

    Attributes
    ----------
    n_audio
        1: mono.
    delay_s
        How late the audio is.
    frequency_error_hz
        Frequency of the carrier in the last `push` of two samples or more, relative to 0 Hz; 0 before.
    deviation_hz
        0: AM has none.

    Raises
    ------
    ValueError
        If `sample_rate_hz` is below `MIN_RATE_HZ` or `level_s` below `MEDIUM_S`.
    """

    def __init__(self, sample_rate_hz: float, level_s: float = LEVEL_S) -> None:
        self._rate_hz = sample_rate_hz
        self._level = _CarrierGain(sample_rate_hz, level_s)
        self.n_audio = 1
        self.delay_s = self._level.delay_s
        self.frequency_error_hz = 0.0
        self.deviation_hz = 0.0

    def reset(self) -> None:
        """Forget the past, for a gap in the stream; the readings stay."""
        self._level.reset()

    def readings(self) -> dict[str, float | bool | None]:
        """What this mode measures: ``gain_db`` that brings the carrier to full scale, None without a carrier."""
        return {"gain_db": self._level.gain_db}

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0, any level; samples that are not finite count as the carrier alone.

        Returns
        -------
        pcm
            Shape (n,), within ±2. [±1 at full modulation]
        """
        if iq.shape[0] > 1:
            # The sum of the products weighs each advance by its power; a sum that is not finite says nothing.
            with np.errstate(over="ignore", invalid="ignore"):
                advance = complex((iq[1:] * iq[:-1].conj()).sum(dtype=np.complex128))
            if cmath.isfinite(advance):
                self.frequency_error_hz = cmath.phase(advance) * self._rate_hz / (2.0 * math.pi)
        return self._level.push(np.abs(iq))


class SynchronousAmDemodulator:
    """Demodulate AM by multiplying with its own carrier, as a stream.

    The part of the noise that is in quadrature with the carrier is left out, and fading of the carrier alone does not
    distort. Until the loop has locked, and where it loses the carrier, the envelope is given.

    Parameters
    ----------
    sample_rate_hz
        Rate of IQ and of audio.
    level_s
        Time constant with which the carrier's level follows small changes; steps are followed at once.

    Attributes
    ----------
    n_audio
        1: mono.
    delay_s
        How late the audio is.
    is_locked
        Whether the loop follows a carrier.
    frequency_error_hz
        Frequency of the loop at the end of the last `push`, relative to 0 Hz; 0 before.
    deviation_hz
        0: AM has none.

    Raises
    ------
    ValueError
        If `sample_rate_hz` is below `MIN_RATE_HZ` or `level_s` below `MEDIUM_S`.
    """

    def __init__(self, sample_rate_hz: float, level_s: float = LEVEL_S) -> None:
        self._rate_hz = sample_rate_hz
        self._level = _CarrierGain(sample_rate_hz, level_s)
        natural = 2.0 * math.pi * _LOOP_HZ / sample_rate_hz
        self._loop = CarrierLoop(
            proportional=1.4 * natural,
            integral=natural**2,
            mean_share=_share(_LOOP_MEAN_S, sample_rate_hz),
            pull_share=_share(_LOOP_PULL_S, sample_rate_hz),
            pull_step=2.0 * math.pi * _LOOP_PULL_HZ / sample_rate_hz,
            max_step=2.0 * math.pi * _MAX_ERROR_SHARE,
            lock_coherence=_LOCK_COHERENCE,
            unlock_coherence=_UNLOCK_COHERENCE,
            blend_step=1.0 / (_LOOP_BLEND_S * sample_rate_hz),
        )
        self.n_audio = 1
        self.delay_s = self._level.delay_s
        self.is_locked = False
        self.frequency_error_hz = 0.0
        self.deviation_hz = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget the past, for a gap in the stream; the readings stay."""
        self._level.reset()
        self._state = np.zeros(10)

    def readings(self) -> dict[str, float | bool | None]:
        """What this mode measures: ``gain_db`` as of `AmDemodulator`, and ``is_locked``."""
        return {"gain_db": self._level.gain_db, "is_locked": self.is_locked}

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0, any level; samples that are not finite or absurd count as 0.

        Returns
        -------
        pcm
            Shape (n,), within ±2. [±1 at full modulation]
        """
        in_phase = np.empty(iq.shape[0], dtype=np.float32)
        track_carrier(iq, self._loop, self._state, in_phase)
        if iq.shape[0]:
            self.is_locked = bool(self._state[7])
            self.frequency_error_hz = float(self._state[1]) * self._rate_hz / (2.0 * math.pi)
        return self._level.push(in_phase)


class _CarrierGain:
    """The carrier's level, taken out of an envelope."""

    def __init__(self, sample_rate_hz: float, level_s: float) -> None:
        if not sample_rate_hz >= MIN_RATE_HZ:
            raise ValueError(f"AM is demodulated from {MIN_RATE_HZ:.0f} samples a second, not {sample_rate_hz}")
        if not level_s >= MEDIUM_S:
            raise ValueError(f"the carrier's level is measured over {MEDIUM_S} s or longer, not {level_s} s")
        self._constants = CarrierLevel(
            slow_share=_share(level_s, sample_rate_hz),
            medium_share=_share(MEDIUM_S, sample_rate_hz),
            fast_share=_share(_FAST_S, sample_rate_hz),
            n_mute=float(math.ceil(_MUTE_S * sample_rate_hz)),
            rise_step=1.0 / (_RISE_S * sample_rate_hz),
            fall_step=1.0 / (_FALL_S * sample_rate_hz),
        )
        self._n_delay = round(DELAY_S * sample_rate_hz)
        self.delay_s = self._n_delay / sample_rate_hz
        self.reset()

    @property
    def gain_db(self) -> float | None:
        """Gain that brings the carrier to full scale; None without a carrier. [dB]"""
        carrier = float(self._state[0])
        return -20.0 * math.log10(carrier) if carrier > 0.0 else None

    def reset(self) -> None:
        self._state = np.zeros(7)
        self._delay = np.zeros(self._n_delay, dtype=np.float32)

    def push(self, envelope: NDArray[np.float32]) -> NDArray[np.float32]:
        pcm = np.empty(envelope.shape[0], dtype=np.float32)
        normalize_carrier(envelope, self._constants, self._state, self._delay, pcm)
        return pcm


def _share(time_constant_s: float, sample_rate_hz: float) -> float:
    """Share of the distance to each sample by which a mean with this time constant moves."""
    return -math.expm1(-1.0 / (time_constant_s * sample_rate_hz))
