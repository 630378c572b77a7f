"""``herald status``: how the station is, live; what is broken first stands on top in red, with its reason."""

from __future__ import annotations

import argparse
import logging
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.live import Live

from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.diagnosis import MAX_AGE_S, read_station_health
from services.audio_service import has_streams
from services.runner import EXIT_FAILED, EXIT_OK, exit_code_of, stop_on_signals
from services.settings import load
from services.status_view import StationStatus

INTERVAL_S = 0.5


def run(arguments: argparse.Namespace) -> int:
    """Show the station once, or until a signal comes."""
    loaded = load(arguments.config)
    settings, with_streams = loaded.redis, has_streams(loaded)
    # The screen says what the logs would say.
    logging.disable(logging.CRITICAL)
    link = RedisLink(settings)
    try:
        # A pipe cannot be drawn on again.
        if arguments.once or not (arguments.json or sys.stdout.isatty()):
            return _show_once(link, settings, with_streams, as_json=arguments.json)
        stopping = stop_on_signals()
        if arguments.json:
            return _show_lines(link, settings, with_streams, stopping)
        return _show_live(link, settings, with_streams, stopping)
    finally:
        link.close()


def look(link: RedisLink, settings: RedisSettings, with_streams: bool) -> StationStatus:
    """Look at the station once; `with_streams` says whether it has anything to stream."""
    return StationStatus(read_station_health(link, streams_wanted=with_streams), settings, MAX_AGE_S)


def _show_once(link: RedisLink, settings: RedisSettings, with_streams: bool, *, as_json: bool) -> int:
    status = look(link, settings, with_streams)
    if as_json:
        _write_json(status)
    else:
        Console(width=None if sys.stdout.isatty() else 160).print(status.screen())
    return EXIT_OK if status.is_well else EXIT_FAILED


def _show_lines(link: RedisLink, settings: RedisSettings, with_streams: bool, stopping: threading.Event) -> int:
    while not stopping.is_set():
        _write_json(look(link, settings, with_streams))
        stopping.wait(2.0 * INTERVAL_S)
    return EXIT_OK


def _show_live(link: RedisLink, settings: RedisSettings, with_streams: bool, stopping: threading.Event) -> int:
    with Live(look(link, settings, with_streams).screen(), auto_refresh=False, screen=True) as live:
        while not stopping.wait(INTERVAL_S):
            live.update(look(link, settings, with_streams).screen(), refresh=True)
    return EXIT_OK


def _write_json(status: StationStatus) -> None:
    sys.stdout.write(orjson.dumps({"timestamp": time.time(), **status.to_dict()}).decode() + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="herald status", description="How the station is, live.")
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    parser.add_argument("--once", action="store_true", help="show it once; ends with 1 when something is broken")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, a line a second")
    arguments = parser.parse_args(argv)
    return exit_code_of(lambda: run(arguments))


if __name__ == "__main__":
    sys.exit(main())
