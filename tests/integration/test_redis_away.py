"""In the middle of the three bursts something dies: the alert is decoded all the same, once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import psutil
import pytest

from app_core.base.child import Child
from app_core.bridge import keys
from app_core.bridge.diagnosis import read_station_health
from app_core.bridge.local_redis import free_port
from app_core.bridge.messages import AudioMetricsMessage
from app_core.bridge.pcm_frame import decode_pcm
from app_core.bridge.pubsub import Subscriber
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.timeout(240)

START_S = 90.0
AWAY_S = 10.0
CHANNEL = "wx7"

_STATION = """
[station]
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


class _Air:
    """Antenna, SDR service and audio service as processes, on a Redis that a test may kill."""

    def __init__(self, folder: Path, redis: RedisServer, cleanup: ExitStack) -> None:
        self._folder = folder
        self._cleanup = cleanup
        self._redis = redis
        self._antenna_port = free_port()
        config = folder / "station.toml"
        config.write_text(_STATION.format(redis_port=redis.port, antenna_port=self._antenna_port), encoding="utf-8")
        self._environment = {"HERALD_DATA_DIR": str(folder / "kept"), "HERALD_STATION": str(config)}
        self._link = redis.link()
        cleanup.callback(self._link.close)
        self.sdr = self.start("sdr", "services.sdr_service")
        self.audio = self.start("audio", "services.audio_service")

    def start(self, name: str, *words: str) -> Child:
        """Start a program; its log is appended to."""
        log = self._cleanup.enter_context((self._folder / f"{name}.log").open("ab"))
        child = Child(name, [sys.executable, "-m", *words], environment=self._environment, stdout=log, stderr=log)
        child.start()
        self._cleanup.callback(child.stop, 20.0)
        return child

    def begin_transmission(self, first_alert_s: float = 8.0) -> None:
        """Put the antenna up; its first alert follows soon."""
        words = ["--port", str(self._antenna_port), "--first-alert-s", str(first_alert_s), "--interval-s", "600"]
        self.start("antenna", "services.synth_service", *words)

    def audio_metrics(self) -> AudioMetricsMessage | None:
        """Give what the decode job says of itself; None while it says nothing, or Redis is away."""
        audio = read_station_health(self._link).audio
        return None if audio is None else audio.message

    def is_subscribed(self) -> bool:
        """Whether the decode job waits for samples."""
        metrics = self.audio_metrics()
        return metrics is not None and bool(metrics.receivers["noaa-1"]["connected"])

    def kill_audio(self) -> None:
        """Kill the audio service with its decode job, as the kernel would when memory is out."""
        assert self.audio.pid is not None
        supervisor = psutil.Process(self.audio.pid)
        family = [*supervisor.children(), supervisor]
        # Stopped first, so that it does not bring the job back in between.
        os.kill(supervisor.pid, signal.SIGSTOP)
        for process in family:
            process.kill()
        eventually(lambda: not self.audio.is_alive, "the end of the audio service")

    def kill_decode_job(self) -> None:
        """Kill the decode job alone; the audio service brings it back."""
        assert self.audio.pid is not None
        (job,) = psutil.Process(self.audio.pid).children()
        job.kill()

    def alerts(self) -> list[dict[str, object]]:
        """Give what the spool holds."""
        paths = sorted((self._folder / "kept" / "alerts" / "spool").glob("*.json"))
        return [orjson.loads(path.read_bytes())["alert"] for path in paths]

    def published(self) -> list[tuple[str, str]]:
        """Give id and state of the alerts in the stream."""
        link = self._redis.link()
        entries = link.client.xrange(keys.ALERTS)
        link.close()
        found = [orjson.loads(fields[b"alert"]) for _, fields in entries]  # type: ignore[union-attr,index]
        return [(alert["alert_id"], alert["state"]) for alert in found]


class _PcmListener:
    """Keeps place and age of every PCM frame that is published, and hears where the first burst begins."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, int]] = []
        self.oldest_s = 0.0
        self._pcm = np.zeros(0, dtype=np.float32)
        self._burst_began: int | None = None
        self.burst_s = 0.0

    def take(self, channel: str, payload: bytes) -> None:
        """Take one frame."""
        block = decode_pcm(payload)
        self.heard.append((block.config_epoch, block.first_sample))
        self.oldest_s = max(self.oldest_s, time.time() - block.timestamp - len(block.pcm) / block.sample_rate_hz)
        end = block.first_sample + len(block.pcm)
        if self._burst_began is None:
            self._pcm = np.concatenate((self._pcm, block.pcm))[-int(0.4 * block.sample_rate_hz) :]
            if self._is_burst(block.sample_rate_hz):
                self._burst_began = end - len(self._pcm)
        else:
            self.burst_s = (end - self._burst_began) / block.sample_rate_hz

    def _is_burst(self, rate_hz: float) -> bool:
        """Whether nearly all of the last 0.4 s lies about the two tones of SAME."""
        power = np.abs(np.fft.rfft(self._pcm)) ** 2
        frequency_hz = np.fft.rfftfreq(len(self._pcm), 1.0 / rate_hz)
        return bool(power[(frequency_hz > 1400.0) & (frequency_hz < 2300.0)].sum() > 0.85 * power[1:].sum())


@contextmanager
def _on_the_air(folder: Path, redis: RedisServer) -> Iterator[_Air]:
    with ExitStack() as cleanup:
        air = _Air(folder, redis, cleanup)
        eventually(air.is_subscribed, "the subscription", START_S)
        air.begin_transmission()
        yield air


def _redis_away(air: _Air, redis: RedisServer) -> None:
    redis.kill()
    threading.Event().wait(AWAY_S)
    redis.start()


def _audio_away(air: _Air, redis: RedisServer) -> None:
    air.kill_audio()
    threading.Event().wait(AWAY_S)
    air.audio = air.start("audio", "services.audio_service")


def _decode_away(air: _Air, redis: RedisServer) -> None:
    air.kill_decode_job()


@pytest.mark.parametrize("fault", [_redis_away, _audio_away, _decode_away])
def test_an_alert_in_whose_first_burst_something_dies_is_decoded_once(
    fault: Callable[[_Air, RedisServer], None], redis_server: RedisServer, tmp_path: Path
) -> None:
    listener = _PcmListener()
    with (
        _on_the_air(tmp_path, redis_server) as air,
        Subscriber(redis_server.settings, [keys.pcm(CHANNEL)], listener.take),
    ):
        # Some 1.4 s a burst: behind a strong first one all is decoded.
        eventually(lambda: listener.burst_s > 0.5, "the first burst", 60.0)
        fault(air, redis_server)
        eventually(lambda: len(air.alerts()) == 1, "the alert", 60.0)
        eventually(lambda: air.alerts()[0]["state"] == "ended", "its end", 120.0)
        (alert,) = air.alerts()
        assert str(alert["header"]).startswith("ZCZC-WXR-TOR-029095-020091-020209")
        assert alert["end_reason"] == "end_of_message"
        eventually(lambda: air.published() == [(alert["alert_id"], "begun"), (alert["alert_id"], "ended")], "both news")
        metrics = air.audio_metrics()
        assert metrics is not None
        entry = metrics.receivers["noaa-1"]
        assert entry["from_history"] > 0
        assert (entry["gaps"], entry["lost_samples"], entry["dropped"]) == (0, 0, 0)
        assert entry["lateness_s"] < 2.0
        assert metrics.channels[CHANNEL]["lost_samples"] == 0
    # What is past was not played again to the listeners.
    assert listener.oldest_s < 2.5
    assert all(before < after for before, after in pairwise(listener.heard))
