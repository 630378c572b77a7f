"""Threads with a life: start, run, stop, and the reason when they die.

A `Worker` is one named thread. What it raises is kept in `Worker.failure` and logged once with its traceback; whoever
supervises the worker decides what becomes of it.
"""

from __future__ import annotations

import logging
import random
import threading
from types import TracebackType
from typing import Self

from app_core.base.errors import HeraldError, LifecycleError

log = logging.getLogger(__name__)


class Worker:
    """One named thread; subclasses write `run`.

    Parameters
    ----------
    name
        Name of the thread, shown in logs.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._stopping = threading.Event()
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

    def start(self) -> None:
        """Start the thread.

        Raises
        ------
        LifecycleError
            If it was started before; a worker runs once.
        """
        if self._thread is not None:
            raise LifecycleError(f"worker {self.name} was started before")
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

    def _main(self) -> None:
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
