"""A mount for every source that there is, made as sources come and removed as they go.

Configured channels have theirs at once, before anything is received. From then on what the decode job says is what
there is: a source that it does not name for `GONE_AFTER_S` is gone. A decode job that says nothing, or a source whose
antenna is unplugged, changes nothing: the mount stands, and carries silence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app_core.audio.codecs import CODECS
from app_core.audio.icecast_desk import IcecastDesk
from app_core.audio.icecast_output import STOP_TIMEOUT_S, IcecastStreamer, MountPlan
from app_core.audio.icecast_settings import IcecastSettings
from app_core.audio.pcm_feed import PcmFeed
from app_core.audio.sources import AudioSourceConfig, AudioSourceType
from app_core.base.errors import ConfigError
from app_core.base.supervisor import Stage, Supervisor
from app_core.network.icecast_server import IcecastServer, one_line
from app_core.network.icecast_url import listen_url, mount_path

log = logging.getLogger(__name__)

GONE_AFTER_S = 5.0
"""A source that is not named for so long is gone. [seconds]"""


@dataclass(frozen=True, slots=True)
class ListedSource:
    """A source of another process, as far as an output must know it; an `AudioSource`.

    Attributes
    ----------
    config
        What is known of it.
    source_name
        Name of the class that makes its audio there.
    sample_rate_hz, n_channels
        Of its audio, as far as that is known.
    """

    config: AudioSourceConfig
    source_name: str
    sample_rate_hz: int = 24000
    n_channels: int = 1


def listed_source(channel_id: str, entry: Mapping[str, Any]) -> ListedSource:
    """Give a source by its entry in ``audio:metrics``; an entry that says nothing of its kind is a radio's."""
    try:
        kind = AudioSourceType(entry.get("source_type", AudioSourceType.SDR.value))
    except ValueError:
        kind = AudioSourceType.SDR
    rate = entry.get("audio_rate_hz", entry.get("sample_rate_hz"))
    return ListedSource(
        AudioSourceConfig(id=channel_id, source_type=kind, name=str(entry.get("name") or "")),
        str(entry.get("source") or ("RedisSDRSourceAdapter" if kind is AudioSourceType.SDR else "AudioSource")),
        int(rate) if isinstance(rate, int | float) and 8000 <= rate <= 192_000 else 24000,
    )


@dataclass(slots=True)
class _Mount:
    """One mount that stands."""

    source: ListedSource
    plan: MountPlan
    stage: Stage
    named_s: float


