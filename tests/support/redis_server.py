"""A real Redis server for a test: alone, empty, on a port of its own, that may be killed and started again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app_core.base.child import run_quietly
from app_core.bridge.connection import RedisLink, RedisSettings
from app_core.bridge.local_redis import LocalRedis, free_port
from tests.support.programs import PATIENCE_S, eventually, require_program


class RedisServer:
    """One server; made by `running_redis`.

    Parameters
    ----------
    log
        File for what it prints.
    """

    def __init__(self, log: Path) -> None:
        self._cli = require_program("redis-cli")
        self._server = LocalRedis(free_port(), log=log)
        self.settings = RedisSettings(port=self._server.settings.port, timeout_s=5.0)
        self.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.settings.port

    def start(self) -> None:
        """Start it, empty, and wait until it answers."""
        self._server.start()
        self._server.wait_ready(PATIENCE_S)

    def kill(self) -> None:
        """Kill it as a crash does (SIGKILL), and wait until it is gone."""
        pid = self._server.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not self._server.is_alive, "the end of redis-server")

    def pause(self) -> None:
        """Stop its process (SIGSTOP): connections stand, and nothing is answered."""
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        assert self._server.pid is not None
        os.kill(self._server.pid, signal.SIGCONT)

    def cli(self, *arguments: str) -> str:
        """Give what ``redis-cli`` prints, as a person would see it in a pipe."""
        output = run_quietly([self._cli, "-p", str(self.port), *arguments], timeout_s=PATIENCE_S)
        assert output is not None, f"redis-cli {' '.join(arguments)} failed"
        return output.decode("utf-8", "replace").removesuffix("\n")

    def link(self) -> RedisLink:
        """Make a connection; the caller closes it."""
        return RedisLink(self.settings)

    def close(self) -> None:
        """Stop it and remove its folder."""
        if self._server.is_alive:
            self.resume()
        self._server.stop()
        self._server.close()


@contextmanager
def running_redis(folder: Path) -> Iterator[RedisServer]:
    """Start a server for the length of a block; its log goes to ``redis.log`` in `folder`."""
    require_program("redis-server")
    server = RedisServer(folder / "redis.log")
    try:
        yield server
    finally:
        server.close()
