"""A stream by HTTP: one GET, answered, whose body has no end.

urllib3 makes the connection, verifies TLS and undoes the transfer encoding; here are the limits that a body without end
needs. Nothing waits longer than a quarter of a second without asking whether it shall go on, so a server that is
silent, or gives a byte now and then, cannot hold the thread. Old SHOUTcast servers answer ``ICY 200 OK``, which is read
as HTTP.
"""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from urllib3 import HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from app_core.base.errors import ConfigError, LinkError
from app_core.network.icy import read_interval, readable

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 10.0
"""Time in which the head of an answer must be there, however slowly it comes. [seconds]"""

MAX_REDIRECTS = 5

_LOOK_S = 0.25
_PIECE_BYTES = 16 * 1024
_ICY, _HTTP = b"ICY ", b"HTTP/1.0 "

_REASONS = {
    401: "the server wants a username and a password (401): set username and password_file",
    403: "the server refuses it (403): it wants another password, or does not serve this place",
    404: "there is no such stream (404): it is off the air, or its address has changed",
    405: "the server takes no GET here (405)",
    410: "the stream is gone for good (410)",
    503: "the server is full, or has no room now (503)",
}


@dataclass(frozen=True, slots=True)
class Login:
    """Name and password for Basic authentication; never shown.

    Attributes
    ----------
    username
        [no colon]
    password_file
        Its first line is the password; it is read at every connection, so it may be changed.
    """

    username: str
    password_file: Path

    def header(self) -> dict[str, str]:
        """Give the header that tells them.

        Raises
        ------
        ConfigError
            If the file cannot be read, or is empty.
        """
        try:
            password = self.password_file.read_text(encoding="utf-8").splitlines()[:1]
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"password_file {self.password_file} cannot be read: {reason}") from error
        if not password or not password[0]:
            raise ConfigError(f"password_file {self.password_file} is empty: write the password into its first line")
        # UTF-8, which is what Icecast compares with, and what browsers send.
        words = base64.b64encode(f"{self.username}:{password[0]}".encode())
        return {"Authorization": f"Basic {words.decode()}"}


