"""What lies behind the filter bank for channels that are alike: demodulator, audio filter, count of samples, readings.

Convention: as of `app_core.demod.channel`. A chain's channels began at the same sample and stay together until they
end; none has a part in another's audio, which is the same, bit for bit, whatever stands beside it.
"""

from __future__ import annotations

import copy
import math
from fractions import Fraction
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from app_core.demod.channel_config import ChannelConfig, Mode
from app_core.demod.channel_squelch import make_meter
from app_core.demod.demodulator import make_stack
from app_core.demod.gate import Gate, has_gate
from app_core.dsp._stack_kernels import track_moments
from app_core.dsp.channelizer import MAX_BANDWIDTH_SHARE, ChannelSpec
from app_core.dsp.measure import constant_envelope_snr_db, power_dbfs
from app_core.dsp.resampler import Resampler

MIN_CHANNEL_RATE_HZ = 24_000
"""Rate of a channel's IQ; wider channels take a multiple of `RATE_STEP_HZ`."""

RATE_STEP_HZ = 8_000

TRANSITION_HZ = 4_000.0
"""Least distance from a channel's pass band to its stop band: the steeper the filter, the more the frames overlap."""

_AUDIO_PASSBAND_HZ = {Mode.WFM: 15_000.0}
_VOICE_PASSBAND_HZ = 5_000.0
_AUDIO_STOPBAND_SHARE = 1.35
_NARROW_PASSBAND_SHARE = 0.425

_READING_S = 0.5
"""Time constant of the readings."""


class ChannelLevels(TypedDict):
    """Readings of one channel, averaged over about half a second: JSON numbers, never NaN; then those of its mode."""

    level_dbfs: float
    snr_db: float
    frequency_error_hz: float | None
    deviation_hz: float
    squelch_db: NotRequired[float]
    squelch_open: NotRequired[bool]
    ctcss_hz: NotRequired[float | None]
    is_stereo: NotRequired[bool]
    pilot_level: NotRequired[float]
    stereo_blend: NotRequired[float]
    gain_db: NotRequired[float | None]
    is_locked: NotRequired[bool]


