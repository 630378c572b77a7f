"""Narrow-band FM: frequency discriminator, slow removal of the mean, de-emphasis.

Convention: `deviation_hz` gives ±1 for a tone of 1 kHz. De-emphasis falls by 6 dB an octave from 300 Hz and has gain
1 at 1 kHz, so that a transmitter's pre-emphasis (the exact inverse, through the same 1 kHz) comes out flat. Its pole
is that of the analogue filter, whose response the sampled filter exceeds by 0.3 dB at 3.4 kHz (24 kS/s); the
discriminator, which averages the frequency over one sample, falls short by as much. Audio sample ``k`` is heard
between IQ samples ``k - 1`` and ``k``, so it is half a sample late: 21 µs.

A receiver that is off its frequency shows as a constant in the discriminator's output; the tracking takes it out, so
that the audio is free of it and it can be reported.
"""

from __future__ import annotations

import cmath
import copy
import math
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._kernels import discriminate_stack, level_and_deemphasize_stack
from app_core.dsp._stack_kernels import mean_and_peak

DEEMPHASIS_HZ = 300.0
"""Corner of the de-emphasis of land-mobile FM and NOAA Weather Radio."""

REFERENCE_HZ = 1000.0
"""Audio frequency at which the de-emphasis has gain 1."""

TRACKING_HZ = 20.0
"""Corner of the high-pass that takes the mean out: a mistuning dies away in 8 ms, speech from 300 Hz up is kept."""


class FmStack:
    """Demodulate channels of narrow-band FM side by side, as streams; none has a part in another's audio.

    Parameters
    ----------
    sample_rate_hz
        Rate of IQ and of audio.
    n_channels
        Number of channels.
    deviation_hz
        Deviation that gives audio of ±1.
    deemphasis_hz
        Corner of the de-emphasis; None leaves it out.

    Attributes
    ----------
    n_audio, delay_s, decimation
        1, 0 and 1: mono, not late, a sample of audio for each of IQ.
    frequency_error_hz
        Shape (n_channels,): mean frequency in the last `push` that was not empty, relative to 0 Hz; 0 before.
    deviation_hz
        Shape (n_channels,): peak deviation of a tone with the power of the modulation heard in that `push`; 0 before.

    Raises
    ------
    ValueError
        If `deviation_hz` or `deemphasis_hz` is not positive, or `sample_rate_hz` is not above 2 kHz.
    """

    def __init__(
        self,
        sample_rate_hz: float,
        n_channels: int,
        deviation_hz: float = 5000.0,
        deemphasis_hz: float | None = DEEMPHASIS_HZ,
    ) -> None:
        if not deviation_hz > 0.0:
            raise ValueError(f"a deviation is positive, not {deviation_hz} Hz")
        if deemphasis_hz is not None and not deemphasis_hz > 0.0:
            raise ValueError(f"the corner of the de-emphasis is positive, not {deemphasis_hz} Hz")
        if not sample_rate_hz > 2.0 * REFERENCE_HZ:
            raise ValueError(f"FM is demodulated above {2.0 * REFERENCE_HZ:.0f} samples a second, not {sample_rate_hz}")
        self.n_audio = 1
        self.delay_s = 0.0
        self.decimation = 1
        self._full_deviation_hz = deviation_hz
        self._scale = sample_rate_hz / (2.0 * math.pi * deviation_hz)
        self._tracking = 1.0 - math.exp(-2.0 * math.pi * TRACKING_HZ / sample_rate_hz)
        self._pole = 0.0 if deemphasis_hz is None else math.exp(-2.0 * math.pi * deemphasis_hz / sample_rate_hz)
        self._gain = self._reference_gain(sample_rate_hz)
        self.frequency_error_hz: NDArray[np.float64] = np.zeros(n_channels)
        self.deviation_hz: NDArray[np.float64] = np.zeros(n_channels)
        self.reset()

    def _reference_gain(self, sample_rate_hz: float) -> float:
        """Gain that makes discriminator, tracking and de-emphasis together 1 at `REFERENCE_HZ`."""
        half_turn = math.pi * REFERENCE_HZ / sample_rate_hz
        delay = cmath.exp(-2j * half_turn)
        averaging = math.sin(half_turn) / half_turn
        tracking = (1.0 - self._tracking) * abs((1.0 - delay) / (1.0 - (1.0 - self._tracking) * delay))
        return abs(1.0 - self._pole * delay) / (averaging * tracking)

    def reset(self) -> None:
        """Forget the past, for a gap in the stream; the readings stay."""
        n_channels = self.frequency_error_hz.shape[0]
        self._previous: NDArray[np.complex64] = np.zeros(n_channels, dtype=np.complex64)
        self._state = np.zeros((n_channels, 2), dtype=np.float64)

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the streams.

        Parameters
        ----------
        iq
            Shape (n_channels, n), n >= 0, any level.

        Returns
        -------
        pcm
            Shape (n_channels, n); within ±4, beyond which it is clipped. NaN or infinite input comes out as silence.
            [±1 at the full deviation]
        """
        pcm = np.empty(iq.shape, dtype=np.float32)
        if iq.shape[1] == 0:
            return pcm
        frequency = np.empty(iq.shape, dtype=np.float32)
        discriminate_stack(iq, self._previous, self._scale, frequency)
        level_and_deemphasize_stack(frequency, self._state, self._tracking, self._pole, self._gain, pcm)
        mean_and_peak(frequency, self._full_deviation_hz, self.frequency_error_hz, self.deviation_hz)
        return pcm

    def readings(self, row: int) -> dict[str, float | bool | None]:
        """Nothing: narrow-band FM measures what every mode does."""
        return {}

    def take(self, rows: list[int]) -> Self:
        """Make a stack that goes on with some of the channels, where this one stands."""
        taken = copy.copy(self)
        taken.frequency_error_hz, taken.deviation_hz = self.frequency_error_hz[rows], self.deviation_hz[rows]
        taken._previous, taken._state = self._previous[rows], self._state[rows]
        return taken


class FmDemodulator:
    """Demodulate one channel of narrow-band FM, as a stream.

    Parameters
    ----------
    sample_rate_hz, deviation_hz, deemphasis_hz
        As of `FmStack`.

    Attributes
    ----------
    n_audio
        1: mono.
    delay_s
        0: the audio is not late.
    frequency_error_hz, deviation_hz
        As of `FmStack`, of the one channel.

    Raises
    ------
    ValueError
        As `FmStack`.
    """

    def __init__(
        self, sample_rate_hz: float, deviation_hz: float = 5000.0, deemphasis_hz: float | None = DEEMPHASIS_HZ
    ) -> None:
        self._stack = FmStack(sample_rate_hz, 1, deviation_hz, deemphasis_hz)
        self.n_audio = 1
        self.delay_s = 0.0
        self.frequency_error_hz = 0.0
        self.deviation_hz = 0.0

    def reset(self) -> None:
        """Forget the past, for a gap in the stream; the readings stay."""
        self._stack.reset()

    def readings(self) -> dict[str, float | bool | None]:
        """Nothing: narrow-band FM measures what every mode does."""
        return {}

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream: `FmStack.push` for shape (n,)."""
        pcm: NDArray[np.float32] = self._stack.push(iq[None, :])[0]
        self.frequency_error_hz = float(self._stack.frequency_error_hz[0])
        self.deviation_hz = float(self._stack.deviation_hz[0])
        return pcm
