"""One channel in one format for any number of listeners over HTTP: encoded once, queued for each.

An encoder runs only while somebody listens. Whoever joins gets what a stream of that format must begin with (the header
pages of Ogg, the header of WAV), and from then on what everybody gets. A listener's queue is bounded in seconds: who
does not read loses the oldest pieces, which are counted, and touches nobody else.

Threads: the encoder's thread puts pieces; the loop of asyncio takes them. A `LiveStream` is joined and left in the
loop alone.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from app_core.audio.broadcast_queue import BroadcastQueue, Subscription
from app_core.audio.codecs import MP3, OPUS, Codec
from app_core.audio.encoder import STARVED_AFTER_S, FfmpegEncoder, s16_bytes
from app_core.base.blocks import PcmBlock
from app_core.base.lifecycle import Worker
from app_core.base.ogg_pages import OggPages

log = logging.getLogger(__name__)

MAX_QUEUED_BYTES = 1_048_576
"""What one queue may hold, whatever its seconds."""

_TURN_S = 0.1
_ENDLESS = 0xFFFFFFFF
"""A length that a WAV header gives for a stream without end."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to listen.

    Attributes
    ----------
    extension
        Of the address, without a dot.
    content_type
        What HTTP calls it.
    codec
        How FFmpeg encodes it; None for PCM as it is.
    """

    extension: str
    content_type: str
    codec: Codec | None


FORMATS = {
    each.extension: each
    for each in (
        Format("mp3", "audio/mpeg", MP3),
        Format("opus", "audio/ogg; codecs=opus", OPUS),
        Format("wav", "audio/wav", None),
    )
}


def wav_header(sample_rate_hz: int, n_channels: int) -> bytes:
    """Give the 44 bytes before 16-bit samples without end: both lengths say "unknown", as FFmpeg writes them too."""
    frame = 2 * n_channels
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", _ENDLESS, b"WAVE", b"fmt ", 16, 1, n_channels, sample_rate_hz, sample_rate_hz * frame, frame, 16,
        b"data", _ENDLESS,
    )  # fmt: skip


class Listener:
    """The queue of one listener.

    Parameters
    ----------
    longest_s
        Age at which a piece that waits is dropped. [seconds]

    Attributes
    ----------
    sent_bytes, dropped_count
        What was taken, and how many pieces went unheard.
    joined
        When. [UTC seconds]
    """

    def __init__(self, longest_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._pieces: deque[tuple[bytes, float]] = deque()
        self._queued_bytes = 0
        self._filled = asyncio.Event()
        self._ended = False
        self.sent_bytes = 0
        self.dropped_count = 0
        self.joined = time.time()

    @property
    def depth_bytes(self) -> int:
        """What waits."""
        return self._queued_bytes

    def put(self, piece: bytes) -> None:
        """Append a piece; for any thread, and never waits."""
        now_s = time.monotonic()
        with self._lock:
            if self._ended:
                return
            self._pieces.append((piece, now_s))
            self._queued_bytes += len(piece)
            while len(self._pieces) > 1 and (
                now_s - self._pieces[0][1] > self._longest_s or self._queued_bytes > MAX_QUEUED_BYTES
            ):
                self._queued_bytes -= len(self._pieces.popleft()[0])
                self.dropped_count += 1
        self._wake()

    def end(self) -> None:
        """Give no more than what waits; for any thread."""
        self._ended = True
        self._wake()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give everything that waits, joined, again and again, until the end."""
        while True:
            await self._filled.wait()
            with self._lock:
                self._filled.clear()
                piece = b"".join(piece for piece, _ in self._pieces)
                self._pieces.clear()
                self._queued_bytes = 0
            if piece:
                self.sent_bytes += len(piece)
                yield piece
            elif self._ended:
                return
            if self._ended:
                self._filled.set()

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._filled.set)
        except RuntimeError:
            return  # the loop has ended, and nobody takes any more

    def status(self) -> dict[str, Any]:
        """Give how it fares."""
        return {
            "joined": self.joined,
            "sent_bytes": self.sent_bytes,
            "queued_bytes": self.depth_bytes,
            "dropped_count": self.dropped_count,
        }