class Chain:
    """Channels of one kind, from the filter bank's samples to audio.

    Parameters
    ----------
    configs
        The channels; they differ in nothing that `kind_of` names.
    keys
        What the filter bank knows them by.

    Attributes
    ----------
    configs, keys
        As given.
    heard
        Whether there is a reading.

    Notes
    -----
    With `listen`, what people hear is made beside what the decoder hears: stereo, and with a gate (`Gate`).
    """

    def __init__(self, configs: list[ChannelConfig], keys: list[int], *, listen: bool = False) -> None:
        self.configs = configs
        self.keys = keys
        config = configs[0]
        self._iq_rate_hz = channel_rate_hz(config)
        self._audio_rate_hz = config.audio_rate_hz
        self._demodulators = make_stack(config, self._iq_rate_hz, len(configs))
        self._n_audio = self._demodulators.n_audio
        self._listens = listen
        self._gates = [self._make_gate(config) for config in configs]
        rate_hz = Fraction(self._iq_rate_hz, self._demodulators.decimation)
        passband_hz = min(
            _AUDIO_PASSBAND_HZ.get(config.mode, _VOICE_PASSBAND_HZ), _NARROW_PASSBAND_SHARE * config.audio_rate_hz
        )
        self._resampler: Resampler[np.float32] = Resampler(
            config.audio_rate_hz / rate_hz,
            passband_hz / float(rate_hz),
            _AUDIO_STOPBAND_SHARE * passband_hz / float(rate_hz),
            np.float32,
            len(configs) * self._n_audio,
        )
        # What measures the ratio where moments do not tell it, and its mean.
        self._meters = [make_meter(config, self._iq_rate_hz) for config in configs]
        self._snr_db = np.zeros(len(configs))
        self.begin(Fraction(0))
        self.heard = False
        # Of each channel the means of |z|² and |z|⁴, of the frequency error and of the deviation's square.
        self._moments = np.zeros((len(configs), 2))
        self._frequency_hz = np.zeros(len(configs))
        self._squares = np.zeros(len(configs))

    def begin(self, start_s: Fraction) -> None:
        """Start a piece of the stream at stream time `start_s`."""
        self._demodulators.reset()
        self._resampler.reset()
        self._n_in = 0
        for gate in filter(None, self._gates):
            gate.begin()
        for meter in filter(None, self._meters):
            meter.reset()
        self._next_sample = self._first_sample = round(start_s * self._audio_rate_hz)
        # What comes out first stands before the beginning.
        self._n_lead = self._lead = round(self._demodulators.delay_s * self._audio_rate_hz)
        self._heard: list[NDArray[np.float32]] = []

    def push(self, iq: NDArray[np.complex64]) -> None:
        """Demodulate the next part of the stream, shape (n_channels, n)."""
        if iq.shape[1]:
            # Kernels are compiled for whole arrays, not for parts of them.
            iq = np.ascontiguousarray(iq)
            for row, gate in enumerate(self._gates):
                if gate is not None:
                    gate.judge(iq[row])
            self._n_in += iq.shape[1]
            self._add(self._resampler.push(self._demodulate(iq)))
            self._read(iq)

    def end(self, end_s: Fraction) -> None:
        """End the piece of the stream at stream time `end_s`: what can be collected then reaches up to it."""
        n_late = math.ceil(self._demodulators.delay_s * self._iq_rate_hz)
        if n_late:
            zeros = np.zeros((len(self.configs), n_late), dtype=np.complex64)
            self._add(self._resampler.push(self._demodulate(zeros)))
        self._add(self._resampler.flush())
        n_due = max(round(end_s * self._audio_rate_hz) - self._next_sample, 0)
        self._heard = [self._joined()[:, :n_due]]

    def collect(self) -> tuple[int, NDArray[np.float32], list[NDArray[np.float32] | None]]:
        """Give the audio since the last time.

        Returns
        -------
        first_sample
            Index of the first sample of audio.
        pcm
            What the SAME decoder hears, shape (n_channels, n): mono, whatever the squelch says. [full scale = ±1]
        listening
            What people hear of each channel, shape (n,) or (n, 2); None where that is the same, or nobody listens.
        """
        first_sample, audio = self._next_sample, self._joined()
        self._next_sample += audio.shape[1]
        self._heard = []
        pcm = audio if self._n_audio == 1 else audio.mean(axis=0, dtype=np.float32)[None]
        return first_sample, pcm, [self._listening(row, audio, first_sample) for row in range(len(self.configs))]

    def rename(self, configs: list[ChannelConfig]) -> None:
        """Go on with the same channels under settings that differ in nothing but name, squelch and loudness."""
        for row, (old, new) in enumerate(zip(self.configs, configs, strict=True)):
            gate = self._gates[row]
            if new.squelch == old.squelch:
                continue
            if gate is not None and has_gate(new):
                gate.change(new, self._n_in)
            else:
                self._gates[row] = self._make_gate(new, self._n_in)
        self.configs = configs

    def levels(self, row: int) -> ChannelLevels:
        """Readings of one channel."""
        second, fourth = (float(moment) for moment in self._moments[row])
        is_constant = self._meters[row] is None
        has_carrier = self.configs[row].mode not in (Mode.USB, Mode.LSB)
        levels = ChannelLevels(
            level_dbfs=power_dbfs(second),
            snr_db=constant_envelope_snr_db(second, fourth) if is_constant else float(self._snr_db[row]),
            frequency_error_hz=float(self._frequency_hz[row]) if has_carrier else None,
            deviation_hz=math.sqrt(self._squares[row]),
        )
        of_mode: Any = self._demodulators.readings(row)
        levels.update(of_mode)
        gate = self._gates[row]
        if gate is not None:
            of_gate: Any = gate.readings()
            levels.update(of_gate)
        return levels

    def take(self, keys: list[int]) -> Chain:
        """Make a chain that goes on with some of the channels, where this one stands."""
        rows = [self.keys.index(key) for key in keys]
        taken = copy.copy(self)
        taken.keys = keys
        taken.configs = [self.configs[row] for row in rows]
        taken._gates = [self._gates[row] for row in rows]
        taken._demodulators = self._demodulators.take(rows)
        sides = [row * self._n_audio + side for row in rows for side in range(self._n_audio)]
        taken._resampler = self._resampler.take(sides)
        taken._moments, taken._frequency_hz = self._moments[rows], self._frequency_hz[rows]
        taken._squares, taken._snr_db = self._squares[rows], self._snr_db[rows]
        taken._meters = [self._meters[row] for row in rows]
        taken._heard = [audio[sides] for audio in self._heard]
        return taken

    def _add(self, pcm: NDArray[np.float32]) -> None:
        n_dropped = min(self._n_lead, pcm.shape[1])
        self._n_lead -= n_dropped
        self._heard.append(pcm[:, n_dropped:])

    def _joined(self) -> NDArray[np.float32]:
        if len(self._heard) == 1:
            return self._heard[0]
        n_rows = len(self.configs) * self._n_audio
        return np.concatenate((np.zeros((n_rows, 0), dtype=np.float32), *self._heard), axis=1)

    def _make_gate(self, config: ChannelConfig, n_in: int = 0) -> Gate | None:
        if not self._listens or not has_gate(config):
            return None
        return Gate(config, self._iq_rate_hz, self._demodulators.decimation, n_in)

    def _listening(self, row: int, audio: NDArray[np.float32], first_sample: int) -> NDArray[np.float32] | None:
        gate = self._gates[row]
        if not self._listens or (gate is None and self._n_audio == 1):
            return None
        # Stereo channels are alone in their chain.
        sides = audio[row : row + 1] if self._n_audio == 1 else audio
        if gate is not None:
            sides = gate.apply(sides, self._lead + first_sample - self._first_sample)
        return sides[0] if self._n_audio == 1 else np.ascontiguousarray(sides.T)

    def _demodulate(self, iq: NDArray[np.complex64]) -> NDArray[np.float32]:
        """Audio at the demodulators' rate, (n_channels, n) to (n_channels * n_audio, n / decimation)."""
        audio = self._demodulators.push(iq)
        return audio if self._n_audio == 1 else np.ascontiguousarray(audio[0].T)

    def _read(self, iq: NDArray[np.complex64]) -> None:
        share = -math.expm1(-iq.shape[1] / (self._iq_rate_hz * _READING_S)) if self.heard else 1.0
        track_moments(iq, share, self._moments)
        for row, meter in enumerate(self._meters):
            if meter is None:
                continue
            gate = self._gates[row]
            snr_db = None if gate is None else gate.snr_db
            if snr_db is None:
                meter.push(iq[row])
                snr_db = meter.snr_db
            self._snr_db[row] += share * (snr_db - self._snr_db[row])
        self._frequency_hz += share * (self._demodulators.frequency_error_hz - self._frequency_hz)
        self._squares += share * (np.square(self._demodulators.deviation_hz) - self._squares)
        self.heard = True


def kind_of(config: ChannelConfig) -> object:
    """Name what channels must have in common to be in one chain: all that makes narrow FM, or else the id itself."""
    if config.mode is not Mode.NFM:
        return config.id
    return config.bandwidth_hz, config.deviation_hz, config.deemphasis_us, config.audio_rate_hz


def channel_rate_hz(config: ChannelConfig) -> int:
    """Rate of the channel's IQ."""
    width_hz = config.channel_bandwidth_hz
    least_hz = max(width_hz / MAX_BANDWIDTH_SHARE, width_hz + 2.0 * TRANSITION_HZ, MIN_CHANNEL_RATE_HZ)
    return math.ceil(least_hz / RATE_STEP_HZ) * RATE_STEP_HZ


def spec_of(config: ChannelConfig, center_frequency_hz: float) -> ChannelSpec:
    """What the channel takes from a capture."""
    offset_hz = config.frequency_hz - center_frequency_hz
    return ChannelSpec(offset_hz, config.channel_bandwidth_hz, channel_rate_hz(config))
