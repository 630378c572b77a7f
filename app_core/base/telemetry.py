"""Logs and counters: what a stage says of itself.

Logs go to standard error, and to a file when one is asked for: state changes, not states. What repeats (a malformed
message, a lost connection) goes through a `RateLimitedLog`, which says how often it was silent; what repeats although
nobody thought of it is held back by a `FloodFilter`, so that no fault fills the disk with its own report.

A log that cannot be written never ends, delays or floods what it tells of.
"""

from __future__ import annotations

import logging
import logging.handlers
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson

from app_core.base.errors import ConfigError


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC seconds), level, logger, thread, message, and the name of the event."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "timestamp": record.created,
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        event = getattr(record, "event", None)
        if event is not None:
            entry["event"] = str(event)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(entry).decode()
        except TypeError:
            # A file name that is not UTF-8 reaches us as lone surrogates, which JSON cannot carry.
            readable = {name: str(value).encode("utf-8", "backslashreplace").decode() for name, value in entry.items()}
            return orjson.dumps({**readable, "timestamp": record.created}).decode()


class FloodFilter(logging.Filter):
    """Let at most some lines of one kind pass in an interval, and tell with the next one how many were left out.

    A kind is one place in the code: logger, level and text before its arguments. DEBUG lines always pass: who asks for
    them wants them all.

    Parameters
    ----------
    burst
        Lines of one kind that pass in an interval.
    interval_s
        [seconds]
    """

    MAX_KINDS = 1024

    def __init__(self, burst: int = 30, interval_s: float = 10.0) -> None:
        super().__init__()
        self._burst = burst
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._kinds: dict[tuple[str, int, str], tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Decide about one line; the decision is kept with it, since every handler asks."""
        if record.levelno <= logging.DEBUG:
            return True
        passes: bool | None = getattr(record, "herald_passes", None)
        if passes is None:
            passes = self._judge(record)
            record.herald_passes = passes
        return passes

    def _judge(self, record: logging.LogRecord) -> bool:
        kind = (record.name, record.levelno, str(record.msg))
        now_s = time.monotonic()
        with self._lock:
            if kind not in self._kinds and len(self._kinds) >= self.MAX_KINDS:
                self._kinds.clear()
            began_s, passed, left_out = self._kinds.get(kind, (now_s, 0, 0))
            if now_s - began_s >= self._interval_s:
                began_s, passed = now_s, 0
            if passed >= self._burst:
                self._kinds[kind] = (began_s, passed, left_out + 1)
                return False
            self._kinds[kind] = (began_s, passed + 1, 0)
        if left_out:
            record.msg = f"{record.getMessage()} (and {left_out} more like it)"
            record.args = None
        return True


class _LogFile(logging.handlers.WatchedFileHandler):
    """A file that is opened again when it was moved away; a disk that is full or gone costs the line, nothing more."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, after opening the file again if it is not the one that was opened."""
        try:
            super().emit(record)
        except OSError:
            # The base class lets what goes wrong at the opening through to whoever logs.
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Say nothing: the same line went to standard error."""


def configure_logging(level: str = "INFO", *, json: bool = False, file: Path | None = None) -> None:
    """Send all logs of this process to standard error, and to a file, as text or as JSON lines.

    Parameters
    ----------
    level
        The least that is logged.
    json
        Whether a line is a JSON object.
    file
        Written besides; lines are appended, and the file is opened again after it was rotated.

    Raises
    ------
    ConfigError
        If `file` cannot be opened.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        try:
            handlers.append(_LogFile(file, encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            raise ConfigError(
                f"the log file {file} cannot be written ({error.strerror}); "
                f"check HERALD_LOG_FILE and the folder's owner"
            ) from error
    formatter = _JsonFormatter() if json else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    flood = FloodFilter()
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.addFilter(flood)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        if isinstance(old, _LogFile):
            old.close()
    root.handlers[:] = handlers
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
        """Log a warning, unless `key` had a line less than the interval ago."""
        self._log(logging.WARNING, key, text, args)

    def info(self, key: str, text: str, *args: object) -> None:
        """Log what is no fault, unless `key` had a line less than the interval ago."""
        self._log(logging.INFO, key, text, args)

    def _log(self, level: int, key: str, text: str, args: tuple[object, ...]) -> None:
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
            self._logger.log(level, text + " (and %d more like it)", *args, left_out)
        else:
            self._logger.log(level, text, *args)
