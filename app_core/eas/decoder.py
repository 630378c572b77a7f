"""PCM in, SAME events out: joins the stages and keeps the life of a message.

A message's bursts are collected in a group. Whenever a burst seems to be over, all bursts so far are assembled; as soon
as the header is certain it is given, and the bursts that still come are only compared with it. An end of message, a
burst that says something else, or silence closes the group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app_core.eas.assembler import Verdict, agreement, assemble, likeness
from app_core.eas.events import BurstHeard, EndOfMessage, HeaderDecoded, HeaderUnverified, SameEvent, SoftBits
from app_core.eas.framing import MARGIN, MAX_BURST_BITS, Burst, Gaps, noncoherent_evidence
from app_core.eas.matched_filter import HOP, RATE, SAMPLES_PER_BIT, FrontEnd, SampleHistory
from app_core.eas.timing import N_KNOWN_BITS, N_PREAMBLE_BITS, BurstSearch, Candidate, Fit, fit_start

_BURSTS = 3  # of a header
_SECOND = float(RATE)
_HISTORY = int(7.0 * _SECOND)  # the longest burst, 3.3 % slow, and the search's delay
_LONGEST_PAUSE = 2.2 * _SECOND
_SEARCH_DELAY = 0.8 * _SECOND
_SHORTEST_HEADER_BITS = N_PREAMBLE_BITS + 8 * 40
_MAX_TRIES = 3  # assemblies of one burst before its longest possible end
_ALIKE = 0.75  # two headers that differ reach some 0.6, noisy bursts of one 0.9
_CONTRADICTS = 10.0  # nats for one bit: a burst of the same message says so once in some ten
_MOST_BURSTS = 4  # that are kept, should a sender never end
_SETTLING_S = 2  # after this the stages have seen all of the stream's end
_MAX_ZEROS_S = 20.0  # longer losses than this cannot matter: nothing is pending any more


@dataclass(slots=True)
class _Group:
    """The header bursts of one message, with what they say together."""

    bursts: list[Burst]
    verdict: Verdict
    last_end: float
    rival: bool = False  # much like the message that was given before it, so one burst alone proves nothing
    spoilt: bool = False  # or it may be that message's last burst, spoilt

    @property
    def n_bits(self) -> int:
        """Length of a burst, preamble included."""
        return N_PREAMBLE_BITS + len(self.verdict.reading.bits)

    @property
    def overdue(self) -> float:
        """Position at which the next burst should have been heard."""
        return self.last_end + _LONGEST_PAUSE + _SEARCH_DELAY

    @property
    def window(self) -> float:
        """Position until which the message may go on, one burst being lost."""
        return self.overdue + _LONGEST_PAUSE + self.n_bits * self.bursts[-1].samples_per_bit + _SEARCH_DELAY


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
        self._group: _Group | None = None  # bursts whose header is not certain yet
        self._given: _Group | None = None  # the message whose header was given, while it may go on
        self._open: Burst | None = None
        self._tries = 0
        self._tried: tuple[Verdict, float] | None = None  # the open burst's last assembly, and where its header ends
        self._rival = False  # the open burst is much like the message that was given
        self._quiet = False
        self._expected: float | None = None  # where the open burst should end
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
            self._origin = self._position
            self._restart()
        if len(pcm):
            self._skipped = 0
        return self._feed(np.asarray(pcm, np.float32))

    @property
    def _position(self) -> int:
        """Position in the input stream of the sample that comes next."""
        return self._origin + self._pushed + max(0, self._skipped - self._max_zeros)

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
        """Say that the stream has ended, and give what was pending. Samples pushed later start afresh, behind it."""
        position = self._position
        events: list[SameEvent] = []
        seconds = 0
        while seconds < _MAX_ZEROS_S and (seconds < _SETTLING_S or self._pending()):
            events += self.skip(int(self._rate_hz))
            seconds += 1
        self._origin = position
        self._restart()
        return events

    def _pending(self) -> bool:
        return self._group is not None or self._open is not None or self._search.pending

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

    def _take_candidate(self, candidate: Candidate, events: list[SameEvent]) -> None:
        origin = int(candidate.start) - MARGIN
        length = int(N_KNOWN_BITS * SAMPLES_PER_BIT * 1.04) + 2 * MARGIN
        fit = fit_start(self._history.cut(origin, origin + length), candidate.start - origin, candidate.clock)
        if fit.word < 0:
            return
        start = origin + fit.start
        if fit.word == 0:
            self._take_header_burst(start, fit, events)
        else:
            self._take_end_burst(start, fit, events)

    def _take_end_burst(self, start: float, fit: Fit, events: list[SameEvent]) -> None:
        self._close_burst(start, events)
        self._close_group(events)
        self._given = None
        end = start + N_KNOWN_BITS * SAMPLES_PER_BIT / (1.0 + fit.clock)
        events.append(BurstHeard("end", self._place(start), self._place(end), fit.snr_db, fit.clock))
        if start - self._last_end_burst > 2.5 * _LONGEST_PAUSE:
            events.append(EndOfMessage(self._place(start), self._place(end)))
        self._last_end_burst = start

    def _take_header_burst(self, start: float, fit: Fit, events: list[SameEvent]) -> None:
        self._close_burst(start, events)
        self._last_end_burst = -np.inf
        self._forget(start, events)
        limit = start + MAX_BURST_BITS * SAMPLES_PER_BIT / (1.0 + fit.clock)
        self._open = Burst(start=start, clock=fit.clock, detuning=fit.detuning, limit=limit)
        self._tries = 0
        self._tried = None
        self._quiet = False
        before = self._given or self._group
        self._expected = self._open.position_of_bit(before.n_bits) + MARGIN if before is not None else None
        past = int((self._history.end - start) // HOP)
        self._level = float(np.median(self._activity[-past:][:2])) if past else 0.0

    def _advance(self, events: list[SameEvent]) -> None:
        now = self._history.end
        burst = self._open
        if burst is None:
            self._forget(now, events)
        elif now > burst.limit + MARGIN:
            self._close_burst(burst.limit, events)
        elif self._seems_over(burst, now):
            self._try_burst(burst, events, final=False)

    def _forget(self, position: float, events: list[SameEvent]) -> None:
        """Decide and drop what is over at `position`."""
        if self._group is not None and position > self._group.overdue:
            self._decide(self._group, events, early=False)
        if self._group is not None and position > self._group.window:
            self._close_group(events)
        if self._given is not None and position > self._given.window:
            self._given = None

    def _seems_over(self, burst: Burst, now: int) -> bool:
        """Whether the open burst's tones have just ceased, or it is as long as the one before it."""
        was_quiet, self._quiet = self._quiet, self._activity[-1] < 0.5 * (self._level + 0.5)
        if now < burst.position_of_bit(_SHORTEST_HEADER_BITS):
            return False
        if self._expected is not None and now > self._expected:
            self._expected = None
            return True
        if self._tries < _MAX_TRIES and self._quiet and not was_quiet:
            self._tries += 1
            return True
        return False

    def _close_burst(self, limit: float, events: list[SameEvent]) -> None:
        if self._open is not None:
            self._open.limit = min(self._open.limit, limit)
            self._try_burst(self._open, events, final=True)

    def _try_burst(self, burst: Burst, events: list[SameEvent], *, final: bool) -> None:
        """Assemble the open burst with its group. It joins the group for good when that decides, or when it is over."""
        if final and self._tried is not None and self._tried[1] < min(burst.limit, self._history.end):
            # More samples would add nothing but what follows the header.
            self._settle(burst, self._tried[0], events)
            return
        burst.receive(self._history, self._gaps)
        share, contradiction = 0.0, 0.0
        if self._given is not None:
            share, contradiction = agreement(burst, self._given.verdict.reading.bits)
            # A fourth burst may be a new message that is much alike.
            if share > _ALIKE and contradiction < _CONTRADICTS and len(self._given.bursts) < _BURSTS:
                self._open = None
                self._add(self._given, burst, events)
                return
        self._rival = share > _ALIKE
        group, alone = self._group, False
        if group is not None:
            alone = max(likeness(b, burst, group.n_bits) for b in group.bursts) < _ALIKE
        verdict = assemble([burst] if group is None or alone else [*group.bursts, burst], self._gaps)
        if not final and verdict.header(early=group is None or alone or len(group.bursts) < _BURSTS - 1) is None:
            if not alone:
                self._tried = (verdict, burst.position_of_bit(N_PREAMBLE_BITS + len(verdict.reading.bits)))
            return
        if alone:
            self._close_group(events)
        self._settle(burst, verdict, events)

    def _settle(self, burst: Burst, verdict: Verdict, events: list[SameEvent]) -> None:
        """Let the open burst join the group, with what they say together, and give the header if it is certain."""
        self._open = None
        if self._group is None:
            spoilt = self._rival and self._given is not None and len(self._given.bursts) < _BURSTS
            self._group = _Group([], verdict, burst.start, self._rival, spoilt)
        self._group.verdict = verdict
        self._add(self._group, burst, events)
        self._decide(self._group, events, early=len(self._group.bursts) < _BURSTS)

    def _add(self, group: _Group, burst: Burst, events: list[SameEvent]) -> None:
        group.bursts.append(burst)
        group.last_end = min(burst.position_of_bit(group.n_bits), burst.limit)
        end = self._place(group.last_end)
        evidence = noncoherent_evidence(burst)
        bits = evidence.bits[: len(group.verdict.reading.bits)]
        soft_bits = (bits[:, 1] - bits[:, 0]).astype(np.float32)
        start = self._place(burst.start)
        events.append(BurstHeard("header", start, end, float(evidence.snr_db), float(burst.clock), soft_bits))
        del group.bursts[_MOST_BURSTS:]

    def _decide(self, group: _Group, events: list[SameEvent], *, early: bool) -> None:
        """Give the group's header if it is certain enough."""
        header = group.verdict.header(early=early)
        if header is None or (group.rival and len(group.bursts) < 2 and header.text != self._given_text()):
            return
        self._group = None
        if self._given is not None and header.text == self._given_text():
            self._given.last_end = group.last_end
            return
        self._given = group
        events.append(HeaderDecoded(header, *self._extent(group)))

    def _given_text(self) -> str:
        return self._given.verdict.reading.text if self._given is not None else ""

    def _close_group(self, events: list[SameEvent]) -> None:
        if self._group is not None:
            self._decide(self._group, events, early=False)
        group, self._group = self._group, None
        if group is None:
            return
        if not (group.spoilt and len(group.bursts) == 1):
            events.append(HeaderUnverified(group.verdict.reading.text, *self._extent(group)))

    def _extent(self, group: _Group) -> tuple[int, int, int, float, float, SoftBits]:
        """What `HeaderDecoded` and `HeaderUnverified` say beside the header."""
        start, end = self._place(group.bursts[0].start), self._place(group.last_end)
        verdict = group.verdict
        return start, end, len(group.bursts), verdict.error_probability, verdict.snr_db, verdict.soft_bits

    def _place(self, position: float) -> int:
        """Position at the decoder's rate to a sample of the input stream."""
        return self._origin + max(0, round(position * float(self._front.step)))
