"""PCM in, SAME events out: joins the stages and keeps the life of a message.

A message's bursts are collected in a group. Whenever a burst seems to be over, all bursts so far are assembled; as soon
as the header is certain it is given, and the bursts that still come are only compared with it. An end of message, a
burst that says something else, or silence closes the group.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app_core.eas.assembler import Gaps, Verdict, agreement, assemble, likeness
from app_core.eas.events import BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified, SameEvent
from app_core.eas.framing import MAX_BURST_BITS, Burst
from app_core.eas.matched_filter import HOP, RATE, SAMPLES_PER_BIT, FrontEnd, SampleHistory
from app_core.eas.timing import N_KNOWN_BITS, N_PREAMBLE_BITS, BurstSearch, Candidate, Fit, fit_start

_SECOND = float(RATE)
_MARGIN = 32  # samples around a burst
_HISTORY = int(7.0 * _SECOND)  # the longest burst, 3.3 % slow, and the search's delay
_LONGEST_PAUSE = 2.2 * _SECOND
_SEARCH_DELAY = 0.8 * _SECOND
_SHORTEST_HEADER_BITS = N_PREAMBLE_BITS + 8 * 40
_MAX_TRIES = 3  # assemblies of one burst before its longest possible end
_ALIKE = 0.8
_SETTLING_S = 2  # after this the stages have seen all of the stream's end
_MAX_ZEROS_S = 20.0  # longer losses than this cannot matter: nothing is pending any more


@dataclass(slots=True)
class _Group:
    """The header bursts of one message."""

    bursts: list[Burst] = field(default_factory=list)
    verdict: Verdict | None = None
    first_start: float = 0.0
    last_end: float = 0.0
    accepted: bool = False

    def window(self) -> float:
        """Position until which another burst of the message may start."""
        duration = self.last_end - self.bursts[-1].start if self.bursts else 0.0
        return self.last_end + 2.0 * _LONGEST_PAUSE + duration + _SEARCH_DELAY


class SameDecoder:
    """Decodes the SAME headers and ends of message of one audio stream.

    Parameters
    ----------
    sample_rate_hz
        Rate of the PCM, 8 to 192 kHz.

    Raises
    ------
    ValueError
        If the rate is outside that range.
    """

    def __init__(self, sample_rate_hz: float) -> None:
        self._rate_hz = sample_rate_hz
        self._origin = 0  # position in the input stream at which the stages below were started
        self._restart()

    def _restart(self) -> None:
        self._front = FrontEnd(self._rate_hz)
        self._search = BurstSearch()
        self._history = SampleHistory(_HISTORY)
        self._gaps: Gaps = []
        self._group: _Group | None = None
        self._open: Burst | None = None
        self._tries = 0
        self._level = 0.0  # activity of the open burst's preamble
        self._activity: list[float] = []
        self._last_end_burst = -np.inf
        self._pushed = 0
        self._skipped = 0

    def push(self, pcm: NDArray[np.float32]) -> list[SameEvent]:
        """Take the samples that follow, shape (n,), n >= 0, and give the events that they decide.

        Samples that are not finite count as zero. How the stream is cut into blocks changes no event.
        """
        if len(pcm) and self._skipped > self._max_zeros:
            self._origin += self._pushed + (self._skipped - self._max_zeros)
            self._restart()
        if len(pcm):
            self._skipped = 0
        return self._feed(np.asarray(pcm, np.float32))

    @property
    def _max_zeros(self) -> int:
        return int(_MAX_ZEROS_S * self._rate_hz)

    def skip(self, n_samples: int) -> list[SameEvent]:
        """Let time go on by `n_samples` >= 0 samples that were lost: their bits are erasures, not zeros."""
        if n_samples <= 0:
            return []
        room = max(0, self._max_zeros - self._skipped)
        self._skipped += n_samples
        n_zeros = min(n_samples, room)
        if not n_zeros:
            return []
        step = float(self._front.step)
        low, high = self._pushed / step, (self._pushed + n_zeros) / step
        if self._gaps and self._gaps[-1][1] >= low - 1.0:
            low = self._gaps.pop()[0]
        self._gaps.append((low, high))
        return self._feed(np.zeros(n_zeros, np.float32))

    def finish(self) -> list[SameEvent]:
        """Say that the stream has ended, and give what was pending. Samples pushed later start afresh."""
        events: list[SameEvent] = []
        seconds = 0
        while seconds < _MAX_ZEROS_S and (seconds < _SETTLING_S or self._pending()):
            events += self.skip(int(self._rate_hz))
            seconds += 1
        self._skipped = self._max_zeros + 1
        return events

    def _pending(self) -> bool:
        undecided = self._group is not None and not self._group.accepted
        return undecided or self._open is not None or self._search.pending

    def _feed(self, pcm: NDArray[np.float32]) -> list[SameEvent]:
        events: list[SameEvent] = []
        taken = 0
        while taken < len(pcm):
            piece = pcm[taken : taken + 65536]
            taken += len(piece)
            self._pushed += len(piece)
            self._front.push(piece)
            while (hop := self._front.pop()) is not None:
                self._take_hop(*hop, events)
        return events

    def _take_hop(self, samples: NDArray[np.float32], balance: NDArray[np.float32], events: list[SameEvent]) -> None:
        self._history.append(samples)
        self._activity.append(float(np.abs(balance).mean()))
        del self._activity[:-16]
        for candidate in self._search.push(balance):
            self._take_candidate(candidate, events)
        self._advance(events)
        oldest = self._history.end - _HISTORY
        while self._gaps and self._gaps[0][1] < oldest:
            del self._gaps[0]

    # ---- bursts

    def _take_candidate(self, candidate: Candidate, events: list[SameEvent]) -> None:
        origin = int(candidate.start) - _MARGIN
        length = int(N_KNOWN_BITS * SAMPLES_PER_BIT * 1.04) + 2 * _MARGIN
        fit = fit_start(self._history.cut(origin, origin + length), candidate.start - origin, candidate.clock)
        if fit.word < 0:
            return
        start = origin + fit.start
        if fit.word == 0:
            self._take_header_burst(start, fit, events)
        else:
            self._take_end_burst(start, fit.clock, events)

    def _take_end_burst(self, start: float, clock: float, events: list[SameEvent]) -> None:
        self._close_burst(start, events)
        self._close_group(events)
        end = start + N_KNOWN_BITS * SAMPLES_PER_BIT / (1.0 + clock)
        events.append(BurstHeard("end", self._place(start), self._place(end), 0.0, clock))
        if start - self._last_end_burst > 2.5 * _LONGEST_PAUSE:
            events.append(EndOfMessage(self._place(start), self._place(end)))
        self._last_end_burst = start

    def _take_header_burst(self, start: float, fit: Fit, events: list[SameEvent]) -> None:
        self._close_burst(start, events)
        self._last_end_burst = -np.inf
        if self._group is not None and start > self._group.window():
            self._close_group(events)
        limit = start + MAX_BURST_BITS * SAMPLES_PER_BIT / (1.0 + fit.clock)
        self._open = Burst(start=start, clock=fit.clock, detuning=fit.detuning, limit=limit)
        self._tries = 0
        past = int((self._history.end - start) // HOP)
        self._level = float(np.median(self._activity[-past:][:2])) if past else 0.0

    def _advance(self, events: list[SameEvent]) -> None:
        now = self._history.end
        burst = self._open
        if burst is not None:
            if now > burst.limit + _MARGIN:
                self._close_burst(burst.limit, events)
            elif (
                self._tries < _MAX_TRIES
                and now > burst.position_of_bit(_SHORTEST_HEADER_BITS)
                and self._activity[-1] < 0.5 * (self._level + 0.5)
            ):
                self._tries += 1
                self._try_burst(events, final=False)
        elif self._group is not None:
            if now > self._group.last_end + _LONGEST_PAUSE + _SEARCH_DELAY:
                self._decide(self._group, events, early=False)
            if now > self._group.window() + _SEARCH_DELAY:
                self._close_group(events)

    def _close_burst(self, limit: float, events: list[SameEvent]) -> None:
        if self._open is not None:
            self._open.limit = min(self._open.limit, limit)
            self._try_burst(events, final=True)

    def _try_burst(self, events: list[SameEvent], *, final: bool) -> None:
        """Assemble the group with the open burst, which joins it for good when that decides or when it is over."""
        burst = self._open
        assert burst is not None  # noqa: S101
        burst.origin = int(burst.start) - _MARGIN
        burst.samples = self._history.cut(burst.origin, min(self._history.end, int(burst.limit) + _MARGIN))
        if burst.detuning:
            burst.follow_bit_clock(self._gaps)
        else:
            burst.correlate(self._gaps)
        group = self._group
        if group is not None and not self._belongs(group, burst):
            if not final:
                alone = assemble([burst], self._gaps)
                if alone.header(early=True) is None:
                    return
            self._close_group(events)
            group = None
        if group is None:
            group = _Group(first_start=burst.start)
        if group.accepted:
            assert group.verdict is not None  # noqa: S101
            self._join(group, burst, events)
            return
        verdict = assemble([*group.bursts, burst], self._gaps)
        early = len(group.bursts) < 2
        if verdict.header(early=early) is None and not final:
            return
        group.verdict = verdict
        self._join(group, burst, events)
        self._decide(group, events, early=early)

    def _decide(self, group: _Group, events: list[SameEvent], *, early: bool) -> None:
        """Give the group's header if it is certain enough."""
        assert group.verdict is not None  # noqa: S101
        header = group.verdict.header(early=early)
        if group.accepted or header is None:
            return
        group.accepted = True
        events.append(
            HeaderDecoded(
                header=header,
                start_sample=self._place(group.first_start),
                end_sample=self._place(group.last_end),
                bursts=len(group.bursts),
                error_probability=group.verdict.error_probability,
                snr_db=group.verdict.snr_db,
            )
        )

    def _belongs(self, group: _Group, burst: Burst) -> bool:
        if group.verdict is None:
            return True
        if group.accepted:
            return agreement(burst, group.verdict.reading.bits) > _ALIKE
        return max(likeness(b, burst, len(group.verdict.reading.bits)) for b in group.bursts) > _ALIKE - 0.1

    def _join(self, group: _Group, burst: Burst, events: list[SameEvent]) -> None:
        assert group.verdict is not None  # noqa: S101
        n_bits = N_PREAMBLE_BITS + len(group.verdict.reading.bits)
        end = min(burst.position_of_bit(n_bits), burst.limit)
        group.bursts.append(burst)
        group.last_end = end
        self._group = group
        self._open = None
        events.append(
            BurstHeard("header", self._place(burst.start), self._place(end), group.verdict.snr_db, burst.clock)
        )

    def _close_group(self, events: list[SameEvent]) -> None:
        group, self._group = self._group, None
        if group is None or group.verdict is None:
            return
        self._decide(group, events, early=False)
        if group.accepted:
            return
        events.append(
            HeaderUnverified(
                best_guess=group.verdict.reading.text,
                start_sample=self._place(group.first_start),
                end_sample=self._place(group.last_end),
                bursts=len(group.bursts),
                error_probability=group.verdict.error_probability,
                snr_db=group.verdict.snr_db,
            )
        )

    def _place(self, position: float) -> int:
        """Position at the decoder's rate to a sample of the input stream."""
        return self._origin + max(0, round(position * float(self._front.step)))
