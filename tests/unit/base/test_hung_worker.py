"""A thread that no longer turns its loop is told from one that waits on purpose; its processors are its own."""

from __future__ import annotations

import os
import threading

import pytest

from app_core.base import lifecycle
from app_core.base.lifecycle import Worker
from tests.support.programs import eventually


class _Sticky(Worker):
    """Turns its loop until it is told to stick."""

    def __init__(self) -> None:
        super().__init__("sticky")
        self.stick = threading.Event()
        self.let_go = threading.Event()

    def run(self, stopping: threading.Event) -> None:
        while not stopping.is_set():
            if self.stick.is_set():
                self.let_go.wait()
            stopping.wait(0.01)


class _Waiter(Worker):
    def __init__(self, timeout_s: float | None) -> None:
        super().__init__("waiter")
        self._timeout_s = timeout_s

    def run(self, stopping: threading.Event) -> None:
        stopping.wait(self._timeout_s)
        stopping.wait()


def test_a_thread_that_sticks_is_hung_until_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "HUNG_AFTER_S", 0.2)
    with _Sticky() as worker:
        assert not worker.is_hung
        worker.stick.set()
        eventually(lambda: worker.is_hung, "that it hangs")
        worker.stick.clear()
        worker.let_go.set()
        eventually(lambda: not worker.is_hung, "that it goes on")
    assert not worker.is_hung, "a thread that has ended does not hang"


@pytest.mark.parametrize("timeout_s", [None, 3600.0])
def test_a_wait_that_was_asked_for_is_no_silence(timeout_s: float | None) -> None:
    with _Waiter(timeout_s) as worker:
        eventually(lambda: worker._stopping._awaited_s > 1e9 or worker._stopping.silent_s == 0.0, "its wait")
        assert worker._stopping.silent_s == 0.0


class _Placed(Worker):
    def run(self, stopping: threading.Event) -> None:
        self.processors = os.sched_getaffinity(0)
        self.priority = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        stopping.wait()


def test_processors_and_priority_are_those_of_the_thread_alone() -> None:
    before = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    wanted = min(before[0])
    with _Placed("placed", cpu_affinity=[wanted], nice=before[1] + 1) as worker:
        eventually(lambda: hasattr(worker, "priority"), "the thread")
        assert (worker.processors, worker.priority) == ({wanted}, before[1] + 1)
    assert (os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)) == before


def test_a_processor_that_is_not_there_is_logged_and_the_thread_runs(caplog: pytest.LogCaptureFixture) -> None:
    with _Placed("placed", cpu_affinity=[4000]) as worker:
        eventually(lambda: hasattr(worker, "priority"), "the thread")
    assert caplog.messages == ["placed cannot run on processors [4000]: Invalid argument"]
