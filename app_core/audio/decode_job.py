"""The decode job: every channel of every receiver of this process, and every other source of audio, to alerts.

One thread per receiver takes IQ, demodulates, decodes; it never waits for Redis or the disk. One thread per stream,
sound card or file does the same with audio, and whatever becomes of it, no other notices. The job's own loop publishes
heartbeat and metrics. Channels are changed while it runs: the loop starts and ends the decoders of receivers that come
and go, and each decoder changes its own channels in its own thread, between two blocks.
"""

from __future__ import annotations

import logging
import os
import queue
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from app_core.audio.alert_monitor import Keeper
from app_core.audio.capture_requests import CaptureRequests
from app_core.audio.channel_control import ChannelDesk
from app_core.audio.channel_plan import ChannelPlan
from app_core.audio.ingest_config import AnyIngestSettings
from app_core.audio.ingest_monitor import IngestMonitor
from app_core.audio.receiver_decoder import ReceiverDecoder, frequency_correction_ppm
from app_core.audio.redis_sdr_adapter import RedisSDRSourceAdapter
from app_core.base.errors import ConfigError, HeraldError, LifecycleError
from app_core.base.lifecycle import Worker
from app_core.base.supervisor import Stage, Supervisor
from app_core.bridge import keys
from app_core.bridge.command_list import CommandReader, forget_answered
from app_core.bridge.connection import RedisSettings
from app_core.bridge.messages import AudioHeartbeatMessage, AudioMetricsMessage
from app_core.bridge.outbox import Outbox
from app_core.demod.channel_config import ChannelConfig
from app_core.dsp import fft

log = logging.getLogger(__name__)

HEALTH_INTERVAL_S = 1.0

APPLY_TIMEOUT_S = 8.0
"""How long the decoders may take to change their channels. [seconds]"""

ADVICE_FROM_PPM = 1.0
"""A correction smaller than this is not worth anybody's while; carriers wander by as much. [parts per million]"""


class KeeperWorker(Keeper, Protocol):
    """The keeper of the alerts, as the job needs it."""

    def status(self) -> dict[str, Any]:
        """Give its health, for the metrics."""
        ...


