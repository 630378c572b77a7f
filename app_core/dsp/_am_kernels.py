"""The compiled loops for AM carriers, each beside the plain-numpy model that defines it.

Convention: a kernel writes into arrays that the caller made and allocates nothing; what lives on between blocks is a
float64 vector `state`, updated, and its meaning is said in the docstring. Loops whose sums are carried from sample to
sample run in double precision and in order, so cutting the input elsewhere gives the same output bit for bit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app_core.dsp._audio_kernels import ABSURD

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
C64 = NDArray[np.complex64]

AM_LIMIT = 2.0
"""Audio of an AM carrier is clipped here: 200 % of modulation, more than any transmitter's positive peaks."""

AM_RISE = 1.7
AM_FALL = 0.45
"""A fast mean above, or below, this share of the carrier is another carrier's: with a time constant of 5 ms, full
modulation at 50 Hz moves it from 0.46 to 1.54."""

AM_DEPARTURE = 1.25
"""A medium mean that departs from the carrier by more than this factor, and by less from the fast mean, is where the
carrier has gone: with a time constant of 15 ms, full modulation at 60 Hz moves it from 0.82 to 1.18."""


class CarrierLevel(NamedTuple):
    """Constants of `normalize_carrier`.

    Attributes
    ----------
    slow_share, medium_share, fast_share
        Share of the distance to a sample by which each mean moves, once it has settled.
    n_mute
        How long a new carrier is measured before it is heard; longer than delay and fall, less than
        ``1 / medium_share``. [samples]
    rise_step, fall_step
        Change of the audio's gain per sample, up and down.
    """

    slow_share: float
    medium_share: float
    fast_share: float
    n_mute: float
    rise_step: float
    fall_step: float


@njit(cache=True, nogil=True)
def normalize_carrier(envelope: F32, level: CarrierLevel, state: F64, delay: F32, out: F32) -> None:
    """Divide an AM envelope by its carrier, which is its slow mean, and take the carrier away.

    A carrier that comes or goes is seen by a fast mean. All means then begin anew, as the plain mean of what came
    since, while the audio fades out, waits, and fades in. The audio is delayed, so that it fades before the step is
    heard. A smaller step is seen by a medium mean, whose place the slow one then takes.

    Parameters
    ----------
    envelope
        Shape (n,), any scale; a sample that is not finite counts as the carrier.
    level
        Constants.
    state
        Shape (7,): slow, medium and fast mean; samples since they began; gain, 0 to 1; carrier that the audio is
        divided by; place in `delay`.
    delay
        Shape (n_delay,), n_delay >= 1: the last samples of the envelope, the oldest at the place; updated.
    out
        Shape (n,); written: ``gain * (delayed envelope / carrier - 1)``, within ``±AM_LIMIT``; 0 without a carrier.
    """
    slow = state[0]
    medium = state[1]
    fast = state[2]
    count = state[3]
    gain = state[4]
    carrier = state[5]
    place = int(state[6])
    for k in range(envelope.shape[0]):
        sample = np.float64(envelope[k])
        if not math.isfinite(sample):
            sample = slow
        count += 1.0
        least = 1.0 / count
        slow += (sample - slow) * max(least, level.slow_share)
        medium += (sample - medium) * max(least, level.medium_share)
        fast += (sample - fast) * max(least, level.fast_share)
        if fast > AM_RISE * slow or fast < AM_FALL * slow:
            count = 0.0
        elif max(medium, slow) > AM_DEPARTURE * min(medium, slow) and max(medium, fast) < AM_DEPARTURE * min(
            medium, fast
        ):
            slow = medium
            count = min(count, 1.0 / level.medium_share)
        if count <= level.n_mute:
            # The old carrier goes on until it can no longer be heard.
            gain = max(gain - level.fall_step, 0.0)
        else:
            # A new carrier's level is taken at once, a change of the same one smoothly.
            carrier = slow if gain == 0.0 else carrier + (slow - carrier) * level.fast_share
            gain = min(gain + level.rise_step, 1.0)
        audio = np.float64(delay[place]) / carrier - 1.0 if carrier > 0.0 else 0.0
        out[k] = gain * min(max(audio, -AM_LIMIT), AM_LIMIT)
        delay[place] = sample
        place = (place + 1) % delay.shape[0]
    state[0] = slow
    state[1] = medium
    state[2] = fast
    state[3] = count
    state[4] = gain
    state[5] = carrier
    state[6] = place


