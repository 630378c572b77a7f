"""The noise of a burst as its two side tones tell it, without any decision about its bits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._evidence_kernels import side_levels

F64 = NDArray[np.float64]

LEVELS = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0, 4096.0, 1e5])
"""Noise of a bit over its burst's least; impulses reach some thousands."""

LOUD = 8.0
"""From this level on noise may suppress the signal: 9 dB over what gain controls and limiters take for usual."""

NO_TAIL = (0.0, 1.0)
_FM_TAIL = (0.1, 4.0)
_RISE = 0.5  # a rise by a level more is half as likely
_MEDIAN = 1.678  # of a sum of two exponential variables of mean 1
_EVEN = 0.8  # variance over squared mean is 0.5 with even noise, within 0.1 for the shortest header
_FAMILIES: tuple[tuple[int, tuple[int, ...]], ...] = ((1, ()), (5, (6,)), (3, (2, 4, 6)))
"""Indices of `regimes`: the first of each family, and those that are near it."""

_EM_TURNS = 2
_MOST_SLOPE = 30.0  # of the noise's power between the side tones
_MOST = 1e6  # of a side tone's power over the base; beyond the loudest level nothing is told apart


@dataclass(frozen=True, slots=True, eq=False)
class Regime:
    """How the noise of a receiver changes from bit to bit.

    Attributes
    ----------
    transition
        Shape (n_levels, n_levels), for `side_levels`.
    suppression
        How likely loud noise suppresses the signal instead of adding to it.
    tail
        A share of bits, and how many times more noise their tones have than their side tones tell.
    """

    transition: F64
    suppression: float
    tail: tuple[float, float]


@cache
def regimes() -> tuple[Regime, ...]:
    """Give the kinds of noise that occur; which one a burst has is told by its likelihood."""
    return (
        _regime(rise=3e-4, fall=0.1, drift=1e-3),  # white noise, nearly
        _regime(rise=3e-3, fall=0.04, drift=1e-2),  # impulses of tens of bits
        _regime(rise=2e-2, fall=0.4, drift=1e-3, fm=True),  # clicks of a bit or two, more and more of them
        _regime(rise=0.1, fall=0.6, drift=0.0, fm=True),
        _regime(rise=0.3, fall=0.7, drift=0.0, fm=True),
        _regime(rise=1e-3, fall=1e-3, drift=0.1, fm=True),  # fading
        _regime(rise=0.05, fall=0.2, drift=0.2, fm=True),  # fading with clicks
    )


def _regime(*, rise: float, fall: float, drift: float, fm: bool = False) -> Regime:
    """Build a regime from the chances that the noise rises at once, falls to the base at once, and drifts a level.

    A discriminator's noise leaves the signal where it is, and its clicks hit some frequencies harder than others.
    """
    n = len(LEVELS)
    rises = _RISE ** np.arange(n)
    transition = np.tile(rise * rises / rises.sum(), (n, 1))
    transition[1:, 0] += fall
    near = np.abs(np.arange(n)[:, None] - np.arange(n)) == 1
    transition[near] += drift / 2.0
    transition[np.arange(n), np.arange(n)] += 1.0 - transition.sum(axis=1)
    return Regime(transition, 0.0 if fm else 0.5, _FM_TAIL if fm else NO_TAIL)


@dataclass(frozen=True, slots=True, eq=False)
class SideNoise:
    """What the side tones tell.

    Attributes
    ----------
    base
        Least noise power of one side tone.
    power
        Shape (n_bits,): power of both over the base; -1 where nothing was received.
    weight
        Shape (n_bits,): mean of the base over the bit's noise; 0 where nothing was received.
    regime
        How the noise changes.
    n_used
        Number of bits that the fit was made of.
    """

    base: float
    power: F64
    weight: F64
    regime: Regime
    n_used: int

    def usual(self, at_levels: F64) -> F64:
        """Read a table over `LEVELS`, shape (n_levels,), at every bit's usual level; shape (n_bits,)."""
        return np.interp(1.0 / np.maximum(self.weight, 1e-6), LEVELS, at_levels)

    def of(self, where: NDArray[np.bool_]) -> SideNoise:
        """Only the bits of a mask, shape (n_bits,)."""
        return SideNoise(self.base, self.power[where], self.weight[where], self.regime, self.n_used)


