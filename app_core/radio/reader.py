"""The thread that owns a device: device to ring, and nothing else.

It never waits for anything but the device. A device that fails is closed and opened again, for ever, with growing
pauses; what was lost meanwhile is estimated by the clock and shows as a jump of ``first_sample``.

Other threads reach the device through `Reader.request` alone: what they ask is done here, between two reads.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import ConfigError, DeviceError, HeraldError
from app_core.base.lifecycle import Backoff, Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.radio.receiver import (
    CountsErrors,
    KeepsTuning,
    Reading,
    Receiver,
    ReceiverSettings,
    Tunable,
    Tuning,
    check_fft_size,
    read_size,
)
from app_core.radio.ring_buffer import RingBuffer

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log, interval_s=10.0)

T = TypeVar("T")

ReaderState = Literal["running", "opening", "stopped", "ended"]
"""Samples are read; the device is not there, and is tried again; it was stopped on purpose; the recording is over."""

READ_TIMEOUT_S = 0.1
"""Longest wait for the device in one read, as the seed sets it. [seconds]"""

STEADY_AFTER_S = 10.0
"""A device that ran this long is taken for sound: its next failure is treated as its first. [seconds]"""

_ROOM_POLL_S = 0.002
"""How often a receiver that can wait looks for room in the ring. [seconds]"""

_PAUSE_POLL_S = 0.05
"""How often a reader without a device looks whether it is wanted. [seconds]"""


class CaptureClock:
    """UTC time of any sample of a stream, steady against the jitter of single reads.

    The device's crystal and the host's clock differ, so the offset between sample count and UTC follows the reads
    slowly; a step of the host's clock is taken over at once.
    """

    _STEP_S = 1.0
    _FOLLOW = 0.01

    def __init__(self, sample_rate_hz: float) -> None:
        self._sample_rate_hz = sample_rate_hz
        self._offset_s: float | None = None

    def note(self, first_sample: int, timestamp: float) -> None:
        """Take in one read: its first sample's index and capture time. [UTC seconds]"""
        measured_s = timestamp - first_sample / self._sample_rate_hz
        if self._offset_s is None or abs(measured_s - self._offset_s) > self._STEP_S:
            self._offset_s = measured_s
        else:
            self._offset_s += (measured_s - self._offset_s) * self._FOLLOW

    def timestamp_of(self, sample: int) -> float:
        """Give the capture time of a sample. [UTC seconds]"""
        return (time.time() if self._offset_s is None else self._offset_s) + sample / self._sample_rate_hz


