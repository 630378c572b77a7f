"""The decode job: every channel of every receiver of this process, from Redis to alerts.

One thread per receiver takes IQ, demodulates, decodes; it never waits for Redis or the disk. The job's own loop
publishes heartbeat and metrics.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from app_core.audio.alert_monitor import AlertMonitor, Keeper
from app_core.audio.capture_requests import CaptureRequests
from app_core.audio.redis_sdr_adapter import RedisSDRSourceAdapter
from app_core.base.errors import ConfigError
from app_core.base.lifecycle import Worker
from app_core.base.supervisor import Stage, Supervisor
from app_core.bridge import keys
from app_core.bridge.connection import RedisSettings
from app_core.bridge.messages import AudioHeartbeatMessage, AudioMetricsMessage
from app_core.bridge.outbox import Outbox
from app_core.bridge.pcm_frame import encode_pcm
from app_core.demod.channel import ChannelConfig

log = logging.getLogger(__name__)

FRESH_S = 2.0
"""Age of the last audio up to which a channel is said to run. [seconds]"""

HEALTH_INTERVAL_S = 1.0

PCM_LATEST_S = 2.0
"""Audio that is older is not published, nor is what a fresh process reads of the time before it: both are decoded for
the alerts' sake, and are not played to a listener late, or twice. [seconds]"""

KEEPER_BACKLOG_S = 5.0
"""Audio that may wait in the keeper before the decoder, when it catches up, gives it time. [seconds]"""


class KeeperWorker(Keeper, Protocol):
    """The keeper of the alerts, as the job needs it."""

    def status(self) -> dict[str, Any]:
        """Give its health, for the metrics."""
        ...