def side_power(correlation: NDArray[np.complex128], valid: NDArray[np.bool_], n_used: int) -> F64:
    """Add the powers of the side tones, shape (n_bits,), each weighted so that both have the same noise.

    The noise of a discriminator behind its de-emphasis is several times as strong at the lower tone as at the upper.

    Parameters
    ----------
    correlation
        Shape (n_bits, 2): upper and lower side tone.
    valid
        Shape (n_bits,): where something was received.
    n_used
        Bits from here on are not measured.
    """
    power = np.abs(correlation) ** 2
    used = valid.copy()
    used[n_used:] = False
    upper, lower = np.median(power[used], axis=0) if used.any() else (0.0, 0.0)
    ratio = float(np.sqrt(np.clip(lower / upper, 1.0 / _MOST_SLOPE, _MOST_SLOPE))) if upper > 0.0 else 1.0
    return np.asarray(power[:, 0] * ratio + power[:, 1] / ratio, np.float64)


def fit_side_noise(power: F64, valid: NDArray[np.bool_], n_used: int) -> SideNoise:
    """Fit base, regime and levels.

    Parameters
    ----------
    power
        Shape (n_bits,): power of both side tones.
    valid
        Shape (n_bits,): where it was received.
    n_used
        Bits from here on are no part of the fit, as behind the end of a burst other sounds follow.
    """
    used = valid.copy()
    used[n_used:] = False
    if not used.any():
        return SideNoise(1e-30, np.full(len(power), -1.0), np.zeros(len(power)), regimes()[0], n_used)
    received, known = power[:n_used], used[:n_used]
    base = max(float(np.median(received[known])) / _MEDIAN, 1e-30)
    side = np.where(known, np.minimum(received / base, _MOST), -1.0)
    regime = regimes()[0]
    if float(received[known].var()) > _EVEN * float(received[known].mean()) ** 2:
        regime = _likeliest(side)
    for _ in range(_EM_TURNS):
        weight, _ = side_levels(side, LEVELS, regime.transition)
        base = max(float((weight * received)[known].sum() / (2.0 * known.sum())), 1e-30)
        side = np.where(known, np.minimum(received / base, _MOST), -1.0)
    return _with_levels(power, valid, base, regime, n_used)


def _likeliest(side: F64) -> Regime:
    """The regime that tells best what the side tones have; of a family only when its first member does."""
    likelihoods = {0: side_levels(side, LEVELS, regimes()[0].transition)[1]}
    for first, others in _FAMILIES:
        likelihoods[first] = side_levels(side, LEVELS, regimes()[first].transition)[1]
        if likelihoods[first] == max(likelihoods.values()):
            likelihoods |= {i: side_levels(side, LEVELS, regimes()[i].transition)[1] for i in others}
    return regimes()[max(likelihoods, key=lambda i: likelihoods[i])]


def refreshed(noise: SideNoise, power: F64, valid: NDArray[np.bool_]) -> SideNoise:
    """Tell the levels again after the bits' edges were moved a little, which changes neither base nor regime."""
    return _with_levels(power, valid, noise.base, noise.regime, noise.n_used)


def _with_levels(power: F64, valid: NDArray[np.bool_], base: float, regime: Regime, n_used: int) -> SideNoise:
    side = np.where(valid, np.minimum(power / base, _MOST), -1.0)
    weight, _ = side_levels(side, LEVELS, regime.transition)
    return SideNoise(base, side, np.where(valid, weight, 0.0), regime, n_used)


def tone_noise(power: F64, noise: SideNoise, floor: float) -> F64:
    """Noise of a tone at every level: one part that follows the side tones', one that does not, and at least a floor.

    Parameters
    ----------
    power
        Shape (n,): what is left over of the tone, at the bits that `noise` is of.
    floor
        No model of the noise is trusted below this.

    Returns
    -------
    expected
        Shape (n_levels,).
    """
    here = noise.weight > 0.0
    power, weight = power[here], noise.weight[here]
    slope, constant = float((power * weight).mean()) if len(power) else 0.0, 0.0
    quiet = weight >= 0.5
    n_quiet = int(quiet.sum())
    if min(n_quiet, len(power) - n_quiet) >= 20:
        # Two equations: of the bits near the base, and of the others, weighted by the base over their noise.
        near, far = float(power[quiet].mean()), float((power[~quiet] * weight[~quiet]).mean())
        mean, share = float((1.0 / weight[quiet]).mean()), float(weight[~quiet].mean())
        slope = float(np.clip((far - share * near) / max(1.0 - share * mean, 0.05), 0.0, far))
        constant = max(0.0, near - slope * mean)
    return np.asarray(np.maximum(constant + slope * LEVELS, floor) + 1e-30)
