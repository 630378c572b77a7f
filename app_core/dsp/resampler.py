"""Resampling by a fixed ratio, as a stream.

Convention: output ``k`` stands at the time of input position ``k * down / up``, exactly and for ever: positions are
whole numbers, and the filter's delay is taken out, as if zeros had come before the first sample. Cutting the input
at other places gives the same output.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._kernels import polyphase, polyphase_interpolated
from app_core.dsp.fir import LowPass

ATTENUATION_DB = 85.0
"""Stop band of the filter, and so the level of images and aliases."""

_MAX_EXACT_PHASES = 640
"""Ratios with more phases than this (441/640 is the largest of the audio rates) use the interpolated table."""

_TABLE_ROWS = 512
"""Rows of the interpolated table: linear interpolation errs by (pi / 512)^2 / 8 at the most, -106 dB."""

SampleT = TypeVar("SampleT", np.float32, np.complex64)


class Resampler(Generic[SampleT]):
    """Polyphase low-pass filter and resampler; with a ratio of 1, a low-pass filter alone.

    Parameters
    ----------
    ratio
        Output rate over input rate.
    passband
        Upper edge of the pass band. [cycles per input sample]
    stopband
        Lower edge of the stop band. [cycles per input sample]
    dtype
        ``np.float32`` or ``np.complex64``: the type of what goes in and comes out.

    Attributes
    ----------
    latency
        Input samples that must follow a sample before the output at its time comes out.

    Raises
    ------
    ValueError
        If `ratio` is not positive, the pass band is not below the stop band, or the stop band lets aliases or images
        into the pass band (it may be no higher than either rate less `passband`).
    """

    def __init__(self, ratio: Fraction, passband: float, stopband: float, dtype: type[SampleT]) -> None:
        if ratio <= 0:
            raise ValueError(f"a resampling ratio is positive, not {ratio}")
        if stopband > min(1.0, float(ratio)) - passband + 1e-9:
            raise ValueError(f"stop band from {stopband} folds into pass band {passband} at ratio {ratio}")
        self._up, self._down = ratio.numerator, ratio.denominator
        design = LowPass.design(passband, stopband, ATTENUATION_DB)
        half = math.ceil(design.half_width)
        interpolated = self._up > _MAX_EXACT_PHASES
        self._kernel = polyphase_interpolated if interpolated else polyphase
        n_rows = _TABLE_ROWS if interpolated else self._up
        # The window of an output at position p holds the inputs floor(p) - half + 1 .. floor(p) + half.
        fraction = np.arange(n_rows + interpolated)[:, None] / n_rows
        taps = design.response(fraction - np.arange(1 - half, half + 1)[None, :])
        # Each phase sums to exactly 1, so a constant comes out without images.
        self._table = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
        self._dtype: type[SampleT] = dtype
        self.latency = half
        self.reset()

    def reset(self) -> None:
        """Forget all input; the next sample is input 0."""
        self._pending: NDArray[SampleT] = np.zeros(self.latency - 1, dtype=self._dtype)
        self._phase = 0
        self._n_in = 0
        self._n_out = 0

    def push(self, samples: NDArray[SampleT]) -> NDArray[SampleT]:
        """Resample the next part of the stream.

        Parameters
        ----------
        samples
            Shape (n,), n >= 0.

        Returns
        -------
        resampled
            Every output whose window is complete, shape (n_out,); about ``n * ratio``, often one more or less.
        """
        self._n_in += samples.shape[0]
        pending = np.concatenate((self._pending, samples)).astype(self._dtype, copy=False)
        room = pending.shape[0] - self._table.shape[1]
        # Output k starts its window at (phase + k * down) // up, which may be `room` at the most.
        n_out = 0 if room < 0 else ((room + 1) * self._up - 1 - self._phase) // self._down + 1
        n_out = max(n_out, 0)
        resampled = np.zeros(n_out, dtype=self._dtype)
        self._kernel(pending, self._table, self._up, self._down, self._phase, resampled)
        used, self._phase = divmod(self._phase + n_out * self._down, self._up)
        # A window is over five steps long, since its filter fits under the output rate: `used` lies inside `pending`.
        self._pending = pending[used:].copy()
        self._n_out += n_out
        return resampled

    def flush(self) -> NDArray[SampleT]:
        """End the stream: return the outputs that stand before the end of the input, and reset.

        Returns
        -------
        resampled
            Shape (n_out,); with it, ``ceil(n_in * ratio)`` samples have come out in all.
        """
        due = -(-self._n_in * self._up // self._down) - self._n_out
        rest = self.push(np.zeros(self.latency + self._down // self._up + 1, dtype=self._dtype))[:due]
        self.reset()
        return rest
