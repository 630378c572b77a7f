"""Metrics for Prometheus are the metrics message in other words."""

from __future__ import annotations

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage
from app_core.bridge.prometheus import MetricsServer

SDR = SdrMetricsMessage(
    timestamp=0.0,
    pid=1,
    receivers={
        "noaa-1": {
            "running": True,
            "locked": False,
            "state": "running",
            "sample_rate": 2_500_000,
            "effective_sample_rate": None,
            "lost_samples": 12,
            "last_sample_age_s": 0.5,
            "ring_buffer": {"fill_percentage": 8.5, "overflow_count": 3},
            "faults": [{"name": "not_locked", "stage": "signal", "severity": "warning", "text": "no signal"}],
        }
    },
    redis={"connected": True, "depth": 2, "dropped_count": 4},
    workers={"reader of noaa-1": {"alive": True, "restarts": 1}},
)

AUDIO = AudioMetricsMessage(
    timestamp=0.0,
    pid=1,
    receivers={"noaa-1": {"gaps": 2, "queue_age_s": 0.25}},
    channels={"wx7": {"running": True, "headers_decoded": 5, "audited_s": 60.5, "last_pcm_age_s": 0.1}},
    alerts={"spool_backlog": 1, "alerts": 7},
    redis={"out": {"depth": 0}, "pcm": {"depth": 3}},
)


def _scrape(message: SdrMetricsMessage | AudioMetricsMessage | None) -> dict[tuple[str, ...], float]:
    server = MetricsServer(lambda: message, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        server.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_receivers_status_is_scraped_with_base_units_and_labels() -> None:
    scraped = _scrape(SDR.model_copy(update={"timestamp": time.time()}))
    expected = {
        ("herald_receiver_running", "noaa-1"): 1.0,
        ("herald_receiver_locked", "noaa-1"): 0.0,
        ("herald_receiver_state", "noaa-1", "running"): 1.0,
        ("herald_receiver_sample_rate_hertz", "noaa-1"): 2_500_000.0,
        ("herald_receiver_lost_samples_total", "noaa-1"): 12.0,
        ("herald_ring_fill_percent", "noaa-1"): 8.5,
        ("herald_ring_overflows_total", "noaa-1"): 3.0,
        ("herald_receiver_fault", "not_locked", "noaa-1", "warning"): 1.0,
        ("herald_outbox_frames", "out"): 2.0,
        ("herald_outbox_dropped_total", "out"): 4.0,
        ("herald_worker_restarts_total", "reader of noaa-1"): 1.0,
    }
    assert {name: scraped.get(name) for name in expected} == expected
    assert not any(name[0] == "herald_receiver_effective_sample_rate_hertz" for name in scraped)


def test_ages_grow_while_the_program_hangs() -> None:
    scraped = _scrape(SDR.model_copy(update={"timestamp": time.time() - 60.0}))
    assert scraped["herald_receiver_last_sample_age_seconds", "noaa-1"] == pytest.approx(60.5, abs=5.0)
    assert scraped["herald_status_age_seconds", "sdr_service"] == pytest.approx(60.0, abs=5.0)


def test_channels_and_alerts_are_scraped() -> None:
    scraped = _scrape(AUDIO)
    expected = {
        ("herald_input_gaps_total", "noaa-1"): 2.0,
        ("herald_input_queue_age_seconds", "noaa-1"): 0.25,
        ("herald_channel_running", "wx7"): 1.0,
        ("herald_channel_headers_total", "wx7"): 5.0,
        ("herald_channel_audited_seconds_total", "wx7"): 60.5,
        ("herald_alerts_total",): 7.0,
        ("herald_alerts_spool_backlog",): 1.0,
        ("herald_outbox_frames", "pcm"): 3.0,
    }
    assert {name: scraped.get(name) for name in expected} == expected


def test_before_the_first_status_there_are_no_figures_that_look_like_one() -> None:
    assert _scrape(None) == {}


def test_a_port_that_is_taken_is_an_error_of_the_system() -> None:
    server = MetricsServer(lambda: None, "127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        MetricsServer(lambda: None, "127.0.0.1", server.port)
    server.close()