def normalize_carrier_model(envelope: F32, level: CarrierLevel, state: F64, delay: F32, out: F32) -> None:
    """Model of `normalize_carrier`, same arguments, for finite envelopes: gains and carriers, then one division."""
    n = envelope.shape[0]
    gains, carriers = np.empty(n), np.empty(n)
    shares = np.array([level.slow_share, level.medium_share, level.fast_share])
    means, (count, gain, carrier, place) = state[:3].copy(), (float(value) for value in state[3:])
    for k, sample in enumerate(envelope.astype(np.float64)):
        count += 1.0
        means += (sample - means) * np.maximum(shares, 1.0 / count)
        count *= AM_FALL * means[0] <= means[2] <= AM_RISE * means[0]
        departs, settled = (max(means[1], m) / AM_DEPARTURE - min(means[1], m) for m in (means[0], means[2]))
        if count and departs > 0.0 > settled:
            means[0] = means[1]
            count = min(count, 1.0 / level.medium_share)
        heard = count > level.n_mute
        if heard:
            carrier = float(means[0] if gain == 0.0 else carrier + (means[0] - carrier) * level.fast_share)
        gain = float(np.clip(gain + (level.rise_step if heard else -level.fall_step), 0.0, 1.0))
        gains[k], carriers[k] = gain, carrier
    history = np.concatenate((np.roll(delay, -int(place)), envelope))
    ratio = np.divide(history[:n], carriers, out=np.ones(n), where=carriers > 0.0)
    out[:] = gains * np.clip(ratio - 1.0, -AM_LIMIT, AM_LIMIT)
    place = (place + n) % delay.shape[0]
    delay[:] = np.roll(history[n:], int(place))
    state[:] = *means, count, gain, carrier, place


class CarrierLoop(NamedTuple):
    """Constants of `track_carrier`.

    Attributes
    ----------
    proportional, integral
        Gains of the loop. [radians and radians per sample, per radian of error]
    mean_share
        Share of the distance to a sample by which the means move.
    pull_share, pull_step
        Share of the distance to the mean frequency by which the loop's frequency moves until it has locked, and the
        distance within which it is left to the loop, which is then better than the mean. [radians per sample]
    max_step
        Highest frequency that is followed, below half a turn. [radians per sample]
    lock_coherence, unlock_coherence
        Mean in-phase part over mean magnitude from which the loop is locked, and below which it no longer is.
    blend_step
        Change of the blend per sample.
    """

    proportional: float
    integral: float
    mean_share: float
    pull_share: float
    pull_step: float
    max_step: float
    lock_coherence: float
    unlock_coherence: float
    blend_step: float


