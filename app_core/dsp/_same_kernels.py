"""The compiled loops of the SAME decoder, each beside the plain-numpy model that defines it.

Samples are float32 at the decoder's own rate of 25000/3 Hz, where a bit of a sender with a perfect clock lasts exactly
16 samples, mark is 4/16 and space 3/16 cycles a sample. Kernels allocate nothing but their results and hold no state.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
C128 = NDArray[np.complex128]
I64 = NDArray[np.int64]

TONE_CYCLES = np.array([4.0, 3.0, 5.0, 2.0])
"""Cycles in a bit of: mark, space, and the two tones one bit rate outside them, which are orthogonal to both."""


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def resample(pcm: F32, start: float, step: float, table: F32, n_out: int) -> F32:
    """Evaluate `pcm` at ``start + i * step`` through a table of interpolation filters.

    Parameters
    ----------
    pcm
        Shape (n,). [full scale = ±1]
    start
        Position of the first result, in samples of `pcm` from ``pcm[half - 1]`` on, where half is half the filter's
        length; 0 <= start.
    step
        Distance of the results. [samples of `pcm`]
    table
        Shape (n_phases + 1, n_taps): row p is the filter for a fraction of p / n_phases; between rows it is linear.
    n_out
        Number of results; the last one's filter must lie within `pcm`.

    Returns
    -------
    resampled
        Shape (n_out,). [as `pcm`]
    """
    n_phases = table.shape[0] - 1
    n_taps = table.shape[1]
    resampled = np.empty(n_out, np.float32)
    for i in range(n_out):
        position = start + i * step
        whole = int(position)
        phase = (position - whole) * n_phases
        row = int(phase)
        weight = np.float32(phase - row)
        low = np.float32(0.0)
        high = np.float32(0.0)
        for j in range(n_taps):
            low += table[row, j] * pcm[whole + j]
            high += table[row + 1, j] * pcm[whole + j]
        resampled[i] = low + weight * (high - low)
    return resampled


def resample_model(pcm: F32, start: float, step: float, table: F32, n_out: int) -> F32:
    """Plain-numpy model of `resample`."""
    n_phases = table.shape[0] - 1
    position = start + np.arange(n_out) * step
    whole = position.astype(np.int64)
    phase = (position - whole) * n_phases
    row = phase.astype(np.int64)
    weight = (phase - row)[:, None]
    filters = table[row] * (1.0 - weight) + table[row + 1] * weight
    windows = pcm[whole[:, None] + np.arange(table.shape[1])]
    return np.asarray((filters * windows).sum(axis=1), np.float32)


@njit(cache=True, nogil=True)
def tone_balance(samples: F32, mixer: F32, n_out: int) -> F32:
    """Say four times a bit which of the two tones the bit that starts there holds.

    Parameters
    ----------
    samples
        Shape (4 * n_out + 12,); the first one stands at a multiple of 16 samples from the mixer's zero phase.
    mixer
        Shape (4, 16): cosine and sine of mark, cosine and sine of space, over 16 samples.
    n_out
        Number of results.

    Returns
    -------
    balance
        Shape (n_out,): (mark power - space power) / (mark power + space power), 0 for silence. [-1 to 1]
    """
    n_quarters = n_out + 3
    quarter = np.empty((n_quarters, 4), np.float32)
    for i in range(n_quarters):
        a = b = c = d = np.float32(0.0)
        base = 4 * i
        for j in range(4):
            x = samples[base + j]
            k = (base + j) & 15
            a += x * mixer[0, k]
            b += x * mixer[1, k]
            c += x * mixer[2, k]
            d += x * mixer[3, k]
        quarter[i, 0] = a
        quarter[i, 1] = b
        quarter[i, 2] = c
        quarter[i, 3] = d
    balance = np.empty(n_out, np.float32)
    for i in range(n_out):
        a = quarter[i, 0] + quarter[i + 1, 0] + quarter[i + 2, 0] + quarter[i + 3, 0]
        b = quarter[i, 1] + quarter[i + 1, 1] + quarter[i + 2, 1] + quarter[i + 3, 1]
        c = quarter[i, 2] + quarter[i + 1, 2] + quarter[i + 2, 2] + quarter[i + 3, 2]
        d = quarter[i, 3] + quarter[i + 1, 3] + quarter[i + 2, 3] + quarter[i + 3, 3]
        mark = a * a + b * b
        space = c * c + d * d
        total = mark + space
        balance[i] = (mark - space) / total if total > 1e-18 else np.float32(0.0)
    return balance


def tone_balance_model(samples: F32, mixer: F32, n_out: int) -> F32:
    """Plain-numpy model of `tone_balance`."""
    windows = 4 * np.arange(n_out)[:, None] + np.arange(16)
    mixed = samples[windows][None] * mixer[:, windows & 15]
    power = mixed.astype(np.float64).sum(axis=2) ** 2
    mark, space = power[0] + power[1], power[2] + power[3]
    total = mark + space
    return np.where(total > 1e-18, (mark - space) / np.maximum(total, 1e-300), 0.0).astype(np.float32)


@njit(cache=True, nogil=True)
def search_start(
    balance: F32, byte_offsets: I64, bit_offsets: I64, preamble: F32, words: F32, least: float, n_out: int
) -> tuple[F32, I64, I64]:
    """Compare every position with preamble + start word, at every clock, and keep the best.

    Parameters
    ----------
    balance
        Shape (n_out + longest offset + 1,), from `tone_balance`.
    byte_offsets
        Shape (n_clocks, 17): where each preamble byte, and then the word, starts. [quarter bits]
    bit_offsets
        Shape (n_clocks, 32): where each bit lies within a byte and within the word. [quarter bits]
    preamble
        Shape (8,): weights of a preamble byte's bits.
    words
        Shape (n_words, 32): weights of the words' bits.
    least
        Sums below this are not wanted: a clock at which no position can reach it is passed over.
    n_out
        Number of positions.

    Returns
    -------
    score, clock, word
        Shape (n_out,) each: the best weighted sum, and the clock and word that gave it; where it is below `least`,
        only that is certain.
    """
    n_clocks = byte_offsets.shape[0]
    best = np.full(n_out, -np.float32(1e9), np.float32)
    best_clock = np.zeros(n_out, np.int64)
    best_word = np.zeros(n_out, np.int64)
    n_byte = n_out
    for c in range(n_clocks):
        n_byte = max(n_byte, n_out + byte_offsets[c, 15])
    byte_score = np.zeros(n_byte, np.float32)
    word_score = np.zeros(n_out, np.float32)
    total = np.zeros(n_out, np.float32)
    for c in range(n_clocks):
        if c == 0 or np.any(bit_offsets[c] != bit_offsets[c - 1]):
            byte_score[:] = 0
            for j in range(8):
                # Slices, because an index that is a sum might be negative for all the compiler knows: no SIMD then.
                shifted = balance[bit_offsets[c, j] :]
                weight = preamble[j]
                for i in range(n_byte):
                    byte_score[i] += weight * shifted[i]
        total[:] = 0
        for j in range(16):
            shifted = byte_score[byte_offsets[c, j] :]
            for i in range(n_out):
                total[i] += shifted[i]
        highest = np.float32(-1e9)
        for i in range(n_out):
            highest = max(highest, total[i])
        if highest + 32.0 < least:
            continue
        for w in range(words.shape[0]):
            word_score[:] = total
            for j in range(32):
                weight = words[w, j]
                if weight != 0:
                    shifted = balance[byte_offsets[c, 16] + bit_offsets[c, j] :]
                    for i in range(n_out):
                        word_score[i] += weight * shifted[i]
            for i in range(n_out):
                if word_score[i] > best[i]:
                    best[i] = word_score[i]
                    best_clock[i] = c
                    best_word[i] = w
    return best, best_clock, best_word


def search_start_model(
    balance: F32, byte_offsets: I64, bit_offsets: I64, preamble: F32, words: F32, least: float, n_out: int
) -> tuple[F32, I64, I64]:
    """Plain-numpy model of `search_start`, for a `least` that passes nothing over."""
    position = np.arange(n_out)[:, None]
    scores = []
    for bytes_at, bits_at in zip(byte_offsets, bit_offsets, strict=True):
        lead_at = (bytes_at[:16, None] + bits_at[:8]).ravel()
        lead = balance[position + lead_at] @ np.tile(preamble, 16)
        scores.append(lead[:, None] + balance[position + bytes_at[16] + bits_at] @ words.T)
    table = np.stack(scores, axis=1).reshape(n_out, -1)
    best = table.argmax(axis=1)
    clock, word = np.divmod(best, words.shape[0])
    return table.max(axis=1).astype(np.float32), clock.astype(np.int64), word.astype(np.int64)


@njit(cache=True, nogil=True)
def correlate_bits(samples: F32, start: float, samples_per_bit: float, cycles: F64, n_bits: int) -> C128:
    """Correlate consecutive bits with tones whose phase runs on from bit to bit.

    A sample stands for the time from half a sample before it to half a sample behind it; those at a bit's two ends
    count with the part that lies within the bit, so that a bit may start anywhere and have any length.

    Parameters
    ----------
    samples
        Shape (n,).
    start
        Where the first bit starts, >= 0; what lies beyond the end of `samples` counts as zero. [samples]
    samples_per_bit
        Length of a bit.
    cycles
        Shape (n_tones,): cycles of each tone in a bit.
    n_bits
        Number of bits.

    Returns
    -------
    correlation
        Shape (n_bits, n_tones), divided by `samples_per_bit`: a tone of amplitude a gives a magnitude of a / 2.
    """
    n_samples = samples.shape[0]
    n_tones = cycles.shape[0]
    correlation = np.zeros((n_bits, n_tones), np.complex128)
    for tone in range(n_tones):
        turn = 2.0 * np.pi * cycles[tone] / samples_per_bit
        step_re = np.cos(turn)
        step_im = -np.sin(turn)
        for k in range(n_bits):
            begin = start + 0.5 + k * samples_per_bit
            end = begin + samples_per_bit
            first = int(begin)
            last = int(end)
            angle = -turn * (first - start)
            re = np.cos(angle)
            im = np.sin(angle)
            sum_re = 0.0
            sum_im = 0.0
            for i in range(first, last + 1):
                weight = 1.0
                if i == first:
                    weight = first + 1.0 - begin
                elif i == last:
                    weight = end - last
                if weight > 0.0 and i < n_samples:
                    x = weight * samples[i]
                    sum_re += x * re
                    sum_im += x * im
                re, im = re * step_re - im * step_im, re * step_im + im * step_re
            correlation[k, tone] = complex(sum_re / samples_per_bit, sum_im / samples_per_bit)
    return correlation


def correlate_bits_model(samples: F32, start: float, samples_per_bit: float, cycles: F64, n_bits: int) -> C128:
    """Plain-numpy model of `correlate_bits`."""
    begin = start + 0.5 + np.arange(n_bits)[:, None] * samples_per_bit
    index = np.floor(begin).astype(np.int64) + np.arange(int(samples_per_bit) + 2)
    weight = np.clip(np.minimum(index + 1, begin + samples_per_bit) - np.maximum(index, begin), 0.0, 1.0)
    padded = np.append(samples, np.zeros(max(0, int(index.max()) + 1 - len(samples)), np.float32))
    values = padded[index] * weight / samples_per_bit
    phase = 2.0 * np.pi * (index[..., None] - start) / samples_per_bit * cycles
    return np.asarray((values[..., None] * np.exp(-1j * phase)).sum(axis=1))


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
