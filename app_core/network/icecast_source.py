"""The source side of Icecast's protocol: one connection that carries one encoded stream to one mount.

``PUT`` of HTTP/1.1 with ``Expect: 100-continue``, as Icecast 2.4 and later want it; a server that does not know it is
asked once more with ``SOURCE`` of older ones. After its yes the stream follows bare. No call waits longer than its
timeout, and each looks a few times a second whether it shall stop.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from app_core.base.errors import LinkError
from app_core.network.icecast_server import USER_AGENT, IcecastRefusedError, IcecastServer, one_line, refusal
from app_core.network.icecast_url import host_in_url

log = logging.getLogger(__name__)

T = TypeVar("T")

_SLICE_S = 0.2
"""So often a wait looks whether it shall stop. [seconds]"""

_CONNECT_TIMEOUT_S = 4.0
"""Longest wait for a connection, enough for two lost packets: a machine that comes back is tried soon. [seconds]"""

_LONGEST_ANSWER = 16384

_SEND_BUFFER_BYTES = 32768
"""What the kernel keeps for a server that takes nothing (it doubles it): two seconds of MP3 at 128 kbit/s."""

_NO_PUT = frozenset({400, 405, 501})
_TAGS = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class MountDescription:
    """What the server is told about a mount.

    Attributes
    ----------
    mount
        Its path.
    content_type
        Of the stream.
    name, description, genre, url
        For people; empty ones are left out.
    public
        Whether the server may list it in directories.
    bitrate_kbps, sample_rate_hz, n_channels
        Of the stream; 0 is left out.
    """

    mount: str
    content_type: str
    name: str = ""
    description: str = ""
    genre: str = ""
    url: str = ""
    public: bool = False
    bitrate_kbps: int = 0
    sample_rate_hz: int = 0
    n_channels: int = 0

    def headers(self) -> list[tuple[str, str]]:
        """Give it as headers of a request."""
        audio = [
            f"{name}={value}"
            for name, value in (
                ("ice-samplerate", self.sample_rate_hz),
                ("ice-bitrate", self.bitrate_kbps),
                ("ice-channels", self.n_channels),
            )
            if value
        ]
        pairs = [
            ("Content-Type", self.content_type),
            ("Ice-Public", "1" if self.public else "0"),
            ("Ice-Name", self.name),
            ("Ice-Description", self.description),
            ("Ice-Genre", self.genre),
            ("Ice-Url", self.url),
            ("Ice-Bitrate", str(self.bitrate_kbps or "")),
            ("Ice-Audio-Info", ";".join(audio)),
        ]
        return [(name, one_line(value)) for name, value in pairs if value]


class IcecastSource:
    """One connection to one mount.

    Parameters
    ----------
    server
        Where, and as whom.
    description
        Of the mount.
    stopping
        Ends every wait.
    timeout_s
        Longest wait for the connection, for an answer, and for progress of a send. [seconds]

    Attributes
    ----------
    method
        ``PUT`` or ``SOURCE``: what the server took; empty before.
    sent_bytes
        Sent over this connection.
    """

    def __init__(
        self, server: IcecastServer, description: MountDescription, stopping: threading.Event, timeout_s: float = 5.0
    ) -> None:
        self._server = server
        self._description = description
        self._stopping = stopping
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None
        self.method = ""
        self.sent_bytes = 0

    @property
    def is_connected(self) -> bool:
        """Whether the server has taken us."""
        return bool(self.method) and self._socket is not None

    def connect(self) -> None:
        """Connect, and be taken as the source of the mount.

        Raises
        ------
        IcecastRefusedError
            If the server refuses; its text says why and what to do.
        LinkError
            If the server cannot be reached or does not answer.
        """
        try:
            status, reason = self._ask("PUT", "HTTP/1.1", [("Expect", "100-continue")])
            if status in _NO_PUT or status == 0:
                log.info(
                    "Icecast at %s does not take PUT (%s); trying SOURCE", self._server.where, status or "no answer"
                )
                self.close()
                status, reason = self._ask("SOURCE", "HTTP/1.0", [])
        except LinkError:
            self.close()
            raise
        if status not in (100, 200):
            self.close()
            if status == 0:
                raise LinkError(f"Icecast at {self._server.where} hung up without an answer; is it Icecast?")
            raise refusal(self._server, self._description.mount, status, reason)

    def send(self, encoded: bytes) -> None:
        """Send a piece of the stream.

        Raises
        ------
        LinkError
            If the connection is gone, or nothing of it went for `timeout_s`, or it shall stop.
        """
        if self._socket is None:
            raise LinkError("not connected")
        rest = memoryview(encoded)
        sock, taken_s = self._socket, time.monotonic()
        while rest:
            try:
                n_bytes = self._attempt(lambda piece=rest: sock.send(piece), taken_s, "takes no more audio")  # type: ignore[misc]
            except OSError as error:
                raise LinkError(f"Icecast at {self._server.where} closed the connection ({_words(error)})") from error
            self.sent_bytes += n_bytes
            rest = rest[n_bytes:]
            taken_s = time.monotonic()

    def close(self) -> None:
        """Hang up; for the thread that sends."""
        sock, self._socket = self._socket, None
        self.method = ""
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def _ask(self, method: str, version: str, extra: list[tuple[str, str]]) -> tuple[int, str]:
        """Send one request; give status and reason of the answer, 0 when the server hung up instead."""
        server = self._server
        host = f"{host_in_url(server.host)}:{server.port}"
        headers = [
            ("Host", host),
            ("Authorization", server.source_authorization),
            ("User-Agent", USER_AGENT),
            *self._description.headers(),
            *extra,
        ]
        lines = [f"{method} {self._description.mount} {version}", *(f"{name}: {value}" for name, value in headers)]
        self._socket = self._open()
        try:
            self.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        except LinkError:
            # A server that hangs up at the first word may still have said why.
            if self._stopping.is_set():
                raise
        self.sent_bytes = 0
        status, reason = self._read_answer()
        if status in (100, 200):
            self.method = method
        return status, reason

    def _read_answer(self) -> tuple[int, str]:
        answer = b""
        asked_s = time.monotonic()
        while b"\r\n\r\n" not in answer and b"\n\n" not in answer and len(answer) < _LONGEST_ANSWER:
            piece = self._receive(asked_s)
            if not piece:
                break
            answer += piece
        status = _status_of(answer)
        if status in (0, 100, 200):
            return status, ""
        # What went wrong stands in the text that follows, up to the end of the connection.
        with contextlib.suppress(LinkError):
            while len(answer) < _LONGEST_ANSWER and (piece := self._receive(asked_s)):
                answer += piece
        return status, _reason_of(answer)

    def _receive(self, since_s: float) -> bytes:
        """Take what came; empty at the end of the connection."""
        sock = self._socket
        if sock is None:
            return b""
        try:
            return self._attempt(lambda: sock.recv(4096), since_s, "does not answer")
        except OSError:
            return b""

    def _attempt(self, action: Callable[[], T], since_s: float, fault: str) -> T:
        """Do `action` until it is done, in slices, no longer than the timeout after `since_s`."""
        while True:
            if self._stopping.is_set():
                raise LinkError("stopped")
            try:
                return action()
            except (TimeoutError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as error:
                # The kernel has given the peer up, or we have; else it was the end of a slice.
                if error.errno == errno.ETIMEDOUT or time.monotonic() - since_s > self._timeout_s:
                    raise LinkError(
                        f"Icecast at {self._server.where} {fault} ({self._timeout_s:.0f} s); "
                        f"it may be frozen, or the network too slow"
                    ) from None

    def _open(self) -> socket.socket:
        server = self._server
        try:
            addresses = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise LinkError(
                f"the name {server.host!r} cannot be resolved ({_words(error)}): check host of [icecast]"
            ) from error
        failure: LinkError = LinkError(f"no address for {server.host!r}")
        for family, kind, protocol, _, address in addresses:
            try:
                sock = self._open_one(socket.socket(family, kind, protocol), address)
            except LinkError as error:
                failure = error
                if self._stopping.is_set():
                    break
                continue
            return sock
        raise failure

    def _open_one(self, sock: socket.socket, address: object) -> socket.socket:
        server = self._server
        try:
            sock.setblocking(False)
            _bound(sock, self._timeout_s)
            code = sock.connect_ex(address)  # type: ignore[arg-type]  # as getaddrinfo gave it
            if code == errno.EINPROGRESS:
                self._await_connection(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == errno.ECONNREFUSED:
                raise LinkError(f"no Icecast at {server.where} (connection refused): is it running, is the port right?")
            if code:
                raise LinkError(f"Icecast at {server.where} cannot be reached ({_words(OSError(code, ''))})")
            sock.settimeout(_SLICE_S)
            return self._secured(sock) if server.tls else sock
        except BaseException:
            sock.close()
            raise

    def _await_connection(self, sock: socket.socket) -> None:
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        timeout_s = min(self._timeout_s, _CONNECT_TIMEOUT_S)
        deadline_s = time.monotonic() + timeout_s
        while not poll.poll(1000.0 * _SLICE_S):
            if self._stopping.is_set():
                raise LinkError("stopped")
            if time.monotonic() > deadline_s:
                raise LinkError(
                    f"Icecast at {self._server.where} cannot be reached (no answer within {timeout_s:.0f} s): "
                    f"is the address right, does a firewall stand between?"
                )

    def _secured(self, sock: socket.socket) -> socket.socket:
        server = self._server
        secure = server.tls_context().wrap_socket(sock, server_hostname=server.host, do_handshake_on_connect=False)
        try:
            self._attempt(secure.do_handshake, time.monotonic(), "does not finish the TLS handshake")
        except ssl.SSLCertVerificationError as error:
            secure.close()
            raise LinkError(
                f"the certificate of Icecast at {server.where} is not trusted ({error.verify_message})"
            ) from error
        except OSError as error:
            secure.close()
            raise LinkError(f"Icecast at {server.where} does not speak TLS on this port ({_words(error)})") from error
        except LinkError:
            secure.close()
            raise
        return secure


def _bound(sock: socket.socket, timeout_s: float) -> None:
    """Have the kernel keep little, and tell soon of a peer that is gone.

    Left to itself it takes megabytes, minutes of audio, for a server that reads nothing, and keeps trying a quarter of
    an hour for one whose cable was pulled.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000.0 * timeout_s))


def _status_of(answer: bytes) -> int:
    """Give the status code of an answer; 0 where there is none."""
    words = answer.split(b"\r\n", 1)[0].split(b"\n", 1)[0].split()
    if len(words) >= 2 and words[0].upper().startswith((b"HTTP/", b"ICY")) and words[1].isdigit():
        return int(words[1])
    return 0


def _reason_of(answer: bytes) -> str:
    """Give what the server says of its refusal: its text, else the phrase beside the code."""
    text = answer.decode("utf-8", "replace").replace("\r\n", "\n")
    head, _, body = text.partition("\n\n")
    said = " ".join(_TAGS.sub(" ", body).split())
    phrase = " ".join(head.split("\n", 1)[0].split()[2:])
    return (said or phrase)[:300]


def _words(error: Exception) -> str:
    """Give the system's words for an error."""
    code = getattr(error, "errno", None)
    if isinstance(error, socket.gaierror):
        return str(error.strerror)
    if isinstance(code, int) and code in errno.errorcode:
        return os.strerror(code)
    return str(error)


__all__ = ["IcecastRefusedError", "IcecastSource", "MountDescription"]
