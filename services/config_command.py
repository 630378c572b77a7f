"""``herald config check``: read every setting as the programs do, and print what they will use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import orjson

from app_core.alerts.keeper import KeeperSettings
from services.decode_service import channels_of, data_directory
from services.runner import EXIT_OK, exit_code_of
from services.sdr_service import receivers_of
from services.settings import load, parse_table


def check(station_path: Path | None) -> int:
    """Print the effective configuration as JSON; secrets are files, so none is shown."""
    loaded = load(station_path)
    keeper: KeeperSettings = parse_table(KeeperSettings, loaded.tables.get("alerts", {}), "alerts")
    effective = {
        "station_file": None if loaded.station_path is None else str(loaded.station_path),
        "data_directory": str(data_directory(loaded)),
        "redis": loaded.redis.describe(),
        "station": loaded.station.model_dump(mode="json"),
        "receivers": [receiver.model_dump(mode="json") for receiver in receivers_of(loaded)],
        "channels": [channel.model_dump(mode="json") for channel in channels_of(loaded)],
        "alerts": keeper.model_dump(mode="json"),
    }
    sys.stdout.write(orjson.dumps(effective, option=orjson.OPT_INDENT_2).decode() + "\n")
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 78 when a setting is wrong."""
    parser = argparse.ArgumentParser(prog="herald config", description="Check the configuration.")
    parser.add_argument("action", choices=["check"])
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: check(arguments.config))
