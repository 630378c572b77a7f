"""What every program does around its work: signals, logs, metrics, watchdog, exit codes, the run loop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from app_core.base.errors import ConfigError, HeraldError
from app_core.base.sd_notify import Notifier, watchdog_seconds
from app_core.base.telemetry import configure_logging

if TYPE_CHECKING:
    from app_core.bridge.prometheus import MetricsServer, MetricsSource
    from services.settings import Loaded

log = logging.getLogger(__name__)

P = TypeVar("P", bound="Program")

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 128 + signal.SIGINT
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


def begin_logs(loaded: Loaded) -> None:
    """Send this program's logs to where the settings want them.

    Raises
    ------
    ConfigError
        If the log file cannot be written.
    """
    program = loaded.program
    configure_logging(program.herald_log_level, json=program.herald_log_json, file=program.herald_log_file)


def begin_metrics(loaded: Loaded, own_port: int | None, source: MetricsSource) -> MetricsServer | None:
    """Open the port for Prometheus, if one is set.

    A port that is taken is logged as an error and nothing more: a station must not go off the air for its statistics.

    Parameters
    ----------
    loaded
        The settings; ``HERALD_PROMETHEUS_PORT`` wins over `own_port`.
    own_port
        What ``[station]`` says for this program.
    source
        Gives the latest metrics message.
    """
    port = loaded.program.herald_prometheus_port or own_port
    if port is None:
        return None
    # Here, since every subcommand of `herald` imports this module, and few of them serve metrics.
    from app_core.bridge.prometheus import MetricsServer

    host = loaded.program.herald_prometheus_host or loaded.station.prometheus_host
    try:
        return MetricsServer(source, host, port)
    except OSError as error:
        log.error("no metrics for Prometheus: cannot listen on %s:%d: %s", host, port, error.strerror)
        return None


def make_notifier() -> Notifier:
    """Give the way to the supervisor of this program: systemd, or the audio service for its jobs; else to nobody."""
    environment = os.environ
    watchdog_s = watchdog_seconds(environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", ""))
    return Notifier(environment.get("NOTIFY_SOCKET", ""), watchdog_s)


def run_until_stopped(
    watch: Callable[[], bool],
    stopping: threading.Event,
    notifier: Notifier | None = None,
    hung: Callable[[], list[str]] = list,
) -> None:
    """Call `watch` a few times a second until it gives False or `stopping` is set.

    Parameters
    ----------
    watch
        Looks after everything once.
    stopping
        Ends the loop.
    notifier
        Told that the program is ready, that it lives, and that it stops.
    hung
        Names the threads that hang: while there is one, the watchdog is not fed, so that the supervisor starts the
        program afresh. Without a supervisor that has a watchdog, it goes on as it can.
    """
    notifier = notifier or Notifier()
    notifier.ready()
    hanging: list[str] = []
    while not stopping.is_set() and watch():
        was_hanging, hanging = hanging, hung()
        if not hanging:
            notifier.alive()
        elif hanging != was_hanging:
            log.error("%s: no turn of the loop for too long; the watchdog is not fed", ", ".join(hanging))
        stopping.wait(WATCH_INTERVAL_S)
    notifier.stopping()


class Program(Protocol):
    """What a program runs: one half of the station, or one job of it."""

    @property
    def hung(self) -> list[str]:
        """Names of the threads that hang."""
        ...

    def start(self) -> None:
        """Start everything."""
        ...

    def stop(self) -> None:
        """Stop everything, orderly."""
        ...

    def summary(self) -> str:
        """Say in one line how it is."""
        ...


def run_program(
    loaded: Loaded,
    build: Callable[[Loaded], P],
    watch: Callable[[P], bool],
    own_port: int | None = None,
    source: Callable[[P], Any] | None = None,
) -> int:
    """Build a program and run it until a signal comes, or it says that it is done.

    Parameters
    ----------
    loaded
        The settings.
    build
        Makes it of them.
    watch
        Looks after it once; False when it is done.
    own_port, source
        As `begin_metrics`: what ``[station]`` says, and what gives its metrics; None serves none.

    Returns
    -------
    exit_code
        0; what goes wrong is raised.
    """
    # A thread gets the interpreter back after 0.1 ms, not 5, while another is in pure Python: calls are short here.
    sys.setswitchinterval(1e-4)
    begin_logs(loaded)
    stopping = stop_on_signals()
    notifier = make_notifier()
    program = build(loaded)
    metrics = None if source is None else begin_metrics(loaded, own_port, lambda: source(program))

    def look_after() -> bool:
        goes_on = watch(program)
        notifier.status(program.summary())
        return goes_on

    program.start()
    try:
        run_until_stopped(look_after, stopping, notifier, lambda: program.hung)
    finally:
        program.stop()
        if metrics is not None:
            metrics.close()
    return EXIT_OK


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
        return EXIT_INTERRUPTED
