"""The demo's stand-in for Icecast, as FFmpeg's own source and plain HTTP clients meet it."""

from __future__ import annotations

import base64
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import orjson
import pytest

from app_core.base.child import Child
from app_core.base.errors import ConfigError, LinkError
from app_core.synth import tiny_icecast
from app_core.synth.tiny_icecast import TinyIcecast, is_loopback
from tests.support.pcm_source import decode_stream, frequency_of
from tests.support.programs import PATIENCE_S, eventually, require_program

PASSWORD = "p/w%and:more"  # noqa: S105  (of the test's own server)
CREDENTIALS = "Basic " + base64.b64encode(f"source:{PASSWORD}".encode()).decode()
ADMIN = "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode()


@pytest.fixture
def port() -> Iterator[int]:
    server = TinyIcecast(PASSWORD)
    stopping, ports = threading.Event(), list[int]()
    thread = threading.Thread(target=server.serve, args=(stopping, ports.append))
    thread.start()
    eventually(lambda: bool(ports), "the server")
    yield ports[0]
    stopping.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def _get(port: int, path: str, n_bytes: int = -1, **headers: str) -> tuple[int, bytes, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:  # noqa: S310
            return response.status, response.read(n_bytes), response.headers["content-type"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), ""


@contextmanager
def _source(port: int, mount: str, encoder: str, container: str, content_type: str) -> Iterator[Child]:
    """FFmpeg's own way to Icecast, in real time."""
    tone = "sine=frequency=1000:sample_rate=48000"
    argv = [require_program("ffmpeg"), "-v", "error", "-re", "-f", "lavfi", "-i", tone, "-c:a", encoder]
    argv += ["-page_duration", "200000"] if container == "ogg" else []
    address = f"icecast://source:{urllib.parse.quote(PASSWORD, safe='')}@127.0.0.1:{port}{mount}"
    child = Child("ffmpeg", [*argv, "-content_type", content_type, "-f", container, address])
    child.start()
    try:
        yield child
    finally:
        child.stop()


@pytest.mark.parametrize(
    ("encoder", "container", "content_type"),
    [("libmp3lame", "mp3", "audio/mpeg"), ("libopus", "ogg", "audio/ogg"), ("libvorbis", "ogg", "application/ogg")],
)
def test_a_stream_is_heard_by_who_comes_late(port: int, encoder: str, container: str, content_type: str) -> None:
    with _source(port, "/a b", encoder, container, content_type):
        eventually(lambda: _get(port, "/a%20b", 1)[0] == 200, "the mount")
        sources = orjson.loads(_get(port, "/status-json.xsl")[1])["icestats"]["source"]
        assert (sources["server_type"], sources["listeners"]) == (content_type, 0)
        eventually(lambda: int(str(_status(port)["total_bytes_read"])) > 40_000, "more than a burst")
        status, stream, kind = _get(port, "/a%20b", 40_000)
    assert (status, kind) == (200, content_type)
    pcm = decode_stream(stream)
    assert frequency_of(pcm) == pytest.approx(1000.0, abs=0.2)
    eventually(lambda: _get(port, "/a%20b")[0] == 404, "the end of the mount")


def _status(port: int) -> dict[str, object]:
    found = orjson.loads(_get(port, "/status-json.xsl")[1])["icestats"].get("source")
    return found if isinstance(found, dict) else {}


def _put(port: int, path: str = "/x", authorization: str = CREDENTIALS, more: str = "") -> socket.socket:
    source = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {authorization}\r\nContent-Type: audio/mpeg\r\n{more}"
    source.sendall(f"{head}Expect: 100-continue\r\n\r\n".encode())
    return source


def test_a_source_is_told_to_go_on_or_why_not(port: int) -> None:
    with _put(port) as source:
        assert source.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        with _put(port) as second:
            answer = second.recv(1000)
            assert answer.startswith(b"HTTP/1.0 403")
        with _put(port, "/y", "Basic " + base64.b64encode(b"source:hackme").decode()) as stranger:
            assert stranger.recv(1000).startswith(b"HTTP/1.0 401")
        with _put(port, "/y", "Basic ///") as stranger:
            assert stranger.recv(1000).startswith(b"HTTP/1.0 401")
        with _put(port, "/y", more="Transfer-Encoding: chunked\r\n") as chunked:
            assert chunked.recv(1000).startswith(b"HTTP/1.0 403")
        with _put(port, "/admin/y") as reserved:
            assert reserved.recv(1000).startswith(b"HTTP/1.0 403")


def test_titles_need_the_password_and_a_mount(port: int) -> None:
    with _put(port) as source:
        source.recv(1000)
        song = "/admin/metadata?mount=/x&mode=updinfo&song=Tornado%20%C3%9C"
        assert _get(port, song)[0] == 401
        assert _get(port, song.replace("/x", "/z"), Authorization=CREDENTIALS)[0] == 400
        assert _get(port, song, Authorization=CREDENTIALS)[0] == 200
        assert _status(port)["title"] == "Tornado Ü"
        assert _get(port, song.replace("Tornado", "Severe"), Authorization=ADMIN)[0] == 200
        assert _status(port)["title"] == "Severe Ü"
        with _put(port, "/y", ADMIN) as stranger:
            assert stranger.recv(1000).startswith(b"HTTP/1.0 401")


def test_a_listener_that_does_not_read_is_dropped_and_the_others_are_not(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_icecast, "SLOW_BYTES", 65_536)
    with _put(port) as source, socket.socket() as slow:
        source.recv(1000)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", port))
        slow.sendall(b"GET /x HTTP/1.0\r\n\r\n")
        eventually(lambda: _status(port).get("listeners") == 1, "the listener")
        n_sent = 0
        while _status(port)["listeners"] == 1:
            source.sendall(bytes(65_536))
            n_sent += 65_536
            assert n_sent < 100_000_000
        assert _get(port, "/x", 1000)[0] == 200


def test_a_source_that_falls_silent_is_gone(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiny_icecast, "SOURCE_TIMEOUT_S", 0.3)
    with _put(port) as source:
        source.recv(1000)
        eventually(lambda: _get(port, "/x", 0)[0] == 404, "the end of the mount")


@pytest.mark.parametrize("nonsense", [b"\r\n\r\n", b"GET\r\n\r\n", b"GET http://[ HTTP/1.1\r\n\r\n", b"x" * 40_000])
def test_nonsense_is_let_go(port: int, nonsense: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as visitor:
        visitor.sendall(nonsense)
        with suppress(ConnectionResetError):
            assert visitor.recv(1000) == b""
    assert _get(port, "/")[0] == 200


def test_it_is_for_this_machine_alone_and_wants_a_password() -> None:
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")  # noqa: S104
    assert not is_loopback("192.0.2.1")
    with pytest.raises(ConfigError, match="loopback"):
        TinyIcecast("secret", host="0.0.0.0")  # noqa: S104
    with pytest.raises(ConfigError, match="password"):
        TinyIcecast("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = TinyIcecast("secret", port=taken.getsockname()[1])
        with pytest.raises(LinkError, match="address already in use"):
            server.serve(threading.Event())
