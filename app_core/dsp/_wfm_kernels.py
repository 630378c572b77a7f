"""The compiled loop that follows the pilot of stereo FM, beside the plain-numpy model that defines it.

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

FIRST_NOISE = 2.0
"""What the noise is taken for when a pilot is found, over that at which the blend is whole: stereo comes in by more
than half, and wholly where the pilot is clean."""

PILOT_STATES = 12
"""Length of the state of `track_pilot`."""


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
        Most that the blend changes by per block.
    noise_share, drift_share, power_share
        Shares by which two low-passes of the quadrature, the drift that is taken out behind them, and the mean power
        of what is left move per block.
    n_wait
        Blocks for which the loop may settle, once it has locked, before the noise is measured.
    quiet_power
        Mean power up to which the blend is whole; above, it falls so that its hiss stays the same.
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
    noise_share: float
    drift_share: float
    power_share: float
    n_wait: float
    quiet_power: float


@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def track_pilot(
    multiplex: F32, start: int, reference_cos: F32, reference_sin: F32, loop: PilotLoop, state: F64, out: F32
) -> None:
    """Follow the pilot with a second-order loop and bring the signal around twice its frequency down to 0 Hz.

    The pilot is taken as ``A * sin(phase)``. The phase moves by a fixed step within a block of ``len(reference_cos)``
    samples; at its end the block is correlated with the oscillator, and phase and step are corrected. The sum over a
    block is an average, which keeps programme 4 kHz beside the pilot out of the loop when a block lasts 250 µs. The
    noise beside the pilot is what is left in quadrature to it, of averages over two blocks under a triangle, from which
    programme is kept far better; narrow filters and the slow drift of the phase aside, its mean power is the noise.

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
        Shape (`PILOT_STATES`,): phase at the start of the block [radians]; departure from ``loop.step`` [radians per
        sample]; mean level in phase with the oscillator; blend, 0 to 1; 1 when locked, else 0; place in the block; the
        last block's part of the triangle; the two low-passes and the drift; mean power of the noise; blocks to wait
        for it.
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
            rising = np.float32(0.0)
            for i in range(n_block):
                j = np.float32(i)
                re = first_re + j * slope_re
                im = first_im + j * slope_im
                sample = multiplex[k - n_block + i]
                in_phase += sample * (re * reference_sin[i] + im * reference_cos[i])
                aside = sample * (re * reference_cos[i] - im * reference_sin[i])
                quadrature += aside
                rising += aside * (j + np.float32(0.5))
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
            before_peak = 2.0 * np.float64(rising) / n_block / n_block
            triangle = state[6] + 2.0 * np.float64(quadrature) / n_block - before_peak
            state[6] = before_peak
            state[7] += loop.noise_share * (triangle - state[7])
            state[8] += loop.noise_share * (state[7] - state[8])
            state[9] += loop.drift_share * (state[8] - state[9])
            state[10] += loop.power_share * ((state[8] - state[9]) ** 2 - state[10])
            state[11] = loop.n_wait if state[4] == 0.0 else max(state[11] - 1.0, 0.0)
            if state[11] > 0.0:
                # What is measured until then is the beat of a pilot that is not yet followed.
                state[7] = state[8] = state[9] = 0.0
                state[10] = FIRST_NOISE * loop.quiet_power
            blend = state[4]
            if state[10] > loop.quiet_power:
                blend *= math.sqrt(loop.quiet_power / state[10])
            state[3] += min(max(blend - state[3], -loop.blend_step), loop.blend_step)
            state[0] = (state[0] + (loop.step + state[1]) * n_block + proportional * error) % (2.0 * math.pi)
            state[1] = min(max(state[1] + integral * error, -loop.max_detune), loop.max_detune)
            place = 0
        state[5] = place


def track_pilot_model(
    multiplex: F32, start: int, reference_cos: F32, reference_sin: F32, loop: PilotLoop, state: F64, out: F32
) -> None:
    """Model of `track_pilot`, same arguments: the oscillator as an exponential, one sample at a time."""
    n_block = reference_cos.shape[0]
    phase, detune, level, blend, locked, place, *noise, wait = (float(x) for x in state)
    before_peak, first, second, drift, power = noise
    rising = (np.arange(n_block) + 0.5) / n_block
    for k in range(start, multiplex.shape[0]):
        out[k] = 2.0 * multiplex[k] * math.sin(2.0 * (phase + (loop.step + detune) * place)) * blend
        place += 1
        if place == n_block:
            oscillator = np.exp(1j * (phase + (loop.step + detune) * np.arange(n_block)))
            beat = 2j * np.mean(multiplex[k + 1 - n_block : k + 1] * oscillator.conj())
            error = np.clip(beat.imag / max(level, loop.unlock_level), -1.0, 1.0)
            level += loop.level_share * (beat.real - level)
            locked = 1.0 if level >= loop.lock_level else 0.0 if level < loop.unlock_level else locked
            quadratures = 2.0 * (multiplex[k + 1 - n_block : k + 1] * oscillator.real) / n_block
            triangle = before_peak + float(quadratures @ (1.0 - rising))
            before_peak = float(quadratures @ rising)
            first += loop.noise_share * (triangle - first)
            second += loop.noise_share * (first - second)
            drift += loop.drift_share * (second - drift)
            power += loop.power_share * ((second - drift) ** 2 - power)
            wait = max(wait - 1.0, 0.0) if locked else loop.n_wait
            if wait:
                first, second, drift, power = 0.0, 0.0, 0.0, FIRST_NOISE * loop.quiet_power
            wanted = locked * min(math.sqrt(loop.quiet_power / max(power, 1e-30)), 1.0)
            blend += float(np.clip(wanted - blend, -loop.blend_step, loop.blend_step))
            gains = (loop.track_proportional, loop.track_integral)
            if not locked:
                gains = (loop.acquire_proportional, loop.acquire_integral)
            phase = (phase + (loop.step + detune) * n_block + gains[0] * error) % (2.0 * math.pi)
            detune = float(np.clip(detune + gains[1] * error, -loop.max_detune, loop.max_detune))
            place = 0
    state[:] = phase, detune, level, blend, locked, place, before_peak, first, second, drift, power, wait
