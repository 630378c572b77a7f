"""The channels of one receiver: blocks of IQ in, blocks of audio out.

Convention: the audio of a channel is counted on the stream's own clock. Audio sample ``p`` stands at stream time
``p / audio_rate_hz``, and IQ sample ``s`` at ``s / sample_rate_hz``, so where samples were lost the audio's index
jumps by the time that was lost, and the two counts never drift apart. The filters' delay is taken out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Annotated, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import ConfigError
from app_core.demod.demodulator import Mode, make_demodulator
from app_core.dsp.channelizer import MAX_BANDWIDTH_SHARE, Channelizer, ChannelSpec
from app_core.dsp.frame_plan import exact_rate
from app_core.dsp.measure import constant_envelope_snr_db, power_dbfs
from app_core.dsp.resampler import Resampler

_log = logging.getLogger(__name__)

MIN_CHANNEL_RATE_HZ = 24_000
"""Rate of a channel's IQ; wider channels take a multiple of `_RATE_STEP_HZ`."""

_RATE_STEP_HZ = 8_000
_AUDIO_PASSBAND_HZ = 5_000.0
_AUDIO_STOPBAND_SHARE = 1.35
_NARROW_PASSBAND_SHARE = 0.425

_SAME_RATE = 1e-4
"""Rates that differ by less than this share are one rate, measured twice."""

_SAME_FREQUENCY_HZ = 1.0

_BROKEN = 1e6
"""No sample is this far above full scale: such samples, NaN and infinite ones are taken as 0."""

_READING_S = 0.5
"""Time constant of the readings."""


