"""A HTTP server that does what a test tells it to, byte by byte: streams, playlists, and what a hostile one would."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from app_core.base.child import run_quietly
from tests.support.programs import require_program


@dataclass(frozen=True, slots=True)
class Asked:
    """One request.

    Attributes
    ----------
    path
        With its query.
    headers
        Names in small letters.
    """

    path: str
    headers: Mapping[str, str]


class Connection:
    """The way back to whoever asked."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self._sock = sock
        self._closing = closing

    def send(self, *pieces: bytes) -> None:
        """Send bytes as they are."""
        for piece in pieces:
            self._sock.sendall(piece)

    def answer(self, *headers: str, status: str = "HTTP/1.0 200 OK", body: bytes = b"") -> None:
        """Send the head of an answer, and what is given of its body."""
        self.send("\r\n".join([status, *headers, "", ""]).encode(), body)

    def wait(self, seconds: float) -> None:
        """Say nothing for a time, or until the server is closed."""
        if self._closing.wait(seconds):
            raise OSError("the server is closed")

    def hold(self) -> None:
        """Say nothing any more, and keep the connection."""
        self.wait(600.0)

    def trickle(self, content: bytes, bytes_per_s: float) -> None:
        """Send at a rate."""
        step = max(1, round(bytes_per_s / 10))
        for at in range(0, len(content), step):
            self.send(content[at : at + step])
            self.wait(0.1)


Page = Callable[[Asked, Connection], None]


@dataclass(slots=True)
class StreamServer:
    """The server; made by `stream_server`.

    Attributes
    ----------
    pages
        What is done for a path.
    asked
        Every request that came.
    """

    base: str
    pages: dict[str, Page]
    asked: list[Asked] = field(default_factory=list)

    def url(self, path: str) -> str:
        """Give the address of a page."""
        return self.base + path


def page(content: bytes, content_type: str, *headers: str) -> Page:
    """Make a page that gives a file."""

    def give(asked: Asked, connection: Connection) -> None:
        connection.answer(f"Content-Type: {content_type}", f"Content-Length: {len(content)}", *headers, body=content)

    return give


def redirect(location: str, status: str = "302 Found") -> Page:
    """Make a page that sends elsewhere."""

    def give(asked: Asked, connection: Connection) -> None:
        connection.answer(f"Location: {location}", "Content-Length: 0", status=f"HTTP/1.1 {status}")

    return give


@contextmanager
def stream_server(pages: dict[str, Page] | None = None, *, tls: ssl.SSLContext | None = None) -> Iterator[StreamServer]:
    """Serve on a free port of loopback; each connection has a thread, and asks once."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = StreamServer(f"{'http' if tls is None else 'https'}://127.0.0.1:{port}", {} if pages is None else pages)
    closing = threading.Event()
    threads: list[threading.Thread] = []

    def serve(raw: socket.socket) -> None:
        # Whoever asked may go away at any time, or be refused by TLS.
        with suppress(OSError), raw, raw if tls is None else tls.wrap_socket(raw, server_side=True) as sock:
            sock.settimeout(600.0)
            asked = _read_request(sock)
            server.asked.append(asked)
            known = server.pages.get(asked.path.partition("?")[0])
            connection = Connection(sock, closing)
            if known is None:
                connection.answer("Content-Length: 0", status="HTTP/1.1 404 Not Found")
            else:
                known(asked, connection)
            with suppress(OSError):
                sock.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while not closing.is_set():
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=serve, args=(sock,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        closing.set()
        # A thread in accept() is not woken by close().
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(10.0)
        for thread in threads:
            thread.join(10.0)


def self_signed(folder: Path, name: str = "IP:127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """Make a certificate that nobody has signed; give the server's side, and the file that makes a client trust it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    argv = [require_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    argv += ["-nodes", "-days", "2", "-subj", "/CN=test", "-addext", f"subjectAltName={name}"]
    assert run_quietly([*argv, "-keyout", str(key), "-out", str(certificate)], timeout_s=30.0) is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def _read_request(sock: socket.socket) -> Asked:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(4096)
        if not piece:
            raise OSError("no request")
        head += piece
    first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Asked(first.split(" ")[1], headers)
