"""Supervisors: the order of start and stop, and what becomes of what dies."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from app_core.base import supervisor as supervisor_module
from app_core.base.errors import ConfigError, DeviceError, LifecycleError
from app_core.base.lifecycle import Worker
from app_core.base.supervisor import Stage, Supervisor
from tests.support.programs import eventually


class _Stage(Worker):
    """Notes its start and stop, and fails with `error` if it is given one."""

    def __init__(self, name: str, notes: list[str], error: Exception | None = None) -> None:
        super().__init__(name)
        self._notes = notes
        self._error = error

    def run(self, stopping: threading.Event) -> None:
        if self._error is not None:
            raise self._error
        stopping.wait()

    def start(self) -> None:
        self._notes.append(f"start {self.name}")
        super().start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._notes.append(f"stop {self.name}")
        super().stop(timeout_s)


def _watched(supervisor: Supervisor, condition: Callable[[], bool]) -> Callable[[], bool]:
    def look() -> bool:
        supervisor.watch()
        return condition()

    return look


def test_stages_start_from_the_sink_and_stop_from_the_source() -> None:
    notes: list[str] = []
    names = ["source", "middle", "sink"]
    supervisor = Supervisor([Stage(name, lambda name=name: _Stage(name, notes)) for name in names])  # type: ignore[misc]
    supervisor.start()
    supervisor.stop()
    assert notes == ["start sink", "start middle", "start source", "stop source", "stop middle", "stop sink"]


def test_what_has_died_is_made_anew_and_the_others_are_left_alone() -> None:
    notes: list[str] = []
    made = [_Stage("first", notes, DeviceError("gone")), _Stage("second", notes)]
    fresh = iter(made)
    supervisor = Supervisor([Stage("fragile", lambda: next(fresh)), Stage("sound", lambda: _Stage("sound", notes))])
    supervisor.start()
    fragile, sound = supervisor.stages
    eventually(_watched(supervisor, lambda: fragile.running is made[1] and made[1].is_alive), "the restart")
    assert (fragile.restarts, sound.restarts) == (1, 0)
    assert notes.count("start sound") == 1
    supervisor.stop()


def test_a_restart_waits_longer_after_each_failure(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage("fragile", lambda: _Stage("fragile", [], DeviceError("gone")))
    supervisor = Supervisor([stage])
    supervisor.start()
    waits_s: list[float] = []
    for longest_s in (0.1, 0.2, 0.4, 0.8):
        eventually(lambda: stage.running is not None and not stage.running.is_alive, "the failure")
        supervisor.watch()
        assert stage._restart_at_s is not None
        wait_s = stage._restart_at_s - time.monotonic()
        assert wait_s <= longest_s
        waits_s.append(wait_s)
        restarts = stage.restarts
        supervisor.watch()
        assert stage.restarts == restarts, "it was restarted before it was due"
        stage._restart_at_s = 0.0
        supervisor.watch()
        assert stage.restarts == restarts + 1
    assert waits_s[3] > waits_s[0]
    assert "fragile has ended (gone); restarting it in" in caplog.text
    supervisor.stop()


def test_a_stage_that_ran_well_is_treated_as_if_it_had_never_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor_module, "HEALTHY_AFTER_S", -1.0)
    made = iter([_Stage("a", [], DeviceError("gone")), _Stage("b", [])])
    stage = Stage("stage", lambda: next(made), give_up_after=2)
    supervisor = Supervisor([stage])
    supervisor.start()
    eventually(_watched(supervisor, lambda: stage.restarts == 1), "the restart")
    assert stage._failures == 1
    supervisor.watch()
    assert stage._failures == 0
    supervisor.stop()


def test_the_supervisor_gives_up_after_as_many_failures_in_a_row_as_it_is_told() -> None:
    stage = Stage("hopeless", lambda: _Stage("hopeless", [], DeviceError("gone")), give_up_after=3)
    supervisor = Supervisor([stage])
    supervisor.start()
    with pytest.raises(LifecycleError, match="hopeless failed 3 times in a row"):
        eventually(_watched(supervisor, lambda: False), "that it gives up")
    assert stage.restarts == 2
    supervisor.stop()


def test_a_wrong_setting_ends_the_program_and_is_not_tried_again() -> None:
    error = ConfigError("station.toml: no such format")
    stage = Stage("misconfigured", lambda: _Stage("misconfigured", [], error))
    supervisor = Supervisor([stage])
    supervisor.start()
    with pytest.raises(ConfigError, match="no such format"):
        eventually(_watched(supervisor, lambda: False), "the error")
    assert stage.restarts == 0
    supervisor.stop()


def test_a_stage_that_does_not_stop_does_not_keep_the_others_running(caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    class Stubborn(_Stage):
        def run(self, stopping: threading.Event) -> None:
            released.wait(20.0)

    notes: list[str] = []
    stubborn = Stubborn("stubborn", notes)
    supervisor = Supervisor([Stage("stubborn", lambda: stubborn, stop_timeout_s=0.01), Stage("sink", lambda: sink)])
    sink = _Stage("sink", notes)
    supervisor.start()
    supervisor.stop()
    assert not sink.is_alive
    assert "stubborn did not stop" in caplog.text
    released.set()
    stubborn.stop()


def test_what_was_stopped_stays_stopped() -> None:
    notes: list[str] = []
    supervisor = Supervisor([Stage("stage", lambda: _Stage("stage", notes))])
    supervisor.start()
    supervisor.stop()
    supervisor.watch()
    supervisor.watch()
    assert notes == ["start stage", "stop stage"]
    assert supervisor.stages[0]._restart_at_s is None