class _Socket(io.RawIOBase):
    """What the answer is read from: looks up while it waits, and ends a head that comes too slowly."""

    def __init__(self, file: io.BufferedReader, sock: socket.socket, should_stop: Callable[[], bool]) -> None:
        # The file keeps the socket open when the connection lets it go, which it does once the head is read.
        self._file = file
        self._sock = sock
        self._should_stop = should_stop
        self._is_first = True
        self._began = b""
        self.head_until_s: float | None = time.monotonic() + ANSWER_TIMEOUT_S
        self.last_byte_s = time.monotonic()
        sock.settimeout(_LOOK_S)

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any) -> int:
        while True:
            if self._should_stop():
                raise LinkError("given up")
            if self.head_until_s is not None and time.monotonic() > self.head_until_s:
                raise LinkError(f"the server did not answer within {ANSWER_TIMEOUT_S:.0f} s")
            try:
                n_bytes = self._receive(memoryview(room))
            except TimeoutError:
                continue
            self.last_byte_s = time.monotonic()
            return n_bytes

    def _receive(self, room: memoryview) -> int:
        """Receive what there is; at the beginning of the answer HTTP/1.0 is put in the place of ICY."""
        if not self._is_first:
            return self._sock.recv_into(room)
        # What is put there is longer, and it takes four bytes to know.
        self._began += self._sock.recv(len(room) - len(_HTTP)) or b"\0"
        if self._began != _ICY and _ICY.startswith(self._began):
            raise TimeoutError
        self._is_first = False
        began = self._began.rstrip(b"\0") if self._began.endswith(b"\0") else self._began
        began = _HTTP + began[len(_ICY) :] if began.startswith(_ICY) else began
        room[: len(began)] = began
        return len(began)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Answer(http.client.HTTPResponse):
    """An answer that is read through `_Socket`."""

    def __init__(self, sock: socket.socket, *arguments: Any, should_stop: Callable[[], bool], **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.raw_socket = _Socket(self.fp, sock, should_stop)
        self.fp = io.BufferedReader(self.raw_socket, 16 * 1024)


class HttpStream:
    """One answered GET; made by `open_http`.

    Attributes
    ----------
    url
        Where it was found in the end.
    content_type
        Without parameters, in small letters; empty where the server gives none.
    name
        What the station calls itself (``icy-name``); may be empty.
    title_interval
        ``icy-metaint``; 0 for a stream without titles.
    is_finite
        Whether the server says how long it is: a file.
    """

    def __init__(
        self, url: str, response: HTTPResponse, connection: HTTPConnection, raw_socket: _Socket, beginning: bytes = b""
    ) -> None:
        headers = response.headers
        self.url = url
        self.content_type = headers.get("content-type", "").partition(";")[0].strip().lower()[:100]
        self.name = readable(headers.get("icy-name", "").encode("latin-1", "replace"))
        self.title_interval = read_interval(headers.get("icy-metaint"))
        self.is_finite = headers.get("content-length") is not None
        self._response = response
        self._connection = connection
        self._raw_socket = raw_socket
        self._beginning = beginning

    @property
    def silent_s(self) -> float:
        """Time since its last byte came. [seconds]"""
        return time.monotonic() - self._raw_socket.last_byte_s

    def peek(self) -> bytes:
        """Give its beginning without taking it; empty at the end.

        Raises
        ------
        LinkError
            As `read`, and if nothing comes within `ANSWER_TIMEOUT_S`.
        """
        if not self._beginning:
            self._raw_socket.head_until_s = time.monotonic() + ANSWER_TIMEOUT_S
            self._beginning = self._read()
            self._raw_socket.head_until_s = None
        return self._beginning

    def read(self) -> bytes:
        """Give what is there, waiting for the first byte of it; empty at the end.

        Raises
        ------
        LinkError
            If the connection broke, or `should_stop` said so.
        """
        if self._beginning:
            taken, self._beginning = self._beginning, b""
            return taken
        return self._read()

    def read_all(self, most: int) -> bytes:
        """Give the whole of it, or its first `most` bytes and at least one more; within `ANSWER_TIMEOUT_S`."""
        self._raw_socket.head_until_s = time.monotonic() + ANSWER_TIMEOUT_S
        content = b""
        while len(content) <= most and (piece := self.read()):
            content += piece
        return content

    def close(self) -> None:
        """Let the connection go."""
        self._response.close()
        self._raw_socket.close()
        self._connection.close()

    def _read(self) -> bytes:
        try:
            return self._response.read1(_PIECE_BYTES)
        except (HTTPError, http.client.HTTPException, OSError) as error:
            raise LinkError(f"the connection broke: {_words(error)}") from error


def open_http(
    url: str,
    *,
    login: Login | None = None,
    ca_file: Path | None = None,
    headers: dict[str, str] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> HttpStream:
    """Ask for a stream, following redirects.

    Parameters
    ----------
    url
        http or https.
    login
        Sent to the server of `url` alone, wherever that leads.
    ca_file
        Certificates that are trusted instead of the machine's.
    headers
        More of the request.
    should_stop
        Asked several times a second while something is waited for; once it says so the wait ends.

    Raises
    ------
    LinkError
        If there is no answer, or another one than 200; the text says why in words.
    ConfigError
        If the password or the certificates cannot be read.
    """
    first = url
    for _ in range(MAX_REDIRECTS + 1):
        is_own = origin_of(url) == origin_of(first)
        asked = {**(headers or {}), **(login.header() if login is not None and is_own else {})}
        stream, location = _ask(url, asked, ca_file, should_stop)
        if location is None:
            return stream
        stream.close()
        target = urljoin(url, location)
        if urlsplit(target).scheme not in ("http", "https"):
            raise LinkError(f"the server redirects to {target[:100]!r}, which is neither http nor https")
        url = target
    raise LinkError(f"more than {MAX_REDIRECTS} redirects")


def origin_of(url: str) -> tuple[str, str, int]:
    """Give scheme, host and port of an address.

    Raises
    ------
    LinkError
        If it is none of http or https.
    """
    try:
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
        port = parts.port or (443 if scheme == "https" else 80)
    except ValueError as error:
        raise LinkError(f"not an address: {url[:100]!r}") from error
    if scheme not in ("http", "https") or not host:
        raise LinkError(f"not an address of http or https: {url[:100]!r}")
    return scheme, host, port


def _ask(
    url: str, headers: dict[str, str], ca_file: Path | None, should_stop: Callable[[], bool]
) -> tuple[HttpStream, str | None]:
    """Send one GET. Give the answer, and where it redirects to."""
    scheme, host, port = origin_of(url)
    answers: list[_Answer] = []

    def answer(sock: socket.socket, *arguments: Any, **named: Any) -> _Answer:
        answers.append(_Answer(sock, *arguments, should_stop=should_stop, **named))
        return answers[-1]

    connection: HTTPConnection
    if scheme == "https":
        connection = HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT_S, ssl_context=_tls(ca_file))
    else:
        connection = HTTPConnection(host, port, timeout=CONNECT_TIMEOUT_S)
    connection.response_class = answer  # type: ignore[assignment]  # http.client calls it, and nothing else
    try:
        # Parsed by urllib3, so that what may not stand in a request is quoted.
        target = parse_url(url).request_uri
        connection.request(
            "GET",
            target,
            headers={"User-Agent": "Herald", "Accept": "*/*", "Connection": "close", **headers},
            preload_content=False,
        )
        response = connection.getresponse()
        raw_socket = answers[-1].raw_socket
        raw_socket.head_until_s = None
    except (HTTPError, http.client.HTTPException, OSError, LinkError, UnicodeError) as error:
        for begun in answers:
            begun.close()
        connection.close()
        if isinstance(error, LinkError):
            raise
        raise LinkError(f"{host}: {_words(error)}") from error
    stream = HttpStream(url, response, connection, raw_socket)
    if response.status in (301, 302, 303, 307, 308) and (location := response.headers.get("location")):
        return stream, location
    if response.status != 200:
        stream.close()
        raise LinkError(
            _REASONS.get(response.status) or f"the server answers {response.status} {response.reason or ''}"
        )
    return stream, None


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file} cannot be read: {error}") from error


def _words(error: BaseException) -> str:
    """Say an error of the connection in words that are not a class's name."""
    chain: BaseException | None = error
    while chain is not None:
        match chain:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {chain.verify_message}"
            case ssl.SSLError():
                return f"TLS: {chain.reason or chain}"
            case socket.gaierror():
                return "its name is not known"
            case TimeoutError():
                return f"no connection within {CONNECT_TIMEOUT_S:.0f} s"
            case ConnectionRefusedError():
                return "the connection is refused: no server listens there"
            case http.client.BadStatusLine():
                return "what answers is not HTTP"
            case http.client.LineTooLong():
                return "the head of its answer has no end"
            case http.client.IncompleteRead():
                return "it ended in the middle of a piece"
            case http.client.HTTPException():
                return f"its answer is malformed: {chain}"
            case OSError() if chain.strerror:
                return chain.strerror
        chain = chain.__cause__ or chain.__context__
    return str(error)[:200] or type(error).__name__
