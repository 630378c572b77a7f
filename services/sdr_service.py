"""The SDR program: receivers to Redis. Run it as ``herald sdr`` or ``python -m services.sdr_service``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app_core.base.errors import ConfigError
from app_core.bridge.outbox import Outbox
from app_core.radio.capture_folder import CaptureFolder, CaptureSettings
from app_core.radio.receiver import AnyReceiverSettings, parse_device_args
from app_core.radio.station import RadioStation
from services.runner import exit_code_of, run_program
from services.settings import Loaded, data_directory, load, parse_table

log = logging.getLogger(__name__)


def receivers_of(loaded: Loaded) -> list[AnyReceiverSettings]:
    """Check and give the ``[[receivers]]`` tables, and what SDR_ARGS says.

    Raises
    ------
    ConfigError
        If one is wrong, or SDR_ARGS is, or it could mean several receivers.
    """
    tables: Any = loaded.tables.get("receivers", [])
    if loaded.program.sdr_args is not None and isinstance(tables, list):
        tables = with_sdr_args(tables, loaded.program.sdr_args)
    receivers: list[AnyReceiverSettings] = parse_table(list[AnyReceiverSettings], tables, "receivers")
    return receivers


def with_sdr_args(tables: list[Any], sdr_args: str) -> list[Any]:
    """Give the tables with SDR_ARGS in the SoapySDR receiver, or with a receiver ``sdr0`` when there is none.

    Raises
    ------
    ConfigError
        If SDR_ARGS does not describe a device, or there are several receivers that it could mean.
    """
    try:
        args = parse_device_args(sdr_args)
    except ValueError as error:
        raise ConfigError(f"SDR_ARGS={sdr_args}: {error}") from error
    soapy = [table for table in tables if isinstance(table, dict) and table.get("driver") == "soapy"]
    if len(soapy) > 1:
        raise ConfigError(
            f"SDR_ARGS={sdr_args} could mean any of {len(soapy)} SoapySDR receivers in station.toml: unset it"
        )
    if not soapy:
        return [*tables, {"id": "sdr0", "driver": "soapy", "args": sdr_args}]
    changed = {**soapy[0], "args": sdr_args}
    if "serial" in args:
        changed.pop("serial", None)
    return [changed if table is soapy[0] else table for table in tables]


def listened_frequencies(loaded: Loaded) -> dict[str, list[float]]:
    """Give the frequencies of the ``[[channels]]`` tables by receiver, as plain numbers.

    What is wrong in a table is for the audio program to say; here it is left out.
    """
    found: dict[str, list[float]] = {}
    tables = loaded.tables.get("channels", [])
    for table in tables if isinstance(tables, list) else []:
        frequency_hz = table.get("frequency_hz") if isinstance(table, dict) else None
        if isinstance(frequency_hz, int | float) and not isinstance(frequency_hz, bool):
            found.setdefault(str(table.get("receiver_id")), []).append(float(frequency_hz))
    return found


def captures_of(loaded: Loaded) -> CaptureSettings:
    """Check and give the ``[captures]`` table.

    Raises
    ------
    ConfigError
        If it is wrong.
    """
    settings: CaptureSettings = parse_table(CaptureSettings, loaded.tables.get("captures", {}), "captures")
    return settings


def build(loaded: Loaded) -> RadioStation:
    """Join the radio half up."""
    captures = captures_of(loaded)
    receivers = receivers_of(loaded)
    log.info("SDR service: %d receivers, Redis at %s", len(receivers), loaded.redis.describe())
    return RadioStation(
        receivers,
        Outbox(loaded.redis),
        channels_hz=listened_frequencies(loaded),
        redis=loaded.redis,
        folder=CaptureFolder(captures.folder or data_directory(loaded) / "captures", captures),
    )


def run(station_path: Path | None) -> int:
    """Run until a signal comes, or every recording that is played once has ended."""
    loaded = load(station_path)

    def watch(station: RadioStation) -> bool:
        station.watch()
        return not station.ended

    return run_program(loaded, build, watch, loaded.station.prometheus_port_sdr, lambda station: station.last_metrics)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="herald sdr", description="Receivers to Redis.")
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: run(arguments.config))


if __name__ == "__main__":
    sys.exit(main())
