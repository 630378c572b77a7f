"""The supervisor of the audio program's jobs, with scripts in the jobs' place."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app_core.base.errors import ConfigError
from services import audio_service
from services.audio_service import STREAM_TABLES, Jobs, has_streams
from services.settings import STATION_TABLES, load
from tests.support.programs import eventually

LIVES = """
import time
from services.runner import make_notifier
notifier = make_notifier()
notifier.ready()
notifier.status("well")
while True:
    notifier.alive()
    time.sleep(0.05)
"""
REFUSES = "raise SystemExit(78)"

Scripts = Callable[[str, str], None]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Scripts:
    def install(decode: str, stream: str) -> None:
        by_role = {"decode": decode, "stream": stream}
        monkeypatch.setattr(audio_service, "_argv_of", lambda role, path: [sys.executable, "-c", by_role[role]])

    return install


@contextmanager
def running(*, with_streams: bool) -> Iterator[Jobs]:
    jobs = Jobs(None, with_streams=with_streams)
    jobs.start()
    try:
        yield jobs
    finally:
        jobs.stop()


def watched(jobs: Jobs, condition: Callable[[], bool], what: str) -> None:
    def look() -> bool:
        jobs.watch()
        return condition()

    eventually(look, what, 60.0)


def test_the_stream_job_is_brought_back_and_the_decode_job_never_notices(scripts: Scripts) -> None:
    scripts(LIVES, LIVES)
    with running(with_streams=True) as jobs:
        watched(jobs, lambda: jobs.summary() == "decode job: well; stream job: well", "both jobs")
        decode, stream = jobs._running
        decode_pid, stream_pid = decode.pid, stream.pid
        assert stream_pid is not None
        os.kill(stream_pid, signal.SIGKILL)
        watched(jobs, lambda: stream.is_alive and stream.pid != stream_pid, "another stream job")
        assert decode.pid == decode_pid
        assert decode.is_alive


def test_a_stream_job_that_refuses_its_settings_stays_down_and_the_station_decodes_on(scripts: Scripts) -> None:
    scripts(LIVES, REFUSES)
    with running(with_streams=True) as jobs:
        expected = "decode job: well; stream job: stays down until its settings are mended"
        watched(jobs, lambda: jobs.summary() == expected, "the stream job's end")
        assert jobs._stages[1].restarts == 0


def test_a_decode_job_that_refuses_its_settings_ends_the_program(scripts: Scripts) -> None:
    scripts(REFUSES, LIVES)
    with running(with_streams=True) as jobs, pytest.raises(ConfigError, match="decode job refuses"):
        watched(jobs, lambda: False, "nothing")


def test_a_station_without_streams_has_one_job(scripts: Scripts) -> None:
    scripts(LIVES, REFUSES)
    with running(with_streams=False) as jobs:
        watched(jobs, lambda: jobs.summary() == "decode job: well", "the decode job")


@pytest.mark.parametrize("table", STREAM_TABLES)
def test_any_way_out_makes_a_stream_job(tmp_path: Path, table: str) -> None:
    assert table in STATION_TABLES
    path = tmp_path / "station.toml"
    path.write_text("[station]\n", encoding="utf-8")
    assert not has_streams(load(path))
    path.write_text(f"[{table}]\n", encoding="utf-8")
    assert has_streams(load(path))
