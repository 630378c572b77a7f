"""Resampling by a fixed ratio, as a stream, of one signal or of several side by side.

Convention: output ``k`` stands at the time of input position ``k * down / up``, exactly and for ever: positions are
whole numbers, and the filter's delay is taken out, as if zeros had come before the first sample. Cutting the input
at other places gives the same output, and so does another number of signals, bit for bit.

Where the signal fills little of the input's rate, a low-pass filter at that rate comes first, and a short interpolator
behind it: together a third of the work of one long filter at the output's rate.
"""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._polyphase_kernels import polyphase_interpolated_stack, polyphase_stack
from app_core.dsp._stack_kernels import FIR_STEP, HALF_BAND_TAPS, fir, interpolate_half_band
from app_core.dsp.fir import LowPass, equiripple_taps

ATTENUATION_DB = 85.0
"""Stop band of the filter, and so the level of images and aliases."""

RIPPLE_DB = 0.02
"""Most by which the gain differs from 1 in the pass band."""

_MAX_EXACT_PHASES = 640
"""Ratios with more phases than this (441/640 is the largest of the audio rates) use the interpolated table."""

_TABLE_ROWS = 512
"""Rows of the interpolated table: linear interpolation errs by (pi / 512)^2 / 8 at the most, -106 dB."""

_SHORT = 8.0
"""Half width up to which an interpolator is worth a filter of its own in front of it. [input samples]"""

_TAPS_STEP = 16
"""Windows of the polyphase filter are a multiple of this long: whole vector registers."""

SampleT = TypeVar("SampleT", np.float32, np.complex64)


class Resampler(Generic[SampleT]):
    """Low-pass filter and resampler; with a ratio of 1, a low-pass filter alone.

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
    n_rows
        Number of signals side by side; None for a single one, whose arrays then have one dimension.

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

    def __init__(
        self, ratio: Fraction, passband: float, stopband: float, dtype: type[SampleT], n_rows: int | None = None
    ) -> None:
        if ratio <= 0:
            raise ValueError(f"a resampling ratio is positive, not {ratio}")
        if stopband > min(1.0, float(ratio)) - passband + 1e-9:
            raise ValueError(f"stop band from {stopband} folds into pass band {passband} at ratio {ratio}")
        self._up: int = ratio.numerator
        self._down: int = ratio.denominator
        self._dtype: type[SampleT] = dtype
        self._n_rows: int | None = n_rows
        self._smoother: _Smoother | None = None
        self._interpolator: _Polyphase | None = None
        design = LowPass.design(passband, stopband, ATTENUATION_DB)
        alias = min(1.0, float(ratio)) - stopband
        if ratio == 1:
            self._smoother = _Smoother(passband, stopband)
        elif alias > stopband and (short := LowPass.design(stopband, alias, ATTENUATION_DB)).half_width <= _SHORT:
            self._smoother = _Smoother(passband, stopband)
            self._interpolator = _Polyphase(ratio, short)
        else:
            self._interpolator = _Polyphase(ratio, design)
        self.latency = sum(stage.ahead for stage in (self._smoother, self._interpolator) if stage is not None)
        self.reset()

    def reset(self, first_input: int = 0) -> None:
        """Forget all input; the next sample is input `first_input`, and the next output the first not before it."""
        self._n_in = first_input
        self._n_out = -(-first_input * self._up // self._down)
        n_real = (self._n_rows or 1) * (2 if self._dtype is np.complex64 else 1)
        lead = 0
        if self._interpolator is not None:
            lead = self._interpolator.reset(n_real, self._n_out, first_input, is_fed=self._smoother is not None)
        if self._smoother is not None:
            self._smoother.reset(n_real, lead)

    def push(self, samples: NDArray[SampleT]) -> NDArray[SampleT]:
        """Resample the next part of the stream.

        Parameters
        ----------
        samples
            Shape (n,) or (n_rows, n), n >= 0.

        Returns
        -------
        resampled
            Every output whose window is complete, shape (n_out,) or (n_rows, n_out); about ``n * ratio``, often one
            more or less.
        """
        n = samples.shape[-1]
        self._n_in += n
        rows = self._to_rows(samples)
        if self._smoother is not None:
            rows = self._smoother.push(rows)
        if self._interpolator is not None:
            rows = self._interpolator.push(rows)
        self._n_out += rows.shape[1]
        resampled = self._from_rows(rows)
        return resampled[0] if self._n_rows is None else resampled

    def flush(self) -> NDArray[SampleT]:
        """End the stream: return the outputs that stand before the end of the input, and reset.

        Returns
        -------
        resampled
            As from `push`; with it, ``ceil(n_in * ratio)`` samples have come out in all.
        """
        due = -(-self._n_in * self._up // self._down) - self._n_out
        n = self.latency + self._down // self._up + 1
        zeros = np.zeros(n if self._n_rows is None else (self._n_rows, n), dtype=self._dtype)
        rest = self.push(zeros)[..., : max(due, 0)]
        self.reset()
        return rest

    def take(self, rows: list[int]) -> Resampler[SampleT]:
        """Make a resampler that goes on with some of the signals, where this one stands."""
        n_parts = 2 if self._dtype is np.complex64 else 1
        parts = [row * n_parts + part for row in rows for part in range(n_parts)]
        taken = copy.copy(self)
        taken._n_rows = len(rows)
        taken._smoother = None if self._smoother is None else self._smoother.take(parts)
        taken._interpolator = None if self._interpolator is None else self._interpolator.take(parts)
        return taken

    def _to_rows(self, samples: NDArray[SampleT]) -> NDArray[np.float32]:
        """Real signals, shape (n_rows, n); of complex ones both parts, one below the other."""
        n_rows, n = self._n_rows or 1, samples.shape[-1]
        if self._dtype is not np.complex64:
            return np.asarray(samples, dtype=np.float32).reshape(n_rows, n)
        rows = np.empty((2 * n_rows, n), dtype=np.float32)
        rows[0::2] = samples.real
        rows[1::2] = samples.imag
        return rows

    def _from_rows(self, rows: NDArray[np.float32]) -> NDArray[SampleT]:
        if self._dtype is not np.complex64:
            return rows.astype(self._dtype, copy=False)
        joined = np.empty((rows.shape[0] // 2, rows.shape[1]), dtype=self._dtype)
        joined.real = rows[0::2]
        joined.imag = rows[1::2]
        return joined


class _Smoother:
    """Low-pass filter at the input's rate.

    Attributes
    ----------
    ahead
        Input samples that must follow a sample before the output at its time comes out.
    """

    def __init__(self, passband: float, stopband: float) -> None:
        if stopband < 0.5:
            taps = equiripple_taps(passband, stopband, RIPPLE_DB, ATTENUATION_DB)
        else:
            taps = LowPass.design(passband, stopband, ATTENUATION_DB).taps()
        self.ahead = taps.shape[0] // 2
        # Filled up in front, so that no more samples have to follow.
        padding = -taps.shape[0] % FIR_STEP
        self._taps = np.concatenate((np.zeros(padding), taps)).astype(np.float32)

    def reset(self, n_rows: int, lead: int) -> None:
        """Forget all input; the first output stands `lead` samples before the next input."""
        self._past = np.zeros((n_rows, self._taps.shape[0] - 1 - self.ahead + lead), dtype=np.float32)

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Filter: shape (n_rows, n) to (n_rows, n_out)."""
        window = np.concatenate((self._past, samples), axis=1)
        n_out = max(window.shape[1] - self._taps.shape[0] + 1, 0)
        filtered = np.empty((window.shape[0], n_out), dtype=np.float32)
        fir(window, self._taps, filtered)
        self._past = window[:, n_out:].copy()
        return filtered

    def take(self, rows: list[int]) -> _Smoother:
        """Make one that goes on with some of the rows."""
        taken = copy.copy(self)
        taken._past = self._past[rows]
        return taken


