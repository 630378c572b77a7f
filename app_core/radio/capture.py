"""Captures of a receiver to SigMF, written by a thread of their own.

A capture takes what memory still holds of its time and what comes live, in the receiver's own sample format. A loss of
samples or a change of tuning begins a new segment (``captures`` in the metadata), so every sample's time is told.

Under its final name a file is whole: it is written under another name and renamed, the samples first and the metadata
last, so a recording that has metadata can be played.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app_core.base.errors import ConfigError, DeviceError, HeraldError
from app_core.base.lifecycle import Worker
from app_core.bridge.commands import CommandMessage
from app_core.radio.capture_folder import PART_SUFFIX, CaptureFolder, Place
from app_core.radio.capture_memory import SAMPLE_BYTES, CaptureMemory, Piece, Tape

log = logging.getLogger(__name__)

MAX_OPEN = 8
"""Captures of one receiver that may be under way at once."""

LATE_S = 5.0
"""How long the last samples of a capture may come after their time before it ends without them. [seconds]"""

_SYNC_BYTES = 16 * 1024 * 1024
_ROUND_S = 0.05
_SIGMF_DATATYPES = {"cu8": "cu8", "cs16": "ci16_le", "cf32": "cf32_le"}


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What a capture holds.

    Attributes
    ----------
    path
        Of the metadata.
    start, seconds
        Time of the first sample, and length of all samples. [UTC seconds; seconds]
    samples
        How many there are.
    gaps, lost_samples
        Places where samples are missing, and how many.
    missing_s
        What was asked for before the first sample and after the last one. [seconds]
    """

    path: Path
    start: float
    seconds: float
    samples: int
    gaps: int
    lost_samples: int
    missing_s: float

    def to_dict(self) -> dict[str, Any]:
        """Give it as it stands in a command's ``result``."""
        return {
            "path": str(self.path),
            "start": round(self.start, 6),
            "seconds": round(self.seconds, 6),
            "samples": self.samples,
            "gaps": self.gaps,
            "lost_samples": self.lost_samples,
            "missing_s": round(self.missing_s, 3),
        }


Done = Callable[[CaptureResult | HeraldError], None]
"""Told what became of a capture, in the writer's thread."""


@dataclass(frozen=True, slots=True)
class _Segment:
    """Consecutive samples with one tuning: from `sample` of the file on."""

    sample: int
    piece: Piece


