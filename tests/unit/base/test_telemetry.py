"""Logs: one JSON object a line, and nothing that repeats without end."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

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


def test_hostile_keys_do_not_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    limited = RateLimitedLog(log, interval_s=3600.0)
    for number in range(3 * RateLimitedLog.MAX_KEYS):
        limited.warning(f"key {number}", "message")
    assert len(limited._last_s) <= RateLimitedLog.MAX_KEYS + 1
    assert len(caplog.messages) <= RateLimitedLog.MAX_KEYS + 1