class Reader(Worker):
    """Read one receiver into a ring.

    Parameters
    ----------
    settings
        The receiver's table.
    receiver
        The device; used by this thread alone.

    Attributes
    ----------
    ring
        None until the device was opened for the first time.
    clock
        Belongs to the ring.
    tuning
        How the device is tuned; None while it is closed.
    progress
        Epoch, samples that the device gave in it, and when the last of them came, written as one.
        [monotonic seconds]
    lost_samples, gap_count
        Samples that are missing since the beginning, and in how many places.
    flowing_since_s
        When the first sample since the device was opened came; None before. [monotonic seconds]
    """

    def __init__(self, settings: ReceiverSettings, receiver: Receiver) -> None:
        super().__init__(f"Reader-{settings.id}", cpu_affinity=settings.cpu_affinity, nice=settings.reader_nice)
        self._settings = settings
        self._receiver = receiver
        self.ring: RingBuffer | None = None
        self.clock = CaptureClock(1.0)
        self.tuning: Tuning | None = None
        self.ended = False
        self.lost_samples = 0
        self.gap_count = 0
        self.flowing_since_s: float | None = None
        self.timeout_count = 0
        self.reopen_count = 0
        self.failed_opens = 0
        self.last_error = ""
        self.last_sample_s: float | None = None
        self.progress: tuple[int, int, float] = (0, 0, 0.0)
        self._next_sample = 0
        self._epoch = 0
        self._accounted_s = 0.0
        self._has_run = False
        self._wanted = True
        self._was_suspended = False
        self._requests: deque[tuple[Callable[[Receiver], Any], Future[Any]]] = deque()

    @property
    def state(self) -> ReaderState:
        """What it is at."""
        if self.ended:
            return "ended"
        if self.tuning is not None:
            return "running"
        return "opening" if self._wanted else "stopped"

    @property
    def waits(self) -> bool:
        """As `Receiver.waits`."""
        return self._receiver.waits

    @property
    def stream_errors(self) -> dict[str, int]:
        """What the device has said of its stream since the beginning, by SoapySDR's names; empty where it says none."""
        return self._receiver.counts.copy() if isinstance(self._receiver, CountsErrors) else {}

    def inherit(self, dead: Reader) -> None:
        """Go on where a reader that has died ended: its counts, and the numbers of its samples."""
        left = 0 if dead.ring is None else dead.ring.readable
        self.lost_samples = dead.lost_samples + left
        self.gap_count = dead.gap_count
        self.timeout_count = dead.timeout_count
        self.reopen_count = dead.reopen_count + 1
        self.last_sample_s = dead.last_sample_s
        self._accounted_s = dead._accounted_s
        self._next_sample = dead._next_sample
        self._epoch = dead._epoch
        # The dead one's receiver may be what is broken: what was asked of it is kept, not it.
        if isinstance(self._receiver, KeepsTuning):
            self._receiver.tune_as(dead._receiver)

    @property
    def is_wanted(self) -> bool:
        """Whether its device shall be open: nobody has called `suspend`, or `resume` was called since."""
        return self._wanted

    def suspend(self) -> None:
        """Have the device closed, until `resume`; `state` says when it is."""
        self._wanted = False

    def resume(self) -> None:
        """Have the device opened again, with the tuning it had."""
        self._wanted = True

    def request(self, action: Callable[[Receiver], T]) -> Future[T]:
        """Have something done with the open device, between two reads.

        Returns
        -------
        answer
            Holds what `action` gave, or the `HeraldError` it raised; a `DeviceError` when the device is not open.
            Cancel it when nobody waits for it any more: it is then not done.
        """
        answer: Future[T] = Future()
        if self.tuning is None:
            answer.set_exception(self._not_open())
        else:
            self._requests.append((action, answer))
        return answer

    def retune(self, frequency_hz: float) -> Future[Tuning]:
        """Have the device tuned, which begins a new epoch; errors as `Tunable.tune`, and as `request`."""
        return self.request(partial(self._retune, frequency_hz))

    def run(self, stopping: threading.Event) -> None:
        """Open, read, close; again after a failure."""
        backoff = Backoff(0.2, 2.0)
        while not stopping.is_set() and not self.ended:
            if not self._wanted:
                self._stay_closed(stopping)
                backoff.reset()
                continue
            opened_s = time.monotonic()
            try:
                tuning = self._receiver.open()
                self._begin(tuning)
                log.info(
                    "receiver %s runs at %.0f S/s, %.4f MHz",
                    self._settings.id,
                    tuning.sample_rate_hz,
                    tuning.center_frequency_hz / 1e6,
                )
                self._capture(tuning, stopping)
            except DeviceError as error:
                self._note_failure(error)
            except ConfigError as error:
                if not self._has_run:
                    self.last_error = str(error)
                    raise
                # These settings were right once: it is the device that is not itself.
                self._note_failure(error)
            finally:
                self._receiver.close()
                self.tuning = None
                self.flowing_since_s = None
                self._refuse_requests()
            if time.monotonic() - opened_s > STEADY_AFTER_S:
                backoff.reset()
            if not stopping.is_set() and not self.ended and self._wanted:
                self.reopen_count += 1
                until_s = time.monotonic() + backoff.next_wait_s()
                while self._wanted and (left_s := until_s - time.monotonic()) > 0:
                    if stopping.wait(min(left_s, _PAUSE_POLL_S)):
                        break
        # A recording that has come to its end is no failure: the thread stays, so that nobody restarts it.
        stopping.wait()

    def _note_failure(self, error: HeraldError) -> None:
        if str(error) != self.last_error:
            log.warning("receiver %s: %s", self._settings.id, error)
        self.last_error = str(error)
        self.failed_opens += 1

    def _begin(self, tuning: Tuning) -> None:
        """Prepare the ring, and say in it that a new run of samples begins."""
        check_fft_size(self._settings.fft_size, tuning.sample_rate_hz)
        wanted = int(tuning.sample_rate_hz * self._settings.ring_seconds)
        if self.ring is None or self.clock._sample_rate_hz != tuning.sample_rate_hz:
            self.ring = RingBuffer(
                max(wanted, 4 * self._settings.samples_per_message),
                min_size=self._settings.ring_min_samples,
                max_size=self._settings.ring_max_samples,
            )
            self.clock = CaptureClock(tuning.sample_rate_hz)
        if self.last_sample_s is not None:
            # What passed before an opening that gave no sample was counted then.
            now_s = time.monotonic()
            away = int((now_s - max(self.last_sample_s, self._accounted_s)) * tuning.sample_rate_hz)
            self._accounted_s = now_s
            self._next_sample += away
            if not self._was_suspended:
                self.lost_samples += away
                self.gap_count += 1
        self._was_suspended = False
        # The clock may have been set back meanwhile; an epoch only grows.
        self._mark(self.ring, tuning, max(time.time_ns(), self._epoch + 1))
        self.tuning = tuning

    def _stay_closed(self, stopping: threading.Event) -> None:
        log.info("receiver %s is stopped", self._settings.id)
        self._was_suspended = True
        self.last_error = ""
        while not self._wanted and not stopping.wait(_PAUSE_POLL_S):
            pass

    def _retune(self, frequency_hz: float, receiver: Receiver) -> Tuning:
        """Tune, and say in the ring that other samples follow; the thread that reads does this."""
        if not isinstance(receiver, Tunable):
            raise ConfigError(f"a receiver with driver {getattr(self._settings, 'driver', '')!r} cannot be tuned")
        tuning = receiver.tune(frequency_hz)
        if self.ring is not None:
            self._mark(self.ring, tuning, max(time.time_ns(), self._epoch + 1))
        self.tuning = tuning
        return tuning

    def _serve_requests(self) -> None:
        while self._requests:
            action, answer = self._requests.popleft()
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(action(self._receiver))
            except HeraldError as error:
                answer.set_exception(error)
            finally:
                if not answer.done():
                    answer.set_exception(DeviceError("it could not be done; the log says why"))

    def _refuse_requests(self) -> None:
        while self._requests:
            _, answer = self._requests.popleft()
            if answer.set_running_or_notify_cancel():
                answer.set_exception(self._not_open())

    def _not_open(self) -> DeviceError:
        why = {"stopped": "it is stopped", "ended": "its recording has ended"}.get(self.state, self.last_error)
        return DeviceError(f"receiver {self._settings.id} is not open{f': {why}' if why else ''}")

    def _mark(self, ring: RingBuffer, tuning: Tuning, config_epoch: int) -> None:
        if config_epoch != self._epoch:
            self.progress = (config_epoch, 0, time.monotonic())
        self._epoch = config_epoch
        ring.mark(
            first_sample=self._next_sample,
            config_epoch=config_epoch,
            sample_rate_hz=tuning.sample_rate_hz,
            center_frequency_hz=tuning.center_frequency_hz,
            frequency_correction_ppm=tuning.frequency_correction_ppm,
        )

    def _capture(self, tuning: Tuning, stopping: threading.Event) -> None:
        ring = self.ring
        if ring is None:
            return
        n_samples = min(read_size(tuning.sample_rate_hz), ring.size // 4)
        spare = np.empty(n_samples, dtype=np.complex64)
        while not stopping.is_set() and self._wanted:
            if self._requests:
                self._serve_requests()
                tuning = self.tuning or tuning
            room = ring.write_view(n_samples)
            in_place = len(room) == n_samples
            if not in_place and self._receiver.waits:
                stopping.wait(_ROOM_POLL_S)
                continue
            reading = self._receiver.read_into(room if in_place else spare, READ_TIMEOUT_S)
            if reading.ended:
                self.lost_samples += reading.lost_samples
                self.ended = True
                return
            self._take(ring, tuning, reading, None if in_place else spare)

    def _take(self, ring: RingBuffer, tuning: Tuning, reading: Reading, spare: NDArray[np.complex64] | None) -> None:
        if reading.lost_samples:
            identifier = self._settings.id
            _limited_log.warning(identifier, "receiver %s lost %d samples", identifier, reading.lost_samples)
            self.lost_samples += reading.lost_samples
            self.gap_count += 1
            self._next_sample += reading.lost_samples
            self._mark(ring, tuning, self._epoch)
        if reading.n_samples == 0:
            self.timeout_count += 1
            return
        if self.flowing_since_s is None:
            self.flowing_since_s = time.monotonic()
            self._has_run = True
            self.failed_opens = 0
            self.last_error = ""
        self.clock.note(self._next_sample, reading.timestamp)
        self.last_sample_s = time.monotonic()
        self.progress = (self._epoch, self.progress[1] + reading.n_samples, self.last_sample_s)
        self._next_sample += reading.n_samples
        if spare is None:
            ring.commit_write(reading.n_samples)
            return
        dropped = reading.n_samples - ring.write(spare[: reading.n_samples])
        if dropped:
            identifier = self._settings.id
            _limited_log.warning(identifier, "Ring buffer overflow on %s: %d samples dropped", identifier, dropped)
            self.lost_samples += dropped
            self.gap_count += 1
            self._mark(ring, tuning, self._epoch)
