"""One GET: what servers answer, what hostile ones do, and how it is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app_core.base.errors import ConfigError, LinkError
from app_core.network import http_stream
from app_core.network.http_stream import MAX_REDIRECTS, HttpStream, Login, open_http
from tests.support.programs import eventually
from tests.support.stream_server import Asked, Connection, StreamServer, page, redirect, self_signed, stream_server

AUDIO = bytes(range(256)) * 300


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with stream_server({"/live": page(AUDIO, "audio/mpeg")}) as running:
        yield running


def read_all(stream: HttpStream) -> bytes:
    content = b""
    while piece := stream.read():
        content += piece
    stream.close()
    return content


def test_a_file_is_given_whole_and_told_from_a_stream(server: StreamServer) -> None:
    stream = open_http(server.url("/live"))
    assert (stream.content_type, stream.is_finite, stream.title_interval) == ("audio/mpeg", True, 0)
    assert stream.peek() == AUDIO[: len(stream.peek())]
    assert read_all(stream) == AUDIO


def test_a_chunked_body_is_given_piece_by_piece_as_it_comes(server: StreamServer) -> None:
    go_on = threading.Event()

    def chunked(asked: Asked, connection: Connection) -> None:
        connection.answer("Transfer-Encoding: chunked", status="HTTP/1.1 200 OK")
        connection.send(b"3\r\nab", b"c\r\n")
        go_on.wait(20.0)
        connection.send(b"2;x=y\r\nde\r\n0\r\n\r\n")

    server.pages["/chunked"] = chunked
    stream = open_http(server.url("/chunked"))
    first = b""
    while len(first) < 3:
        first += stream.read()
    assert first == b"abc"
    go_on.set()
    assert read_all(stream) == b"de"


@pytest.mark.parametrize("cut", [1, 3, 4, 9, 40])
def test_an_old_shoutcast_server_is_understood_however_its_answer_is_cut(server: StreamServer, cut: int) -> None:
    answer = b"ICY 200 OK\r\nicy-name: KEC83 \xe9\r\nicy-metaint:16\r\ncontent-type: audio/mpeg\r\n\r\n" + AUDIO

    def icy(asked: Asked, connection: Connection) -> None:
        connection.send(answer[:cut])
        connection.wait(0.2)
        connection.send(answer[cut:])

    server.pages["/icy"] = icy
    stream = open_http(server.url("/icy"))
    assert (stream.name, stream.title_interval, stream.is_finite) == ("KEC83 é", 16, False)
    assert read_all(stream) == AUDIO


def test_redirects_are_followed_and_end(server: StreamServer) -> None:
    server.pages["/a"] = redirect("/b", "301 Moved Permanently")
    server.pages["/b"] = redirect(server.url("/live"), "307 Temporary Redirect")
    server.pages["/round"] = redirect("/round")
    server.pages["/away"] = redirect("file:///etc/passwd")
    stream = open_http(server.url("/a"))
    assert stream.url == server.url("/live")
    assert read_all(stream) == AUDIO
    with pytest.raises(LinkError, match=f"more than {MAX_REDIRECTS} redirects"):
        open_http(server.url("/round"))
    with pytest.raises(LinkError, match="neither http nor https"):
        open_http(server.url("/away"))


def test_a_password_goes_to_its_own_server_alone(server: StreamServer, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pass word:€\nnot this\n", encoding="utf-8")
    with stream_server({"/live": page(AUDIO, "audio/mpeg")}) as other:
        server.pages["/away"] = redirect(other.url("/live"))
        open_http(server.url("/away"), login=Login("me", secret)).close()
        assert "authorization" not in other.asked[0].headers
    # base64 of "me:pass word:€" in UTF-8
    assert server.asked[0].headers["authorization"] == "Basic bWU6cGFzcyB3b3JkOuKCrA=="


def test_a_password_file_that_says_nothing_is_named(server: StreamServer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone cannot be read"):
        open_http(server.url("/live"), login=Login("me", tmp_path / "gone"))
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        open_http(server.url("/live"), login=Login("me", tmp_path / "empty"))
    assert server.asked == []


@pytest.mark.parametrize(
    ("status", "words"),
    [("401 Unauthorized", "username"), ("404 Not Found", "no such stream"), ("503 x", "full"), ("418 Teapot", "418")],
)
def test_a_refusal_is_said_in_words(server: StreamServer, status: str, words: str) -> None:
    server.pages["/x"] = lambda asked, connection: connection.answer(status=f"HTTP/1.1 {status}")
    with pytest.raises(LinkError, match=words):
        open_http(server.url("/x"))


def test_nobody_there_is_said_in_words() -> None:
    with stream_server() as closed:
        url = closed.url("/")
    with pytest.raises(LinkError, match="no server listens there"):
        open_http(url)
    with pytest.raises(LinkError, match="its name is not known"):
        open_http("http://nowhere.invalid/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "http://", "http://[::1", "http://a:99999/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(LinkError, match="not an address"):
        open_http(url)


def _endless_line(asked: Asked, connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.send(b"x" * 4096)


def _endless_headers(asked: Asked, connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.send(b"X: y\r\n" * 100)


@pytest.mark.parametrize(
    ("hostile", "words"),
    [
        (_endless_line, "has no end"),
        (_endless_headers, "malformed"),
        (lambda asked, connection: connection.send(b"SSH-2.0-OpenSSH_9.2\r\n"), "not HTTP"),
        (lambda asked, connection: connection.send(b"I"), "not HTTP"),
        (lambda asked, connection: None, "Remote end closed|not HTTP"),
    ],
)
def test_a_hostile_answer_ends_in_words(server: StreamServer, hostile: object, words: str) -> None:
    server.pages["/x"] = hostile  # type: ignore[assignment]
    with pytest.raises(LinkError, match=words):
        open_http(server.url("/x"))


def test_an_answer_that_drips_is_given_up(server: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream, "ANSWER_TIMEOUT_S", 0.5)
    server.pages["/x"] = lambda asked, connection: connection.trickle(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000, 20.0)
    with pytest.raises(LinkError, match="did not answer within"):
        open_http(server.url("/x"))


def test_an_answer_without_a_body_is_given_up(server: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_stream, "ANSWER_TIMEOUT_S", 0.5)

    def mute(asked: Asked, connection: Connection) -> None:
        connection.answer("Content-Type: audio/mpeg")
        connection.hold()

    server.pages["/x"] = mute
    stream = open_http(server.url("/x"))
    with pytest.raises(LinkError, match="did not answer within"):
        stream.peek()
    stream.close()


def test_a_wait_ends_when_it_is_asked_to(server: StreamServer) -> None:
    def silent(asked: Asked, connection: Connection) -> None:
        connection.answer("Content-Type: audio/mpeg", body=b"abc")
        connection.hold()

    server.pages["/silent"] = silent
    stopping = threading.Event()
    stream = open_http(server.url("/silent"), should_stop=stopping.is_set)
    assert stream.read() == b"abc"
    ended: list[str] = []

    def wait() -> None:
        try:
            stream.read()
        except LinkError as error:
            ended.append(str(error))

    waiter = threading.Thread(target=wait)
    waiter.start()
    eventually(lambda: stream.silent_s > 0.3, "some silence")
    assert not ended
    stopping.set()
    waiter.join(20.0)
    assert ended == ["given up"]
    stream.close()


def test_a_connection_that_breaks_is_no_end(server: StreamServer) -> None:
    server.pages["/cut"] = lambda asked, connection: connection.answer("Content-Length: 100", body=b"abc")
    stream = open_http(server.url("/cut"))
    with pytest.raises(LinkError, match="broke"):
        read_all(stream)
    stream.close()


def test_tls_is_verified(tmp_path: Path) -> None:
    context, certificate = self_signed(tmp_path)
    with stream_server({"/live": page(AUDIO, "audio/mpeg")}, tls=context) as server:
        with pytest.raises(LinkError, match="certificate is not trusted"):
            open_http(server.url("/live"))
        assert read_all(open_http(server.url("/live"), ca_file=certificate)) == AUDIO
        with pytest.raises(ConfigError, match="ca_file"):
            open_http(server.url("/live"), ca_file=tmp_path / "gone.pem")


def test_a_certificate_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    context, certificate = self_signed(tmp_path, "DNS:radio.example")
    with (
        stream_server({"/live": page(AUDIO, "audio/mpeg")}, tls=context) as server,
        pytest.raises(LinkError, match="certificate is not trusted"),
    ):
        open_http(server.url("/live"), ca_file=certificate)


def test_a_stream_with_tls_that_falls_silent_can_be_left(tmp_path: Path) -> None:
    context, certificate = self_signed(tmp_path)

    def silent(asked: Asked, connection: Connection) -> None:
        connection.answer("Content-Type: audio/mpeg", body=b"abc")
        connection.hold()

    with stream_server({"/live": silent}, tls=context) as server:
        began_s = time.monotonic()
        stream = open_http(
            server.url("/live"), ca_file=certificate, should_stop=lambda: time.monotonic() > began_s + 1.0
        )
        assert stream.read() == b"abc"
        with pytest.raises(LinkError, match="given up"):
            stream.read()
        stream.close()
