"""A whole station as real processes: Redis, the generated antenna, the SDR service, the audio service."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import psutil

from app_core.base.child import Child
from app_core.bridge.diagnosis import StationHealth, read_station_health
from app_core.bridge.local_redis import free_port
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer, running_redis

RECEIVER_ID = "noaa-1"

START_S = 90.0
"""Longest wait for the first audio: the first start on a machine compiles. [seconds]"""

_STATION = """
[station]
name = "test"
demo = true

[redis]
port = {redis_port}

[[receivers]]
id = "noaa-1"
driver = "rtl_tcp"
port = {antenna_port}
center_frequency_hz = 162487500

[[channels]]
id = "wx7"
receiver_id = "noaa-1"
frequency_hz = 162550000
"""


class LiveStation:
    """A station that runs; made by `live_station`."""

    def __init__(
        self,
        folder: Path,
        redis: RedisServer,
        *,
        with_audio: bool,
        cleanup: ExitStack,
        tables: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.redis = redis
        self.config = folder / "station.toml"
        antenna_port = free_port()
        station = _STATION.format(redis_port=redis.port, antenna_port=antenna_port) + tables
        self.config.write_text(station, encoding="utf-8")
        self.environment = {"HERALD_DATA_DIR": str(folder / "kept"), "HERALD_STATION": str(self.config)}
        self.environment |= environment or {}
        self._link = redis.link()
        cleanup.callback(self._link.close)
        self.antenna = self._start("antenna", ["services.synth_service", "--port", str(antenna_port)], cleanup)
        self.sdr = self._start("sdr", ["services.sdr_service"], cleanup)
        self.audio = self._start("audio", ["services.audio_service"], cleanup) if with_audio else None

    def health(self) -> StationHealth:
        """Give what the services say."""
        return read_station_health(self._link)

    def decode_pid(self) -> int | None:
        """Give the process of the decode job; None while there is none."""
        assert self.audio is not None
        assert self.audio.pid is not None
        children = psutil.Process(self.audio.pid).children()
        return next((child.pid for child in children if "decode" in _words_of(child)), None)

    def log(self, name: str) -> str:
        """Give what a program has logged."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def is_locked(self) -> bool:
        """Whether the receiver is locked, by a status of this moment."""
        sdr = self.health().sdr
        if sdr is None or sdr.age_s > 0.5:
            return False
        entry = sdr.message.receivers[RECEIVER_ID]
        return entry["locked"] is True and entry["last_sample_age_s"] < 0.5

    def is_decoding(self) -> bool:
        """Whether fresh audio is decoded, by a status of this moment and of the job that runs now."""
        audio = self.health().audio
        if audio is None or audio.age_s > 0.5 or audio.message.pid != self.decode_pid():
            return False
        age_s = audio.message.channels["wx7"]["last_pcm_age_s"]
        return age_s is not None and age_s < 0.7

    def _start(self, name: str, words: list[str], cleanup: ExitStack) -> Child:
        log: IO[bytes] = cleanup.enter_context((self.folder / f"{name}.log").open("wb"))
        argv = [sys.executable, "-m", *words]
        child = Child(name, argv, environment=self.environment, stdout=log, stderr=log)
        child.start()
        cleanup.callback(self._stop, child)
        return child

    def _stop(self, child: Child) -> None:
        if child.is_alive and child.pid is not None:
            os.kill(child.pid, signal.SIGCONT)
        child.stop(20.0)


def _words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


@contextmanager
def live_station(
    folder: Path, *, with_audio: bool, tables: str = "", environment: Mapping[str, str] | None = None
) -> Iterator[LiveStation]:
    """Start a station for the length of a block, and wait until it is locked and decodes.

    Parameters
    ----------
    folder
        For its settings, logs and alerts.
    with_audio
        Whether the audio program runs, too.
    tables
        More of its ``station.toml``.
    environment
        More variables for its programs.
    """
    with running_redis(folder) as redis, ExitStack() as cleanup:
        station = LiveStation(
            folder, redis, with_audio=with_audio, cleanup=cleanup, tables=tables, environment=environment
        )
        eventually(station.is_locked, "the lock", START_S)
        if with_audio:
            eventually(station.is_decoding, "the first audio", START_S)
        yield station
