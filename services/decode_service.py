"""The decode job of the audio program, joined up: Redis, channels, and the keeper of the alerts."""

from __future__ import annotations

import logging

from app_core.alerts.alert import Alert
from app_core.alerts.keeper import AlertKeeper, KeeperSettings
from app_core.audio.decode_job import DecodeJob
from app_core.base.errors import ConfigError, LifecycleError, WireError
from app_core.bridge.alert_stream import publish_alert
from app_core.bridge.connection import RedisLink
from app_core.bridge.keys import check_identifier
from app_core.bridge.messages import AudioMetricsMessage
from app_core.bridge.outbox import Outbox
from app_core.demod.channel import ChannelConfig
from services.settings import Loaded, data_directory, parse_table

log = logging.getLogger(__name__)

KEEPER_STOP_TIMEOUT_S = 10.0

LOWEST_FREQUENCY_HZ = 10_000.0
"""Below this a frequency was written in megahertz or kilohertz."""


def channels_of(loaded: Loaded) -> list[ChannelConfig]:
    """Check and give the ``[[channels]]`` tables.

    Raises
    ------
    ConfigError
        If one is wrong, two have one id, or one is of a receiver that the same file does not have.
    """
    channels: list[ChannelConfig] = parse_table(list[ChannelConfig], loaded.tables.get("channels", []), "channels")
    # The receivers may be another machine's; where this file has some, a channel of none of them is a slip.
    receivers = {table.get("id") for table in loaded.tables.get("receivers", []) if isinstance(table, dict)}
    seen: set[str] = set()
    for channel in channels:
        for identifier in (channel.id, channel.receiver_id):
            try:
                check_identifier(identifier)
            except WireError as error:
                raise ConfigError(f"station.toml: channel {channel.id!r}: {error}") from error
        if channel.id in seen:
            raise ConfigError(f"station.toml: two channels have the id {channel.id!r}")
        seen.add(channel.id)
        if receivers and channel.receiver_id not in receivers:
            known = ", ".join(sorted(map(str, receivers)))
            raise ConfigError(
                f"station.toml: channel {channel.id!r} is of receiver {channel.receiver_id!r}; there are: {known}"
            )
        if channel.frequency_hz < LOWEST_FREQUENCY_HZ:
            raise ConfigError(
                f"station.toml: channel {channel.id!r}: frequency_hz is in hertz; "
                f"{channel.frequency_hz:g} MHz is {channel.frequency_hz * 1e6:.0f}"
            )
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

    def _publish(self, alert: Alert) -> None:
        publish_alert(self._alert_link, alert.alert_id, alert.revision, alert.to_json())


def build(loaded: Loaded) -> DecodeService:
    """Join the decode job up."""
    return DecodeService(loaded)
