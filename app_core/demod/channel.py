"""The channels of one receiver: blocks of IQ in, blocks of audio out.

Convention: the audio of a channel is counted on the stream's own clock. Audio sample ``p`` stands at stream time
``p / audio_rate_hz``, and IQ sample ``s`` at ``s / sample_rate_hz``, so where samples were lost the audio's index
jumps by the time that was lost, and the two counts never drift apart. The filters' delay is taken out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import ConfigError
from app_core.demod.chain import (
    MIN_CHANNEL_RATE_HZ,
    RATE_STEP_HZ,
    Chain,
    ChannelLevels,
    channel_rate_hz,
    kind_of,
    spec_of,
)
from app_core.demod.channel_config import ChannelConfig
from app_core.dsp._stack_kernels import copy_sane, deal_sane, turn_rows, unfold_bins
from app_core.dsp._zoom_kernels import zoom_samples
from app_core.dsp.capture_frame import Loops
from app_core.dsp.channelizer import Channelizer, ChannelSpec
from app_core.dsp.frame_plan import exact_rate

__all__ = ["MIN_CHANNEL_RATE_HZ", "ChannelBank", "ChannelConfig", "ChannelLevels", "misfit"]

_log = logging.getLogger(__name__)

_KINDS = (ChannelSpec(0.0, 16_000.0, 24_000.0), ChannelSpec(0.0, 1.0, RATE_STEP_HZ))
"""What the frames are laid out for: channels whose filters fall within `chain.TRANSITION_HZ`, which both of these do,
and whose rates are multiples of `RATE_STEP_HZ`. So the frames depend on the capture alone, and not on the channels."""

_SAME_RATE = 1e-4
"""Rates that differ by less than this share are one rate, measured twice."""

_SAME_FREQUENCY_HZ = 1.0

_BROKEN = 1e6
"""No sample is this far above full scale: such samples, NaN and infinite ones are taken as 0."""

_PART_SAMPLES = 1 << 17
"""A larger block is taken in parts: what is made of a part stays in the inner caches."""

_NOTHING: NDArray[np.complex64] = np.zeros(0, dtype=np.complex64)


class ChannelBank:
    """Demodulate all channels of one receiver, as a stream.

    The filters are built on the first block, and built again only when `config_epoch`, the sample rate or the centre
    frequency really changes. One thread at a time.

    Parameters
    ----------
    configs
        The channels, any number; all of one receiver.
    listen
        Whether `take_listening` will be called after each `push`, `flush` and `configure`.

    Attributes
    ----------
    misfits
        Why the present capture does not hold a channel, in words, by its id; such channels give no audio.

    Raises
    ------
    ConfigError
        If two channels have one id, or not all are of one receiver.
    """

    def __init__(self, configs: Sequence[ChannelConfig], *, listen: bool = False) -> None:
        _check(configs)
        self._configs = tuple(configs)
        self._listens = listen
        self._listening: list[tuple[str, PcmBlock]] = []
        # The blocks that the filters were built for and that came last, without their samples.
        self._built: IqBlock | None = None
        self._last: IqBlock | None = None
        self._rate = Fraction(1)
        # Where this piece of the stream began, and where the next block of it begins; -1 between two pieces.
        self._began = 0
        self._expected = -1
        self._channelizer = Channelizer(1.0)
        self._chains: list[Chain] = []
        self.misfits: dict[str, str] = {}

    @property
    def out_of_band(self) -> tuple[str, ...]:
        """Ids of `misfits`."""
        return tuple(self.misfits)

    def configure(self, configs: Sequence[ChannelConfig]) -> list[tuple[str, PcmBlock]]:
        """Receive other channels from the next sample on.

        A channel that stays as it is goes on as if nothing had happened, bit for bit; so does one of which only the
        name, the squelch or the loudness changes. Any other change ends a channel and begins another.

        Parameters
        ----------
        configs
            All channels, as for the class.

        Returns
        -------
        audio
            The last audio of the channels that end, up to the end of the last block: ids and audio, as from `push`.

        Raises
        ------
        ConfigError
            As for the class; then nothing has changed.
        """
        _check(configs)
        before = {config.reception for chain in self._chains for config in chain.configs}
        wanted = {config.reception: config for config in configs}
        ended = self._end_channels(set(wanted))
        for chain in self._chains:
            chain.rename([wanted[config.reception] for config in chain.configs])
        self._configs = tuple(configs)
        if self._built is not None:
            fitting = self._fitting(self._built)
            self._add_channels([config for config in fitting if config.reception not in before], self._built)
        return ended

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
        self._last = _without_samples(block)
        self._expected = block.first_sample + block.iq.shape[0]
        # Read-only, as samples from a message are: a kernel is compiled for the one kind or for the other.
        iq = np.ascontiguousarray(block.iq).view()
        iq.flags.writeable = False
        # Without any channel too: one that comes later begins with what was before it, and not with a click.
        for start in range(0, iq.shape[0], _PART_SAMPLES):
            self._hear(self._channelizer.push_stacks(iq[start : start + _PART_SAMPLES]))
        return audio + self._collect(self._chains)

    def flush(self) -> list[tuple[str, PcmBlock]]:
        """End the stream: return the audio that still is in the filters; the next block begins a new piece.

        Returns
        -------
        audio
            As from `push`; the audio then reaches to the end of the last block.
        """
        if self._expected >= 0:
            self._hear(self._channelizer.flush_stacks())
            for chain in self._chains:
                chain.end(self._expected / self._rate)
        # No block begins here, so the next one is a jump and begins its own piece.
        self._expected = -1
        return self._collect(self._chains)

    def take_listening(self) -> list[tuple[str, PcmBlock]]:
        """Give what people hear since the last time, of the channels of which they hear something else.

        Each block stands for the one of the same channel, first sample and epoch that `push` gave: in stereo, or with
        silence where the squelch is closed. The decoder is given the other.
        """
        listening, self._listening = self._listening, []
        return listening

    def levels(self) -> dict[str, ChannelLevels]:
        """Readings of the channels that the capture holds, by id; empty before the first audio."""
        return {
            config.id: chain.levels(row)
            for chain in self._chains
            if chain.heard
            for row, config in enumerate(chain.configs)
        }

    def _build(self, block: IqBlock) -> None:
        self._built = _without_samples(block)
        self._rate = exact_rate(block.sample_rate_hz)
        kinds = [kind for kind in _KINDS if kind.output_rate_hz <= self._rate]
        fitting = self._fitting(block)
        self._channelizer = Channelizer(
            float(self._rate),
            kinds=kinds,
            loops=Loops(_copy, turn_rows, _deal, unfold_bins, _zoom),
            expected=[spec_of(config, block.center_frequency_hz) for config in fitting],
        )
        self._chains = []
        self._begin(block)
        self._add_channels(fitting, block)

    def _begin(self, block: IqBlock) -> None:
        """Start a piece of the stream with `block`."""
        self._began = self._expected = block.first_sample
        self._channelizer.reset()
        for chain in self._chains:
            chain.begin(block.first_sample / self._rate)

    def _fitting(self, block: IqBlock) -> list[ChannelConfig]:
        """Channels that the capture holds; the others are noted, and told of when they are others than before."""
        reasons = {
            config.id: misfit(config, block.sample_rate_hz, block.center_frequency_hz) for config in self._configs
        }
        misfits = {channel_id: reason for channel_id, reason in reasons.items() if reason}
        if misfits and misfits != self.misfits:
            told = "; ".join(f"{channel_id}: {reason}" for channel_id, reason in misfits.items())
            _log.warning("channels that are not heard: %s", told)
        # Another thread may be looking at the one before.
        self.misfits = misfits
        return [config for config in self._configs if config.id not in misfits]

    def _add_channels(self, configs: Sequence[ChannelConfig], built: IqBlock) -> None:
        """Begin channels with the next sample."""
        n_in = self._expected - self._began if self._expected >= 0 else 0
        for kind in dict.fromkeys(kind_of(config) for config in configs):
            members = [config for config in configs if kind_of(config) == kind]
            keys = self._channelizer.add([spec_of(config, built.center_frequency_hz) for config in members])
            chain = Chain(members, keys, listen=self._listens)
            # The filter bank's first output is the first that does not stand before the next input.
            rate_hz = channel_rate_hz(members[0])
            first_output = -(-n_in * rate_hz // self._rate)
            chain.begin(self._began / self._rate + Fraction(first_output, rate_hz))
            self._chains.append(chain)

    def _end_channels(self, kept: set[ChannelConfig]) -> list[tuple[str, PcmBlock]]:
        """End all channels but those that are received as `kept` say; return their last audio."""
        ended, chains = [], []
        for chain in self._chains:
            is_kept = [config.reception in kept for config in chain.configs]
            for key in (key for key, stays in zip(chain.keys, is_kept, strict=True) if not stays):
                iq = self._channelizer.remove(key)
                if self._expected >= 0:
                    alone = chain.take([key])
                    alone.push(iq[None])
                    alone.end(self._expected / self._rate)
                    ended.append(alone)
            keys = [key for key, stays in zip(chain.keys, is_kept, strict=True) if stays]
            if keys:
                chains.append(chain if len(keys) == len(chain.keys) else chain.take(keys))
        self._chains = chains
        return self._collect(ended)

    def _hear(self, stacks: Iterable[tuple[list[int], NDArray[np.complex64]]]) -> None:
        # A chain is a stack of the filter bank: both came by one call of its `add`, and lose channels together.
        for chain, (_, iq) in zip(self._chains, stacks, strict=True):
            chain.push(iq)

    def _collect(self, chains: Sequence[Chain]) -> list[tuple[str, PcmBlock]]:
        """Audio of chains as blocks, in the order of the configuration."""
        last_block = self._last
        audio: list[tuple[str, PcmBlock]] = []
        for chain in chains:
            first_sample, pcm, listening = chain.collect()
            if last_block is None or pcm.shape[1] == 0:
                continue
            rate_hz = chain.configs[0].audio_rate_hz
            # In whole numbers, of which the difference is exact however long the stream.
            parts = first_sample * self._rate.numerator - last_block.first_sample * self._rate.denominator * rate_hz
            after_s = parts / (rate_hz * self._rate.numerator)
            timestamp, epoch = last_block.timestamp + after_s, last_block.config_epoch
            audio += [
                (config.id, PcmBlock(row, float(rate_hz), first_sample, timestamp, epoch))
                for config, row in zip(chain.configs, pcm, strict=True)
            ]
            self._listening += [
                (config.id, PcmBlock(heard, float(rate_hz), first_sample, timestamp, epoch))
                for config, heard in zip(chain.configs, listening, strict=True)
                if heard is not None
            ]
        if len(chains) > 1:
            places = {config.id: place for place, config in enumerate(self._configs)}
            audio.sort(key=lambda pair: places[pair[0]])
        return audio


def _copy(target: NDArray[np.complex64], source: NDArray[np.complex64]) -> None:
    copy_sane(target, source, _BROKEN)


def _deal(rows: NDArray[np.complex64], place: int, source: NDArray[np.complex64]) -> None:
    deal_sane(rows, place, source, _BROKEN)


def _zoom(
    parts: NDArray[np.float32], taps: NDArray[np.float32], decimation: int, zoomed: NDArray[np.complex64]
) -> bool:
    return bool(zoom_samples(parts, taps, decimation, _BROKEN, zoomed))


def _check(configs: Sequence[ChannelConfig]) -> None:
    """Raise `ConfigError` if these cannot be the channels of one bank."""
    ids = [config.id for config in configs]
    if len(set(ids)) != len(ids):
        twice = sorted({name for name in ids if ids.count(name) > 1})
        raise ConfigError(f"channel id used twice: {', '.join(twice)}; give every channel its own id")
    if len({config.receiver_id for config in configs}) > 1:
        raise ConfigError("the channels of one bank are of one receiver; make a bank for each receiver")


def misfit(config: ChannelConfig, sample_rate_hz: float, center_frequency_hz: float) -> str:
    """Say in words why a capture does not hold a channel, all of it; empty where it does."""
    width_hz, least_hz = config.channel_bandwidth_hz, channel_rate_hz(config)
    if least_hz > sample_rate_hz:
        width, wherever = f"{width_hz / 1e3:g} kHz", "wherever the receiver is tuned to"
        if width_hz > sample_rate_hz:
            received = f"all that is received, {sample_rate_hz / 1e3:g} kHz"
            return f"{width} are wider than {received}: it needs {least_hz} samples a second, {wherever}"
        return f"{width} with a filter's edges need {least_hz} samples a second, not {sample_rate_hz:.0f}, {wherever}"
    low_hz, high_hz = center_frequency_hz - sample_rate_hz / 2.0, center_frequency_hz + sample_rate_hz / 2.0
    if low_hz <= config.frequency_hz - width_hz / 2.0 and config.frequency_hz + width_hz / 2.0 <= high_hz:
        return ""
    band = f"the received band, {low_hz / 1e6:.4f} to {high_hz / 1e6:.4f} MHz"
    if low_hz <= config.frequency_hz <= high_hz:
        return f"{config.frequency_hz / 1e6:.4f} MHz is so near the edge that a part of it lies outside {band}"
    return f"{config.frequency_hz / 1e6:.4f} MHz lies outside {band}"


def _rebuild_needed(built: IqBlock, block: IqBlock) -> bool:
    return (
        block.config_epoch != built.config_epoch
        or abs(block.sample_rate_hz / built.sample_rate_hz - 1.0) > _SAME_RATE
        or abs(block.center_frequency_hz - built.center_frequency_hz) > _SAME_FREQUENCY_HZ
    )


def _without_samples(block: IqBlock) -> IqBlock:
    return IqBlock(
        _NOTHING,
        block.sample_rate_hz,
        block.center_frequency_hz,
        block.first_sample,
        block.timestamp,
        block.config_epoch,
    )
