"""Several receivers in one SDR service: one that cannot run leaves the others alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app_core.bridge import keys
from app_core.bridge.health import read_message
from app_core.bridge.messages import SdrMetricsMessage
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer
from tests.support.station import Program, herald

pytestmark = pytest.mark.timeout(90)


def raw_recording(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    path = folder / "noise.cu8"
    path.write_bytes(rng.integers(100, 156, 2 * 250_000, dtype=np.uint8).tobytes())
    return path


def station(folder: Path, second: str) -> Path:
    path = folder / "station.toml"
    path.write_text(
        f'[[receivers]]\nid = "good"\ndriver = "replay"\npath = "{raw_recording(folder)}"\niq_format = "cu8"\n'
        f'sample_rate_hz = 250000\ncenter_frequency_hz = 162487500\n\n[[receivers]]\nid = "bad"\n{second}',
        encoding="utf-8",
    )
    return path


def metrics_of(server: RedisServer) -> SdrMetricsMessage | None:
    link = server.link()
    try:
        return read_message(link, keys.METRICS, SdrMetricsMessage)
    finally:
        link.close()


def the_good_one_runs_and_the_bad_one_says(server: RedisServer, sdr: Program, reason: str) -> bool:
    assert sdr.process.poll() is None
    metrics = metrics_of(server)
    if metrics is None:
        return False
    good, bad = metrics.receivers["good"], metrics.receivers["bad"]
    return bool(good["running"]) and not bad["running"] and reason in bad["error"]


def test_a_receiver_with_a_wrong_setting_leaves_the_other_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    nonsense = tmp_path / "text.bin"
    nonsense.write_text("no samples", encoding="utf-8")
    config = station(tmp_path, f'driver = "replay"\npath = "{nonsense}"\n')
    with herald("sdr", "--config", str(config), folder=tmp_path, REDIS_PORT=str(redis_server.port)) as sdr:
        eventually(
            lambda: the_good_one_runs_and_the_bad_one_says(redis_server, sdr, "is not a SigMF recording"),
            "one receiver",
        )


def test_a_receiver_whose_server_is_away_leaves_the_other_alone(redis_server: RedisServer, tmp_path: Path) -> None:
    config = station(tmp_path, 'driver = "rtl_tcp"\nport = 9\n')
    with herald("sdr", "--config", str(config), folder=tmp_path, REDIS_PORT=str(redis_server.port)) as sdr:
        eventually(
            lambda: the_good_one_runs_and_the_bad_one_says(redis_server, sdr, "cannot be reached"), "one receiver"
        )


def test_a_device_that_does_not_come_back_ends_the_program_where_that_was_asked_for(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    config = station(tmp_path, 'driver = "rtl_tcp"\nport = 9\nexit_after_failed_opens = 2\n')
    with herald("sdr", "--config", str(config), folder=tmp_path, REDIS_PORT=str(redis_server.port)) as sdr:
        assert sdr.process.wait(30) == 1
    assert "could not be opened 2 times in a row" in (tmp_path / "sdr.err").read_text(encoding="utf-8")


def test_the_only_receivers_wrong_setting_ends_the_program_with_its_reason(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    config = tmp_path / "station.toml"
    (tmp_path / "text.bin").write_text("no samples", encoding="utf-8")
    config.write_text(
        f'[[receivers]]\nid = "bad"\ndriver = "replay"\npath = "{tmp_path / "text.bin"}"\n', encoding="utf-8"
    )
    with herald("sdr", "--config", str(config), folder=tmp_path, REDIS_PORT=str(redis_server.port)) as sdr:
        assert sdr.process.wait(30) == 78
    assert "is not a SigMF recording" in (tmp_path / "sdr.err").read_text(encoding="utf-8")
