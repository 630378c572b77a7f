"""From a burst's correlations to evidence: for every bit, how well the signal speaks for 1, for 0, and for no burst.

Evidence is ln p(received | bit) - ln p(received | no signal). It adds up over bursts and over bits; the difference of
its two columns is the bit's log-likelihood ratio; its sum tells where a header ends. The first evidence is noncoherent
and needs no decisions. The later ones are coherent: a tentative header wipes off the data, and the channel is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._evidence_kernels import bit_densities
from app_core.eas.channel_fit import Channel, fit_channel
from app_core.eas.framing import Burst
from app_core.eas.noise import (
    LEVELS,
    LOUD,
    NO_TAIL,
    SideNoise,
    fit_side_noise,
    refreshed,
    side_power,
    tone_noise,
)
from app_core.eas.timing import KNOWN_BITS, N_PREAMBLE_BITS

F64 = NDArray[np.float64]
C128 = NDArray[np.complex128]

_LARGEST_EVIDENCE = 20.0  # as for a fitted channel
LARGEST_RATIO = 18.0
"""Of one bit of one burst: what no model foresaw happens once in a hundred million. [nats]"""

_OWN_NOISE = 3.0  # times the side tones' noise: white noise, FM and filters have 0.8 to 1.5, codecs 6 to 10
# Such noise is less even than it looks, and repeats itself: what evidence is then worth, measured with MP3, AAC, Vorbis
# and Opus at their lowest bit rates by how often it is wrong.
_WORTH_EVEN, _WORTH_UNEVEN = 0.85, 0.6
_SAME_LENGTH = 16  # bits that a header's length may change before the noise is fitted anew


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What one burst says.

    Attributes
    ----------
    bits
        Shape (n_bits, 2), from the start word's first bit on: evidence for 0 and for 1. [nats]
    residual
        Shape (n_bits,): what is left over of the decided tone, in units of its noise, its gain's phase at 0.
    turned
        Shape (n_bits,): by how much a 0 or a 1 at any other phase would explain the bit better than the tentative
        header does at the channel's phase; 0 where it would not. [nats]
    snr_db
        Eb/N0. [dB]
    is_coded
        Whether the noise is the signal's own, as a codec's is: it may repeat itself, and is never as even as it looks.
    """

    bits: F64
    residual: C128
    turned: F64
    snr_db: float
    is_coded: bool = False


def _noise_of(burst: Burst, n_used: int) -> SideNoise:
    old = burst.noise
    if old is not None and abs(old.n_used - n_used) <= _SAME_LENGTH and burst.fresh:
        return old
    power = side_power(burst.correlation[:, 2:], burst.valid, n_used)
    if old is not None and abs(old.n_used - n_used) <= _SAME_LENGTH and len(power) >= n_used:
        burst.noise = refreshed(old, power, burst.valid)
    else:
        burst.noise = fit_side_noise(power, burst.valid, n_used)
    burst.fresh = True
    return burst.noise


def _limited(density: F64) -> F64:
    """Evidence, shape (n_bits, 2), from densities of 0, 1 and nothing; its ratios held within `LARGEST_RATIO`."""
    evidence = density[:, :2] - density[:, 2:]
    middle = evidence.mean(axis=1)
    ratio = np.clip(evidence[:, 1] - evidence[:, 0], -60.0, 60.0)
    ratio = np.logaddexp(ratio, -LARGEST_RATIO) - np.logaddexp(0.0, ratio - LARGEST_RATIO)
    return np.stack([middle - ratio / 2, middle + ratio / 2], axis=1)


def _prior(known: NDArray[np.int8]) -> F64:
    """What each bit may be for its neighbours' sake, shape (n_bits, 3): known in the preamble, anything behind it."""
    prior = np.full((len(known), 3), 1.0 / 3.0)
    lead = known[:N_PREAMBLE_BITS]
    prior[: len(lead)] = np.where(lead[:, None] < 0, prior[: len(lead)], np.eye(3)[lead])
    return prior


def _absence(noise: SideNoise, expected: F64, power: F64) -> F64:
    """How likely noise of each level has suppressed the signal, shape (n_levels,).

    Limiters, gain controls and codecs do that. What is louder than the signal leaves nothing to read in any case.
    """
    drowned = (expected > power[:, None]).all(axis=0)
    return np.where(drowned, 1.0, np.where(LEVELS >= LOUD, noise.regime.suppression, 0.0))


def noncoherent_evidence(burst: Burst) -> Evidence:
    """Evidence of a burst whose bits are not known yet: levels and noise come from the preamble and ``ZCZC``."""
    if burst.first_evidence is None:
        burst.first_evidence = _noncoherent_evidence(burst)
    return burst.first_evidence


def _weighted_mean(values: F64, weight: F64) -> float:
    total = float(weight.sum())
    return float((values * weight).sum()) / total if total > 0.0 else 0.0


