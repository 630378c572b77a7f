"""The audio program: Redis to alerts. Run it as ``herald audio`` or ``python -m services.audio_service``.

Without ``--role`` it is the supervisor of its jobs, each a process of its own, since the decode path must never wait
for another job's Python. With ``--role decode`` it is that job alone. This process imports nothing heavy before it
knows which one it is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app_core.base.errors import ConfigError
from app_core.base.supervisor import Stage, Supervisor
from app_core.base.watched_child import WatchedChild
from services.runner import EXIT_CONFIG, exit_code_of, run_program
from services.settings import load

ROLES = ("all", "decode")

DECODE_STOP_TIMEOUT_S = 15.0
"""Time in which the decode job closes its recordings. [seconds]"""


class Jobs:
    """The jobs of the audio program as child processes, each brought back when it dies or hangs."""

    def __init__(self, station_path: Path | None) -> None:
        self._decode = WatchedChild("decode job", _argv_of("decode", station_path))
        self._supervisor = Supervisor([Stage("decode job", lambda: self._decode, stop_timeout_s=DECODE_STOP_TIMEOUT_S)])

    @property
    def hung(self) -> list[str]:
        """Nobody: a job that hangs is killed and started again."""
        return []

    def start(self) -> None:
        """Start them."""
        self._supervisor.start()

    def stop(self) -> None:
        """Stop them, and remove what they reported through."""
        self._supervisor.stop()
        self._decode.close()

    def watch(self) -> bool:
        """Look after them once.

        Raises
        ------
        ConfigError
            If one refuses its settings: starting it again does not help.
        """
        if self._decode.exit_code == EXIT_CONFIG:
            raise ConfigError("the decode job refuses its settings; its reason stands above")
        self._decode.watch()
        self._supervisor.watch()
        return True

    def summary(self) -> str:
        """Say in one line how they are."""
        return f"decode job: {self._decode.status or ('runs' if self._decode.is_alive else 'is being restarted')}"


def run_supervisor(station_path: Path | None) -> int:
    """Keep every job running until a signal comes."""
    return run_program(load(station_path), lambda loaded: Jobs(station_path), lambda jobs: jobs.watch())


def run_decode(station_path: Path | None) -> int:
    """Run the decode job until a signal comes."""
    from services.decode_service import build

    loaded = load(station_path)
    port = loaded.station.prometheus_port_audio
    return run_program(loaded, build, lambda job: job.watch(), port, lambda job: job.last_metrics)


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
