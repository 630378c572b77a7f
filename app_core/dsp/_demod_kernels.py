"""The compiled loops of the demodulators, each beside the plain-numpy model that defines it.

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

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
C64 = NDArray[np.complex64]

ABSURD = 1e6
"""No sample that is this far above full scale is one."""

AM_LIMIT = 2.0
"""Audio of an AM carrier is clipped here: 200 % of modulation, more than any transmitter's positive peaks."""

AM_RISE = 1.7
AM_FALL = 0.45
"""A fast mean above, or below, this share of the carrier is another carrier's: with a time constant of 5 ms, full
modulation at 50 Hz moves it from 0.46 to 1.54."""

AM_DEPARTURE = 1.25
"""A medium mean that departs from the carrier by more than this factor, and by less from the fast mean, is where the
carrier has gone: with a time constant of 15 ms, full modulation at 60 Hz moves it from 0.82 to 1.18."""

HANG_SHARE = 0.9
"""A peak above this share of the level counts as one at the level: it starts the hang time anew."""


class PilotLoop(NamedTuple):
    """Constants of `track_pilot`.

    Attributes
    ----------
    step
        Nominal advance of the pilot. [radians per sample]
    max_detune
        Most that the loop may depart from it. [radians per sample]
    acquire_proportional, acquire_integral
        Gains of the loop until it has locked. [radians and radians per sample, per radian of error]
    track_proportional, track_integral
        Gains when it has.
    level_share
        Share of the distance to a block's level by which the mean level moves.
    lock_level, unlock_level
        Levels of the pilot from which the loop is locked, and below which it no longer is; the lower of them is
        also the least that the phase error is measured against. [as the multiplex]
    blend_step
        Change of the blend per block.
    """

    step: float
    max_detune: float
    acquire_proportional: float
    acquire_integral: float
    track_proportional: float
    track_integral: float
    level_share: float
    lock_level: float
    unlock_level: float
    blend_step: float


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def track_pilot(
    multiplex: F32, start: int, reference_cos: F32, reference_sin: F32, loop: PilotLoop, state: F64, out: F32
) -> None:
    """Follow the pilot with a second-order loop and bring the signal around twice its frequency down to 0 Hz.

    The pilot is taken as ``A * sin(phase)``. The phase moves by a fixed step within a block of ``len(reference_cos)``
    samples; at its end the block is correlated with the oscillator, and phase and step are corrected. The sum over a
    block is an average, which keeps programme 4 kHz beside the pilot out of the loop when a block lasts 250 µs.

    Parameters
    ----------
    multiplex
        Shape (start + n,); the first `start` samples were given before, ``start >= len(reference_cos) - 1``.
        Finite.
    start
        Where the new samples begin.
    reference_cos, reference_sin
        Shape (n_block,): ``cos`` and ``sin`` of ``loop.step * k``.
    loop
        Constants.
    state
        Shape (6,): phase at the start of the block [radians]; departure from ``loop.step`` [radians per sample];
        mean level in phase with the oscillator; blend, 0 to 1; 1 when locked, else 0; place in the block.
    out
        Shape (start + n,); written from `start` on: ``2 * multiplex * sin(2 * phase) * blend``.
    """
    n_block = reference_cos.shape[0]
    n = multiplex.shape[0]
    k = start
    while k < n:
        place = int(state[5])
        run = min(n_block - place, n - k)
        # Within a block the departure turns the oscillator by so little that its chord stands for the arc.
        turn = state[1] * n_block
        base_re = math.cos(state[0])
        base_im = math.sin(state[0])
        chord_re = (math.cos(turn) - 1.0) / n_block
        chord_im = math.sin(turn) / n_block
        slope_re = np.float32(base_re * chord_re - base_im * chord_im)
        slope_im = np.float32(base_re * chord_im + base_im * chord_re)
        first_re = np.float32(base_re)
        first_im = np.float32(base_im)
        gain = np.float32(4.0 * state[3])
        for i in range(run):
            j = np.float32(place + i)
            re = first_re + j * slope_re
            im = first_im + j * slope_im
            cosine = re * reference_cos[place + i] - im * reference_sin[place + i]
            sine = re * reference_sin[place + i] + im * reference_cos[place + i]
            out[k + i] = gain * multiplex[k + i] * sine * cosine
        k += run
        place += run
        if place == n_block:
            in_phase = np.float32(0.0)
            quadrature = np.float32(0.0)
            for i in range(n_block):
                j = np.float32(i)
                re = first_re + j * slope_re
                im = first_im + j * slope_im
                sample = multiplex[k - n_block + i]
                in_phase += sample * (re * reference_sin[i] + im * reference_cos[i])
                quadrature += sample * (re * reference_cos[i] - im * reference_sin[i])
            level = 2.0 * np.float64(in_phase) / n_block
            error = 2.0 * np.float64(quadrature) / n_block / max(state[2], loop.unlock_level)
            error = min(max(error, -1.0), 1.0)
            state[2] += loop.level_share * (level - state[2])
            if state[2] >= loop.lock_level:
                state[4] = 1.0
            elif state[2] < loop.unlock_level:
                state[4] = 0.0
            if state[4] == 1.0:
                proportional = loop.track_proportional
                integral = loop.track_integral
            else:
                proportional = loop.acquire_proportional
                integral = loop.acquire_integral
            state[3] = min(max(state[3] + (2.0 * state[4] - 1.0) * loop.blend_step, 0.0), 1.0)
            state[0] = (state[0] + (loop.step + state[1]) * n_block + proportional * error) % (2.0 * math.pi)
            state[1] = min(max(state[1] + integral * error, -loop.max_detune), loop.max_detune)
            place = 0
        state[5] = place


