"""Titles within a stream: they go out of the audio however it is cut, and are read whatever stands in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_core.network.icy import IcyDemux, read_interval, read_title, readable


def titled(audio: bytes, interval: int, titles: dict[int, str]) -> bytes:
    """Put titles by the number of their place into audio."""
    out = b""
    for number, at in enumerate(range(0, len(audio), interval)):
        piece = audio[at : at + interval]
        out += piece
        if len(piece) == interval:
            text = f"StreamTitle='{titles[number]}';".encode() if number in titles else b""
            length = -(-len(text) // 16)
            out += bytes([length]) + text.ljust(16 * length, b"\0")
    return out


@given(st.binary(max_size=300), st.integers(1, 50), st.lists(st.integers(1, 60), max_size=20))
def test_the_audio_is_what_it_was_however_the_stream_is_cut(audio: bytes, interval: int, cuts: list[int]) -> None:
    stream = titled(audio, interval, {0: "first", 2: "it's third"})
    demux = IcyDemux(interval)
    out = b""
    for n_bytes in [*cuts, len(stream)]:
        out += demux.push(stream[:n_bytes])
        stream = stream[n_bytes:]
    assert out == audio
    n_places = len(audio) // interval
    assert demux.title == ("it's third" if n_places > 2 else "first" if n_places > 0 else "")


def test_without_an_interval_everything_is_audio() -> None:
    assert IcyDemux(0).push(b"\x00\x01StreamTitle='a';") == b"\x00\x01StreamTitle='a';"


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (b"StreamTitle='KEC83';StreamUrl='http://a';\0\0", "KEC83"),
        (b"StreamTitle='It's 5 o'clock';\0", "It's 5 o'clock"),
        (b"StreamTitle='a';b';StreamUrl='';", "a';b"),
        (b"StreamTitle='';", ""),
        (b"StreamTitle='S\xe3o Paulo';", "São Paulo"),
        ("StreamTitle='São Paulo';".encode(), "São Paulo"),
        (b"StreamTitle='\x1b[31mred\r\n';", "[31mred"),
        (b"StreamUrl='http://a';", None),
        (b"StreamTitle='no end", None),
    ],
)
def test_a_title_is_read(text: bytes, title: str | None) -> None:
    assert read_title(text) == title


@pytest.mark.parametrize(
    ("value", "interval"),
    [("16000", 16000), (" 8192 ", 8192), (None, 0), ("", 0), ("-1", 0), ("1e9", 0), ("9" * 99, 0)],
)
def test_an_interval_that_is_none_is_zero(value: str | None, interval: int) -> None:
    assert read_interval(value) == interval


def test_a_strangers_words_are_one_line_and_not_too_long() -> None:
    assert readable(b"a\0b\tc\n" + b"x" * 500) == "a b c " + "x" * 194
