"""The stream job: audio from the decode job, by Redis, to everybody outside.

It holds the feed, the Icecast mounts and whatever other outputs the station has. Nothing of it is needed to decode or
to record an alert: it may hang or die at any time, and comes back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from app_core.audio.alert_board import AlertBoard, AlertListener
from app_core.audio.auto_streaming import AutoStreaming, ListedSource, listed_source
from app_core.audio.pcm_feed import PcmFeed
from app_core.audio.stream_outputs import OutputMaker, StreamSurroundings
from app_core.base.errors import HeraldError
from app_core.base.lifecycle import Worker
from app_core.base.supervisor import Stage, Supervisor
from app_core.bridge import keys
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.health import read_message
from app_core.bridge.messages import AudioMetricsMessage, StreamHeartbeatMessage, StreamsMessage
from app_core.bridge.outbox import Outbox

log = logging.getLogger(__name__)

HEALTH_INTERVAL_S = 1.0

OUTPUT_STOP_TIMEOUT_S = 2.0
"""Time in which an output ends. [seconds]"""


class SourceWatch(Worker):
    """Read once a second which sources the decode job has.

    Attributes
    ----------
    entries
        What it last said of each, by id; replaced as a whole.
    read_s
        When that was read, None before the first time. [monotonic seconds]
    """

    def __init__(self, redis: RedisSettings) -> None:
        super().__init__("SourceWatch")
        self._redis = redis
        self.entries: Mapping[str, Mapping[str, Any]] = {}
        self.read_s: float | None = None

    def run(self, stopping: threading.Event) -> None:
        """Read until stopped."""
        link = RedisLink(self._redis)
        while not stopping.is_set():
            try:
                metrics = read_message(link, keys.AUDIO_METRICS, AudioMetricsMessage)
            except HeraldError as error:
                log.debug("the sources are not known: %s", error)
            else:
                if metrics is not None:
                    self.entries = metrics.channels
                    self.read_s = time.monotonic()
            stopping.wait(HEALTH_INTERVAL_S)
        link.close()


class StreamJob:
    """Everything that carries audio out.

    Parameters
    ----------
    redis
        Where Redis is.
    outbox
        Takes heartbeat and health; started and stopped by the caller.
    make_streaming
        Makes the Icecast mounts of a feed and a board; None for a station without.
    configured
        Sources that are known before the decode job says anything.
    outputs
        What else takes audio, by its name.
    """

    def __init__(
        self,
        redis: RedisSettings,
        outbox: Outbox,
        *,
        make_streaming: Callable[[PcmFeed, AlertBoard], AutoStreaming] | None = None,
        configured: Sequence[ListedSource] = (),
        outputs: Mapping[str, OutputMaker] | None = None,
    ) -> None:
        self._outbox = outbox
        self._configured = list(configured)
        self.feed = PcmFeed(redis)
        self.alerts = AlertBoard()
        self._sources = SourceWatch(redis)
        # A source that the decode job never names is missed too, and not only one that it named once.
        self._sources.entries = {source.config.id: _expected_entry(source) for source in self._configured}
        surroundings = StreamSurroundings(self.feed, self._entries, self.alerts)
        self._outputs = [
            Stage(name, partial(maker, surroundings), stop_timeout_s=OUTPUT_STOP_TIMEOUT_S)
            for name, maker in (outputs or {}).items()
        ]
        self._supervisor = Supervisor(
            [
                Stage("PCM feed", self.feed.renew),
                Stage("sources", partial(self._fresh_source_watch, redis)),
                Stage("alerts", lambda: AlertListener(redis, self.alerts)),
                *self._outputs,
            ]
        )
        self.streaming = None if make_streaming is None else make_streaming(self.feed, self.alerts)
        self._health_due_s = 0.0
        self.last_message: StreamsMessage | None = None

    @property
    def hung(self) -> list[str]:
        """Names of the threads that live, but no longer turn their loop."""
        stages = [stage.running for stage in self._supervisor.stages]
        hung = [worker.name for worker in stages if isinstance(worker, Worker) and worker.is_hung]
        return hung if self.streaming is None else hung + self.streaming.hung

    def start(self) -> None:
        """Start the outputs, then what feeds them."""
        if self.streaming is not None:
            self.streaming.follow(self._configured)
            self.streaming.start()
        self._supervisor.start()

    def stop(self) -> None:
        """Stop everything, each output within seconds whatever the other side does."""
        for stage in self._supervisor.stages:
            if isinstance(stage.running, Worker):
                stage.running.request_stop()
        if self.streaming is not None:
            self.streaming.stop()
        self._supervisor.stop()

    def watch(self) -> None:
        """Restart what died, follow the sources, and publish the health when it is due; called a few times a second."""
        self._supervisor.watch()
        is_due = time.monotonic() >= self._health_due_s
        if self.streaming is not None:
            if is_due and self._sources.read_s is not None:
                self.streaming.follow([listed_source(name, entry) for name, entry in self._sources.entries.items()])
            self.streaming.watch()
        if is_due:
            self._health_due_s = time.monotonic() + HEALTH_INTERVAL_S
            self.feed.forget(self._entries())
            self._publish_health()

    def summary(self) -> str:
        """Say in one line how it is."""
        parts: list[str] = []
        if self.streaming is not None:
            streamers = self.streaming.streamers()
            on_air = sum(streamer.is_connected for streamer in streamers)
            parts.append(f"{on_air} of {len(streamers)} mounts on the air")
        parts += [stage.name for stage in self._outputs if stage.running is not None and stage.running.is_alive]
        return ", ".join(parts) or "nothing to stream"

    def _entries(self) -> Mapping[str, Mapping[str, Any]]:
        return self._sources.entries

    def _fresh_source_watch(self, redis: RedisSettings) -> SourceWatch:
        if self._sources.was_started:
            fresh = SourceWatch(redis)
            fresh.entries, fresh.read_s = self._sources.entries, self._sources.read_s
            self._sources = fresh
        return self._sources

    def _publish_health(self) -> None:
        now = time.time()
        mounts = {} if self.streaming is None else self.streaming.status()
        workers = {
            stage.name: {
                "alive": bool(stage.running and stage.running.is_alive),
                "restarts": stage.restarts,
                "error": str(getattr(stage.running, "failure", None) or ""),
            }
            for stage in self._supervisor.stages
        }
        message = StreamsMessage(
            timestamp=now,
            pid=os.getpid(),
            mounts=mounts,
            feed=self.feed.status(),
            outputs={
                stage.name: stage.running.status()
                for stage in self._outputs
                if stage.running is not None and hasattr(stage.running, "status")
            },
            redis=self._outbox.status(),
            workers=workers | ({} if self.streaming is None else self.streaming.workers()),
        )
        heartbeat = StreamHeartbeatMessage(timestamp=now, pid=os.getpid(), mount_count=len(mounts))
        self.last_message = message
        self._outbox.put(keys.STREAM_HEARTBEAT, heartbeat.to_json(), ttl_s=keys.HEARTBEAT_TTL_S)
        self._outbox.put(keys.STREAMS, message.to_json(), ttl_s=keys.METRICS_TTL_S)


def _expected_entry(source: ListedSource) -> dict[str, Any]:
    """Give what can be said of a source before ``audio:metrics`` names it."""
    return {
        "name": source.config.name or source.config.id,
        "source": source.source_name,
        "source_type": source.config.source_type.value,
        "audio_rate_hz": source.sample_rate_hz,
        "running": False,
    }
