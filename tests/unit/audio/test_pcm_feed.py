from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from app_core.audio import pcm_feed
from app_core.audio.pcm_feed import PcmFeed
from app_core.base.blocks import PcmBlock
from app_core.bridge import keys
from app_core.bridge.connection import RedisSettings
from app_core.bridge.pcm_frame import encode_pcm
from tests.support.programs import eventually
from tests.support.redis_server import RedisServer


def frame(first_sample: int = 0) -> bytes:
    return encode_pcm(PcmBlock(np.full(100, 0.5, np.float32), 24_000.0, first_sample, 1.0, 2))


def test_a_frame_goes_to_those_who_take_its_channel() -> None:
    feed = PcmFeed(RedisSettings())
    taker = feed.queue("wx7").subscribe("taker", 5.0)
    feed.take(keys.pcm("wx7"), frame(300))
    feed.take(keys.pcm("wx1"), frame())
    block = taker.get(0.0)
    assert block is not None
    assert (block.first_sample, block.sample_rate_hz, len(block.pcm)) == (300, 24_000.0, 100)
    assert taker.get(0.0) is None
    assert feed.queue("wx7") is feed.queue("wx7")


def test_what_is_no_frame_is_counted_and_only_looked_at_where_somebody_takes_it() -> None:
    feed = PcmFeed(RedisSettings())
    feed.take(keys.pcm("wx7"), b"nonsense")
    assert feed.malformed_count == 0
    feed.queue("wx7").subscribe("taker", 5.0)
    feed.take(keys.pcm("wx7"), b"nonsense")
    assert feed.malformed_count == 1


def test_the_queue_of_a_source_that_is_gone_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(pcm_feed, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    feed = PcmFeed(RedisSettings())
    taken, gone, named = (feed.queue(name) for name in ("taken", "gone", "named"))
    subscription, other = taken.subscribe("taker", 5.0), gone.subscribe("taker", 5.0)
    other.close()
    feed.forget({"named"})
    assert set(feed.status()["sources"]) == {"taken", "gone", "named"}
    clock[0] += pcm_feed.FORGET_AFTER_S + 1.0
    asked = feed.queue("asked")
    feed.forget({"named"})
    assert set(feed.status()["sources"]) == {"taken", "named", "asked"}
    assert (feed.queue("taken"), feed.queue("named"), feed.queue("asked")) == (taken, named, asked)
    feed.take(keys.pcm("taken"), frame(300))
    assert subscription.get(0.0) is not None


def test_every_channel_comes_by_one_subscription(redis_server: RedisServer) -> None:
    feed = PcmFeed(redis_server.settings)
    takers = {name: feed.queue(name).subscribe("taker", 5.0) for name in ("wx1", "wx7")}
    link = redis_server.link()
    with feed.subscriber:
        eventually(lambda: feed.subscriber.connected, "the subscription")
        for name in takers:
            link.call(lambda client, name=name: client.publish(keys.pcm(name), frame()))  # type: ignore[misc]
        for taker in takers.values():
            assert taker.get(20.0) is not None
        status = feed.status()
        assert status["connected"] is True
        assert status["sources"]["wx7"]["blocks"] == 1
        assert status["sources"]["wx7"]["queues"]["taker"]["dropped_count"] == 0
    link.close()