@njit(cache=True, nogil=True)
def track_carrier(iq: C64, loop: CarrierLoop, state: F64, out: F32) -> None:
    """Follow an AM carrier with a second-order loop and give the part of the signal that is in phase with it.

    Until the loop has locked, its frequency is drawn into reach of the mean advance from sample to sample, and the
    output is the magnitude; between the two the output is blended.

    Parameters
    ----------
    iq
        Shape (n,), any level; a sample that is not finite or absurd counts as 0.
    loop
        Constants.
    state
        Shape (10,): phase [radians]; frequency [radians per sample]; mean in-phase part; mean magnitude; mean advance,
        as a unit vector's two parts; blend, 0 to 1; 1 when locked, else 0; the last sample's two parts.
    out
        Shape (n,); written: ``blend * in-phase + (1 - blend) * magnitude``.
    """
    phase = state[0]
    step = state[1]
    in_phase_mean = state[2]
    magnitude_mean = state[3]
    advance_re = state[4]
    advance_im = state[5]
    blend = state[6]
    locked = state[7]
    last_re = state[8]
    last_im = state[9]
    for k in range(iq.shape[0]):
        re = np.float64(iq[k].real)
        im = np.float64(iq[k].imag)
        if not (abs(re) < ABSURD and abs(im) < ABSURD):
            re = np.float64(0.0)
            im = np.float64(0.0)
        cosine = math.cos(phase)
        sine = math.sin(phase)
        in_phase = re * cosine + im * sine
        quadrature = im * cosine - re * sine
        magnitude = math.sqrt(re * re + im * im)
        in_phase_mean += loop.mean_share * (in_phase - in_phase_mean)
        magnitude_mean += loop.mean_share * (magnitude - magnitude_mean)
        product_re = re * last_re + im * last_im
        product_im = im * last_re - re * last_im
        length = math.sqrt(product_re * product_re + product_im * product_im)
        if length > 0.0:
            advance_re += loop.mean_share * (product_re / length - advance_re)
            advance_im += loop.mean_share * (product_im / length - advance_im)
        last_re = re
        last_im = im
        if in_phase_mean > loop.lock_coherence * magnitude_mean:
            locked = 1.0
        elif in_phase_mean < loop.unlock_coherence * magnitude_mean:
            locked = 0.0
        if locked == 0.0:
            distance = math.atan2(advance_im, advance_re) - step
            if abs(distance) > loop.pull_step:
                step += loop.pull_share * distance
        error = 0.0
        if magnitude_mean > 0.0:
            error = min(max(quadrature / magnitude_mean, -1.0), 1.0)
        step = min(max(step + loop.integral * error, -loop.max_step), loop.max_step)
        phase += step + loop.proportional * error
        if phase >= 2.0 * math.pi:
            phase -= 2.0 * math.pi
        elif phase < 0.0:
            phase += 2.0 * math.pi
        blend = min(max(blend + (2.0 * locked - 1.0) * loop.blend_step, 0.0), 1.0)
        out[k] = magnitude + blend * (in_phase - magnitude)
    state[0] = phase
    state[1] = step
    state[2] = in_phase_mean
    state[3] = magnitude_mean
    state[4] = advance_re
    state[5] = advance_im
    state[6] = blend
    state[7] = locked
    state[8] = last_re
    state[9] = last_im


def track_carrier_model(iq: C64, loop: CarrierLoop, state: F64, out: F32) -> None:
    """Model of `track_carrier`, same arguments, for sane samples: all in complex numbers."""
    phase, step, in_phase_mean, magnitude_mean = (float(value) for value in state[:4])
    advance, last = complex(*state[4:6]), complex(*state[8:10])
    blend, locked = float(state[6]), bool(state[7])
    for k, sample in enumerate(iq.astype(np.complex128)):
        turned = sample * np.exp(-1j * phase)
        in_phase_mean += loop.mean_share * (turned.real - in_phase_mean)
        magnitude_mean += loop.mean_share * (abs(sample) - magnitude_mean)
        if sample * last:
            advance += loop.mean_share * (np.exp(1j * np.angle(sample * last.conjugate())) - advance)
        last = sample
        coherence = in_phase_mean / magnitude_mean if magnitude_mean else 0.0
        locked = coherence > loop.lock_coherence or (locked and coherence >= loop.unlock_coherence)
        distance = np.angle(advance) - step
        step += loop.pull_share * distance if not locked and abs(distance) > loop.pull_step else 0.0
        error = np.clip(turned.imag / magnitude_mean, -1.0, 1.0) if magnitude_mean else 0.0
        step = np.clip(step + loop.integral * error, -loop.max_step, loop.max_step)
        phase = (phase + step + loop.proportional * error) % (2.0 * math.pi)
        blend = float(np.clip(blend + (loop.blend_step if locked else -loop.blend_step), 0.0, 1.0))
        out[k] = blend * turned.real + (1.0 - blend) * abs(sample)
    state[:] = (
        phase,
        step,
        in_phase_mean,
        magnitude_mean,
        advance.real,
        advance.imag,
        blend,
        locked,
        last.real,
        last.imag,
    )
