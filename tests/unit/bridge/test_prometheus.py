"""Metrics for Prometheus are the metrics message in other words."""

from __future__ import annotations

import time
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app_core.bridge.connection import RedisSettings
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage
from app_core.bridge.outbox import Outbox
from app_core.bridge.prometheus import (
    _HISTORY_COUNTERS,
    _HISTORY_GAUGES,
    _OUTBOX_AGES,
    _OUTBOX_COUNTERS,
    _OUTBOX_GAUGES,
    MetricsServer,
)

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
            "gap_count": 4,
            "overflow_count": 6,
            "stream_errors": {"OVERFLOW": 6, "TIMEOUT": 2},
            "captures": {
                "open": 1,
                "written_count": 5,
                "failed_count": 2,
                "memory_s": 12.5,
                "memory_limit_s": 13.4,
                "memory_wanted_s": 30.0,
                "memory_bytes": 134217728,
            },
            "last_sample_age_s": 0.5,
            "ring_buffer": {"fill_percentage": 8.5, "overflow_count": 3},
            "faults": [{"name": "not_locked", "stage": "signal", "severity": "warning", "text": "no signal"}],
        }
    },
    redis={
        "connected": True,
        "depth": 2,
        "dropped_count": 4,
        "dropped_bytes": 400,
        "dropping": True,
        "holds_s": 9.5,
        "limit_bytes": 1000,
        "histories": {"sdr:history:noaa-1": {"wanted_s": 30.0, "held_s": 14.7, "short": True, "refused_count": 3}},
    },
    commands={"succeeded": 7, "failed": 1, "waiting": {"noaa-1": 2}},
    workers={"reader of noaa-1": {"alive": True, "restarts": 1}},
)

AUDIO = AudioMetricsMessage(
    timestamp=0.0,
    pid=1,
    receivers={"noaa-1": {"gaps": 2, "queue_age_s": 0.25}},
    channels={"wx7": {"running": True, "headers_decoded": 5, "audited_s": 60.5, "last_pcm_age_s": 0.1}},
    alerts={"spool_backlog": 1, "alerts": 7},
    redis={"out": {"depth": 0}, "pcm": {"depth": 3}},
    commands={"succeeded": 3, "waiting": 1, "channels_changed": True},
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
        ("herald_ring_fill_ratio", "noaa-1"): 0.085,
        ("herald_ring_overflows_total", "noaa-1"): 3.0,
        ("herald_receiver_fault", "not_locked", "noaa-1", "warning"): 1.0,
        ("herald_outbox_frames", "out"): 2.0,
        ("herald_outbox_dropped_total", "out"): 4.0,
        ("herald_outbox_dropped_bytes_total", "out"): 400.0,
        ("herald_outbox_dropping", "out"): 1.0,
        ("herald_outbox_hold_seconds", "out"): 9.5,
        ("herald_outbox_limit_bytes", "out"): 1000.0,
        ("herald_worker_restarts_total", "reader of noaa-1"): 1.0,
    }
    assert {name: scraped.get(name) for name in expected} == expected
    assert not any(name[0] == "herald_receiver_effective_sample_rate_hertz" for name in scraped)


def test_losses_of_the_device_are_scraped_by_their_kind() -> None:
    scraped = _scrape(SDR)
    expected = {
        ("herald_receiver_gaps_total", "noaa-1"): 4.0,
        ("herald_receiver_device_overflows_total", "noaa-1"): 6.0,
        ("herald_receiver_stream_errors_total", "OVERFLOW", "noaa-1"): 6.0,
        ("herald_receiver_stream_errors_total", "TIMEOUT", "noaa-1"): 2.0,
    }
    assert {name: scraped.get(name) for name in expected} == expected


def test_commands_captures_and_histories_are_scraped() -> None:
    scraped = _scrape(SDR)
    expected = {
        ("herald_commands_total", "succeeded"): 7.0,
        ("herald_commands_total", "failed"): 1.0,
        ("herald_commands_waiting", "noaa-1"): 2.0,
        ("herald_captures_open", "noaa-1"): 1.0,
        ("herald_captures_written_total", "noaa-1"): 5.0,
        ("herald_captures_failed_total", "noaa-1"): 2.0,
        ("herald_capture_memory_seconds", "noaa-1"): 12.5,
        ("herald_capture_memory_limit_seconds", "noaa-1"): 13.4,
        ("herald_capture_memory_wanted_seconds", "noaa-1"): 30.0,
        ("herald_history_wanted_seconds", "noaa-1"): 30.0,
        ("herald_history_held_seconds", "noaa-1"): 14.7,
        ("herald_history_short", "noaa-1"): 1.0,
        ("herald_history_refused_total", "noaa-1"): 3.0,
    }
    assert {name: scraped.get(name) for name in expected} == expected
    audio = _scrape(AUDIO)
    assert (audio["herald_commands_total", "succeeded"], audio["herald_commands_waiting", ""]) == (3.0, 1.0)
    assert ("herald_commands_total", "channels_changed") not in audio


def test_captures_that_are_switched_off_have_no_figures() -> None:
    entry = SDR.receivers["noaa-1"] | {"captures": None}
    scraped = _scrape(SDR.model_copy(update={"receivers": {"noaa-1": entry}}))
    assert not [name for name in scraped if name[0].startswith("herald_capture")]


def test_the_outbox_has_every_field_that_is_scraped() -> None:
    outbox = Outbox(RedisSettings())
    outbox.keep_history("sdr:samples:rx", "sdr:history:rx", 30.0)
    status = outbox.status()
    assert {*_OUTBOX_GAUGES, *_OUTBOX_COUNTERS, *_OUTBOX_AGES} <= status.keys()
    histories = status["histories"]
    assert isinstance(histories, dict)
    assert {*_HISTORY_GAUGES, *_HISTORY_COUNTERS} <= histories["sdr:history:rx"].keys()


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
