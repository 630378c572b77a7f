"""Recorded IQ to headers: every channel that is asked for is demodulated as NFM and decoded on its own.

Channels are radio frequencies here, and what two of them say is two facts: it is never told as one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from app_core.audio.heard import Heard, Step, clock_of_file, messages
from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import ConfigError, WireError
from app_core.base.iq_file import IqFile, IqFormat, open_iq_file
from app_core.demod.channel import MIN_CHANNEL_RATE_HZ, ChannelBank, ChannelConfig
from app_core.eas.listener import SameListener

NWR_CHANNELS_HZ = tuple(162_400_000.0 + 25_000.0 * number for number in range(7))
"""The seven channels of NOAA Weather Radio, of Canada's Weatheradio and of SASMEX."""

_BLOCK_S = 0.25
_LARGEST_BLOCK = 1 << 22  # samples
_BANDWIDTH_HZ = 16_000.0
_SAMPLE_BYTES: dict[IqFormat, int] = {"cf32": 8, "cs16": 4, "cu8": 2}


class IqSource(Protocol):
    """IQ that is read from its beginning to its end.

    Attributes
    ----------
    sample_rate_hz, center_frequency_hz
        Of all of it.
    duration_s
        None when it is not known. [seconds]
    """

    sample_rate_hz: float
    center_frequency_hz: float
    duration_s: float | None

    def read(self, n_samples: int) -> NDArray[np.complex64]:
        """Read on, shape (n,), 0 <= n <= n_samples; n is 0 only at the end. [full scale = 1]"""


class IqFileSource:
    """A SigMF recording or a raw file."""

    def __init__(self, iq_file: IqFile) -> None:
        self._iq_file = iq_file
        self._position = 0
        self.sample_rate_hz = iq_file.sample_rate_hz
        self.center_frequency_hz = iq_file.center_frequency_hz
        self.duration_s: float | None = iq_file.n_samples / iq_file.sample_rate_hz

    def read(self, n_samples: int) -> NDArray[np.complex64]:
        """As `IqSource.read`."""
        iq = np.empty(n_samples, np.complex64)
        n_read = self._iq_file.read_into(iq, self._position)
        self._position += n_read
        return iq[:n_read]


