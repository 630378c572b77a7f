"""A child process that must show that it lives: one that hangs is killed, and its supervisor starts it again.

A process can be alive and do nothing: stopped, in a deadlock, waiting for a disk that is gone. So the child says that
it lives, over the protocol of `sd_notify`, and its silence is taken for its end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from app_core.base.child import Child
from app_core.base.lifecycle import HUNG_AFTER_S
from app_core.base.sd_notify import NotifyListener

log = logging.getLogger(__name__)

START_TIMEOUT_S = 120.0
"""Time in which a child must say that it is ready: the first start on a machine compiles. [seconds]"""

KILL_AFTER_S = 1.0
"""Time that a child which hangs has between SIGTERM and SIGKILL. [seconds]"""


class WatchedChild(Child):
    """One child process that sends READY=1 once and WATCHDOG=1 for ever.

    Parameters
    ----------
    name, argv
        As `Child`.
    silence_s
        Silence after which it is killed. [seconds]
    start_timeout_s
        The same before it has said that it is ready. [seconds]

    Attributes
    ----------
    kill_count
        How often it was killed because it hung.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        silence_s: float = HUNG_AFTER_S,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        self._listener = NotifyListener()
        super().__init__(name, argv, environment=self._listener.environment(silence_s / 2.0))
        self._silence_s = silence_s
        self._start_timeout_s = start_timeout_s
        self.kill_count = 0

    @property
    def status(self) -> str:
        """What the child last said of itself."""
        return self._listener.status

    @property
    def is_ready(self) -> bool:
        """Whether the child has started."""
        return self._listener.is_ready

    def start(self) -> None:
        """Start the child, as `Child.start` does."""
        self._listener.reset()
        super().start()

    def watch(self) -> None:
        """Hear the child, and kill it when it hangs; call it a few times a second."""
        self._listener.take(self.pid)
        if not self.is_alive:
            return
        allowed_s = self._silence_s if self._listener.is_ready else self._start_timeout_s
        silent_s = time.monotonic() - self._listener.last_alive_s
        if silent_s > allowed_s:
            self.kill_count += 1
            log.error("%s (pid %s) has hung for %.0f s and is killed", self.name, self.pid, silent_s)
            self.stop(KILL_AFTER_S)

    def close(self) -> None:
        """Let the socket go."""
        self._listener.close()
