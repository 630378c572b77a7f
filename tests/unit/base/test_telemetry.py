"""Logs: one JSON object a line, and nothing that repeats without end."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_core.base.errors import ConfigError
from app_core.base.telemetry import RateLimitedLog, configure_logging

log = logging.getLogger("herald.test")


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_logs_are_one_object_a_line(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", json=True)
    log.info("receiver %s runs", "noaa-1")
    log.debug("not shown")
    entry = json.loads(capsys.readouterr().err)
    assert entry["message"] == "receiver noaa-1 runs"
    assert (entry["level"], entry["logger"], entry["thread"]) == ("INFO", "herald.test", "MainThread")
    assert entry["timestamp"] > 1e9


def test_json_logs_carry_a_traceback(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=True)
    try:
        raise ValueError("broken\nline")
    except ValueError:
        log.exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "ValueError: broken" in json.loads(lines[0])["traceback"]


def test_json_logs_carry_a_file_name_that_is_not_utf_8(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(json=True)
    log.info("recording %s", b"caf\xe9.cu8".decode("utf-8", "surrogateescape"))
    entry = json.loads(capsys.readouterr().err)
    assert entry["message"] == "recording caf\\udce9.cu8"
    assert isinstance(entry["timestamp"], float)


def test_text_logs_go_to_standard_error_alone(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING")
    log.warning("ring is full")
    captured = capsys.readouterr()
    assert "WARNING herald.test: ring is full" in captured.err
    assert captured.out == ""
    assert [handler.stream for handler in root_logger.handlers if isinstance(handler, logging.StreamHandler)] == [
        sys.stderr
    ]


def test_what_repeats_is_logged_once_an_interval_with_the_number_left_out(caplog: pytest.LogCaptureFixture) -> None:
    limited = RateLimitedLog(log, interval_s=3600.0)
    for number in range(5):
        limited.warning("overflow", "overflow %d", number)
    limited.warning("other", "another key")
    assert caplog.messages == ["overflow 0", "another key"]
    limited._last_s["overflow"] -= 3601.0
    limited.warning("overflow", "overflow %d", 5)
    assert caplog.messages[-1] == "overflow 5 (and 4 more like it)"


def test_what_is_no_fault_is_limited_as_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    limited = RateLimitedLog(log, interval_s=3600.0)
    for number in range(5):
        limited.info("title", "title %d", number)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(logging.INFO, "title 0")]


def test_hostile_keys_do_not_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    limited = RateLimitedLog(log, interval_s=3600.0)
    for number in range(3 * RateLimitedLog.MAX_KEYS):
        limited.warning(f"key {number}", "message")
    assert len(limited._last_s) <= RateLimitedLog.MAX_KEYS + 1
    assert len(caplog.messages) <= RateLimitedLog.MAX_KEYS + 1


def test_logs_go_to_a_file_besides_which_is_opened_again_after_rotation(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "sdr.log"
    configure_logging(file=file)
    log.info("before")
    file.rename(tmp_path / "sdr.log.1")
    log.info("after")
    assert (tmp_path / "sdr.log.1").read_text().endswith("herald.test: before\n")
    assert file.read_text().endswith("herald.test: after\n")
    assert len(capsys.readouterr().err.splitlines()) == 2
    configure_logging()


def test_a_log_file_whose_folder_is_gone_costs_nobody_anything(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "log"
    folder.mkdir()
    configure_logging(file=folder / "sdr.log")
    (folder / "sdr.log").unlink()
    folder.rmdir()
    log.warning("samples still flow")
    captured = capsys.readouterr().err.splitlines()
    assert len(captured) == 1, "not a traceback a line"
    folder.mkdir()
    log.warning("and are told of again")
    assert "again" in (folder / "sdr.log").read_text()
    configure_logging()


def test_a_log_file_that_cannot_be_opened_is_a_wrong_setting(root_logger: logging.Logger, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="HERALD_LOG_FILE"):
        configure_logging(file=tmp_path / "nowhere" / "sdr.log")


def test_json_logs_name_the_event(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=True)
    log.warning("receiver %s: %s", "noaa-1", "no samples", extra={"event": "no_samples"})
    log.warning("something")
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert first["event"] == "no_samples"
    assert "event" not in second


def test_a_flood_of_one_kind_is_held_back_and_counted_on_every_way_out_alike(
    root_logger: logging.Logger,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    configure_logging("DEBUG", file=tmp_path / "log")
    for number in range(1000):
        log.warning("overflow %d", number)
        log.debug("block %d", number)
    log.warning("another kind")
    now_s = 11.0
    log.warning("overflow %d", 1000)
    shown = capsys.readouterr().err
    assert (tmp_path / "log").read_text() == shown
    lines = [line for line in shown.splitlines() if "overflow" in line]
    assert len(lines) == 31
    assert lines[-1].endswith("overflow 1000 (and 970 more like it)")
    assert sum("block" in line for line in shown.splitlines()) == 1000
    assert "another kind" in shown
    configure_logging()
