"""The arithmetic of a receiver's health: rate, lock, strength, clipping, and the faults by name.

No thread, clock or Redis: times come from the caller, in monotonic seconds. `find_faults` looks at one receiver from
the antenna towards Redis, so the first fault that breaks the flow is the first broken stage.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

FRESH_S = 1.0
"""Age of the last sample up to which a receiver is said to run. [seconds]"""

LOCKED_AFTER_S = 2.0
"""Time for which a signal must stand above the threshold before the receiver is said to be locked. [seconds]"""

FADE_S = 1.0
"""A signal that is below the threshold for less than this has not gone. [seconds]"""

FULL_STRENGTH_DB = 40.0
"""Ratio of signal to noise that reads as a `signal_strength` of 1."""

RATE_WINDOW_S = 30.0
"""Time over which the effective sample rate is measured. [seconds]"""

RATE_TOLERANCE = 0.005
"""Share by which the effective rate may differ from the nominal one."""

OVERFLOW_S = 3.0
"""Time for which the ring must overflow until the flow is said to be broken, and not to have had a hitch. [seconds]"""

CLIPPING_LIMIT = 0.001
"""Share of samples at full scale from which on the gain is said to be too high."""

FULL_PERCENT = 80.0
"""Fill of the ring above which it is said to be in trouble, as in the seed."""

PUBLISH_LATE_S = 5.0
"""Age of the last published message, while samples come, from which on the publisher is said to be stuck. [seconds]"""

SPECTRUM_LATE_S = 2.0
"""Age of the last spectrum, while samples come, from which on what is read off it is no longer true. [seconds]"""

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong with one receiver.

    Attributes
    ----------
    name
        Stable, for alert rules and programs: lower case and underlines.
    stage
        Where: ``receiver``, ``reader``, ``ring``, ``publisher``, ``signal`` or ``redis``.
    severity
        ``error`` where samples do not flow as they should, ``warning`` for the rest.
    text
        Cause, and what mends it, for a person.
    """

    name: str
    stage: str
    severity: Severity
    text: str

    def to_dict(self) -> dict[str, str]:
        """Give the fault's entry of ``sdr:metrics``."""
        return {"name": self.name, "stage": self.stage, "severity": self.severity, "text": self.text}


class FaultChanges:
    """Which faults have come and which have gone, for the log: a fault counts when it is seen twice in a row.

    Attributes
    ----------
    ended
        Names of the told faults that the last `note` did not find any more.
    """

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._told: set[str] = set()
        self.ended: list[str] = []

    def note(self, faults: Sequence[Fault]) -> list[Fault]:
        """Take in the faults of this moment, and give those that are to be told now."""
        names = {fault.name for fault in faults}
        self.ended = sorted(self._told - names)
        begun = [fault for fault in faults if fault.name in self._seen and fault.name not in self._told]
        self._told = (self._told & names) | {fault.name for fault in begun}
        self._seen = names
        return begun


