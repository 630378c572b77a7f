"""What one channel sends when: a programme that goes on for ever, and insertions that replace it for their time.

All positions are samples at `LOW_RATE_HZ` since the stream began. A programme is a function of the position alone, so
after an insertion it is heard where it would be without one, as when a voice announcer is interrupted.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app_core.synth.clips import ClipStore
from app_core.synth.modulation import LOW_RATE_HZ, MODULATION_STEP, emphasis_gain
from app_core.synth.plan import Programme, Recording, Speech, Tone

_STEP = np.float32(MODULATION_STEP)


class Carrier(Protocol):
    """A programme as modulation."""

    def fill(self, modulation: NDArray[np.float32], position: int) -> None:
        """Write the modulation from `position` on into an array of shape (n,). [full deviation = 1]"""


class SilentCarrier:
    """No modulation."""

    def fill(self, modulation: NDArray[np.float32], position: int) -> None:
        """Write zeros into an array of shape (n,)."""
        modulation[:] = 0.0


class ToneCarrier:
    """A steady tone."""

    def __init__(self, tone: Tone) -> None:
        self._cycles_per_sample = tone.frequency_hz / LOW_RATE_HZ
        self._peak = tone.level * emphasis_gain(tone.frequency_hz)

    def fill(self, modulation: NDArray[np.float32], position: int) -> None:
        """Write the limited tone into an array of shape (n,). [full deviation = 1]"""
        cycles = (position + np.arange(modulation.size)) * self._cycles_per_sample % 1.0
        modulation[:] = np.clip(self._peak * np.sin(2.0 * np.pi * cycles), -1.0, 1.0)


class ClipCarrier:
    """A clip, once or again and again.

    Parameters
    ----------
    clip
        Shape (n,), n >= 1. [MODULATION_STEP]
    start
        Position of its first sample; a looped clip sounds before that too.
    period
        Distance between repetitions, at least n; None plays it once.
    """

    def __init__(self, clip: NDArray[np.int16], *, start: int = 0, period: int | None = None) -> None:
        self._clip = clip
        self._start = start
        self._period = period

    def fill(self, modulation: NDArray[np.float32], position: int) -> None:
        """Write the clip's part, and zeros around it, into an array of shape (n,). [full deviation = 1]"""
        modulation[:] = 0.0
        index = position - self._start
        if self._period is None:
            _place(modulation, self._clip, index)
            return
        index %= self._period
        while index > -modulation.size:
            _place(modulation, self._clip, index)
            index -= self._period


def _place(modulation: NDArray[np.float32], clip: NDArray[np.int16], index: int) -> None:
    """Write what of `clip` falls into `modulation`, whose first sample is the clip's sample `index`."""
    begin = max(0, -index)
    end = min(modulation.size, clip.size - index)
    if begin < end:
        np.multiply(clip[index + begin : index + end], _STEP, out=modulation[begin:end])


def make_carrier(programme: Programme, store: ClipStore) -> Carrier:
    """Prepare a programme; speech and recordings are taken from `store`.

    Raises
    ------
    ConfigError
        If a recording cannot be read.
    """
    if isinstance(programme, Tone):
        return ToneCarrier(programme)
    if isinstance(programme, Speech):
        clip = store.speech(programme.text, programme.voice)
        return ClipCarrier(clip, period=clip.size + round(programme.pause_s * LOW_RATE_HZ))
    if isinstance(programme, Recording):
        clip = store.recording(programme.path)
        period = clip.size + round(programme.pause_s * LOW_RATE_HZ) if programme.looped else None
        return ClipCarrier(clip, start=round(programme.start_s * LOW_RATE_HZ), period=period)
    return SilentCarrier()


class Timeline:
    """The modulation of one channel, from the start on.

    Parameters
    ----------
    carrier
        The programme.
    """

    GAP = LOW_RATE_HZ
    """Silence between two insertions that want the same time."""

    def __init__(self, carrier: Carrier) -> None:
        self._carrier = carrier
        self._insertions: deque[tuple[int, NDArray[np.int16]]] = deque()
        self._free_from = 0
        self._position = 0

    def insert(self, start: int, clip: NDArray[np.int16]) -> int:
        """Let a clip of shape (n,) replace the programme from `start` on, or from when it can. Give its position."""
        start = max(start, self._position, self._free_from)
        self._insertions.append((start, clip))
        self._free_from = start + clip.size + self.GAP
        return start

    def read(self, modulation: NDArray[np.float32]) -> None:
        """Write the next samples into an array of shape (n,). [full deviation = 1]"""
        self._carrier.fill(modulation, self._position)
        for start, clip in self._insertions:
            _place(modulation, clip, self._position - start)
        self._position += modulation.size
        while self._insertions:
            start, clip = self._insertions[0]
            if start + clip.size > self._position:
                break
            self._insertions.popleft()
