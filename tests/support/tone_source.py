"""A source of audio for a test: a tone in real time, which may fall silent, change its rate, or go to Redis."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app_core.base.blocks import PcmBlock
from app_core.base.child import run_quietly
from app_core.base.lifecycle import Worker
from tests.support.programs import require_program

TONE_HZ = 1000.0
BLOCK_S = 0.1
DECODED_HZ = 48_000


class ToneSource(Worker):
    """Give a tone at the pace of the clock.

    Parameters
    ----------
    put
        Takes each block.
    sample_rate_hz, n_channels
        Of the audio; `change` changes them while it runs.
    frequency_hz
        Of the tone.
    """

    def __init__(
        self,
        put: Callable[[PcmBlock], None],
        *,
        sample_rate_hz: int = 24_000,
        n_channels: int = 1,
        frequency_hz: float = TONE_HZ,
    ) -> None:
        super().__init__("ToneSource")
        self._put = put
        self._format = (sample_rate_hz, n_channels)
        self._frequency_hz = frequency_hz
        self.is_silent = False
        self.given_s = 0.0

    def change(self, sample_rate_hz: int, n_channels: int) -> None:
        """Go on at another rate, from the next block on."""
        self._format = (sample_rate_hz, n_channels)

    def run(self, stopping: threading.Event) -> None:
        """Give blocks until stopped."""
        epoch = time.time_ns()
        began_s, elapsed_s, first_sample = time.monotonic(), 0.0, 0
        was = self._format
        while not stopping.wait(max(0.0, began_s + elapsed_s + BLOCK_S - time.monotonic())):
            elapsed_s += BLOCK_S
            if self._format != was:
                was, epoch, first_sample = self._format, time.time_ns(), 0
            rate_hz, n_channels = was
            n = round(rate_hz * BLOCK_S)
            if not self.is_silent:
                self.given_s += BLOCK_S
                self._put(self._block(first_sample, n, rate_hz, n_channels, epoch))
            first_sample += n

    def _block(self, first_sample: int, n: int, rate_hz: int, n_channels: int, epoch: int) -> PcmBlock:
        place = (first_sample + np.arange(n)) * (self._frequency_hz / rate_hz) % 1.0
        pcm: NDArray[np.float32] = (0.5 * np.sin(2.0 * np.pi * place)).astype(np.float32)
        if n_channels == 2:
            pcm = np.stack([pcm, pcm], axis=1)
        return PcmBlock(pcm, float(rate_hz), first_sample, time.time(), epoch)


def decode_stream(encoded: bytes) -> NDArray[np.float32]:
    """Have FFmpeg decode what a listener got: shape (n,), at `DECODED_HZ`."""
    argv = [require_program("ffmpeg"), "-v", "quiet", "-i", "pipe:0", "-f", "f32le", "-ac", "1"]
    decoded = run_quietly([*argv, "-ar", str(DECODED_HZ), "pipe:1"], timeout_s=60.0, stdin=encoded)
    assert decoded is not None, f"FFmpeg cannot decode these {len(encoded)} bytes"
    return np.frombuffer(decoded, dtype="<f4")


def loudness_of(audio: NDArray[np.float32]) -> float:
    """Give the root of the mean square; 0 for nothing."""
    return float(np.sqrt(np.mean(np.square(audio)))) if len(audio) else 0.0
