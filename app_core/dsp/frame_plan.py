"""The choice of frames for overlap-save with a rational decimation.

Convention: rates are exact fractions. Frames of `size` samples begin every `hop` samples at the input; a channel whose
rate is ``ratio`` of the input's fits them where ``size * ratio`` and ``hop * ratio`` are whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from app_core.dsp.fft import frame_cost_ns, is_fast_row, largest_prime_factor, row_cost_ns

MAX_FRAME_S = 0.02
"""Longest frame, where the filters allow it: the frame is the delay that the filter bank adds."""

LONGEST_FRAME_S = 0.1
"""Longest frame for rates that fit no shorter one."""

SMALL_FRAME = 4096
"""Frames up to this size are allowed however long they last: slow captures."""

_LARGEST_PRIME = 31
"""Sizes with a larger prime factor count as ones that do not fit; 19 is in 912 kS/s, a rate of the Airspy HF+."""

_LEAST_OVERLAPS = 4
"""Frames may always be this many times as long as their overlap, or most of the work is done twice."""

_HOP_STEPS = 16
"""Where no size fits the rates, hops are this part of a frame, so that many inverse sizes fit."""

_FRAME_NS = 6000.0
"""Time that a frame takes whatever its size: calls, mostly. [ns]"""

_COPY_NS, _DEAL_NS = 0.25, 0.45
"""Time to take a sample over into a whole frame, and into a folded one. [ns]"""

_PICK_NS, _UNFOLD_NS = 2.0, 0.2
"""Time for a bin of a channel: to pick it, and for each row that it is unfolded from. [ns]"""

_MOST_ROWS = 64
_FEWEST_COLUMNS = 128

_CHANNELS = 8
"""Channels of each of the rates that frames are planned for."""

_RATE_DENOMINATOR = 1000
"""Rates are taken as multiples of 1/1000 Hz or simpler."""


def exact_rate(rate_hz: float) -> Fraction:
    """Rate or frequency as a fraction with a denominator of 1000 at the most."""
    return Fraction(rate_hz).limit_denominator(_RATE_DENOMINATOR)


@dataclass(frozen=True, slots=True)
class FramePlan:
    """Frames that overlap by ``size - hop`` samples, which the filters spoil.

    Attributes
    ----------
    size
        Length of the forward FFT. [input samples]
    hop
        Samples from one frame to the next, and good samples in each. [input samples]
    n_rows
        Rows that a `FoldedFrame` has; 1 for a `WholeFrame`.
    """

    size: int
    hop: int
    n_rows: int = 1

    @property
    def guard(self) -> int:
        """Samples before the first good one of a frame; behind the last there are as many, or one more."""
        return (self.size - self.hop) // 2

    def fits(self, ratio: Fraction) -> bool:
        """Whether an output at `ratio` of the input's rate has whole numbers of samples in a frame and in a hop."""
        return (self.size * ratio).denominator == 1 and (self.hop * ratio).denominator == 1

    def inverse_sizes(self, least: Fraction) -> list[int]:
        """Sizes of the inverse FFT that give whole numbers of samples in a hop, from ``least * size`` up, rising."""
        step = self.size // math.gcd(self.size, self.hop)
        first = math.ceil(least * self.size / step) * step
        return list(range(max(first, step), self.size + 1, step))

    @classmethod
    def find(
        cls,
        sample_rate_hz: float,
        ratios: Sequence[Fraction],
        reach: int,
        load: float | None = None,
        small_frame: int = SMALL_FRAME,
    ) -> FramePlan:
        """Find the cheapest frames.

        Parameters
        ----------
        sample_rate_hz
            Frames last `MAX_FRAME_S` at the most at this rate, if the filters allow it.
        ratios
            Output rates over the sample rate, each at most 1: the frames fit all of them, unless frames would become
            too long for that; then they fit many inverse sizes.
        reach
            Taps of the longest filter on each side of its centre.
        load
            Sum of the output rates of the channels that there will be, over the sample rate, for the choice between
            whole frames and folded ones; None for whole ones.
        small_frame
            Size up to which a frame may last longer.
        """
        overlap = max(2 * reach, 2)
        unit = math.lcm(*(ratio.denominator for ratio in ratios))
        plans: list[FramePlan] = []
        for frame_s in (MAX_FRAME_S, LONGEST_FRAME_S):
            limit = max(int(frame_s * sample_rate_hz), small_frame, _LEAST_OVERLAPS * overlap)
            sizes = range(unit, limit + 1, unit) if largest_prime_factor(unit) <= _LARGEST_PRIME else range(0)
            plans = [
                cls(size, (size - overlap) // unit * unit)
                for size in sizes
                if size - overlap >= unit and largest_prime_factor(size) <= _LARGEST_PRIME
            ]
            if plans:
                return cls._cheapest(plans, ratios, load)
        limit = max(int(MAX_FRAME_S * sample_rate_hz), small_frame, 2 * _LEAST_OVERLAPS * overlap)
        for size in range(_HOP_STEPS, limit + 1, _HOP_STEPS):
            step = size // _HOP_STEPS
            hop = (size - overlap) // step * step
            if 2 * hop >= size and largest_prime_factor(size) <= 5:
                plans.append(cls(size, hop))
        return cls._cheapest(plans, (), load)

    @classmethod
    def _cheapest(cls, plans: list[FramePlan], ratios: Sequence[Fraction], load: float | None) -> FramePlan:
        if load is not None:
            plans = plans + [
                cls(plan.size, plan.hop, n_rows)
                for plan in plans
                for n_rows in range(2, _MOST_ROWS + 1)
                if math.gcd(plan.size, plan.hop) % n_rows == 0
                and plan.size // n_rows >= _FEWEST_COLUMNS
                and is_fast_row(plan.size // n_rows)
            ]
        return min(plans, key=lambda plan: plan.cost_ns(ratios, load or 0.0))

    def cost_ns(self, ratios: Sequence[Fraction], load: float) -> float:
        """Estimated time for each input sample, to compare ways by; parameters as of `find`."""
        if self.n_rows == 1:
            sample_ns = _COPY_NS + frame_cost_ns(self.size) + load * _PICK_NS
        else:
            sample_ns = _DEAL_NS + row_cost_ns(self.size // self.n_rows) + load * self.n_rows * _UNFOLD_NS
        cost_ns = _FRAME_NS + self.size * sample_ns
        for ratio in ratios:
            narrow = int(self.size * ratio)
            cost_ns += _CHANNELS * narrow * row_cost_ns(narrow)
        return cost_ns / self.hop
