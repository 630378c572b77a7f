"""From an address to audio: playlists that lead on, lead nowhere, or lead round."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app_core.base.errors import LinkError
from app_core.network.audio_stream import MAX_TRIED, HlsAddress, StreamFinder
from app_core.network.http_stream import HttpStream, Login
from tests.support.stream_server import Asked, Connection, StreamServer, page, stream_server

AUDIO = b"\xff\xfb" * 1000


@pytest.fixture
def server() -> Iterator[StreamServer]:
    with stream_server({"/live": page(AUDIO, "audio/mpeg")}) as running:
        yield running


def found(server: StreamServer, path: str) -> str:
    """Give the path at which audio was found."""
    stream = StreamFinder().find(server.url(path))
    assert isinstance(stream, HttpStream)
    content = stream.read_all(1 << 20)
    stream.close()
    assert content == AUDIO
    return stream.url.removeprefix(server.base)


def test_the_stream_itself_is_found(server: StreamServer) -> None:
    assert found(server, "/live") == "/live"


@pytest.mark.parametrize(
    ("name", "content_type", "content"),
    [
        ("/a.m3u", "audio/x-mpegurl", b"#EXTM3U\n/live\n"),
        ("/a.pls", "audio/x-scpls", b"[playlist]\nFile1=/live\n"),
        ("/plain.m3u", "text/plain", b"live"),
        ("/unnamed", "application/octet-stream", b"#EXTM3U\nlive\n"),
    ],
)
def test_a_playlist_leads_to_it(server: StreamServer, name: str, content_type: str, content: bytes) -> None:
    server.pages[name] = page(content, content_type)
    assert found(server, name) == "/live"


def test_the_first_entry_that_answers_is_taken(server: StreamServer) -> None:
    server.pages["/a.m3u"] = page(b"/gone\nfile:///etc/passwd\n/live\n/other\n", "audio/x-mpegurl")
    assert found(server, "/a.m3u") == "/live"
    assert [asked.path for asked in server.asked] == ["/a.m3u", "/gone", "/live"]


def test_a_playlist_of_pieces_is_left_to_ffmpeg(server: StreamServer) -> None:
    server.pages["/hls"] = page(b"#EXTM3U\n#EXT-X-VERSION:3\na.ts\n", "application/vnd.apple.mpegurl")
    server.pages["/to.m3u"] = page(b"/hls\n", "audio/x-mpegurl")
    assert StreamFinder().find(server.url("/to.m3u")) == HlsAddress(server.url("/hls"))


def test_a_playlist_that_leads_round_ends(server: StreamServer) -> None:
    server.pages["/a.m3u"] = page(b"/b.m3u\n", "audio/x-mpegurl")
    server.pages["/b.m3u"] = page(b"/a.m3u\n", "audio/x-mpegurl")
    with pytest.raises(LinkError, match="deep"):
        StreamFinder().find(server.url("/a.m3u"))
    assert len(server.asked) == 4


def test_a_playlist_of_playlists_of_playlists_is_not_followed_for_ever(server: StreamServer) -> None:
    everything = b"".join(f"/{number}.m3u\n".encode() for number in range(30))
    for number in range(30):
        server.pages[f"/{number}.m3u"] = page(everything, "audio/x-mpegurl")
    with pytest.raises(LinkError):
        StreamFinder().find(server.url("/0.m3u"))
    assert len(server.asked) <= MAX_TRIED + 4


def test_a_huge_playlist_is_refused(server: StreamServer) -> None:
    sent = [0]

    def huge(asked: Asked, connection: Connection) -> None:
        connection.answer("Content-Type: audio/x-mpegurl")
        while sent[0] < 100_000_000:
            connection.send(b"#" * 65536)
            sent[0] += 65536

    server.pages["/huge.m3u"] = huge
    with pytest.raises(LinkError, match="longer than 64 KB"):
        StreamFinder().find(server.url("/huge.m3u"))
    assert sent[0] < 50_000_000


def test_a_playlist_that_names_a_file_reads_none(server: StreamServer) -> None:
    server.pages["/a.m3u"] = page(b"file:///etc/passwd\n", "audio/x-mpegurl")
    with pytest.raises(LinkError, match="'file:///etc/passwd' is neither http nor https"):
        StreamFinder().find(server.url("/a.m3u"))
    server.pages["/a.m3u"] = page(b"#EXTM3U\n", "audio/x-mpegurl")
    with pytest.raises(LinkError, match="names no stream"):
        StreamFinder().find(server.url("/a.m3u"))


@pytest.mark.parametrize(
    ("content_type", "content"), [("text/html; charset=utf-8", b"..."), ("audio/mpeg", b"\n<!DOCTYPE html><html>")]
)
def test_a_web_page_is_no_audio(server: StreamServer, content_type: str, content: bytes) -> None:
    server.pages["/x"] = page(content, content_type)
    with pytest.raises(LinkError, match="a web page, not audio"):
        StreamFinder().find(server.url("/x"))


def test_a_server_that_sends_nothing_is_said(server: StreamServer) -> None:
    server.pages["/x"] = page(b"", "audio/mpeg")
    with pytest.raises(LinkError, match="sends nothing"):
        StreamFinder().find(server.url("/x"))


def test_titles_and_the_password_are_asked_of_the_right_server(server: StreamServer, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("word")
    with stream_server({"/live": page(AUDIO, "audio/mpeg")}) as other:
        server.pages["/a.m3u"] = page(f"/gone\n{other.url('/live')}\n".encode(), "audio/x-mpegurl")
        finder = StreamFinder(login=Login("me", tmp_path / "secret"), want_titles=True)
        stream = finder.find(server.url("/a.m3u"))
        assert isinstance(stream, HttpStream)
        stream.close()
        assert ["authorization" in asked.headers for asked in server.asked] == [True, True]
        assert "authorization" not in other.asked[0].headers
        assert other.asked[0].headers["icy-metadata"] == "1"
