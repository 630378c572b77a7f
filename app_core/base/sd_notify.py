"""The protocol of sd_notify(3): a program tells its supervisor that it is ready, lives, and how it is.

One datagram of ``NAME=value`` lines to the unix socket that ``NOTIFY_SOCKET`` names. `Notifier` is the program's side;
without a socket it does nothing. `NotifyListener` is the supervisor's side: systemd's place is taken by our own
supervisor for its child processes, so that a child needs to speak one language only.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time

_CREDENTIALS = struct.Struct("3i")
"""What SO_PASSCRED adds to a datagram: process, user and group of the sender."""

_LONGEST_DATAGRAM = 4096


class Notifier:
    """Tell the supervisor of this process how it is.

    Parameters
    ----------
    address
        A path, or a name in the abstract namespace that begins with ``@``; empty when nobody listens.
    watchdog_s
        Time after which the supervisor ends a silent process; 0 when it does not. [seconds]
    """

    def __init__(self, address: str = "", watchdog_s: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._interval_s = watchdog_s / 2.0
        self._watchdog = watchdog_s > 0.0
        self._due_s = 0.0
        self._status = ""
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            # A supervisor that does not read must not hold up the main loop.
            self._socket.setblocking(False)

    def ready(self) -> None:
        """Say that the program has started."""
        self._send("READY=1")

    def alive(self) -> None:
        """Feed the watchdog when half of its time has gone; call it in every turn of the main loop."""
        now_s = time.monotonic()
        if self._watchdog and now_s >= self._due_s:
            self._due_s = now_s + self._interval_s
            self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in one line how the program is; the same line is sent once."""
        line = " ".join(text.split())
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def stopping(self) -> None:
        """Say that the program ends on purpose."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Let the socket go."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, text: str) -> None:
        if self._socket is not None:
            # A supervisor that is gone cannot be told so.
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode()[:_LONGEST_DATAGRAM], self._address)


class NotifyListener:
    """Hear what one child process says of itself.

    The socket is in the abstract namespace: it leaves no file behind, and needs no place to write. Its name is no
    secret, so the kernel's word on who sent a datagram decides what is believed.

    Attributes
    ----------
    is_ready
        Whether the child has said READY=1.
    last_alive_s
        When the child was last heard, or `reset` was called. [monotonic seconds]
    status
        The child's last STATUS.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind("")  # the kernel chooses a free abstract name
        name: bytes = self._socket.getsockname()
        self.address = f"@{name[1:].decode('ascii')}"
        self.reset()

    def reset(self) -> None:
        """Begin anew with a fresh child."""
        self.is_ready = False
        self.last_alive_s = time.monotonic()
        self.status = ""

    def environment(self, watchdog_s: float) -> dict[str, str]:
        """Give the variables that the child needs.

        Those that this process may have from its own supervisor are overwritten.
        """
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(round(watchdog_s * 1e6)), "WATCHDOG_PID": ""}

    def take(self, pid: int | None) -> None:
        """Take all that has come; what another process than `pid` sent is dropped."""
        while True:
            try:
                text, ancillary, _, _ = self._socket.recvmsg(_LONGEST_DATAGRAM, socket.CMSG_SPACE(_CREDENTIALS.size))
            except BlockingIOError:
                return
            sender = next(
                (
                    _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
                    for level, kind, content in ancillary
                    if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS
                ),
                None,
            )
            if sender is not None and sender == pid:
                self._hear(text.decode("utf-8", "replace"))

    def close(self) -> None:
        """Let the socket go."""
        self._socket.close()

    def _hear(self, text: str) -> None:
        for line in text.splitlines():
            name, _, value = line.partition("=")
            if name == "READY" and value == "1":
                self.is_ready = True
                self.last_alive_s = time.monotonic()
            elif name == "WATCHDOG" and value == "1":
                self.last_alive_s = time.monotonic()
            elif name == "STATUS":
                self.status = value


def watchdog_seconds(usec: str, pid: str) -> float:
    """Give the time of ``WATCHDOG_USEC``, as sd_watchdog_enabled(3) reads it.

    Parameters
    ----------
    usec, pid
        The variables ``WATCHDOG_USEC`` and ``WATCHDOG_PID``; empty when they are not set.

    Returns
    -------
    watchdog_s
        0 when it is not set, not a number above zero, or meant for another process. [seconds]
    """
    if pid and pid != str(os.getpid()):
        return 0.0
    return int(usec) / 1e6 if usec.isascii() and usec.isdigit() else 0.0
