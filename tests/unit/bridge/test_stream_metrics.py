from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, generate_latest

from app_core.bridge.messages import StreamsMessage
from app_core.bridge.prometheus import StatusCollector

MESSAGE = StreamsMessage(
    timestamp=time.time(),
    pid=1,
    mounts={
        "wx7": {
            "mount": "/wx7.mp3",
            "connected": True,
            "listeners": 3,
            "sent_bytes": 4000,
            "backlog": {"depth_s": 0.25, "bytes": 10, "dropped_s": 1.5},
            "queue": {"depth_s": 0.125, "dropped_s": 0.5},
            "encoder": {"longest_write_s": 0.004, "starving": False, "silence_s": 2.0, "restarts": 1},
        },
        "wx1": {"mount": None, "connected": False, "error": "there are 20 mounts already"},
    },
    feed={"connected": True, "messages": 9, "malformed": 1, "sources": {"wx7": {"last_pcm_age_s": 100.0}}},
    outputs={"dead_air": {"wx7": {"fault": "silence"}, "wx1": {"fault": None}}},
    redis={"connected": True},
    workers={"PCM feed": {"alive": True, "restarts": 2}},
)


def scrape(message: StreamsMessage | None) -> str:
    registry = CollectorRegistry()
    registry.register(StatusCollector(lambda: message))
    return generate_latest(registry).decode()


def test_the_stream_jobs_health_becomes_metrics() -> None:
    lines = scrape(MESSAGE).splitlines()
    for line in (
        'herald_mount_connected{channel="wx7"} 1.0',
        'herald_mount_connected{channel="wx1"} 0.0',
        'herald_mount_listeners{channel="wx7"} 3.0',
        'herald_mount_sent_bytes_total{channel="wx7"} 4000.0',
        'herald_mount_backlog_seconds{channel="wx7"} 0.25',
        'herald_mount_backlog_dropped_seconds_total{channel="wx7"} 1.5',
        'herald_mount_queue_dropped_seconds_total{channel="wx7"} 0.5',
        'herald_mount_longest_write_seconds{channel="wx7"} 0.004',
        'herald_mount_encoder_restarts_total{channel="wx7"} 1.0',
        "herald_feed_malformed_total 1.0",
        'herald_dead_air{channel="wx7",fault="silence"} 1.0',
        'herald_outbox_connected{queue="out"} 1.0',
        'herald_worker_restarts_total{worker="PCM feed"} 2.0',
    ):
        assert line in lines
    assert not [line for line in lines if line.startswith("herald_dead_air{") and "wx1" in line]
    age = next(line for line in lines if line.startswith('herald_feed_last_audio_age_seconds{channel="wx7"}'))
    assert float(age.split()[-1]) >= 100.0


def test_before_the_first_message_there_is_nothing() -> None:
    assert "herald_mount" not in scrape(None)


def test_the_message_comes_back_as_it_was_written() -> None:
    assert StreamsMessage.from_json(MESSAGE.to_json()) == MESSAGE
