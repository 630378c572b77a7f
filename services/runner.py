"""What every program does around its work: signals, exit codes, the run loop."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from app_core.base.errors import ConfigError, HeraldError

log = logging.getLogger(__name__)

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: a person must mend the settings; restarting does not help."""

WATCH_INTERVAL_S = 0.1


def stop_on_signals() -> threading.Event:
    """Give an event that SIGINT and SIGTERM set; a second signal ends the program at once."""
    stopping = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stopping.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stopping.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    return stopping


def run_until_stopped(watch: Callable[[], bool], stopping: threading.Event) -> None:
    """Call `watch` a few times a second until it gives False or `stopping` is set."""
    while not stopping.is_set() and watch():
        stopping.wait(WATCH_INTERVAL_S)


def exit_code_of(program: Callable[[], int]) -> int:
    """Run a program; errors that Herald raises on purpose become a plain text and an exit code."""
    try:
        return program()
    except ConfigError as error:
        print(f"herald: {error}", file=sys.stderr)  # noqa: T201 - the last words of a program
        return EXIT_CONFIG
    except HeraldError as error:
        print(f"herald: {error}", file=sys.stderr)  # noqa: T201
        return EXIT_FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
