"""The compiled loops behind the evidence of bits, each beside the plain-numpy model that defines it.

The noise of a receiver has no one level: FM clicks, a fade raises it, an impulse buries a few bits. So every bit's
noise has one of a few levels above a base, which follow each other as a hidden Markov chain; how sure a bit is, is the
mean over what its level may be, given the whole burst.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
C128 = NDArray[np.complex128]
I64 = NDArray[np.int64]
B1 = NDArray[np.bool_]

_TINY = 1e-300
_LEAST_EXPONENT = -650.0


@njit(cache=True, nogil=True)
def _ln_i0(x: float) -> float:
    """Logarithm of I0(x), x >= 0, within 1e-6 (Abramowitz and Stegun 9.8.1 and 9.8.2)."""
    if x < 3.75:
        t = (x / 3.75) ** 2
        value = 0.0
        for c in (0.0045813, 0.0360768, 0.2659732, 1.2067492, 3.0899424, 3.5156229, 1.0):
            value = value * t + c
        return math.log(value)
    t = 3.75 / x
    value = 0.0
    for c in (
        0.00392377, -0.01647633, 0.02635537, -0.02057706, 0.00916281, -0.00157565, 0.00225319, 0.01328592, 0.39894228
    ):  # fmt: skip
        value = value * t + c
    return x - 0.5 * math.log(x) + math.log(value)


@njit(cache=True, nogil=True)
def _around(emission: F64, transition: F64, around: F64) -> float:
    """Fill `around` with each bit's distribution of levels as the other bits tell it; give ln p of all emissions."""
    n, n_levels = emission.shape
    here = np.full(n_levels, 1.0 / n_levels)
    step = np.empty(n_levels)
    likelihood = 0.0
    product, taken = 1.0, 0
    for i in range(n):
        total = _TINY
        for j in range(n_levels):
            around[i, j] = here[j]
            here[j] *= emission[i, j]
            total += here[j]
        product *= total
        taken += 1
        if taken == 8 or product < 1e-200:
            likelihood += math.log(product)
            product, taken = 1.0, 0
        step[:] = 0.0
        for k in range(n_levels):
            share = here[k] / total
            if share > 1e-12:
                for j in range(n_levels):
                    step[j] += share * transition[k, j]
        here[:] = step
    likelihood += math.log(product)
    here[:] = 1.0
    for i in range(n - 1, -1, -1):
        total = _TINY
        for j in range(n_levels):
            around[i, j] *= here[j]
            total += around[i, j]
            here[j] *= emission[i, j]
        for j in range(n_levels):
            around[i, j] /= total
        total = _TINY
        for k in range(n_levels):
            value = 0.0
            for j in range(n_levels):
                value += transition[k, j] * here[j]
            step[k] = value
            total += value
        for k in range(n_levels):
            here[k] = step[k] / total
    return likelihood


@njit(cache=True, nogil=True)
def side_levels(side: F64, level: F64, transition: F64) -> tuple[F64, float]:
    """Tell the noise's level at every bit by the power of two side tones, which hold nothing else.

    Parameters
    ----------
    side
        Shape (n,): power of both over the base noise of one; negative where nothing was received.
    level
        Shape (n_levels,): the levels, the first of them 1.
    transition
        Shape (n_levels, n_levels): ``transition[i, j]`` is the probability that level j follows level i.

    Returns
    -------
    weight
        Shape (n,): mean of 1 / level.
    likelihood
        ln p(all that was received), but for the base's share. [nats]
    """
    n, n_levels = side.shape[0], level.shape[0]
    emission = np.ones((n, n_levels))
    around = np.empty((n, n_levels))
    likelihood = 0.0
    log_level = np.log(level)
    inverse_level = 1.0 / level
    for i in range(n):
        if side[i] < 0.0:
            continue
        highest = -1e300
        for j in range(n_levels):
            emission[i, j] = -side[i] * inverse_level[j] - 2.0 * log_level[j]
            highest = max(highest, emission[i, j])
        likelihood += highest
        for j in range(n_levels):
            emission[i, j] = math.exp(max(emission[i, j] - highest, _LEAST_EXPONENT))
    likelihood += _around(emission, transition, around)
    weight = np.empty(n)
    for i in range(n):
        total, inverse = _TINY, 0.0
        for j in range(n_levels):
            value = around[i, j] * emission[i, j]
            total += value
            inverse += value * inverse_level[j]
        weight[i] = inverse / total
    return weight, likelihood


def _around_model(emission: F64, transition: F64) -> tuple[F64, float]:
    """As `_around`, over logarithms."""
    with np.errstate(divide="ignore"):
        step = np.log(transition)
    n, n_levels = emission.shape
    forward, backward = np.zeros((n, n_levels)), np.zeros((n, n_levels))
    forward[0] = -np.log(n_levels)
    for i in range(1, n):
        forward[i] = np.logaddexp.reduce((forward[i - 1] + emission[i - 1])[:, None] + step, axis=0)
        backward[n - 1 - i] = np.logaddexp.reduce(step + emission[n - i] + backward[n - i], axis=1)
    around = forward + backward
    around -= np.logaddexp.reduce(around, axis=1)[:, None]
    return around, float(np.logaddexp.reduce(forward[-1] + emission[-1]))


