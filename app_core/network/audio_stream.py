"""From an address that a person gives to bytes of audio: through redirects and playlists, each within bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from app_core.base.errors import LinkError
from app_core.network.http_stream import HttpStream, Login, open_http, origin_of
from app_core.network.playlist import MAX_PLAYLIST_BYTES, is_playlist, parse_playlist

MAX_DEPTH = 3
"""Playlists that may lead to one another."""

MAX_TRIED = 8
"""Entries that are tried in all before it is given up."""

_PAGES = ("text/html", "application/xhtml+xml")


@dataclass(frozen=True, slots=True)
class HlsAddress:
    """A stream in pieces, which FFmpeg fetches itself.

    Attributes
    ----------
    url
        Of its playlist.
    """

    url: str


class StreamFinder:
    """Find the audio behind one address.

    Parameters
    ----------
    login
        For the server of the address itself; no other gets it.
    ca_file, should_stop
        As for `open_http`.
    want_titles
        Ask for SHOUTcast's titles.
    """

    def __init__(
        self,
        *,
        login: Login | None = None,
        ca_file: Path | None = None,
        want_titles: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._login = login
        self._ca_file = ca_file
        self._headers = {"Icy-MetaData": "1"} if want_titles else {}
        self._should_stop = should_stop
        self._n_tried = 0
        self._origin = ("", "", 0)

    def find(self, url: str) -> HttpStream | HlsAddress:
        """Open the stream; where a playlist has several entries, the first that answers.

        Raises
        ------
        LinkError
            If there is none; the text says why in words.
        ConfigError
            As `open_http`.
        """
        self._n_tried = 0
        self._origin = origin_of(url)
        return self._open(url, MAX_DEPTH)

    def _open(self, url: str, depth: int) -> HttpStream | HlsAddress:
        self._n_tried += 1
        login = self._login if origin_of(url) == self._origin else None
        stream = open_http(
            url, login=login, ca_file=self._ca_file, headers=self._headers, should_stop=self._should_stop
        )
        try:
            beginning = stream.peek()
            if not is_playlist(stream.content_type, stream.url, beginning[:64]):
                return _checked(stream, beginning)
            content = stream.read_all(MAX_PLAYLIST_BYTES)
        except BaseException:
            stream.close()
            raise
        stream.close()
        if depth == 0:
            raise LinkError(f"playlists that lead to playlists, more than {MAX_DEPTH} deep")
        if len(content) > MAX_PLAYLIST_BYTES:
            raise LinkError(f"its playlist is longer than {MAX_PLAYLIST_BYTES // 1024} KB")
        playlist = parse_playlist(content, stream.url)
        if playlist.is_hls:
            return HlsAddress(stream.url)
        if not playlist.entries:
            refused = f": {playlist.refused!r} is neither http nor https" if playlist.refused else ""
            raise LinkError(f"its playlist names no stream{refused}")
        return self._first_of(playlist.entries, depth)

    def _first_of(self, entries: tuple[str, ...], depth: int) -> HttpStream | HlsAddress:
        failure: LinkError | None = None
        for entry in entries:
            if failure is not None and (self._n_tried >= MAX_TRIED or self._should_stop()):
                break
            try:
                return self._open(entry, depth - 1)
            except LinkError as error:
                failure = failure or error
        assert failure is not None  # noqa: S101  (there is an entry, and it failed)
        raise failure


def _checked(stream: HttpStream, beginning: bytes) -> HttpStream:
    """Give a stream back that may be audio.

    Raises
    ------
    LinkError
        If it is surely none.
    """
    if stream.content_type in _PAGES or beginning.lstrip()[:15].lower().startswith((b"<!doctype", b"<html")):
        raise LinkError("it is a web page, not audio: give the address of the stream itself")
    if not beginning:
        raise LinkError("the server sends nothing")
    return stream