def _noncoherent_evidence(burst: Burst) -> Evidence:
    n_bits = len(burst.correlation)
    known = np.full(n_bits, -1, np.int8)
    n = min(n_bits, len(KNOWN_BITS[0]))
    known[:n] = KNOWN_BITS[0][:n]
    noise = _noise_of(burst, n_bits)
    magnitude = np.abs(burst.correlation[:, :2])
    power = magnitude**2
    distance, argument = np.repeat(power[:, None], 3, axis=1), np.zeros((n_bits, 3, 2))
    expected = np.ones((3, 2, len(LEVELS)))
    level, snr = np.zeros(2), np.zeros(2)
    for tone, value in ((0, 1), (1, 0)):
        sent, silent = known == value, known == 1 - value
        received = _weighted_mean(power[sent, tone], noise.weight[sent])
        usual = _weighted_mean(power[silent, tone], noise.weight[silent])
        level[tone] = max(received - usual, received / 20.0)
        expected[:, tone] = tone_noise(power[silent, tone], noise.of(silent), level[tone] / _LARGEST_EVIDENCE)
        distance[:, value, tone] += level[tone]
        argument[:, value, tone] = 2.0 * np.sqrt(level[tone]) * magnitude[:, tone]
        snr[tone] = level[tone] / max(usual, 1e-30)
    absent = _absence(noise, expected[2], level)
    density = bit_densities(
        burst.valid,
        noise.power,
        distance,
        argument,
        expected,
        absent,
        noise.regime.tail,
        _prior(known),
        LEVELS,
        noise.regime.transition,
    )
    evidence = _limited(density[N_PREAMBLE_BITS:])
    return Evidence(evidence, np.zeros(len(evidence), complex), np.zeros(len(evidence)), _decibels(snr))


def coherent_evidence(burst: Burst, bits: NDArray[np.int8]) -> Evidence:
    """Evidence of a burst, given a tentative header.

    Parameters
    ----------
    burst
        The burst.
    bits
        Shape (n,): preamble and tentative header; -1 is unknown.
    """
    n_bits = len(burst.correlation)
    known = np.full(n_bits, -1, np.int8)
    n = min(n_bits, len(bits))
    known[:n] = bits[:n]
    noise = _noise_of(burst, n)
    correlation = np.ascontiguousarray(burst.untwisted(known)[:, :2])
    channel = fit_channel(correlation, known, noise)
    nothing = np.zeros((1, n_bits, 2), complex)
    distance = np.abs(correlation - np.concatenate([channel.expected, nothing])).transpose(1, 0, 2) ** 2
    absent = _absence(noise, channel.noise[2], channel.power)
    density = bit_densities(
        burst.valid,
        noise.power,
        np.ascontiguousarray(distance),
        np.zeros((n_bits, 3, 2)),
        channel.noise,
        absent,
        channel.tail,
        _prior(known),
        LEVELS,
        noise.regime.transition,
    )
    density[~channel.fits] = 0.0
    is_coded = channel.own_noise > _OWN_NOISE
    if is_coded:
        density *= _WORTH_EVEN if channel.tail == NO_TAIL else _WORTH_UNEVEN
    residual, snr = np.zeros(n_bits, complex), np.zeros(2)
    for tone, value in ((0, 1), (1, 0)):
        where = (known == value) & burst.valid & channel.fits
        own = noise.of(where)
        gain = channel.expected[value, where, tone]
        left = (correlation[where, tone] - gain) / np.sqrt(own.usual(channel.noise[value, tone]))
        residual[where] = left * np.exp(-1j * np.angle(gain.mean() if len(gain) else 1.0))
        snr[tone] = channel.power[tone] / max(channel.quiet[tone], 1e-30)
    turned = _turned(correlation, known, noise, channel)
    turned[~burst.valid] = 0.0
    return Evidence(
        _limited(density[N_PREAMBLE_BITS:]),
        residual[N_PREAMBLE_BITS:],
        turned[N_PREAMBLE_BITS:],
        _decibels(snr),
        is_coded,
    )


def _turned(correlation: C128, known: NDArray[np.int8], noise: SideNoise, channel: Channel) -> F64:
    """As `Evidence.turned`, for all bits from the preamble on.

    A piece of a recording that was inverted or moved has the right tones at a wrong phase; beside a channel fitted to
    the rest it would be read as its opposite. Noise counts as the worst that the channel's tail allows.
    """
    n_bits = len(known)
    straight, turned = np.zeros((2, n_bits)), np.zeros((2, n_bits))
    for value in (0, 1):
        product, strength = np.zeros(n_bits, complex), np.zeros(n_bits)
        for tone in (0, 1):
            usual = noise.usual(channel.noise[value, tone]) * channel.tail[1]
            product += correlation[:, tone].conj() * channel.expected[value, :, tone] / usual
            strength += np.abs(channel.expected[value, :, tone]) ** 2 / usual
        straight[value] = 2.0 * product.real - strength
        argument = 2.0 * np.abs(product)
        # ln I0(x) within 2 %.
        turned[value] = argument - 0.5 * np.log1p(2.0 * np.pi * argument) * (argument / (argument + 1.0)) - strength
    told = (known >= 0) & channel.complete & (noise.weight > 0.0)
    accepted = np.where(known == 1, straight[1], straight[0])
    return np.where(told, np.maximum(turned.max(axis=0) - accepted, 0.0), 0.0)


def _decibels(snr: F64) -> float:
    return 10.0 * float(np.log10(max(float(snr.mean()), 1e-3)))
