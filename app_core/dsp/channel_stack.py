"""Channels of one shape side by side: what becomes of the spectrum of a frame.

Convention: frequencies are in cycles per input sample. A stack's outputs are counted from the beginning of the stream,
whenever its channels were added to it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app_core.dsp.capture_frame import CaptureFrame, Loops, TurnRows
from app_core.dsp.fft import InverseFft, row_cost_ns
from app_core.dsp.fir import equiripple_order, equiripple_taps
from app_core.dsp.frame_plan import FramePlan

if TYPE_CHECKING:
    from app_core.dsp.resampler import Resampler

ATTENUATION_DB = 85.0
"""Stop band of the channel filters, from half the output rate up."""

_MARGIN_DB = 3.0
"""What the designed filter is better, for the edge of the stop band: there the inverse FFT has no bins any more."""

RIPPLE_DB = 0.008
"""Most by which a channel filter's gain differs from 1 in its pass band: a thousandth."""

_OVERSAMPLING = 4
"""Rate at which a filter is designed, over the rate of what it lets through: beyond, no bin of it is ever used."""

_BATCH_SAMPLES = 16_384
"""Samples of rows that wait for the inverse transform: few enough to stay in the inner caches."""

_SIZES_TRIED = 64

Correction = Callable[[NDArray[np.float64]], NDArray[np.complex128]]
"""Factors of a response at distances from a channel's centre. [of cycles per input sample]"""


