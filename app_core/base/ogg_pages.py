"""Ogg pages, cut out of a stream of bytes, and the header pages that who comes late must have (RFC 3533).

A page begins with 27 bytes: ``OggS``, version, flags (2: beginning of a logical stream), granule position, serial and
page number, checksum, number of segments; then one byte for each segment with its length. The header pages are those
from a beginning on whose granule position is 0 (RFC 7845, section 3, for Opus; the same for Vorbis and FLAC).
"""

from __future__ import annotations

import struct

_MAGIC = b"OggS"
_HEAD = struct.Struct("<4sBBq12xB")
_BEGINNING = 0x02

MAX_HEADER_BYTES = 262_144
"""Header pages beyond this are no header pages."""


class OggPages:
    """Cut one stream into pages.

    Attributes
    ----------
    headers
        The header pages of the present logical stream.
    """

    def __init__(self) -> None:
        self.headers = b""
        self._held = b""
        self._in_headers = False

    def push(self, piece: bytes) -> list[bytes]:
        """Take the next bytes, and give the pages that are whole now; what is no page is skipped."""
        self._held += piece
        pages: list[bytes] = []
        while (length := self._next_length()) is not None:
            page, self._held = self._held[:length], self._held[length:]
            self._note(page)
            pages.append(page)
        return pages

    def _next_length(self) -> int | None:
        """Give the length of the page at the front; None while it is not whole."""
        begin = self._held.find(_MAGIC)
        # The magic itself may be cut: its first three bytes are worth keeping.
        self._held = self._held[begin:] if begin >= 0 else self._held[-3:]
        if begin < 0 or len(self._held) < _HEAD.size:
            return None
        n_segments = self._held[_HEAD.size - 1]
        if len(self._held) < _HEAD.size + n_segments:
            return None
        length = _HEAD.size + n_segments + sum(self._held[_HEAD.size : _HEAD.size + n_segments])
        return length if len(self._held) >= length else None

    def _note(self, page: bytes) -> None:
        _, _, flags, granule, _ = _HEAD.unpack_from(page)
        if flags & _BEGINNING:
            self.headers, self._in_headers = b"", True
        elif granule != 0 or len(self.headers) > MAX_HEADER_BYTES:
            self._in_headers = False
        if self._in_headers:
            self.headers += page
