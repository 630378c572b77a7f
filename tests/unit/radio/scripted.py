"""A receiver that does what a test says, one step a read: samples, losses, failures."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app_core.base.errors import DeviceError
from app_core.bridge.history import Position
from app_core.bridge.messages import SamplesMessage
from app_core.radio.receiver import Reading, RtlTcpSettings, Tuning

RATE_HZ = 250_000.0
FREQUENCY_HZ = 162_487_500.0


def receiver_settings(**changes: object) -> RtlTcpSettings:
    """Give settings with messages of 1024 samples, unless `changes` says otherwise."""
    return RtlTcpSettings.model_validate({"id": "rx", "driver": "rtl_tcp", "samples_per_message": 1024, **changes})


@dataclass
class ScriptedReceiver:
    """Reads come from `steps`: a number of samples, a `Reading` made by hand, or an error.

    Its samples count up from 0, lost ones counted, so that each says its own index. Without a step it times out.
    """

    steps: deque[int | Reading | DeviceError] = field(default_factory=deque)
    open_errors: deque[Exception] = field(default_factory=deque)
    waits: bool = False
    rate_hz: float = RATE_HZ
    opened: int = 0
    closed: int = 0
    next_sample: int = 0

    def open(self) -> Tuning:
        """Open, or fail with the next of `open_errors`."""
        if self.open_errors:
            raise self.open_errors.popleft()
        self.opened += 1
        return Tuning(self.rate_hz, FREQUENCY_HZ)

    def read_into(self, iq: NDArray[np.complex64], timeout_s: float) -> Reading:
        """Do the next step."""
        if not self.steps:
            time.sleep(0.001)
            return Reading(0, time.time())
        step = self.steps.popleft()
        if isinstance(step, DeviceError):
            raise step
        if isinstance(step, int):
            step = Reading(step, time.time())
        if step.n_samples > len(iq):
            self.steps.appendleft(Reading(step.n_samples - len(iq), step.timestamp))
            step = Reading(len(iq), step.timestamp, step.lost_samples)
        self.next_sample += step.lost_samples
        iq[: step.n_samples] = numbered(self.next_sample, step.n_samples)
        self.next_sample += step.n_samples
        return step

    def close(self) -> None:
        """Count."""
        self.closed += 1


def numbered(first: int, n_samples: int) -> NDArray[np.complex64]:
    """Samples that say their own index, of a level far below full scale; shape (n_samples,)."""
    index = np.arange(first, first + n_samples, dtype=np.int64)
    return (((index & 0xFFF) + 1j * (index >> 12)) / 65536.0).astype(np.complex64)


class Published:
    """Keeps what a publisher puts; `put` is its way out."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes, int | None]] = []

    def put(self, channel: str, payload: bytes, ttl_s: int | None, position: Position | None = None) -> None:
        """Keep one."""
        self.frames.append((channel, payload, ttl_s))

    def payloads(self, channel: str) -> list[bytes]:
        """Give what went to one channel."""
        return [payload for name, payload, _ in list(self.frames) if name == channel]

    def samples(self, receiver_id: str = "rx") -> list[SamplesMessage]:
        """Give the samples messages."""
        return [SamplesMessage.from_json(payload) for payload in self.payloads(f"sdr:samples:{receiver_id}")]
