"""The compiled loops that every sample of the SAME decoder meets, each beside the plain-numpy model that defines it.

Samples are float32 at the decoder's own rate of 25000/3 Hz, where a bit of a sender with a perfect clock lasts exactly
16 samples, mark is 4/16 and space 3/16 cycles a sample. Kernels allocate nothing but their results and hold no state.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


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
def filter_sections(samples: F32, sections: F64, state: F64) -> F32:
    """Filter by second-order sections, in direct form II transposed.

    Parameters
    ----------
    samples
        Shape (n,).
    sections
        Shape (n_sections, 6): b0, b1, b2, a0 = 1, a1, a2 of each.
    state
        Shape (n_sections, 2): what the samples before left behind; changed.

    Returns
    -------
    filtered
        Shape (n,).
    """
    filtered = np.empty(samples.shape[0], np.float32)
    for i in range(samples.shape[0]):
        x = np.float64(samples[i])
        for s in range(sections.shape[0]):
            y = sections[s, 0] * x + state[s, 0]
            state[s, 0] = sections[s, 1] * x - sections[s, 4] * y + state[s, 1]
            state[s, 1] = sections[s, 2] * x - sections[s, 5] * y
            x = y
        filtered[i] = x
    return filtered


def filter_sections_model(samples: F32, sections: F64, state: F64) -> F32:
    """Plain-numpy model of `filter_sections`: by each section's difference equation."""
    signal = samples.astype(np.float64)
    for (b0, b1, b2, _, a1, a2), left in zip(sections, state, strict=True):
        result = np.empty(len(signal))
        for i, x in enumerate(signal):
            result[i] = b0 * x + left[0]
            left[:] = b1 * x - a1 * result[i] + left[1], b2 * x - a2 * result[i]
        signal = result
    return np.asarray(signal, np.float32)


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
