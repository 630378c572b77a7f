"""The programs as their users meet them: exit codes, last words, weight."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app_core.base.errors import ConfigError, LinkError
from app_core.bridge.local_redis import free_port
from services.runner import EXIT_CONFIG, EXIT_FAILED, exit_code_of, run_until_stopped, stop_on_signals
from tests.support.programs import PATIENCE_S, eventually

_ROOT = Path(__file__).parents[3]
_PROGRAMS = ("services.sdr_service", "services.audio_service")


def _environment(**changes: str) -> dict[str, str]:
    foreign = ("HERALD_", "REDIS_", "POSTGRES_", "SDR_", "CONFIG_PATH")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PYTHONPATH": str(_ROOT), **changes}


def _run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env=_environment(**environment),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S * 2,
        check=False,
    )


def _imported_by(module: str) -> set[str]:
    program = f"import sys, {module}; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, env=_environment(), capture_output=True, text=True, check=True
    )
    return set(output.stdout.split())


def test_the_sdr_program_carries_no_demodulation_and_no_compiler() -> None:
    imported = _imported_by("services.sdr_service")
    assert "app_core.radio.station" in imported
    heavy = ("scipy.signal", "scipy.linalg", "numba", "sigmf", "soundfile", "sqlalchemy", "rich")
    ours = ("app_core.demod", "app_core.eas", "app_core.audio", "app_core.alerts", "app_core.synth", "app_core.web")
    assert not {name for name in imported for other in (*heavy, *ours) if name == other or name.startswith(other + ".")}


def test_the_audio_supervisor_carries_nothing_heavy_and_no_radio() -> None:
    imported = _imported_by("services.audio_service")
    others = ("numpy", "scipy", "numba", "app_core.radio", "app_core.dsp", "app_core.demod", "app_core.eas")
    assert not {name for name in imported for other in others if name == other or name.startswith(other + ".")}


@pytest.mark.parametrize("program", _PROGRAMS)
@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("[recievers]\n", "unknown table [recievers]"),
        ("[redis]\nhots = 1\n", "redis.hots: no such setting"),
        ("[redis\n", "is not TOML"),
    ],
)
def test_a_broken_station_ends_a_program_with_78_and_its_cause(
    tmp_path: Path, program: str, text: str, cause: str
) -> None:
    station_path = tmp_path / "broken.toml"
    station_path.write_text(text)
    done = _run(tmp_path, program, "--config", str(station_path))
    assert done.returncode == EXIT_CONFIG
    assert cause in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ("", "no receiver is configured"),
        ("[[receivers]]\nid = 'a'\ndriver = 'rtl_tcp'\ngian_db = 3\n", "gian_db: no such setting"),
        ("[[receivers]]\nid = 'a b'\ndriver = 'rtl_tcp'\n", "not an id"),
        ("[[receivers]]\nid = 'a'\ndriver = 'hackrf'\n", "hackrf"),
        ("[[receivers]]\nid = 'a'\ndriver = 'rtl_tcp'\nring_max_samples = 4096\n", "ring_max_samples"),
        ("[[receivers]]\nid = 'a'\ndriver = 'replay'\npath = 'plain.txt'\n", "is not a SigMF recording"),
    ],
)
def test_a_wrong_receiver_ends_the_sdr_program_with_78_and_its_cause(tmp_path: Path, table: str, cause: str) -> None:
    (tmp_path / "plain.txt").write_text("no recording")
    (tmp_path / "station.toml").write_text(table)
    done = _run(tmp_path, "services.sdr_service", REDIS_PORT=str(free_port()))
    assert done.returncode == EXIT_CONFIG, done.stderr
    assert cause in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_log_level_ends_a_program_with_78(tmp_path: Path) -> None:
    done = _run(tmp_path, "services.sdr_service", HERALD_LOG_LEVEL="LOUD")
    assert done.returncode == EXIT_CONFIG
    assert "HERALD_LOG_LEVEL" in done.stderr


def test_a_terminated_sdr_program_ends_well_and_shows_no_secret(tmp_path: Path) -> None:
    (tmp_path / "rec.cf32").write_bytes(bytes(8 * 100_000))
    (tmp_path / "redis-password").write_text("s3cret-word")
    (tmp_path / "station.toml").write_text(
        "[[receivers]]\nid = 'rec'\ndriver = 'replay'\npath = 'rec.cf32'\niq_format = 'cf32'\n"
        "sample_rate_hz = 250000\ncenter_frequency_hz = 162487500\n"
    )
    environment = _environment(
        REDIS_PORT=str(free_port()),
        HERALD_LOG_LEVEL="DEBUG",
        REDIS_PASSWORD_FILE="redis-password",  # noqa: S106 - the name of a file
        POSTGRES_PASSWORD="other-s3cret-word",  # noqa: S106 - of nothing
    )
    log_path = tmp_path / "log"
    with log_path.open("wb") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "services.sdr_service"], cwd=tmp_path, env=environment, stderr=log
        )
        try:
            eventually(lambda: "receiver rec runs" in log_path.read_text(), "the receiver")
            program.send_signal(signal.SIGTERM)
            assert program.wait(PATIENCE_S) == 0
        finally:
            program.kill()
            program.wait()
    text = log_path.read_text()
    assert "Redis at 127.0.0.1" in text
    assert "s3cret" not in text
    assert "Traceback" not in text


def test_errors_become_exit_codes_and_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(error: BaseException) -> int:
        raise error

    assert exit_code_of(lambda: 0) == 0
    assert exit_code_of(lambda: fails(ConfigError("wrong"))) == EXIT_CONFIG == 78
    assert exit_code_of(lambda: fails(LinkError("gone"))) == EXIT_FAILED
    assert exit_code_of(lambda: fails(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "herald: wrong\nherald: gone\n"
    with pytest.raises(ZeroDivisionError):
        exit_code_of(lambda: fails(ZeroDivisionError()))


def test_a_signal_stops_the_loop_and_a_finished_watch_ends_it() -> None:
    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    try:
        stopping = stop_on_signals()
        looks = iter([True, True, False])
        run_until_stopped(lambda: next(looks), stopping)
        assert not stopping.is_set()

        def interrupted() -> bool:
            signal.raise_signal(signal.SIGTERM)
            return True

        run_until_stopped(interrupted, stopping)
        assert stopping.wait(0)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
