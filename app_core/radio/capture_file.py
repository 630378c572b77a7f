"""The file of one capture: SigMF, whole under its final name or not there.

It is written under another name and renamed, the samples first and the metadata last, so a recording that has metadata
can be played. A loss of samples or a change of tuning begins a new segment (``captures`` in the metadata), so every
sample's time is told.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app_core.base.errors import DeviceError
from app_core.bridge.commands import CommandMessage
from app_core.radio.capture_folder import PART_SUFFIX, Place
from app_core.radio.capture_memory import Tape
from app_core.radio.capture_samples import Piece

_SYNC_BYTES = 16 * 1024 * 1024
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


@dataclass(frozen=True, slots=True)
class _Segment:
    """Consecutive samples with one tuning: from `sample` of the file on."""

    sample: int
    piece: Piece


class CaptureFile:
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
        self._refused = False
        self._n_samples = 0
        self._gaps = 0
        self._lost_samples = 0

    def write(self, piece: Piece) -> bool:
        """Append a piece; False when it cannot stand in the same file."""
        last = self._last
        if last is not None:
            if (piece.sample_rate_hz, piece.iq_format) != (last.sample_rate_hz, last.iq_format):
                self._refused = True
                return False
            lost_samples = _lost_between(last, piece)
            self._gaps += lost_samples > 0
            self._lost_samples += lost_samples
        if last is None or lost_samples or piece.config_epoch != last.config_epoch:
            self._segments.append(_Segment(self._n_samples, piece))
        stored = piece.stored()
        self._file.write(stored.tobytes())
        self._n_samples += piece.n_samples
        self._last = piece
        self._unsynced += stored.nbytes
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
        if self._refused:
            missing_s = tape.missing_before / first.sample_rate_hz + max(0.0, tape.end - self._last.end_timestamp)
        else:
            missing_s = (tape.missing_before + tape.missing_after) / first.sample_rate_hz
        return CaptureResult(
            path=self._place.meta_path,
            start=first.timestamp,
            seconds=self._n_samples / first.sample_rate_hz,
            samples=self._n_samples,
            gaps=self._gaps,
            lost_samples=self._lost_samples,
            missing_s=missing_s,
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
    if piece.config_epoch == last.config_epoch or piece.follows(last):
        return max(0, piece.first_sample - last.end_sample)
    # Another reader counts anew; the capture times do not.
    return max(0, round((piece.timestamp - last.end_timestamp) * piece.sample_rate_hz))
