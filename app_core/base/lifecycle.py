"""Threads with a life: start, run, stop, and the reason when they die.

A `Worker` is one named thread. What it raises is kept in `Worker.failure` and logged once with its traceback; whoever
supervises the worker decides what becomes of it. Each look at `stopping` is a sign of life, so a thread that lives but
no longer turns its loop can be told from one that waits on purpose.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import Self

from app_core.base.errors import HeraldError, LifecycleError

log = logging.getLogger(__name__)

HUNG_AFTER_S = 10.0
"""Time without a turn of its loop after which a living thread is said to hang. [seconds]"""


class StopRequest(threading.Event):
    """The event that ends a worker; it notes when the worker last looked at it."""

    def __init__(self) -> None:
        super().__init__()
        self._awaited_s = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Time since the next look at it was due: a wait that was asked for does not count. [seconds]"""
        return max(0.0, time.monotonic() - self._awaited_s)

    def is_set(self) -> bool:
        """As `threading.Event.is_set`."""
        self._awaited_s = time.monotonic()
        return super().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """As `threading.Event.wait`."""
        self._awaited_s = float("inf") if timeout is None else time.monotonic() + timeout
        return super().wait(timeout)


class Worker:
    """One named thread; subclasses write `run`.

    Parameters
    ----------
    name
        Name of the thread, shown in logs.
    cpu_affinity
        Processors on which the thread may run; empty leaves that to the kernel. A refusal is logged, not raised.
    nice
        Priority of the thread, -20 (first) to 19 (last); None leaves it. A refusal is logged, not raised.
    """

    def __init__(self, name: str, *, cpu_affinity: Collection[int] = (), nice: int | None = None) -> None:
        self.name = name
        self._cpu_affinity = frozenset(cpu_affinity)
        self._nice = nice
        self._stopping = StopRequest()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def run(self, stopping: threading.Event) -> None:
        """Do the work until it is done or `stopping` is set; waits shall be on `stopping`, so that it ends at once."""
        raise NotImplementedError

    @property
    def failure(self) -> BaseException | None:
        """What ended the thread, if it did not end by itself."""
        return self._failure

    @property
    def was_started(self) -> bool:
        """Whether it was started, ever: then it cannot be started again."""
        return self._thread is not None

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def is_hung(self) -> bool:
        """Whether the thread runs, but has not turned its loop for `HUNG_AFTER_S`."""
        return self.is_alive and self._stopping.silent_s > HUNG_AFTER_S

    def start(self) -> None:
        """Start the thread.

        Raises
        ------
        LifecycleError
            If it was started before; a worker runs once.
        """
        if self._thread is not None:
            raise LifecycleError(f"worker {self.name} was started before")
        self._stopping.is_set()  # the time before the start does not count as silence
        self._thread = threading.Thread(target=self._main, name=self.name, daemon=True)
        self._thread.start()

    def request_stop(self) -> None:
        """Ask the thread to end, without waiting."""
        self._stopping.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Ask the thread to end and wait for it.

        Raises
        ------
        LifecycleError
            If it has not ended after `timeout_s`.
        """
        self._stopping.set()
        if self._thread is None:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise LifecycleError(f"worker {self.name} did not stop within {timeout_s:.1f} s")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _place(self) -> None:
        """Set processors and priority of this thread: both are the thread's own on Linux, and 0 is the caller."""
        try:
            if self._cpu_affinity:
                os.sched_setaffinity(0, self._cpu_affinity)
        except OSError as error:
            log.warning("%s cannot run on processors %s: %s", self.name, sorted(self._cpu_affinity), error.strerror)
        try:
            if self._nice is not None:
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
        except OSError as error:
            log.warning("%s cannot have priority %d: %s", self.name, self._nice, error.strerror)

    def _main(self) -> None:
        self._place()
        try:
            self.run(self._stopping)
        except HeraldError as error:
            self._failure = error
            log.error("%s failed: %s", self.name, error)
        except Exception as error:
            self._failure = error
            log.exception("%s failed", self.name)


class Backoff:
    """Waits that grow from one failure to the next, with jitter, and begin anew after a success.

    Parameters
    ----------
    first_s, longest_s
        Bounds of the wait before jitter. [seconds]
    """

    def __init__(self, first_s: float = 0.1, longest_s: float = 5.0) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._next_s = first_s

    def next_wait_s(self) -> float:
        """Give the next wait: 50 to 100 % of a delay that doubles each time. [seconds]"""
        wait_s = self._next_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads reconnects, no secret
        self._next_s = min(self._next_s * 2.0, self._longest_s)
        return wait_s

    def reset(self) -> None:
        """Begin anew with the shortest wait."""
        self._next_s = self._first_s
