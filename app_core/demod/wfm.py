"""Broadcast FM, mono and stereo (ITU-R BS.450-4): the multiplex, its pilot, sum and difference, de-emphasis.

Convention: the full deviation is ±1 of the multiplex, which is sum + 0.1 sin(pilot) + difference * sin(2 pilot), with
sum = 0.9 (left + right) / 2 and difference = 0.9 (left - right) / 2. Left is sum + difference, so that a fully
modulated channel comes out at 0.9, beside the pilot's 0.1.

The audio is decimated: sample ``j`` belongs to IQ sample ``j * decimation`` of the stream. Its filters are symmetric
in time, so that all of it is late by the same `delay_s`; de-emphasis and the removal of the mean come on top, as in
an analogue receiver.

What the sampling does to the multiplex is known and taken back in the taps: the discriminator averages the frequency
over one sample (a sinc, -0.3 dB at 38 kHz and 256 kS/s, which alone would leave 35 dB of separation), and the sampled
pole of the de-emphasis falls less than the analogue one.

The noise of a discriminator grows with the square of the frequency (Rice 1948, "Statistical properties of a sine wave
plus random noise", BSTJ 27), so the difference, around 38 kHz, hisses first. How much follows from the noise beside the
pilot, at 19 kHz, where there is no programme. Where the difference's hiss would be above `HISS_DBFS`, the difference is
turned down by what it is above: the hiss stays, the width shrinks, and what is left of a weak station is mono.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from app_core.dsp._kernels import discriminate, level_and_deemphasize
from app_core.dsp._polyphase_kernels import polyphase
from app_core.dsp._wfm_kernels import PILOT_STATES, PilotLoop, track_pilot
from app_core.dsp.fir import kaiser_beta

PILOT_HZ = 19_000.0
AUDIO_HZ = 15_000.0
"""Upper edge of the audio; the stop band begins at the pilot."""

ATTENUATION_DB = 70.0
"""Stop band of the audio filters, from the pilot up."""

MIN_RATE_HZ = 120_000.0
"""Rate that holds the multiplex, up to 53 kHz, with room for the channel."""

MIN_AUDIO_RATE_HZ = 48_000.0
"""Rate that the decimated audio does not fall below; its aliases then lie in the stop band of the audio filters."""

TRACKING_HZ = 5.0
"""Corner of the high-pass that takes a mistuning out."""

LOCK_LEVEL = 0.04
"""Share of the full deviation from which a pilot counts as one; transmitters give 0.08 to 0.10."""

UNLOCK_LEVEL = 0.025

_BLOCK_HZ = 4000.0
"""Rate of the pilot loop's corrections: the gap between audio and pilot, whose beat a block averages out."""

_ACQUIRE_HZ = 15.0
_TRACK_HZ = 5.0
"""Natural frequency of the pilot loop, until it has locked and after; the damping is 1."""

_MAX_DETUNE_HZ = 25.0
"""Farthest pilot that is followed: ±2 Hz are the transmitter's, 0.02 Hz for each ppm are the receiver's."""

HISS_DBFS = -50.0
"""Noise that the difference may bring into each side, behind the de-emphasis: as much as is hardly heard."""

_LEVEL_S = 0.1
_BLEND_S = 0.1
_NOISE_BLOCKS, _DRIFT_BLOCKS = 16.0, 128.0
_NOISE_S = 0.15
"""Time constants of the filters that the noise beside the pilot passes, in blocks, and of its mean power."""

_SETTLE_S = 0.15
"""Time that the loop has for the phase, once it has locked, before what is beside the pilot counts as noise."""

_TAPS_STEP = 16
"""Filters are this many taps long, or a multiple: whole vector registers."""

_GRID = 1 << 12
"""Points of the grid of frequencies that the taps are designed on: many times the number of taps."""


