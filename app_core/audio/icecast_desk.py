"""Titles out, numbers of listeners in: what is asked of Icecast beside the audio, by a thread that carries none.

A title that is refused rests alone: the other mounts have theirs, and listeners are counted. A server that does not
answer is left for a moment as a whole, for each mount would wait for it in turn. Both are told in each mount's status:
a frozen server is noticed here first, since its kernel goes on taking audio for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from app_core.audio.icecast_output import IcecastStreamer
from app_core.base.errors import HeraldError, LinkError
from app_core.base.lifecycle import Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.network.icecast_admin import read_listeners, update_title
from app_core.network.icecast_server import IcecastRefusedError, IcecastServer

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=60.0)

TURN_S = 0.25
"""So often the titles are looked at. [seconds]"""

LISTENERS_EVERY_S = 5.0
"""[seconds]"""

RETRY_S = 3.0
"""Rest after a question that had no answer, and of a mount whose title was refused. [seconds]"""

ASK_TIMEOUT_S = 3.0
"""[seconds]"""


class IcecastDesk(Worker):
    """Keep titles and listeners up to date.

    Parameters
    ----------
    server
        Whom to ask.
    streamers
        Gives the mounts; called in this thread.
    """

    def __init__(self, server: IcecastServer, streamers: Callable[[], Sequence[IcecastStreamer]]) -> None:
        super().__init__("IcecastDesk")
        self._server = server
        self._streamers = streamers
        self._count_due_s = 0.0
        # Of mounts whose title was refused: when they are tried again. [monotonic seconds]
        self._refused_until_s: dict[str, float] = {}

    def run(self, stopping: threading.Event) -> None:
        """Ask until stopped."""
        while not stopping.wait(TURN_S):
            self._turn(stopping)

    def _turn(self, stopping: threading.Event) -> None:
        """Ask what is due."""
        connected = [streamer for streamer in self._streamers() if streamer.is_connected]
        now_s = time.monotonic()
        self._refused_until_s = {mount: until_s for mount, until_s in self._refused_until_s.items() if until_s > now_s}
        try:
            for streamer in connected:
                self._tell_title(streamer, stopping)
        except LinkError as error:
            for streamer in connected:
                streamer.title_error = "" if streamer.untold_title is None else str(error)
            _limited_log.warning("asked", "%s", error)
            self._rest(stopping)
            return
        if connected and not stopping.is_set() and time.monotonic() >= self._count_due_s:
            self._count_due_s = time.monotonic() + LISTENERS_EVERY_S
            self._count_listeners(connected)

    def _rest(self, stopping: threading.Event) -> None:
        stopping.wait(RETRY_S)

    def _tell_title(self, streamer: IcecastStreamer, stopping: threading.Event) -> None:
        """Tell the server a mount's title, if it does not know it yet.

        Raises
        ------
        LinkError
            If the server does not answer; a refusal is noted instead.
        """
        title, mount = streamer.untold_title, streamer.plan.mount
        if title is None or stopping.is_set() or mount in self._refused_until_s:
            return
        try:
            update_title(self._server, mount, title, ASK_TIMEOUT_S)
        except IcecastRefusedError as error:
            self._refused_until_s[mount] = time.monotonic() + RETRY_S
            streamer.title_error = str(error)
            _limited_log.warning(mount, "%s", error)
        else:
            streamer.note_told(title)

    def _count_listeners(self, connected: Sequence[IcecastStreamer]) -> None:
        try:
            listeners, fault = read_listeners(self._server, ASK_TIMEOUT_S), ""
        except HeraldError as error:
            listeners, fault = {}, str(error)
            _limited_log.warning("listeners", "%s", error)
        for streamer in connected:
            streamer.listeners = listeners.get(streamer.plan.mount)
            streamer.listeners_error = fault
