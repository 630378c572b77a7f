"""One receiver's decoder: its IQ from Redis to the audio and the alerts of its channels, in one thread.

Everything that belongs to a channel is made, changed and ended in that thread, between two blocks; other threads only
ask for it. Their look at the readings may be of the block before.
"""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from app_core.audio.alert_monitor import AlertMonitor, Keeper
from app_core.audio.capture_requests import CaptureRequests
from app_core.audio.carrier_watch import CarrierWatch
from app_core.audio.loudness import LoudnessLeveler
from app_core.audio.redis_sdr_adapter import RedisSDRSourceAdapter
from app_core.base.blocks import PcmBlock
from app_core.base.errors import ConfigError, LifecycleError
from app_core.base.lifecycle import Worker
from app_core.bridge import keys
from app_core.bridge.pcm_frame import encode_pcm
from app_core.demod.channel import ChannelBank
from app_core.demod.channel_config import ChannelConfig, Mode

log = logging.getLogger(__name__)

FRESH_S = 2.0
"""Age of the last audio up to which a channel is said to run. [seconds]"""

PCM_LATEST_S = 2.0
"""Audio that is older is not published, nor is what a fresh process reads of the time before it: both are decoded for
the alerts' sake, and are not played to a listener late, or twice. [seconds]"""

KEEPER_BACKLOG_S = 5.0
"""Audio that may wait in the keeper before the decoder, when it catches up, gives it time. [seconds]"""

CORRECTION_SNR_DB = 15.0
"""A channel's frequency error says something of the receiver when its signal stands so far above the noise."""

_SUPPRESSED_CARRIER = (Mode.USB, Mode.LSB)


