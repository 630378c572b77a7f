"""Hands alerts over from the spool to one taker, the store or the publisher, for as long as it takes.

Each taker has a thread of its own, so that a database that hangs delays no publication. What fails is tried again after
a wait that grows; one alert that a taker will not have does not hold up the others.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from app_core.alerts.alert import Alert
from app_core.alerts.spool import Spool, SpoolEntry, next_publication, wants_store
from app_core.alerts.store import AlertStore
from app_core.base.errors import LinkError
from app_core.base.lifecycle import Backoff, Worker

log = logging.getLogger(__name__)

Deliver = Callable[[SpoolEntry], bool]
"""Does at most one thing with an entry, marks it in the spool, and says whether it did one."""


class Handover(Worker):
    """Brings every entry of a spool to one taker.

    Parameters
    ----------
    name
        Of the thread.
    spool
        Whose entries are handed over, the oldest first.
    deliver
        See `Deliver`; a `LinkError` says that the taker is away for every entry, any other error is this entry's own.
    first_wait_s, longest_wait_s
        Bounds of the waits after failures. [seconds]

    Attributes
    ----------
    failures
        Deliveries that failed.
    last_error
        Of the latest failure, empty since the last round without one.
    """

    def __init__(
        self, name: str, spool: Spool, deliver: Deliver, first_wait_s: float = 0.5, longest_wait_s: float = 60.0
    ) -> None:
        super().__init__(name)
        self.failures = 0
        self.last_error = ""
        self._spool = spool
        self._deliver = deliver
        self._backoff = Backoff(first_wait_s, longest_wait_s)
        self._woken = threading.Event()
        self._refused: set[str] = set()

    def wake(self) -> None:
        """Say that there is something new in the spool."""
        self._woken.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Deliver what can be delivered at once, and end; what is left stays in the spool.

        Raises
        ------
        LifecycleError
            If it has not ended after `timeout_s`.
        """
        self.request_stop()
        self._woken.set()
        super().stop(timeout_s)

    def run(self, stopping: threading.Event) -> None:
        """Hand over whenever woken, and again after each failure."""
        while True:
            # In this order: a stop between the two is either seen here or wakes the wait below.
            self._woken.clear()
            is_last_round = stopping.is_set()
            wait_s = None if self._hand_over() else self._backoff.next_wait_s()
            if is_last_round:
                return
            # A new alert cuts the wait short: it is worth a try at once, whatever happened to the last one.
            self._woken.wait(wait_s)

    def _hand_over(self) -> bool:
        """Offer every entry once, and return whether nothing failed."""
        has_failed = False
        for alert_id in [entry.alert.alert_id for entry in self._spool.entries()]:
            try:
                while (entry := self._spool.get(alert_id)) is not None and self._deliver(entry):
                    pass
            except LinkError as error:
                self._note(error)
                return False
            except Exception as error:
                # The taker is the user's callback, or a database; what it refuses it may take later.
                if alert_id not in self._refused:
                    self._refused.add(alert_id)
                    log.exception("%s: alert %s was refused and will be offered again", self.name, alert_id)
                self._note(error)
                has_failed = True
        if has_failed:
            return False
        self._refused.clear()
        self._backoff.reset()
        if self.last_error:
            log.info("%s: everything is handed over", self.name)
            self.last_error = ""
        return True

    def _note(self, error: Exception) -> None:
        self.failures += 1
        text = str(error) or type(error).__name__
        if text != self.last_error:
            log.warning("%s: %s", self.name, text)
        self.last_error = text


def deliver_to_store(spool: Spool, store: AlertStore) -> Deliver:
    """Make the delivery that stores each revision."""

    def deliver(entry: SpoolEntry) -> bool:
        if not wants_store(entry):
            return False
        store.put(entry.alert)
        _mark(lambda: spool.mark_stored(entry.alert.alert_id, entry.alert.revision))
        return True

    return deliver


def deliver_to_publisher(spool: Spool, publish: Callable[[Alert], None]) -> Deliver:
    """Make the delivery that publishes each alert as `next_publication` says."""

    def deliver(entry: SpoolEntry) -> bool:
        alert = next_publication(entry)
        if alert is None:
            return False
        publish(alert)
        _mark(lambda: spool.mark_published(alert.alert_id, alert.state, len(alert.channels)))
        return True

    return deliver


def _mark(mark: Callable[[], None]) -> None:
    """Set a mark; where the disk does not take it, the spool counts that, holds it in memory and writes it later."""
    try:
        mark()
    except LinkError as error:
        log.warning("%s", error)
