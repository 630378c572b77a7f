"""Playlists: what they name is found, and what they must not name is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.errors import WireError
from app_core.network.playlist import MAX_ENTRIES, MAX_PLAYLIST_BYTES, is_playlist, parse_playlist

BASE = "https://radio.example/lists/wx.m3u"


def test_an_m3u_gives_its_addresses_in_their_order() -> None:
    content = b"\xef\xbb\xbf#EXTM3U\r\n#EXTINF:-1,KEC83\r\nhttp://a.example/1\r\n\r\nlive.mp3\r\n/root.mp3\r\nhttp://a.example/1"
    assert parse_playlist(content, BASE).entries == (
        "http://a.example/1",
        "https://radio.example/lists/live.mp3",
        "https://radio.example/root.mp3",
    )


def test_a_pls_gives_its_files_and_nothing_else() -> None:
    content = b"[playlist]\nNumberOfEntries=2\nFile1=http://a.example/1\nTitle1=http://no.example\nfile2 = https://b.example/2\n"
    assert parse_playlist(content, BASE).entries == ("http://a.example/1", "https://b.example/2")


@pytest.mark.parametrize(
    "entry",
    [
        "file:///etc/passwd",
        "ftp://a.example/x",
        "gopher://127.0.0.1:6379/_SET",
        "data:audio/mpeg;base64,AAAA",
        "concat:a|b",
        "http://user:secret@a.example/x",
        "http://[::1",
        "pipe:0",
    ],
)
def test_an_entry_of_another_kind_is_refused(entry: str) -> None:
    playlist = parse_playlist(f"{entry}\nhttp://a.example/1\n".encode(), BASE)
    assert playlist.entries == ("http://a.example/1",)
    assert playlist.refused == entry


def test_hls_is_told_by_its_tags() -> None:
    assert parse_playlist(b"#EXTM3U\n#EXT-X-TARGETDURATION:6\na.ts\n", BASE).is_hls
    assert not parse_playlist(b"#EXTM3U\n#EXTINF:-1,a\nhttp://a.example/1\n", BASE).is_hls


def test_a_playlist_has_bounds() -> None:
    many = "".join(f"http://a.example/{number}\n" for number in range(1000)).encode()
    assert len(parse_playlist(many, BASE).entries) == MAX_ENTRIES
    with pytest.raises(WireError, match="64 KB"):
        parse_playlist(b"#" * (MAX_PLAYLIST_BYTES + 1), BASE)


@given(st.binary(max_size=2000))
def test_nonsense_is_read_without_harm(content: bytes) -> None:
    for entry in parse_playlist(content, BASE).entries:
        assert entry.startswith(("http://", "https://", "HTTP", "Http"))


@pytest.mark.parametrize(
    ("content_type", "url", "beginning", "expected"),
    [
        ("audio/x-mpegurl", "http://a/x", b"", True),
        ("audio/x-scpls", "http://a/x", b"", True),
        ("text/plain", "http://a/x.m3u?token=1", b"http://b/", True),
        ("application/octet-stream", "http://a/x", b"#EXTM3U\n", True),
        ("", "http://a/x", b"[Playlist]\n", True),
        ("audio/mpeg", "http://a/x", b"\xff\xfb", False),
        ("audio/mpeg", "http://a/odd.m3u", b"\xff\xfb", False),
        ("audio/mpeg", "http://a/x", b"#EXTM3U\n", True),
        ("text/plain", "http://a/x.mp3", b"", False),
    ],
)
def test_a_playlist_is_told_from_a_stream(content_type: str, url: str, beginning: bytes, expected: bool) -> None:
    assert is_playlist(content_type, url, beginning) is expected
