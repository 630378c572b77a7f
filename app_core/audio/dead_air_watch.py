"""The thread that listens to every source for dead air, and names what it finds: in the log once, in the status always.

All sources are looked at twice a second in one go, so the cost does not depend on how their audio is cut.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from app_core.audio.broadcast_queue import BroadcastQueue, Subscription
from app_core.audio.dead_air import DeadAirSettings, SourceAir
from app_core.base.blocks import PcmBlock
from app_core.base.lifecycle import Worker

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""[seconds]"""

LONGEST_S = 5.0
"""Audio that may wait for the next look. [seconds]"""


class Feed(Protocol):
    """Where the audio of every source comes from."""

    def queue(self, channel_id: str) -> BroadcastQueue:
        """Give the queue of one source, which need not have audio yet."""
        ...


class Acknowledged(Protocol):
    """What people have said of faults."""

    def read(self, channel_ids: Collection[str]) -> Collection[str]:
        """Give those sources whose fault somebody has seen."""
        ...

    def forget(self, channel_id: str) -> None:
        """Take it back, since the fault is over."""
        ...


class DeadAirWatch(Worker):
    """Watch all sources.

    Parameters
    ----------
    feed
        Where their audio comes from.
    entries
        Gives what ``audio:metrics`` says of each source that there is, by id.
    settings
        The limits.
    acknowledged
        What people have said; None for nothing.
    """

    def __init__(
        self,
        feed: Feed,
        entries: Callable[[], Mapping[str, Mapping[str, Any]]],
        settings: DeadAirSettings,
        acknowledged: Acknowledged | None = None,
    ) -> None:
        super().__init__("DeadAir")
        self._feed = feed
        self._entries = entries
        self._settings = settings
        self._acknowledged = acknowledged
        self._watched: dict[str, tuple[SourceAir, Subscription]] = {}
        self._status: dict[str, dict[str, Any]] = {}

    def status(self) -> dict[str, Any]:
        """Give the verdict on every source by id."""
        return dict(self._status)

    def run(self, stopping: threading.Event) -> None:
        """Look until stopped."""
        try:
            while not stopping.wait(LOOK_EVERY_S):
                self.look(time.monotonic(), time.time())
        finally:
            for _, subscription in self._watched.values():
                subscription.close()

    def look(self, now: float, utc: float | None = None) -> None:
        """Take all audio that came since the last look, and judge it.

        Parameters
        ----------
        now
            Time of the look. [monotonic seconds]
        utc
            The same for people; None for `now`. [UTC seconds]
        """
        utc_ahead_s = 0.0 if utc is None else utc - now
        entries = {
            source_id: entry for source_id, entry in self._entries().items() if source_id not in self._settings.ignore
        }
        self._follow(entries, now)
        for source_id, (air, subscription) in self._watched.items():
            air.entry = entries[source_id]
            before = air.fault
            if air.push(_take_all(subscription), now):
                self._tell(air, before, now)
        faulty = [source_id for source_id, (air, _) in self._watched.items() if air.fault is not None]
        seen = self._acknowledged.read(faulty) if self._acknowledged is not None and faulty else ()
        self._status = {
            source_id: air.status(now, acknowledged=source_id in seen, utc_ahead_s=utc_ahead_s)
            for source_id, (air, _) in self._watched.items()
        }

    def _follow(self, entries: Mapping[str, object], now: float) -> None:
        for source_id in [source_id for source_id in self._watched if source_id not in entries]:
            self._watched.pop(source_id)[1].close()
        for source_id in entries:
            if source_id not in self._watched:
                subscription = self._feed.queue(source_id).subscribe("dead air", LONGEST_S)
                self._watched[source_id] = (SourceAir(source_id, self._settings, now), subscription)

    def _tell(self, air: SourceAir, before: str | None, now: float) -> None:
        if air.fault is not None:
            log.warning("%s is dead air (%s): %s", air.source_id, air.fault, air.words(now))
        else:
            log.info("%s is well again (it was: %s)", air.source_id, before)
            if self._acknowledged is not None:
                self._acknowledged.forget(air.source_id)


def _take_all(subscription: Subscription) -> list[PcmBlock]:
    blocks: list[PcmBlock] = []
    while (block := subscription.get(0.0)) is not None:
        blocks.append(block)
    return blocks
