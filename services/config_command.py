"""``herald config check``: read every setting as the programs do, and print what they will use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from app_core.alerts.keeper import KeeperSettings
from app_core.audio.ingest_config import AnyIngestSettings
from app_core.base.errors import ConfigError
from app_core.bridge.connection import RedisLink
from app_core.demod.channel import ChannelConfig, misfit
from app_core.radio.receiver import AnyReceiverSettings
from services.decode_service import channels_of
from services.runner import EXIT_OK, exit_code_of
from services.sdr_service import captures_of, receivers_of
from services.settings import data_directory, load, parse_table
from services.source_tables import sources_of
from services.stream_checks import check_icecast, warnings_of_streams
from services.stream_outputs import output_tables_of
from services.stream_service import icecast_of


def check(station_path: Path | None) -> int:
    """Print the effective configuration as JSON, and warnings beside it; secrets are files, so none is shown."""
    loaded = load(station_path)
    keeper: KeeperSettings = parse_table(KeeperSettings, loaded.tables.get("alerts", {}), "alerts")
    receivers, channels = receivers_of(loaded), channels_of(loaded)
    sources = sources_of(loaded, [channel.id for channel in channels])
    check_together(receivers, channels, sources)
    icecast = icecast_of(loaded)
    outputs = output_tables_of(loaded)
    channel_ids = [listed.id for listed in (*channels, *sources)]
    check_icecast(icecast, channel_ids)
    RedisLink(loaded.redis).close()
    program = loaded.program
    effective = {
        "station_file": None if loaded.station_path is None else str(loaded.station_path),
        "data_directory": str(data_directory(loaded)),
        "log": {"level": program.herald_log_level, "json": program.herald_log_json},
        "redis": loaded.redis.describe(),
        "postgres": None if program.postgres_host is None else "known, not used: this version keeps alerts in SQLite",
        "station": loaded.station.model_dump(mode="json"),
        "receivers": [receiver.model_dump(mode="json") for receiver in receivers],
        "channels": [channel.model_dump(mode="json") for channel in channels],
        "sources": [source.model_dump(mode="json") for source in sources],
        "icecast": None if icecast is None else icecast.model_dump(mode="json"),
        **{
            name: None if table is None else table.model_dump(mode="json")
            for name in ("web_audio", "loudspeaker", "dead_air")
            for table in (getattr(outputs, name),)
        },
        "captures": captures_of(loaded).model_dump(mode="json"),
        "alerts": keeper.model_dump(mode="json"),
    }
    for warning in warnings_of_streams(icecast, outputs, sources, channel_ids):
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(orjson.dumps(effective, option=orjson.OPT_INDENT_2).decode() + "\n")
    return EXIT_OK


def check_together(
    receivers: Sequence[AnyReceiverSettings],
    channels: Sequence[ChannelConfig],
    sources: Sequence[AnyIngestSettings] = (),
) -> None:
    """Check what neither program sees alone.

    Raises
    ------
    ConfigError
        If there is no receiver or no channel, and no source instead, two receivers have one id, or a receiver does not
        capture, or does not publish, the whole of a channel.
    """
    if sources and not receivers and not channels:
        return
    if not receivers:
        raise ConfigError("no receiver is configured: add a [[receivers]] table to station.toml")
    if not channels:
        raise ConfigError("no channel is configured: add a [[channels]] table to station.toml")
    bands: dict[str, AnyReceiverSettings] = {}
    for receiver in receivers:
        if receiver.id in bands:
            raise ConfigError(f"station.toml: two receivers have the id {receiver.id!r}")
        bands[receiver.id] = receiver
    for channel in channels:
        receiver = bands[channel.receiver_id]
        center_hz, rate_hz = receiver.center_frequency_hz, receiver.sample_rate_hz
        # A recording may carry both itself; it is then known only when it is opened.
        if center_hz is None or rate_hz is None:
            continue
        # Channels are cut out of what is published: of the whole capture, or of a slice of it.
        slice_hz = receiver.publish_sample_rate_hz
        if slice_hz is not None and slice_hz < rate_hz:
            center_hz, rate_hz = receiver.publish_center_frequency_hz or center_hz, slice_hz
        reason = misfit(channel, rate_hz, center_hz)
        if reason:
            raise ConfigError(f"station.toml: channel {channel.id!r} of receiver {receiver.id!r}: {reason}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 78 when a setting is wrong."""
    parser = argparse.ArgumentParser(prog="herald config", description="Check the configuration.")
    parser.add_argument("action", choices=["check"])
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: check(arguments.config))
