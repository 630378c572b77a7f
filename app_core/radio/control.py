"""Commands to the receivers: given out, carried out, answered.

Threads: the command reader calls `CommandDesk.take`, which only gives out. Each receiver has a worker of its own that
carries its commands out in their order, so a slow one delays neither another receiver nor the publisher. A capture goes
on in the thread that writes it, and is answered when it is written.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

from app_core.base.errors import ConfigError, DeviceError, HeraldError
from app_core.base.lifecycle import Worker
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge.commands import CommandMessage, CommandResultMessage, Refusal, ResultMemory, read_command
from app_core.bridge.keys import SPECTRUM_TTL_S
from app_core.bridge.messages import plain_number
from app_core.radio.capture import CaptureResult, CaptureWriter
from app_core.radio.publisher import Publisher
from app_core.radio.reader import Reader, ReaderState
from app_core.radio.receiver import AnyReceiverSettings, FrequencyCorrection, GainControl, Receiver

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log)

T = TypeVar("T")

MAX_WAITING = 64
"""Commands that may wait for one receiver; one more is answered "busy"."""

REQUEST_TIMEOUT_S = 5.0
"""How long the device may take to be tuned. [seconds]"""

STATE_TIMEOUT_S = 8.0
"""How long a device may take to be closed, or to be opened. [seconds]"""

_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a command.

    Attributes
    ----------
    kind
        Under which it is counted; what was ``busy`` or ``expired`` was not carried out.
    message, result
        As in `CommandResultMessage`.
    """

    kind: Literal["succeeded", "failed", "busy", "expired"]
    message: str
    result: dict[str, Any] | None = None


Finish = Callable[[CommandMessage, Outcome], None]


class Controlled(Protocol):
    """A receiver's chain, as its commands need it. Its parts may be replaced at any time."""

    @property
    def settings(self) -> AnyReceiverSettings:
        """Its table."""
        ...

    @property
    def reader(self) -> Reader:
        """The thread that owns the device."""
        ...

    @property
    def publisher(self) -> Publisher:
        """The thread that has the spectrum."""
        ...

    @property
    def captures(self) -> CaptureWriter | None:
        """The thread that writes captures; None where they are switched off."""
        ...


