"""Workers: one thread, one life, and the reason of their end."""

from __future__ import annotations

import threading

import pytest

from app_core.base.errors import DeviceError, LifecycleError
from app_core.base.lifecycle import Backoff, Worker
from tests.support.programs import PATIENCE_S, eventually


class _Waiting(Worker):
    """Waits for its stop."""

    def run(self, stopping: threading.Event) -> None:
        stopping.wait()


class _Failing(Worker):
    """Fails at once with what it is given."""

    def __init__(self, error: Exception) -> None:
        super().__init__("failing")
        self._error = error

    def run(self, stopping: threading.Event) -> None:
        raise self._error


class _Stubborn(Worker):
    """Does not listen to its stop before it is released."""

    def __init__(self) -> None:
        super().__init__("stubborn")
        self.released = threading.Event()

    def run(self, stopping: threading.Event) -> None:
        self.released.wait(PATIENCE_S)


def test_a_worker_runs_in_a_thread_of_its_name_until_it_is_stopped() -> None:
    with _Waiting("waiting-1") as worker:
        assert worker.is_alive
        assert "waiting-1" in {thread.name for thread in threading.enumerate()}
    assert (worker.is_alive, worker.failure) == (False, None)


def test_a_worker_starts_once() -> None:
    worker = _Waiting("waiting")
    was_started = [worker.was_started]
    worker.start()
    worker.stop()
    was_started.append(worker.was_started)
    assert was_started == [False, True]
    with pytest.raises(LifecycleError, match="started before"):
        worker.start()


def test_stopping_a_worker_that_never_ran_is_harmless() -> None:
    _Waiting("waiting").stop()


@pytest.mark.parametrize("error", [DeviceError("unplugged"), ZeroDivisionError("a defect")])
def test_what_ends_a_worker_is_kept_and_logged_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    worker = _Failing(error)
    worker.start()
    eventually(lambda: not worker.is_alive, "the worker's end")
    assert worker.failure is error
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    # A defect shows where it is; an error raised on purpose says all in its text.
    assert (caplog.records[0].exc_info is not None) == isinstance(error, ZeroDivisionError)


def test_a_worker_that_does_not_stop_in_time_is_an_error() -> None:
    worker = _Stubborn()
    worker.start()
    with pytest.raises(LifecycleError, match=r"did not stop within 0\.0 s"):
        worker.stop(timeout_s=0.01)
    worker.released.set()
    worker.stop()


def test_backoff_doubles_up_to_its_longest_wait_with_jitter_and_begins_anew() -> None:
    backoff = Backoff(0.1, 1.0)
    for longest_s in (0.1, 0.2, 0.4, 0.8, 1.0, 1.0):
        assert longest_s / 2 <= backoff.next_wait_s() <= longest_s
    backoff.reset()
    assert backoff.next_wait_s() <= 0.1


def test_backoff_spreads_those_who_wait_together() -> None:
    assert len({Backoff(1.0).next_wait_s() for _ in range(20)}) > 10
