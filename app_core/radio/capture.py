"""Captures of a receiver to SigMF, written by a thread of their own.

A capture takes what memory still holds of its time and what comes live, in the receiver's own sample format.
"""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app_core.base.errors import ConfigError, DeviceError, HeraldError
from app_core.base.lifecycle import Worker
from app_core.bridge.commands import CommandMessage
from app_core.radio.capture_file import CaptureFile, CaptureResult
from app_core.radio.capture_folder import CaptureFolder, Place
from app_core.radio.capture_memory import CaptureMemory, Tape
from app_core.radio.capture_samples import SAMPLE_BYTES, Piece

__all__ = ["LATE_S", "MAX_OPEN", "CaptureResult", "CaptureWriter"]

log = logging.getLogger(__name__)

MAX_OPEN = 8
"""Captures of one receiver that may be under way at once; as many automatic ones besides.

So that whatever somebody has asked for, ten minutes from now too, there is a place for that of an alert.
"""

LATE_S = 5.0
"""How long the last samples of a capture may come after their time before it ends without them. [seconds]"""

_ROUND_S = 0.05

Done = Callable[[CaptureResult | HeraldError], None]
"""Told what became of a capture, in the writer's thread."""


@dataclass(slots=True)
class _OpenCapture:
    command: CommandMessage
    tape: Tape
    place: Place
    done: Done
    deadline_s: float
    file: CaptureFile | None = None


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
            False when `MAX_OPEN` captures of its kind (automatic, or not) are under way: it may be tried again.

        Raises
        ------
        ConfigError
            If the capture is beyond a limit, or there is no room for it.
        DeviceError
            If there are no samples of that time and none will come, or the folder or this worker cannot be used.
        """
        if not self.is_alive:
            raise DeviceError("the thread that writes captures is not running")
        if sum(capture.command.automatic == command.automatic for capture in list(self._open)) >= MAX_OPEN:
            return False
        seconds = command.seconds or 0.0
        start, newest = self._start(command.start_timestamp, seconds, is_live=is_live)
        n_bytes = round(seconds * newest.sample_rate_hz) * SAMPLE_BYTES[newest.iq_format]
        began_at = datetime.datetime.fromtimestamp(start, datetime.UTC)
        name = f"{began_at:%Y%m%dT%H%M%SZ}_{command.receiver_id}_{command.command_id.replace(':', '-')}"
        place = self._folder.reserve(name, n_bytes, automatic=command.automatic)
        deadline_s = self._monotonic() + max(0.0, start + seconds - newest.end_timestamp) + LATE_S
        capture = _OpenCapture(command, self._memory.tape(start, seconds), place, done, deadline_s)
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

    def _start(self, wanted: float | None, seconds: float, *, is_live: bool) -> tuple[float, Piece]:
        """Give the start of a capture, now unless one is wanted, and the newest piece, whose format it will have."""
        ends = self._memory.ends
        if ends is None:
            raise DeviceError(f"no sample of {self._receiver_id} has come yet")
        oldest, newest = ends
        longest_s = self._folder.settings.longest_s
        if seconds > longest_s:
            raise ConfigError(f"a capture lasts at most {longest_s:.0f} s, not {seconds:.0f} s")
        now = newest.end_timestamp
        start = now if wanted is None else wanted
        if start + seconds <= oldest.timestamp:
            raise ConfigError(
                f"the samples of that time are no longer in memory: it reaches back {now - oldest.timestamp:.1f} s"
            )
        if start - now > longest_s:
            raise ConfigError(f"a capture begins at most {longest_s:.0f} s from now")
        if start >= now and not is_live:
            raise DeviceError(f"receiver {self._receiver_id} gives no samples now")
        return start, newest

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
            capture.file = CaptureFile(capture.place, capture.command, self._hardware)
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
