"""A tiny stand-in for an Icecast server, for the demo on a machine that has none: it takes streams and serves them.

It knows as much of the protocol as a source and a listener need: ``PUT`` (with ``Expect: 100-continue``) and ``SOURCE``
with Basic authentication, ``GET`` of a mount, titles by ``/admin/metadata``, and ``/status-json.xsl``. It listens on
the loopback interface alone, so what it serves never leaves the machine.

A listener gets the last seconds at once, as Icecast's burst does; of an Ogg stream the header pages come first. One
that does not read is dropped when `SLOW_BYTES` wait for it. One thread does it all, by asyncio.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from app_core.base.errors import ConfigError, LinkError
from app_core.base.ogg_pages import OggPages

log = logging.getLogger(__name__)

BURST_BYTES = 16_384
"""What a new listener gets at once: 1 s at 128 kbit/s."""

SLOW_BYTES = 262_144
"""What may wait for a listener."""

SOURCE_TIMEOUT_S = 10.0
"""Silence after which a source is taken for gone, as by Icecast. [seconds]"""

MAX_HEAD_BYTES = 16_384
MAX_MOUNTS = 50
MAX_LISTENERS = 100

_HEAD_TIMEOUT_S = 10.0
_READ_BYTES = 16_384
_POLL_S = 0.1


@dataclass(slots=True)
class _Mount:
    """One stream that is being sent."""

    content_type: str
    name: str
    began: float
    title: str = ""
    n_bytes: int = 0
    pages: OggPages | None = None
    burst: deque[bytes] = field(default_factory=deque)
    listeners: set[asyncio.StreamWriter] = field(default_factory=set)

    def take(self, piece: bytes) -> None:
        """Pass a piece on to every listener, and keep it for the next one; of an Ogg stream whole pages."""
        if self.n_bytes == 0 and piece.startswith(b"OggS"):
            self.pages = OggPages()
        self.n_bytes += len(piece)
        if self.pages is not None:
            piece = b"".join(self.pages.push(piece))
        if not piece:
            return
        self.burst.append(piece)
        while sum(map(len, self.burst)) - len(self.burst[0]) > BURST_BYTES:
            self.burst.popleft()
        for listener in list(self.listeners):
            if listener.transport.get_write_buffer_size() > SLOW_BYTES:
                log.info("a listener does not read and is dropped")
                listener.transport.abort()
                self.listeners.discard(listener)
            elif not listener.is_closing():
                listener.write(piece)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]


class TinyIcecast:
    """The server.

    Parameters
    ----------
    password
        Of sources, whose user is ``source``; also of the titles, which ``admin`` may set too, as in Icecast.
    host, port
        Where to listen; port 0 takes a free one.

    Raises
    ------
    ConfigError
        If `host` is not on the loopback interface, or the password is empty.
    """

    def __init__(self, password: str, host: str = "127.0.0.1", port: int = 0) -> None:
        if not is_loopback(host):
            raise ConfigError(f"the tiny receiver listens on the loopback interface alone, and not on {host}")
        if not password:
            raise ConfigError("the tiny receiver needs a password")
        self._source = f"source:{password}".encode()
        self._admin = f"admin:{password}".encode()
        self._host = host
        self._port = port
        self._mounts: dict[str, _Mount] = {}

    def serve(self, stopping: threading.Event, on_ready: Callable[[int], None] = lambda port: None) -> None:
        """Serve until `stopping` is set; `on_ready` gets the port.

        Raises
        ------
        LinkError
            If the address cannot be listened on.
        """
        asyncio.run(self._serve(stopping, on_ready))

    async def _serve(self, stopping: threading.Event, on_ready: Callable[[int], None]) -> None:
        try:
            server = await asyncio.start_server(self._visit, self._host, self._port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise LinkError(f"cannot listen on {self._host}:{self._port}: {error.strerror}") from error
        on_ready(server.sockets[0].getsockname()[1])
        try:
            while not stopping.is_set():
                await asyncio.sleep(_POLL_S)
        finally:
            server.close()
            # asyncio.run cancels the visitors that are left.

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await asyncio.wait_for(_read_request(reader), _HEAD_TIMEOUT_S)
            if request is not None:
                await self._answer(request, reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a visitor who left, dawdled or babbled
        finally:
            writer.close()

    async def _answer(self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if request.method in ("PUT", "SOURCE"):
            await self._take_source(request, reader, writer)
        elif request.method not in ("GET", "HEAD"):
            await _reply(writer, "405 Method Not Allowed", "only GET, HEAD, PUT and SOURCE are known here")
        elif request.path == "/admin/metadata":
            await self._set_title(request, writer)
        elif request.path == "/status-json.xsl":
            await _reply(writer, "200 OK", orjson.dumps(self._status()), "application/json")
        elif request.path == "/":
            lines = [f"http://{self._host}:{_port_of(writer)}{path}  {m.name}" for path, m in self._mounts.items()]
            await _reply(writer, "200 OK", "\n".join(["Herald's tiny receiver. Streams:", *lines, ""]))
        elif request.path in self._mounts:
            await self._play(self._mounts[request.path], request, reader, writer)
        else:
            await _reply(writer, "404 File Not Found", f"there is no stream {request.path}")

    async def _take_source(self, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not _may(request, self._source):
            await _reply(writer, "401 Authentication Required", "You need to authenticate", realm=True)
            return
        refusal = self._refusal(request)
        if refusal:
            await _reply(writer, "403 Forbidden", refusal)
            return
        headers = request.headers
        mount = _Mount(headers["content-type"], headers.get("ice-name", request.path[1:]), time.time())
        self._mounts[request.path] = mount
        expects = headers.get("expect", "").lower() == "100-continue"
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" if expects else b"HTTP/1.0 200 OK\r\n\r\n")
        log.info("%s is here (%s)", request.path, mount.content_type)
        try:
            while piece := await asyncio.wait_for(reader.read(_READ_BYTES), SOURCE_TIMEOUT_S):
                mount.take(piece)
        finally:
            del self._mounts[request.path]
            for listener in mount.listeners:
                listener.close()
            log.info("%s is gone", request.path)

    def _refusal(self, request: _Request) -> str:
        if request.path in self._mounts:
            return "Mountpoint in use"
        if len(self._mounts) >= MAX_MOUNTS:
            return "too many sources connected"
        if not request.headers.get("content-type"):
            return "No Content-type given"
        if request.path == "/" or request.path.startswith("/admin/") or "transfer-encoding" in request.headers:
            return "Path or transfer encoding not supported"
        return ""

    async def _play(
        self, mount: _Mount, request: _Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if sum(len(other.listeners) for other in self._mounts.values()) >= MAX_LISTENERS:
            await _reply(writer, "503 Too Many Listeners", "too many listeners")
            return
        head = f"HTTP/1.0 200 OK\r\nContent-Type: {mount.content_type}\r\nicy-name: {_one_line(mount.name)}\r\n"
        writer.write(f"{head}Cache-Control: no-cache, no-store\r\nConnection: close\r\n\r\n".encode())
        if request.method == "HEAD":
            return
        burst = b"".join(mount.burst)
        if mount.pages is not None and not burst.startswith(mount.pages.headers):
            burst = mount.pages.headers + burst
        writer.write(burst)
        mount.listeners.add(writer)
        try:
            # A listener says nothing more; what ends is the connection.
            while await reader.read(_READ_BYTES):
                pass
            await writer.drain()
        finally:
            mount.listeners.discard(writer)

    async def _set_title(self, request: _Request, writer: asyncio.StreamWriter) -> None:
        if not _may(request, self._source, self._admin):
            await _reply(writer, "401 Authentication Required", "You need to authenticate", realm=True)
            return
        mount = self._mounts.get(request.query.get("mount", [""])[0])
        if mount is None:
            await _reply(writer, "400 Bad Request", "Source does not exist")
            return
        mount.title = request.query.get("song", [""])[0]
        text = '<?xml version="1.0"?>\n<iceresponse><message>Metadata update successful</message>'
        await _reply(writer, "200 OK", text + "<return>1</return></iceresponse>\n", "text/xml")

    def _status(self) -> dict[str, object]:
        sources = [
            {
                "listenurl": f"http://{self._host}:{self._port}{path}",
                "server_name": mount.name,
                "server_type": mount.content_type,
                "listeners": len(mount.listeners),
                "title": mount.title,
                "total_bytes_read": mount.n_bytes,
                "stream_start_iso8601": time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(mount.began)),
            }
            for path, mount in self._mounts.items()
        ]
        # As Icecast does: one source stands alone, several in a list, none is null.
        found = {"source": sources[0] if len(sources) == 1 else sources} if sources else {"dummy": None}
        return {"icestats": {"server_id": "Herald's tiny receiver", **found}}


def is_loopback(host: str) -> bool:
    """Say whether every address of a host is this machine's own loopback interface."""
    try:
        addresses = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(addresses) and all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in addresses)


def _may(request: _Request, *allowed: bytes) -> bool:
    """Say whether a request comes with one of the allowed credentials."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        given = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    return scheme.lower() == "basic" and any(hmac.compare_digest(given, one) for one in allowed)


async def _read_request(reader: asyncio.StreamReader) -> _Request | None:
    """Read a request's head; None for one that is none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        return None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    try:
        parts = urlsplit(words[1])
    except ValueError:
        return None
    return _Request(words[0], unquote(parts.path), parse_qs(parts.query), headers)


async def _reply(
    writer: asyncio.StreamWriter, status: str, body: str | bytes, kind: str = "text/plain", *, realm: bool = False
) -> None:
    content = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.0 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {len(content)}\r\n"
    head += 'WWW-Authenticate: Basic realm="Icecast2 Server"\r\n' if realm else ""
    writer.write(f"{head}Connection: close\r\n\r\n".encode() + content)
    await writer.drain()


def _one_line(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _port_of(writer: asyncio.StreamWriter) -> int:
    return int(writer.get_extra_info("sockname")[1])