class ReceiverDecoder(Worker):
    """Decode all channels of one receiver.

    Parameters
    ----------
    adapter
        Where the audio comes from.
    keeper
        Takes what is heard.
    publish_pcm
        Takes a channel's PCM frame: channel name of Redis, payload.
    captures
        Asks for a capture of what is heard; None asks for none.
    keeper_backlog_s
        Gives how much audio of one channel waits in the keeper at the most. [seconds]
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
        self.monitors = {
            channel.id: AlertMonitor(channel.id, adapter.receiver_id, keeper, captures) for channel in channels
        }
        self._publish_pcm = publish_pcm
        self._keeper_backlog_s = keeper_backlog_s

    def run(self, stopping: threading.Event) -> None:
        """Decode until stopped."""
        while not stopping.is_set():
            blocks = self.adapter.read(0.2)
            is_late = self.adapter.lateness_s > PCM_LATEST_S
            is_news = self.adapter.has_begun and not is_late
            for channel_id, block in blocks:
                self.monitors[channel_id].push(block)
                if is_news:
                    self._publish_pcm(keys.pcm(channel_id), encode_pcm(block))
            # The history waits; the keeper's queue would drop a recording's audio.
            while blocks and is_late and self._keeper_backlog_s() > KEEPER_BACKLOG_S and not stopping.wait(0.01):
                pass
        for monitor in self.monitors.values():
            monitor.finish()
        self.adapter.close()


class DecodeJob:
    """All receivers and channels of this process.

    Parameters
    ----------
    redis
        Where Redis is.
    channels
        The ``[[channels]]`` tables.
    keeper
        Takes what is heard; started and stopped by the caller.

    Raises
    ------
    ConfigError
        If there is no channel, or two have one id.
    """

    def __init__(
        self, redis: RedisSettings, channels: Sequence[ChannelConfig], keeper: KeeperWorker, outbox: Outbox
    ) -> None:
        if not channels:
            raise ConfigError("no channel is configured: add a [[channels]] table to station.toml")
        identifiers = [channel.id for channel in channels]
        for identifier in identifiers:
            if identifiers.count(identifier) > 1:
                raise ConfigError(f"two channels have the id {identifier!r}")
        self._redis = redis
        self._keeper = keeper
        self._outbox = outbox
        self._pcm_outbox = Outbox(redis, name="PcmOutbox", longest_wait_s=2.0, max_bytes=32 * 1024 * 1024)
        self._captures = CaptureRequests(outbox.push)
        self._channels: dict[str, list[ChannelConfig]] = {}
        for channel in channels:
            self._channels.setdefault(channel.receiver_id, []).append(channel)
        self._decoders: dict[str, ReceiverDecoder] = {}
        stages: list[Stage] = []
        for receiver_id in self._channels:
            self._decoders[receiver_id] = self._make_decoder(receiver_id)
            stages.append(Stage(f"subscriber of {receiver_id}", partial(self._fresh_subscriber, receiver_id)))
            stages.append(Stage(f"decoder of {receiver_id}", partial(self._fresh_decoder, receiver_id)))
        stages.append(Stage("PCM outbox", lambda: self._pcm_outbox, give_up_after=1))
        self._supervisor = Supervisor(stages)
        self._health_due_s = 0.0
        self.last_metrics: AudioMetricsMessage | None = None

    @property
    def hung(self) -> list[str]:
        """Names of the decoders that live, but have not turned their loop for `HUNG_AFTER_S`."""
        return [decoder.name for decoder in self._decoders.values() if decoder.is_hung]

    def start(self) -> None:
        """Start decoding, then subscribe."""
        self._supervisor.start()

    def stop(self) -> None:
        """Unsubscribe, then stop decoding; what is pending in the decoders is decided."""
        self._supervisor.stop()

    def watch(self) -> None:
        """Restart what died, and publish the health when it is due; called a few times a second."""
        self._supervisor.watch()
        if time.monotonic() >= self._health_due_s:
            self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S
            self._publish_health()

    def _make_decoder(self, receiver_id: str) -> ReceiverDecoder:
        channels = self._channels[receiver_id]
        return self._decoder_of(RedisSDRSourceAdapter(self._redis, receiver_id, channels))

    def _decoder_of(self, adapter: RedisSDRSourceAdapter) -> ReceiverDecoder:
        channels = self._channels[adapter.receiver_id]
        return ReceiverDecoder(
            adapter, self._keeper, channels, self._pcm_outbox.put, self._captures, self._keeper_backlog_s
        )

    def _keeper_backlog_s(self) -> float:
        backlog_s = self._keeper.status().get("queued_pcm_s", 0.0)
        return float(backlog_s) if isinstance(backlog_s, int | float) else 0.0

    def _fresh_subscriber(self, receiver_id: str) -> Worker:
        adapter = self._decoders[receiver_id].adapter
        if adapter.subscriber.failure is not None:
            adapter.renew_subscriber()
        return adapter.subscriber

    def _fresh_decoder(self, receiver_id: str) -> Worker:
        decoder = self._decoders[receiver_id]
        if decoder.failure is not None:
            decoder = self._decoder_of(decoder.adapter.renewed_bank())
            self._decoders[receiver_id] = decoder
        return decoder

    def _publish_health(self) -> None:
        now = time.time()
        channels = self._channel_status()
        heartbeat = AudioHeartbeatMessage(timestamp=now, pid=os.getpid(), channel_count=len(channels))
        metrics = AudioMetricsMessage(
            timestamp=now,
            pid=os.getpid(),
            receivers={name: decoder.adapter.status() for name, decoder in self._decoders.items()},
            channels=channels,
            alerts=self._keeper.status(),
            redis={"out": self._outbox.status(), "pcm": self._pcm_outbox.status()},
            workers={
                stage.name: {"alive": bool(stage.running and stage.running.is_alive), "restarts": stage.restarts}
                for stage in self._supervisor.stages
            },
        )
        self.last_metrics = metrics
        self._outbox.put(keys.AUDIO_HEARTBEAT, heartbeat.to_json(), ttl_s=keys.HEARTBEAT_TTL_S)
        self._outbox.put(keys.AUDIO_METRICS, metrics.to_json(), ttl_s=keys.METRICS_TTL_S)

    def _channel_status(self) -> dict[str, dict[str, Any]]:
        status: dict[str, dict[str, Any]] = {}
        now_s = time.monotonic()
        for receiver_id, decoder in self._decoders.items():
            levels = decoder.adapter.bank.levels()
            for channel in self._channels[receiver_id]:
                monitor = decoder.monitors[channel.id]
                age_s = None if monitor.last_pcm_s is None else now_s - monitor.last_pcm_s
                status[channel.id] = {
                    "name": channel.name,
                    "receiver_id": receiver_id,
                    "frequency_hz": channel.frequency_hz,
                    "running": age_s is not None and age_s <= FRESH_S,
                    "out_of_band": channel.id in decoder.adapter.bank.out_of_band,
                    "last_pcm_age_s": None if age_s is None else round(age_s, 3),
                    "bursts_heard": monitor.bursts_heard,
                    "headers_decoded": monitor.headers_decoded,
                    "headers_unverified": monitor.headers_unverified,
                    "lost_samples": monitor.lost_samples,
                    "audited_s": round(monitor.audited_s, 1),
                    "last_header": monitor.last_header,
                    **levels.get(channel.id, {}),
                }
        return status
