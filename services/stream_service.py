"""The stream job of the audio program, joined up: the feed, the Icecast mounts, and what else carries audio out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from app_core.audio.alert_board import AlertBoard
from app_core.audio.auto_streaming import AutoStreaming, ListedSource
from app_core.audio.icecast_settings import IcecastSettings, server_of
from app_core.audio.ingest_config import AnyIngestSettings, StreamSettings
from app_core.audio.pcm_feed import PcmFeed
from app_core.audio.sources import AudioSourceConfig, AudioSourceType
from app_core.audio.stream_job import StreamJob
from app_core.base.errors import ConfigError, LifecycleError
from app_core.base.secret_file import exposure
from app_core.bridge.messages import StreamsMessage
from app_core.bridge.outbox import Outbox
from services.audio_service import STREAM_TABLES, has_streams
from services.settings import Loaded, parse_table
from services.source_tables import sources_of
from services.stream_outputs import outputs_of

log = logging.getLogger(__name__)

OUTBOX_STOP_TIMEOUT_S = 1.0

LONGEST_ID = 64
"""Characters of a channel's id."""


def icecast_of(loaded: Loaded) -> IcecastSettings | None:
    """Check and give the ``[icecast]`` table.

    Raises
    ------
    ConfigError
        If it is wrong, or the demo would stream to another machine.
    """
    if "icecast" not in loaded.tables:
        return None
    settings: IcecastSettings = parse_table(IcecastSettings, loaded.tables["icecast"], "icecast")
    if loaded.station.demo and not settings.is_local:
        raise ConfigError(
            f"station.toml: icecast.host: the demo's audio never leaves this machine, and {settings.host} is another "
            f"one; take demo out of [station], or set host to 127.0.0.1"
        )
    return settings


def configured_sources(loaded: Loaded) -> list[ListedSource]:
    """Give the channels and sources of the file, as the decode job will name them.

    Raises
    ------
    ConfigError
        If a ``[[sources]]`` table is wrong.
    """
    tables = loaded.tables.get("channels", [])
    # What is wrong in them is for the decode job to say, which reads them with all that a demodulator needs.
    channels = [table for table in tables if isinstance(table, dict) and isinstance(table.get("id"), str)]
    listed = [
        ListedSource(
            AudioSourceConfig(id=table["id"], source_type=AudioSourceType.SDR, name=str(table.get("name", ""))),
            "RedisSDRSourceAdapter",
            rate if isinstance(rate := table.get("audio_rate_hz"), int) else 24000,
            2 if table.get("stereo") is True else 1,
        )
        for table in channels
        if 0 < len(table["id"]) <= LONGEST_ID
    ]
    sources = sources_of(loaded, [table["id"] for table in channels])
    return listed + [_listed(source) for source in sources]


def _listed(settings: AnyIngestSettings) -> ListedSource:
    """Give a source as the decode job will name it, without what is needed to receive it."""
    if isinstance(settings, StreamSettings):
        kind = AudioSourceType.STREAM
        by_http = "HTTPIngestSource" if settings.protocol == "http" else "IcecastIngestSource"
        name = "StreamSourceAdapter" if settings.is_hls else by_http
    else:
        kind = AudioSourceType(settings.type)
        name = "FileSource" if kind is AudioSourceType.FILE else "SoundCardSource"
    return ListedSource(settings.source_config(kind), name, settings.sample_rate_hz)


class StreamService:
    """Everything that the stream job runs.

    Parameters
    ----------
    loaded
        The settings.

    Raises
    ------
    ConfigError
        If a setting is wrong.
    """

    def __init__(self, loaded: Loaded) -> None:
        if not has_streams(loaded):
            tables = ", ".join(f"[{table}]" for table in STREAM_TABLES)
            raise ConfigError(f"there is nothing to stream: station.toml has none of {tables}")
        self._outbox = Outbox(loaded.redis)
        self._job = StreamJob(
            loaded.redis,
            self._outbox,
            make_streaming=_streaming_maker(loaded),
            configured=configured_sources(loaded),
            outputs=outputs_of(loaded),
        )
        log.info("stream job: Redis at %s", loaded.redis.describe())

    @property
    def last_message(self) -> StreamsMessage | None:
        """The health that was last published."""
        return self._job.last_message

    @property
    def hung(self) -> list[str]:
        """Names of the threads that live, but no longer turn their loop."""
        return self._job.hung

    def start(self) -> None:
        """Start the way out for the health, then the job."""
        self._outbox.start()
        self._job.start()

    def stop(self) -> None:
        """Stop the job, then the way out."""
        self._job.stop()
        try:
            self._outbox.stop(OUTBOX_STOP_TIMEOUT_S)
        except LifecycleError as error:
            log.error("%s", error)

    def summary(self) -> str:
        """Say in one line how it is."""
        return self._job.summary()

    def watch(self) -> bool:
        """Look after everything once.

        Raises
        ------
        LifecycleError
            If the way out has died; a fresh process is the cure.
        """
        if not self._outbox.is_alive:
            raise LifecycleError(f"{self._outbox.name} has died: {self._outbox.failure}")
        self._job.watch()
        return True


def build(loaded: Loaded) -> StreamService:
    """Join the stream job up."""
    return StreamService(loaded)


def _streaming_maker(loaded: Loaded) -> Callable[[PcmFeed, AlertBoard], AutoStreaming] | None:
    settings = icecast_of(loaded)
    if settings is None:
        return None
    server = server_of(settings)
    for password_file in (settings.password_file, settings.admin_password_file):
        if password_file is not None and (reason := exposure(password_file)):
            log.warning("[icecast]: %s", reason)
    known = {source.config.id for source in configured_sources(loaded)}
    for mount in settings.mounts:
        if mount.channel not in known:
            # It may be added by a command later.
            log.warning("[[icecast.mounts]] has channel %r, which station.toml does not have", mount.channel)

    def make(feed: PcmFeed, alerts: AlertBoard) -> AutoStreaming:
        return AutoStreaming(settings, server, feed, loaded.station.name, alerts.text_for)

    return make
