"""Everything that one channel's audio says: bursts, headers and ends, attention signals, and the life of a message.

A `SameDecoder` knows what is sent, an `AttentionDetector` knows the tones. This joins them, in one order that does not
depend on how the stream is cut, and adds what neither of them can know: that a message had no end, and that its carrier
went away. What the carrier does is known where the channel is received (its squelch, its signal-to-noise ratio); it is
told here beside the samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app_core.eas.attention_detector import AttentionDetector
from app_core.eas.decoder import SameDecoder
from app_core.eas.events import CarrierLost, EndOfMessage, HeaderDecoded, MessageTimedOut, SameEvent

LONGEST_MESSAGE_S = 120.0
"""A message without an end is given up after this, as by decoders that go by 47 CFR 11.33(a)(9)."""

CARRIER_LOST_S = 3.0
"""A carrier is away for as long as this before it counts as lost: a fade of a moving receiver is shorter."""

_ENDLESS_EVENT = "EAN"  # a national emergency message may last (47 CFR 11.33(a)(9)); it is ended by its end alone


class SameListener:
    """Listens to one channel. It takes the place of a `SameDecoder`: the same calls, more events.

    Parameters
    ----------
    sample_rate_hz
        Rate of the PCM, 8 to 192 kHz.
    longest_message_s
        Time from the end of a header to its `MessageTimedOut`.
    carrier_lost_s
        Time without a carrier, within a message, to its `CarrierLost`.

    Raises
    ------
    ValueError
        If the rate is outside that range, or a time is not positive.
    """

    def __init__(
        self,
        sample_rate_hz: float,
        *,
        longest_message_s: float = LONGEST_MESSAGE_S,
        carrier_lost_s: float = CARRIER_LOST_S,
    ) -> None:
        if not (longest_message_s > 0.0 and carrier_lost_s > 0.0):
            raise ValueError("longest_message_s and carrier_lost_s must be positive")
        self._decoder = SameDecoder(sample_rate_hz)
        self._attention = AttentionDetector(sample_rate_hz)
        self._longest = round(longest_message_s * sample_rate_hz)
        self._carrier_lost = round(carrier_lost_s * sample_rate_hz)
        self._position = 0
        self._message: HeaderDecoded | None = None
        self._away_from: int | None = None  # first sample without a carrier
        self._told_away = False

    @property
    def message(self) -> HeaderDecoded | None:
        """The header of the message that is on the air; None when none is."""
        return self._message

    def push(self, pcm: NDArray[np.float32], *, carrier: bool | None = None) -> list[SameEvent]:
        """Take the samples that follow, and give the events that they decide.

        Parameters
        ----------
        pcm
            Shape (n,), n >= 0; samples that are not finite count as zero.
        carrier
            Whether there was a carrier while they were received; None where nobody knows.
        """
        events: list[SameEvent] = []
        if carrier is not False:
            events += self._carrier_back()
        elif self._away_from is None:
            self._away_from = self._position
        taken = 0
        while taken < len(pcm):
            # The tones are judged at places of their own. The decoder is brought to each of them first, and the
            # message is looked after there and nowhere else, so that the order of events is the same for any cuts.
            n_missing = self._attention.samples_to_decision
            piece = pcm[taken : taken + n_missing]
            taken += len(piece)
            self._position += len(piece)
            events += self._live(self._decoder.push(piece))
            events += self._attention.push(piece)
            if len(piece) == n_missing:
                events += self._look_after()
        return events

    def skip(self, n_samples: int) -> list[SameEvent]:
        """Let time go on by `n_samples` >= 0 samples that were lost: what was not received had no carrier either."""
        if n_samples <= 0:
            return []
        if self._away_from is None:
            self._away_from = self._position
        self._position += n_samples
        return [*self._live(self._decoder.skip(n_samples)), *self._attention.skip(n_samples)]

    def finish(self) -> list[SameEvent]:
        """Say that the stream has ended, and give what was pending. Samples pushed later start afresh, behind it."""
        events = [*self._live(self._decoder.finish()), *self._attention.finish(), *self._look_after()]
        self._message = None
        self._carrier_back()
        return events

    def _live(self, events: list[SameEvent]) -> list[SameEvent]:
        """Follow the message's life through what the decoder says."""
        lived: list[SameEvent] = []
        for event in events:
            if isinstance(event, HeaderDecoded | EndOfMessage):
                # One who sees the next message begin shall know that the last one had no end.
                lived += self._time_out(event.start_sample)
                self._message = event if isinstance(event, HeaderDecoded) else None
            lived.append(event)
        return lived

    def _look_after(self) -> list[SameEvent]:
        return [*self._carrier_away(), *self._time_out(self._position)]

    def _time_out(self, position: int) -> list[SameEvent]:
        """Give the open message up if it is too old at `position`."""
        message = self._message
        if message is None or message.header.event_code == _ENDLESS_EVENT:
            return []
        given_up = message.end_sample + self._longest
        if position < given_up:
            return []
        self._message = None
        return [MessageTimedOut(message.start_sample, given_up)]

    def _carrier_away(self) -> list[SameEvent]:
        """Say that the carrier is lost, if it is, and that was not said.

        A carrier that was away before the message began says nothing of it: its squelch is too strict.
        """
        away_from, message = self._away_from, self._message
        if away_from is None or message is None or self._told_away or away_from < message.start_sample:
            return []
        if self._position - away_from < self._carrier_lost:
            return []
        self._told_away = True
        return [CarrierLost(away_from, away_from + self._carrier_lost)]

    def _carrier_back(self) -> list[SameEvent]:
        events = self._carrier_away()
        self._away_from, self._told_away = None, False
        return events
