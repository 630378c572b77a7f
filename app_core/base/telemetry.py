"""Logs and counters: what a stage says of itself.

Logs go to standard error: state changes, not states. What repeats (a malformed message, a lost connection) goes through
a `RateLimitedLog`, which says how often it was silent.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import orjson


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC seconds), level, logger, thread, message."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "timestamp": record.created,
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(entry).decode()
        except TypeError:
            # A file name that is not UTF-8 reaches us as lone surrogates, which JSON cannot carry.
            readable = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in entry.items()}
            return orjson.dumps({**readable, "timestamp": record.created}).decode()


def configure_logging(level: str = "INFO", *, json: bool = False) -> None:
    """Send all logs of this process to standard error, as text or as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    if json:
        handler.setFormatter(_JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class RateLimitedLog:
    """A logger for what may repeat without end: at most one line per key and interval, with the number left out.

    Parameters
    ----------
    logger
        Where the lines go.
    interval_s
        Shortest time between two lines of one key. [seconds]
    """

    MAX_KEYS = 1024
    """Keys beyond this number share one, so that hostile input cannot fill the memory."""

    def __init__(self, logger: logging.Logger, interval_s: float = 1.0) -> None:
        self._logger = logger
        self._interval_s = interval_s
        self._last_s: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def warning(self, key: str, text: str, *args: object) -> None:
        """Log a warning, unless `key` had one less than the interval ago."""
        if key not in self._last_s and len(self._last_s) >= self.MAX_KEYS:
            key = "others"
        now_s = time.monotonic()
        last_s = self._last_s.get(key)
        if last_s is not None and now_s - last_s < self._interval_s:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return
        self._last_s[key] = now_s
        left_out = self._left_out.pop(key, 0)
        if left_out:
            self._logger.warning(text + " (and %d more like it)", *args, left_out)
        else:
            self._logger.warning(text, *args)
