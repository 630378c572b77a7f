from __future__ import annotations

import pytest

from app_core.audio import pcm_feed
from app_core.audio.stream_job import StreamJob
from app_core.bridge.connection import RedisSettings
from app_core.bridge.outbox import Outbox


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
