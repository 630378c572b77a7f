"""The decode job of the audio program, joined up: Redis, channels, and the keeper of the alerts."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from app_core.alerts.alert import Alert
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from app_core.audio.decode_job import DecodeJob
from app_core.base.errors import LifecycleError
from app_core.bridge.alert_stream import publish_alert
from app_core.bridge.connection import RedisLink
from app_core.bridge.outbox import Outbox
from app_core.demod.channel import ChannelConfig
from services.settings import Loaded, parse_table

log = logging.getLogger(__name__)

KEEPER_STOP_TIMEOUT_S = 10.0


def data_directory(loaded: Loaded) -> Path:
    """Give the folder of everything that is kept: ``HERALD_DATA_DIR``, else the user's state folder."""
    if loaded.program.herald_data_dir is not None:
        return loaded.program.herald_data_dir
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "herald"


def channels_of(loaded: Loaded) -> list[ChannelConfig]:
    """Check and give the ``[[channels]]`` tables.

    Raises
    ------
    ConfigError
        If one is wrong.
    """
    channels: list[ChannelConfig] = parse_table(list[ChannelConfig], loaded.tables.get("channels", []), "channels")
    return channels


class DecodeService:
    """Everything that the decode job runs.

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
        settings: KeeperSettings = parse_table(KeeperSettings, loaded.tables.get("alerts", {}), "alerts")
        if loaded.program.postgres_host is not None:
            log.warning("POSTGRES_HOST is set, but this version keeps alerts in SQLite alone")
        self._alert_link = RedisLink(loaded.redis)
        self._keeper = AlertKeeper(
            data_directory(loaded) / "alerts", self._publish, settings=settings, demo=loaded.station.demo
        )
        self._outbox = Outbox(loaded.redis)
        self._job = DecodeJob(loaded.redis, channels_of(loaded), self._keeper, self._outbox)
        log.info("decode job: Redis at %s, alerts in %s", loaded.redis.describe(), self._keeper.directory)

    def start(self) -> None:
        """Start the sinks, then the decoders."""
        self._keeper.start()
        self._outbox.start()
        self._job.start()

    def stop(self) -> None:
        """Stop the decoders, then the sinks; open recordings are closed."""
        self._job.stop()
        for sink in (self._keeper, self._outbox):
            try:
                sink.stop(KEEPER_STOP_TIMEOUT_S)
            except LifecycleError as error:
                log.error("%s", error)

    def watch(self) -> bool:
        """Look after everything once.

        Raises
        ------
        LifecycleError
            If the keeper of the alerts or the way out has died; a fresh process is the cure.
        """
        for sink in (self._keeper, self._outbox):
            if not sink.is_alive:
                raise LifecycleError(f"{sink.name} has died: {sink.failure}")
        self._job.watch()
        return True

    def _publish(self, alert: Alert) -> None:
        publish_alert(self._alert_link, alert.alert_id, alert.revision, alert.to_json())


def build(loaded: Loaded) -> DecodeService:
    """Join the decode job up."""
    return DecodeService(loaded)
