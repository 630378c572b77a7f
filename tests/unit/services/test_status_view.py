"""What ``herald status`` shows: the first broken stage on top, each receiver and channel by its state."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from rich.console import Console

from app_core.bridge.connection import RedisSettings
from app_core.bridge.diagnosis import StationHealth
from app_core.bridge.freshness import Aged
from app_core.bridge.messages import AudioMetricsMessage, SdrMetricsMessage
from services.big_text import big_lines
from services.status_view import StationStatus


def _receiver(**changes: object) -> dict[str, Any]:
    return {
        "state": "running",
        "running": True,
        "locked": True,
        "frequency_hz": 162_487_500,
        "sample_rate": 250_000,
        "snr_db": 24.0,
        "level_dbfs": -20.0,
        "last_sample_age_s": 0.1,
        "last_published_age_s": 0.1,
        "faults": [],
        "ring_buffer": {"fill_percentage": 8.0, "overflow_count": 2},
        **changes,
    }


def _status(
    receiver: dict[str, Any],
    *,
    pcm_age_s: float = 0.1,
    last_error: str = "",
    inputs: dict[str, dict[str, Any]] | None = None,
    receiver_id: str = "noaa-1",
    **heard: object,
) -> StationStatus:
    channel = {"name": "Norman", "frequency_hz": 162_550_000, "last_pcm_age_s": pcm_age_s, "snr_db": 20.0, **heard}
    health = StationHealth(
        Aged(SdrMetricsMessage(timestamp=1.0, pid=1, receivers={receiver_id: receiver}), 0.2),
        Aged(
            AudioMetricsMessage(
                timestamp=1.0,
                pid=1,
                receivers=inputs or {},
                channels={"wx7": channel},
                alerts={"last_error": last_error},
            ),
            0.2,
        ),
    )
    return StationStatus(health, RedisSettings(port=6400), 5.0)


def _shown(status: StationStatus, width: int = 160) -> str:
    console = Console(width=width, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(status.screen())
    return capture.get()


def test_a_station_that_is_well_says_so_in_large_letters() -> None:
    status = _status(_receiver())
    shown = _shown(status)
    assert status.is_well
    for line in big_lines("receiving"):
        assert line.rstrip() in shown
    assert "LOCKED" in shown
    assert "HEARD" in shown
    assert "162.4875 MHz" in shown


def test_the_first_broken_stage_stands_on_top_with_reason_and_command() -> None:
    status = _status(_receiver(last_sample_age_s=9.0, running=False, error="unplugged"), pcm_age_s=9.0)
    shown = _shown(status)
    assert big_lines("receiver down")[0].rstrip() in shown
    assert "no samples for 9.2 s: unplugged" in shown
    assert "redis-cli -p 6400 GET sdr:metrics" in shown
    assert shown.index("unplugged") < shown.index("also decoder")
    assert "DOWN" in shown
    assert "SILENT" in shown


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "LOCKED"),
        ({"locked": False}, "NO SIGNAL"),
        ({"state": "stopped", "last_sample_age_s": 99.0}, "STOPPED"),
        ({"state": "ended", "last_sample_age_s": 99.0}, "ENDED"),
        ({"last_sample_age_s": None}, "DOWN"),
        ({"faults": [{"name": "x", "stage": "ring", "severity": "error", "text": "y"}]}, "FAULT"),
    ],
)
def test_each_state_of_a_receiver_has_its_word(changes: dict[str, object], state: str) -> None:
    assert f" {state} " in _shown(_status(_receiver(**changes)))


def test_warnings_are_shown_below_and_break_nothing() -> None:
    fault = {"name": "clipping", "stage": "signal", "severity": "warning", "text": "set gain_db lower"}
    status = _status(_receiver(faults=[fault]), last_error="the disk is full")
    assert status.is_well
    assert "noaa-1: set gain_db lower" in _shown(status)
    assert "alerts: the disk is full" in _shown(status)


def test_what_transforms_the_samples_is_told() -> None:
    status = _status(_receiver())
    assert status._health.audio is not None
    message = status._health.audio.message.model_copy(update={"fft_library": "scipy.fft"})
    status = StationStatus(replace(status._health, audio=Aged(message, 0.2)), RedisSettings(), 5.0)
    assert "transforms by scipy.fft" in _shown(status)
    assert status.to_dict()["fft_library"] == "scipy.fft"
    assert "transforms" not in _shown(_status(_receiver()))


def test_a_channel_that_no_capture_holds_is_told_and_breaks_nothing() -> None:
    status = _status(_receiver())
    audio = status._health.audio
    assert audio is not None
    audio.message.channels["far"] = {"out_of_band": True, "misfit": "118.3000 MHz lies outside", "last_pcm_age_s": None}
    status = StationStatus(status._health, RedisSettings(), 5.0)
    assert status.is_well
    assert status.to_dict()["warnings"] == ["channel far is not heard: 118.3000 MHz lies outside"]
    shown = _shown(status)
    assert " NOT HEARD " in shown
    assert "channel far is not heard: 118.3000 MHz lies outside" in shown
    assert "SILENT" not in shown


def test_a_station_that_says_nothing_is_shown_as_that() -> None:
    status = StationStatus(StationHealth(), RedisSettings(), 5.0)
    assert big_lines("sdr service down")[1].rstrip() in _shown(status)
    assert status.to_dict()["sdr_age_s"] is None


HEADER = "ZCZC-WXR-TOR-029095-020091-020209+0030-0011800-KEAX/NWS-"


@pytest.mark.parametrize("width", [80, 100, 124, 125, 160, 200])
def test_what_matters_stands_there_whole_from_eighty_columns_on(width: int) -> None:
    receiver = _receiver(lost_samples=123_456_789, sample_rate=10_000_000, last_sample_age_s=12.0)
    shown = _shown(_status(receiver, last_header=HEADER, headers_decoded=17), width)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= width
    for words in ("DOWN", "noaa-1", "162.4875 MHz", "24 dB", "12.2 s old", "8 %", "lost", "123456789"):
        assert words in shown, words
    for words in ("HEARD", "Norman", "162.5500 MHz", "20 dB", "0.3 s old", "17 headers", HEADER):
        assert words in shown, words
    assert ("dBFS" in shown) == ("10000.0 kS/s" in shown) == ("2 overflows" in shown) == (width >= 125)


def test_a_long_name_gives_way_to_the_figures() -> None:
    shown = _shown(_status(_receiver(lost_samples=123_456_789), receiver_id="the-antenna-in-the-attic-of-the-barn"), 80)
    (row,) = (line for line in shown.splitlines() if "LOCKED" in line)
    assert "the-antenna-" in row
    assert row.count("…") == 1
    assert row.rstrip().endswith("123456789")


def test_what_has_never_come_is_no_age() -> None:
    assert "none yet" in _shown(_status(_receiver(last_sample_age_s=None)))


def test_a_narrow_terminal_is_no_error() -> None:
    assert _shown(_status(_receiver()), width=20)


def test_the_json_form_names_what_is_broken_in_order() -> None:
    status = _status(_receiver(last_sample_age_s=9.0, error="unplugged"), pcm_age_s=9.0)
    told = orjson.loads(orjson.dumps(status.to_dict()))
    assert told["well"] is False
    assert [broken["stage"] for broken in told["broken"]] == ["receiver", "decoder"]
    assert told["broken"][0]["command"] == "redis-cli -p 6400 GET sdr:metrics"
    assert told["receivers"]["noaa-1"]["error"] == "unplugged"


def test_large_letters_stand_on_one_grid() -> None:
    lines = big_lines("The quick brown fox jumps over the lazy dog 3")
    assert len({len(line) for line in lines}) == 1
    assert big_lines("A") == ("▄▀▄", "█▀█", "▀ ▀")


def test_a_receiver_off_its_frequency_is_told_what_to_set() -> None:
    advice = "set frequency_correction_ppm = 12"
    off = _status(_receiver(), inputs={"noaa-1": {"frequency_correction_ppm": 12.1, "frequency_advice": advice}})
    assert f"noaa-1: carriers are off by the same share everywhere: {advice}" in _shown(off)
    right = _status(_receiver(), inputs={"noaa-1": {"frequency_correction_ppm": 0.2, "frequency_advice": ""}})
    assert "carriers are off" not in _shown(right)


def test_a_stream_is_shown_by_its_kind_and_without_a_signal() -> None:
    status = _status(_receiver(), frequency_hz=None, source_type="stream", name="The mirror")
    [line] = [line for line in _shown(status).splitlines() if "The mirror" in line]
    assert "stream" in line
    assert "MHz" not in line