class DecodeJob:
    """All receivers and channels of this process.

    Parameters
    ----------
    redis
        Where Redis is.
    channels
        The channels to begin with; None for those of `plan`.
    keeper
        Takes what is heard; started and stopped by the caller.
    outbox
        Takes heartbeat, metrics, results and requests for captures; started and stopped by the caller.
    plan
        What commands may change; None takes no commands.
    corrections_ppm
        The ``frequency_correction_ppm`` that each receiver has by its table, where that is known; what its samples
        say is in force comes before it.
    sources
        Streams, sound cards and files that are listened to, too.

    Raises
    ------
    ConfigError
        If there is neither a channel nor a source, or two of them have one id.
    """

    def __init__(
        self,
        redis: RedisSettings,
        channels: Sequence[ChannelConfig] | None,
        keeper: KeeperWorker,
        outbox: Outbox,
        *,
        plan: ChannelPlan | None = None,
        corrections_ppm: Mapping[str, float] | None = None,
        sources: Sequence[AnyIngestSettings] = (),
    ) -> None:
        if channels is None:
            channels = () if plan is None else plan.now.configs
        if not channels and not sources:
            raise ConfigError("nothing is listened to: add a [[channels]] or a [[sources]] table to station.toml")
        identifiers = [*(channel.id for channel in channels), *(source.id for source in sources)]
        for identifier in identifiers:
            if identifiers.count(identifier) > 1:
                raise ConfigError(f"two channels or sources have the id {identifier!r}")
        self._redis = redis
        self._keeper = keeper
        self._outbox = outbox
        self._corrections_ppm = dict(corrections_ppm or {})
        self._pcm_outbox = Outbox(redis, name="PcmOutbox", longest_wait_s=2.0, max_bytes=32 * 1024 * 1024)
        self._captures = CaptureRequests(outbox.push)
        self._channels = _by_receiver(channels)
        self._decoders: dict[str, ReceiverDecoder] = {}
        self._stages: dict[str, list[Stage]] = {}
        # What `apply` asks of the loop: the channels, and where the decoders' answers are told.
        self._changes: queue.SimpleQueue[tuple[tuple[ChannelConfig, ...], Future[list[Future[None]]]]]
        self._changes = queue.SimpleQueue()
        self._is_stopping = False
        self._desk = None if plan is None else ChannelDesk(plan, self, self._put_result)
        self._was_asked = False
        self._supervisor = Supervisor(self._command_stages())
        for receiver_id in self._channels:
            self._supervisor.stages += self._make_stages(receiver_id)
        self._ingests = [IngestMonitor(settings, keeper, self._pcm_outbox.put) for settings in sources]
        self._supervisor.stages += [
            Stage(f"source {ingest.source.config.id}", partial(_fresh_source, ingest)) for ingest in self._ingests
        ]
        self._supervisor.stages.append(Stage("PCM outbox", lambda: self._pcm_outbox, give_up_after=1))
        self._health_due_s = 0.0
        self.last_metrics: AudioMetricsMessage | None = None

    @property
    def hung(self) -> list[str]:
        """Names of the decoders that live, but have not turned their loop for `HUNG_AFTER_S`."""
        return [decoder.name for decoder in self._decoders.values() if decoder.is_hung]

    def start(self) -> None:
        """Start decoding, then subscribe, then take commands."""
        self._supervisor.start()

    def stop(self) -> None:
        """Take no more commands, unsubscribe, then stop decoding; what is pending in the decoders is decided."""
        self._is_stopping = True
        while not self._changes.empty():
            _, taken = self._changes.get_nowait()
            if taken.set_running_or_notify_cancel():
                taken.set_exception(LifecycleError("the service is stopping"))
        self._supervisor.stop()
        if self._desk is not None:
            forget_answered(self._redis, self._desk.answered, keys.TO_AUDIO)

    def watch(self) -> None:
        """Restart what died, and publish the health when it is due; called a few times a second."""
        while not self._changes.empty():
            channels, taken = self._changes.get_nowait()
            if taken.set_running_or_notify_cancel():
                self._take_change(channels, taken)
        self._supervisor.watch()
        if time.monotonic() >= self._health_due_s:
            self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S
            self._publish_health()

    def apply(self, channels: Sequence[ChannelConfig], *, wait: bool = True) -> None:
        """Receive these channels and no others; what does not change is heard on without a break.

        For any thread but the one that calls `watch`, which has to go on meanwhile.

        Raises
        ------
        ConfigError
            If one of them cannot be received.
        LifecycleError
            If a decoder did not take the change up within `APPLY_TIMEOUT_S`, or the job is stopping.
        """
        if self._is_stopping:
            raise LifecycleError("the service is stopping")
        taken: Future[list[Future[None]]] = Future()
        self._changes.put((tuple(channels), taken))
        if not wait:
            return
        until_s = time.monotonic() + APPLY_TIMEOUT_S
        try:
            for done in taken.result(APPLY_TIMEOUT_S):
                done.result(max(0.0, until_s - time.monotonic()))
        except TimeoutError:
            taken.cancel()
            raise LifecycleError(f"the decoders did not take it up within {APPLY_TIMEOUT_S:.0f} s") from None

    def misfits(self) -> Mapping[str, str]:
        """Say by channel id why the present captures do not hold some of the channels; for any thread."""
        return {
            channel_id: reason
            for decoder in list(self._decoders.values())
            for channel_id, reason in decoder.adapter.bank.misfits.items()
        }

    def _take_change(self, channels: tuple[ChannelConfig, ...], taken: Future[list[Future[None]]]) -> None:
        try:
            taken.set_result(self._change(channels))
        except HeraldError as error:
            taken.set_exception(error)

    def _change(self, channels: Sequence[ChannelConfig]) -> list[Future[None]]:
        """Begin and end the decoders of receivers that come and go; give the answers of those that stay."""
        wanted, before = _by_receiver(channels), self._channels
        self._channels = wanted
        added = {receiver_id: self._make_stages(receiver_id) for receiver_id in wanted if receiver_id not in before}
        for receiver_id in [receiver_id for receiver_id in before if receiver_id not in wanted]:
            self._end_receiver(receiver_id)
        for stages in added.values():
            # Before the PCM outbox, which is stopped last.
            self._supervisor.stages[-1:-1] = stages
            for stage in reversed(stages):
                stage.running = stage.make()
                stage.running.start()
        return [
            self._decoders[receiver_id].configure(configs)
            for receiver_id, configs in wanted.items()
            if before.get(receiver_id, configs) != configs
        ]

    def _end_receiver(self, receiver_id: str) -> None:
        """Stop listening to a receiver; its channels' messages are decided."""
        stages = self._stages.pop(receiver_id)
        ended = {id(stage) for stage in stages}
        self._supervisor.stages[:] = [stage for stage in self._supervisor.stages if id(stage) not in ended]
        Supervisor(stages).stop()
        del self._decoders[receiver_id]

    def _make_stages(self, receiver_id: str) -> list[Stage]:
        channels = self._channels[receiver_id]
        self._decoders[receiver_id] = self._decoder_of(RedisSDRSourceAdapter(self._redis, receiver_id, channels))
        self._stages[receiver_id] = [
            Stage(f"subscriber of {receiver_id}", partial(self._fresh_subscriber, receiver_id)),
            Stage(f"decoder of {receiver_id}", partial(self._fresh_decoder, receiver_id)),
        ]
        return self._stages[receiver_id]

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
            died, adapter = decoder, decoder.adapter.renewed_bank()
            # The adapter knows the channels that it was made with.
            adapter.bank.configure(self._channels[receiver_id])
            decoder = self._decoder_of(adapter)
            self._decoders[receiver_id] = decoder
            died.resign()
        return decoder

    def _command_stages(self) -> list[Stage]:
        desk = self._desk
        if desk is None:
            return []
        return [
            Stage("command reader", partial(self._fresh_command_reader, desk)),
            Stage("channel commands", desk.worker),
        ]

    def _fresh_command_reader(self, desk: ChannelDesk) -> CommandReader:
        interrupted = None if self._was_asked else desk.take_interrupted
        # Another reader of this process must not take what is under way here for what a dead one left.
        self._was_asked = True
        return CommandReader(self._redis, desk.take, desk.answered, interrupted, keys.TO_AUDIO)

    def _put_result(self, command_id: str, payload: bytes) -> None:
        self._outbox.put(keys.TO_AUDIO.result(command_id), payload, ttl_s=keys.COMMAND_RESULT_TTL_S)

    def _publish_health(self) -> None:
        now = time.time()
        channels = self._channel_status()
        heartbeat = AudioHeartbeatMessage(timestamp=now, pid=os.getpid(), channel_count=len(channels))
        metrics = AudioMetricsMessage(
            timestamp=now,
            pid=os.getpid(),
            receivers={
                name: decoder.adapter.status() | self._correction_status(name, channels)
                for name, decoder in self._decoders.items()
            },
            channels=channels,
            fft_library=fft.LIBRARY,
            alerts=self._keeper.status(),
            redis={"out": self._outbox.status(), "pcm": self._pcm_outbox.status()},
            workers={
                stage.name: {"alive": bool(stage.running and stage.running.is_alive), "restarts": stage.restarts}
                for stage in self._supervisor.stages
            },
            commands={} if self._desk is None else self._desk.status(),
        )
        self.last_metrics = metrics
        self._outbox.put(keys.AUDIO_HEARTBEAT, heartbeat.to_json(), ttl_s=keys.HEARTBEAT_TTL_S)
        self._outbox.put(keys.AUDIO_METRICS, metrics.to_json(), ttl_s=keys.METRICS_TTL_S)

    def _channel_status(self) -> dict[str, dict[str, Any]]:
        status: dict[str, dict[str, Any]] = {}
        for receiver_id, channels in self._channels.items():
            adapter = self._decoders[receiver_id].adapter
            kind = {"source": adapter.source_name, "source_type": adapter.config.source_type.value}
            for channel_id, entry in self._decoders[receiver_id].channel_status(channels).items():
                status[channel_id] = kind | entry
        return status | {ingest.source.config.id: ingest.status() for ingest in self._ingests}

    def _correction_status(self, receiver_id: str, channels: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """Give by how much a receiver's correction should be another one, and what to do about it."""
        of_receiver = [entry for entry in channels.values() if entry["receiver_id"] == receiver_id]
        change_ppm = frequency_correction_ppm(of_receiver)
        if change_ppm is None:
            return {"frequency_correction_ppm": None, "frequency_advice": ""}
        advice = ""
        if abs(change_ppm) >= ADVICE_FROM_PPM:
            known_ppm = self._decoders[receiver_id].adapter.correction_in_force_ppm
            if known_ppm is None:
                known_ppm = self._corrections_ppm.get(receiver_id)
            advice = (
                f"add {change_ppm:+.0f} to frequency_correction_ppm"
                if known_ppm is None
                else f"set frequency_correction_ppm = {known_ppm + change_ppm:.0f}"
            )
        return {"frequency_correction_ppm": round(change_ppm, 2), "frequency_advice": advice}


def _fresh_source(ingest: IngestMonitor) -> Worker:
    if ingest.source.failure is not None:
        ingest.renew()
    return ingest.source


def _by_receiver(channels: Sequence[ChannelConfig]) -> dict[str, list[ChannelConfig]]:
    grouped: dict[str, list[ChannelConfig]] = {}
    for channel in channels:
        grouped.setdefault(channel.receiver_id, []).append(channel)
    return grouped
