"""The source protocol against a scripted server: what no real Icecast of today can be made to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from app_core.base.errors import LinkError
from app_core.network.icecast_server import LONGEST_LINE, IcecastRefusedError, IcecastServer, one_line
from app_core.network.icecast_source import IcecastSource, MountDescription

OLD_SERVER = b"HTTP/1.0 501 Not Implemented\r\n\r\n"


class ScriptedServer:
    """Answers one connection after the other with what it was told, and keeps what it was sent."""

    def __init__(self, answers: list[bytes | None], *, keep: bool) -> None:
        self._answers = answers
        self._keep = keep
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.requests: list[bytes] = []
        self.received = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def server(self) -> IcecastServer:
        return IcecastServer("127.0.0.1", self._listening.getsockname()[1], username="söurce", password="wörd: 1")  # noqa: S106

    def close(self) -> None:
        self._listening.close()
        self._thread.join(20.0)

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(20.0)
                request = b""
                while b"\r\n\r\n" not in request and (piece := connection.recv(4096)):
                    request += piece
                self.requests.append(request)
                if answer is not None:
                    connection.sendall(answer)
                if answer is None or answer.split()[1] in (b"100", b"200"):
                    while self._keep and (piece := connection.recv(4096)):
                        self.received += piece


@contextmanager
def scripted(*answers: bytes | None, keep: bool = True) -> Iterator[ScriptedServer]:
    server = ScriptedServer(list(answers), keep=keep)
    try:
        yield server
    finally:
        server.close()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Wetter für Jackson ☂", "Wetter für Jackson ☂"),
        ("a\r\nX-Evil: 1", "a X-Evil: 1"),
        ("a\0b\a\x1b[31m\x7f c", "ab[31m c"),
        ("half \ud800 a pair", "half a pair"),
        ("\u2028 \0 ", ""),
        ("x" * 9000, "x" * LONGEST_LINE),
    ],
)
def test_a_name_goes_out_as_one_line_of_what_can_be_printed(text: str, line: str) -> None:
    assert one_line(text) == line
    description = MountDescription("/wx.mp3", "audio/mpeg", name=text, description=text)
    sent = dict(description.headers())
    assert sent.get("Ice-Name", line) == sent.get("Ice-Description", line) == line


def source_of(server: IcecastServer, timeout_s: float = 10.0) -> IcecastSource:
    description = MountDescription(
        "/wx.mp3", "audio/mpeg", name="A\r\nX-Evil: 1", bitrate_kbps=64, sample_rate_hz=24_000
    )
    return IcecastSource(server, description, threading.Event(), timeout_s)


def test_it_asks_with_put_and_then_sends_the_stream_bare() -> None:
    with scripted(b"HTTP/1.1 100 Continue\r\n\r\n") as server:
        source = source_of(server.server)
        source.connect()
        assert (source.is_connected, source.method) == (True, "PUT")
        source.send(b"audio" * 10_000)
        source.close()
        server.close()
    request = server.requests[0].decode()
    head = dict(line.split(": ", 1) for line in request.split("\r\n")[1:] if line)
    assert request.startswith("PUT /wx.mp3 HTTP/1.1\r\n")
    assert head["Expect"] == "100-continue"
    assert head["Authorization"] == "Basic c8O2dXJjZTp3w7ZyZDogMQ=="
    assert head["Content-Type"] == "audio/mpeg"
    assert head["Ice-Name"] == "A X-Evil: 1"
    assert head["Ice-Audio-Info"] == "ice-samplerate=24000;ice-bitrate=64"
    assert head["Ice-Public"] == "0"
    assert server.received == b"audio" * 10_000


@pytest.mark.parametrize("first", [OLD_SERVER, b"HTTP/1.0 405 No\r\n\r\n", b"HTTP/1.0 400 Bad\r\n\r\n", b" "])
def test_a_server_that_does_not_know_put_is_asked_with_source(first: bytes) -> None:
    answers = (first, b"HTTP/1.0 200 OK\r\n\r\n") if first != b" " else (b"? ?\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n")
    with scripted(*answers) as server:
        source = source_of(server.server)
        source.connect()
        assert source.method == "SOURCE"
        source.close()
    assert server.requests[1].startswith(b"SOURCE /wx.mp3 HTTP/1.0\r\n")
    assert b"Expect" not in server.requests[1]


@pytest.mark.parametrize(
    ("answer", "words", "needs_person"),
    [
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", "refuses the password of user 'söurce' (401)", True),
        (b"HTTP/1.0 403 Forbidden\r\n\r\n<b>Mountpoint in use</b>", "the mount /wx.mp3 is in use (403)", False),
        (b"HTTP/1.0 403 Forbidden\r\n\r\ntoo many sources connected", "takes no more sources (403)", True),
        (b"HTTP/1.0 403 Forbidden\r\n\r\nContent-type not supported", "does not take this codec (403", True),
        (b"HTTP/1.1 415 Unsupported Media Type\r\n\r\n", "does not take this codec (415", True),
        (b"HTTP/1.0 403 Forbidden\r\n\r\nIcecast connection limit reached", "is full (403", False),
        (b"HTTP/1.0 503 Busy\r\n\r\n", "(503: Busy)", False),
        (b"HTTP/1.0 404 Not Found\r\n\r\n<p>nothing\r\nhere</p>", "(404: nothing here)", True),
    ],
)
def test_a_refusal_is_put_into_words(answer: bytes, words: str, needs_person: bool) -> None:
    with scripted(answer) as server:
        source = source_of(server.server)
        with pytest.raises(IcecastRefusedError) as refused:
            source.connect()
    assert words in str(refused.value)
    assert refused.value.needs_person is needs_person
    assert "wörd" not in str(refused.value)
    assert not source.is_connected


def test_a_server_that_never_answers_is_left() -> None:
    with scripted(None) as server:
        source = source_of(server.server, timeout_s=0.5)
        with pytest.raises(LinkError, match="does not answer"):
            source.connect()
        source.close()


def test_a_server_that_hangs_up_twice_is_said_to_be_no_icecast() -> None:
    with scripted(None, None, keep=False) as server, pytest.raises(LinkError, match="is it Icecast"):
        source_of(server.server).connect()


def test_a_send_that_goes_nowhere_ends_after_its_timeout() -> None:
    with scripted(b"HTTP/1.1 100 Continue\r\n\r\n", keep=False) as idle:
        # Its thread closes the connection at once; a listening socket that nobody reads from does the freezing.
        idle_server = idle.server
        source = source_of(idle_server, timeout_s=0.5)
        source.connect()
        with pytest.raises(LinkError, match=r"closed the connection|takes no more audio"):
            for _ in range(200):
                source.send(bytes(1_000_000))
        source.close()


def test_a_frozen_server_is_told_from_a_gone_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        frozen = IcecastServer("127.0.0.1", listening.getsockname()[1])
        accepted: list[socket.socket] = []

        def accept() -> None:
            connection, _ = listening.accept()
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            accepted.append(connection)

        accepting = threading.Thread(target=accept)
        accepting.start()
        source = source_of(frozen, timeout_s=0.5)
        source.connect()
        accepting.join(20.0)
        with pytest.raises(LinkError, match="takes no more audio"):
            for _ in range(20_000):
                source.send(bytes(10_000))
        # Neither side's kernel keeps minutes of audio.
        assert source.sent_bytes < 1_000_000
        source.close()
        accepted[0].close()


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_stop_ends_every_wait(when: str) -> None:
    with scripted(None) as server:
        stopping = threading.Event()
        source = IcecastSource(server.server, MountDescription("/wx.mp3", "audio/mpeg"), stopping, 60.0)
        stop: Callable[[], None] = stopping.set
        timer = threading.Timer(0.3, stop)
        if when == "before":
            stop()
        else:
            timer.start()
        with pytest.raises(LinkError):
            source.connect()
        source.close()
        timer.cancel()


def test_a_server_that_is_not_there_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(LinkError, match=r"connection refused\): is it running"):
        source_of(IcecastServer("127.0.0.1", port)).connect()


def test_tls_where_there_is_none_is_said() -> None:
    with scripted(OLD_SERVER) as server:
        plain = server.server
        secure = IcecastServer(plain.host, plain.port, tls=True)
        # The server waits for the end of a request that never comes.
        with pytest.raises(LinkError, match="TLS"):
            source_of(secure, timeout_s=1.0).connect()
