"""The radio half of a station: for every receiver a reader and a publisher, and one truth about their health."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from app_core.base.blocks import IqBlock
from app_core.base.errors import ConfigError, LifecycleError
from app_core.base.iq_file import IqFormat
from app_core.base.lifecycle import Worker
from app_core.base.supervisor import Stage, Supervisor
from app_core.bridge import keys
from app_core.bridge.command_list import CommandReader, forget_answered
from app_core.bridge.connection import RedisSettings
from app_core.bridge.history import Position
from app_core.bridge.messages import HeartbeatMessage, RingBufferMessage, SdrMetricsMessage, plain_number
from app_core.bridge.outbox import Outbox
from app_core.dsp.measure import FLOOR_DBFS
from app_core.radio import health
from app_core.radio.capture import CaptureWriter
from app_core.radio.capture_folder import CaptureFolder
from app_core.radio.capture_memory import CaptureMemory
from app_core.radio.control import CommandDesk
from app_core.radio.publisher import Publisher
from app_core.radio.reader import Reader
from app_core.radio.receiver import (
    AnyReceiverSettings,
    Receiver,
    ReplaySettings,
    RtlTcpSettings,
    SoapySettings,
    Tuning,
)
from app_core.radio.replay import ReplayReceiver
from app_core.radio.rtl_tcp import RtlTcpReceiver
from app_core.radio.soapy_receiver import SoapyReceiver

log = logging.getLogger(__name__)

HEALTH_INTERVAL_S = 1.0


def make_receiver(settings: AnyReceiverSettings) -> Receiver:
    """Make the receiver that a table of ``station.toml`` describes."""
    if isinstance(settings, ReplaySettings):
        return ReplayReceiver(settings)
    if isinstance(settings, RtlTcpSettings):
        return RtlTcpReceiver(settings)
    if isinstance(settings, SoapySettings):
        return SoapyReceiver(settings)
    raise ConfigError(f"receiver {settings.id}: unknown driver")


def describe_hardware(settings: AnyReceiverSettings) -> str:
    """Say in a few words what the samples of a receiver come from, for the metadata of captures."""
    if isinstance(settings, RtlTcpSettings):
        return f"rtl_tcp at {settings.host}:{settings.port}"
    if isinstance(settings, ReplaySettings):
        return f"replay of {settings.path.name}"
    return f"SoapySDR {settings.args}"


class ReceiverChain:
    """Reader and publisher of one receiver, and the writer of its captures, each brought back when it dies."""

    def __init__(
        self,
        settings: AnyReceiverSettings,
        outbox: Outbox,
        *,
        channels_hz: Sequence[float] = (),
        folder: CaptureFolder | None = None,
    ) -> None:
        self.settings = settings
        self._outbox = outbox
        if settings.history_seconds > 0:
            outbox.keep_history(keys.samples(settings.id), keys.history(settings.id), settings.history_seconds)
        self._folder = folder
        self._capture_format: IqFormat = "cf32"
        self._memory = CaptureMemory(settings.id, settings.capture_memory_s, settings.capture_memory_max_bytes)
        self.captures = self._make_captures()
        self._channels_hz = list(channels_hz)
        self._ring_was_full = False
        self._rate = health.RateMeter()
        self._overflows_seen = 0
        self._overflow_s = 0.0
        self._gaps_seen = 0
        self._gap_s = 0.0
        self._fault_log = health.FaultChanges()
        self.faults: list[health.Fault] = []
        self.reader = self._make_reader()
        self.publisher = self._make_publisher()
        self.stages = [
            Stage(f"reader of {settings.id}", self._fresh_reader),
            Stage(f"publisher of {settings.id}", self._fresh_publisher),
        ]
        self.capture_stages = [] if folder is None else [Stage(f"captures of {settings.id}", self._fresh_captures)]

    @property
    def ended(self) -> bool:
        """Whether a recording that is played once has been played and published to its end."""
        ring = self.reader.ring
        return self.reader.ended and (ring is None or ring.readable == 0)

    def status(self) -> dict[str, Any]:
        """Judge the receiver, and give its entry of ``sdr:metrics``."""
        reader, publisher, now_s = self.reader, self.publisher, time.monotonic()
        last_sample_s, published_s = reader.last_sample_s, publisher.last_published_s
        age_s = None if last_sample_s is None else now_s - last_sample_s
        fresh = health.is_fresh(age_s)
        tuning, ring = reader.tuning, reader.ring
        spectrum_age_s = self._spectrum_age_s(now_s)
        # What is read off an old spectrum would be taken for the present.
        seen = fresh and (spectrum_age_s is None or spectrum_age_s <= health.SPECTRUM_LATE_S)
        locked = seen and health.is_locked(publisher.locked_since_s, age_s, now_s)
        statistics = None if ring is None else ring.statistics()
        self._judge(now_s, age_s)
        return {
            # Samples from before a stop may still be fresh.
            "running": fresh and reader.state != "stopped",
            "state": reader.state,
            "locked": locked,
            "signal_strength": health.signal_strength(publisher.snr_db) if seen else 0.0,
            "frequency_hz": plain_number(tuning.center_frequency_hz) if tuning else 0,
            "sample_rate": plain_number(tuning.sample_rate_hz) if tuning else 0,
            "frequency_correction_ppm": tuning.frequency_correction_ppm if tuning else None,
            # Without samples there is no level: the last one would be taken for the present one.
            "level_dbfs": round(publisher.level_dbfs, 1) if seen else FLOOR_DBFS,
            "snr_db": round(publisher.snr_db, 1) if seen else 0.0,
            "clipping": round(publisher.clipping, 5) if seen else 0.0,
            "gain_advice": health.gain_advice(publisher.clipping, publisher.level_dbfs) if seen else "",
            "channels": {
                str(plain_number(frequency_hz)): {"snr_db": round(snr_db, 1)}
                for frequency_hz, snr_db in (publisher.channel_snrs_db if seen else {}).items()
            },
            "effective_sample_rate": None if self._rate.rate_hz is None else round(self._rate.rate_hz, 1),
            "last_sample_age_s": None if age_s is None else round(age_s, 3),
            "lost_samples": reader.lost_samples,
            "gap_count": reader.gap_count,
            "overflow_count": reader.stream_errors.get("OVERFLOW", 0),
            "stream_errors": reader.stream_errors,
            "timeout_count": reader.timeout_count,
            "reopen_count": reader.reopen_count,
            "messages_published": publisher.sequence,
            **publisher.encoding(),
            "last_published_age_s": None if published_s is None else round(now_s - published_s, 3),
            "message_s": self._message_s(tuning),
            "faults": [fault.to_dict() for fault in self.faults],
            "captures": None if self.captures is None else self.captures.status(),
            "driver": self.settings.driver,
            "error": reader.last_error,
            "ring_buffer": {
                "fill_percentage": statistics.fill_percentage if statistics else 0.0,
                "overflow_count": statistics.overflow_count if statistics else 0,
            },
        }

    def _redis_words(self) -> dict[str, str]:
        """Say what goes wrong on the way to Redis, as `health.ReceiverState` has it."""
        queue = self._outbox.status()
        histories: Any = queue.get("histories", {})
        history = histories.get(keys.history(self.settings.id), {})
        words = {"dropping": "", "history_short": ""}
        if queue["dropping"]:
            words["dropping"] = (
                f"Redis does not take what is published: {queue['dropped_count']} messages dropped; "
                f"{queue['holds_s']:.0f} s of it can wait"
            )
        if history.get("short"):
            words["history_short"] = (
                f"the history in Redis reaches {history['held_s']:.1f} s back, not {history['wanted_s']:.0f} s: "
                "raise Redis's maxmemory"
            )
        return words

    def _spectrum_age_s(self, now_s: float) -> float | None:
        """Give the age of the last spectrum since the device was opened; None while none is due yet. [seconds]"""
        since_s = self.reader.flowing_since_s
        if since_s is None:
            return None
        age_s = now_s - max(since_s, self.publisher.last_spectrum_s)
        return age_s if self.publisher.last_spectrum_s > since_s or age_s > health.SPECTRUM_LATE_S else None

    def _message_s(self, tuning: Tuning | None) -> float:
        """Give the time that one samples message holds. [seconds]"""
        if tuning is None:
            return 0.0
        published_hz = min(self.settings.publish_sample_rate_hz or tuning.sample_rate_hz, tuning.sample_rate_hz)
        return round(self.settings.samples_per_message / published_hz, 3)

    def _judge(self, now_s: float, age_s: float | None) -> None:
        """Find the receiver's faults; each is logged as it comes and as it goes."""
        reader, publisher, ring, tuning = self.reader, self.publisher, self.reader.ring, self.reader.tuning
        statistics = None if ring is None else ring.statistics()
        overflows = statistics.overflow_count if statistics else 0
        grew = overflows > self._overflows_seen
        self._overflow_s = self._overflow_s + HEALTH_INTERVAL_S if grew else 0.0
        self._overflows_seen = overflows
        # What the ring has no room for is a fault of its own.
        gaps = reader.gap_count - overflows
        self._gap_s = self._gap_s + HEALTH_INTERVAL_S if gaps > self._gaps_seen else 0.0
        self._gaps_seen = gaps
        # A recording that is played as fast as it goes has no rate to be held to.
        nominal_hz = tuning.sample_rate_hz if tuning and not reader.waits else None
        if tuning:
            self._rate.note(*reader.progress)
        message_waits = ring is not None and ring.readable >= self.settings.samples_per_message
        published_s = publisher.last_published_s
        state = health.ReceiverState(
            age_s=age_s,
            error=reader.last_error or ("" if tuning else "the device is being opened"),
            effective_rate_hz=self._rate.rate_hz,
            rate_error=self._rate.error(nominal_hz) if nominal_hz else 0.0,
            fill_percent=statistics.fill_percentage if statistics else 0.0,
            overflow_s=self._overflow_s,
            published_age_s=now_s - published_s if published_s is not None and message_waits else None,
            reader_hung=reader.is_hung,
            publisher_hung=publisher.is_hung,
            has_signal=publisher.locked_since_s is not None,
            snr_db=publisher.snr_db,
            clipping=publisher.clipping,
            level_dbfs=publisher.level_dbfs,
            # What a person stopped, or what is over, owes no samples.
            is_idle=reader.state in ("stopped", "ended"),
            gap_s=self._gap_s,
            **self._redis_words(),
            spectrum_age_s=self._spectrum_age_s(now_s),
        )
        self.faults = health.find_faults(state)
        for fault in self._fault_log.note(self.faults):
            log.warning("receiver %s: %s: %s", self.settings.id, fault.name, fault.text, extra={"event": fault.name})
        for name in self._fault_log.ended:
            log.info("receiver %s: %s is over", self.settings.id, name, extra={"event": f"{name}_over"})

    def ring_message(self) -> RingBufferMessage | None:
        """Give the message of ``sdr:ring_buffer:{receiver_id}``; None before the receiver was ever opened."""
        ring = self.reader.ring
        if ring is None:
            return None
        statistics = ring.statistics()
        full = statistics.fill_percentage > health.FULL_PERCENT
        if full and not self._ring_was_full:
            log.warning("ring of %s: fill_percentage is %.0f", self.settings.id, statistics.fill_percentage)
        self._ring_was_full = full
        return RingBufferMessage(
            fill_percentage=statistics.fill_percentage,
            overflow_count=statistics.overflow_count,
            underflow_count=statistics.underflow_count,
            total_samples_written=statistics.total_samples_written,
            total_samples_read=statistics.total_samples_read,
            size=statistics.size,
            dropped_samples=statistics.dropped_samples,
        )

    def _make_reader(self) -> Reader:
        return Reader(self.settings, make_receiver(self.settings))

    def _make_publisher(self) -> Publisher:
        tap = None if self._folder is None else self._remember
        return Publisher(self.settings, self.reader, self._put, tap, channels_hz=self._channels_hz)

    def _make_captures(self) -> CaptureWriter | None:
        if self._folder is None:
            return None
        return CaptureWriter(self.settings.id, self._memory, self._folder, describe_hardware(self.settings))

    def _put(self, channel: str, payload: bytes, ttl_s: int | None, position: Position | None = None) -> None:
        self._outbox.put(channel, payload, ttl_s=ttl_s, position=position)

    def _remember(self, block: IqBlock) -> None:
        """Keep what is published for captures; the publisher's thread does this."""
        tuning = self.reader.tuning
        if tuning is not None:
            # A slice of the band has more bits than the device's own samples had.
            is_slice = block.sample_rate_hz < tuning.sample_rate_hz
            self._capture_format = "cs16" if is_slice else tuning.iq_format
        self._memory.append(block, self._capture_format)

    def _fresh_captures(self) -> Worker:
        if self.captures is None or self.captures.was_started:
            self.captures = self._make_captures()
        if self.captures is None:
            raise LifecycleError(f"captures of {self.settings.id} are switched off")
        return self.captures

    def _fresh_reader(self) -> Worker:
        if self.reader.was_started:
            dead = self.reader
            self.reader = self._make_reader()
            self.reader.inherit(dead)
            if not dead.is_wanted:
                self.reader.suspend()
            # The publisher follows the new reader's ring; what was in the old one is lost with it.
            self.publisher.follow(self.reader)
        return self.reader

    def _fresh_publisher(self) -> Worker:
        if self.publisher.was_started:
            sequence = self.publisher.sequence
            self.publisher = self._make_publisher()
            self.publisher.sequence = sequence
        return self.publisher


