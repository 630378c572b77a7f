"""IQ from Redis to PCM: the source of the decode job.

Messages come in order, live or out of the history (`SampleInbox`). Here they are parsed, expanded and demodulated;
doubles are dropped, and what is missing in the history too is a gap: counted, and never made up for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from app_core.audio.lateness import LatenessMeter
from app_core.audio.sample_inbox import Arrival, SampleInbox
from app_core.audio.sources import AudioSourceConfig, AudioSourceType
from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import WireError
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge import keys
from app_core.bridge.connection import RedisSettings
from app_core.bridge.history import HistoryReader, Position
from app_core.bridge.messages import SamplesMessage
from app_core.bridge.pubsub import Subscriber
from app_core.bridge.sample_codec import decode_samples
from app_core.demod.channel import ChannelBank, ChannelConfig

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log)

OLD_EPOCH_AFTER_S = 5.0
"""Samples of an older epoch are doubles, unless none of the newer one came for this long: the clock was set back."""

UNCOUNTED_GAP_S = 0.5
"""A sender that counts no samples has lost some where its capture times jump by more than this. [seconds]"""


class RedisSDRSourceAdapter:
    """PCM of all channels of one receiver; it conforms to `app_core.audio.sources.AudioSource`.

    Parameters
    ----------
    settings
        Where Redis is.
    receiver_id
        Whose samples are wanted.
    channels
        The channels to demodulate; all of this receiver.

    Attributes
    ----------
    malformed_count
        Messages that were dropped because they are not what they should be.
    duplicate_count
        Messages that were dropped because they came before.
    gap_count, lost_samples
        Jumps of the sample counter, and how many IQ samples are missing in all.
    has_begun
        Whether a live message was taken: what came before it, out of the history, may have been decoded and published
        by an earlier process.
    dropped_count
        Messages that were lost because the decoder was too late: the queue had no room for them, nor had the history.
    correction_in_force_ppm
        The receiver's ``frequency_correction_ppm`` under which the last samples came; None where they do not say.
    """

    def __init__(self, settings: RedisSettings, receiver_id: str, channels: Sequence[ChannelConfig]) -> None:
        self.receiver_id = receiver_id
        self.config = AudioSourceConfig(id=receiver_id, source_type=AudioSourceType.SDR)
        self._settings = settings
        self._channels = list(channels)
        self.bank = ChannelBank(channels, listen=True)
        self._inbox = SampleInbox(HistoryReader(settings, keys.history(receiver_id)))
        self._inbox.catch_up(None)
        self._meter = LatenessMeter(receiver_id)
        self._subscriptions_seen = 0
        self._overflows_seen = 0
        self.subscriber = self._make_subscriber()
        self._epoch = 0
        self._expected = 0
        # A live message that does not follow: where it stands. The history has been asked for what is before it.
        self._asked_for: Position | None = None
        # Of a sender that counts nothing: its tuning, and our count of its samples.
        self._uncounted_tuning: tuple[float, float] | None = None
        self._uncounted_epoch = 0
        self._uncounted_next = 0
        self._uncounted_end_s = 0.0
        self.has_begun = False
        self.malformed_count = 0
        self.duplicate_count = 0
        self.gap_count = 0
        self.lost_samples = 0
        self.dropped_count = 0
        self.last_block_s: float | None = None
        self.last_timestamp: float | None = None
        self.correction_in_force_ppm: float | None = None

    @property
    def source_name(self) -> str:
        """Name of the class, by which outputs choose FFmpeg's arguments."""
        return type(self).__name__

    @property
    def lateness_s(self) -> float:
        """Time from the capture of the last message's samples to their arrival here. [seconds]"""
        return self._meter.lateness_s

    def read(self, timeout_s: float) -> list[tuple[str, PcmBlock]]:
        """Give the PCM of the next message, one block a channel; nothing when none came within `timeout_s`."""
        self._note_subscription()
        arrival = self._inbox.take(timeout_s)
        if arrival is None:
            return []
        self.has_begun = self.has_begun or arrival.arrived_s is not None
        try:
            message = SamplesMessage.from_json(arrival.payload)
            if message.receiver_id != self.receiver_id:
                raise WireError(f"samples of {message.receiver_id!r} on the channel of {self.receiver_id!r}")
            if "first_sample" not in message.model_fields_set:
                message = self._counted(message)
            elif not self._is_next(message, arrival):
                return []
            block = decode_samples(message)
        except WireError as error:
            self.malformed_count += 1
            _limited_log.warning("malformed", "dropped a message of %s: %s", self.receiver_id, error)
            return []
        self._note_gap(block)
        self.last_block_s = time.monotonic()
        self.last_timestamp = block.timestamp
        self.correction_in_force_ppm = block.frequency_correction_ppm
        self._meter.note(block.timestamp + len(block.iq) / block.sample_rate_hz, arrival.arrived_s)
        return self.bank.push(block)

    def status(self) -> dict[str, object]:
        """Give the health of the way in, for the metrics."""
        age_s = None if self.last_block_s is None else round(time.monotonic() - self.last_block_s, 3)
        return {
            "connected": self.subscriber.connected,
            "subscriptions": self.subscriber.subscription_count,
            "messages": self.subscriber.message_count,
            "last_message_age_s": age_s,
            "queue_depth": self._inbox.depth,
            "queue_age_s": round(self._inbox.oldest_age_s, 3),
            "queue_overflows": self._inbox.overflow_count,
            "from_history": self._inbox.history_count,
            "catching_up": self._inbox.is_catching_up,
            "lateness_s": round(self._meter.lateness_s, 3),
            "late": self._meter.is_late,
            "lateness_alarms": self._meter.alarm_count,
            "dropped": self.dropped_count,
            "malformed": self.malformed_count,
            "duplicates": self.duplicate_count,
            "gaps": self.gap_count,
            "lost_samples": self.lost_samples,
        }

    def renew_subscriber(self) -> None:
        """Replace a subscriber that died."""
        self.subscriber = self._make_subscriber()
        self._subscriptions_seen = 0

    def renewed_bank(self) -> RedisSDRSourceAdapter:
        """Give this adapter back with fresh filters: the thread that used them died in the middle of a block."""
        self.bank = ChannelBank(self._channels, listen=True)
        return self

    def close(self) -> None:
        """Close the way to the history; the subscriber is stopped by whoever started it."""
        self._inbox.close()

    def _make_subscriber(self) -> Subscriber:
        return Subscriber(
            self._settings,
            [keys.samples(self.receiver_id)],
            lambda _, payload: self._inbox.put(payload),
            name=f"Subscriber-{self.receiver_id}",
        )

    def _note_subscription(self) -> None:
        """After every subscription: what was published before it is in the history alone."""
        subscriptions = self.subscriber.subscription_count
        if subscriptions != self._subscriptions_seen:
            self._subscriptions_seen = subscriptions
            self._inbox.catch_up(self._next_position())

    def _next_position(self) -> Position | None:
        return Position(self._epoch, self._expected) if self._epoch else None

    def _counted(self, message: SamplesMessage) -> SamplesMessage:
        """Count the samples of a sender that does not, as the seed's form of the message has it.

        Nothing can be said of doubles then; a jump of the capture time is a gap, and another tuning another epoch.
        """
        tuning = (message.sample_rate, message.center_frequency)
        if tuning != self._uncounted_tuning:
            self._uncounted_tuning = tuning
            self._uncounted_epoch = max(time.time_ns(), self._epoch + 1)
            self._uncounted_next = 0
        else:
            jump_s = message.timestamp - self._uncounted_end_s
            if jump_s > UNCOUNTED_GAP_S:
                self._uncounted_next += round(jump_s * message.sample_rate)
        first_sample = self._uncounted_next
        self._uncounted_next += message.sample_count
        self._uncounted_end_s = message.timestamp + message.sample_count / message.sample_rate
        return message.model_copy(update={"first_sample": first_sample, "config_epoch": self._uncounted_epoch})

    def _is_next(self, message: SamplesMessage, arrival: Arrival) -> bool:
        """Whether to decode a message now: it is no double, and the history has nothing that stands before it."""
        position = Position(message.config_epoch, message.first_sample)
        follows = position == (self._epoch, self._expected)
        if not follows and position < (self._epoch, self._expected) and not self._is_set_back(message, arrival):
            self.duplicate_count += 1
            return False
        if not follows and arrival.arrived_s is not None and self._asked_for != position:
            # It is in the history too, since it was written there first: reading ends behind it, if at all.
            self._asked_for = position
            self._inbox.put_back(arrival)
            self._inbox.catch_up(self._next_position())
            return False
        return True

    def _is_set_back(self, message: SamplesMessage, arrival: Arrival) -> bool:
        if message.config_epoch >= self._epoch or arrival.arrived_s is None or self.last_block_s is None:
            return False
        return time.monotonic() - self.last_block_s > OLD_EPOCH_AFTER_S

    def _note_gap(self, block: IqBlock) -> None:
        overflows = self._inbox.overflow_count
        if block.config_epoch == self._epoch and block.first_sample > self._expected:
            missing = block.first_sample - self._expected
            self.gap_count += 1
            self.lost_samples += missing
            self.dropped_count += overflows - self._overflows_seen
            _limited_log.warning(
                "gap", "%s: %d samples (%.3f s) are missing", self.receiver_id, missing, missing / block.sample_rate_hz
            )
        if not self._inbox.is_catching_up:
            self._overflows_seen = overflows
        self._epoch = block.config_epoch
        self._expected = block.first_sample + len(block.iq)