class RateMeter:
    """The rate at which a device truly gives samples, over the last `RATE_WINDOW_S`.

    A line is laid through pairs of time and sample count, so that one late read moves the result little.
    """

    _STEP_S = 0.9

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque()
        self._epoch = 0

    def note(self, epoch: int, n_samples: int, at_s: float) -> None:
        """Take in how many samples the device had given in all when the last read returned.

        Parameters
        ----------
        epoch
            Grows with every start and retune: what was measured before says nothing about what comes.
        n_samples
            Samples since any fixed moment of this epoch.
        at_s
            When they had come. [monotonic seconds]
        """
        if epoch != self._epoch:
            self._epoch = epoch
            self._points.clear()
        if self._points and at_s - self._points[-1][0] < self._STEP_S:
            return
        self._points.append((at_s, n_samples))
        while len(self._points) > 2 and at_s - self._points[1][0] >= RATE_WINDOW_S:
            self._points.popleft()

    @property
    def rate_hz(self) -> float | None:
        """Samples per second; None until the window is full."""
        if len(self._points) < 3 or self._points[-1][0] - self._points[0][0] < RATE_WINDOW_S:
            return None
        return _slope(list(self._points))

    def error(self, nominal_hz: float) -> float:
        """Give by which share the rate has been off for the whole window; 0 when it has not, or not all the time.

        A pause of some seconds moves the rate of the window, but not that of each third of it.
        """
        rate_hz = self.rate_hz
        if rate_hz is None:
            return 0.0
        points, n = list(self._points), len(self._points)
        thirds = [points[0 : n // 3 + 1], points[n // 3 : 2 * n // 3 + 1], points[2 * n // 3 :]]
        error = rate_hz / nominal_hz - 1.0
        parts = [(_slope(third) / nominal_hz - 1.0) * np.sign(error) for third in thirds if len(third) >= 3]
        return error if len(parts) == 3 and min(parts) > RATE_TOLERANCE / 2.0 else 0.0


def _slope(points: list[tuple[float, int]]) -> float:
    """Lay a line through pairs of time and count, by least squares. [counts per second]"""
    first_s, first = points[0]
    at_s = np.array([point[0] - first_s for point in points])
    counted = np.array([point[1] - first for point in points], dtype=np.float64)
    at_s -= at_s.mean()
    return float(np.dot(at_s, counted) / np.dot(at_s, at_s))


class LockJudge:
    """Since when a signal has stood above a threshold.

    Parameters
    ----------
    threshold_db
        Ratio of signal to noise that counts as a signal.

    Attributes
    ----------
    since_s
        When it came; None while there is none. [monotonic seconds]
    """

    def __init__(self, threshold_db: float) -> None:
        self._threshold_db = threshold_db
        self._last_above_s = 0.0
        self.since_s: float | None = None

    def note(self, snr_db: float, now_s: float) -> None:
        """Take in one measurement."""
        if snr_db >= self._threshold_db:
            self._last_above_s = now_s
            if self.since_s is None:
                self.since_s = now_s
        elif now_s - self._last_above_s >= FADE_S:
            self.since_s = None

    def reset(self) -> None:
        """Forget: the receiver was tuned elsewhere."""
        self.since_s = None


def is_fresh(age_s: float | None) -> bool:
    """Whether a last sample of that age means that samples flow; None is never."""
    return age_s is not None and age_s <= FRESH_S


def is_locked(since_s: float | None, age_s: float | None, now_s: float) -> bool:
    """Whether a signal has stood long enough, and samples flow.

    Parameters
    ----------
    since_s
        As `LockJudge.since_s`.
    age_s
        Age of the last sample; None when there was none. [seconds]
    now_s
        [monotonic seconds]
    """
    return is_fresh(age_s) and since_s is not None and now_s - since_s >= LOCKED_AFTER_S


def signal_strength(snr_db: float) -> float:
    """Map a ratio of signal to noise to 0..1, as the seed has it: 0 is nothing, 1 is `FULL_STRENGTH_DB` and more."""
    return round(min(max(snr_db / FULL_STRENGTH_DB, 0.0), 1.0), 3)


def gain_advice(clipping: float, level_dbfs: float) -> str:
    """Say what to do about the gain; empty when it is right.

    Parameters
    ----------
    clipping
        Share of samples at full scale. [0..1]
    level_dbfs
        Level of the whole band.
    """
    if clipping > CLIPPING_LIMIT:
        step_db = 3 if clipping < 0.01 else 6 if clipping < 0.1 else 12
        return f"{100.0 * clipping:.2g} % of the samples clip: set gain_db about {step_db} dB lower"
    if level_dbfs < -75.0:
        return f"the level is only {level_dbfs:.0f} dBFS: set gain_db higher, and look at the antenna and its plug"
    return ""


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """What `find_faults` judges; every number is a reading of this moment.

    Attributes
    ----------
    age_s
        Age of the last sample; None when there was none. [seconds]
    error
        Why the device is not open; empty when it is.
    effective_rate_hz, rate_error
        The rate measured, None while there is none; and as `RateMeter.error`.
    fill_percent, overflow_s
        Of the ring: its fill, and for how long it has been losing samples at every look; 0 when it is not. [seconds]
    published_age_s
        Age of the last samples message; None when there was none. [seconds]
    reader_hung, publisher_hung
        Whether the thread lives without turning its loop.
    dropping, history_short
        What is dropped on the way to Redis, and how short the history there is, in words; empty when neither is so.
    gap_s
        For how long the device has been losing samples at every look; 0 when it is not. [seconds]
    spectrum_age_s
        Age of the last spectrum since the device was opened; None while none is due yet. [seconds]
    has_signal, snr_db, clipping, level_dbfs
        Whether a signal stands above the threshold, its ratio to the noise, clipping and level.
    is_idle
        Whether no samples are due: the receiver was stopped by a person, or its recording is over.
    """

    age_s: float | None
    error: str
    effective_rate_hz: float | None
    rate_error: float
    fill_percent: float
    overflow_s: float
    published_age_s: float | None
    reader_hung: bool
    publisher_hung: bool
    has_signal: bool
    snr_db: float
    clipping: float
    level_dbfs: float
    is_idle: bool = False
    dropping: str = ""
    history_short: str = ""
    gap_s: float = 0.0
    spectrum_age_s: float | None = None


def find_faults(state: ReceiverState) -> list[Fault]:
    """Name everything that is wrong with a receiver, from the antenna towards Redis."""
    found: list[Fault] = []

    def add(name: str, stage: str, severity: Severity, text: str) -> None:
        found.append(Fault(name, stage, severity, text))

    fresh = is_fresh(state.age_s)
    if state.reader_hung:
        add("reader_hung", "reader", "error", "the reader's thread hangs in the device; restart the SDR service")
    if state.is_idle:
        return found
    if not fresh:
        since = "no samples yet" if state.age_s is None else f"no samples for {state.age_s:.1f} s"
        add("no_samples", "receiver", "error", f"{since}: {state.error or 'the device is open, but silent'}")
    if fresh and state.effective_rate_hz is not None and abs(state.rate_error) > RATE_TOLERANCE:
        nominal_hz = state.effective_rate_hz / (1.0 + state.rate_error)
        text = f"{state.effective_rate_hz:.0f} samples a second come instead of {nominal_hz:.0f}"
        cause = "the link or the host loses samples" if state.rate_error < 0 else "the device runs at another rate"
        add("sample_rate_off", "receiver", "error", f"{text} ({100.0 * state.rate_error:+.2f} %): {cause}")
    if fresh and state.gap_s:
        gap_severity: Severity = "error" if state.gap_s >= OVERFLOW_S else "warning"
        text = "the device loses samples: lower sample_rate_hz, or look at the USB port, its cable and the host's load"
        add("device_overflow", "receiver", gap_severity, text)
    if state.publisher_hung:
        add("publisher_hung", "publisher", "error", "the publisher's thread hangs; restart the SDR service")
    elif fresh and state.published_age_s is not None and state.published_age_s > PUBLISH_LATE_S:
        add("publisher_late", "publisher", "error", f"samples come, none published for {state.published_age_s:.1f} s")
    if state.overflow_s:
        severity: Severity = "error" if state.overflow_s >= OVERFLOW_S else "warning"
        add("ring_overflow", "ring", severity, "Ring buffer overflow: the publisher is too slow, samples are dropped")
    elif state.fill_percent > FULL_PERCENT:
        add("ring_nearly_full", "ring", "warning", f"fill_percentage is {state.fill_percent:.0f}")
    # Warnings: what waits may still go out, and a restart would lose it.
    if state.dropping:
        add("redis_dropping", "redis", "warning", state.dropping)
    if state.history_short:
        add("history_short", "redis", "warning", state.history_short)
    seen = fresh and (state.spectrum_age_s is None or state.spectrum_age_s <= SPECTRUM_LATE_S)
    if fresh and not seen:
        add("spectrum_late", "publisher", "error", f"samples come, but no spectrum for {state.spectrum_age_s:.1f} s")
    advice = gain_advice(state.clipping, state.level_dbfs) if seen else ""
    if advice:
        add("clipping" if state.clipping > CLIPPING_LIMIT else "level_low", "signal", "warning", advice)
    if seen and not state.has_signal:
        add("not_locked", "signal", "warning", f"no signal: the strongest is {state.snr_db:.1f} dB over the noise")
    return found
