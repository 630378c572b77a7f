"""Titles out, numbers of listeners in: what is asked of Icecast beside the audio, by a thread that carries none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from app_core.audio.icecast_output import IcecastStreamer
from app_core.base.errors import HeraldError
from app_core.base.lifecycle import Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.network.icecast_admin import read_listeners, update_title
from app_core.network.icecast_server import IcecastServer

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=60.0)

TURN_S = 0.25
"""So often the titles are looked at. [seconds]"""

LISTENERS_EVERY_S = 5.0
"""[seconds]"""

RETRY_S = 3.0
"""Rest after a question that had no answer. [seconds]"""

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

    def run(self, stopping: threading.Event) -> None:
        """Ask until stopped."""
        count_due_s = 0.0
        while not stopping.wait(TURN_S):
            connected = [streamer for streamer in self._streamers() if streamer.is_connected]
            try:
                for streamer in connected:
                    self._tell_title(streamer, stopping)
                if connected and time.monotonic() >= count_due_s:
                    count_due_s = time.monotonic() + LISTENERS_EVERY_S
                    listeners = read_listeners(self._server, ASK_TIMEOUT_S)
                    for streamer in connected:
                        streamer.listeners = listeners.get(streamer.plan.mount)
            except HeraldError as error:
                _limited_log.warning("asked", "%s", error)
                stopping.wait(RETRY_S)

    def _tell_title(self, streamer: IcecastStreamer, stopping: threading.Event) -> None:
        title = streamer.untold_title
        if title is None or stopping.is_set():
            return
        update_title(self._server, streamer.plan.mount, title, ASK_TIMEOUT_S)
        streamer.note_told(title)