def track_pilot_model(
    multiplex: F32, start: int, reference_cos: F32, reference_sin: F32, loop: PilotLoop, state: F64, out: F32
) -> None:
    """Model of `track_pilot`, same arguments: the oscillator as an exponential, one sample at a time."""
    n_block = reference_cos.shape[0]
    phase, detune, level, blend, locked, place = (float(value) for value in state)
    for k in range(start, multiplex.shape[0]):
        out[k] = 2.0 * multiplex[k] * math.sin(2.0 * (phase + (loop.step + detune) * place)) * blend
        place += 1
        if place == n_block:
            oscillator = np.exp(1j * (phase + (loop.step + detune) * np.arange(n_block)))
            beat = 2j * np.mean(multiplex[k + 1 - n_block : k + 1] * oscillator.conj())
            error = np.clip(beat.imag / max(level, loop.unlock_level), -1.0, 1.0)
            level += loop.level_share * (beat.real - level)
            locked = 1.0 if level >= loop.lock_level else 0.0 if level < loop.unlock_level else locked
            blend = float(np.clip(blend + (loop.blend_step if locked else -loop.blend_step), 0.0, 1.0))
            gains = (loop.track_proportional, loop.track_integral)
            if not locked:
                gains = (loop.acquire_proportional, loop.acquire_integral)
            phase = (phase + (loop.step + detune) * n_block + gains[0] * error) % (2.0 * math.pi)
            detune = float(np.clip(detune + gains[1] * error, -loop.max_detune, loop.max_detune))
            place = 0
    state[:] = phase, detune, level, blend, locked, place


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


class GainControl(NamedTuple):
    """Constants of `control_gain`.

    Attributes
    ----------
    attack_share
        Share of the distance to a louder sample by which the level rises.
    n_hang
        How long the level stands still behind the last peak. [samples]
    decay_factor
        Factor by which it falls per sample after that.
    least_level
        It falls no lower.
    target
        Amplitude of the output.
    """

    attack_share: float
    n_hang: float
    decay_factor: float
    least_level: float
    target: float


@njit(cache=True, nogil=True)
def control_gain(audio: F32, control: GainControl, state: F64, out: F32) -> None:
    """Bring audio to a constant amplitude: the gain falls fast, then hangs, then rises slowly.

    Parameters
    ----------
    audio
        Shape (n,), any scale; a sample that is not finite or absurd counts as 0.
    control
        Constants.
    state
        Shape (2,): level, at least ``control.least_level``; samples that it still hangs.
    out
        Shape (n,); written: ``audio * target / level``, within ``±target``.
    """
    level = state[0]
    hang = state[1]
    for k in range(audio.shape[0]):
        sample = np.float64(audio[k])
        if not abs(sample) < ABSURD:
            sample = np.float64(0.0)
        peak = abs(sample)
        if peak > level:
            level += control.attack_share * (peak - level)
        if peak > HANG_SHARE * level:
            hang = control.n_hang
        elif hang > 0.0:
            hang -= 1.0
        else:
            level = max(level * control.decay_factor, control.least_level)
        out[k] = control.target * sample / max(level, peak)
    state[0] = level
    state[1] = hang


def control_gain_model(audio: F32, control: GainControl, state: F64, out: F32) -> None:
    """Model of `control_gain`, same arguments, for sane audio: first the levels, then one division."""
    peaks = np.abs(audio.astype(np.float64))
    levels = np.empty_like(peaks)
    level, hang = (float(value) for value in state)
    for k, peak in enumerate(peaks):
        level += control.attack_share * max(peak - level, 0.0)
        held = peak > HANG_SHARE * level
        if not held and hang == 0.0:
            level = max(level * control.decay_factor, control.least_level)
        hang = control.n_hang if held else max(hang - 1.0, 0.0)
        levels[k] = level
    out[:] = control.target * audio / np.maximum(levels, peaks)
    state[:] = level, hang


@njit(cache=True, nogil=True)
def filter_sections(samples: F32, sections: F64, state: F64, out: F32) -> None:
    """Filter through a chain of second-order sections (transposed direct form II).

    Parameters
    ----------
    samples
        Shape (n,); a sample that is not finite or absurd counts as 0.
    sections
        Shape (n_sections, 5): ``b0, b1, b2, a1, a2`` of each, where ``a0`` is 1.
    state
        Shape (n_sections, 2).
    out
        Shape (n,); written.
    """
    for k in range(samples.shape[0]):
        sample = np.float64(samples[k])
        if not abs(sample) < ABSURD:
            sample = np.float64(0.0)
        for i in range(sections.shape[0]):
            result = sections[i, 0] * sample + state[i, 0]
            state[i, 0] = sections[i, 1] * sample - sections[i, 3] * result + state[i, 1]
            state[i, 1] = sections[i, 2] * sample - sections[i, 4] * result
            sample = result
        out[k] = sample


def filter_sections_model(samples: F32, sections: F64, state: F64, out: F32) -> None:
    """Model of `filter_sections`, same arguments, for sane samples: each section as a state-space system."""
    signal = samples.astype(np.float64)
    for (b0, b1, b2, a1, a2), memory in zip(sections, state, strict=True):
        transition = np.array([[-a1, 1.0], [-a2, 0.0]])
        entry = np.array([b1 - a1 * b0, b2 - a2 * b0])
        for k in range(signal.shape[0]):
            sample = signal[k]
            signal[k] = memory[0] + b0 * sample
            memory[:] = transition @ memory + entry * sample
    out[:] = signal
