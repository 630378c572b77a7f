"""The SDR program: receivers to Redis. Run it as ``herald sdr`` or ``python -m services.sdr_service``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from app_core.base.errors import ConfigError
from app_core.base.telemetry import configure_logging
from app_core.bridge.outbox import Outbox
from app_core.radio.receiver import AnyReceiverSettings
from app_core.radio.station import RadioStation
from services.runner import EXIT_OK, exit_code_of, run_until_stopped, stop_on_signals
from services.settings import Loaded, load, parse_table

log = logging.getLogger(__name__)


def receivers_of(loaded: Loaded) -> list[AnyReceiverSettings]:
    """Check and give the ``[[receivers]]`` tables.

    Raises
    ------
    ConfigError
        If one is wrong, or a device is asked for that this version cannot drive.
    """
    if loaded.program.sdr_args is not None:
        raise ConfigError(
            f"SDR_ARGS={loaded.program.sdr_args} asks for a SoapySDR device, which this version cannot drive yet; "
            'unset it and describe a receiver with driver = "rtl_tcp" or "replay" in station.toml'
        )
    receivers: list[AnyReceiverSettings] = parse_table(
        list[AnyReceiverSettings], loaded.tables.get("receivers", []), "receivers"
    )
    return receivers


def build(loaded: Loaded) -> RadioStation:
    """Join the radio half up."""
    return RadioStation(receivers_of(loaded), Outbox(loaded.redis))


def run(station_path: Path | None) -> int:
    """Run until a signal comes, or every recording that is played once has ended."""
    # The reader gets the interpreter back after 0.1 ms, not 5, while the publisher is in pure Python.
    sys.setswitchinterval(1e-4)
    loaded = load(station_path)
    configure_logging(loaded.program.herald_log_level, json=loaded.program.herald_log_json)
    stopping = stop_on_signals()
    station = build(loaded)
    log.info("SDR service: %d receivers, Redis at %s", len(station.chains), loaded.redis.describe())

    def watch() -> bool:
        station.watch()
        return not station.ended

    station.start()
    try:
        run_until_stopped(watch, stopping)
    finally:
        station.stop()
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="herald sdr", description="Receivers to Redis.")
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: run(arguments.config))


if __name__ == "__main__":
    sys.exit(main())
