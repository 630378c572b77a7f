"""PCM of one source in, an encoded stream out, for ever: FFmpeg with a thread of its own that feeds it.

The thread takes blocks from a `Subscription`, writes them to FFmpeg, and hands on what FFmpeg has written; it waits for
nothing but the next block. When the source says nothing for `STARVED_AFTER_S` it writes silence instead, as many
samples as the clock has gone on, so that a stream stands whatever becomes of its source. An FFmpeg that ends, or says
nothing for `MUTE_AFTER_S`, is replaced; what the source said meanwhile waits in the subscription.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app_core.audio.broadcast_queue import Subscription
from app_core.audio.codecs import CODECS, Codec, encoder_argv
from app_core.audio.ffmpeg_process import ErrorLines, FfmpegProcess
from app_core.audio.ffmpeg_reader import find_ffmpeg
from app_core.base.blocks import PcmBlock
from app_core.base.errors import LifecycleError
from app_core.base.lifecycle import Backoff, Worker

__all__ = ["CODECS", "Codec", "FfmpegEncoder", "encoder_argv", "s16_bytes"]

log = logging.getLogger(__name__)

STARVED_AFTER_S = 1.5
"""Silence of a source after which its stream gets silence: shorter gaps are the network's. [seconds]"""

MUTE_AFTER_S = 10.0
"""Time without output after which a living FFmpeg is replaced. [seconds]"""

_TURN_S = 0.2
"""Longest wait for a block: so often the output is read, and the clock looked at. [seconds]"""

_SILENCE_S = 5.0
"""Longest piece of silence at a time; after a pause of this process the rest follows in the next turns. [seconds]"""

_FULL_WAIT_S = 0.05
"""Wait for an FFmpeg whose pipe is full, as those are that read at the native rate. [seconds]"""

_FLUSH_S = 1.5
"""Time that FFmpeg has to write what it still holds. [seconds]"""

_SETTLED_AFTER_S = 2.0
"""An FFmpeg that has run this long, and written, is taken for well. [seconds]"""


def s16_bytes(pcm: NDArray[np.float32]) -> bytes:
    """Give audio as FFmpeg reads it: signed 16 bits, little-endian, channels in turn.

    Parameters
    ----------
    pcm
        Shape (n,) or (n, n_channels). Beyond ±1 it is clipped, and what is no number becomes silence. [full scale = ±1]
    """
    scaled = pcm * np.float32(32767.0)
    if not math.isfinite(float(scaled.sum())):
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=32767.0, neginf=-32767.0)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32767.0, 32767.0, out=scaled)
    samples: bytes = scaled.astype("<i2").tobytes()
    return samples


