"""The header bursts of one message while more of them may come. Positions are samples at the decoder's rate."""

from __future__ import annotations

from dataclasses import dataclass

from app_core.eas.assembler import Verdict
from app_core.eas.framing import Burst
from app_core.eas.matched_filter import RATE
from app_core.eas.timing import N_PREAMBLE_BITS

BURSTS = 3
"""Bursts of a header."""

LONGEST_PAUSE = 2.2 * float(RATE)
"""Between two bursts of a message. [samples]"""

_SEARCH_DELAY = 0.8 * float(RATE)


@dataclass(slots=True)
class BurstGroup:
    """The header bursts of one message, with what they say together.

    Attributes
    ----------
    bursts
        In the order of their starts.
    verdict
        What they say.
    last_end
        Where the last one ends.
    looked_back
        Whether bursts without a preamble were looked for before the first.
    searched_behind
        The `last_end` behind which they were looked for.
    rival
        Much like the message that was given before it, so one burst alone proves nothing.
    spoilt
        Or it may be that message's last burst, spoilt.
    """

    bursts: list[Burst]
    verdict: Verdict
    last_end: float
    looked_back: bool = False
    searched_behind: float = -1.0
    rival: bool = False
    spoilt: bool = False

    @property
    def n_bits(self) -> int:
        """Length of a burst, preamble included."""
        return N_PREAMBLE_BITS + len(self.verdict.reading.bits)

    @property
    def overdue(self) -> float:
        """Position at which the next burst should have been heard."""
        return self.last_end + LONGEST_PAUSE + _SEARCH_DELAY

    @property
    def window(self) -> float:
        """Position until which the message may go on, one burst being lost."""
        return self.overdue + LONGEST_PAUSE + self.n_bits * self.bursts[-1].samples_per_bit + _SEARCH_DELAY


@dataclass(frozen=True, slots=True)
class Trial:
    """What an open burst said before its longest possible end.

    Attributes
    ----------
    verdict
        With its group's bursts, or alone.
    end
        Where its header ends.
    alone
        Whether it is not like the group's bursts.
    """

    verdict: Verdict
    end: float
    alone: bool
