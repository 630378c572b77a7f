"""What the channel does to the two tones, fitted to a burst by a tentative header, and what is left over.

Two models compete, and the likelihood tells which one holds. Either each tone has a gain that changes slowly; or, since
every bit starts at the same phase, whatever is linear in the channel (echo, a codec's or a line's filters) makes what
is received affine in the bit and its neighbours, and that is fitted by least squares. In both a bit has no part in what
is expected of it, so that a wrong guess does not confirm itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._evidence_kernels import neighbour_means, normal_equations, symbol_rows
from app_core.eas.noise import LEVELS, NO_TAIL, SideNoise, tone_noise

F64 = NDArray[np.float64]
C128 = NDArray[np.complex128]

_WIDTHS = (10, 30, 100)  # bits on either side over which the gains may be averaged
_LARGEST_EVIDENCE = 20.0  # Eb/N0 of 13 dB: no model of the noise is worth more trust than this
_AHEAD, _BEHIND = 2, 6  # bits: filters without delay, and echoes to 10 ms
_FOLDS = 5
_CLEARLY_BETTER = 30.0  # nats that the second model must gain; it has some 40 numbers where the first has 4
_BITS_PER_NUMBER = 12
_TAILS = ((0.0, 1.0), (0.05, 4.0), (0.15, 4.0), (0.3, 4.0), (0.03, 10.0), (0.1, 10.0))
_MEASURED = 0.8  # of what is expected must be left over, or a floor hides what the noise is like
_HIDDEN = 0.25  # noise as far as this under the floor is too weak for any tail of it to matter
_TAIL_GAIN = 3.0  # nats by which the likelihood must speak for a tail


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """A fitted channel.

    Attributes
    ----------
    expected
        Shape (2, n_bits, 2): what 0, and what 1, would give at mark and space.
    noise
        Shape (3, 2, n_levels): what is left over of mark and space, for 0, for 1, for no signal.
    power
        Shape (2,): of mark and space where they are sent.
    tail
        A share of bits, and how many times more noise they have: what is left over is not as even as white noise.
    quiet
        Shape (2,): noise of mark and space where they are silent, however far below a floor.
    own_noise
        Noise of the silent tones over the side tones'; much above 1 it is the signal's own, as a codec's is.
    fits
        Shape (n_bits,): where something is expected at all.
    complete
        Shape (n_bits,): where all is known that the model needs, so that what it expects can be relied upon.
    likelihood
        ln p of the known bits, each told by others, but for a constant. [nats]
    """

    expected: C128
    noise: F64
    power: F64
    tail: tuple[float, float]
    quiet: F64
    own_noise: float
    fits: NDArray[np.bool_]
    complete: NDArray[np.bool_]
    likelihood: float


def fit_channel(correlation: C128, known: NDArray[np.int8], noise: SideNoise) -> Channel:
    """Fit the likelier model.

    Parameters
    ----------
    correlation
        Shape (n_bits, 2): mark and space.
    known
        Shape (n_bits,): 0, 1, or -1 for unknown.
    noise
        Of the same bits.
    """
    trials = [_slow_gains(correlation, known, noise, width) for width in _WIDTHS]
    expected, fits, _ = min(trials, key=lambda trial: trial[2])
    best = _measured(correlation, known, noise, expected, fits, fits)
    linear = _linear(correlation, known, noise, best)
    if linear is not None and linear.likelihood > best.likelihood + _CLEARLY_BETTER:
        return linear
    return best


def _slow_gains(
    correlation: C128, known: NDArray[np.int8], noise: SideNoise, width: int
) -> tuple[C128, NDArray[np.bool_], float]:
    """Average the gains over `width` bits on either side.

    Returns
    -------
    expected, fits
        As in `Channel`.
    misfit
        Less is better: twice the likelihood's loss by what is left over of the tones that were sent. [nats]
    """
    expected = np.zeros((2, len(known), 2), complex)
    fits = np.ones(len(known), np.bool_)
    misfit = 0.0
    for tone, value in ((0, 1), (1, 0)):
        weight = np.where(known == value, noise.weight, 0.0)
        expected[value, :, tone], count = neighbour_means(correlation[:, tone], weight, width)
        told = count > 1e-6
        fits &= told
        left = weight * np.abs(correlation[:, tone] - expected[value, :, tone]) ** 2
        n_told = int(told[known == value].sum())
        misfit += n_told * float(np.log(max(left[told].sum() / max(n_told, 1), 1e-30)))
    return expected, fits, misfit


def _linear(correlation: C128, known: NDArray[np.int8], noise: SideNoise, plain: Channel) -> Channel | None:
    """Affine in the neighbouring bits; where a neighbour is not known, as `plain`. None with too few bits."""
    n_bits = len(known)
    symbols = np.where(known < 0, 0.0, 2.0 * known - 1.0)
    # Behind the header nothing is known; before the preamble there is nothing, which counts as known.
    last = int(np.flatnonzero(known >= 0)[-1]) if (known >= 0).any() else 0
    complete = (known >= 0) & (np.arange(n_bits) <= last - _AHEAD) & plain.fits
    n_numbers = 2 + _AHEAD + _BEHIND
    if complete.sum() < _BITS_PER_NUMBER * n_numbers:
        return None
    weight = np.where(complete, noise.weight, 0.0)
    gram, right = normal_equations(correlation, symbols, weight, _AHEAD, _BEHIND, _FOLDS)
    total, total_right = gram.sum(axis=0), right.sum(axis=0)
    ridge = 1e-6 * float(np.trace(total)) / n_numbers * np.eye(n_numbers)
    # Each fold's coefficients come from the others.
    folds = np.linalg.solve(total - gram + ridge, total_right - right)
    mine = folds[(np.arange(n_bits) // 8) % _FOLDS]
    predicted = np.einsum("kp,kpt->kt", symbol_rows(symbols, _AHEAD, _BEHIND), mine)
    own = mine[:, 1 + _AHEAD]
    base = predicted - own * symbols[:, None]
    expected = np.where(complete[:, None], np.stack([base - own, base + own]), plain.expected)
    return _measured(correlation, known, noise, expected, plain.fits, complete)


def _measured(
    correlation: C128,
    known: NDArray[np.int8],
    noise: SideNoise,
    expected: C128,
    fits: NDArray[np.bool_],
    complete: NDArray[np.bool_],
) -> Channel:
    """Measure what is left over of the bits where the model is `complete`."""
    levels = np.ones((3, 2, len(LEVELS)))
    power, quiet_power = np.zeros(2), np.zeros(2)
    groups, own_noise = [], []
    for tone, value in ((0, 1), (1, 0)):
        sent, silent = (known == value) & complete, (known == 1 - value) & complete
        strength = np.abs(expected[value, sent, tone]) ** 2
        power[tone] = float(strength.mean()) if sent.any() else 0.0
        for which, where in ((value, sent), (1 - value, silent)):
            left = np.abs(correlation[where, tone] - expected[which, where, tone]) ** 2
            own = noise.of(where)
            levels[which, tone] = tone_noise(left, own, power[tone] / _LARGEST_EVIDENCE)
            groups.append((left, own, levels[which, tone]))
        # What is left over of the silent tone; a floor above it says nothing.
        quiet, own, table = groups[-1]
        quiet_power[tone] = float((quiet * own.weight).sum() / max(own.weight.sum(), 1e-9))
        usual = quiet_power[tone] / noise.base
        own_noise.append(usual if table[0] < 1.1 * noise.base * usual else 0.0)
        levels[2, tone] = levels[1 - value, tone]
    tail = _tail(np.concatenate([_even(*group) for group in groups]), noise.regime.tail)
    if tail != noise.regime.tail:
        levels /= 1.0 + tail[0] * (tail[1] - 1.0)
    return Channel(
        expected,
        levels,
        power,
        tail,
        quiet_power,
        float(np.mean(own_noise)),
        fits,
        complete,
        sum(_likelihood(*group) for group in groups),
    )


def _likelihood(left: F64, noise: SideNoise, levels: F64) -> float:
    usual = noise.usual(levels)
    return -float((left / usual + np.log(usual)).sum())


def _even(left: F64, noise: SideNoise, levels: F64) -> F64:
    """What is left over of the bits near the base, in units of its mean."""
    near = noise.weight >= 0.5
    return np.asarray((left / noise.usual(levels))[near])


def _tail(left: F64, usual: tuple[float, float]) -> tuple[float, float]:
    """Which of `_TAILS` fits what is left over, shape (n,), in units of its mean, if clearly better than `usual`."""
    mean = float(left.mean()) if len(left) else 0.0
    if mean < _MEASURED:
        return NO_TAIL if mean < _HIDDEN else usual
    scores = {}
    for share, factor in (usual, *_TAILS):
        whole = 1.0 + share * (factor - 1.0)
        density = (1.0 - share) * np.exp(-left * whole) + share / factor * np.exp(-left * whole / factor)
        scores[share, factor] = float(np.log(np.maximum(density * whole, 1e-300)).sum())
    best = max(scores, key=lambda tail: scores[tail])
    return best if scores[best] > scores[usual] + _TAIL_GAIN else usual
