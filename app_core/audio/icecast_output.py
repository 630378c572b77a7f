"""One source on one Icecast mount: an encoder, and a sender that keeps the connection for ever.

The two meet in a backlog of encoded audio, bounded in seconds, so that neither waits for the other: a server that is
frozen or gone costs the listeners of this mount what they could not have heard anyway, and nobody else anything. FFmpeg
may be replaced while the connection stands, and the connection while FFmpeg goes on; only an Ogg stream, which begins
with headers, is begun anew with every connection.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from app_core.audio.broadcast_queue import ICECAST_LONGEST_S, BroadcastQueue
from app_core.audio.codecs import Codec
from app_core.audio.encoder import STARVED_AFTER_S, FfmpegEncoder
from app_core.audio.sources import AudioSource, uses_re_flag
from app_core.base.errors import LifecycleError, LinkError
from app_core.base.lifecycle import Backoff, Worker
from app_core.network.icecast_server import IcecastRefusedError, IcecastServer, one_line
from app_core.network.icecast_source import IcecastSource, MountDescription

log = logging.getLogger(__name__)

RETRY_LONGEST_S = 2.0
"""Longest wait between two tries: a server that comes back has its mounts soon after. [seconds]"""

PERSON_RETRY_LONGEST_S = 30.0
"""The same where a person has to mend something first, such as a password. [seconds]"""

SEND_TIMEOUT_S = 8.0
"""A server that takes nothing for so long is left, and tried again. [seconds]"""

STOP_TIMEOUT_S = 1.5
"""Time in which a mount's threads end. One that waits for the resolver of names is left behind. [seconds]"""


@dataclass(frozen=True, slots=True)
class MountPlan:
    """What one mount is to be.

    Attributes
    ----------
    mount
        Its path.
    listen_url
        Where people hear it.
    codec, bitrate_kbps
        How it is encoded.
    name, description, genre, public
        What the server is told.
    title
        What listeners see while there is no alert.
    sample_rate_hz, n_channels
        Of the source, as far as that is known before its first audio.
    longest_queue_s
        Audio, and encoded audio, that may wait. [seconds]
    """

    mount: str
    listen_url: str
    codec: Codec
    bitrate_kbps: int
    name: str
    title: str
    description: str = ""
    genre: str = ""
    public: bool = False
    sample_rate_hz: int = 24000
    n_channels: int = 1
    longest_queue_s: float = ICECAST_LONGEST_S

    def description_for_server(self) -> MountDescription:
        """Give what the server is told."""
        return MountDescription(
            self.mount,
            self.codec.content_type,
            name=self.name,
            description=self.description,
            genre=self.genre,
            url=self.listen_url,
            public=self.public,
            bitrate_kbps=self.bitrate_kbps,
        )


class EncodedBacklog:
    """Encoded audio on its way to a connection; what is older than a limit goes, and is counted.

    Encoded audio comes at the pace of time, so the age of a piece is also the audio that waits behind it.

    Parameters
    ----------
    longest_s
        [seconds]
    """

    def __init__(self, longest_s: float) -> None:
        self.longest_s = longest_s
        self.dropped_bytes = 0
        self.dropped_s = 0.0
        self._pieces: deque[tuple[bytes, float]] = deque()
        self._bytes = 0
        self._filled = threading.Condition(threading.Lock())

    def put(self, encoded: bytes) -> bool:
        """Append a piece; give whether older ones had to go."""
        now_s = time.monotonic()
        dropped = False
        with self._filled:
            self._pieces.append((encoded, now_s))
            self._bytes += len(encoded)
            while len(self._pieces) > 1 and now_s - self._pieces[0][1] > self.longest_s:
                lost, came_s = self._pieces.popleft()
                self._bytes -= len(lost)
                self.dropped_bytes += len(lost)
                self.dropped_s += max(0.0, self._pieces[0][1] - came_s)
                dropped = True
            self._filled.notify()
        return dropped

    def take(self, timeout_s: float) -> bytes:
        """Take all that waits, waiting for some no longer than `timeout_s`."""
        with self._filled:
            if not self._pieces:
                self._filled.wait(timeout_s)
            pieces = [encoded for encoded, _ in self._pieces]
            self._pieces.clear()
            self._bytes = 0
        return b"".join(pieces)

    def clear(self) -> None:
        """Let go what waits."""
        with self._filled:
            self._pieces.clear()
            self._bytes = 0

    def status(self) -> dict[str, Any]:
        """Give depth and drops."""
        with self._filled:
            depth_s = time.monotonic() - self._pieces[0][1] if self._pieces else 0.0
            return {
                "depth_s": round(depth_s, 3),
                "bytes": self._bytes,
                "dropped_bytes": self.dropped_bytes,
                "dropped_s": round(self.dropped_s, 3),
            }


