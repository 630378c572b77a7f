"""PCM in, SAME events out: joins the stages and keeps the life of a message.

A message's bursts are collected in a group. Whenever a burst seems to be over, all bursts so far are assembled; as soon
as the header is certain it is given, and the bursts that still come are only compared with it. When it is not, bursts
whose preamble was lost are looked for. An end of message, a burst that says something else, or silence closes the
group.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from app_core.eas.assembler import ALIKE, SoftMessage, Verdict, agreement, assemble, likeness, log_odds
from app_core.eas.burst_group import BURSTS, LONGEST_PAUSE, BurstGroup, Trial
from app_core.eas.events import (
    BurstHeard,
    EndOfMessage,
    HeaderDecoded,
    HeaderUnverified,
    SameEvent,
    SoftBits,
    no_soft_bits,
)
from app_core.eas.evidence import noncoherent_evidence
from app_core.eas.framing import MARGIN, MAX_BURST_BITS, Burst, Gaps
from app_core.eas.matched_filter import DELAY, HOP, RATE, SAMPLES_PER_BIT, FrontEnd, SampleHistory
from app_core.eas.realign import find_burst
from app_core.eas.timing import N_KNOWN_BITS, N_PREAMBLE_BITS, BurstSearch, Candidate, Fit, fit_start

_HISTORY = int(
    22.0 * float(RATE)
)  # three of the longest bursts, 3.3 % slow, the longest pauses, and the search's delay
_SHORTEST_HEADER_BITS = N_PREAMBLE_BITS + 8 * 40
_MAX_TRIES = 3  # assemblies of one burst before its longest possible end
_CONTRADICTS = 10.0  # nats for one bit: a burst of the same message says so once in some ten
_MOST_BURSTS = 4  # that are kept, should a sender never end
_MOST_DOUBTFUL = 4  # messages that are kept for other receivers' help
_LEAST_PAUSE = 0.25 * float(RATE)
_SETTLING_S = 2  # after this the stages have seen all of the stream's end
_MAX_ZEROS_S = 20.0  # longer losses than this cannot matter: nothing is pending any more


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
        self._doubtful: deque[SoftMessage] = deque(maxlen=_MOST_DOUBTFUL)
        self._origin = 0  # position in the input stream at which the stages below were started
        self._restart()

    def _restart(self) -> None:
        self._front = FrontEnd(self._rate_hz)
        self._search = BurstSearch()
        self._history = SampleHistory(_HISTORY)
        self._gaps: Gaps = []
        self._group: BurstGroup | None = None  # bursts whose header is not certain yet
        self._given: BurstGroup | None = None  # the message whose header was given, while it may go on
        self._open: Burst | None = None
        self._open_snr_db = 0.0
        self._tries = 0
        self._tried: Trial | None = None  # the open burst's last assembly
        self._rival = False  # the open burst is much like the message that was given
        self._quiet = False
        self._expected: float | None = None  # where the open burst should end
        self._level = 0.0  # activity of the open burst's preamble
        self._activity: list[float] = []
        self._last_end_burst = -np.inf
        self._free_from = 0.0  # before this everything belongs to messages that are over
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

    def take_doubtful(self) -> list[SoftMessage]:
        """Take the messages, up to four, that were heard and could not be relied upon since this was last asked.

        Together with what other receivers heard of the same transmission they may be enough: `assemble_receivers`.
        """
        taken = list(self._doubtful)
        self._doubtful.clear()
        return taken

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
        self._free_from = end
        events.append(BurstHeard("end", self._place(start), self._place(end), fit.snr_db, fit.clock))
        if start - self._last_end_burst > 2.5 * LONGEST_PAUSE:
            events.append(EndOfMessage(self._place(start), self._place(end)))
        self._last_end_burst = start

    def _take_header_burst(self, start: float, fit: Fit, events: list[SameEvent]) -> None:
        self._close_burst(start, events)
        self._last_end_burst = -np.inf
        self._forget(start, events)
        limit = start + MAX_BURST_BITS * SAMPLES_PER_BIT / (1.0 + fit.clock)
        self._open = Burst(start=start, clock=fit.clock, detuning=fit.detuning, limit=limit)
        self._open_snr_db = fit.snr_db
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
            if self._group.searched_behind != self._group.last_end:
                self._group.searched_behind = self._group.last_end
                self._look_for_lost(self._group, position)
            self._decide(self._group, events, early=False)
        if self._group is not None and position > self._group.window:
            self._look_for_lost(self._group, position)
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
        tried = self._tried
        if final and tried is not None and tried.end < min(burst.limit, self._history.end):
            # More samples would add nothing but what follows the header.
            if tried.alone:
                self._close_group(events)
            self._settle(burst, tried.verdict, events)
            return
        group = self._group
        if final and group is None and burst.limit < burst.position_of_bit(_SHORTEST_HEADER_BITS):
            # Cut off by the next start, and with nothing before it: no header can be in it.
            self._open = None
            self._say_heard(burst, burst.limit, self._open_snr_db, no_soft_bits(), events)
            return
        burst.receive(self._history, self._gaps)
        share, contradiction = 0.0, 0.0
        if self._given is not None:
            share, contradiction = agreement(burst, self._given.verdict.reading.bits)
            # A fourth burst may be a new message that is much alike.
            if share > ALIKE and contradiction < _CONTRADICTS and len(self._given.bursts) < BURSTS:
                self._open = None
                self._add(self._given, burst, log_odds(burst, len(self._given.verdict.reading.bits)), events)
                return
        self._rival = share > ALIKE
        alone = False
        if group is not None:
            alone = max(likeness(b, burst, group.n_bits) for b in group.bursts) < ALIKE
        verdict = assemble([burst] if group is None or alone else [*group.bursts, burst])
        early = group is None or alone or len(group.bursts) < BURSTS - 1
        if not final and verdict.header(early=early) is None:
            end = burst.position_of_bit(N_PREAMBLE_BITS + len(verdict.reading.bits))
            self._tried = Trial(verdict, end, alone)
            return
        if alone:
            self._close_group(events)
        self._settle(burst, verdict, events)

    def _settle(self, burst: Burst, verdict: Verdict, events: list[SameEvent]) -> None:
        """Let the open burst join the group, with what they say together, and give the header if it is certain."""
        self._open = None
        if self._group is None:
            spoilt = self._rival and self._given is not None and len(self._given.bursts) < BURSTS
            self._group = BurstGroup([], verdict, burst.start, rival=self._rival, spoilt=spoilt)
        group = self._group
        group.verdict = verdict
        free_from = self._free_from
        self._add(group, burst, verdict.each[-1], events)
        if verdict.header(early=len(group.bursts) < BURSTS) is None:
            self._look_back(group, free_from)
        self._decide(group, events, early=len(group.bursts) < BURSTS)

    def _look_back(self, group: BurstGroup, free_from: float) -> None:
        """Look for a burst before the group's first, once: its beginning may have been cut off."""
        if group.looked_back or len(group.bursts) >= BURSTS:
            return
        group.looked_back = True
        first = group.bursts[0].start
        length = group.n_bits * group.bursts[0].samples_per_bit
        self._take_lost(group, (max(free_from, first - length - LONGEST_PAUSE), first - _LEAST_PAUSE))

    def _look_for_lost(self, group: BurstGroup, now: float) -> None:
        """Look for bursts between those of the group, and behind them."""
        length = group.n_bits * group.bursts[0].samples_per_bit
        spans = [(a.position_of_bit(group.n_bits), b.start) for a, b in pairwise(group.bursts)]
        for low, high in [*spans, (group.last_end, now)]:
            if len(group.bursts) < BURSTS and high - low > 0.4 * length:
                self._take_lost(group, (low + _LEAST_PAUSE, high))

    def _take_lost(self, group: BurstGroup, span: tuple[float, float]) -> None:
        if group.verdict.is_other_text or group.rival:
            # A rival's bursts would be found in the message that it is so much like.
            return
        found = find_burst(self._history, self._gaps, group.bursts[0], group.verdict.soft_bits, span)
        if found is None:
            return
        bursts = sorted([*group.bursts, found], key=lambda burst: burst.start)
        verdict = assemble(bursts, group.verdict.reading)
        if verdict.error_probability < group.verdict.error_probability:
            group.bursts, group.verdict = bursts, verdict
            group.last_end = max(group.last_end, min(found.position_of_bit(group.n_bits), found.limit))

    def _add(self, group: BurstGroup, burst: Burst, soft_bits: SoftBits, events: list[SameEvent]) -> None:
        group.bursts.append(burst)
        group.last_end = min(burst.position_of_bit(group.n_bits), burst.limit)
        self._free_from = group.last_end
        self._say_heard(burst, group.last_end, noncoherent_evidence(burst).snr_db, soft_bits, events)
        del group.bursts[_MOST_BURSTS:]

    def _say_heard(self, burst: Burst, end: float, snr_db: float, soft_bits: SoftBits, events: list[SameEvent]) -> None:
        start_sample, end_sample = self._place(burst.start), self._place(end)
        events.append(BurstHeard("header", start_sample, end_sample, snr_db, float(burst.clock), soft_bits))

    def _decide(self, group: BurstGroup, events: list[SameEvent], *, early: bool) -> None:
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
            extent = self._extent(group)
            events.append(HeaderUnverified(group.verdict.reading.text, *extent))
            if not group.verdict.is_other_text:
                self._doubtful.append(SoftMessage(tuple(group.bursts), group.verdict, *extent[:2]))

    def _extent(self, group: BurstGroup) -> tuple[int, int, int, float, float, SoftBits]:
        """What `HeaderDecoded` and `HeaderUnverified` say beside the header."""
        start, end = self._place(group.bursts[0].start), self._place(group.last_end)
        verdict = group.verdict
        return start, end, len(group.bursts), verdict.error_probability, verdict.snr_db, verdict.soft_bits

    def _place(self, position: float) -> int:
        """Position at the decoder's rate to a sample of the input stream."""
        return self._origin + max(0, round((position - DELAY) * float(self._front.step)))
