"""Playlists that name where a stream is: M3U, PLS, and HLS, which is told from M3U by its tags.

What a playlist says is a stranger's word: entries are looked at up to a bound, and only http and https ones count, so
that none makes the station read a file of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from app_core.base.errors import WireError

MAX_PLAYLIST_BYTES = 64 * 1024
"""Longest playlist that is read."""

MAX_ENTRIES = 32
"""Entries beyond these are not looked at."""

_TYPES = frozenset(
    {
        "audio/x-mpegurl",
        "audio/mpegurl",
        "application/x-mpegurl",
        "application/mpegurl",
        "application/vnd.apple.mpegurl",
        "audio/x-scpls",
        "audio/scpls",
        "application/pls+xml",
    }
)
_SUFFIXES = (".m3u", ".m3u8", ".pls")
_PLS_ENTRY = re.compile(r"File\d+\s*=\s*(.+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Playlist:
    """What a playlist says.

    Attributes
    ----------
    entries
        Addresses of http and https, absolute, in their order.
    refused
        The first entry of another scheme; empty where there is none.
    is_hls
        Whether it lists pieces of one stream, or its variants, rather than streams.
    """

    entries: tuple[str, ...]
    refused: str
    is_hls: bool


def is_playlist(content_type: str, url: str, beginning: bytes) -> bool:
    """Whether an answer is a playlist, by its type, its beginning, or else the address's suffix.

    Parameters
    ----------
    content_type
        As the server says it, without parameters, in small letters.
    url
        Where it was fetched.
    beginning
        Its first bytes, 16 or so.
    """
    if content_type in _TYPES or beginning.lstrip(b"\xef\xbb\xbf \r\n").lower().startswith((b"#extm3u", b"[playlist]")):
        return True
    return urlsplit(url).path.lower().endswith(_SUFFIXES) and not content_type.startswith(("audio/", "video/"))


def is_hls_address(url: str) -> bool:
    """Whether an address looks like one of HLS."""
    return urlsplit(url).path.lower().endswith(".m3u8")


def parse_playlist(content: bytes, base_url: str) -> Playlist:
    """Read a playlist of any of the three kinds.

    Raises
    ------
    WireError
        If it is longer than `MAX_PLAYLIST_BYTES`.
    """
    if len(content) > MAX_PLAYLIST_BYTES:
        raise WireError(f"a playlist of more than {MAX_PLAYLIST_BYTES // 1024} KB")
    lines = [line.strip() for line in content.decode("utf-8", "replace").lstrip("\ufeff").splitlines()]
    lines = [line for line in lines if line]
    if any(line.startswith("#EXT-X-") for line in lines):
        return Playlist((), "", is_hls=True)
    if lines and lines[0].lower() == "[playlist]":
        named = [found[1].strip() for line in lines if (found := _PLS_ENTRY.fullmatch(line))]
    else:
        named = [line for line in lines if not line.startswith("#")]
    entries: list[str] = []
    refused = ""
    for name in named[:MAX_ENTRIES]:
        address = _absolute(name, base_url)
        if address is None:
            refused = refused or name[:100]
        elif address not in entries:
            entries.append(address)
    return Playlist(tuple(entries), refused, is_hls=False)


def _absolute(name: str, base_url: str) -> str | None:
    """Give an entry as an address of http or https; None where it is none."""
    try:
        address = urljoin(base_url, name)
        parts = urlsplit(address)
        if parts.scheme.lower() not in ("http", "https") or not parts.hostname or parts.username is not None:
            return None
    except ValueError:
        return None
    return address
