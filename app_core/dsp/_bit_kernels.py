"""The compiled loops over the bits of a burst, each beside the plain-numpy model that defines it.

Samples are float32 at the decoder's own rate of 25000/3 Hz, where a bit of a sender with a perfect clock lasts 16
samples. A sample stands for the time from half a sample before it to half a sample behind it; those at a bit's two ends
count with the part that lies within the bit, so that a bit may start anywhere and have any length.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
C128 = NDArray[np.complex128]
I64 = NDArray[np.int64]

TONE_CYCLES = np.array([4.0, 3.0, 5.0, 2.0])
"""Cycles in a bit of: mark, space, and the two tones one bit rate outside them, which are orthogonal to both."""


@njit(cache=True, nogil=True)
def _correlate_bit(samples: F32, start: float, end: float, cycles: float) -> complex:
    """Correlate the samples between `start` and `end` with a tone that begins there at phase 0."""
    turn = 2.0 * math.pi * cycles / (end - start)
    step_re = math.cos(turn)
    step_im = -math.sin(turn)
    begin = start + 0.5
    stop = end + 0.5
    first = math.floor(begin)
    last = math.floor(stop)
    re = math.cos(turn * (first - start))
    im = -math.sin(turn * (first - start))
    sum_re = 0.0
    sum_im = 0.0
    for i in range(first, last + 1):
        if 0 <= i < samples.shape[0]:
            weight = 1.0
            if i == first:
                weight = first + 1.0 - begin
            elif i == last:
                weight = stop - last
            x = weight * samples[i]
            sum_re += x * re
            sum_im += x * im
        re, im = re * step_re - im * step_im, re * step_im + im * step_re
    return complex(sum_re / (end - start), sum_im / (end - start))


@njit(cache=True, nogil=True)
def correlate_bits(samples: F32, edges: F64, cycles: F64) -> C128:
    """Correlate consecutive bits with tones that begin at phase 0 in each bit.

    Parameters
    ----------
    samples
        Shape (n,).
    edges
        Shape (n_bits + 1,), rising: where each bit starts and the last one ends; what lies outside `samples` counts as
        zero. [samples]
    cycles
        Shape (n_tones,): cycles of each tone in a bit.

    Returns
    -------
    correlation
        Shape (n_bits, n_tones), divided by the bit's length: a tone of amplitude a gives a magnitude of a / 2.
    """
    n_bits = edges.shape[0] - 1
    correlation = np.empty((max(n_bits, 0), cycles.shape[0]), np.complex128)
    for k in range(n_bits):
        for tone in range(cycles.shape[0]):
            correlation[k, tone] = _correlate_bit(samples, edges[k], edges[k + 1], cycles[tone])
    return correlation


def correlate_bits_model(samples: F32, edges: F64, cycles: F64) -> C128:
    """Plain-numpy model of `correlate_bits`."""
    start, length = edges[:-1, None], np.diff(edges)[:, None]
    begin = start + 0.5
    index = np.floor(begin).astype(np.int64) + np.arange(int(length.max()) + 2)
    weight = np.clip(np.minimum(index + 1, begin + length) - np.maximum(index, begin), 0.0, 1.0)
    inside = (index >= 0) & (index < len(samples))
    values = np.where(inside, samples[np.clip(index, 0, len(samples) - 1)], 0.0) * weight / length
    phase = 2.0 * np.pi * ((index - start) / length)[..., None] * cycles
    return np.asarray((values[..., None] * np.exp(-1j * phase)).sum(axis=1))


@njit(cache=True, nogil=True)
def follow_bits(
    samples: F32, start: float, length: float, bits: I64, gains: C128, cycles: F64, pull: float, bend: float
) -> F64:
    """Follow a bit clock that is not constant, by the phase of the tones: a second-order loop.

    A bit that starts late by a share of its length turns its phase back by that share of the tone's cycles. Which
    tone was sent is known, or decided coherently.

    Parameters
    ----------
    samples
        Shape (n,).
    start, length
        Where the first bit starts, and how long it is. [samples]
    bits
        Shape (n_bits,): 0, 1, or anything else for unknown.
    gains
        Shape (2,): mark and space as they correlate where the clock is right.
    cycles
        Shape (2,): cycles of mark and space in a bit.
    pull, bend
        Shares of an error by which the next bit's start and all later bits' length are set right.

    Returns
    -------
    edges
        Shape (n_bits + 1,): where each bit starts, and the last one ends. [samples]
    """
    n_bits = bits.shape[0]
    edges = np.empty(n_bits + 1)
    edges[0] = start
    low, high = 0.95 * length, 1.05 * length
    for k in range(n_bits):
        mark = _correlate_bit(samples, edges[k], edges[k] + length, cycles[0])
        space = _correlate_bit(samples, edges[k], edges[k] + length, cycles[1])
        along_mark = mark * gains[0].conjugate()
        along_space = space * gains[1].conjugate()
        powers = abs(gains[0]) ** 2, abs(gains[1]) ** 2
        is_mark = 2.0 * along_mark.real - powers[0] > 2.0 * along_space.real - powers[1]
        if bits[k] == 0 or bits[k] == 1:
            is_mark = bits[k] == 1
        along, power, turns = (along_mark, powers[0], cycles[0]) if is_mark else (along_space, powers[1], cycles[1])
        # The angle, for what a bit of noise turns little: weighted by its magnitude, and no more than a whole one.
        weight = min(abs(along) / max(power, 1e-30), 1.0)
        late = -math.atan2(along.imag, along.real) / (2.0 * math.pi * turns) * weight
        edges[k + 1] = edges[k] + length * (1.0 + pull * late)
        length = min(max(length * (1.0 + bend * late), low), high)
    return edges


def follow_bits_model(
    samples: F32, start: float, length: float, bits: I64, gains: C128, cycles: F64, pull: float, bend: float
) -> F64:
    """Plain-numpy model of `follow_bits`."""
    edges = [start]
    low, high = 0.95 * length, 1.05 * length
    for bit in bits:
        tones = correlate_bits_model(samples, np.array([edges[-1], edges[-1] + length]), cycles)[0]
        along, power = tones * gains.conj(), np.abs(gains) ** 2
        tone = 1 - int(bit) if bit in (0, 1) else int((2.0 * along.real - power).argmax())
        weight = min(abs(along[tone]) / max(power[tone], 1e-30), 1.0)
        late = -np.angle(along[tone]) / (2.0 * np.pi * cycles[tone]) * weight
        edges.append(edges[-1] + length * (1.0 + pull * late))
        length = min(max(length * (1.0 + bend * late), low), high)
    return np.array(edges)


@njit(cache=True, nogil=True)
def coherent_power(correlation: C128, use: I64, phase: F64, first: float, step: float, n_out: int) -> F64:
    """Add up bits coherently, for each of several errors of the tones.

    Parameters
    ----------
    correlation
        Shape (n_sets, n_bits, >= 2): mark and space.
    use
        Shape (n_bits,): 0 takes mark, 1 takes space, anything else leaves the bit out.
    phase
        Shape (n_bits,): cycles that the carrier has run.
    first, step
        The relative errors that are tried: ``first + i * step``.
    n_out
        Number of errors.

    Returns
    -------
    power
        Shape (n_sets, n_out): for each tone the power of the sum over the number of bits, the tones added.
    """
    n_sets, n_bits = correlation.shape[0], correlation.shape[1]
    total = np.zeros((2, n_sets, n_out), np.complex128)
    count = np.zeros(2)
    for k in range(n_bits):
        tone = use[k]
        if tone != 0 and tone != 1:
            continue
        count[tone] += 1.0
        angle = -2.0 * np.pi * phase[k] * step
        turn = complex(np.cos(angle), np.sin(angle))
        angle = -2.0 * np.pi * phase[k] * first
        begin = complex(np.cos(angle), np.sin(angle))
        for s in range(n_sets):
            value = correlation[s, k, tone] * begin
            for i in range(n_out):
                total[tone, s, i] += value
                value *= turn
    power = np.zeros((n_sets, n_out))
    for tone in range(2):
        for s in range(n_sets):
            for i in range(n_out):
                z = total[tone, s, i]
                power[s, i] += (z.real * z.real + z.imag * z.imag) / max(count[tone], 1.0)
    return power


def coherent_power_model(correlation: C128, use: I64, phase: F64, first: float, step: float, n_out: int) -> F64:
    """Plain-numpy model of `coherent_power`."""
    turn = np.exp(-2j * np.pi * phase[:, None] * (first + step * np.arange(n_out)))
    power = np.zeros((correlation.shape[0], n_out))
    for tone in range(2):
        here = use == tone
        power += np.abs((correlation[:, here, tone, None] * turn[here]).sum(axis=1)) ** 2 / max(here.sum(), 1)
    return power
