"""The stream job as a process: audio in by a real Redis, out by a real Icecast, and its word on both."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson
import psutil
import pytest

from app_core.audio.sources import AudioSourceType
from app_core.base.blocks import PcmBlock
from app_core.base.child import Child
from app_core.base.lifecycle import Worker
from app_core.bridge import keys
from app_core.bridge.alert_stream import publish_alert
from app_core.bridge.local_redis import free_port
from app_core.bridge.messages import AudioMetricsMessage, StreamHeartbeatMessage, StreamsMessage
from app_core.bridge.pcm_frame import encode_pcm
from tests.support.icecast_server import ADMIN_PASSWORD, SOURCE_PASSWORD, IcecastDaemon, running_icecast
from tests.support.programs import eventually, require_program
from tests.support.redis_server import RedisServer
from tests.support.signals import tone_frequency_hz
from tests.support.tone_source import DECODED_HZ, TONE_HZ, ToneSource, decode_stream
from tests.unit.audio.test_alert_board import alert_of

START_S = 60.0

_STATION = """
[station]
name = "Station"
prometheus_port_streams = {metrics_port}

[redis]
port = {redis_port}

[[channels]]
id = "wx7"
receiver_id = "noaa-1"
frequency_hz = 162550000
name = "Kansas City"

[icecast]
port = {icecast_port}
password_file = "{folder}/source-password"
admin_password_file = "{folder}/admin-password"

