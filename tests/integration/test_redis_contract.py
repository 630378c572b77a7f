"""The contract as its users see it: the SDR program runs, and ``redis-cli`` shows what the document says."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.programs import PATIENCE_S, eventually, require_program
from tests.support.redis_server import RedisServer, running_redis

_ROOT = Path(__file__).parents[2]
_RATE_HZ = 250_000
_CENTER_HZ = 162_487_500
_TONE_HZ = 62_500.0


def _write_station(folder: Path) -> Path:
    """A recording of a carrier over noise, seamless when it is looped."""
    rng = np.random.default_rng(7)
    n_samples = _RATE_HZ
    tone = 0.25 * np.exp(2j * np.pi * _TONE_HZ / _RATE_HZ * np.arange(n_samples))
    iq = tone + rng.normal(0, 1e-3, (n_samples, 2)) @ [1, 1j]
    iq.astype(np.complex64).tofile(folder / "noaa.cf32")
    path = folder / "station.toml"
    path.write_text(
        "[[receivers]]\n"
        'id = "noaa-1"\n'
        'driver = "replay"\n'
        f'path = "{folder / "noaa.cf32"}"\n'
        'iq_format = "cf32"\n'
        f"sample_rate_hz = {_RATE_HZ}\n"
        f"center_frequency_hz = {_CENTER_HZ}\n"
    )
    return path


class _Running:
    """The program and its Redis."""

    def __init__(self, redis_server: RedisServer, process: subprocess.Popen[bytes]) -> None:
        self.redis = redis_server
        self.process = process

    def get(self, key: str) -> dict[str, Any]:
        """Give a key's JSON, once it is there."""
        eventually(lambda: self.redis.cli("GET", key) != "", f"{key}")
        document = json.loads(self.redis.cli("GET", key))
        assert isinstance(document, dict)
        return document

    def subscribed(self, channel: str, n_messages: int) -> list[dict[str, Any]]:
        """Give some messages of a channel, as ``redis-cli SUBSCRIBE`` prints them."""
        argv = [require_program("redis-cli"), "-p", str(self.redis.port), "SUBSCRIBE", channel]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as cli:
            assert cli.stdout is not None
            try:
                lines = [cli.stdout.readline().rstrip("\n") for _ in range(3 + 3 * n_messages)]
            finally:
                cli.kill()
        assert lines[:3] == ["subscribe", channel, "1"]
        assert lines[3::3] == ["message"] * n_messages
        assert lines[4::3] == [channel] * n_messages
        return [json.loads(line) for line in lines[5::3]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Running]:
    """The SDR program on a looped recording, started as a user starts it."""
    folder = tmp_path_factory.mktemp("contract")
    with running_redis(folder) as server, (folder / "sdr.log").open("wb") as log:
        foreign = ("HERALD_", "REDIS_", "SDR_ARGS", "CONFIG_PATH")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        process = subprocess.Popen(
            [sys.executable, "-m", "services.sdr_service", "--config", str(_write_station(folder))],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(_ROOT), "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(server.port)},
            stderr=log,
        )
        try:
            eventually(lambda: server.cli("EXISTS", "sdr:heartbeat") == "1", "the heartbeat")
            yield _Running(server, process)
        finally:
            process.terminate()
            code = process.wait(PATIENCE_S)
            assert code == 0, (folder / "sdr.log").read_text()


def _assert_fresh(document: dict[str, Any], within_s: float) -> None:
    assert 0 <= time.time() - document["timestamp"] < within_s


def test_the_heartbeat_is_there_every_second_for_ten(running: _Running) -> None:
    first = running.get("sdr:heartbeat")
    assert set(first) == {"timestamp", "pid", "receiver_count"}
    assert (first["pid"], first["receiver_count"]) == (running.process.pid, 1)
    _assert_fresh(first, 10)
    assert 0 < int(running.redis.cli("PTTL", "sdr:heartbeat")) <= 10_000
    eventually(lambda: running.get("sdr:heartbeat")["timestamp"] > first["timestamp"], "the next beat", timeout_s=5)


def test_the_metrics_name_every_receiver_with_its_state(running: _Running) -> None:
    eventually(lambda: running.get("sdr:metrics")["receivers"]["noaa-1"]["locked"] is True, "the lock")
    metrics = running.get("sdr:metrics")
    assert (metrics["service"], metrics["pid"]) == ("sdr_service", running.process.pid)
    _assert_fresh(metrics, 30)
    assert 10_000 < int(running.redis.cli("PTTL", "sdr:metrics")) <= 30_000
    receiver = metrics["receivers"]["noaa-1"]
    assert receiver["running"] is True
    assert 0.5 < receiver["signal_strength"] <= 1.0
    assert (receiver["frequency_hz"], receiver["sample_rate"]) == (_CENTER_HZ, _RATE_HZ)
    assert set(receiver["ring_buffer"]) == {"fill_percentage", "overflow_count"}
    assert receiver["ring_buffer"]["overflow_count"] == 0
    assert receiver["level_dbfs"] == pytest.approx(-12.0, abs=0.2)
    assert receiver["snr_db"] > 20
    assert receiver["clipping"] == 0
    assert receiver["last_sample_age_s"] < 1
    assert metrics["redis"]["connected"] is True
    assert all(worker["alive"] for worker in metrics["workers"].values())