class IcecastStreamer:
    """One mount.

    Parameters
    ----------
    server
        Where, and as whom.
    source
        What is heard; its kind decides about ``-re``.
    queue
        Its audio.
    plan
        What the mount is to be.
    starved_after_s
        As in `FfmpegEncoder`.

    Attributes
    ----------
    listeners
        By the server's word; None while it does not tell.
    title_error, listeners_error
        Why the server does not show the title, or does not tell the listeners; empty while it does.
    """

    def __init__(
        self,
        server: IcecastServer,
        source: AudioSource,
        queue: BroadcastQueue,
        plan: MountPlan,
        *,
        starved_after_s: float = STARVED_AFTER_S,
    ) -> None:
        self.source = source
        self.plan = plan
        self.listeners: int | None = None
        self.title_error = self.listeners_error = ""
        self._lock = threading.Lock()
        self._title = plan.title
        self._told_title: str | None = None
        self._subscription = queue.subscribe(f"icecast {plan.mount}", plan.longest_queue_s)
        self._backlog = EncodedBacklog(plan.longest_queue_s)
        # An Ogg stream must not go on before its headers have gone.
        self._needs_headers = plan.codec.is_ogg
        self._has_hole = False
        self.encoder = FfmpegEncoder(
            source.config.id,
            plan.codec,
            self._subscription,
            self._take_encoded,
            bitrate_kbps=plan.bitrate_kbps,
            re_flag=uses_re_flag(source),
            sample_rate_hz=plan.sample_rate_hz,
            n_channels=plan.n_channels,
            title=plan.title,
            on_fresh=self._begin_fresh,
            starved_after_s=starved_after_s,
        )
        self.sender = _Sender(self, server, self._backlog)

    @property
    def is_alive(self) -> bool:
        """Whether both threads run."""
        return self.encoder.is_alive and self.sender.is_alive

    @property
    def is_connected(self) -> bool:
        """Whether the server has taken the mount."""
        return self.sender.connected_s is not None

    @property
    def failure(self) -> BaseException | None:
        """What ended one of the threads."""
        return self.encoder.failure or self.sender.failure

    @property
    def title(self) -> str:
        """What listeners are to see."""
        return self._title

    def start(self) -> None:
        """Connect and encode."""
        self.sender.start()
        self.encoder.start()

    def request_stop(self) -> None:
        """Ask both threads to end, without waiting."""
        self.sender.request_stop()
        self.encoder.request_stop()
        self._subscription.close()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """End both threads."""
        self.request_stop()
        until_s = time.monotonic() + timeout_s
        for worker in (self.encoder, self.sender):
            try:
                worker.stop(max(0.1, until_s - time.monotonic()))
            except LifecycleError as error:
                log.warning("%s", error)

    def set_title(self, title: str) -> None:
        """Have listeners shown a title. In an Ogg stream it begins with a fresh chain."""
        title = one_line(title)
        if title == self._title:
            return
        self._title = title
        if self.plan.codec.is_ogg:
            self.encoder.start_anew(title)

    @property
    def untold_title(self) -> str | None:
        """The title that the server has not been told yet over this connection; None when there is nothing to tell."""
        if self.plan.codec.is_ogg or not self.is_connected or self._told_title == self._title:
            return None
        return self._title

    def note_told(self, title: str) -> None:
        """Note that the server has taken a title."""
        self._told_title = title
        self.title_error = ""

    def status(self) -> dict[str, Any]:
        """Give how it is."""
        sender = self.sender.status()
        if (failure := self.failure) is not None:
            sender["error"] = f"its thread has died and is started again: {str(failure) or type(failure).__name__}"
        return {
            "mount": self.plan.mount,
            "url": self.plan.listen_url,
            "source": self.source.source_name,
            "title": self._title,
            "listeners": self.listeners if self.is_connected else None,
            "admin_error": (self.title_error or self.listeners_error) if self.is_connected else "",
            **sender,
            "backlog": self._backlog.status(),
            "queue": self._subscription.status(),
            "encoder": self.encoder.status(),
        }

    def note_connected(self) -> None:
        """Begin the stream over a new connection; called by the sender."""
        self._told_title = None
        if self.plan.codec.is_ogg:
            with self._lock:
                self._needs_headers = True
                self._has_hole = False
                self._backlog.clear()
            self.encoder.start_anew(flush=False)

    def _begin_fresh(self) -> None:
        with self._lock:
            self._needs_headers = False

    def _take_encoded(self, encoded: bytes) -> None:
        with self._lock:
            if self.plan.codec.is_ogg and (self._needs_headers or not self.is_connected):
                return
            if self._backlog.put(encoded) and self.plan.codec.is_ogg:
                # What follows a hole cannot be decoded for sure: the chain begins anew once the server takes it.
                self._backlog.clear()
                self._needs_headers = self._has_hole = True

    def mend_chain(self) -> None:
        """Begin an Ogg chain anew after a hole; called by the sender when the server takes audio again."""
        if self._has_hole:
            self._has_hole = False
            self.encoder.start_anew(flush=False)