class _CaptureFile:
    """The file of one capture, while it is written."""

    def __init__(self, place: Place, command: CommandMessage, hardware: str) -> None:
        self._place = place
        self._command = command
        self._hardware = hardware
        self._part = place.data_path.with_name(place.data_path.name + PART_SUFFIX)
        self._meta_part = place.meta_path.with_name(place.meta_path.name + PART_SUFFIX)
        self._file = self._part.open("xb")
        self._unsynced = 0
        self._segments: list[_Segment] = []
        self._last: Piece | None = None
        self._n_samples = 0
        self._gaps = 0
        self._lost_samples = 0

    def write(self, piece: Piece) -> bool:
        """Append a piece; False when it cannot stand in the same file."""
        last = self._last
        if last is not None:
            if (piece.sample_rate_hz, piece.iq_format) != (last.sample_rate_hz, last.iq_format):
                return False
            lost_samples = _lost_between(last, piece)
            self._gaps += lost_samples > 0
            self._lost_samples += lost_samples
        if last is None or lost_samples or piece.config_epoch != last.config_epoch:
            self._segments.append(_Segment(self._n_samples, piece))
        self._file.write(piece.components.tobytes())
        self._n_samples += piece.n_samples
        self._last = piece
        self._unsynced += piece.components.nbytes
        if self._unsynced > _SYNC_BYTES:
            self._sync()
        return True

    def finish(self, tape: Tape) -> CaptureResult:
        """Give the recording its name and its metadata.

        Raises
        ------
        DeviceError
            If no sample came.
        """
        if self._last is None:
            raise DeviceError("no sample came in the time of the capture")
        first = self._segments[0].piece
        self._sync()
        self._file.close()
        self._part.rename(self._place.data_path)
        self._meta_part.write_text(self._metadata(first), encoding="utf-8")
        self._meta_part.rename(self._place.meta_path)
        missing_s = max(0.0, first.timestamp - tape.start) + max(0.0, tape.end - self._last.end_timestamp)
        return CaptureResult(
            path=self._place.meta_path,
            start=first.timestamp,
            seconds=self._n_samples / first.sample_rate_hz,
            samples=self._n_samples,
            gaps=self._gaps,
            lost_samples=self._lost_samples,
            missing_s=missing_s if missing_s > 1.0 / first.sample_rate_hz else 0.0,
        )

    def discard(self) -> None:
        """Leave nothing behind."""
        for give_up in (self._file.close, self._part.unlink, self._meta_part.unlink, self._place.data_path.unlink):
            with contextlib.suppress(OSError):
                give_up()

    def _sync(self) -> None:
        # Little by little: the last one, on a slow card, then does not take all the time at once.
        self._file.flush()
        os.fdatasync(self._file.fileno())
        self._unsynced = 0

    def _metadata(self, first: Piece) -> str:
        # The library brings a schema validator, which the station needs only here, in this thread.
        import sigmf

        command = self._command
        meta = sigmf.SigMFFile(
            data_file=str(self._place.data_path),
            global_info={
                sigmf.DATATYPE_KEY: _SIGMF_DATATYPES[first.iq_format],
                sigmf.SAMPLE_RATE_KEY: first.sample_rate_hz,
                sigmf.HW_KEY: self._hardware,
                sigmf.RECORDER_KEY: "Herald",
                sigmf.DESCRIPTION_KEY: f"Receiver {command.receiver_id}; command {command.command_id}",
            },
        )
        for segment in self._segments:
            piece = segment.piece
            began_at = datetime.datetime.fromtimestamp(piece.timestamp, datetime.UTC)
            meta.add_capture(
                segment.sample,
                metadata={
                    sigmf.FREQUENCY_KEY: piece.center_frequency_hz,
                    sigmf.DATETIME_KEY: began_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                    sigmf.GLOBAL_INDEX_KEY: piece.first_sample,
                },
            )
        half_band_hz = first.sample_rate_hz / 2
        meta.add_annotation(
            0,
            length=self._n_samples,
            metadata={
                sigmf.LABEL_KEY: command.label or "capture",
                sigmf.COMMENT_KEY: command.reason or "",
                sigmf.FREQ_LOWER_EDGE_KEY: first.center_frequency_hz - half_band_hz,
                sigmf.FREQ_UPPER_EDGE_KEY: first.center_frequency_hz + half_band_hz,
                "core:generator": "Herald",
            },
        )
        return str(meta.dumps())


def _lost_between(last: Piece, piece: Piece) -> int:
    """Give how many samples are missing between two pieces of one rate."""
    if piece.config_epoch == last.config_epoch or piece.first_sample >= last.first_sample + last.n_samples:
        return max(0, piece.first_sample - last.first_sample - last.n_samples)
    # Another reader counts anew; the capture times do not.
    return max(0, round((piece.timestamp - last.end_timestamp) * piece.sample_rate_hz))


@dataclass(slots=True)
class _OpenCapture:
    command: CommandMessage
    tape: Tape
    place: Place
    done: Done
    deadline_s: float
    file: _CaptureFile | None = None


