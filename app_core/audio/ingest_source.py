"""The base of streams, sound cards and files: a source of audio that FFmpeg decodes, its life and its status.

One worker thread per source starts FFmpeg, reads what it decodes, and hands blocks on in the same thread. Whatever ends
a life (the network, the server, FFmpeg) is said in words, and after a pause that grows from one failure to the next
another life begins, for ever. Each is a `PcmBlock.config_epoch` of its own, with samples counted from 0.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from app_core.audio.arrival_clock import ArrivalClock
from app_core.audio.ffmpeg_reader import find_ffmpeg
from app_core.audio.ingest_child import IngestChild
from app_core.audio.ingest_config import IngestSettings
from app_core.audio.sources import AudioSourceConfig, AudioSourceType
from app_core.base.blocks import PcmBlock
from app_core.base.errors import ConfigError, HeraldError, LinkError
from app_core.base.lifecycle import Backoff, Worker

log = logging.getLogger(__name__)

BLOCK_S = 0.1
"""Audio in one block. [seconds]"""

START_TIMEOUT_S = 20.0
"""Time in which the first audio must come: a stream of 16 kbit/s is looked at for some seconds. [seconds]"""

SILENT_TIMEOUT_S = 10.0
"""Time without audio after which FFmpeg is started afresh. [seconds]"""

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30.0
"""Bounds of the pause before another try. [seconds]"""

HEALTHY_AFTER_S = 10.0
"""A life with so much audio was a good one: the next failure is a first one. [seconds]"""


class BlockSink(Protocol):
    """What takes a source's audio: `app_core.audio.ingest_monitor.IngestMonitor`."""

    def take(self, block: PcmBlock) -> None:
        """Take the next block; called in the source's thread."""
        ...

    def finish(self) -> None:
        """Take it that there will be no more; called in the source's thread."""
        ...


