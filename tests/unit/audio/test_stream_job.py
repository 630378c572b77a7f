"""The stream job knows its sources before anybody names them, and says in words what has died."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from app_core.audio import pcm_feed
from app_core.audio.auto_streaming import listed_source
from app_core.audio.stream_job import StreamJob
from app_core.audio.stream_outputs import StreamSurroundings
from app_core.base.errors import LinkError
from app_core.base.lifecycle import Worker
from app_core.bridge.connection import RedisSettings
from app_core.bridge.local_redis import free_port
from app_core.bridge.outbox import Outbox
from tests.support.programs import eventually


class _Dying(Worker):
    """An output that cannot do its work."""

    def __init__(self, around: StreamSurroundings) -> None:
        super().__init__("dying")
        self.around = around

    def run(self, stopping: threading.Event) -> None:
        raise LinkError("the port is taken")

    def status(self) -> dict[str, Any]:
        return {}


def _job(outputs: list[_Dying]) -> StreamJob:
    redis = RedisSettings(port=free_port())

    def make(around: StreamSurroundings) -> _Dying:
        outputs.append(_Dying(around))
        return outputs[-1]

    source = listed_source("wx7", {"name": "Norman", "source_type": "stream", "source": "IcecastIngestSource"})
    return StreamJob(redis, Outbox(redis), configured=[source], outputs={"dying": make})


def test_configured_sources_are_known_before_the_decode_job_says_anything() -> None:
    outputs: list[_Dying] = []
    job = _job(outputs)
    job.start()
    try:
        entry = outputs[0].around.entries()["wx7"]
    finally:
        job.stop()
    assert (entry["name"], entry["source_type"], entry["running"]) == ("Norman", "stream", False)
    assert entry["source"] == "IcecastIngestSource"


def test_what_ended_an_output_is_told() -> None:
    outputs: list[_Dying] = []
    job = _job(outputs)
    job.start()
    try:
        eventually(lambda: outputs[0].failure is not None, "the end of the output")
        job.watch()
        assert job.last_message is not None
        assert job.last_message.workers["dying"] == {"alive": False, "restarts": 0, "error": "the port is taken"}
        assert job.last_message.workers["sources"]["error"] == ""
    finally:
        job.stop()


def test_what_is_gone_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pcm_feed, "FORGET_AFTER_S", -1.0)
    redis = RedisSettings()
    job = StreamJob(redis, Outbox(redis))
    monkeypatch.setattr(job._supervisor, "watch", lambda: None)
    job._sources.entries = {"here": {}}
    job.feed.queue("here")
    job.feed.queue("gone")
    job.watch()
    assert job.last_message is not None
    assert set(job.last_message.feed["sources"]) == {"here"}
