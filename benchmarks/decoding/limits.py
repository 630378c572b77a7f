"""How well a header can be decoded at all: probability that every bit is right, by Eb/N0 of one burst, in white noise.

Synchronisation is perfect and nothing is known of the header: eight bits a character, each decided by itself. The error
rates are those of binary orthogonal FSK with detection in white noise (J. G. Proakis and M. Salehi, *Digital
Communications*, 5th edition: chapter 4 for one burst, section 11.1 on multichannel signalling for several). A decoder
that knows which headers are legal may do better than these by some tenths of a decibel.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

Decibels = NDArray[np.float64]
Shares = NDArray[np.float64]

BITS_PER_CHARACTER = 8
BURSTS = 3


def noncoherent_bit_errors(eb_n0: NDArray[np.float64], bursts: int = 1) -> NDArray[np.float64]:
    """Bit error rate of noncoherent detection, the squares of `bursts` bursts added.

    ``P = 2^(1-2L) exp(-Lg/2) sum_n c_n (Lg/2)^n``, ``c_n = 1/n! sum_k binomial(2L-1, k)``, n from 0 to L-1, k from 0 to
    L-1-n, for L bursts of Eb/N0 g each; one burst gives ``exp(-g/2) / 2``.

    Parameters
    ----------
    eb_n0
        Shape (n,), of one burst, as a ratio.
    bursts
        How many, 1 or more.

    Returns
    -------
    rate
        Shape (n,).
    """
    half = 0.5 * bursts * eb_n0
    total = np.zeros_like(half)
    for n in range(bursts):
        weight = sum(math.comb(2 * bursts - 1, k) for k in range(bursts - n)) / math.factorial(n)
        total += weight * half**n
    return np.asarray(2.0 ** (1 - 2 * bursts) * np.exp(-half) * total)


def coherent_bit_errors(eb_n0: NDArray[np.float64], bursts: int = 1) -> NDArray[np.float64]:
    """Bit error rate of coherent detection, `bursts` bursts added: ``Q(sqrt(L g))``.

    Parameters and result are as of `noncoherent_bit_errors`.
    """
    return np.asarray(0.5 * erfc(np.sqrt(0.5 * bursts * eb_n0)))


def voted_bit_errors(eb_n0: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bit error rate of a vote of three bursts, each detected noncoherently: ``3 p^2 (1-p) + p^3``."""
    p = noncoherent_bit_errors(eb_n0)
    return np.asarray(3.0 * p**2 * (1.0 - p) + p**3)


LIMITS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "one burst, noncoherent": noncoherent_bit_errors,
    "a vote of three, noncoherent": voted_bit_errors,
    "three bursts, noncoherent": lambda eb_n0: noncoherent_bit_errors(eb_n0, BURSTS),
    "one burst, coherent": coherent_bit_errors,
    "three bursts, coherent": lambda eb_n0: coherent_bit_errors(eb_n0, BURSTS),
}
"""Bit error rates by Eb/N0 of one burst, as a ratio, by name."""


def exact_share(name: str, eb_n0_db: Decibels, headers: Sequence[str]) -> Shares:
    """Share of headers whose every bit is right.

    Parameters
    ----------
    name
        One of `LIMITS`.
    eb_n0_db
        Shape (n,). [dB]
    headers
        Whose lengths count; 1 or more.

    Returns
    -------
    share
        Shape (n,), the mean over the headers, 0 to 1.
    """
    errors = LIMITS[name](10.0 ** (np.asarray(eb_n0_db, np.float64) / 10.0))
    lengths = np.array([BITS_PER_CHARACTER * len(header) for header in headers])
    return np.asarray(((1.0 - errors)[:, None] ** lengths).mean(axis=1))