class CaptureWriter(Worker):
    """Write the captures of one receiver.

    Parameters
    ----------
    memory
        Of this receiver.
    folder
        Where captures go; shared with other receivers.
    hardware
        What the metadata say of the device.
    monotonic
        Clock. [seconds]

    Attributes
    ----------
    written_count, failed_count
        Captures that were written, and that were not.
    """

    def __init__(
        self,
        receiver_id: str,
        memory: CaptureMemory,
        folder: CaptureFolder,
        hardware: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(f"Capture-{receiver_id}")
        self._receiver_id = receiver_id
        self._memory = memory
        self._folder = folder
        self._hardware = hardware
        self._monotonic = monotonic
        self._open: list[_OpenCapture] = []
        self._open_lock = threading.Lock()
        self.written_count = 0
        self.failed_count = 0

    def status(self) -> dict[str, Any]:
        """Give its figures, for the metrics."""
        return {
            "open": len(self._open),
            "written_count": self.written_count,
            "failed_count": self.failed_count,
            **self._memory.status(),
        }

    def begin(self, command: CommandMessage, done: Done, *, is_live: bool) -> bool:
        """Begin what a ``capture`` command asks for; `done` is told when it is written.

        Parameters
        ----------
        command
            Its `seconds` are set.
        is_live
            Whether samples are coming.

        Returns
        -------
        has_begun
            False when `MAX_OPEN` captures are under way: it may be tried again.

        Raises
        ------
        ConfigError
            If the capture is beyond a limit, or there is no room for it.
        DeviceError
            If there are no samples of that time and none will come, or the folder or this worker cannot be used.
        """
        if not self.is_alive:
            raise DeviceError("the thread that writes captures is not running")
        if len(self._open) >= MAX_OPEN:
            return False
        start, end, newest = self._extent(command, is_live)
        n_bytes = round((end - start) * newest.sample_rate_hz) * SAMPLE_BYTES[newest.iq_format]
        began_at = datetime.datetime.fromtimestamp(start, datetime.UTC)
        name = f"{began_at:%Y%m%dT%H%M%SZ}_{command.receiver_id}_{command.command_id.replace(':', '-')}"
        place = self._folder.reserve(name, n_bytes, automatic=command.automatic)
        deadline_s = self._monotonic() + max(0.0, end - newest.end_timestamp) + LATE_S
        capture = _OpenCapture(command, self._memory.tape(start, end), place, done, deadline_s)
        with self._open_lock:
            self._open.append(capture)
        return True

    def run(self, stopping: threading.Event) -> None:
        """Write until stopped; what is under way then ends early, and is kept."""
        try:
            while not stopping.wait(_ROUND_S):
                self._write_round()
            for capture in list(self._open):
                self._write_some(capture, ends_now=True)
        finally:
            for capture in list(self._open):
                self._end(capture, DeviceError("the capture was interrupted; the log says why"))

    def _write_round(self) -> None:
        for capture in list(self._open):
            self._write_some(capture, ends_now=self._monotonic() > capture.deadline_s)

    def _extent(self, command: CommandMessage, is_live: bool) -> tuple[float, float, Piece]:
        """Give start and end of a capture, and the newest piece in memory, which says what its bytes will be."""
        ends = self._memory.ends
        if ends is None:
            raise DeviceError(f"no sample of {self._receiver_id} has come yet")
        oldest, newest = ends
        seconds, longest_s = command.seconds or 0.0, self._folder.settings.longest_s
        if seconds > longest_s:
            raise ConfigError(f"a capture lasts at most {longest_s:.0f} s, not {seconds:.0f} s")
        now = newest.end_timestamp
        start = now if command.start_timestamp is None else command.start_timestamp
        end = start + seconds
        if end <= oldest.timestamp:
            raise ConfigError(
                f"the samples of that time are no longer in memory: it reaches back {now - oldest.timestamp:.1f} s"
            )
        if start - now > longest_s:
            raise ConfigError(f"a capture begins at most {longest_s:.0f} s from now")
        if start >= now and not is_live:
            raise DeviceError(f"receiver {self._receiver_id} gives no samples now")
        return start, end, newest

    def _write_some(self, capture: _OpenCapture, *, ends_now: bool) -> None:
        is_complete = capture.tape.is_complete or ends_now  # before the last look at the tape
        outcome: CaptureResult | HeraldError | None = DeviceError("the capture failed; the log says why")
        try:
            outcome = self._advance(capture, is_complete)
        except HeraldError as error:
            outcome = error
        except OSError as error:
            outcome = DeviceError(f"the capture cannot be written: {error.strerror or error}")
        finally:
            if outcome is not None:
                self._end(capture, outcome)

    def _advance(self, capture: _OpenCapture, is_complete: bool) -> CaptureResult | None:
        """Write what waits. Give the result when that was all."""
        if capture.file is None:
            capture.file = _CaptureFile(capture.place, capture.command, self._hardware)
        while (piece := capture.tape.take()) is not None:
            if not capture.file.write(piece):
                is_complete = True
                break
        return capture.file.finish(capture.tape) if is_complete else None

    def _end(self, capture: _OpenCapture, outcome: CaptureResult | HeraldError) -> None:
        self._memory.drop(capture.tape)
        with self._open_lock:
            self._open.remove(capture)
        if isinstance(outcome, CaptureResult):
            self.written_count += 1
            log.info("captured %.1f s of %s: %s", outcome.seconds, self._receiver_id, outcome.path)
        else:
            self.failed_count += 1
            log.warning("capture %s of %s: %s", capture.command.command_id, self._receiver_id, outcome)
            if capture.file is not None:
                capture.file.discard()
        self._folder.release(capture.place)
        capture.done(outcome)