class IngestSource(Worker):
    """One source; it conforms to `app_core.audio.sources.AudioSource`.

    Parameters
    ----------
    settings
        Its table.
    source_type
        Its kind.
    sink
        Takes its audio.

    Attributes
    ----------
    reconnects
        Lives after the first.
    n_bytes
        What came by network, titles included; 0 where FFmpeg fetches it itself.
    """

    def __init__(self, settings: IngestSettings, source_type: AudioSourceType, sink: BlockSink) -> None:
        super().__init__(f"Source-{settings.id}")
        self.config: AudioSourceConfig = settings.source_config(source_type)
        self.sample_rate_hz = settings.sample_rate_hz
        self.reconnects = 0
        self.n_bytes = 0
        self._sink = sink
        self._title = ""
        self._codec = ""
        self._lines: list[str] = []
        self._last_error = ""
        self._connected_since: float | None = None
        self._ffmpeg_pid: int | None = None
        self._epoch = 0
        self._heard_samples = 0
        self._has_ended = False

    @property
    def source_name(self) -> str:
        """Name of the class, by which outputs choose FFmpeg's arguments."""
        return type(self).__name__

    def status(self) -> dict[str, Any]:
        """Give its health, for the metrics; for any thread."""
        since = self._connected_since
        return {
            "source": self.source_name,
            "source_type": self.config.source_type.value,
            "address": self.address,
            "connected": since is not None,
            "connected_since": since,
            "ended": self._has_ended,
            "reconnects": self.reconnects,
            "bytes": self.n_bytes,
            "title": self._title,
            "codec": self._codec,
            "last_error": self._last_error,
            "ffmpeg_pid": self._ffmpeg_pid,
            "ffmpeg_lines": self._lines,
            "sample_rate_hz": self.sample_rate_hz,
        }

    @property
    def address(self) -> str:
        """Where it comes from, for people; without secrets."""
        raise NotImplementedError

    # The source's own thread.

    def run(self, stopping: threading.Event) -> None:
        """Listen until stopped."""
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        try:
            while not stopping.is_set() and not self._has_ended:
                self._heard_samples = 0
                try:
                    self._listen(stopping)
                    reason = "it has ended"
                except HeraldError as error:
                    reason = str(error)
                if stopping.is_set() or self._is_at_its_end():
                    continue
                if self._heard_samples > HEALTHY_AFTER_S * self.sample_rate_hz:
                    backoff.reset()
                wait_s = backoff.next_wait_s()
                self._note_loss(reason, wait_s)
                stopping.wait(wait_s)
                self.reconnects += 1
        finally:
            self._sink.finish()
        while not stopping.wait(1.0):
            pass  # at its end, and not to be started again

    def _listen(self, stopping: threading.Event) -> None:
        """Live once: until the end of the source, or `stopping`.

        Raises
        ------
        HeraldError
            If it could not begin, or broke off; the text says why in words.
        """
        with IngestChild(self._argv(self._program()), with_input=False) as child:
            self._hear(child, stopping)
            if not stopping.is_set() and (reason := self._reason_of(child)):
                raise LinkError(reason)

    def _argv(self, program: str) -> Sequence[str]:
        """Give FFmpeg's arguments where it needs no input from here."""
        raise NotImplementedError

    def _is_at_its_end(self) -> bool:
        """Whether the source has come to an end after which nothing comes."""
        return False

    def _keep_pace(self, seconds: float, stopping: threading.Event) -> None:
        """Wait until a block is due that begins `seconds` after the first; only files have to."""

    def _check(self, silent_s: float) -> None:
        """Look at what else may have failed while FFmpeg gave no audio for `silent_s`.

        Raises
        ------
        LinkError
            If something did.
        """

    def _program(self) -> str:
        program = find_ffmpeg()
        if program is None:
            raise ConfigError("FFmpeg is not installed; type: apt-get install ffmpeg")
        return program

    def _hear(self, child: IngestChild, stopping: threading.Event) -> None:
        """Hand on what FFmpeg decodes until it ends, or `stopping`.

        Raises
        ------
        LinkError
            If it gives no audio for too long.
        """
        self._ffmpeg_pid = child.pid
        self._codec = ""
        self._epoch = max(time.time_ns(), self._epoch + 1)
        clock = ArrivalClock(self.sample_rate_hz)
        block_bytes = 2 * round(self.sample_rate_hz * BLOCK_S)
        rest, title = b"", ""
        last_audio_s = time.monotonic()
        try:
            while not stopping.is_set():
                piece = child.read()
                self._lines, self._codec = child.last_lines, child.codec
                if child.title != title:
                    self._title = title = child.title
                if piece:
                    last_audio_s = time.monotonic()
                    rest += piece
                    n_whole = len(rest) // block_bytes * block_bytes
                    self._emit(rest[:n_whole], block_bytes, clock, stopping)
                    rest = rest[n_whole:]
                elif piece is not None:
                    self._emit(rest[: len(rest) // 2 * 2], block_bytes, clock, stopping)
                    return
                else:
                    self._look_after(time.monotonic() - last_audio_s)
        finally:
            self._ffmpeg_pid = None
            self._lines = child.last_lines

    def _reason_of(self, child: IngestChild) -> str:
        """Say why FFmpeg ended; empty where it came to the end of what it had."""
        reason = child.wait_reason()
        self._lines = child.last_lines
        return reason

    def _look_after(self, silent_s: float) -> None:
        """Judge a silence of FFmpeg."""
        self._check(silent_s)
        allowed_s = SILENT_TIMEOUT_S if self._heard_samples else START_TIMEOUT_S
        if silent_s > allowed_s:
            raise LinkError(f"no audio for {allowed_s:.0f} s")

    def _emit(self, samples: bytes, block_bytes: int, clock: ArrivalClock, stopping: threading.Event) -> None:
        for at in range(0, len(samples), block_bytes):
            pcm = np.frombuffer(samples[at : at + block_bytes], "<i2").astype(np.float32) * np.float32(1 / 32768)
            if not self._heard_samples:
                self._note_audio()
            first_sample = self._heard_samples
            self._keep_pace(first_sample / self.sample_rate_hz, stopping)
            timestamp = clock.stamp(first_sample, len(pcm))
            self._heard_samples += len(pcm)
            self._sink.take(PcmBlock(pcm, float(self.sample_rate_hz), first_sample, timestamp, self._epoch))

    def _note_audio(self) -> None:
        self._connected_since = time.time()
        self._last_error = ""
        log.info("%s: audio from %s (%s)", self.config.id, self.address, self._codec or "codec not known")

    def _note_loss(self, reason: str, wait_s: float) -> None:
        """Say a loss once, and again only when its reason changes."""
        if self._connected_since is not None or reason != self._last_error:
            log.warning(
                "%s: no audio from %s: %s; trying again in %.1f s", self.config.id, self.address, reason, wait_s
            )
        self._connected_since = None
        self._last_error = reason
