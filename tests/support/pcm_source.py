"""A source of PCM in real time, as the decode job publishes it, and what an ear makes of a stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from app_core.audio.broadcast_queue import BroadcastQueue
from app_core.base.blocks import PcmBlock
from app_core.base.child import run_quietly
from tests.support.programs import require_program

BLOCK_S = 0.05


class PcmFeed:
    """The queues of any number of channels, as the stream job has them."""

    def __init__(self) -> None:
        self.queues: dict[str, BroadcastQueue] = {}

    def queue(self, channel_id: str) -> BroadcastQueue:
        """Give the queue of one channel."""
        return self.queues.setdefault(channel_id, BroadcastQueue(channel_id))


class ToneSource(threading.Thread):
    """Puts a sine into a queue, block by block, when each is due.

    Attributes
    ----------
    muted
        While it is set, nothing is put.
    """

    def __init__(
        self,
        queue: BroadcastQueue,
        *,
        frequency_hz: float = 1000.0,
        sample_rate_hz: int = 24_000,
        n_channels: int = 1,
        amplitude: float = 0.5,
    ) -> None:
        super().__init__(daemon=True)
        self._queue = queue
        self._step = 2.0 * np.pi * frequency_hz / sample_rate_hz
        self._rate_hz = sample_rate_hz
        self._n_channels = n_channels
        self._amplitude = amplitude
        self._closing = threading.Event()
        self.muted = threading.Event()

    def block(self, number: int) -> PcmBlock:
        """Give one block of `BLOCK_S`."""
        size = round(BLOCK_S * self._rate_hz)
        first = number * size
        pcm = (self._amplitude * np.sin(self._step * np.arange(first, first + size))).astype(np.float32)
        if self._n_channels == 2:
            pcm = np.stack([pcm, pcm], axis=1)
        return PcmBlock(pcm, float(self._rate_hz), first, time.time() - BLOCK_S, 1)

    def run(self) -> None:
        """Put until closed."""
        began_s = time.monotonic()
        number = 0
        while not self._closing.wait(max(0.0, began_s + (number + 1) * BLOCK_S - time.monotonic())):
            if not self.muted.is_set():
                self._queue.put(self.block(number))
            number += 1

    def close(self) -> None:
        """End."""
        self._closing.set()
        self.join(10.0)


@contextmanager
def tone(queue: BroadcastQueue, **what: float) -> Iterator[ToneSource]:
    """Have a sine in a queue for the length of a block; the words are those of `ToneSource`."""
    source = ToneSource(queue, **what)  # type: ignore[arg-type]
    source.start()
    try:
        yield source
    finally:
        source.close()


def decode_stream(stream: bytes, sample_rate_hz: int = 48_000) -> NDArray[np.float32]:
    """Decode any encoded audio with FFmpeg; shape (n,). [full scale = ±1]"""
    argv = [require_program("ffmpeg"), "-v", "error", "-i", "pipe:0", "-ac", "1", "-ar", str(sample_rate_hz)]
    output = run_quietly([*argv, "-f", "f32le", "pipe:1"], timeout_s=60.0, stdin=stream)
    return np.frombuffer(output or b"", "<f4")


def frequency_of(pcm: NDArray[np.float32], sample_rate_hz: float = 48_000.0) -> float:
    """Count the frequency of a sine by the slope of its phase, over all of `pcm` but its first and last tenth. [Hz]"""
    kept = pcm[len(pcm) // 10 : -len(pcm) // 10].astype(np.float64)
    spectrum = np.fft.rfft(kept * np.hanning(len(kept)))
    peak = int(np.argmax(np.abs(spectrum[1:]))) + 1
    rough_hz = peak * sample_rate_hz / len(kept)
    mixed = kept * np.exp(-2j * np.pi * rough_hz / sample_rate_hz * np.arange(len(kept)))
    # Sums over tenths of a second: what stands at twice the frequency averages out.
    size = max(1, int(0.1 * sample_rate_hz))
    n_sums = len(mixed) // size
    phase = np.unwrap(np.angle(mixed[: n_sums * size].reshape(n_sums, size).mean(axis=1)))
    slope = np.polyfit(np.arange(n_sums), phase, 1)[0]
    return float(rough_hz + slope / (2.0 * np.pi * size / sample_rate_hz))


def entries_of(*channel_ids: str) -> Mapping[str, Mapping[str, object]]:
    """Give what ``audio:metrics`` says of channels that are well."""
    return {channel_id: {"name": f"Channel {channel_id}", "running": True, "mode": "nfm"} for channel_id in channel_ids}
