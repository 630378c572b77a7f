"""The radio half of a station: for every receiver a reader and a publisher, and one truth about their health."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from typing import Any

from app_core.base.errors import ConfigError
from app_core.base.lifecycle import Worker
from app_core.base.supervisor import Stage, Supervisor
from app_core.bridge import keys
from app_core.bridge.messages import HeartbeatMessage, RingBufferMessage, SdrMetricsMessage, plain_number
from app_core.bridge.outbox import Outbox
from app_core.radio.publisher import FULL_WARNING_PERCENT, Publisher
from app_core.radio.reader import Reader
from app_core.radio.receiver import AnyReceiverSettings, Receiver, ReplaySettings, RtlTcpSettings
from app_core.radio.replay import ReplayReceiver
from app_core.radio.rtl_tcp import RtlTcpReceiver

log = logging.getLogger(__name__)

FRESH_S = 1.0
"""Age of the last sample up to which a receiver is said to run. [seconds]"""

LOCKED_AFTER_S = 2.0
"""Time for which a signal must stand above the threshold before the receiver is said to be locked. [seconds]"""

HEALTH_INTERVAL_S = 1.0


def make_receiver(settings: AnyReceiverSettings) -> Receiver:
    """Make the receiver that a table of ``station.toml`` describes."""
    if isinstance(settings, ReplaySettings):
        return ReplayReceiver(settings)
    if isinstance(settings, RtlTcpSettings):
        return RtlTcpReceiver(settings)
    raise ConfigError(f"receiver {settings.id}: unknown driver")


class ReceiverChain:
    """Reader and publisher of one receiver, each brought back when it dies."""

    def __init__(self, settings: AnyReceiverSettings, outbox: Outbox) -> None:
        self.settings = settings
        self._outbox = outbox
        self._ring_was_full = False
        self.reader = self._make_reader()
        self.publisher = self._make_publisher()
        self.stages = [
            Stage(f"reader of {settings.id}", self._fresh_reader),
            Stage(f"publisher of {settings.id}", self._fresh_publisher),
        ]

    @property
    def ended(self) -> bool:
        """Whether a recording that is played once has been played and published to its end."""
        ring = self.reader.ring
        return self.reader.ended and (ring is None or ring.readable == 0)

    def status(self) -> dict[str, Any]:
        """Give the receiver's entry of ``sdr:metrics``."""
        reader, publisher, now_s = self.reader, self.publisher, time.monotonic()
        age_s = None if reader.last_sample_s is None else now_s - reader.last_sample_s
        fresh = age_s is not None and age_s <= FRESH_S
        tuning, ring = reader.tuning, reader.ring
        locked_since_s = publisher.locked_since_s  # read once: the publisher's thread may clear it
        locked = fresh and locked_since_s is not None and now_s - locked_since_s >= LOCKED_AFTER_S
        statistics = None if ring is None else ring.statistics()
        return {
            "running": fresh,
            "locked": locked,
            # As in the seed: 0 is nothing, 1 is 40 dB above the noise and more.
            "signal_strength": round(min(max(publisher.snr_db / 40.0, 0.0), 1.0), 3) if fresh else 0.0,
            "frequency_hz": plain_number(tuning.center_frequency_hz) if tuning else 0,
            "sample_rate": plain_number(tuning.sample_rate_hz) if tuning else 0,
            "level_dbfs": round(publisher.level_dbfs, 1),
            "snr_db": round(publisher.snr_db, 1),
            "clipping": round(publisher.clipping, 5),
            "last_sample_age_s": None if age_s is None else round(age_s, 3),
            "lost_samples": reader.lost_samples,
            "timeout_count": reader.timeout_count,
            "reopen_count": reader.reopen_count,
            "messages_published": publisher.sequence,
            "driver": self.settings.driver,
            "error": reader.last_error,
            "ring_buffer": {
                "fill_percentage": statistics.fill_percentage if statistics else 0.0,
                "overflow_count": statistics.overflow_count if statistics else 0,
            },
        }

    def ring_message(self) -> RingBufferMessage | None:
        """Give the message of ``sdr:ring_buffer:{receiver_id}``; None before the receiver was ever opened."""
        ring = self.reader.ring
        if ring is None:
            return None
        statistics = ring.statistics()
        full = statistics.fill_percentage > FULL_WARNING_PERCENT
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
        return Publisher(self.settings, self.reader, self._put)

    def _put(self, channel: str, payload: bytes, ttl_s: int | None) -> None:
        self._outbox.put(channel, payload, ttl_s=ttl_s)

    def _fresh_reader(self) -> Worker:
        if self.reader.was_started:
            self.reader = self._make_reader()
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

    Raises
    ------
    ConfigError
        If there is no receiver, or two have one id.
    """

    def __init__(self, receivers: Sequence[AnyReceiverSettings], outbox: Outbox) -> None:
        if not receivers:
            raise ConfigError("no receiver is configured: add a [[receivers]] table to station.toml")
        identifiers = [settings.id for settings in receivers]
        for identifier in identifiers:
            if identifiers.count(identifier) > 1:
                raise ConfigError(f"two receivers have the id {identifier!r}")
        self._outbox = outbox
        self.chains = [ReceiverChain(settings, outbox) for settings in receivers]
        stages = [stage for chain in self.chains for stage in chain.stages]
        self._supervisor = Supervisor([*stages, Stage("outbox", lambda: outbox, give_up_after=1)])
        self._health_due_s = 0.0

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

    def watch(self) -> None:
        """Restart what died, and publish the health when it is due; called a few times a second."""
        self._supervisor.watch()
        if time.monotonic() >= self._health_due_s:
            self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S
            self._publish_health()

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
        )
        self._outbox.put(keys.HEARTBEAT, heartbeat.to_json(), ttl_s=keys.HEARTBEAT_TTL_S)
        self._outbox.put(keys.METRICS, metrics.to_json(), ttl_s=keys.METRICS_TTL_S)
        for chain in self.chains:
            ring = chain.ring_message()
            if ring is not None:
                self._outbox.put(keys.ring_buffer(chain.settings.id), ring.to_json(), ttl_s=keys.RING_BUFFER_TTL_S)