class WfmDemodulator:
    """Demodulate broadcast FM, as a stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of IQ.
    deviation_hz
        Full deviation.
    deemphasis_us
        Time constant of the de-emphasis: 75 in the Americas and Korea, 50 elsewhere; 0 leaves it out.
    stereo
        Whether to look for a pilot; without, the sum alone is given.

    Attributes
    ----------
    n_audio
        2: left and right, which are equal while there is no pilot; 1 if not `stereo`.
    decimation
        IQ samples for each sample of audio.
    audio_rate_hz
        ``sample_rate_hz / decimation``, from `MIN_AUDIO_RATE_HZ` to twice that.
    delay_s
        How late the audio is.
    is_stereo
        Whether the loop follows a pilot; the audio goes over from one to the other within `_BLEND_S`.
    pilot_level
        Level of the pilot, a mean over `_LEVEL_S`; 0 if not `stereo`. [share of the full deviation]
    frequency_error_hz
        Mean frequency in the last `push` that was not empty, relative to 0 Hz; 0 before.
    deviation_hz
        Peak deviation of a tone with the power of the multiplex in that `push`; 0 before.

    Raises
    ------
    ValueError
        If `sample_rate_hz` is below `MIN_RATE_HZ`, `deviation_hz` is not positive, or `deemphasis_us` is negative.
    """

    def __init__(
        self,
        sample_rate_hz: float,
        deviation_hz: float = 75_000.0,
        deemphasis_us: float = 75.0,
        stereo: bool = True,
    ) -> None:
        if not sample_rate_hz >= MIN_RATE_HZ:
            raise ValueError(f"broadcast FM needs {MIN_RATE_HZ:.0f} samples a second, not {sample_rate_hz}")
        if not deviation_hz > 0.0:
            raise ValueError(f"a deviation is positive, not {deviation_hz} Hz")
        if not deemphasis_us >= 0.0:
            raise ValueError(f"the time constant of the de-emphasis is not negative: {deemphasis_us} µs")
        self._full_deviation_hz = deviation_hz
        self._scale = sample_rate_hz / (2.0 * math.pi * deviation_hz)
        self.n_audio = 2 if stereo else 1
        self.decimation = _decimation(sample_rate_hz)
        self.audio_rate_hz = sample_rate_hz / self.decimation
        self._pole = 0.0 if deemphasis_us == 0.0 else math.exp(-1e6 / (deemphasis_us * self.audio_rate_hz))
        self._tracking = -math.expm1(-2.0 * math.pi * TRACKING_HZ / self.audio_rate_hz)
        self._design_filters(sample_rate_hz, deemphasis_us)
        # Half the filter, and half a sample between the two that the discriminator compares.
        self.delay_s = (_reach(sample_rate_hz) + 0.5) / sample_rate_hz
        n_block = round(sample_rate_hz / _BLOCK_HZ)
        self._loop = _pilot_loop(sample_rate_hz, n_block, deemphasis_us)
        phases = self._loop.step * np.arange(n_block)
        self._reference_cos = np.cos(phases).astype(np.float32)
        self._reference_sin = np.sin(phases).astype(np.float32)
        self.frequency_error_hz = 0.0
        self.deviation_hz = 0.0
        self.reset()

    @property
    def is_stereo(self) -> bool:
        """Whether the loop follows a pilot."""
        return bool(self._pilot[4])

    @property
    def pilot_level(self) -> float:
        """Level of the pilot. [share of the full deviation]"""
        return max(float(self._pilot[2]), 0.0)

    @property
    def stereo_blend(self) -> float:
        """Share of the difference that is heard: 1 for full stereo, 0 for mono."""
        return float(self._pilot[3])

    def reset(self) -> None:
        """Forget the past, for a gap in the stream: the next sample is sample 0; the FM readings stay."""
        self._previous = 0j
        self._skip = 0
        n_past = self._sum_row.shape[1] - 1
        self._past = np.zeros((2, n_past), dtype=np.float32)
        self._audio_states = np.zeros((2, 2))
        self._pilot = np.zeros(PILOT_STATES)

    def readings(self) -> dict[str, float | bool | None]:
        """What this mode measures: ``is_stereo``, ``pilot_level`` and ``stereo_blend``."""
        return {"is_stereo": self.is_stereo, "pilot_level": self.pilot_level, "stereo_blend": self.stereo_blend}

    def push(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Demodulate the next part of the stream.

        Parameters
        ----------
        iq
            Shape (n,), n >= 0, any level; samples that are not finite count as 0 Hz.

        Returns
        -------
        pcm
            Shape (n_out, 2), left and right, or (n_out,) if not `stereo`: one sample for every IQ sample of the stream
            whose index is a multiple of `decimation`. [full scale = ±1]
        """
        n, n_past = iq.shape[0], self._past.shape[1]
        multiplex = np.empty(n_past + n, dtype=np.float32)
        multiplex[:n_past] = self._past[0]
        if n:
            discriminate(iq, self._previous, self._scale, multiplex[n_past:])
            self._previous = complex(iq[-1])
            self._measure(multiplex[n_past:])
        n_out = max(-(-(n - self._skip) // self.decimation), 0)
        left = right = self._filtered(multiplex, self._sum_row, n_out)
        if self.n_audio == 2:
            difference = np.empty_like(multiplex)
            difference[:n_past] = self._past[1]
            track_pilot(
                multiplex, n_past, self._reference_cos, self._reference_sin, self._loop, self._pilot, difference
            )
            self._past[1] = difference[n:]
            side = self._filtered(difference, self._difference_row, n_out)
            left, right = left + side, left - side
        self._past[0] = multiplex[n:]
        self._skip = (self._skip - n) % self.decimation
        if self.n_audio == 1:
            return self._deemphasized(left, 0)
        return np.stack((self._deemphasized(left, 0), self._deemphasized(right, 1)), axis=1)

    def _measure(self, multiplex: NDArray[np.float32]) -> None:
        mean = float(multiplex.mean(dtype=np.float64))
        variance = float(np.square(multiplex).mean(dtype=np.float64)) - mean * mean
        self.frequency_error_hz = mean * self._full_deviation_hz
        self.deviation_hz = math.sqrt(2.0 * max(variance, 0.0)) * self._full_deviation_hz

    def _filtered(self, samples: NDArray[np.float32], row: NDArray[np.float32], n_out: int) -> NDArray[np.float32]:
        """Filter and decimate; the first output's window ends `_skip` samples behind the past."""
        audio = np.zeros(n_out, dtype=np.float32)
        polyphase(samples[self._skip :], row, 1, self.decimation, 0, audio)
        return audio

    def _deemphasized(self, audio: NDArray[np.float32], side: int) -> NDArray[np.float32]:
        pcm = np.empty_like(audio)
        state = self._audio_states[side]
        level_and_deemphasize(audio, state, self._tracking, self._pole, 1.0 - self._pole, pcm)
        return pcm

    def _design_filters(self, sample_rate_hz: float, deemphasis_us: float) -> None:
        """Make the taps of sum and difference, each shape (1, n_taps)."""

        def averaging(frequency_hz: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.sinc(frequency_hz / sample_rate_hz))

        grid_hz = np.arange(_GRID + 1) / _GRID * (AUDIO_HZ + PILOT_HZ) / 2.0
        wanted = 1.0 / np.sqrt(1.0 + np.square(2e-6 * np.pi * grid_hz * deemphasis_us))
        sampled = (1.0 - self._pole) / np.abs(1.0 - self._pole * np.exp(-2j * np.pi * grid_hz / self.audio_rate_hz))
        # A tone of the difference stands on both sides of the subcarrier, and the two are added.
        around = (averaging(2.0 * PILOT_HZ - grid_hz) + averaging(2.0 * PILOT_HZ + grid_hz)) / 2.0
        self._sum_row = _taps(sample_rate_hz, grid_hz, wanted / sampled / averaging(grid_hz))
        self._difference_row = _taps(sample_rate_hz, grid_hz, wanted / sampled / around)


def _reach(sample_rate_hz: float) -> int:
    """Taps on either side of the middle one, by Kaiser's formula (1974)."""
    transition = 2.0 * math.pi * (PILOT_HZ - AUDIO_HZ) / sample_rate_hz
    return math.ceil((ATTENUATION_DB - 7.95) / (2.285 * transition) / 2.0)


def _taps(sample_rate_hz: float, grid_hz: NDArray[np.float64], response: NDArray[np.float64]) -> NDArray[np.float32]:
    """Symmetric taps with a given response up to the end of the grid and none above, under a Kaiser window.

    Parameters
    ----------
    sample_rate_hz
        Rate that the filter runs at.
    grid_hz
        Shape (n_grid,), evenly spaced from 0 to the middle of the transition.
    response
        Shape (n_grid,).

    Returns
    -------
    taps
        Shape (1, n_taps), n_taps a multiple of `_TAPS_STEP`: zeros stand before the first tap.
    """
    reach = _reach(sample_rate_hz)
    places = np.arange(-reach, reach + 1)
    weights = np.full(grid_hz.shape[0], grid_hz[1] / sample_rate_hz)
    weights[[0, -1]] /= 2.0
    taps = 2.0 * np.cos(2.0 * np.pi / sample_rate_hz * np.outer(places, grid_hz)) @ (weights * response)
    taps *= np.kaiser(2 * reach + 1, kaiser_beta(ATTENUATION_DB))
    return np.asarray(np.pad(taps, (-taps.shape[0] % _TAPS_STEP, 0)), dtype=np.float32)[None, :]


def _decimation(sample_rate_hz: float) -> int:
    """Most that the audio can be decimated by; a divisor of a rate that is a whole number."""
    most = int(sample_rate_hz / MIN_AUDIO_RATE_HZ)
    exact = [step for step in range(max(most // 2, 1) + 1, most + 1) if sample_rate_hz % step == 0.0]
    return max(exact, default=most)


def _quiet_power(block_s: float, deemphasis_us: float) -> float:
    """Power that `track_pilot` reads of the noise beside the pilot when the difference's hiss is at `HISS_DBFS`."""
    # What the filters leave of white noise, whose triangles over two blocks have this correlation with their like.
    impulse = np.zeros(round(8.0 * _DRIFT_BLOCKS))
    first, second, drift = 0.0, 0.0, 0.0
    for k in range(impulse.shape[0]):
        first += ((k == 0) - first) / _NOISE_BLOCKS
        second += (first - second) / _NOISE_BLOCKS
        drift += (second - drift) / _DRIFT_BLOCKS
        impulse[k] = second - drift
    left = 2.0 / 3.0 * impulse @ impulse + 1.0 / 3.0 * impulse[:-1] @ impulse[1:]
    # Of noise of the two-sided density S(f) = S(19 kHz) (f / 19 kHz)^2, a block's average has the variance
    # 2 S(19 kHz) / block_s, and the difference's density is S(38 kHz - f) + S(38 kHz + f).
    frequency_hz = np.linspace(0.0, AUDIO_HZ, _GRID)
    density = (np.square(2.0 * PILOT_HZ - frequency_hz) + np.square(2.0 * PILOT_HZ + frequency_hz)) / PILOT_HZ**2
    density /= 1.0 + np.square(2e-6 * np.pi * frequency_hz * deemphasis_us)
    hiss = 2.0 * float(np.mean(density)) * AUDIO_HZ
    return float(10.0 ** (HISS_DBFS / 10.0) / hiss * 2.0 / block_s * left)


def _pilot_loop(sample_rate_hz: float, n_block: int, deemphasis_us: float) -> PilotLoop:
    block_s = n_block / sample_rate_hz

    def gains(natural_hz: float) -> tuple[float, float]:
        """Gains of a loop that is critically damped; the integral one corrects the step of each sample."""
        natural = 2.0 * math.pi * natural_hz * block_s
        return 2.0 * natural, natural**2 / n_block

    acquire, track = gains(_ACQUIRE_HZ), gains(_TRACK_HZ)
    return PilotLoop(
        step=2.0 * math.pi * PILOT_HZ / sample_rate_hz,
        max_detune=2.0 * math.pi * _MAX_DETUNE_HZ / sample_rate_hz,
        acquire_proportional=acquire[0],
        acquire_integral=acquire[1],
        track_proportional=track[0],
        track_integral=track[1],
        level_share=-math.expm1(-block_s / _LEVEL_S),
        lock_level=LOCK_LEVEL,
        unlock_level=UNLOCK_LEVEL,
        blend_step=block_s / _BLEND_S,
        noise_share=1.0 / _NOISE_BLOCKS,
        drift_share=1.0 / _DRIFT_BLOCKS,
        power_share=-math.expm1(-block_s / _NOISE_S),
        n_wait=_SETTLE_S / block_s,
        quiet_power=_quiet_power(block_s, deemphasis_us),
    )
