"""What ``herald doctor`` knows of the station: the settings that can be read, and what is wrong in the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from app_core.alerts.keeper import KeeperSettings
from app_core.audio.icecast_settings import IcecastSettings
from app_core.audio.ingest_config import AnyIngestSettings
from app_core.base.errors import ConfigError
from app_core.base.finding import Finding, Verdict, failure, not_applicable, ok, warning
from app_core.bridge.connection import RedisSettings
from app_core.demod.channel_config import ChannelConfig
from app_core.radio.receiver import AnyReceiverSettings, SoapySettings
from services.config_command import check_together
from services.decode_service import channels_of
from services.sdr_service import captures_of, receivers_of
from services.settings import STATION_PLACES, Loaded, data_directory, load, load_redis_settings, parse_table
from services.source_tables import sources_of
from services.stream_outputs import OutputTables, output_tables_of
from services.stream_service import icecast_of

T = TypeVar("T")

_ASSUMED_RATE_HZ = 250_000.0
"""Of a receiver whose rate is known only when it is open. [samples per second]"""


@dataclass(frozen=True, slots=True)
class DoctorStation:
    """What could be read.

    Attributes
    ----------
    finding
        The check of the settings themselves.
    receivers, sources
        Empty where there are none, or where they are wrong.
    icecast
        None where there is none.
    has_web_audio
        Whether the station serves audio itself.
    redis
        None where not even that can be read.
    data_directory
        As `redis`.
    """

    finding: Finding
    receivers: tuple[AnyReceiverSettings, ...] = ()
    sources: tuple[AnyIngestSettings, ...] = ()
    icecast: IcecastSettings | None = None
    has_web_audio: bool = False
    redis: RedisSettings | None = None
    data_directory: Path | None = None

    @property
    def is_configured(self) -> bool:
        """Whether anything was ever set: a receiver, a channel, a source, or another Redis than this machine's own."""
        return self.finding.verdict is not Verdict.NOT_APPLICABLE or self.redis != RedisSettings()

    @property
    def soapy(self) -> tuple[SoapySettings, ...]:
        """The receivers that SoapySDR opens."""
        return tuple(settings for settings in self.receivers if isinstance(settings, SoapySettings))

    @property
    def published_rate_hz(self) -> float:
        """What all receivers publish together. [samples per second]"""
        return sum(
            settings.publish_sample_rate_hz or settings.sample_rate_hz or _ASSUMED_RATE_HZ
            for settings in self.receivers
        )


class _Reader:
    """Reads part after part, and keeps what is wrong."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def take(self, read: Callable[[], T], otherwise: T) -> T:
        """Give what `read` gives, or else `otherwise`."""
        try:
            return read()
        except ConfigError as error:
            self.errors.append(str(error).replace("\n", "; "))
            return otherwise


def read_doctor_station(station_path: Path | None) -> DoctorStation:
    """Read all settings, each part by itself.

    Parameters
    ----------
    station_path
        ``station.toml`` as named on the command line.
    """
    reader = _Reader()
    loaded = reader.take(lambda: load(station_path), None)
    if loaded is None:
        # The environment may be well, and say where Redis is.
        redis = _Reader().take(load_redis_settings, None)
        return DoctorStation(_wrong(reader.errors, station_path), redis=redis)
    receivers: list[AnyReceiverSettings] = reader.take(lambda: receivers_of(loaded), [])
    channels: list[ChannelConfig] = reader.take(lambda: channels_of(loaded), [])
    sources: list[AnyIngestSettings] = reader.take(lambda: sources_of(loaded, [channel.id for channel in channels]), [])
    icecast = reader.take(lambda: icecast_of(loaded), None)
    outputs = reader.take(lambda: output_tables_of(loaded), OutputTables(None, None, None))
    reader.take(lambda: captures_of(loaded), None)
    reader.take(lambda: parse_table(KeeperSettings, loaded.tables.get("alerts", {}), "alerts"), None)
    if receivers and channels and not reader.errors:
        reader.take(lambda: check_together(receivers, channels, sources), None)
    return DoctorStation(
        _wrong(reader.errors, loaded.station_path)
        if reader.errors
        else _judge(loaded, len(receivers), len(channels), len(sources)),
        tuple(receivers),
        tuple(sources),
        icecast,
        outputs.web_audio is not None,
        loaded.redis,
        data_directory(loaded),
    )


def _wrong(errors: list[str], station_path: Path | None) -> Finding:
    named = "" if station_path is None else f" --config {station_path}"
    return failure("config", "; ".join(errors), f"mend that setting, then: herald config check{named}")


def _judge(loaded: Loaded, n_receivers: int, n_channels: int, n_sources: int) -> Finding:
    """Give the verdict on settings in which nothing is wrong by itself."""
    path = loaded.station_path
    if not n_receivers and not n_channels and not n_sources:
        where = f"no {' and no '.join(map(str, STATION_PLACES))}" if path is None else f"{path} has no receiver"
        return not_applicable("config", f"nothing configured: {where}; herald demo plays a generated station")
    counts = {"receiver": n_receivers, "channel": n_channels, "source": n_sources}
    words = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
    seen = f"{path or 'SDR_ARGS'}: {words}"
    if not n_channels and not n_sources:
        return warning(
            "config", f"{seen}: nobody listens", "add [[channels]], here or on the host of the audio service"
        )
    if n_channels and not n_receivers:
        return warning(
            "config", f"{seen}: nothing is received", "add [[receivers]], here or on the host of the SDR service"
        )
    return ok("config", seen)