@dataclass(frozen=True, slots=True)
class Shape:
    """Rate and filter of a channel.

    Attributes
    ----------
    ratio
        Output rate over input rate, at most 1.
    passband
        Upper edge of the pass band; the stop band begins at ``ratio / 2``.
    """

    ratio: Fraction
    passband: float

    @property
    def reach(self) -> int:
        """Taps of the filter on each side of its centre. [input samples]"""
        n_taps: int = self._taps().shape[0]
        return math.ceil(n_taps // 2 / (_OVERSAMPLING * float(self.ratio)))

    @property
    def estimated_reach(self) -> float:
        """What `reach` will not be far above, without the design of the filter. [input samples]"""
        scale = _OVERSAMPLING * float(self.ratio)
        order = equiripple_order(self.passband / scale, 0.5 / _OVERSAMPLING, RIPPLE_DB, ATTENUATION_DB + _MARGIN_DB)
        return order / scale

    def response(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Response of the filter, whose taps are real and symmetric.

        Parameters
        ----------
        frequency
            Distance from the channel's centre, any shape. [cycles per input sample]
        """
        scale = _OVERSAMPLING * float(self.ratio)
        taps = self._taps()
        reach = taps.shape[0] // 2
        # A sum of cosines of multiples of an angle is a sum of Chebyshev polynomials of its cosine.
        weights = np.concatenate((taps[reach : reach + 1], 2.0 * taps[reach + 1 :]))
        response = np.polynomial.chebyshev.chebval(np.cos(2.0 * np.pi * frequency / scale), weights)
        return np.asarray(np.where(np.abs(frequency) <= scale / 2.0, response, 0.0))

    def _taps(self) -> NDArray[np.float64]:
        passband = self.passband / float(self.ratio) / _OVERSAMPLING
        return equiripple_taps(round(passband, 9), 0.5 / _OVERSAMPLING, RIPPLE_DB, ATTENUATION_DB + _MARGIN_DB)


class Stack:
    """Filter, shift and decimate channels of one shape.

    Parameters
    ----------
    plan, frame
        The frames.
    shape
        Rate and filter of all channels.
    keys
        Names of the channels.
    offsets
        Centres of the channels. [cycles per input sample]
    turn
        Its last loop.
    correction
        What takes back the droop of a filter in front; None where there is none.

    Attributes
    ----------
    keys
        As given.
    latency
        Input samples that must follow, besides those that fill a frame, before an output comes out.
    """

    def __init__(
        self,
        plan: FramePlan,
        frame: CaptureFrame,
        shape: Shape,
        keys: list[int],
        offsets: list[Fraction],
        turn: TurnRows,
        correction: Correction | None = None,
    ) -> None:
        self.keys = keys
        self._turn = turn
        self._plan = plan
        self._ratio = shape.ratio
        self._offsets = offsets
        inner_ratio, inner_filter = _inner_filter(plan, shape)
        size = int(plan.size * inner_ratio)
        self._n_good = int(plan.hop * inner_ratio)
        place = plan.guard * inner_ratio
        self._first_good = int(place)
        centers = [round(plan.size * offset) for offset in offsets]
        shifts = np.arange(size) - size // 2
        bins = np.array(centers)[:, None] + shifts
        # The filter is centred on the exact offset; a first good sample that lies between two of the inverse FFT's is
        # brought onto one of them.
        distance = bins / plan.size - np.array([float(offset) for offset in offsets])[:, None]
        response = np.ones(bins.shape) if inner_filter is None else inner_filter.response(distance)
        onto = np.exp(2j * np.pi * shifts * float(place - self._first_good) / size)
        if correction is not None:
            onto = onto * correction(distance)
        self._bins = frame.bins(bins % plan.size, (response * onto / plan.size).astype(np.complex64))
        # What is left is the shift by less than a bin, and that of the bins, which come lowest first.
        good = np.arange(self._n_good)
        times = plan.guard + good / float(inner_ratio)
        rest = [float(offset - Fraction(center, plan.size)) for offset, center in zip(offsets, centers, strict=True)]
        order = (good + self._first_good) * (size // 2) % size / size
        cycles = np.array(rest)[:, None] * times + order
        self._ramp = np.exp(-2j * np.pi * cycles).astype(np.complex64)
        self._inverse = InverseFft(size, max(_BATCH_SAMPLES // size, len(keys)))
        self._resampler = _resampler(shape, inner_ratio, inner_filter is shape, len(keys))
        self.latency = 0 if self._resampler is None else int((self._resampler.latency + 1) / float(inner_ratio)) + 1

    def begin(self, frame: int, n_in: int) -> None:
        """Begin with frame number `frame`; outputs that stand before input `n_in` are left out."""
        first = frame * self._n_good
        if self._resampler is not None:
            self._resampler.reset(first)
            ratio = self._ratio * self._plan.size / self._inverse.size
            first = -(-first * ratio.numerator // ratio.denominator)
        self._next = self._n_until(n_in)
        self._n_lead = self._next - first
        # Whole numbers of cycles are left out, so the phase is as good after a year as at once.
        start = frame * self._plan.hop - self._plan.guard
        self._phase = np.array(
            [
                [
                    offset.numerator * start % offset.denominator,
                    offset.numerator * self._plan.hop % offset.denominator,
                    offset.denominator,
                ]
                for offset in self._offsets
            ],
            dtype=np.int64,
        )

    def expect(self, n_frames: int) -> None:
        """Make room for the outputs of the frames that come before `collect`."""
        self._samples = np.empty((len(self.keys), n_frames, self._n_good), dtype=np.complex64)
        self._n_done = self._n_waiting = 0

    def add_frame(self) -> None:
        """Filter the frame that was transformed last."""
        n_channels = len(self.keys)
        self._bins.write(self._inverse.rows[self._n_waiting * n_channels :][:n_channels])
        self._n_waiting += 1
        if (self._n_waiting + 1) * n_channels > self._inverse.rows.shape[0]:
            self._transform()

    def collect(self) -> NDArray[np.complex64]:
        """Outputs of the frames since `expect`, shape (n_channels, n_out)."""
        self._transform()
        samples = self._samples.reshape(len(self.keys), -1)
        if self._resampler is not None:
            samples = self._resampler.push(samples)
        if self._n_lead:
            n_dropped = min(self._n_lead, samples.shape[1])
            samples = samples[:, n_dropped:]
            self._n_lead -= n_dropped
        self._next += samples.shape[1]
        return samples

    def n_due(self, n_in: int) -> int:
        """Outputs that stand before input `n_in` and have not come out."""
        return self._n_until(n_in) - self._next

    def take(self, keys: list[int]) -> Stack:
        """Make a stack that goes on with some of the channels, where this one stands between two calls of `collect`."""
        rows = [self.keys.index(key) for key in keys]
        taken = copy.copy(self)
        taken.keys = keys
        taken._offsets = [self._offsets[row] for row in rows]
        taken._bins = self._bins.take(rows)
        taken._ramp, taken._phase = self._ramp[rows], self._phase[rows]
        taken._resampler = None if self._resampler is None else self._resampler.take(rows)
        return taken

    def _transform(self) -> None:
        """Transform the rows that wait, and turn them to the channels' own centres."""
        n_frames, self._n_waiting = self._n_waiting, 0
        if not n_frames:
            return
        rows = self._inverse.transform(n_frames * len(self.keys))
        place = (self._first_good, n_frames, self._n_done)
        self._turn(rows, self._ramp, self._phase, self._samples, place)
        self._n_done += n_frames

    def _n_until(self, n_in: int) -> int:
        return -(-n_in * self._ratio.numerator // self._ratio.denominator)


def _inner_filter(plan: FramePlan, shape: Shape) -> tuple[Fraction, Shape | None]:
    """Rate behind the inverse FFT over the input's, and the filter before it; None where it would be too steep."""
    fits = shape.reach <= plan.guard
    if fits and plan.fits(shape.ratio):
        return shape.ratio, shape
    candidates = []
    for size in plan.inverse_sizes(shape.ratio):
        inner = shape if fits else Shape(Fraction(size, plan.size), shape.passband)
        if fits or inner.estimated_reach <= plan.guard:
            candidates.append((size * row_cost_ns(size), size, inner))
        if len(candidates) == _SIZES_TRIED:
            break
    for _, size, inner in sorted(candidates, key=lambda candidate: candidate[:2]):
        if inner.reach <= plan.guard:
            return Fraction(size, plan.size), inner
    return Fraction(1), None


def _resampler(shape: Shape, inner_ratio: Fraction, is_filtered: bool, n_rows: int) -> Resampler[np.complex64] | None:
    """Resampler from the inverse FFT's rate to the channel's; None where it has nothing to do."""
    ratio = shape.ratio / inner_ratio
    if ratio == 1 and is_filtered:
        return None
    # Not at the head of the file: it brings numba and 65 MB, which the SDR program does not carry unless it must.
    from app_core.dsp.resampler import Resampler

    passband = shape.passband / float(inner_ratio)
    stopband = float(ratio) - passband if is_filtered else float(ratio) / 2.0
    return Resampler(ratio, passband, stopband, np.complex64, n_rows)


def turn_rows(
    rows: NDArray[np.complex64],
    ramp: NDArray[np.complex64],
    phase: NDArray[np.int64],
    samples: NDArray[np.complex64],
    place: tuple[int, int, int],
) -> None:
    """`app_core.dsp.capture_frame.TurnRows` by numpy."""
    first_good, n_frames, first_frame = place
    n_channels, n_good = ramp.shape
    good = rows.reshape(n_frames, n_channels, -1)[:, :, first_good : first_good + n_good].transpose(1, 0, 2)
    written = samples[:, first_frame : first_frame + n_frames]
    np.multiply(good, ramp[:, None, :], out=written)
    parts = phase[:, 2:]
    cycles = (phase[:, :1] + np.arange(n_frames) * phase[:, 1:2]) % parts / parts
    np.multiply(written, np.exp(-2j * np.pi * cycles).astype(np.complex64)[:, :, None], out=written)
    phase[:, :1] = (phase[:, :1] + n_frames * phase[:, 1:2]) % parts


PLAIN_LOOPS = Loops(np.copyto, turn_rows)
"""Loops of numpy."""
