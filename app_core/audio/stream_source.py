"""Network streams as sources. FFmpeg decodes them with ``-re``; the bytes of a HTTP stream are fetched here.

Why fetched here: a password is in no list of processes, TLS is verified, titles are read, a server that is silent is
told from one that is gone, and what FFmpeg may open is its standard input alone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from urllib.parse import urlsplit

from app_core.audio.ingest_argv import hls_argv, stream_argv
from app_core.audio.ingest_child import IngestChild
from app_core.audio.ingest_config import StreamSettings
from app_core.audio.ingest_source import BlockSink, IngestSource
from app_core.audio.sources import AudioSourceType, uses_re_flag
from app_core.base.errors import LinkError
from app_core.base.secret_file import exposure
from app_core.base.telemetry import RateLimitedLog
from app_core.network.audio_stream import HlsAddress, StreamFinder
from app_core.network.http_stream import HttpStream, Login
from app_core.network.icy import IcyDemux

log = logging.getLogger(__name__)

TITLE_EVERY_S = 60.0
"""Shortest time between two titles of one stream in the log, however often a stranger changes them. [seconds]"""

STALL_S = 10.0
"""Time without a byte after which a stream is opened again, once what came before is played. [seconds]"""

DRY_S = 2.0
"""Time without audio after which nothing of what came before is left in FFmpeg. [seconds]"""


class StreamSourceAdapter(IngestSource):
    """A stream in pieces (HLS), which FFmpeg fetches itself; base of the others.

    Parameters
    ----------
    settings
        Its table.
    sink
        Takes its audio.
    """

    def __init__(self, settings: StreamSettings, sink: BlockSink) -> None:
        super().__init__(settings, AudioSourceType.STREAM, sink)
        self._settings = settings
        self._hls_url = settings.url

    @property
    def address(self) -> str:
        """As `IngestSource.address`: without the query, which may hold a key."""
        return urlsplit(self._settings.url)._replace(query="", fragment="").geturl()

    def _argv(self, program: str) -> Sequence[str]:
        return hls_argv(program, self.sample_rate_hz, self._hls_url, re_flag=uses_re_flag(self))


class HTTPIngestSource(StreamSourceAdapter):
    """A stream by HTTP: one answer without an end."""

    want_titles = False

    def __init__(self, settings: StreamSettings, sink: BlockSink) -> None:
        super().__init__(settings, sink)
        self._login: Login | None = None
        if settings.username is not None and settings.password_file is not None:
            self._login = Login(settings.username, settings.password_file)
            if reason := exposure(settings.password_file):
                log.warning("%s: %s", settings.id, reason)
        self._feeder: _Feeder | None = None
        self._title_log = RateLimitedLog(log, TITLE_EVERY_S)

    def stream_argv(self, program: str) -> list[str]:
        """Give the arguments of the FFmpeg that decodes what is fetched here."""
        return stream_argv(program, self.sample_rate_hz, re_flag=uses_re_flag(self))

    def _listen(self, stopping: threading.Event) -> None:
        program = self._program()
        give_up = threading.Event()
        finder = StreamFinder(
            login=self._login,
            ca_file=self._settings.ca_file,
            want_titles=self.want_titles,
            should_stop=lambda: give_up.is_set() or stopping.is_set(),
        )
        found = finder.find(self._settings.url)
        if isinstance(found, HlsAddress):
            self._listen_to_hls(found, stopping)
            return
        stream = found
        try:
            with IngestChild(self.stream_argv(program), with_input=True) as child:
                self._listen_to(stream, child, stopping, give_up)
        finally:
            stream.close()

    def _listen_to_hls(self, found: HlsAddress, stopping: threading.Event) -> None:
        if self._login is not None or self._settings.ca_file is not None:
            raise LinkError("it is a stream in pieces (HLS), which takes no password_file and no ca_file")
        self._hls_url = found.url
        super()._listen(stopping)

    def _listen_to(
        self, stream: HttpStream, child: IngestChild, stopping: threading.Event, give_up: threading.Event
    ) -> None:
        self._title = stream.name
        self._feeder = feeder = _Feeder(self, stream, child, give_up)
        feeder.thread.start()
        try:
            self._hear(child, stopping)
        finally:
            # It looks up several times a second, whatever it waits for.
            give_up.set()
            feeder.thread.join()
            self._feeder = None
        if stopping.is_set():
            return
        if feeder.is_at_end and self._heard_samples:
            raise LinkError(feeder.reason or "the server ended the stream")
        raise LinkError(self._reason_of(child) or feeder.reason or "there was no audio in it")

    def _check(self, silent_s: float) -> None:
        feeder = self._feeder
        if feeder is not None and silent_s > DRY_S and feeder.stalled_s > STALL_S:
            raise LinkError(f"the stream stalls: not a byte for {STALL_S:.0f} s")

    def note_bytes(self, n_bytes: int, title: str) -> None:
        """Take in what was fetched; called by the thread that feeds FFmpeg."""
        self.n_bytes += n_bytes
        if title and title != self._title:
            self._title = title
            self._title_log.info("title", "%s: title %r", self.config.id, title)


class IcecastIngestSource(HTTPIngestSource):
    """A stream of Icecast or SHOUTcast: one by HTTP that has titles."""

    want_titles = True


class _Feeder:
    """Fetch a stream into FFmpeg's standard input, in a thread of its own.

    The pipe holds it back where FFmpeg reads at the native rate, and TCP the server behind it: no queue stands between.

    Attributes
    ----------
    reason
        Why nothing more came; empty where the server ended the stream.
    is_at_end
        Whether nothing more comes, and FFmpeg has all that came.
    """

    def __init__(
        self, source: HTTPIngestSource, stream: HttpStream, child: IngestChild, give_up: threading.Event
    ) -> None:
        self.reason = ""
        self.is_at_end = False
        self._give_up = give_up
        self._is_fetching = False
        self._source = source
        self._stream = stream
        self._child = child
        self.thread = threading.Thread(target=self._feed, name=f"Feeder-{source.config.id}", daemon=True)

    @property
    def stalled_s(self) -> float:
        """Time for which it has waited for the server; 0 while it waits for FFmpeg. [seconds]"""
        return self._stream.silent_s if self._is_fetching else 0.0

    def _feed(self) -> None:
        demux = IcyDemux(self._stream.title_interval)
        try:
            while piece := self._fetch():
                audio = demux.push(piece)
                self._source.note_bytes(len(piece), demux.title)
                self._child.write(audio, self._give_up.is_set)
            self.is_at_end = True
        except LinkError as error:
            self.reason = str(error)
        finally:
            self._child.end_input()

    def _fetch(self) -> bytes:
        """Give the next piece; empty at the end, and where the connection broke: what came before is still played."""
        self._is_fetching = True
        try:
            return self._stream.read()
        except LinkError as error:
            self.reason = str(error)
            return b""
        finally:
            self._is_fetching = False