class _Polyphase:
    """Filter and change of rate in one.

    Attributes
    ----------
    ahead
        As of `_Smoother`.
    """

    def __init__(self, ratio: Fraction, design: LowPass) -> None:
        self._up, self._down = ratio.numerator, ratio.denominator
        self.ahead = math.ceil(design.half_width)
        is_interpolated = self._up > _MAX_EXACT_PHASES
        self._kernel = polyphase_interpolated_stack if is_interpolated else polyphase_stack
        n_rows = _TABLE_ROWS if is_interpolated else self._up
        n_taps = -(-2 * self.ahead // _TAPS_STEP) * _TAPS_STEP
        # The window of an output at position p holds the inputs floor(p) - behind + 1 .. floor(p) + ahead.
        self._behind = n_taps - self.ahead
        fraction = np.arange(n_rows + is_interpolated)[:, None] / n_rows
        taps = design.response(fraction - np.arange(1 - self._behind, self.ahead + 1)[None, :])
        # Each phase sums to exactly 1, so a constant comes out without images.
        self._table = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
        # With the cut-off at half the input's rate, the inputs themselves come out between the new samples.
        is_half_band = ratio == 2 and n_taps == HALF_BAND_TAPS and abs(design.cutoff - 0.5) < 1e-9
        self._half_band_taps = self._table[1] if is_half_band and self.ahead == HALF_BAND_TAPS // 2 else None

    def reset(self, n_rows: int, first_output: int, first_input: int, is_fed: bool) -> int:
        """Forget all input; the next output is `first_output`.

        Returns
        -------
        lead
            How many samples before input `first_input` the next one given to `push` shall stand: what a filter in
            front has to give if `is_fed`, else 0 and zeros are taken for them.
        """
        start, self._phase = divmod(first_output * self._down, self._up)
        lead = self._behind - 1 - (start - first_input)
        self._past = np.zeros((n_rows, 0 if is_fed else lead), dtype=np.float32)
        return lead if is_fed else 0

    def push(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample: shape (n_rows, n) to (n_rows, n_out)."""
        window = np.concatenate((self._past, samples), axis=1)
        room = window.shape[1] - self._table.shape[1]
        # Output k starts its window at (phase + k * down) // up, which may be `room` at the most.
        n_out = 0 if room < 0 else max(((room + 1) * self._up - 1 - self._phase) // self._down + 1, 0)
        resampled = np.empty((window.shape[0], n_out), dtype=np.float32)
        if self._half_band_taps is not None:
            interpolate_half_band(window, self._half_band_taps, resampled)
        else:
            self._kernel(window, self._table, self._up, self._down, self._phase, resampled)
        used, self._phase = divmod(self._phase + n_out * self._down, self._up)
        # A window is over five steps long, since its filter fits under the output rate: `used` lies inside `window`.
        self._past = window[:, used:].copy()
        return resampled

    def take(self, rows: list[int]) -> _Polyphase:
        """Make one that goes on with some of the rows."""
        taken = copy.copy(self)
        taken._past = self._past[rows]
        return taken