def side_levels_model(side: F64, level: F64, transition: F64) -> tuple[F64, float]:
    """Plain-numpy model of `side_levels`."""
    emission = -side[:, None] / level - 2.0 * np.log(level)
    emission[side < 0.0] = 0.0
    around, likelihood = _around_model(emission, transition)
    posterior = around + emission
    posterior -= np.logaddexp.reduce(posterior, axis=1)[:, None]
    return (np.exp(posterior) / level).sum(axis=1), likelihood


@njit(cache=True, nogil=True)
def bit_densities(
    received: B1,
    side: F64,
    distance: F64,
    argument: F64,
    noise: F64,
    absent: F64,
    tail: tuple[float, float],
    prior: F64,
    level: F64,
    transition: F64,
) -> F64:
    """Weigh, for every bit, what it may be, over all levels that its noise may have.

    The density of what was received at a bit, given that it is h and its noise at level j, is the product of
    ``exp(-distance[h, t] / noise[h, t, j]) * I0(argument[h, t] / noise[h, t, j]) / noise[h, t, j]`` over the tones t
    (argument 0 where phases are known), times ``exp(-side / level[j]) / level[j]**2`` for the two side tones.

    Parameters
    ----------
    received
        Shape (n,): False where nothing was.
    side, level, transition
        As for `side_levels`; a negative power tells nothing.
    distance, argument
        Shape (n, 3, 2): power that is left over of mark and space, for 0, for 1, and for no signal; and twice the
        product of received and expected magnitude.
    noise
        Shape (3, 2, n_levels): the power that is expected to be left over.
    absent
        Shape (n_levels,): how likely noise of this level suppresses the signal; where it does, 0 and 1 are as none.
    tail
        A share of bits, and how many times more noise their two tones have than the level says.
    prior
        Shape (n, 3): how likely each of the three is beforehand, for what the bit tells its neighbours of the noise.

    Returns
    -------
    density
        Shape (n, 3): ln p(received | h), the level as the other bits tell it; 0 where nothing was received. [nats]
    """
    n, n_levels = side.shape[0], level.shape[0]
    log_noise = np.empty((3, n_levels))
    log_level = np.empty(n_levels)
    each = np.ones((n, 3, n_levels))
    emission = np.ones((n, n_levels))
    around = np.empty((n, n_levels))
    top = np.zeros(n)
    harder, factor = tail
    log_hit = math.log(max(harder, _TINY)) - 2.0 * math.log(factor)
    for h in range(3):
        for j in range(n_levels):
            log_noise[h, j] = -math.log(noise[h, 0, j]) - math.log(noise[h, 1, j])
    for j in range(n_levels):
        log_level[j] = math.log(level[j])
    for i in range(n):
        if not received[i]:
            continue
        highest = -1e300
        for h in range(3):
            for j in range(n_levels):
                value = 0.0
                hit = 0.0
                for t in range(2):
                    value -= distance[i, h, t] / noise[h, t, j]
                    if argument[i, h, t] > 0.0:
                        ratio = argument[i, h, t] / noise[h, t, j]
                        value += _ln_i0(ratio)
                        if harder > 0.0:
                            hit += _ln_i0(ratio / factor)
                    hit -= distance[i, h, t] / noise[h, t, j] / factor
                if harder > 0.0:
                    hit += log_hit
                    larger = max(value, hit)
                    value = larger + math.log((1.0 - harder) * math.exp(value - larger) + math.exp(hit - larger))
                each[i, h, j] = value + log_noise[h, j]
                if side[i] >= 0.0:
                    each[i, h, j] -= side[i] / level[j] + 2.0 * log_level[j]
                highest = max(highest, each[i, h, j])
        top[i] = highest
        for j in range(n_levels):
            emission[i, j] = 0.0
            for h in range(3):
                each[i, h, j] = math.exp(max(each[i, h, j] - highest, _LEAST_EXPONENT))
            for h in range(3):
                each[i, h, j] += absent[j] * (each[i, 2, j] - each[i, h, j])
                emission[i, j] += prior[i, h] * each[i, h, j]
    _around(emission, transition, around)
    density = np.zeros((n, 3))
    for i in range(n):
        if received[i]:
            for h in range(3):
                value = _TINY
                for j in range(n_levels):
                    value += around[i, j] * each[i, h, j]
                density[i, h] = math.log(value) + top[i]
    return density


