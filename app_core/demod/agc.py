"""Automatic gain control of audio: fast attack, hang, slow decay.

Convention: times are time constants, except for the hang, which is a plain delay. The gain is `target` over the level
of the audio's peaks; it never exceeds what brings `FLOOR_DBFS` to the target, so that an empty channel is not blown up
without end.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._audio_kernels import GainControl, control_gain

TARGET = 0.5
"""Amplitude of the peaks of the output. [full scale = ±1]"""

FLOOR_DBFS = -110.0
"""Level of peaks below which the gain no longer rises: under the noise of a 16-bit receiver in any voice channel."""


class Agc:
    """Hold the peaks of audio at one amplitude, as a stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of the audio.
    attack_s
        Time constant with which the gain falls where the audio is too loud; no sample exceeds `TARGET` meanwhile.
    hang_s
        How long the gain stands still behind the last peak.
    decay_s
        Time constant with which it rises after that.

    Raises
    ------
    ValueError
        If `sample_rate_hz`, `attack_s` or `decay_s` is not positive, or `hang_s` is negative.
    """

    def __init__(
        self, sample_rate_hz: float, attack_s: float = 0.002, hang_s: float = 0.3, decay_s: float = 0.5
    ) -> None:
        if not (sample_rate_hz > 0.0 and attack_s > 0.0 and decay_s > 0.0 and hang_s >= 0.0):
            raise ValueError(f"gain control needs positive times, not {attack_s}, {hang_s} and {decay_s} s")
        self._control = GainControl(
            attack_share=-math.expm1(-1.0 / (attack_s * sample_rate_hz)),
            n_hang=float(round(hang_s * sample_rate_hz)),
            decay_factor=math.exp(-1.0 / (decay_s * sample_rate_hz)),
            least_level=10.0 ** (FLOOR_DBFS / 20.0),
            target=TARGET,
        )
        self.reset()

    @property
    def gain_db(self) -> float:
        """Present gain. [dB]"""
        return 20.0 * math.log10(TARGET / self._state[0])

    def reset(self) -> None:
        """Forget the past, for a gap in the stream: the gain is at its highest."""
        self._state = np.array([self._control.least_level, 0.0])

    def push(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Control the next part of the stream.

        Parameters
        ----------
        audio
            Shape (n,), n >= 0, any scale; samples that are not finite or absurd count as 0.

        Returns
        -------
        pcm
            Shape (n,), within ±`TARGET`.
        """
        pcm = np.empty(audio.shape[0], dtype=np.float32)
        control_gain(audio, self._control, self._state, pcm)
        return pcm
