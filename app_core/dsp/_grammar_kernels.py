"""The compiled sums of the header grammar, each beside the plain-numpy model that defines it.

All take evidence for characters, shape (n_places, 128), in nats, and give for each place the logarithm of the sum over
what may stand there, the largest term, and which one it is.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_NEGLIGIBLE = 45.0  # nats under the largest term


@njit(cache=True, nogil=True)
def word_sums(chars: F64, places: I64, words: I64, prior: F64) -> tuple[F64, F64, I64]:
    """Sum over a list of words of one length at several places.

    Parameters
    ----------
    chars
        Shape (n, 128). [nats]
    places
        Shape (n_places,): where the word's first character stands.
    words
        Shape (n_words, length): characters' codes.
    prior
        Shape (n_words,). [nats]

    Returns
    -------
    total, best
        Shape (n_places,). [nats]
    choice
        Shape (n_places,): index of the best word.
    """
    n_words, length = words.shape
    total = np.empty(places.shape[0])
    best = np.empty(places.shape[0])
    choice = np.empty(places.shape[0], np.int64)
    value = np.empty(n_words)
    for p in range(places.shape[0]):
        highest = -1e300
        which = 0
        for w in range(n_words):
            v = prior[w]
            for i in range(length):
                v += chars[places[p] + i, words[w, i]]
            value[w] = v
            if v > highest:
                highest = v
                which = w
        mass = 0.0
        for w in range(n_words):
            if value[w] > highest - _NEGLIGIBLE:
                mass += math.exp(value[w] - highest)
        best[p] = highest
        total[p] = highest + math.log(mass)
        choice[p] = which
    return total, best, choice


def word_sums_model(chars: F64, places: I64, words: I64, prior: F64) -> tuple[F64, F64, I64]:
    """Plain-numpy model of `word_sums`."""
    index = places[:, None, None] + np.arange(words.shape[1])
    value = chars[index, words].sum(axis=2) + prior
    return np.logaddexp.reduce(value, axis=1), value.max(axis=1), value.argmax(axis=1)


@njit(cache=True, nogil=True)
def character_table(bits: F64, n_places: int, eighth_prior: tuple[float, float]) -> tuple[F64, I64]:
    """Add up the evidence for the bits of every character.

    Parameters
    ----------
    bits
        Shape (n_bits, 2): evidence for 0 and for 1; bits beyond it have none. [nats]
    n_places
        Number of characters.
    eighth_prior
        Of an eighth bit that is 0, and that is 1. [nats]

    Returns
    -------
    chars
        Shape (n_places, 128). [nats]
    eighth
        Shape (n_places,): the likelier eighth bit.
    """
    chars = np.zeros((n_places, 128))
    eighth = np.zeros(n_places, np.int64)
    ratio = np.empty(7)
    for place in range(n_places):
        base = 0.0
        zero, one = eighth_prior
        for i in range(8):
            k = 8 * place + i
            low = bits[k, 0] if k < bits.shape[0] else 0.0
            high = bits[k, 1] if k < bits.shape[0] else 0.0
            if i < 7:
                base += low
                ratio[i] = high - low
            else:
                zero += low
                one += high
        eighth[place] = 1 if one > zero else 0
        chars[place, 0] = base + max(zero, one) + math.log1p(math.exp(-abs(zero - one)))
        for i in range(7):
            for c in range(1 << i):
                chars[place, (1 << i) + c] = chars[place, c] + ratio[i]
    return chars, eighth


def character_table_model(bits: F64, n_places: int, eighth_prior: tuple[float, float]) -> tuple[F64, I64]:
    """Plain-numpy model of `character_table`."""
    padded = np.zeros((8 * n_places, 2))
    n = min(len(bits), 8 * n_places)
    padded[:n] = bits[:n]
    grid = padded.reshape(-1, 8, 2)
    eighth = grid[:, 7] + np.array(eighth_prior)
    sent = np.arange(128)[:, None] >> np.arange(7) & 1
    chars = np.take_along_axis(
        grid[:, None, :7], np.broadcast_to(sent[None, :, :, None], (n_places, 128, 7, 1)), axis=3
    )
    return chars.sum(axis=(2, 3)) + np.logaddexp.reduce(eighth, axis=1)[:, None], eighth.argmax(axis=1)
