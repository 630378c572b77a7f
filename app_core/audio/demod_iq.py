"""Recorded IQ to the audio of one channel, and what was measured of it on the way.

Frequencies below `BASEBAND_HZ` are those of a recording that does not know where it was made, with its centre at 0:
they are moved up together, since a channel has a radio frequency. Errors in parts per million are then not known.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app_core.audio.decode_iq import IqSource
from app_core.audio.loudness import LoudnessLeveler
from app_core.base.blocks import PcmBlock
from app_core.base.errors import ConfigError
from app_core.demod.chain import channel_rate_hz, spec_of
from app_core.demod.channel_config import ChannelConfig
from app_core.demod.listening import Listener
from app_core.dsp.channelizer import Channelizer

BASEBAND_HZ = 1e6
"""Nearest to 0 Hz that a channel is taken for a radio channel."""

_MOVED_BY_HZ = 1e9

_BLOCK_S = 0.25
_LARGEST_BLOCK = 1 << 22  # samples
_ABSURD = 1e6

_MEDIANS = ("level_dbfs", "snr_db", "frequency_error_hz", "deviation_hz")

MAX_READINGS = 4096
"""Readings that are kept for the medians; an even number. A stream may last for months."""


class IqDemodulation:
    """Demodulate one channel of a recording from its beginning to its end.

    Parameters
    ----------
    source
        The IQ.
    table
        The channel as in ``[[channels]]``, with a `frequency_hz` of any sign, and without `id` and `receiver_id`.

    Attributes
    ----------
    config
        The channel.
    n_audio
        1 for mono, 2 for stereo.
    duration_s
        Of the recording; None when it is not known. [seconds]

    Raises
    ------
    pydantic.ValidationError
        If the channel is none.
    ConfigError
        If it does not lie within the band, all of it, or cannot be received at the recording's rate, or its loudness
        shall be leveled and the library that measures it is not installed.
    """

    def __init__(self, source: IqSource, table: dict[str, Any]) -> None:
        self._source = source
        self.duration_s = source.duration_s
        frequency_hz = table["frequency_hz"]
        self._is_baseband = frequency_hz < BASEBAND_HZ
        self._moved_by_hz = _MOVED_BY_HZ if self._is_baseband else 0.0
        self.config = ChannelConfig.model_validate(
            {"id": "channel", "receiver_id": "recording"} | table | {"frequency_hz": frequency_hz + self._moved_by_hz}
        )
        low_hz = source.center_frequency_hz - source.sample_rate_hz / 2.0
        high_hz = source.center_frequency_hz + source.sample_rate_hz / 2.0
        half_hz = self.config.channel_bandwidth_hz / 2.0
        if not low_hz <= frequency_hz - half_hz or not frequency_hz + half_hz <= high_hz:
            raise ConfigError(
                f"a channel {2e-3 * half_hz:g} kHz wide at {frequency_hz / 1e6:.10g} MHz does not lie within the "
                f"recorded band of {low_hz / 1e6:.10g} to {high_hz / 1e6:.10g} MHz"
            )
        if source.sample_rate_hz < channel_rate_hz(self.config):
            raise ConfigError(
                f"{source.sample_rate_hz:g} samples a second are too few: "
                f"such a channel needs {channel_rate_hz(self.config)}"
            )
        try:
            self._listener = Listener(self.config, channel_rate_hz(self.config))
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self.n_audio = self._listener.n_audio
        target_lufs = self.config.loudness_lufs
        self._leveler = None if target_lufs is None else LoudnessLeveler(target_lufs)
        self._n_leveled = 0
        self._readings = Thinned()
        self._last_reading: dict[str, Any] = {}

    def steps(self) -> Iterator[tuple[float, NDArray[np.float32]]]:
        """Demodulate, once.

        Yields
        ------
        position_s
            How far the recording has been read. [seconds]
        pcm
            What that brought, shape (n, n_audio), n >= 0. [full scale = ±1]

        Raises
        ------
        HeraldError
            If the rest cannot be read; the steps so far are valid.
        """
        source, listener = self._source, self._listener
        rate_hz, center_hz = source.sample_rate_hz, source.center_frequency_hz + self._moved_by_hz
        channelizer = Channelizer(rate_hz, [spec_of(self.config, center_hz)])
        n_block = max(1, min(round(_BLOCK_S * rate_hz), _LARGEST_BLOCK))
        position = 0
        while len(iq := source.read(n_block)):
            position += len(iq)
            # A sample that is not finite, or absurd, would spoil a whole frame.
            sane = np.where(np.abs(iq) < _ABSURD, iq, np.complex64(0))
            pcm = listener.push(channelizer.push(sane)[0])
            if len(pcm):
                self._last_reading = listener.readings()
                self._readings.add(tuple(self._last_reading.get(name) for name in _MEDIANS))
            yield position / rate_hz, self._leveled(pcm)
        if position:
            last = listener.push(channelizer.flush()[0])
            pcm = np.concatenate((last, listener.flush()))
            yield position / rate_hz, self._leveled(pcm, is_last=True)

    def readings(self) -> dict[str, Any]:
        """Give what was measured: medians over the recording (of `Thinned`); None where nothing was.

        Returns
        -------
        readings
            ``level_dbfs, snr_db, frequency_error_hz, frequency_error_ppm, deviation_hz``; where there is a squelch,
            ``squelch_open_share``, for how much of the time it was open; and what the mode itself last measured.
        """
        measured: dict[str, Any] = dict(self._last_reading)
        for place, name in enumerate(_MEDIANS):
            seen = [value for entry in self._readings.kept if (value := entry[place]) is not None]
            measured[name] = round(statistics.median(seen), 3) if seen else None
        error_hz = measured["frequency_error_hz"]
        is_known = error_hz is not None and not self._is_baseband
        measured["frequency_error_ppm"] = round(1e6 * error_hz / self.config.frequency_hz, 3) if is_known else None
        open_share = self._listener.open_share
        if open_share is not None:
            measured["squelch_open_share"] = round(open_share, 4)
        return measured

    def _leveled(self, pcm: NDArray[np.float32], *, is_last: bool = False) -> NDArray[np.float32]:
        """Bring audio to the loudness that is wanted; what the leveler holds back comes with the next, or the last."""
        leveler = self._leveler
        if leveler is None:
            return pcm
        rate_hz = float(self.config.audio_rate_hz)
        blocks = leveler.push(PcmBlock(pcm, rate_hz, self._n_leveled, self._n_leveled / rate_hz, 1))
        self._n_leveled += len(pcm)
        if is_last:
            blocks += leveler.flush()
        parts = [block.pcm.reshape(-1, self.n_audio) for block in blocks]
        return np.concatenate((np.zeros((0, self.n_audio), dtype=np.float32), *parts))


class Thinned:
    """Some of the entries of a series of any length, evenly spaced from its beginning to its end.

    Attributes
    ----------
    kept
        At most `MAX_READINGS`: every entry of a short series, every second of one longer than that, and so on.
    """

    def __init__(self) -> None:
        self.kept: list[tuple[float | None, ...]] = []
        self._step = 1
        self._n_added = 0

    def add(self, entry: tuple[float | None, ...]) -> None:
        """Take the next entry."""
        if self._n_added % self._step == 0:
            self.kept.append(entry)
        self._n_added += 1
        if len(self.kept) > MAX_READINGS:
            del self.kept[1::2]
            self._step *= 2
