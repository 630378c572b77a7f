"""Supervisors: they start stages from the sink, stop them from the source, and bring back what died.

Two kinds with one shape: `Supervisor` for workers (threads) of this process, and the same for child processes. A stage
that ran well for `HEALTHY_AFTER_S` begins with a short backoff again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from app_core.base.errors import ConfigError, LifecycleError
from app_core.base.lifecycle import Backoff

log = logging.getLogger(__name__)

HEALTHY_AFTER_S = 30.0
"""A stage that ran this long is taken for healthy: its next failure is treated as its first. [seconds]"""


class Supervised(Protocol):
    """What can be supervised: a `Worker`, or a `Child`."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        ...

    def start(self) -> None:
        """Start it."""
        ...

    def stop(self, timeout_s: float = 5.0) -> object:
        """Stop it."""
        ...


@dataclass(slots=True)
class Stage:
    """One supervised thing: how it is made anew each time it is needed, and how its life went.

    Attributes
    ----------
    name
        What logs and the status call it.
    make
        Makes a fresh, not yet started worker or child.
    stop_timeout_s
        How long it may take to stop. [seconds]
    give_up_after
        Failures in a row after which the supervisor gives up; None restarts it for ever.
    outlived
        A reason that only a person can mend (`ConfigError`) leaves this stage dead and the others running; otherwise it
        ends them all.
    given_up
        Whether the stage was left dead so.
    """

    name: str
    make: Callable[[], Supervised]
    stop_timeout_s: float = 5.0
    give_up_after: int | None = None
    outlived: bool = False
    given_up: bool = False
    running: Supervised | None = None
    restarts: int = 0
    _failures: int = 0
    _started_s: float = 0.0
    _restart_at_s: float | None = None
    _backoff: Backoff = field(default_factory=lambda: Backoff(0.1, 10.0))


class Supervisor:
    """Keep stages running.

    Parameters
    ----------
    stages
        In the order in which samples meet them: source first, sink last.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self.stages = list(stages)

    def start(self) -> None:
        """Start every stage, the sink first, so that nothing is produced before somebody takes it."""
        for stage in reversed(self.stages):
            self._start(stage)

    def stop(self) -> None:
        """Stop every stage, the source first, so that what is under way is still taken. Errors are logged."""
        for stage in self.stages:
            if stage.running is None:
                continue
            try:
                stage.running.stop(stage.stop_timeout_s)
            except LifecycleError as error:
                log.error("%s", error)
            stage.running = None

    def watch(self) -> None:
        """Look at every stage once, and restart what is dead and due. Call it a few times a second.

        Raises
        ------
        LifecycleError
            If a stage failed `Stage.give_up_after` times in a row.
        ConfigError
            If a stage that is not `Stage.outlived` failed for a reason that only a person can mend.
        """
        now_s = time.monotonic()
        for stage in self.stages:
            if stage.running is None or stage.given_up:
                continue  # not started yet, or stopped for good
            if stage.running.is_alive:
                if stage._failures and now_s - stage._started_s > HEALTHY_AFTER_S:
                    stage._failures = 0
                    stage._backoff.reset()
                continue
            if stage._restart_at_s is None:
                self._note_death(stage, now_s)
            elif now_s >= stage._restart_at_s:
                stage.restarts += 1
                self._start(stage)

    def _note_death(self, stage: Stage, now_s: float) -> None:
        failure = getattr(stage.running, "failure", None)
        if isinstance(failure, ConfigError):
            if not stage.outlived:
                raise failure
            stage.given_up = True
            log.error("%s stays down until its settings are mended: %s", stage.name, failure)
            return
        stage._failures += 1
        if stage.give_up_after is not None and stage._failures >= stage.give_up_after:
            raise LifecycleError(f"{stage.name} failed {stage._failures} times in a row")
        wait_s = stage._backoff.next_wait_s()
        stage._restart_at_s = now_s + wait_s
        log.warning("%s has ended%s; restarting it in %.1f s", stage.name, _why(stage.running), wait_s)

    def _start(self, stage: Stage) -> None:
        stage._restart_at_s = None
        stage._started_s = time.monotonic()
        stage.running = stage.make()
        if stage.running.is_alive:
            return
        try:
            stage.running.start()
        except LifecycleError as error:
            log.error("%s", error)
        else:
            log.info("%s started", stage.name)


def _why(running: Supervised | None) -> str:
    """Say in a few words why a stage ended, where it is known."""
    failure = getattr(running, "failure", None)
    if failure is not None:
        return f" ({failure})"
    exit_code = getattr(running, "exit_code", None)
    if exit_code is None:
        return ""
    return f" (killed by signal {-exit_code})" if exit_code < 0 else f" (exit code {exit_code})"