class FfmpegEncoder(Worker):
    """Encode one source without end.

    Parameters
    ----------
    name
        Of the stream, for the thread's name and the log.
    codec
        How to encode.
    subscription
        Where the PCM comes from; closed when the encoder stops.
    on_encoded
        Gets every piece of the stream, in this thread. It must not wait and must not raise.
    bitrate_kbps
        None for the codec's own. [kbit/s]
    re_flag
        See `app_core.audio.sources.uses_re_flag`.
    sample_rate_hz, n_channels
        Of the silence before the first block; every block says its own.
    title
        As in `encoder_argv`.
    on_fresh
        Called before the first piece of every FFmpeg: what follows stands alone, with headers of its own.
    starved_after_s
        When silence begins; None for never: then a source that says nothing has a stream that says nothing. [seconds]
    mute_after_s
        When an FFmpeg that writes nothing is replaced. [seconds]

    Attributes
    ----------
    longest_write_s
        Longest time that a write to FFmpeg took. [seconds]
    restarts
        How often FFmpeg ended without being asked.
    """

    def __init__(
        self,
        name: str,
        codec: Codec,
        subscription: Subscription,
        on_encoded: Callable[[bytes], None],
        *,
        bitrate_kbps: int | None = None,
        re_flag: bool = False,
        sample_rate_hz: int = 24000,
        n_channels: int = 1,
        title: str = "",
        on_fresh: Callable[[], None] | None = None,
        starved_after_s: float | None = STARVED_AFTER_S,
        mute_after_s: float = MUTE_AFTER_S,
    ) -> None:
        super().__init__(f"Encoder-{name}")
        self.codec = codec
        self.bitrate_kbps = codec.default_bitrate_kbps if bitrate_kbps is None else bitrate_kbps
        self.re_flag = re_flag
        self.longest_write_s = 0.0
        self.restarts = 0
        self._subscription = subscription
        self._on_encoded = on_encoded
        self._on_fresh = on_fresh
        self._starved_after_s = starved_after_s
        self._mute_after_s = mute_after_s
        self._format = (sample_rate_hz, n_channels)
        self._title = title
        self._anew = threading.Event()
        self._flush_anew = True
        self._ffmpeg: FfmpegProcess | None = None
        self._errors = ErrorLines()
        self._last_error = ""
        self._is_fresh = False
        self._began_s = self._output_s = 0.0
        # What of a block FFmpeg's pipe did not take yet.
        self._pending = memoryview(b"")
        # The source's last sign of life, and the moment up to which the stream has been filled with silence since.
        self._heard_s = float("-inf")
        self._silent_until_s: float | None = None
        self._fed_s = self._silence_s = 0.0
        self._encoded_bytes = 0

    @property
    def pid(self) -> int | None:
        """Process id of FFmpeg; None while there is none."""
        ffmpeg = self._ffmpeg
        return None if ffmpeg is None else ffmpeg.pid

    @property
    def is_starving(self) -> bool:
        """Whether the stream is silence since the source says nothing."""
        return self._silent_until_s is not None

    def start_anew(self, title: str | None = None, *, flush: bool = True) -> None:
        """Have a fresh FFmpeg take over, without loss of audio; for any thread.

        Parameters
        ----------
        title
            Its title; None for the one before.
        flush
            Whether the old one is to write what it still holds.
        """
        if title is not None:
            self._title = title
        self._flush_anew = flush
        self._anew.set()

    def stop(self, timeout_s: float = 5.0) -> None:
        """As `Worker.stop`."""
        self.request_stop()
        self._subscription.close()
        super().stop(timeout_s)

    def run(self, stopping: threading.Event) -> None:
        """Feed FFmpeg, and start it again, until stopped."""
        backoff = Backoff(0.1, 3.0)
        try:
            while not stopping.is_set():
                if self._ffmpeg is None and not self._start():
                    stopping.wait(backoff.next_wait_s())
                    continue
                try:
                    self._turn(stopping)
                except BrokenPipeError:
                    self._take_output()
                    self._bury()
                else:
                    self._look_after()
                if self._ffmpeg is None:
                    stopping.wait(backoff.next_wait_s())
                elif min(self._output_s, time.monotonic()) - self._began_s > _SETTLED_AFTER_S:
                    backoff.reset()
        finally:
            if self._ffmpeg is not None:
                self._ffmpeg.close()
                self._ffmpeg = None
            self._subscription.close()

    def status(self) -> dict[str, Any]:
        """Give how it is."""
        output_s = self._output_s
        return {
            "codec": self.codec.name,
            "bitrate_kbps": self.bitrate_kbps,
            "sample_rate_hz": self._format[0],
            "channels": self._format[1],
            "re_flag": self.re_flag,
            "pid": self.pid,
            "restarts": self.restarts,
            "fed_s": round(self._fed_s, 3),
            "silence_s": round(self._silence_s, 3),
            "starving": self.is_starving,
            "encoded_bytes": self._encoded_bytes,
            "last_output_age_s": round(time.monotonic() - output_s, 3) if output_s else None,
            "longest_write_s": round(self.longest_write_s, 6),
            "last_error": self._last_error,
            "stderr": self._errors.lines,
        }

    def _turn(self, stopping: threading.Event) -> None:
        """Feed what there is, and hand on what came of it."""
        if self._anew.is_set():
            self._anew.clear()
            self._replace(self._flush_anew)
            return
        if self._pending:
            self._write_pending()
            if self._pending:
                stopping.wait(_FULL_WAIT_S)
        elif (block := self._subscription.get(_TURN_S)) is not None:
            self._heard_s = time.monotonic()
            self._silent_until_s = None
            self._feed_block(block)
        else:
            if self._subscription.is_closed:
                # It does not wait any more.
                stopping.wait(_TURN_S)
            self._feed_silence()
        self._take_output()

    def _feed_block(self, block: PcmBlock) -> None:
        n_channels = 1 if block.pcm.ndim == 1 else int(block.pcm.shape[1])
        wanted = (round(block.sample_rate_hz), n_channels)
        if wanted != self._format:
            log.info("%s: the source is now %d Hz, %d channel(s)", self.name, *wanted)
            self._pending = memoryview(b"")
            self._format = wanted
            self._replace(flush=True)
        self._fed_s += len(block.pcm) / block.sample_rate_hz
        self._pending = memoryview(s16_bytes(block.pcm))
        self._write_pending()

    def _feed_silence(self) -> None:
        """Fill the stream up to now, once the source has said nothing for long enough."""
        now_s = time.monotonic()
        if self._starved_after_s is None or now_s - self._heard_s < self._starved_after_s:
            return
        if self._silent_until_s is None:
            # From the last block on, so that who listens has as much in hand as before; from now on when none came yet.
            self._silent_until_s = self._heard_s if math.isfinite(self._heard_s) else now_s - _TURN_S
        rate_hz, n_channels = self._format
        n_samples = int(min(now_s - self._silent_until_s, _SILENCE_S) * rate_hz)
        if n_samples <= 0:
            return
        self._silent_until_s += n_samples / rate_hz
        self._silence_s += n_samples / rate_hz
        self._pending = memoryview(bytes(2 * n_channels * n_samples))
        self._write_pending()

    def _write_pending(self) -> None:
        if self._ffmpeg is None:
            return
        began_s = time.monotonic()
        n_bytes = self._ffmpeg.write(self._pending)
        self.longest_write_s = max(self.longest_write_s, time.monotonic() - began_s)
        self._pending = self._pending[n_bytes:]

    def _take_output(self) -> None:
        if self._ffmpeg is not None:
            self._hand_on(self._ffmpeg.read())

    def _hand_on(self, encoded: bytes) -> None:
        if not encoded:
            return
        if self._is_fresh:
            self._is_fresh = False
            if self._on_fresh is not None:
                self._on_fresh()
        self._output_s = time.monotonic()
        self._encoded_bytes += len(encoded)
        self._on_encoded(encoded)

    def _look_after(self) -> None:
        """Let an FFmpeg go that has ended, or writes nothing although it is fed."""
        if self._ffmpeg is None:
            return
        if self._ffmpeg.has_ended:
            self._bury()
        elif time.monotonic() - max(self._output_s, self._began_s) > self._mute_after_s and self._is_fed():
            self._errors.take(f"no output for {self._mute_after_s:.0f} s; it is replaced\n".encode())
            self._bury()

    def _is_fed(self) -> bool:
        """Whether FFmpeg was given something since it last wrote."""
        return bool(self._pending) or self._starved_after_s is not None or self._heard_s > self._output_s

    def _start(self) -> bool:
        """Start FFmpeg; give whether it could be started."""
        program = find_ffmpeg()
        if program is None:
            self._last_error = "FFmpeg is not installed: apt-get install ffmpeg"
            log.error("%s: %s", self.name, self._last_error)
            return False
        argv = encoder_argv(
            program, self.codec, self.bitrate_kbps, *self._format, re_flag=self.re_flag, title=self._title
        )
        try:
            self._ffmpeg = FfmpegProcess(argv, self._errors)
        except LifecycleError as error:
            self._last_error = str(error)
            log.error("%s: %s", self.name, error)
            return False
        self._began_s = time.monotonic()
        self._is_fresh = True
        self._anew.clear()
        return True

    def _replace(self, flush: bool) -> None:
        """End FFmpeg on purpose, and start the next one; the rest of the old one's stream comes first."""
        if self._ffmpeg is not None:
            if flush:
                self._hand_on(self._ffmpeg.finish(_FLUSH_S))
            self._ffmpeg.close()
            self._ffmpeg = None
        self._drop_part_of_sample()
        self._start()

    def _drop_part_of_sample(self) -> None:
        """Let the next FFmpeg begin with a whole sample: a part of one would make noise of all that follows."""
        n_odd = len(self._pending) % (2 * self._format[1])
        self._pending = self._pending[n_odd:]

    def _bury(self) -> None:
        """Note the end of an FFmpeg that nobody asked to end."""
        ffmpeg = self._ffmpeg
        if ffmpeg is None:
            return
        self._ffmpeg = None
        ffmpeg.close()
        code = ffmpeg.exit_code or 0
        reason = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._last_error = f"FFmpeg {reason}" + (f": {self._errors.last}" if self._errors.last else "")
        self.restarts += 1
        self._drop_part_of_sample()
        log.warning("%s: %s; it is started again", self.name, self._last_error)
