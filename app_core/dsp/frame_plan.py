"""The choice of FFT sizes for overlap-save with a rational decimation.

Convention: rates are exact fractions. A frame of `size` samples at the input is ``size * ratio`` samples at the
output; the frame, its guards and so its hop are whole numbers of samples at both ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

MAX_FRAME_S = 0.1
"""Longest frame: it is the delay that the filter bank adds."""

_SMALL_FRAME = 4096
"""Frames up to this size are allowed however long they last: slow captures."""

_LARGEST_PRIME = 31
"""Sizes with a larger prime factor are left to the resampler; 19 is in 912 kS/s, a rate of the Airspy HF+."""

_PRIME_COST = {2: 1.0, 3: 1.8, 5: 3.0, 7: 4.5}
"""Time per sample of a pass of the FFT for a prime factor, relative to a factor of 2; larger ones in proportion."""

_RATE_DENOMINATOR = 1000
"""Rates are taken as multiples of 1/1000 Hz or simpler."""


def exact_rate(rate_hz: float) -> Fraction:
    """Rate or frequency as a fraction with a denominator of 1000 at the most."""
    return Fraction(rate_hz).limit_denominator(_RATE_DENOMINATOR)


def power_of_two_decimation(ratio: Fraction) -> Fraction:
    """Smallest ``1 / 2**k`` that is not below `ratio` (0 < ratio <= 1)."""
    return Fraction(1, 1 << (int(1 / ratio).bit_length() - 1))


@dataclass(frozen=True, slots=True)
class FramePlan:
    """Frames of `size` samples, of which `guard` at each end are spoilt by the filter.

    Attributes
    ----------
    size
        Length of the forward FFT. [input samples]
    guard
        Half the overlap; at least the filter's reach. [input samples]
    """

    size: int
    guard: int

    @property
    def hop(self) -> int:
        """Samples from one frame to the next, and good samples in each."""
        return self.size - 2 * self.guard

    @classmethod
    def find(cls, ratios: Sequence[Fraction], reach: int, sample_rate_hz: float | None) -> FramePlan | None:
        """Find the cheapest frames that fit every output rate.

        Parameters
        ----------
        ratios
            Output rates over the sample rate, each at most 1.
        reach
            Taps of the longest filter on each side of its centre.
        sample_rate_hz
            Frames last `MAX_FRAME_S` at the most at this rate; None: as long as they must.

        Returns
        -------
        plan
            None when no frame within the limit has a fast transform.
        """
        unit = math.lcm(*(ratio.denominator for ratio in ratios))
        guard = max(-(-reach // unit), 1) * unit
        limit = max(16 * guard, _SMALL_FRAME)
        if sample_rate_hz is not None:
            limit = min(limit, max(int(MAX_FRAME_S * sample_rate_hz), _SMALL_FRAME))
        best: FramePlan | None = None
        best_cost = math.inf
        for size in range(2 * guard + unit, limit + 1, unit):
            sizes = [size, *(int(size * ratio) for ratio in ratios)]
            if any(max(_prime_factors(n), default=1) > _LARGEST_PRIME for n in sizes):
                continue
            cost = sum(n * _passes(n) for n in sizes) / (size - 2 * guard)
            if cost < best_cost:
                best, best_cost = cls(size, guard), cost
        return best


def _passes(size: int) -> float:
    """Time per sample of an FFT, relative to one pass of radix 2."""
    return sum(_PRIME_COST.get(prime, 0.8 * prime) for prime in _prime_factors(size))


def _prime_factors(number: int) -> list[int]:
    """Prime factors in rising order, each as often as it divides."""
    factors = []
    prime = 2
    while prime * prime <= number:
        while number % prime == 0:
            factors.append(prime)
            number //= prime
        prime += 1
    return [*factors, number] if number > 1 else factors
