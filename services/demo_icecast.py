"""The demo's receiver of streams: Icecast where the machine has one, else our tiny one; on the loopback alone."""

from __future__ import annotations

import base64
import http.client
import os
import pwd
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

from app_core.base.child import Child, find_program, wait_until
from app_core.base.errors import LinkError
from app_core.bridge.local_redis import free_port

DEFAULT_PORT = 8000

START_TIMEOUT_S = 10.0
"""Time in which it must listen. [seconds]"""

_CONFIG = """<icecast>
  <location>this machine</location>
  <admin>nobody@localhost</admin>
  <limits>
    <clients>100</clients>
    <sources>30</sources>
    <queue-size>262144</queue-size>
    <client-timeout>30</client-timeout>
    <header-timeout>15</header-timeout>
    <source-timeout>10</source-timeout>
    <burst-size>16384</burst-size>
  </limits>
  <authentication>
    <source-password>{password}</source-password>
    <admin-user>admin</admin-user>
    <admin-password>{password}</admin-password>
  </authentication>
  <hostname>127.0.0.1</hostname>
  <listen-socket><port>{port}</port><bind-address>127.0.0.1</bind-address></listen-socket>
  <fileserve>0</fileserve>
  <paths>
    <basedir>{share}</basedir>
    <logdir>{folder}</logdir>
    <webroot>{share}/web</webroot>
    <adminroot>{share}/admin</adminroot>
  </paths>
  <logging><accesslog>-</accesslog><errorlog>-</errorlog><loglevel>2</loglevel></logging>
  <security><chroot>0</chroot></security>
</icecast>
"""

_NOT_ROOT = "nobody"
"""Icecast refuses to run as root: it is started as this one. Left to change its user by itself (``changeowner``), it
would outlive a demo that is killed."""

_SHARES = (Path("/usr/share/icecast2"), Path("/usr/share/icecast"), Path("/usr/local/share/icecast"))


@dataclass(frozen=True, slots=True)
class DemoIcecast:
    """How the demo's streams are received.

    Attributes
    ----------
    argv
        The program to run.
    port
        Where it listens, on 127.0.0.1.
    password_file
        Holds the password, for the demo's own user alone.
    description
        Which program it is, for the one who watches.
    config
        What it reads at its standard input; None for nothing.
    user
        As whom it runs; None for the demo's own user.
    """

    argv: tuple[str, ...]
    port: int
    password_file: Path
    description: str
    config: Path | None = None
    user: str | None = None

    @property
    def is_ours(self) -> bool:
        """Whether what listens there takes the demo's password: another demo's Icecast may have been faster."""
        password = self.password_file.read_text(encoding="utf-8").strip()
        credentials = base64.b64encode(f"source:{password}".encode()).decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2.0)
        try:
            path = "/admin/metadata?mount=/nobody&mode=updinfo&song=nothing"
            connection.request("GET", path, headers={"Authorization": f"Basic {credentials}"})
            # It has no such mount, and would not say so to a stranger.
            return connection.getresponse().status == http.client.BAD_REQUEST
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def mount_url(self, channel_id: str) -> str:
        """Give where a channel is heard."""
        return f"http://127.0.0.1:{self.port}/{channel_id}.mp3"

    def table(self) -> str:
        """Give the ``[icecast]`` table of the demo's station."""
        # A path in a literal string of TOML stands for itself.
        return (
            f"[icecast]\nhost = \"127.0.0.1\"\nport = {self.port}\npassword_file = '{self.password_file}'\n"
            f"admin_password_file = '{self.password_file}'\nbitrate_kbps = 64\n"
        )


def start_icecast(folder: Path, log: IO[bytes]) -> tuple[DemoIcecast, Child]:
    """Start it on the usual port, or on another when somebody takes that one meanwhile.

    Parameters
    ----------
    folder
        Where its settings are written; it is there.
    log
        Gets what it prints.

    Raises
    ------
    LinkError
        If none starts.
    """
    for preferred in (DEFAULT_PORT, None, None):
        icecast = make_icecast(folder, free_port(preferred))
        child = _start(icecast, log)
        if _is_up(icecast, child):
            return icecast, child
        child.stop()
    raise LinkError(f"no receiver of streams could be started; its reason is in {folder / 'log' / 'icecast.log'}")


def _start(icecast: DemoIcecast, log: IO[bytes]) -> Child:
    child = Child("icecast", icecast.argv, stdin=icecast.config, stdout=log, stderr=log, user=icecast.user)
    child.start()
    return child


def _is_up(icecast: DemoIcecast, child: Child) -> bool:
    """Wait until it listens, or has ended."""
    wait_until(lambda: icecast.is_ours or not child.is_alive, START_TIMEOUT_S, 0.05)
    return child.is_alive and icecast.is_ours


def make_icecast(folder: Path, port: int) -> DemoIcecast:
    """Choose a program, and write what it needs into `folder`, which is there."""
    password = secrets.token_hex(16)
    password_file = folder / "icecast-password"
    _write_privately(password_file, password + "\n")
    program = find_program("icecast2") or find_program("icecast")
    share = next((share for share in _SHARES if (share / "admin").is_dir()), None)
    if program is None or share is None:
        argv = [sys.executable, "-m", "services.tiny_icecast_service", "--port", str(port)]
        argv += ["--password-file", str(password_file)]
        return DemoIcecast(tuple(argv), port, password_file, "a tiny receiver of ours (no icecast2 is on the PATH)")
    config = folder / "icecast.xml"
    user = _NOT_ROOT if os.geteuid() == 0 else None
    text = _CONFIG.format(password=password, port=port, share=escape(str(share)), folder=escape(str(folder)))
    _write_privately(config, text, user)
    # By its standard input, since root's folders are closed to others.
    argv = [program, "-c", "/dev/stdin"]
    return DemoIcecast(tuple(argv), port, password_file, f"Icecast ({program})", config, user)


def _write_privately(path: Path, text: str, owner: str | None = None) -> None:
    """Write a file that its owner alone can read, from its first byte on."""
    path.unlink(missing_ok=True)
    path.touch(0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")
    if owner is not None:
        os.chown(path, pwd.getpwnam(owner).pw_uid, -1)