class ReceiverCommands(Worker):
    """Carry out the commands of one receiver, one after the other.

    Parameters
    ----------
    chain
        The receiver.
    waiting
        Its commands.
    finish
        Told what became of each, in this or the capture's thread.
    utc
        Clock. [UTC seconds]
    """

    def __init__(
        self,
        chain: Controlled,
        waiting: queue.Queue[CommandMessage],
        finish: Finish,
        *,
        utc: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(f"Commands-{chain.settings.id}")
        self._chain = chain
        self._id = chain.settings.id
        self._waiting = waiting
        self._finish = finish
        self._utc = utc

    def run(self, stopping: threading.Event) -> None:
        """Work until stopped; what then waits is answered."""
        while not stopping.is_set():
            try:
                command = self._waiting.get(timeout=0.2)
            except queue.Empty:
                continue
            self._carry_out(command, stopping)
        while not self._waiting.empty():
            self._finish(self._waiting.get_nowait(), Outcome("busy", "the service is stopping"))

    def _carry_out(self, command: CommandMessage, stopping: threading.Event) -> None:
        outcome: Outcome | None = Outcome("failed", "the command failed; the service's log says why")
        try:
            outcome = self._do(command, stopping)
        except HeraldError as error:
            outcome = Outcome("failed", str(error))
        finally:
            if outcome is not None:
                self._finish(command, outcome)

    def _do(self, command: CommandMessage, stopping: threading.Event) -> Outcome | None:
        """Carry one out; None when somebody else will tell its outcome."""
        if command.expires_at is not None and self._utc() > command.expires_at:
            return Outcome("expired", "expired")
        match command.action:
            case "start":
                return self._start(stopping)
            case "stop":
                return self._stop(stopping)
            case "restart":
                return self._restart(stopping)
            case "tune":
                return self._tune(command)
            case "gain":
                return self._set_gain(command)
            case "capture":
                return self._capture(command)
            case "get_spectrum":
                return self._get_spectrum()

    def _start(self, stopping: threading.Event) -> Outcome:
        self._refuse_ended()
        if self._chain.reader.state == "running":
            return Outcome("succeeded", f"Receiver {self._id} is already running")
        self._open(stopping)
        return Outcome("succeeded", f"Receiver {self._id} started")

    def _stop(self, stopping: threading.Event) -> Outcome:
        self._refuse_ended()
        if self._chain.reader.state == "stopped":
            return Outcome("succeeded", f"Receiver {self._id} is already stopped")
        try:
            self._close(stopping)
        except DeviceError as error:
            raise DeviceError(f"{error}; it stays to be stopped, and will be when it answers") from error
        return Outcome("succeeded", f"Receiver {self._id} stopped")

    def _restart(self, stopping: threading.Event) -> Outcome:
        self._refuse_ended()
        try:
            self._close(stopping)
        finally:
            # Whatever hangs: what was to run again shall run when it comes back.
            self._chain.reader.resume()
        self._open(stopping)
        return Outcome("succeeded", f"Receiver {self._id} restarted")

    def _tune(self, command: CommandMessage) -> Outcome:
        words, result = "", {}
        if command.frequency_correction_ppm is not None:
            # Before the tuning, which marks where in the stream the other samples begin.
            correct = partial(self._correct, command.frequency_correction_ppm)
            taken_ppm = self._answer_of(self._chain.reader.request(correct))
            words, result = f", corrected by {taken_ppm:g} ppm", {"frequency_correction_ppm": plain_number(taken_ppm)}
        tuning = self._answer_of(self._chain.reader.retune(float(command.frequency_hz or 0.0)))
        return Outcome(
            "succeeded",
            f"Receiver {self._id} tuned to {tuning.center_frequency_hz / 1e6:.6g} MHz{words}",
            {
                "frequency_hz": plain_number(tuning.center_frequency_hz),
                "sample_rate": plain_number(tuning.sample_rate_hz),
                **result,
            },
        )

    def _correct(self, correction_ppm: float, receiver: Receiver) -> float:
        if not isinstance(receiver, FrequencyCorrection):
            driver = self._chain.settings.driver
            raise ConfigError(f"receiver {self._id} (driver {driver}) has no frequency_correction_ppm to set")
        return receiver.set_frequency_correction(correction_ppm)

    def _set_gain(self, command: CommandMessage) -> Outcome:
        gain_db = command.gain_db if command.gain_db is not None else "auto"
        answer = self._answer_of(self._chain.reader.request(partial(self._set_gain_of, gain_db)))
        # A device that tells which of its steps it took is believed.
        told = isinstance(answer, int | float) and not isinstance(answer, bool)
        taken: object = answer if told else gain_db
        words = "automatic" if taken == "auto" else f"{taken:.1f} dB"
        return Outcome("succeeded", f"gain of receiver {self._id} is {words}", {"gain_db": taken})

    def _set_gain_of(self, gain_db: float | Literal["auto"], receiver: Receiver) -> object:
        if not isinstance(receiver, GainControl):
            raise ConfigError(f"receiver {self._id} (driver {self._chain.settings.driver}) has no gain to set")
        return receiver.set_gain(gain_db)

    def _capture(self, command: CommandMessage) -> Outcome | None:
        captures = self._chain.captures
        if captures is None:
            raise ConfigError("captures are switched off: no folder for them is configured")

        def done(outcome: CaptureResult | HeraldError) -> None:
            if isinstance(outcome, HeraldError):
                self._finish(command, Outcome("failed", str(outcome)))
            else:
                words = f"captured {outcome.seconds:.1f} s of receiver {self._id}"
                if outcome.missing_s:
                    words += f"; {outcome.missing_s:.3g} s of what was asked for were not to be had"
                self._finish(command, Outcome("succeeded", words, outcome.to_dict()))

        if not captures.begin(command, done, is_live=self._chain.reader.state == "running"):
            return Outcome("busy", f"busy: too many captures of receiver {self._id} are under way")
        return None

    def _get_spectrum(self) -> Outcome:
        publisher = self._chain.publisher
        spectrum = publisher.last_spectrum
        if spectrum is None or time.monotonic() - publisher.last_spectrum_s > SPECTRUM_TTL_S:
            raise DeviceError(f"receiver {self._id} gave no spectrum in the last {SPECTRUM_TTL_S} s{self._why()}")
        return Outcome("succeeded", f"latest spectrum of receiver {self._id}", spectrum.model_dump())

    def _refuse_ended(self) -> None:
        if self._chain.reader.state == "ended":
            raise DeviceError(f"the recording of receiver {self._id} has been played to its end")

    def _open(self, stopping: threading.Event) -> None:
        self._chain.reader.resume()
        if not self._wait_for("running", stopping):
            raise DeviceError(f"receiver {self._id} did not open within {STATE_TIMEOUT_S:.0f} s{self._why()}")

    def _close(self, stopping: threading.Event) -> None:
        self._chain.reader.suspend()
        if not self._wait_for("stopped", stopping):
            raise DeviceError(f"receiver {self._id} did not stop within {STATE_TIMEOUT_S:.0f} s: its device hangs")

    def _wait_for(self, state: ReaderState, stopping: threading.Event) -> bool:
        deadline_s = time.monotonic() + STATE_TIMEOUT_S
        while self._chain.reader.state != state:
            if time.monotonic() > deadline_s:
                return False
            if stopping.wait(_POLL_S):
                raise DeviceError("the service is stopping")
        return True

    def _why(self) -> str:
        reader = self._chain.reader
        why = "it is stopped" if reader.state == "stopped" else reader.last_error
        return f": {why}" if why else ""

    def _answer_of(self, answer: Future[T]) -> T:
        try:
            return answer.result(REQUEST_TIMEOUT_S)
        except TimeoutError:
            # What has not begun is not done later, when nobody expects it any more.
            answer.cancel()
            raise DeviceError(f"receiver {self._id} did not answer within {REQUEST_TIMEOUT_S:.0f} s") from None


class CommandDesk:
    """Give commands out to the receivers' workers, and answer every one of them.

    Parameters
    ----------
    chains
        The receivers, by id.
    answer
        Takes a ``command_id`` and its result; must not wait.
    utc
        Clock. [UTC seconds]

    Attributes
    ----------
    answered
        What was taken and has an answer by now, for the one who took it off the list.
    """

    def __init__(
        self,
        chains: Mapping[str, Controlled],
        answer: Callable[[str, bytes], None],
        *,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._chains = dict(chains)
        self._answer = answer
        self._utc = utc
        self._waiting: dict[str, queue.Queue[CommandMessage]] = {
            receiver_id: queue.Queue(MAX_WAITING) for receiver_id in self._chains
        }
        self._memory = ResultMemory()
        self._payloads: dict[str, bytes] = {}
        self.answered: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(
            ("succeeded", "failed", "busy", "expired", "malformed", "unknown_receiver", "repeated", "interrupted"), 0
        )

    def worker(self, receiver_id: str) -> ReceiverCommands:
        """Make the worker of one receiver; after its death another one, which goes on with what waits."""
        return ReceiverCommands(self._chains[receiver_id], self._waiting[receiver_id], self._finish, utc=self._utc)

    def take(self, payload: bytes) -> None:
        """Take what stood on the list: give it out, or answer it here; called by one thread."""
        if not self._give_out(payload):
            self.answered.append(payload)

    def take_interrupted(self, payload: bytes) -> None:
        """Answer what was under way when the service died; it is not tried again."""
        command_id = read_command(payload).command_id
        log.warning("command %s was under way when the service ended", command_id)
        self._count("interrupted")
        if command_id is None:
            return
        message = "the SDR service ended while this was under way, and did not try it again: see sdr:metrics"
        result = CommandResultMessage(command_id=command_id, success=False, message=message).to_json()
        with self._lock:
            self._memory.finish(command_id, result)
        self._answer(command_id, result)

    def _give_out(self, payload: bytes) -> bool:
        """Give a command out; False when nobody works on it, since it was answered at once."""
        command = read_command(payload)
        command_id = command.command_id
        if command_id is not None and self._is_repeated(command_id):
            return False
        if isinstance(command, Refusal):
            self._count("malformed")
            _limited_log.warning("malformed", "command %s refused: %s", command_id or "without id", command.message)
            if command_id is not None:
                self._say(command_id, False, command.message)
            return False
        waiting = self._waiting.get(command.receiver_id)
        if waiting is None:
            self._count("unknown_receiver")
            known = ", ".join(self._waiting)
            _limited_log.warning("receiver", "command %s for unknown receiver %s", command_id, command.receiver_id)
            self._say(command.command_id, False, f"unknown receiver {command.receiver_id!r}; known are {known}")
            return False
        if command.expires_at is not None and self._utc() > command.expires_at:
            self._count("expired")
            log.info("command %s (%s %s) has expired", command_id, command.action, command.receiver_id)
            self._say(command.command_id, False, "expired")
            return False
        with self._lock:
            self._memory.begin(command.command_id)
            self._payloads[command.command_id] = payload
        try:
            waiting.put_nowait(command)
        except queue.Full:
            text = f"busy: {waiting.qsize()} commands wait for receiver {command.receiver_id}"
            self._finish(command, Outcome("busy", text))
        return True

    def status(self) -> dict[str, Any]:
        """Give counts of commands by outcome and what waits, for the metrics."""
        with self._lock:
            counts = dict(self._counts)
        return {**counts, "waiting": {receiver_id: waiting.qsize() for receiver_id, waiting in self._waiting.items()}}

    def _is_repeated(self, command_id: str) -> bool:
        """Whether the id was seen before; its result, if it has one, is then given again."""
        with self._lock:
            if not self._memory.knows(command_id):
                return False
            result = self._memory.find(command_id)
        self._count("repeated")
        if result is not None:
            self._answer(command_id, result)
        return True

    def _finish(self, command: CommandMessage, outcome: Outcome) -> None:
        success = outcome.kind == "succeeded"
        level = logging.INFO if success else logging.WARNING
        log.log(level, "command %s (%s): %s", command.command_id, command.action, outcome.message)
        self._count(outcome.kind)
        payload = CommandResultMessage(
            command_id=command.command_id, success=success, message=outcome.message, result=outcome.result
        ).to_json()
        with self._lock:
            if outcome.kind in ("busy", "expired"):
                self._memory.cancel(command.command_id)
            else:
                self._memory.finish(command.command_id, payload)
        self._answer(command.command_id, payload)
        with self._lock:
            taken = self._payloads.pop(command.command_id, None)
        if taken is not None:
            self.answered.append(taken)

    def _say(self, command_id: str, success: bool, message: str) -> None:
        self._answer(
            command_id, CommandResultMessage(command_id=command_id, success=success, message=message).to_json()
        )

    def _count(self, kind: str) -> None:
        with self._lock:
            self._counts[kind] += 1