class AutoStreaming:
    """All mounts of a station.

    Every method is for the thread that calls `watch`.

    Parameters
    ----------
    settings
        The ``[icecast]`` table.
    server
        Where, and as whom.
    feed
        The audio.
    station_name
        Whose station it is, for listeners.
    title_for
        Gives what a channel's listeners are told of an alert that lasts; empty when there is none.
    """

    def __init__(
        self,
        settings: IcecastSettings,
        server: IcecastServer,
        feed: PcmFeed,
        station_name: str,
        title_for: Callable[[str], str],
    ) -> None:
        self._settings = settings
        self._server = server
        self._feed = feed
        self._station_name = station_name
        self._title_for = title_for
        self._mounts: dict[str, _Mount] = {}
        self._refused: dict[str, str] = {}
        self._running = False
        self._supervisor = Supervisor([])
        self._desk = Stage("Icecast desk", lambda: IcecastDesk(server, self.streamers))
        self._supervisor.stages.append(self._desk)

    @property
    def hung(self) -> list[str]:
        """Names of the encoders that live, but no longer turn. A sender may wait for the resolver of names."""
        return [streamer.encoder.name for streamer in self.streamers() if streamer.encoder.is_hung]

    @property
    def mount_count(self) -> int:
        """Mounts that are to stand."""
        return len(self._mounts)

    def streamers(self) -> list[IcecastStreamer]:
        """Give what streams now; for any thread."""
        running = [mount.stage.running for mount in list(self._mounts.values())]
        return [streamer for streamer in running if isinstance(streamer, IcecastStreamer)]

    def start(self) -> None:
        """Start what `follow` made."""
        self._running = True
        self._supervisor.start()

    def stop(self) -> None:
        """End all mounts, side by side."""
        self._running = False
        for streamer in self.streamers():
            streamer.request_stop()
        self._supervisor.stop()

    def watch(self) -> None:
        """Restart what died, and show listeners what is on the air."""
        self._supervisor.watch()
        for channel_id, mount in self._mounts.items():
            if isinstance(mount.stage.running, IcecastStreamer):
                mount.stage.running.set_title(self._title_for(channel_id) or mount.plan.title)

    def follow(self, sources: Sequence[ListedSource]) -> None:
        """Make and remove mounts so that these sources have theirs."""
        now_s = time.monotonic()
        for source in sources:
            mount = self._mounts.get(source.config.id)
            if mount is not None:
                mount.named_s = now_s
                if not _is_same(mount.source, source):
                    self._remove(source.config.id, "it has changed")
        for channel_id in [name for name, mount in self._mounts.items() if now_s - mount.named_s > GONE_AFTER_S]:
            self._remove(channel_id, "its source is gone")
        self._refused = {}
        for source in sources:
            if source.config.id not in self._mounts:
                self._add(source, now_s)

    def status(self) -> dict[str, dict[str, Any]]:
        """Give every mount, and every source that has none with the reason."""
        status: dict[str, dict[str, Any]] = {
            channel_id: {"mount": None, "connected": False, "error": reason}
            for channel_id, reason in self._refused.items()
        }
        for channel_id, mount in self._mounts.items():
            streamer = mount.stage.running
            if isinstance(streamer, IcecastStreamer):
                status[channel_id] = {**streamer.status(), "restarts": mount.stage.restarts}
        return status

    def workers(self) -> dict[str, dict[str, Any]]:
        """Give of each thread that is supervised whether it lives."""
        return {
            stage.name: {"alive": bool(stage.running and stage.running.is_alive), "restarts": stage.restarts}
            for stage in self._supervisor.stages
        }

    def _add(self, source: ListedSource, now_s: float) -> None:
        channel_id = source.config.id
        exception = self._settings.exception_for(channel_id)
        if not exception.enabled:
            return
        try:
            plan = self._plan(source)
        except ConfigError as error:
            self._refused[channel_id] = str(error)
            return
        owner = next((name for name, mount in self._mounts.items() if mount.plan.mount == plan.mount), None)
        if owner is not None:
            self._refused[channel_id] = (
                f"the mount {plan.mount} is that of {owner}: give it another in [[icecast.mounts]]"
            )
            return
        if len(self._mounts) >= self._settings.max_mounts:
            self._refused[channel_id] = f"there are {len(self._mounts)} mounts already: raise max_mounts of [icecast]"
            return
        stage = Stage(
            f"mount {plan.mount}",
            partial(self._fresh_streamer, channel_id, source, plan),
            stop_timeout_s=STOP_TIMEOUT_S,
        )
        self._mounts[channel_id] = _Mount(source, plan, stage, now_s)
        # Mounts end before the desk that asks about them.
        self._supervisor.stages.insert(-1, stage)
        if self._running:
            stage.running = stage.make()
            stage.running.start()

    def _remove(self, channel_id: str, reason: str) -> None:
        mount = self._mounts.pop(channel_id)
        log.info("the mount %s is taken down: %s", mount.plan.mount, reason)
        self._supervisor.stages = [stage for stage in self._supervisor.stages if stage is not mount.stage]
        Supervisor([mount.stage]).stop()

    def _fresh_streamer(self, channel_id: str, source: ListedSource, plan: MountPlan) -> IcecastStreamer:
        mount = self._mounts.get(channel_id)
        if mount is not None and isinstance(mount.stage.running, IcecastStreamer):
            # One of its two threads has died; the other must not keep the mount.
            mount.stage.running.stop(STOP_TIMEOUT_S)
        return IcecastStreamer(self._server, source, self._feed.queue(channel_id), plan)

    def _plan(self, source: ListedSource) -> MountPlan:
        settings, exception = self._settings, self._settings.exception_for(source.config.id)
        codec = CODECS[exception.codec or settings.codec]
        # A bitrate of the whole table was meant for the codec of the whole table.
        of_table = settings.bitrate_kbps if codec.name == settings.codec else None
        mount = mount_path(exception.mount or settings.mount, source.config.id, codec.extension)
        name = one_line(f"{self._station_name}: {exception.name or source.config.title}")
        return MountPlan(
            mount=mount,
            listen_url=listen_url(settings.public_url, settings.host, settings.port, mount, tls=settings.tls),
            codec=codec,
            bitrate_kbps=exception.bitrate_kbps or of_table or codec.default_bitrate_kbps,
            name=name,
            title=name,
            description=settings.description if exception.description is None else exception.description,
            genre=settings.genre if exception.genre is None else exception.genre,
            public=settings.public if exception.public is None else exception.public,
            sample_rate_hz=source.sample_rate_hz,
            n_channels=source.n_channels,
            longest_queue_s=settings.longest_queue_s,
        )


def _is_same(known: ListedSource, named: ListedSource) -> bool:
    """Whether a mount of one source still fits what is now said of it; who says no name has not renamed it."""
    return (
        known.source_name == named.source_name
        and known.config.source_type is named.config.source_type
        and named.config.name in ("", known.config.name)
    )