def test_the_ring_has_its_statistics(running: _Running) -> None:
    ring = running.get("sdr:ring_buffer:noaa-1")
    documented = {
        "fill_percentage",
        "overflow_count",
        "underflow_count",
        "total_samples_written",
        "total_samples_read",
        "size",
    }
    assert documented <= set(ring)
    assert 0 < int(running.redis.cli("PTTL", "sdr:ring_buffer:noaa-1")) <= 10_000
    assert ring["size"] == 262_144
    assert 0 <= ring["fill_percentage"] <= 100
    assert ring["total_samples_written"] >= ring["total_samples_read"]
    eventually(lambda: running.get("sdr:ring_buffer:noaa-1")["total_samples_read"] > 250_000, "a second of samples")


def test_the_spectrum_is_a_key_and_a_channel_of_the_same_name(running: _Running) -> None:
    key = "sdr:spectrum:noaa-1"
    stored = running.get(key)
    assert 0 < int(running.redis.cli("PTTL", key)) <= 5_000
    rows = running.subscribed(key, 13)
    for row in (stored, *rows):
        assert set(row) == {
            "identifier",
            "spectrum",
            "fft_size",
            "sample_rate",
            "center_frequency",
            "timestamp",
            "status",
            "dbfs_min",
            "dbfs_max",
        }
        assert (row["identifier"], row["status"], row["fft_size"]) == ("noaa-1", "available", 2048)
        assert (row["sample_rate"], row["center_frequency"]) == (_RATE_HZ, _CENTER_HZ)
        assert len(row["spectrum"]) == 2048
        assert 0 <= min(row["spectrum"]) <= max(row["spectrum"]) <= 1
        assert int(np.argmax(row["spectrum"])) == 1024 + round(_TONE_HZ / _RATE_HZ * 2048)
        peak_dbfs = row["dbfs_min"] + max(row["spectrum"]) * (row["dbfs_max"] - row["dbfs_min"])
        assert peak_dbfs == pytest.approx(20 * np.log10(0.25), abs=0.1)
        _assert_fresh(row, 10)
    assert (len(rows) - 1) / (rows[-1]["timestamp"] - rows[0]["timestamp"]) >= 10


def test_samples_are_the_documented_json_and_can_be_read_with_any_standard_library(running: _Running) -> None:
    messages = running.subscribed("sdr:samples:noaa-1", 3)
    for message in messages:
        assert set(message) == {
            "receiver_id",
            "timestamp",
            "sample_count",
            "sample_rate",
            "center_frequency",
            "encoding",
            "samples",
            "first_sample",
            "sequence",
            "config_epoch",
        }
        assert (message["receiver_id"], message["encoding"]) == ("noaa-1", "zlib+base64")
        assert (message["sample_rate"], message["center_frequency"]) == (_RATE_HZ, _CENTER_HZ)
        assert message["sample_count"] == 32_768
        interleaved = np.frombuffer(zlib.decompress(base64.b64decode(message["samples"], validate=True)), dtype="<f4")
        assert len(interleaved) == 2 * 32_768
        iq = interleaved[0::2] + 1j * interleaved[1::2]
        turns = np.angle(iq[1:] * iq[:-1].conj()) / (2 * np.pi)
        assert np.median(turns) * _RATE_HZ == pytest.approx(_TONE_HZ, rel=1e-3)
    assert [message["sequence"] for message in messages] == list(
        range(messages[0]["sequence"], messages[0]["sequence"] + 3)
    )
    assert np.diff([message["first_sample"] for message in messages]).tolist() == [32_768, 32_768]
    assert len({message["config_epoch"] for message in messages}) == 1


def test_no_other_key_is_written(running: _Running) -> None:
    running.get("sdr:ring_buffer:noaa-1")
    assert set(running.redis.cli("KEYS", "*").splitlines()) == {
        "sdr:heartbeat",
        "sdr:history:noaa-1",
        "sdr:metrics",
        "sdr:ring_buffer:noaa-1",
        "sdr:spectrum:noaa-1",
    }


def test_the_history_holds_the_messages_as_a_person_reads_them(running: _Running) -> None:
    running.get("sdr:ring_buffer:noaa-1")
    entry_id, field, text = running.redis.cli("XRANGE", "sdr:history:noaa-1", "-", "+", "COUNT", "1").splitlines()
    message = json.loads(text)
    assert field == "frame"
    assert entry_id == f"{message['config_epoch']}-{message['first_sample']}"
    assert (message["receiver_id"], message["encoding"]) == ("noaa-1", "zlib+base64")
    assert 0 < int(running.redis.cli("TTL", "sdr:history:noaa-1")) <= 60