class Encoding(Protocol):
    """What makes the pieces of a stream in a thread of its own."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        ...

    def start(self) -> None:
        """Start it."""
        ...

    def request_stop(self) -> None:
        """Ask it to end."""
        ...

    def status(self) -> dict[str, Any]:
        """Give how it is."""
        ...


class WavWriter(Worker):
    """PCM of one source as the rest of a WAV file, silence included where the source says nothing.

    Parameters
    ----------
    name
        Of the stream.
    subscription
        Where the PCM comes from; closed at the end.
    on_header, on_encoded
        Get the header when the first block is there, and everything after it, in this thread.
    """

    def __init__(
        self,
        name: str,
        subscription: Subscription,
        on_header: Callable[[bytes], None],
        on_encoded: Callable[[bytes], None],
    ) -> None:
        super().__init__(f"Wav-{name}")
        self._subscription = subscription
        self._on_header = on_header
        self._on_encoded = on_encoded
        self._format: tuple[int, int] | None = None
        self._until_s = 0.0
        self._silence_s = 0.0

    def run(self, stopping: threading.Event) -> None:
        """Write until stopped, or until the source becomes another, which no WAV file can say."""
        try:
            while not stopping.is_set():
                block = self._subscription.get(_TURN_S)
                if block is None:
                    self._fill(time.monotonic())
                elif not self._take(block):
                    return
        finally:
            self._subscription.close()

    def _take(self, block: PcmBlock) -> bool:
        found = (round(block.sample_rate_hz), 1 if block.pcm.ndim == 1 else int(block.pcm.shape[1]))
        if self._format is None:
            self._format = found
            self._on_header(wav_header(*found))
        elif found != self._format:
            log.info("%s: the source is now %d Hz, %d channel(s), and the stream ends", self.name, *found)
            return False
        self._until_s = time.monotonic()
        self._on_encoded(s16_bytes(block.pcm))
        return True

    def _fill(self, now_s: float) -> None:
        """Write as much silence as the clock has gone on, once the source has been silent for long enough."""
        if self._format is None or (now_s - self._until_s < STARVED_AFTER_S and not self._silence_s):
            return
        rate_hz, n_channels = self._format
        n_samples = int((now_s - self._until_s) * rate_hz)
        self._until_s += n_samples / rate_hz
        self._silence_s += n_samples / rate_hz
        self._on_encoded(bytes(2 * n_channels * n_samples))

    def status(self) -> dict[str, Any]:
        """Give how it is."""
        return {"codec": "wav", "silence_s": round(self._silence_s, 3)}


class LiveStream:
    """One channel in one format.

    Parameters
    ----------
    channel_id, form
        Of the stream.
    queue
        Of the channel's audio.
    longest_s
        Bound of the queues, that of the audio and that of each listener. [seconds]
    bitrate_kbps
        None for the codec's own. [kbit/s]
    re_flag
        See `app_core.audio.sources.uses_re_flag`.
    """

    def __init__(
        self,
        channel_id: str,
        form: Format,
        queue: BroadcastQueue,
        longest_s: float,
        *,
        bitrate_kbps: int | None = None,
        re_flag: bool = False,
    ) -> None:
        self.name = f"{channel_id}.{form.extension}"
        self._longest_s = longest_s
        self._lock = threading.Lock()
        # Replaced as a whole, never changed, so that the encoder's thread goes through it without a lock.
        self._listeners: tuple[Listener, ...] = ()
        self._header = b""
        self._pages = OggPages() if form.codec is not None and form.codec.is_ogg else None
        subscription = queue.subscribe(f"listen {self.name}", longest_s)
        self._encoding: Encoding
        if form.codec is None:
            self._encoding = WavWriter(self.name, subscription, self._take_header, self._take)
        else:
            self._encoding = FfmpegEncoder(
                f"listen-{self.name}", form.codec, subscription, self._take, bitrate_kbps=bitrate_kbps, re_flag=re_flag
            )
        self._encoding.start()

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """Who listens."""
        return self._listeners

    @property
    def is_alive(self) -> bool:
        """Whether it is being encoded."""
        return self._encoding.is_alive

    def join(self) -> Listener:
        """Begin to listen; in the loop."""
        listener = Listener(self._longest_s)
        with self._lock:
            header = self._header if self._pages is None else self._pages.headers
            if header:
                listener.put(header)
            self._listeners = (*self._listeners, listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """Listen no more."""
        listener.end()
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

    def end(self) -> None:
        """Stop encoding, without waiting, and let all listeners go."""
        self._encoding.request_stop()
        for listener in self._listeners:
            listener.end()

    def status(self) -> dict[str, Any]:
        """Give who listens, and how it is encoded."""
        return {"listeners": [each.status() for each in self._listeners], "encoder": self._encoding.status()}

    def _take_header(self, header: bytes) -> None:
        with self._lock:
            self._header = header
            self._put(header)

    def _take(self, piece: bytes) -> None:
        with self._lock:
            if self._pages is not None:
                piece = b"".join(self._pages.push(piece))
            if piece:
                self._put(piece)

    def _put(self, piece: bytes) -> None:
        for listener in self._listeners:
            listener.put(piece)
