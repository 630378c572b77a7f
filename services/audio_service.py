"""The audio program: Redis to alerts. Run it as ``herald audio`` or ``python -m services.audio_service``.

Without ``--role`` it is the supervisor of its jobs, each a process of its own, since the decode path must never wait
for another job's Python. With ``--role decode`` it is that job alone. This process imports nothing heavy before it
knows which one it is.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from app_core.base.errors import ConfigError
from app_core.base.supervisor import Stage, Supervisor
from app_core.base.watched_child import WatchedChild
from services.runner import (
    EXIT_CONFIG,
    EXIT_OK,
    begin_logs,
    begin_metrics,
    exit_code_of,
    make_notifier,
    run_until_stopped,
    stop_on_signals,
)
from services.settings import load

log = logging.getLogger(__name__)

ROLES = ("all", "decode")

DECODE_STOP_TIMEOUT_S = 15.0
"""Time in which the decode job closes its recordings. [seconds]"""


def run_supervisor(station_path: Path | None) -> int:
    """Keep every job running until a signal comes; one that hangs is killed and started again."""
    loaded = load(station_path)
    begin_logs(loaded)
    stopping = stop_on_signals()
    notifier = make_notifier()
    decode = WatchedChild("decode job", _argv_of("decode", station_path))
    supervisor = Supervisor([Stage("decode job", lambda: decode, stop_timeout_s=DECODE_STOP_TIMEOUT_S)])

    def watch() -> bool:
        if decode.exit_code == EXIT_CONFIG:
            raise ConfigError("the decode job refuses its settings; its reason stands above")
        decode.watch()
        supervisor.watch()
        notifier.status(f"decode job: {decode.status or ('runs' if decode.is_alive else 'is being restarted')}")
        return True

    supervisor.start()
    try:
        run_until_stopped(watch, stopping, notifier)
    finally:
        supervisor.stop()
        decode.close()
    return EXIT_OK


def run_decode(station_path: Path | None) -> int:
    """Run the decode job until a signal comes."""
    from services.decode_service import build

    # A thread in pure Python gives the interpreter away after 0.1 ms, not 5: the decoder's calls are short.
    sys.setswitchinterval(1e-4)
    loaded = load(station_path)
    begin_logs(loaded)
    stopping = stop_on_signals()
    notifier = make_notifier()
    job = build(loaded)
    metrics = begin_metrics(loaded, loaded.station.prometheus_port_audio, lambda: job.last_metrics)

    def watch() -> bool:
        notifier.status(job.summary())
        return job.watch()

    job.start()
    try:
        run_until_stopped(watch, stopping, notifier, lambda: job.hung)
    finally:
        job.stop()
        if metrics is not None:
            metrics.close()
    return EXIT_OK


def _argv_of(role: str, station_path: Path | None) -> list[str]:
    argv = [sys.executable, "-m", "services.audio_service", "--role", role]
    return argv if station_path is None else [*argv, "--config", str(station_path)]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="herald audio", description="Redis to alerts.")
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    parser.add_argument("--role", choices=ROLES, default="all", help="which job to be (default: the supervisor of all)")
    arguments = parser.parse_args(argv)
    run = run_decode if arguments.role == "decode" else run_supervisor
    return exit_code_of(lambda: run(arguments.config))


if __name__ == "__main__":
    sys.exit(main())
