"""Ogg streams of a real encoder, cut anywhere."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.base.child import run_quietly
from app_core.base.ogg_pages import OggPages
from tests.support.programs import require_program

CODECS = {"libopus": [b"OpusHead", b"OpusTags"], "libvorbis": [b"\x01vorbis", b"\x05vorbis"], "flac": [b"\x7fFLAC"]}


def _stream(encoder: str) -> bytes:
    tone = "sine=frequency=1000:sample_rate=48000:duration=2"
    argv = [require_program("ffmpeg"), "-v", "error", "-f", "lavfi", "-i", tone]
    output = run_quietly([*argv, "-c:a", encoder, "-page_duration", "200000", "-f", "ogg", "pipe:1"], timeout_s=60.0)
    assert output
    return output


@pytest.mark.parametrize("encoder", CODECS)
def test_pages_are_whole_however_the_stream_is_cut(encoder: str) -> None:
    stream = _stream(encoder)
    for size in (1, 7, 1000, len(stream)):
        pages = OggPages()
        found = [page for i in range(0, len(stream), size) for page in pages.push(stream[i : i + size])]
        assert b"".join(found) == stream
        assert all(page.startswith(b"OggS") for page in found)
        assert len(found) > 5
        for mark in CODECS[encoder]:
            assert mark in pages.headers
        assert stream.startswith(pages.headers)
        assert len(pages.headers) < len(stream) / 2 or encoder == "libvorbis"


def test_a_chained_stream_has_headers_of_its_own() -> None:
    first, second = _stream("libopus"), _stream("flac")
    pages = OggPages()
    pages.push(first)
    assert b"OpusHead" in pages.headers
    pages.push(second)
    assert b"FLAC" in pages.headers
    assert b"OpusHead" not in pages.headers


def test_what_is_no_page_is_skipped() -> None:
    stream = _stream("libopus")
    pages = OggPages()
    assert pages.push(b"nonsense Og") == []
    assert b"".join(pages.push(stream)) == stream


def test_headers_without_end_are_not_kept_without_end() -> None:
    page = struct.pack("<4sBBq12xB", b"OggS", 0, 0, 0, 255) + bytes([255] * 255) + bytes(255 * 255)
    beginning = page[:5] + b"\x02" + page[6:]
    pages = OggPages()
    for _ in range(20):
        pages.push(page)
    assert pages.headers == b""
    pages.push(beginning)
    for _ in range(20):
        pages.push(page)
    assert 262_144 < len(pages.headers) < 400_000


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_nonsense_neither_fails_nor_grows(pieces: list[bytes]) -> None:
    pages = OggPages()
    for piece in pieces:
        pages.push(piece)
    assert pages.headers == b""
