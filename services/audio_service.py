"""The audio program: Redis to alerts. Run it as ``herald audio`` or ``python -m services.audio_service``.

Without ``--role`` it is the supervisor of its jobs, each a process of its own, since the decode path must never wait
for another job's Python. With ``--role decode`` or ``--role stream`` it is that job alone. This process imports nothing
heavy before it knows which one it is.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from app_core.base.errors import ConfigError
from app_core.base.supervisor import Stage, Supervisor
from app_core.base.watched_child import WatchedChild
from services.runner import EXIT_CONFIG, exit_code_of, run_program
from services.settings import Loaded, load

log = logging.getLogger(__name__)

ROLES = ("all", "decode", "stream")

DECODE_STOP_TIMEOUT_S = 15.0
"""Time in which the decode job closes its recordings. [seconds]"""

STREAM_STOP_TIMEOUT_S = 4.0
"""Time in which the stream job takes its mounts down. [seconds]"""

STREAM_TABLES = ("icecast", "web_audio", "loudspeaker", "dead_air")
"""Tables of ``station.toml`` that give the stream job something to do."""


class Jobs:
    """The jobs of the audio program as child processes, each brought back when it dies or hangs."""

    def __init__(self, station_path: Path | None, *, with_streams: bool = False) -> None:
        self._decode = WatchedChild("decode job", _argv_of("decode", station_path))
        self._stream = WatchedChild("stream job", _argv_of("stream", station_path)) if with_streams else None
        self._stages = [Stage("decode job", lambda: self._decode, stop_timeout_s=DECODE_STOP_TIMEOUT_S)]
        stream = self._stream
        if stream is not None:
            self._stages.append(Stage("stream job", lambda: stream, stop_timeout_s=STREAM_STOP_TIMEOUT_S))
        self._supervisor = Supervisor(self._stages)

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
        for job in self._running:
            job.close()

    def watch(self) -> bool:
        """Look after them once.

        Raises
        ------
        ConfigError
            If the decode job refuses its settings: starting it again does not help. A stream job that refuses its own
            stays down, and the station decodes on.
        """
        if self._decode.exit_code == EXIT_CONFIG:
            raise ConfigError("the decode job refuses its settings; its reason stands above")
        stream = self._stages[-1]
        if self._stream is not None and not stream.given_up and self._stream.exit_code == EXIT_CONFIG:
            stream.given_up = True
            log.error("the stream job refuses its settings and stays down; its reason stands above")
        for job in self._running:
            job.watch()
        self._supervisor.watch()
        return True

    def summary(self) -> str:
        """Say in one line how they are."""
        return "; ".join(
            f"{job.name}: {job.status or ('runs' if job.is_alive else _absence(stage))}"
            for job, stage in zip(self._running, self._stages, strict=True)
        )

    @property
    def _running(self) -> list[WatchedChild]:
        return [self._decode] if self._stream is None else [self._decode, self._stream]


def _absence(stage: Stage) -> str:
    return "stays down until its settings are mended" if stage.given_up else "is being restarted"


def has_streams(loaded: Loaded) -> bool:
    """Whether the station carries audio anywhere."""
    return any(table in loaded.tables for table in STREAM_TABLES)


def run_supervisor(station_path: Path | None) -> int:
    """Keep every job running until a signal comes."""
    loaded = load(station_path)
    with_streams = has_streams(loaded)
    return run_program(loaded, lambda _: Jobs(station_path, with_streams=with_streams), lambda jobs: jobs.watch())


def run_decode(station_path: Path | None) -> int:
    """Run the decode job until a signal comes."""
    from services.decode_service import build

    loaded = load(station_path)
    port = loaded.station.prometheus_port_audio
    return run_program(loaded, build, lambda job: job.watch(), port, lambda job: job.last_metrics)


def run_stream(station_path: Path | None) -> int:
    """Run the stream job until a signal comes."""
    from services.stream_service import build

    loaded = load(station_path)
    # The variable names one port, and that one is the decode job's.
    program = loaded.program.model_copy(update={"herald_prometheus_port": None})
    loaded = replace(loaded, program=program)
    port = loaded.station.prometheus_port_streams
    return run_program(loaded, build, lambda job: job.watch(), port, lambda job: job.last_message)


def _argv_of(role: str, station_path: Path | None) -> list[str]:
    argv = [sys.executable, "-m", "services.audio_service", "--role", role]
    return argv if station_path is None else [*argv, "--config", str(station_path)]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="herald audio", description="Redis to alerts.")
    parser.add_argument("--config", type=Path, metavar="STATION.TOML", help="the station's description")
    parser.add_argument("--role", choices=ROLES, default="all", help="which job to be (default: the supervisor of all)")
    arguments = parser.parse_args(argv)
    run = {"all": run_supervisor, "decode": run_decode, "stream": run_stream}[arguments.role]
    return exit_code_of(lambda: run(arguments.config))


if __name__ == "__main__":
    sys.exit(main())