class ReceiverDecoder(Worker):
    """Decode all channels of one receiver.

    Parameters
    ----------
    adapter
        Where the audio comes from.
    keeper
        Takes what is heard.
    channels
        The channels of the adapter's bank.
    publish_pcm
        Takes a channel's PCM frame: channel name of Redis, payload.
    captures
        Asks for a capture of what is heard; None asks for none.
    keeper_backlog_s
        Gives how much audio of one channel waits in the keeper at the most. [seconds]

    Attributes
    ----------
    monitors
        What listens to each channel, by id. It is never changed, only replaced.
    """

    def __init__(
        self,
        adapter: RedisSDRSourceAdapter,
        keeper: Keeper,
        channels: Sequence[ChannelConfig],
        publish_pcm: Callable[[str, bytes], None],
        captures: CaptureRequests | None = None,
        keeper_backlog_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(f"Decoder-{adapter.receiver_id}")
        self.adapter = adapter
        self._keeper = keeper
        self._captures = captures
        self._channels = tuple(channels)
        self._levelers: dict[str, LoudnessLeveler] = {}
        self.monitors = {channel.id: self._monitor_of(channel) for channel in channels}
        self._carriers = {channel.id: CarrierWatch(channel.mode) for channel in channels}
        self._publish_pcm = publish_pcm
        self._keeper_backlog_s = keeper_backlog_s
        self._lock = threading.Lock()
        self._wanted: tuple[tuple[ChannelConfig, ...], Future[None]] | None = None

    # Called by any thread.

    def configure(self, channels: Sequence[ChannelConfig]) -> Future[None]:
        """Have other channels received, from the next block on; a change that was not yet taken up is forgotten.

        Returns
        -------
        done
            Says that they are received, or why not (`ConfigError`, `LifecycleError`).
        """
        done: Future[None] = Future()
        with self._lock:
            replaced, self._wanted = self._wanted, (tuple(channels), done)
        if replaced is not None:
            replaced[1].cancel()
        return done

    def resign(self) -> None:
        """Say that another decoder, which was made with the channels that are wanted, has taken this one's place."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is not None and wanted[1].set_running_or_notify_cancel():
            wanted[1].set_result(None)

    def channel_status(self, channels: Sequence[ChannelConfig]) -> dict[str, dict[str, Any]]:
        """Give the health of channels by id, for the metrics; what is not received yet has no readings."""
        levels, misfits = self.adapter.bank.levels(), self.adapter.bank.misfits
        return {
            channel.id: _status_of(channel, self.monitors.get(channel.id), levels.get(channel.id), misfits)
            for channel in channels
        }

    # The decoder's own thread.

    def run(self, stopping: threading.Event) -> None:
        """Decode until stopped."""
        self._make_levelers()
        while not stopping.is_set():
            self._take_change()
            blocks = self.adapter.read(0.2)
            self._hear(blocks)
            # The history waits; the keeper's queue would drop a recording's audio.
            while blocks and self._is_late and self._keeper_backlog_s() > KEEPER_BACKLOG_S and not stopping.wait(0.01):
                pass
        for monitor in self.monitors.values():
            monitor.finish()
        self.adapter.close()

    @property
    def _is_late(self) -> bool:
        return self.adapter.lateness_s > PCM_LATEST_S

    def _hear(self, blocks: Sequence[tuple[str, PcmBlock]]) -> None:
        is_news = self.adapter.has_begun and not self._is_late
        listening = {
            (channel_id, block.config_epoch, block.first_sample): block
            for channel_id, block in self.adapter.bank.take_listening()
        }
        levels = self.adapter.bank.levels() if blocks else {}
        for channel_id, block in blocks:
            carrier = self._carriers[channel_id].look(levels.get(channel_id))
            self.monitors[channel_id].push(block, carrier=carrier)
            if is_news:
                heard = listening.get((channel_id, block.config_epoch, block.first_sample), block)
                self._publish(channel_id, self._leveled(channel_id, heard))

    def _publish(self, channel_id: str, blocks: Sequence[PcmBlock]) -> None:
        for block in blocks:
            self._publish_pcm(keys.pcm(channel_id), encode_pcm(block))

    def _leveled(self, channel_id: str, block: PcmBlock) -> list[PcmBlock]:
        leveler = self._levelers.get(channel_id)
        return [block] if leveler is None else leveler.push(block)

    def _make_levelers(self) -> None:
        """Have a leveler for every channel that wants one; what stays as it is keeps its gain."""
        wanted = {channel.id: channel.loudness_lufs for channel in self._channels}
        for channel_id, ended in self._levelers.items():
            if wanted.get(channel_id) is None:
                # What it still holds stands before the audio that is leveled no more.
                self._publish(channel_id, ended.flush())
        self._levelers = {
            channel_id: self._levelers.get(channel_id) or LoudnessLeveler(target_lufs)
            for channel_id, target_lufs in wanted.items()
            if target_lufs is not None
        }
        for channel_id, leveler in self._levelers.items():
            leveler.target_lufs = wanted[channel_id] or leveler.target_lufs

    def _take_change(self) -> None:
        """Change the channels, when it is wanted."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is None or not wanted[1].set_running_or_notify_cancel():
            return
        channels, done = wanted
        try:
            self._change(channels)
            done.set_result(None)
        except (ConfigError, ValueError) as error:
            # The bank may have been changed in part.
            self.adapter.bank = ChannelBank(self._channels, listen=True)
            done.set_exception(ConfigError(str(error)))
        finally:
            if not done.done():
                done.set_exception(LifecycleError(f"{self.name} failed; the log says why"))

    def _change(self, channels: tuple[ChannelConfig, ...]) -> None:
        # What still was in the filters of channels that end is theirs.
        self._hear(self.adapter.bank.configure(channels))
        before = {channel.reception for channel in self._channels}
        kept = {channel.id for channel in channels if channel.reception in before}
        for channel_id, monitor in self.monitors.items():
            if channel_id not in kept:
                monitor.end()
        self.monitors = {
            channel.id: self.monitors[channel.id] if channel.id in kept else self._monitor_of(channel)
            for channel in channels
        }
        self._carriers = {
            channel.id: self._carriers[channel.id] if channel.id in kept else CarrierWatch(channel.mode)
            for channel in channels
        }
        self._channels = channels
        self._make_levelers()

    def _monitor_of(self, channel: ChannelConfig) -> AlertMonitor:
        return AlertMonitor(channel.id, self.adapter.receiver_id, self._keeper, self._captures)


def frequency_correction_ppm(channels: Sequence[dict[str, Any]]) -> float | None:
    """Give by how much a receiver's ``frequency_correction_ppm`` is too low.

    Parameters
    ----------
    channels
        Status of its channels.

    Returns
    -------
    correction_ppm
        Median over the channels whose carrier stands `CORRECTION_SNR_DB` above the noise; None where there is none. A
        crystal that runs fast tunes too high, carriers then seem too low, and the correction has to grow.
    """
    errors_ppm = [
        entry["frequency_error_ppm"]
        for entry in channels
        if entry.get("snr_db", 0.0) > CORRECTION_SNR_DB
        and entry.get("frequency_error_ppm") is not None
        and entry["running"]
        and entry["mode"] not in _SUPPRESSED_CARRIER
    ]
    return -statistics.median(errors_ppm) if errors_ppm else None


def _status_of(
    channel: ChannelConfig, monitor: AlertMonitor | None, levels: Any, misfits: Mapping[str, str]
) -> dict[str, Any]:
    last_pcm_s = None if monitor is None else monitor.last_pcm_s
    age_s = None if last_pcm_s is None else time.monotonic() - last_pcm_s
    status: dict[str, Any] = {
        "name": channel.name,
        "receiver_id": channel.receiver_id,
        "frequency_hz": channel.frequency_hz,
        "mode": channel.mode.value,
        "running": age_s is not None and age_s <= FRESH_S,
        "out_of_band": channel.id in misfits,
        "misfit": misfits.get(channel.id, ""),
        "last_pcm_age_s": None if age_s is None else round(age_s, 3),
        "bursts_heard": 0 if monitor is None else monitor.bursts_heard,
        "headers_decoded": 0 if monitor is None else monitor.headers_decoded,
        "headers_unverified": 0 if monitor is None else monitor.headers_unverified,
        "lost_samples": 0 if monitor is None else monitor.lost_samples,
        "audited_s": 0.0 if monitor is None else round(monitor.audited_s, 1),
        "last_header": "" if monitor is None else monitor.last_header,
    }
    if levels:
        status |= levels
        error_hz = status.get("frequency_error_hz")
        if isinstance(error_hz, int | float):
            status["frequency_error_ppm"] = round(1e6 * error_hz / channel.frequency_hz, 3)
    return status