class _Sender(Worker):
    """Keep one connection to the server, for ever."""

    def __init__(self, streamer: IcecastStreamer, server: IcecastServer, backlog: EncodedBacklog) -> None:
        super().__init__(f"Icecast-{streamer.source.config.id}")
        self._streamer = streamer
        self._server = server
        self._backlog = backlog
        self._method = ""
        self._sent_bytes = 0
        self._connections = 0
        self._tries = 0
        self._error = self._last_error = ""
        self._last_error_at: float | None = None
        self._connected_since: float | None = None
        self.connected_s: float | None = None

    def run(self, stopping: threading.Event) -> None:
        """Connect, send, connect again."""
        soon, later = Backoff(0.2, RETRY_LONGEST_S), Backoff(2.0, PERSON_RETRY_LONGEST_S)
        while not stopping.is_set():
            wait_s = 0.0
            try:
                self._serve(stopping)
            except IcecastRefusedError as error:
                wait_s = (later if error.needs_person else soon).next_wait_s()
                self._note_error(str(error))
            except LinkError as error:
                if self.connected_s is not None and time.monotonic() - self.connected_s > RETRY_LONGEST_S:
                    soon.reset()
                    later.reset()
                wait_s = soon.next_wait_s()
                if not stopping.is_set():
                    self._note_error(str(error))
            self.connected_s = self._connected_since = None
            stopping.wait(wait_s)

    def status(self) -> dict[str, Any]:
        """Give how the connection is."""
        connected_s = self.connected_s
        return {
            "connected": connected_s is not None,
            "connected_since": self._connected_since,
            "connected_s": None if connected_s is None else round(time.monotonic() - connected_s, 1),
            "method": self._method,
            "sent_bytes": self._sent_bytes,
            "connections": self._connections,
            "tries": self._tries,
            "error": self._error,
            "last_error": self._last_error,
            "last_error_at": self._last_error_at,
        }

    def _serve(self, stopping: threading.Event) -> None:
        source = IcecastSource(
            self._server, self._streamer.plan.description_for_server(), stopping, timeout_s=SEND_TIMEOUT_S
        )
        self._tries += 1
        try:
            source.connect()
            self._method = source.method
            self._connections += 1
            self.connected_s, self._connected_since = time.monotonic(), time.time()
            log.info("%s is on the air at %s", self._streamer.source.config.id, self._streamer.plan.listen_url)
            self._error = ""
            self._streamer.note_connected()
            while not stopping.is_set():
                encoded = self._backlog.take(0.5)
                if encoded:
                    source.send(encoded)
                    self._sent_bytes += len(encoded)
                self._streamer.mend_chain()
        finally:
            source.close()

    def _note_error(self, text: str) -> None:
        if text != self._error:
            log.warning("%s: %s", self._streamer.source.config.id, text)
        self._error = self._last_error = text
        self._last_error_at = time.time()
