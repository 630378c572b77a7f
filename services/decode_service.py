"""The decode job of the audio program, joined up: Redis, channels, and the keeper of the alerts."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from app_core.alerts.alert import Alert
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from app_core.audio.channel_plan import ChannelOverlay, ChannelPlan, digest_of
from app_core.audio.decode_job import DecodeJob
from app_core.base.errors import ConfigError, HeraldError, LifecycleError, WireError
from app_core.bridge import keys
from app_core.bridge.alert_stream import publish_alert
from app_core.bridge.connection import RedisLink
from app_core.bridge.health import read_message
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage
from app_core.bridge.outbox import Outbox
from app_core.demod.channel_config import ChannelConfig
from services.presets import expand_channel
from services.settings import Loaded, data_directory, parse_table
from services.source_tables import sources_of
from services.warm_up import warm_channels

log = logging.getLogger(__name__)

KEEPER_STOP_TIMEOUT_S = 10.0


def channels_of(loaded: Loaded) -> list[ChannelConfig]:
    """Check and give the ``[[channels]]`` tables.

    Raises
    ------
    ConfigError
        If one is wrong, two have one id, or one is of a receiver that the same file does not have.
    """
    channels: list[ChannelConfig] = parse_table(list[ChannelConfig], loaded.tables.get("channels", []), "channels")
    # The receivers may be another machine's; where this file has some, a channel of none of them is a slip.
    receivers = receiver_ids_of(loaded)
    seen: set[str] = set()
    for channel in channels:
        check_identifiers(channel, "station.toml: ")
        if channel.id in seen:
            raise ConfigError(f"station.toml: two channels have the id {channel.id!r}")
        seen.add(channel.id)
        if receivers and channel.receiver_id not in receivers:
            known = ", ".join(sorted(receivers))
            raise ConfigError(
                f"station.toml: channel {channel.id!r} is of receiver {channel.receiver_id!r}; there are: {known}"
            )
    return channels


def channel_of(table: dict[str, Any]) -> ChannelConfig:
    """Check and give a channel that a command describes.

    Raises
    ------
    ConfigError
        If it is wrong.
    """
    channel: ChannelConfig = parse_table(ChannelConfig, table, "channel", source="")
    check_identifiers(channel)
    return channel


def check_identifiers(channel: ChannelConfig, source: str = "") -> None:
    """Refuse a channel whose id, or whose receiver's, may not stand in a key.

    Raises
    ------
    ConfigError
        If so; `source` begins the text.
    """
    for identifier in (channel.id, channel.receiver_id):
        try:
            keys.check_identifier(identifier)
        except WireError as error:
            raise ConfigError(f"{source}channel {channel.id!r}: {error}") from error


def receiver_ids_of(loaded: Loaded) -> set[str]:
    """Give the ids in the ``[[receivers]]`` tables; what is wrong in them is for the SDR program to say."""
    return {str(table["id"]) for table in _receiver_tables(loaded) if "id" in table}


def corrections_of(loaded: Loaded) -> dict[str, float]:
    """Give the ``frequency_correction_ppm`` of each receiver of this file that may have one."""
    corrections: dict[str, float] = {}
    for table in _receiver_tables(loaded):
        value = table.get("frequency_correction_ppm", 0)
        if table.get("driver") != "replay" and isinstance(value, int | float):
            corrections[str(table.get("id"))] = float(value)
    return corrections


def _receiver_tables(loaded: Loaded) -> list[dict[str, Any]]:
    tables = loaded.tables.get("receivers", [])
    return [table for table in tables if isinstance(table, dict)] if isinstance(tables, list) else []


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
        self._receivers_link = RedisLink(loaded.redis)
        self._receivers_of_file = receiver_ids_of(loaded)
        self._receiver_tables = _receiver_tables(loaded)
        sources = sources_of(loaded, [channel.id for channel in channels_of(loaded)])
        plan = self._plan = self._make_plan(loaded, {source.id for source in sources})
        self._job = DecodeJob(
            loaded.redis,
            None,
            self._keeper,
            self._outbox,
            plan=plan,
            corrections_ppm=corrections_of(loaded),
            sources=sources,
        )
        log.info("decode job: Redis at %s, alerts in %s", loaded.redis.describe(), self._keeper.directory)

    def start(self) -> None:
        """Start the sinks, then the decoders."""
        self._keeper.start()
        self._outbox.start()
        # What comes meanwhile is in the history; the first block shall not wait for a compiler.
        warm_channels(self._plan.now.configs, self._receiver_tables)
        self._job.start()

    def stop(self) -> None:
        """Stop the decoders, then the sinks; open recordings are closed."""
        self._job.stop()
        for sink in (self._keeper, self._outbox):
            try:
                sink.stop(KEEPER_STOP_TIMEOUT_S)
            except LifecycleError as error:
                log.error("%s", error)
        self._receivers_link.close()

    @property
    def last_metrics(self) -> AudioMetricsMessage | None:
        """The metrics that were last published."""
        return self._job.last_metrics

    @property
    def hung(self) -> list[str]:
        """Names of the decoders that live, but no longer turn their loop."""
        return self._job.hung

    def summary(self) -> str:
        """Say in one line how many channels are heard."""
        metrics = self._job.last_metrics
        if metrics is None:
            return "starting"
        silent = [channel_id for channel_id, entry in metrics.channels.items() if not entry.get("running")]
        heard = f"{len(metrics.channels) - len(silent)} of {len(metrics.channels)} channels heard"
        return f"{heard}, silent: {', '.join(silent)}" if silent else heard

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

    def _make_plan(self, loaded: Loaded, source_ids: Collection[str]) -> ChannelPlan:
        def make(table: dict[str, Any]) -> ChannelConfig:
            channel = channel_of(table)
            if channel.id in source_ids:
                raise ConfigError(f"there is a source {channel.id!r} already: give the channel another id")
            return channel

        tables: list[dict[str, Any]] = list(loaded.tables.get("channels", []))
        overlay = ChannelOverlay(data_directory(loaded) / "channels.json", digest_of(tables))
        return ChannelPlan(tables, overlay, make, expand_channel, self._known_receivers)

    def _known_receivers(self) -> Collection[str]:
        """Give the receivers of this file, and those that the SDR service has now; its thread is that of commands."""
        try:
            metrics = read_message(self._receivers_link, keys.METRICS, SdrMetricsMessage)
        except HeraldError as error:
            log.debug("the SDR service's receivers are not known: %s", error)
            return self._receivers_of_file
        return self._receivers_of_file | set(() if metrics is None else metrics.receivers)

    def _publish(self, alert: Alert) -> None:
        publish_alert(self._alert_link, alert.alert_id, alert.revision, alert.to_json())


def build(loaded: Loaded) -> DecodeService:
    """Join the decode job up."""
    return DecodeService(loaded)
