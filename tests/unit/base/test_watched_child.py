"""A child that hangs is killed; one that works, however long, is left alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from app_core.base.supervisor import Stage, Supervisor
from app_core.base.watched_child import WatchedChild
from tests.support.programs import eventually

LIVING = """
import os, time
from app_core.base.sd_notify import Notifier, watchdog_seconds
notifier = Notifier(os.environ["NOTIFY_SOCKET"], watchdog_seconds(os.environ["WATCHDOG_USEC"], ""))
notifier.ready()
while True:
    notifier.alive()
    time.sleep(0.02)
"""

MUTE = "import time; time.sleep(600)"


@contextmanager
def _child(words: str, *, silence_s: float, start_timeout_s: float = 60.0) -> Iterator[WatchedChild]:
    child = WatchedChild("job", [sys.executable, "-c", words], silence_s=silence_s, start_timeout_s=start_timeout_s)
    try:
        yield child
    finally:
        child.stop(0.1)
        child.close()


def test_a_stopped_child_is_killed_and_its_supervisor_starts_another() -> None:
    with _child(LIVING, silence_s=0.5) as child:
        supervisor = Supervisor([Stage("job", lambda: child)])

        def watch() -> None:
            child.watch()
            supervisor.watch()

        def is_ready() -> bool:
            watch()
            return child.is_ready

        supervisor.start()
        eventually(is_ready, "the child")
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGSTOP)

        def is_another() -> bool:
            watch()
            return child.pid != first and child.is_ready

        eventually(is_another, "another child")
        assert child.kill_count == 1
        supervisor.stop()


def test_a_child_that_says_that_it_lives_is_left_alone() -> None:
    with _child(LIVING, silence_s=0.5) as child:
        child.start()
        turns = 0

        def is_old() -> bool:
            nonlocal turns
            child.watch()
            turns += child.is_ready
            return turns > 300  # at 5 ms each: three times the silence that is allowed

        eventually(is_old, "some seconds of life")
        assert child.kill_count == 0


def test_a_child_that_never_gets_ready_is_killed_after_its_own_time() -> None:
    with _child(MUTE, silence_s=0.01, start_timeout_s=1.0) as child:
        child.start()
        child.watch()
        assert child.is_alive, "its start may take longer than a silence"

        def is_dead() -> bool:
            child.watch()
            return not child.is_alive

        eventually(is_dead, "the end of a mute child")
        assert child.kill_count == 1