class ChannelConfig(BaseModel):
    """One channel to receive.

    Attributes
    ----------
    id
        Name in keys and messages.
    receiver_id
        Receiver whose capture holds the channel.
    frequency_hz
        Carrier.
    mode
        Modulation.
    bandwidth_hz
        Width of the channel filter.
    deviation_hz
        Deviation that gives audio of ±1.
    audio_rate_hz
        Rate of the audio.
    name
        For people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    id: Annotated[str, Field(min_length=1)]
    receiver_id: Annotated[str, Field(min_length=1)]
    frequency_hz: Annotated[float, Field(gt=0)]
    mode: Mode = Mode.NFM
    bandwidth_hz: Annotated[float, Field(ge=5_000, le=50_000)] = 16_000.0
    deviation_hz: Annotated[float, Field(gt=0, le=50_000)] = 5_000.0
    audio_rate_hz: Annotated[int, Field(ge=8_000, le=96_000)] = 24_000
    name: str = ""


class ChannelLevels(TypedDict):
    """Readings of one channel, averaged over about half a second: JSON numbers, never NaN."""

    level_dbfs: float
    snr_db: float
    frequency_error_hz: float
    deviation_hz: float


class ChannelBank:
    """Demodulate all channels of one receiver, as a stream.

    The filters are built on the first block, and built again only when `config_epoch`, the sample rate or the centre
    frequency really changes. One thread at a time.

    Parameters
    ----------
    configs
        The channels, any number; all of one receiver.

    Attributes
    ----------
    out_of_band
        Ids of the channels that the present capture does not hold; they give no audio.

    Raises
    ------
    ConfigError
        If two channels have one id, or not all are of one receiver.
    """

    def __init__(self, configs: Sequence[ChannelConfig]) -> None:
        ids = [config.id for config in configs]
        if len(set(ids)) != len(ids):
            twice = sorted({name for name in ids if ids.count(name) > 1})
            raise ConfigError(f"channel id used twice: {', '.join(twice)}; give every channel its own id")
        if len({config.receiver_id for config in configs}) > 1:
            raise ConfigError("the channels of one bank are of one receiver; make a bank for each receiver")
        self._configs = tuple(configs)
        # The blocks that the filters were built for and that came last, without their samples.
        self._built: IqBlock | None = None
        self._last: IqBlock | None = None
        self._rate = Fraction(1)
        self._expected = 0
        self._channelizer = Channelizer(1.0, [])
        self._channels: list[_Channel] = []
        self.out_of_band: tuple[str, ...] = ()

    def push(self, block: IqBlock) -> list[tuple[str, PcmBlock]]:
        """Demodulate the next block.

        Parameters
        ----------
        block
            The next samples of the receiver. A jump of `first_sample` ends one piece of the stream and begins
            another; samples that are NaN, infinite or absurd count as 0.

        Returns
        -------
        audio
            Channel ids and their audio, in the order of the configuration. A channel is missing when no audio came
            out, and stands twice where the stream was cut: the end of the old piece, then the beginning of the new.
        """
        audio: list[tuple[str, PcmBlock]] = []
        if self._built is None or _rebuild_needed(self._built, block):
            audio += self.flush()
            self._build(block)
        elif block.first_sample != self._expected:
            audio += self.flush()
            self._begin(block)
        self._last = replace(block, iq=block.iq[:0].copy())
        self._expected = block.first_sample + block.iq.shape[0]
        if self._channels:
            audio += self._emit(self._channelizer.push(_finite(block.iq)))
        return audio

    def flush(self) -> list[tuple[str, PcmBlock]]:
        """End the stream: return the audio that still is in the filters; the next block begins a new piece.

        Returns
        -------
        audio
            As from `push`; the audio then reaches to the end of the last block.
        """
        if not self._channels:
            return []
        audio = self._emit(self._channelizer.flush(), last=True)
        # No block begins here, so the next one is a jump and begins its own piece.
        self._expected = -1
        return audio

    def levels(self) -> dict[str, ChannelLevels]:
        """Readings of the channels that the capture holds, by id; empty before the first audio."""
        return {channel.config.id: channel.levels() for channel in self._channels if channel.heard}

    def _build(self, block: IqBlock) -> None:
        self._built = replace(block, iq=block.iq[:0].copy())
        self._rate = exact_rate(block.sample_rate_hz)
        fitting = [config for config in self._configs if _fits(config, block)]
        missing = [config for config in self._configs if config not in fitting]
        if missing and tuple(config.id for config in missing) != self.out_of_band:
            _log.warning(
                "not in the capture of %.3f kHz around %.4f MHz: %s",
                block.sample_rate_hz / 1e3,
                block.center_frequency_hz / 1e6,
                ", ".join(f"{config.id} ({config.frequency_hz / 1e6:.4f} MHz)" for config in missing),
            )
        self.out_of_band = tuple(config.id for config in missing)
        specs = [
            ChannelSpec(c.frequency_hz - block.center_frequency_hz, c.bandwidth_hz, _channel_rate_hz(c.bandwidth_hz))
            for c in fitting
        ]
        self._channelizer = Channelizer(float(self._rate), specs)
        self._channels = [_Channel(config) for config in fitting]
        self._begin(block)

    def _begin(self, block: IqBlock) -> None:
        """Start a piece of the stream with `block`."""
        self._channelizer.reset()
        for channel in self._channels:
            channel.begin(block.first_sample / self._rate)

    def _emit(self, streams: list[NDArray[np.complex64]], last: bool = False) -> list[tuple[str, PcmBlock]]:
        last_block = self._last
        assert last_block is not None  # noqa: S101  (only called behind the first block)
        end_s = self._expected / self._rate
        audio = []
        for channel, iq in zip(self._channels, streams, strict=True):
            first_sample, pcm = channel.push(iq, end_s if last else None)
            if pcm.shape[0] == 0:
                continue
            rate = channel.config.audio_rate_hz
            after_s = float(Fraction(first_sample, rate) - last_block.first_sample / self._rate)
            timestamp = last_block.timestamp + after_s
            block = PcmBlock(pcm, float(rate), first_sample, timestamp, last_block.config_epoch)
            audio.append((channel.config.id, block))
        return audio


class _Channel:
    """What lies behind the filter bank for one channel: demodulator, audio filter, count of samples, readings."""

    def __init__(self, config: ChannelConfig) -> None:
        self.config = config
        rate_hz = _channel_rate_hz(config.bandwidth_hz)
        self._iq_rate_hz = rate_hz
        self._demodulator = make_demodulator(config.mode, rate_hz, config.deviation_hz)
        passband_hz = min(_AUDIO_PASSBAND_HZ, _NARROW_PASSBAND_SHARE * config.audio_rate_hz)
        self._filter: Resampler[np.float32] = Resampler(
            Fraction(config.audio_rate_hz, rate_hz),
            passband_hz / rate_hz,
            _AUDIO_STOPBAND_SHARE * passband_hz / rate_hz,
            np.float32,
        )
        self._next_sample = 0
        self.heard = False
        # Means of |z|², |z|⁴, of the frequency and of its square about the mean.
        self._means = np.zeros(4)

    def begin(self, start_s: Fraction) -> None:
        """Start a piece of the stream at stream time `start_s`."""
        self._demodulator.reset()
        self._filter.reset()
        self._next_sample = round(start_s * self.config.audio_rate_hz)

    def push(self, iq: NDArray[np.complex64], end_s: Fraction | None) -> tuple[int, NDArray[np.float32]]:
        """Demodulate; where the piece ends at `end_s`, give all audio up to it. Returns the first index and audio."""
        pcm = self._filter.push(self._demodulator.push(iq))
        first_sample = self._next_sample
        if end_s is not None:
            pcm = np.concatenate((pcm, self._filter.flush()))
            pcm = pcm[: max(round(end_s * self.config.audio_rate_hz) - first_sample, 0)]
        self._next_sample += pcm.shape[0]
        if iq.shape[0]:
            self._read(iq)
        return first_sample, pcm

    def levels(self) -> ChannelLevels:
        """The readings."""
        second, fourth, frequency_hz, variance = (float(mean) for mean in self._means)
        return ChannelLevels(
            level_dbfs=power_dbfs(second),
            snr_db=constant_envelope_snr_db(second, fourth),
            frequency_error_hz=frequency_hz,
            deviation_hz=math.sqrt(2.0 * variance),
        )

    def _read(self, iq: NDArray[np.complex64]) -> None:
        power = np.square(iq.real) + np.square(iq.imag)
        demodulator = self._demodulator
        now = np.array(
            [
                power.mean(dtype=np.float64),
                np.square(power.astype(np.float64)).mean(),
                demodulator.frequency_error_hz,
                demodulator.deviation_hz**2 / 2.0,
            ]
        )
        share = 1.0 - math.exp(-iq.shape[0] / (self._iq_rate_hz * _READING_S)) if self.heard else 1.0
        self._means += share * (now - self._means)
        self.heard = True


def _channel_rate_hz(bandwidth_hz: float) -> int:
    steps = math.ceil(bandwidth_hz / MAX_BANDWIDTH_SHARE / _RATE_STEP_HZ)
    return max(steps * _RATE_STEP_HZ, MIN_CHANNEL_RATE_HZ)


def _fits(config: ChannelConfig, block: IqBlock) -> bool:
    """Whether the capture holds the whole channel."""
    reach_hz = abs(config.frequency_hz - block.center_frequency_hz) + config.bandwidth_hz / 2.0
    return reach_hz <= block.sample_rate_hz / 2.0 and _channel_rate_hz(config.bandwidth_hz) <= block.sample_rate_hz


def _rebuild_needed(built: IqBlock, block: IqBlock) -> bool:
    return (
        block.config_epoch != built.config_epoch
        or abs(block.sample_rate_hz / built.sample_rate_hz - 1.0) > _SAME_RATE
        or abs(block.center_frequency_hz - built.center_frequency_hz) > _SAME_FREQUENCY_HZ
    )


def _finite(iq: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """`iq` itself where all of it is sane, else a copy with the broken samples at 0."""
    if iq.shape[0] == 0:
        return iq
    components = np.ascontiguousarray(iq).view(np.float32)
    # Both are False for NaN.
    if components.max() < _BROKEN and components.min() > -_BROKEN:
        return iq
    sane = np.abs(components.reshape(-1, 2)).max(axis=1) < _BROKEN
    return np.where(sane, iq, np.complex64(0))
