"""One channel's watch: PCM to the SAME decoder, and everything it hears to the keeper of the alerts.

Each channel has a decoder of its own. The decoder counts samples; lost ones are skipped, not hidden, so its count stays
true to time, also over a restart of the SDR service in the middle of a message.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from app_core.base.blocks import PcmBlock
from app_core.eas.events import (
    AttentionHeard,
    BurstHeard,
    CarrierLost,
    EndOfMessage,
    HeaderDecoded,
    HeaderUnverified,
    MessageTimedOut,
    SameEvent,
)
from app_core.eas.listener import SameListener

log = logging.getLogger(__name__)

LONGEST_GAP_S = 60.0
"""A gap longer than this ends what the decoder was about; it begins anew. [seconds]"""


class Keeper(Protocol):
    """What takes the audio and the events of all channels: `app_core.alerts.keeper.AlertKeeper`."""

    def on_pcm(self, channel_id: str, block: PcmBlock) -> None:
        """Take audio; must not wait."""
        ...

    def on_events(
        self, channel_id: str, receiver_id: str, events: list[SameEvent], to_utc: Callable[[int], float]
    ) -> None:
        """Take events; must not wait."""
        ...

    def end_channel(self, channel_id: str) -> None:
        """Take it that a channel is no more; must not wait."""
        ...


class Listener(Protocol):
    """What else wants the events of all channels: `app_core.audio.capture_requests.CaptureRequests`."""

    def on_events(
        self, channel_id: str, receiver_id: str, events: list[SameEvent], to_utc: Callable[[int], float]
    ) -> None:
        """Take events; must not wait."""
        ...


class AlertMonitor:
    """Watch one channel.

    Parameters
    ----------
    channel_id, receiver_id
        Whose audio this is.
    keeper
        Takes what is heard.
    captures
        Is told of it, too: it asks for captures of IQ.
    """

    def __init__(self, channel_id: str, receiver_id: str, keeper: Keeper, captures: Listener | None = None) -> None:
        self.channel_id = channel_id
        self.receiver_id = receiver_id
        self._keeper = keeper
        self._captures = captures
        self._decoder: SameListener | None = None
        self._rate_hz = 0.0
        self._position = 0
        self._end_timestamp = 0.0
        self._next_sample = 0
        self._epoch = 0
        self._anchor = (0, 0.0)
        self.bursts_heard = 0
        self.headers_decoded = 0
        self.headers_unverified = 0
        self.lost_samples = 0
        self.audited_s = 0.0
        self.last_header = ""
        self.last_pcm_s: float | None = None

    def push(self, block: PcmBlock, *, carrier: bool | None = None) -> None:
        """Decode one block of the channel's audio; `carrier` says whether it had one, where that is known."""
        events: list[SameEvent] = []
        decoder = self._decoder
        if decoder is None or block.sample_rate_hz != self._rate_hz:
            decoder = self._begin(block, events)
        else:
            decoder = self._close_gap(decoder, block, events)
        self._anchor = (self._position, block.timestamp)
        self._keeper.on_pcm(self.channel_id, block)
        events += decoder.push(block.pcm, carrier=carrier)
        self._position += len(block.pcm)
        self._next_sample = block.first_sample + len(block.pcm)
        self._epoch = block.config_epoch
        self._end_timestamp = block.timestamp + len(block.pcm) / block.sample_rate_hz
        self.audited_s += len(block.pcm) / block.sample_rate_hz
        self.last_pcm_s = time.monotonic()
        if events:
            self._tell(events)

    def finish(self) -> None:
        """Decide what is pending: there will be no more audio."""
        if self._decoder is not None:
            events = self._decoder.finish()
            if events:
                self._tell(events)

    def end(self) -> None:
        """Finish, and have the keeper end what is open: the channel is no more, or is another one now."""
        self.finish()
        self._keeper.end_channel(self.channel_id)

    def _begin(self, block: PcmBlock, events: list[SameEvent]) -> SameListener:
        if self._decoder is not None:
            events += self._decoder.finish()
            if events:
                self._tell(events)
                events.clear()
        self._decoder = SameListener(block.sample_rate_hz)
        self._rate_hz = block.sample_rate_hz
        self._position = 0
        return self._decoder

    def _close_gap(self, decoder: SameListener, block: PcmBlock, events: list[SameEvent]) -> SameListener:
        """Skip what is missing between the last block and this one."""
        if block.config_epoch == self._epoch:
            missing = block.first_sample - self._next_sample
        else:
            # After a restart the sample counter says nothing; the capture times do.
            missing = round((block.timestamp - self._end_timestamp) * self._rate_hz)
        if missing <= 0:
            return decoder
        self.lost_samples += missing
        if missing > LONGEST_GAP_S * self._rate_hz:
            return self._begin(block, events)
        events += decoder.skip(missing)
        self._position += missing
        return decoder

    def _tell(self, events: list[SameEvent]) -> None:
        for event in events:
            match event:
                case BurstHeard():
                    self.bursts_heard += 1
                    log.debug("%s: %s burst, %.1f dB", self.channel_id, event.kind, event.snr_db)
                case HeaderDecoded():
                    self.headers_decoded += 1
                    self.last_header = event.header.text
                    log.info("%s: %s (%d bursts)", self.channel_id, event.header.text, event.bursts)
                case HeaderUnverified():
                    self.headers_unverified += 1
                    log.warning("%s: heard, unverified: %s", self.channel_id, event.best_guess)
                case AttentionHeard():
                    length_s = (event.end_sample - event.start_sample) / self._rate_hz
                    log.info("%s: attention signal %s for %.1f s", self.channel_id, event.kind, length_s)
                case EndOfMessage():
                    log.info("%s: end of message", self.channel_id)
                case MessageTimedOut():
                    log.warning("%s: a message without an end", self.channel_id)
                case CarrierLost():
                    log.warning("%s: the carrier is lost within a message", self.channel_id)
        position, timestamp, rate_hz = *self._anchor, self._rate_hz

        def to_utc(sample: int) -> float:
            return timestamp + (sample - position) / rate_hz

        # The keeper first: an alert is more than its capture.
        self._keeper.on_events(self.channel_id, self.receiver_id, events, to_utc)
        if self._captures is not None:
            self._captures.on_events(self.channel_id, self.receiver_id, events, to_utc)