[[icecast.mounts]]
channel = "wx1"
codec = "opus"
"""


class DecodeSide(Worker):
    """What a decode job would send: audio of two channels, and metrics."""

    def __init__(self, redis: RedisServer) -> None:
        super().__init__("DecodeSide")
        self._link = redis.link()
        self._lock = threading.Lock()
        self.channels: dict[str, dict[str, Any]] = {
            "wx7": {"name": "Kansas City", "source": "RedisSDRSourceAdapter", "source_type": AudioSourceType.SDR.value}
        }
        self.tones = [ToneSource(self._publisher(channel_id)) for channel_id in ("wx7", "wx1")]

    def run(self, stopping: threading.Event) -> None:
        for tone in self.tones:
            tone.start()
        while not stopping.is_set():
            metrics = AudioMetricsMessage(timestamp=time.time(), pid=1, receivers={}, channels=dict(self.channels))
            payload = metrics.to_json()
            self._link.call(lambda client, payload=payload: client.set(keys.AUDIO_METRICS, payload, ex=30))  # type: ignore[misc]
            stopping.wait(0.5)
        for tone in self.tones:
            tone.stop()
        self._link.close()

    def _publisher(self, channel_id: str) -> Any:
        def publish(block: PcmBlock) -> None:
            frame = encode_pcm(block)
            self._link.call(lambda client: client.publish(keys.pcm(channel_id), frame))

        return publish


class RunningJob:
    """The job, and all that it needs."""

    def __init__(self, folder: Path, redis: RedisServer, icecast: IcecastDaemon) -> None:
        self.redis, self.icecast = redis, icecast
        self.metrics_port = free_port()
        (folder / "source-password").write_text(SOURCE_PASSWORD + "\n", encoding="utf-8")
        (folder / "admin-password").write_text(ADMIN_PASSWORD + "\n", encoding="utf-8")
        config = folder / "station.toml"
        config.write_text(
            _STATION.format(
                metrics_port=self.metrics_port, redis_port=redis.port, icecast_port=icecast.port, folder=folder
            ),
            encoding="utf-8",
        )
        self._log: IO[bytes] = (folder / "stream.log").open("wb")
        self.log_path = folder / "stream.log"
        argv = [sys.executable, "-m", "services.audio_service", "--role", "stream", "--config", str(config)]
        self.child = Child(
            "stream job", argv, environment={"HERALD_DATA_DIR": str(folder)}, stdout=self._log, stderr=self._log
        )
        self.child.start()

    def streams(self) -> dict[str, Any]:
        text = self.redis.cli("GET", keys.STREAMS)
        return {} if not text else dict(orjson.loads(text))

    def mount(self, channel_id: str) -> dict[str, Any]:
        mount: dict[str, Any] = self.streams().get("mounts", {}).get(channel_id, {})
        return mount

    def close(self) -> None:
        if self.child.is_alive and self.child.pid is not None:
            os.kill(self.child.pid, signal.SIGCONT)
        self.child.stop(20.0)
        self._log.close()


@pytest.fixture
def job(tmp_path: Path, redis_server: RedisServer) -> Iterator[RunningJob]:
    require_program("ffmpeg")
    with running_icecast(tmp_path) as icecast:
        running = RunningJob(tmp_path, redis_server, icecast)
        try:
            yield running
        finally:
            running.close()


def test_a_tone_goes_from_redis_to_a_listener_and_all_of_it_is_told(job: RunningJob) -> None:
    # The mount stands before anything decodes.
    eventually(lambda: "/wx7.mp3" in job.icecast.mounts(), "the mount", START_S)
    assert job.icecast.mounts()["/wx7.mp3"]["server_name"] == "Station: Kansas City"
    with DecodeSide(job.redis) as decode:
        eventually(lambda: job.mount("wx7").get("encoder", {}).get("fed_s", 0.0) > 1.0, "audio", START_S)
        heard = decode_stream(job.icecast.fetch("/wx7.mp3", 6.0))
        tone = heard[DECODED_HZ:]
        assert tone_frequency_hz(tone, DECODED_HZ) == pytest.approx(TONE_HZ, abs=0.1)

        status = job.mount("wx7")
        assert (status["connected"], status["error"], status["source"]) == (True, "", "RedisSDRSourceAdapter")
        assert status["encoder"]["re_flag"] is False
        assert "NOT using -re flag for RedisSDRSourceAdapter (live hardware)" in job.log_path.read_text("utf-8")

        # Another source comes, is heard, and goes.
        decode.channels["wx1"] = {"source": "HTTPIngestSource", "source_type": "stream"}
        eventually(lambda: "/wx1.opus" in job.icecast.mounts(), "the other mount", START_S)
        assert job.mount("wx7")["connections"] == 1
        del decode.channels["wx1"]
        eventually(lambda: "/wx1.opus" not in job.icecast.mounts(), "the end of the other mount", START_S)

    message = StreamsMessage.from_json(job.redis.cli("GET", keys.STREAMS))
    assert message.workers["PCM feed"]["alive"] is True
    assert StreamHeartbeatMessage.from_json(job.redis.cli("GET", keys.STREAM_HEARTBEAT)).pid == message.pid


def test_an_alert_stands_in_the_title_while_it_lasts(job: RunningJob) -> None:
    def title() -> object:
        return job.icecast.mounts().get("/wx7.mp3", {}).get("title")

    eventually(lambda: title() == "Station: Kansas City", "the station's title", START_S)
    link = job.redis.link()
    for ended, expected in ((False, alert_of("wx7").text), (True, "Station: Kansas City")):
        alert = alert_of("wx7", ended=ended)
        publish_alert(link, alert.alert_id, alert.revision, alert.to_json())
        eventually(lambda expected=expected: title() == expected, f"the title {expected!r}", START_S)  # type: ignore[misc]
    link.close()


def test_a_redis_that_was_away_ends_nothing(job: RunningJob) -> None:
    with DecodeSide(job.redis) as decode:
        eventually(lambda: job.mount("wx7").get("encoder", {}).get("fed_s", 0.0) > 0.5, "audio", START_S)
        decode.stop()
    job.redis.kill()
    eventually(lambda: "/wx7.mp3" in job.icecast.mounts(), "the mount without Redis")
    job.redis.start()
    with DecodeSide(job.redis):
        eventually(lambda: job.mount("wx7").get("connected") is True, "the status after Redis's return", START_S)
        eventually(lambda: job.mount("wx7")["encoder"]["starving"] is False, "audio", START_S)
        assert job.mount("wx7")["connections"] == 1


def test_it_ends_at_once_when_it_is_told_to_even_with_a_frozen_server(job: RunningJob) -> None:
    eventually(lambda: job.mount("wx7").get("connected") is True, "the mount", START_S)
    pid = job.child.pid
    assert pid is not None
    encoders = [process.pid for process in psutil.Process(pid).children(recursive=True)]
    assert encoders
    job.icecast.freeze()
    os.kill(pid, signal.SIGTERM)
    assert job.child.wait(20.0) == 0
    eventually(lambda: not any(psutil.pid_exists(encoder) for encoder in encoders), "the end of FFmpeg")


def test_the_password_is_in_no_process_list_and_no_log(job: RunningJob) -> None:
    eventually(lambda: job.mount("wx7").get("connected") is True, "the mount", START_S)
    pid = job.child.pid
    assert pid is not None
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    shown = [" ".join(process.cmdline()) + repr(process.environ()) for process in processes]
    shown += [job.log_path.read_text("utf-8"), job.redis.cli("GET", keys.STREAMS)]
    assert len(processes) >= 2
    assert not [text for text in shown if SOURCE_PASSWORD in text or ADMIN_PASSWORD in text]
