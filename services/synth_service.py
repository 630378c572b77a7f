"""The demo's antenna: a generated station behind an ``rtl_tcp`` server, a dongle for whoever connects.

It is a program of its own, so that the SDR program neither imports nor knows it: what it receives from here it would
receive from a dongle. Run it as ``herald synth --serve`` or ``python -m services.synth_service``.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence

from app_core.base.telemetry import configure_logging
from app_core.synth.clips import default_cache_folder
from app_core.synth.demo import DemoSchedule, demo_plan
from app_core.synth.renderer import StationRenderer
from app_core.synth.rtl_tcp_server import serve
from services.runner import EXIT_OK, exit_code_of, stop_on_signals

log = logging.getLogger(__name__)


def run(host: str, port: int, first_start_s: float, interval_s: float, seed: int) -> int:
    """Serve until a signal comes."""
    configure_logging("INFO")
    stopping = stop_on_signals()
    renderer = StationRenderer(
        demo_plan(seed=seed),
        schedule=DemoSchedule(clock=time.time, first_start_s=first_start_s, interval_s=interval_s),
        cache_folder=default_cache_folder(),
    )
    serve(renderer, host, port, stopping, lambda chosen: log.info("the generated station is at %s:%d", host, chosen))
    return EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="herald synth --serve", description="A generated station as an rtl_tcp dongle."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1234)
    parser.add_argument("--first-alert-s", type=float, default=8.0, metavar="S", help="start of the first alert")
    parser.add_argument("--interval-s", type=float, default=60.0, metavar="S", help="from one alert to the next")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args(argv)
    return exit_code_of(lambda: run(a.host, a.port, a.first_alert_s, a.interval_s, a.seed))


if __name__ == "__main__":
    sys.exit(main())