class RawIqReader:
    """Raw IQ from a pipe.

    Parameters
    ----------
    descriptor
        Open file descriptor; it stays open.
    iq_format, sample_rate_hz, center_frequency_hz
        As for `open_iq_file`.
    """

    duration_s: float | None = None

    def __init__(self, descriptor: int, iq_format: IqFormat, sample_rate_hz: float, center_frequency_hz: float) -> None:
        self._descriptor = descriptor
        self._format = iq_format
        self.sample_rate_hz = sample_rate_hz
        self.center_frequency_hz = center_frequency_hz

    def read(self, n_samples: int) -> NDArray[np.complex64]:
        """As `IqSource.read`; waits for all samples. A part of a sample at the end is left out."""
        wanted = n_samples * _SAMPLE_BYTES[self._format]
        pieces: list[bytes] = []
        while wanted and (piece := os.read(self._descriptor, wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        received = b"".join(pieces)
        n_whole = len(received) // _SAMPLE_BYTES[self._format]
        if self._format == "cf32":
            components = np.frombuffer(received, "<f4", count=2 * n_whole).astype(np.float32)
        elif self._format == "cs16":
            components = np.frombuffer(received, "<i2", count=2 * n_whole) * np.float32(1 / 32768)
        else:
            components = (np.frombuffer(received, "u1", count=2 * n_whole) - np.float32(127.5)) / np.float32(127.5)
        return components.view(np.complex64)


class IqRecording:
    """IQ and the channels that are decoded from it.

    Parameters
    ----------
    source
        The IQ.
    channels_hz
        Frequencies; empty for every NWR channel in the band.
    began_at, clock
        As for `Recording`.

    Attributes
    ----------
    duration_s, began_at, clock
        As for `Recording`.
    channels_hz
        What is decoded.

    Raises
    ------
    ConfigError
        If a frequency lies outside the band, the band holds no NWR channel and none other is asked for, or the rate
        is too low for any channel.
    """

    def __init__(
        self, source: IqSource, channels_hz: Sequence[float], began_at: datetime | None, clock: datetime
    ) -> None:
        self._source = source
        self.duration_s = source.duration_s
        self.began_at = began_at
        self.clock = clock
        self.channels_hz = choose_channels(source.center_frequency_hz, source.sample_rate_hz, channels_hz)
        self._bank = ChannelBank(
            [
                ChannelConfig(
                    id=channel_name(frequency_hz),
                    receiver_id="recording",
                    frequency_hz=frequency_hz,
                    bandwidth_hz=_BANDWIDTH_HZ,
                )
                for frequency_hz in self.channels_hz
            ]
        )
        self._decoders: dict[str, SameListener] = {}
        self._audio_rate_hz = 1.0
        self._frequencies_hz = {channel_name(frequency_hz): frequency_hz for frequency_hz in self.channels_hz}

    def steps(self) -> Iterator[Step]:
        """As `Recording.steps`."""
        source = self._source
        rate_hz = source.sample_rate_hz
        n_block = max(1, min(round(_BLOCK_S * rate_hz), _LARGEST_BLOCK))
        began_s = 0.0 if self.began_at is None else self.began_at.timestamp()
        epoch = time.time_ns()
        position = 0
        while len(iq := source.read(n_block)):
            block = IqBlock(iq, rate_hz, source.center_frequency_hz, position, began_s + position / rate_hz, epoch)
            heard = self._decode(self._bank.push(block))
            position += len(iq)
            yield Step(position / rate_hz, tuple(heard))
        heard = self._decode(self._bank.flush())
        for name, decoder in self._decoders.items():
            heard += messages(decoder.finish(), (name,), self._audio_rate_hz, self._frequencies_hz[name])
        yield Step(position / rate_hz, tuple(sorted(heard, key=lambda one: one.start_s)))

    def close(self) -> None:
        """As `Recording.close`; a mapped file goes with its last reference."""

    def _decode(self, audio: list[tuple[str, PcmBlock]]) -> list[Heard]:
        heard: list[Heard] = []
        for name, block in audio:
            if name not in self._decoders:
                self._decoders[name] = SameListener(block.sample_rate_hz)
                self._audio_rate_hz = block.sample_rate_hz
            events = self._decoders[name].push(block.pcm)
            heard += messages(events, (name,), block.sample_rate_hz, self._frequencies_hz[name])
        return heard


def channel_name(frequency_hz: float) -> str:
    """Name a radio channel: ``162.550 MHz``."""
    text = f"{frequency_hz / 1e6:.6f}".rstrip("0")
    whole, _, decimals = text.partition(".")
    return f"{whole}.{decimals:0<3} MHz"


def choose_channels(
    center_frequency_hz: float, sample_rate_hz: float, channels_hz: Sequence[float]
) -> tuple[float, ...]:
    """Give the channels to decode, in order and each once; without any wish every NWR channel in the band.

    Raises
    ------
    ConfigError
        As `IqRecording`.
    """
    if sample_rate_hz < MIN_CHANNEL_RATE_HZ:
        raise ConfigError(f"{sample_rate_hz:g} samples per second are too few: a channel needs {MIN_CHANNEL_RATE_HZ}")
    low_hz, high_hz = center_frequency_hz - sample_rate_hz / 2.0, center_frequency_hz + sample_rate_hz / 2.0
    band = f"{low_hz / 1e6:.4f} to {high_hz / 1e6:.4f} MHz"

    def fits(frequency_hz: float) -> bool:
        return low_hz + _BANDWIDTH_HZ / 2.0 <= frequency_hz <= high_hz - _BANDWIDTH_HZ / 2.0

    outside = [channel_name(frequency_hz) for frequency_hz in channels_hz if not fits(frequency_hz)]
    if outside:
        raise ConfigError(f"{', '.join(outside)}: outside the recorded band of {band}")
    chosen = tuple(dict.fromkeys(channels_hz)) or tuple(hz for hz in NWR_CHANNELS_HZ if fits(hz))
    if not chosen:
        raise ConfigError(f"no NWR channel lies in the recorded band of {band}: name a channel with --channel HZ")
    return chosen


def open_iq_recording(
    path: Path,
    *,
    iq_format: IqFormat | None,
    sample_rate_hz: float | None,
    center_frequency_hz: float | None,
    channels_hz: Sequence[float] = (),
) -> IqRecording:
    """Open a SigMF recording or a raw file.

    Raises
    ------
    ConfigError, DeviceError
        As `open_iq_file` and `IqRecording`.
    """
    iq_file = open_iq_file(
        path, iq_format=iq_format, sample_rate_hz=sample_rate_hz, center_frequency_hz=center_frequency_hz
    )
    began_at = recorded_at(path)
    clock = began_at or clock_of_file(iq_file.path.stat().st_mtime)
    return IqRecording(IqFileSource(iq_file), channels_hz, began_at, clock)


def open_raw_iq(
    descriptor: int,
    *,
    iq_format: IqFormat,
    sample_rate_hz: float,
    center_frequency_hz: float,
    channels_hz: Sequence[float] = (),
) -> IqRecording:
    """Open raw IQ that comes from a pipe, taken to be of now.

    Raises
    ------
    ConfigError
        As `IqRecording`.
    """
    source = RawIqReader(descriptor, iq_format, sample_rate_hz, center_frequency_hz)
    return IqRecording(source, channels_hz, None, datetime.now(UTC))


def recorded_at(path: Path) -> datetime | None:
    """Give when the first sample of a SigMF recording was captured, by its ``core:datetime``; None where it is silent.

    Raises
    ------
    WireError
        If it is there and no time.
    """
    metadata_path = metadata_of(path)
    if metadata_path is None:
        return None
    document = orjson.loads(metadata_path.read_bytes())
    captures = document.get("captures") or [{}]
    text = captures[0].get("core:datetime")
    if text is None:
        return None
    try:
        began_at = datetime.fromisoformat(text)
    except (TypeError, ValueError) as error:
        raise WireError(f"core:datetime is not a time: {text!r}") from error
    return began_at.replace(tzinfo=began_at.tzinfo or UTC).astimezone(UTC)


def metadata_of(path: Path) -> Path | None:
    """Give the metadata file of a SigMF recording that is named by either of its files or their stem, else None."""
    if path.suffix in (".sigmf-meta", ".sigmf-data"):
        metadata_path = path.with_suffix(".sigmf-meta")
        return metadata_path if metadata_path.is_file() else None
    metadata_path = path.with_name(path.name + ".sigmf-meta")
    return metadata_path if not path.exists() and metadata_path.is_file() else None
