"""SHOUTcast's titles within a stream ("ICY"): taken out of the audio, and read.

A server that was asked with ``Icy-MetaData: 1`` names an interval in ``icy-metaint``. After so many bytes of audio
stands one byte L and then 16 L bytes of text, such as ``StreamTitle='…';StreamUrl='…';``, filled up with zero bytes.
L is 0 where the title is still the same.
"""

from __future__ import annotations

import re

_TITLE = re.compile(rb"StreamTitle='(.*?)';(?:\s*\w+=|\0|$)", re.DOTALL)

MAX_INTERVAL = 16 * 1024 * 1024
"""Longest interval that is believed. [bytes]"""


class IcyDemux:
    """Take the titles out of one stream.

    Parameters
    ----------
    interval
        Bytes of audio between two titles; 0 for a stream without any.

    Attributes
    ----------
    title
        The last one that was read; empty before it.
    """

    def __init__(self, interval: int) -> None:
        self.title = ""
        self._interval = interval
        self._audio_left = interval
        # Of a text that is being read: bytes that are still missing, and those that came. None within audio.
        self._text_left: int | None = None
        self._text = b""

    def push(self, piece: bytes) -> bytes:
        """Give the audio of the next piece of the stream, however it was cut."""
        if not self._interval:
            return piece
        audio: list[bytes] = []
        at = 0
        while at < len(piece):
            if self._text_left is None and self._audio_left:
                taken = piece[at : at + self._audio_left]
                audio.append(taken)
                self._audio_left -= len(taken)
            elif self._text_left is None:
                taken = piece[at : at + 1]
                self._text_left, self._text = 16 * taken[0], b""
            else:
                taken = piece[at : at + self._text_left]
                self._text += taken
                self._text_left -= len(taken)
            at += len(taken)
            if self._text_left == 0:
                self._end_text()
        return b"".join(audio)

    def _end_text(self) -> None:
        if self._text:
            title = read_title(self._text)
            self.title = self.title if title is None else title
        self._text_left, self._audio_left = None, self._interval


def read_title(text: bytes) -> str | None:
    """Give the ``StreamTitle`` of one text, for people; None where it has none."""
    found = _TITLE.search(text)
    return None if found is None else readable(found[1])


def read_interval(value: str | None) -> int:
    """Give the interval that ``icy-metaint`` says; 0 where it says none, or nonsense."""
    if value is None or not value.strip().isascii() or not value.strip().isdigit():
        return 0
    interval = int(value.strip()[:12])
    return interval if interval <= MAX_INTERVAL else 0


def readable(text: bytes, longest: int = 200) -> str:
    """Read what a stranger wrote: UTF-8, else Latin-1, one line, nothing that steers a terminal, not too long."""
    try:
        words = text.decode("utf-8")
    except UnicodeDecodeError:
        words = text.decode("latin-1")
    shown = "".join(character if character.isprintable() else " " for character in words)
    return " ".join(shown.split())[:longest]