class RadioStation:
    """All receivers of this process, their way out, and their health.

    Parameters
    ----------
    receivers
        The ``[[receivers]]`` tables.
    outbox
        Not yet started; the station starts and stops it.
    channels_hz
        Frequencies that are listened to, by receiver: they decide whether a receiver is locked.
    redis
        Where commands come from; None takes none.
    folder
        Where captures go; None makes none, and keeps nothing in memory for them.

    Raises
    ------
    ConfigError
        If there is no receiver, or two have one id.
    """

    def __init__(
        self,
        receivers: Sequence[AnyReceiverSettings],
        outbox: Outbox,
        *,
        channels_hz: Mapping[str, Sequence[float]] | None = None,
        redis: RedisSettings | None = None,
        folder: CaptureFolder | None = None,
    ) -> None:
        if not receivers:
            raise ConfigError("no receiver is configured: add a [[receivers]] table to station.toml")
        identifiers = [settings.id for settings in receivers]
        for identifier in identifiers:
            if identifiers.count(identifier) > 1:
                raise ConfigError(f"two receivers have the id {identifier!r}")
        self._outbox = outbox
        listened_hz = channels_hz or {}
        self.chains = [
            ReceiverChain(settings, outbox, channels_hz=listened_hz.get(settings.id, ()), folder=folder)
            for settings in receivers
        ]
        for chain in self.chains:
            # One receiver's wrong setting leaves the others alone; the only one's ends the program with its reason.
            for stage in chain.stages:
                stage.outlived = len(self.chains) > 1
        self.desk = CommandDesk({chain.settings.id: chain for chain in self.chains}, self._put_result)
        self._redis = redis
        stages = [] if redis is None else self._command_stages(redis)
        stages += [stage for chain in self.chains for stage in (*chain.stages, *chain.capture_stages)]
        self._supervisor = Supervisor([*stages, Stage("outbox", lambda: outbox, give_up_after=1)])
        self._health_due_s = 0.0
        self._was_asked = False
        self.last_metrics: SdrMetricsMessage | None = None

    @property
    def hung(self) -> list[str]:
        """Names of the threads that hang, where only a new process helps.

        One receiver's hung thread is its fault (`ReceiverChain.faults`), and leaves those that flow alone.
        """
        if self._outbox.is_hung:
            return [self._outbox.name]
        hung = [[worker for worker in (chain.reader, chain.publisher) if worker.is_hung] for chain in self.chains]
        if not all(hung):
            return []
        return [worker.name for workers in hung for worker in workers]

    def summary(self) -> str:
        """Say in one line how every receiver is: the first of its faults, or that it is well."""
        parts = []
        for chain in self.chains:
            worst = sorted(chain.faults, key=lambda fault: fault.severity != "error")
            parts.append(f"{chain.settings.id}: {worst[0].text if worst else 'receiving'}")
        return "; ".join(parts)

    @property
    def ended(self) -> bool:
        """Whether every receiver has played its recording to the end."""
        return all(chain.ended for chain in self.chains)

    def start(self) -> None:
        """Start publishing, then reading."""
        self._supervisor.start()

    def stop(self) -> None:
        """Stop reading, then publishing."""
        self._supervisor.stop()
        if self._redis is not None:
            forget_answered(self._redis, self.desk.answered)

    def watch(self) -> None:
        """Restart what died, and publish the health when it is due; called a few times a second.

        Raises
        ------
        ConfigError
            If no receiver is left that could run: the reasons of all.
        LifecycleError
            If a device did not come back within ``exit_after_failed_opens`` tries: whoever supervises the program may
            have to make its container anew, since a device that was plugged in again is another file there.
        """
        self._supervisor.watch()
        if all(any(stage.given_up for stage in chain.stages) for chain in self.chains):
            reasons = [chain.reader.last_error or str(chain.publisher.failure) for chain in self.chains]
            raise ConfigError("; ".join(reasons))
        for chain in self.chains:
            limit = chain.settings.exit_after_failed_opens
            if limit is not None and chain.reader.failed_opens >= limit:
                reason = chain.reader.last_error
                raise LifecycleError(
                    f"receiver {chain.settings.id} could not be opened {limit} times in a row: {reason}"
                )
        if time.monotonic() >= self._health_due_s:
            self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S
            self._publish_health()

    def _command_stages(self, redis: RedisSettings) -> list[Stage]:
        stages = [Stage("command reader", partial(self._fresh_command_reader, redis))]
        for chain in self.chains:
            identifier = chain.settings.id
            stages.append(Stage(f"commands of {identifier}", partial(self.desk.worker, identifier)))
        return stages

    def _fresh_command_reader(self, redis: RedisSettings) -> CommandReader:
        interrupted = None if self._was_asked else self.desk.take_interrupted
        # Another reader of this process must not take what is under way here for what a dead one left.
        self._was_asked = True
        return CommandReader(redis, self.desk.take, self.desk.answered, interrupted)

    def _put_result(self, command_id: str, payload: bytes) -> None:
        self._outbox.put(keys.command_result(command_id), payload, ttl_s=keys.COMMAND_RESULT_TTL_S)

    def _publish_health(self) -> None:
        now = time.time()
        heartbeat = HeartbeatMessage(timestamp=now, pid=os.getpid(), receiver_count=len(self.chains))
        metrics = SdrMetricsMessage(
            timestamp=now,
            pid=os.getpid(),
            receivers={chain.settings.id: chain.status() for chain in self.chains},
            redis=self._outbox.status(),
            workers={
                stage.name: {"alive": bool(stage.running and stage.running.is_alive), "restarts": stage.restarts}
                for stage in self._supervisor.stages
            },
            commands=self.desk.status(),
        )
        self.last_metrics = metrics
        self._outbox.put(keys.HEARTBEAT, heartbeat.to_json(), ttl_s=keys.HEARTBEAT_TTL_S)
        self._outbox.put(keys.METRICS, metrics.to_json(), ttl_s=keys.METRICS_TTL_S)
        for chain in self.chains:
            ring = chain.ring_message()
            if ring is not None:
                self._outbox.put(keys.ring_buffer(chain.settings.id), ring.to_json(), ttl_s=keys.RING_BUFFER_TTL_S)