def bit_densities_model(
    received: B1,
    side: F64,
    distance: F64,
    argument: F64,
    noise: F64,
    absent: F64,
    tail: tuple[float, float],
    prior: F64,
    level: F64,
    transition: F64,
) -> F64:
    """Plain-numpy model of `bit_densities`: the same sums, over logarithms."""
    each = np.full((len(side), 3, len(level)), -np.inf)
    for factor, share in ((1.0, 1.0 - tail[0]), (tail[1], tail[0])):
        scaled = argument[..., None] / noise / factor
        ln_i0 = np.log(np.i0(np.minimum(scaled, 600.0))) + np.maximum(scaled - 600.0, 0.0)
        density = (ln_i0 - distance[..., None] / noise / factor - np.log(noise * factor)).sum(axis=2)
        with np.errstate(divide="ignore"):
            each = np.logaddexp(each, density + np.log(share))
    told = (side >= 0.0)[:, None, None]
    each = each - np.where(told, side[:, None, None] / level + 2.0 * np.log(level), 0.0)
    with np.errstate(divide="ignore"):
        each = np.logaddexp(each + np.log1p(-absent), each[:, 2:] + np.log(absent))
        emission = np.logaddexp.reduce(each + np.log(prior)[:, :, None], axis=1)
    emission[~received] = 0.0
    around, _ = _around_model(emission, transition)
    return np.where(received[:, None], np.logaddexp.reduce(around[:, None, :] + each, axis=2), 0.0)


@njit(cache=True, nogil=True)
def neighbour_means(values: C128, weight: F64, width: int) -> tuple[C128, F64]:
    """Give each value the weighted mean of its `width` neighbours on either side, itself left out.

    Parameters
    ----------
    values, weight
        Shape (n,); a value of weight 0 does not count.
    width
        Neighbours on either side.

    Returns
    -------
    mean
        Shape (n,); 0 where no neighbour has a weight.
    count
        Shape (n,): sum of the neighbours' weights.
    """
    n = values.shape[0]
    running = np.zeros(n + 1, np.complex128)
    total = np.zeros(n + 1)
    for i in range(n):
        running[i + 1] = running[i] + weight[i] * values[i]
        total[i + 1] = total[i] + weight[i]
    mean = np.zeros(n, np.complex128)
    count = np.zeros(n)
    for i in range(n):
        low, high = max(i - width, 0), min(i + width + 1, n)
        count[i] = total[high] - total[low] - weight[i]
        if count[i] > 1e-6:
            mean[i] = (running[high] - running[low] - weight[i] * values[i]) / count[i]
    return mean, count


def neighbour_means_model(values: C128, weight: F64, width: int) -> tuple[C128, F64]:
    """Plain-numpy model of `neighbour_means`."""
    index = np.arange(len(values))
    near = (np.abs(index[:, None] - index) <= width) & (index[:, None] != index)
    count = near @ weight
    return np.where(count > 1e-6, (near @ (weight * values)) / np.maximum(count, 1e-6), 0.0), count


@njit(cache=True, nogil=True)
def normal_equations(
    values: C128, symbols: F64, weight: F64, ahead: int, behind: int, n_folds: int
) -> tuple[F64, C128]:
    """Add up the normal equations of what each bit receives of its neighbours, in folds of whole characters.

    Received is ``values[k, t] = a[t] + sum over d of c[d, t] * symbols[k - d]``, d from ``-ahead`` to `behind`.

    Parameters
    ----------
    values
        Shape (n, 2): mark and space.
    symbols
        Shape (n,): +1 for 1, -1 for 0, 0 for unknown; those before the first are 0.
    weight
        Shape (n,): weight of each bit's equation; 0 leaves it out.
    ahead, behind
        Neighbours that count.
    n_folds
        Character c belongs to fold ``c % n_folds``.

    Returns
    -------
    gram
        Shape (n_folds, p, p), p = 2 + ahead + behind: the constant first, then d rising.
    right
        Shape (n_folds, p, 2).
    """
    n = values.shape[0]
    p = 2 + ahead + behind
    gram = np.zeros((n_folds, p, p))
    right = np.zeros((n_folds, p, 2), np.complex128)
    row = np.empty(p)
    row[0] = 1.0
    for k in range(n):
        if weight[k] <= 0.0:
            continue
        fold = (k // 8) % n_folds
        for i in range(1, p):
            place = k - (i - 1 - ahead)
            row[i] = symbols[place] if 0 <= place < n else 0.0
        for i in range(p):
            scaled = weight[k] * row[i]
            for j in range(p):
                gram[fold, i, j] += scaled * row[j]
            for t in range(2):
                right[fold, i, t] += scaled * values[k, t]
    return gram, right


def symbol_rows(symbols: F64, ahead: int, behind: int) -> F64:
    """Rows of the equations of `normal_equations`, shape (n, 2 + ahead + behind)."""
    n = len(symbols)
    padded = np.concatenate([np.zeros(behind), symbols, np.zeros(ahead)])
    shifted = [padded[behind - d : behind - d + n] for d in range(-ahead, behind + 1)]
    return np.stack([np.ones(n), *shifted], axis=1)


def normal_equations_model(
    values: C128, symbols: F64, weight: F64, ahead: int, behind: int, n_folds: int
) -> tuple[F64, C128]:
    """Plain-numpy model of `normal_equations`."""
    rows = symbol_rows(symbols, ahead, behind)
    in_fold = (np.arange(len(values)) // 8) % n_folds == np.arange(n_folds)[:, None]
    weighted = np.where(in_fold[..., None], (weight[:, None] * rows), 0.0)
    return weighted.transpose(0, 2, 1) @ rows, weighted.transpose(0, 2, 1) @ values
