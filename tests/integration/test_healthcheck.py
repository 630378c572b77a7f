"""The health check tells the truth of real services: frozen, killed, hung, and well."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_core.base.child import Child, run_quietly
from app_core.bridge.diagnosis import diagnose
from tests.support.live_station import LiveStation, live_station
from tests.support.programs import eventually

AGE_S = 2.0


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStation]:
    with live_station(tmp_path_factory.mktemp("station"), with_audio=True) as running:
        yield running


@pytest.fixture(autouse=True)
def well(station: LiveStation) -> None:
    """Every test begins with a station that is well, by every measure: not with one that is catching up."""
    eventually(
        lambda: station.is_locked() and station.is_decoding() and not diagnose(station.health(), AGE_S),
        "a station that is well",
        60.0,
    )


def _probe(station: LiveStation, service: str, max_age_s: float = AGE_S) -> tuple[int, str]:
    """Run the health check as a container does, and give its exit code and words."""
    path = station.folder / f"probe-{service}.txt"
    with path.open("wb") as output:
        probe = Child(
            "probe",
            [sys.executable, "-m", "services.healthcheck", service, "--max-age-s", str(max_age_s)],
            environment=station.environment,
            stdout=output,
            stderr=output,
        )
        probe.start()
        code = probe.wait(20.0)
    assert code is not None, "the check itself hangs"
    return code, path.read_text(encoding="utf-8")


def _becomes_unhealthy(station: LiveStation, service: str) -> tuple[float, str]:
    """Give after how long the check fails, and its words. [seconds]"""
    began_s, words = time.monotonic(), ""

    def fails() -> bool:
        nonlocal words
        code, words = _probe(station, service)
        return code == 1

    eventually(fails, f"a failing check of {service}; it said {words}")
    return time.monotonic() - began_s, words


def test_a_station_that_is_well_passes(station: LiveStation) -> None:
    assert _probe(station, "sdr") == (0, "healthy: samples no older than 2 s\n")
    assert _probe(station, "audio") == (0, "healthy: decoded audio no older than 2 s\n")


def test_the_check_needs_no_numpy_and_is_quick(station: LiveStation) -> None:
    words = (
        "import os, sys; from services.healthcheck import main; code = main(['sdr']); "
        "sys.exit(9 if 'numpy' in sys.modules else code)"
    )
    began_s = time.monotonic()
    assert run_quietly([sys.executable, "-c", f"import os; os.environ.update({station.environment!r}); {words}"],
                       timeout_s=20.0) is not None  # fmt: skip
    assert time.monotonic() - began_s < 5.0


def test_a_frozen_sdr_service_fails_within_the_age_and_is_named(station: LiveStation) -> None:
    assert station.sdr.pid is not None
    os.kill(station.sdr.pid, signal.SIGSTOP)
    try:
        took_s, words = _becomes_unhealthy(station, "sdr")
        assert words.startswith("unhealthy: SDR service: silent for ")
        assert f"look closer: redis-cli -p {station.redis.port} GET sdr:heartbeat" in words
        # The last status may be as old as a second, and a probe takes a moment itself.
        assert took_s < AGE_S + 3.0
    finally:
        os.kill(station.sdr.pid, signal.SIGCONT)


def test_an_antenna_that_hangs_is_named_as_the_first_broken_stage_of_both(station: LiveStation) -> None:
    assert station.antenna.pid is not None
    os.kill(station.antenna.pid, signal.SIGSTOP)
    try:
        _, words = _becomes_unhealthy(station, "sdr")
        assert words.startswith("unhealthy: receiver: noaa-1: no samples for ")
        assert "GET sdr:metrics" in words
        _, words = _becomes_unhealthy(station, "audio")
        assert words.startswith("unhealthy: receiver: noaa-1: no samples for ")
    finally:
        os.kill(station.antenna.pid, signal.SIGCONT)


def test_a_killed_decode_job_fails_until_it_is_back(station: LiveStation) -> None:
    pid = station.decode_pid()
    assert pid is not None
    assert station.audio is not None
    assert station.audio.pid is not None
    # The supervisor is held, so that the job stays away for as long as the check needs to see it.
    os.kill(station.audio.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    try:
        _, words = _becomes_unhealthy(station, "audio")
        assert words.startswith("unhealthy: decode job: silent for ")
    finally:
        os.kill(station.audio.pid, signal.SIGCONT)
    eventually(lambda: _probe(station, "audio")[0] == 0, "the decode job's return", 60.0)
    assert station.decode_pid() != pid
    assert _probe(station, "sdr")[0] == 0


def test_a_decode_job_that_hangs_is_killed_and_replaced(station: LiveStation) -> None:
    pid = station.decode_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    began_s = time.monotonic()
    eventually(lambda: station.decode_pid() not in (pid, None), "another decode job", 30.0)
    assert 5.0 < time.monotonic() - began_s < 20.0
    eventually(lambda: _probe(station, "audio")[0] == 0, "decoded audio", 60.0)
    assert "decode job (pid" in station.log("audio")


def test_redis_that_does_not_answer_is_named(station: LiveStation) -> None:
    station.redis.pause()
    try:
        code, words = _probe(station, "sdr")
        assert code == 1
        assert words.startswith("unhealthy: Redis: ")
        assert f"look closer: redis-cli -p {station.redis.port} PING" in words
    finally:
        station.redis.resume()


def test_a_wrong_argument_or_setting_is_no_health(station: LiveStation, tmp_path: Path) -> None:
    assert _probe(station, "sdr", max_age_s=0.0)[0] == 2
    station.environment["HERALD_STATION"] = str(tmp_path / "nothing.toml")
    try:
        assert _probe(station, "sdr")[0] == 78
    finally:
        station.environment["HERALD_STATION"] = str(station.config)
