"""A real Icecast for a test: alone, on a port of its own, that may be killed, frozen and started again."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import escape

import orjson

from app_core.base.child import Child, wait_until
from app_core.bridge.local_redis import free_port
from app_core.network.icecast_server import IcecastServer
from tests.support.programs import PATIENCE_S, eventually, missing, require_program

SOURCE_PASSWORD = "a source's <word> & %41 ✓"  # noqa: S105 - of a server that lives as long as a test
ADMIN_PASSWORD = "an admin's word"  # noqa: S105

STARTS = 3

START_S = 6.0
"""Time in which a start that goes well has long gone well. [seconds]"""

SHARE = Path("/usr/share/icecast2")

_CONFIG = """<icecast>
  <limits>
    <clients>100</clients><sources>{max_sources}</sources><queue-size>524288</queue-size>
    <client-timeout>30</client-timeout><header-timeout>15</header-timeout><source-timeout>10</source-timeout>
    <burst-on-connect>0</burst-on-connect><burst-size>0</burst-size>
  </limits>
  <authentication>
    <source-password>{source_password}</source-password>
    <relay-password>unused</relay-password>
    <admin-user>admin</admin-user><admin-password>{admin_password}</admin-password>
  </authentication>
  <hostname>127.0.0.1</hostname>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  {tls_socket}
  <fileserve>1</fileserve>
  <paths>
    <basedir>{share}</basedir><logdir>/tmp</logdir><webroot>{share}/web</webroot><adminroot>{share}/admin</adminroot>
    {certificate}
  </paths>
  <logging><accesslog>-</accesslog><errorlog>-</errorlog><loglevel>3</loglevel></logging>
  <security><chroot>0</chroot></security>
</icecast>
"""

_TLS_SOCKET = "<listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address><ssl>1</ssl></listen-socket>"


class IcecastDaemon:
    """One server; made by `running_icecast`.

    Parameters
    ----------
    folder
        For its configuration and what it prints.
    max_sources
        Sources that it takes.
    certificate
        A file with a key and its certificate: the server then speaks TLS too, on `tls_port`.
    """

    def __init__(self, folder: Path, max_sources: int = 20, certificate: Path | None = None) -> None:
        self._program = require_program("icecast2")
        if not (SHARE / "web" / "status-json.xsl").is_file():
            missing(str(SHARE))
        self.port = free_port()
        self.tls_port = free_port()
        self.log_path = folder / "icecast.log"
        self._config = folder / "icecast.xml"
        self._config.write_text(
            _CONFIG.format(
                max_sources=max_sources,
                tls_socket="" if certificate is None else _TLS_SOCKET.format(port=self.tls_port),
                certificate="" if certificate is None else f"<ssl-certificate>{certificate}</ssl-certificate>",
                source_password=escape(SOURCE_PASSWORD),
                admin_password=escape(ADMIN_PASSWORD),
                port=self.port,
                share=SHARE,
            ),
            encoding="utf-8",
        )
        self._log: IO[bytes] = self.log_path.open("ab")
        self._child = self._fresh_child()

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._child.pid

    @property
    def server(self) -> IcecastServer:
        """Where it is, with the right passwords."""
        return IcecastServer(
            host="127.0.0.1",
            port=self.port,
            password=SOURCE_PASSWORD,
            admin_username="admin",
            admin_password=ADMIN_PASSWORD,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        for _ in range(STARTS):
            self._child = self._fresh_child()
            self._child.start()
            if wait_until(lambda: self._status() is not None, START_S):
                return
            # One start in some dozens ends in a deadlock of its own, before it takes any connection.
            self.kill()
        raise AssertionError(f"icecast2 does not answer: {self.log()[-2000:]}")

    def kill(self) -> None:
        """Kill it as a crash does."""
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGKILL)
        eventually(lambda: not self._child.is_alive, "the end of icecast2")

    def freeze(self) -> None:
        """Stop its process: connections stand, and nothing is answered."""
        assert self._child.pid is not None
        os.kill(self._child.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self._child.is_alive:
            assert self._child.pid is not None
            os.kill(self._child.pid, signal.SIGCONT)

    def mounts(self) -> dict[str, dict[str, Any]]:
        """Give what its status says of every mount, by path; nothing while it does not answer."""
        status = self._status()
        if status is None:
            return {}
        sources = status["icestats"].get("source", [])
        return {
            str(source["listenurl"]).split(str(self.port), 1)[1]: source
            for source in (sources if isinstance(sources, list) else [sources])
        }

    def fetch(self, mount: str, seconds: float, n_bytes: int = 1 << 30) -> bytes:
        """Listen to a mount for so long, or until so much has come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request("GET", mount)
            response = connection.getresponse()
            assert response.status == 200, response.status
            pieces: list[bytes] = []
            until_s = time.monotonic() + seconds
            while time.monotonic() < until_s and sum(map(len, pieces)) < n_bytes:
                piece = response.read1(4096)
                if not piece:
                    break
                pieces.append(piece)
            return b"".join(pieces)
        finally:
            connection.close()

    def log(self) -> str:
        """Give what it printed."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def close(self) -> None:
        """End it."""
        self.thaw()
        self._child.stop(5.0)
        self._log.close()

    def _fresh_child(self) -> Child:
        # As root it refuses to run; anybody else it lets be. Another user may not see into root's folders.
        user = "nobody" if os.geteuid() == 0 else None
        argv = [self._program, "-c", "/dev/stdin"]
        return Child("icecast2", argv, stdin=self._config, stdout=self._log, stderr=self._log, user=user)

    def _status(self) -> dict[str, dict[str, Any]] | None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        try:
            connection.request("GET", "/status-json.xsl")
            response = connection.getresponse()
            status: dict[str, dict[str, Any]] = orjson.loads(response.read())
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError):
            return None
        finally:
            connection.close()
        return status


@contextmanager
def running_icecast(folder: Path, max_sources: int = 20, certificate: Path | None = None) -> Iterator[IcecastDaemon]:
    """Start a server for the length of a block."""
    daemon = IcecastDaemon(folder, max_sources, certificate)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.close()
