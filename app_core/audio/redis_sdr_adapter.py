"""IQ from Redis to PCM: the source of the decode job.

A subscriber thread only appends what comes to a queue that is bounded in seconds. The decode thread takes from it:
parses, expands, drops doubles, counts gaps, and demodulates every channel of the receiver.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence

from app_core.base.blocks import IqBlock, PcmBlock
from app_core.base.errors import WireError
from app_core.base.telemetry import RateLimitedLog
from app_core.bridge import keys
from app_core.bridge.connection import RedisSettings
from app_core.bridge.messages import SamplesMessage
from app_core.bridge.pubsub import Subscriber
from app_core.bridge.sample_codec import decode_samples
from app_core.demod.channel import ChannelBank, ChannelConfig

log = logging.getLogger(__name__)
_limited_log = RateLimitedLog(log)

QUEUE_S = 30.0
"""Age at which a message that could not be decoded yet is dropped. [seconds]"""

QUEUE_BYTES = 128 * 1024 * 1024
"""Sum of the messages that may wait."""


class RedisSDRSourceAdapter:
    """PCM of all channels of one receiver.

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
    dropped_count
        Messages that were dropped because the decoder was too late.
    """

    def __init__(self, settings: RedisSettings, receiver_id: str, channels: Sequence[ChannelConfig]) -> None:
        self.receiver_id = receiver_id
        self._settings = settings
        self._channels = list(channels)
        self.bank = ChannelBank(channels)
        self._messages: deque[tuple[float, bytes]] = deque()
        self._messages_lock = threading.Lock()
        self._arrived = threading.Event()
        self._waiting_bytes = 0
        self.subscriber = self._make_subscriber()
        self._epoch = 0
        self._expected = 0
        self.malformed_count = 0
        self.duplicate_count = 0
        self.gap_count = 0
        self.lost_samples = 0
        self.dropped_count = 0
        self.last_block_s: float | None = None
        self.last_timestamp: float | None = None

    def read(self, timeout_s: float) -> list[tuple[str, PcmBlock]]:
        """Give the PCM of the next message, one block a channel; nothing when none came within `timeout_s`."""
        payload = self._next_payload(timeout_s)
        if payload is None:
            return []
        try:
            message = SamplesMessage.from_json(payload)
            if message.receiver_id != self.receiver_id:
                raise WireError(f"samples of {message.receiver_id!r} on the channel of {self.receiver_id!r}")
            if not self._is_next(message):
                return []
            block = decode_samples(message)
        except WireError as error:
            self.malformed_count += 1
            _limited_log.warning("malformed", "dropped a message of %s: %s", self.receiver_id, error)
            return []
        self._note_gap(block)
        self.last_block_s = time.monotonic()
        self.last_timestamp = block.timestamp
        return self.bank.push(block)

    def status(self) -> dict[str, object]:
        """Give the health of the way in, for the metrics."""
        with self._messages_lock:
            depth = len(self._messages)
            oldest_s = time.monotonic() - self._messages[0][0] if self._messages else 0.0
        age_s = None if self.last_block_s is None else round(time.monotonic() - self.last_block_s, 3)
        return {
            "connected": self.subscriber.connected,
            "subscriptions": self.subscriber.subscription_count,
            "messages": self.subscriber.message_count,
            "last_message_age_s": age_s,
            "queue_depth": depth,
            "queue_age_s": round(oldest_s, 3),
            "dropped": self.dropped_count,
            "malformed": self.malformed_count,
            "duplicates": self.duplicate_count,
            "gaps": self.gap_count,
            "lost_samples": self.lost_samples,
        }

    def renew_subscriber(self) -> None:
        """Replace a subscriber that died."""
        self.subscriber = self._make_subscriber()

    def renewed_bank(self) -> RedisSDRSourceAdapter:
        """Give this adapter back with fresh filters: the thread that used them died in the middle of a block."""
        self.bank = ChannelBank(self._channels)
        return self

    def _make_subscriber(self) -> Subscriber:
        return Subscriber(
            self._settings,
            [keys.samples(self.receiver_id)],
            self._on_message,
            name=f"Subscriber-{self.receiver_id}",
        )

    def _on_message(self, channel: str, payload: bytes) -> None:
        now_s = time.monotonic()
        with self._messages_lock:
            self._messages.append((now_s, payload))
            self._waiting_bytes += len(payload)
            while self._messages and (self._waiting_bytes > QUEUE_BYTES or now_s - self._messages[0][0] > QUEUE_S):
                self._waiting_bytes -= len(self._messages.popleft()[1])
                self.dropped_count += 1
        self._arrived.set()

    def _next_payload(self, timeout_s: float) -> bytes | None:
        deadline_s = time.monotonic() + timeout_s
        while True:
            with self._messages_lock:
                if self._messages:
                    payload = self._messages.popleft()[1]
                    self._waiting_bytes -= len(payload)
                    return payload
                self._arrived.clear()
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not self._arrived.wait(left_s):
                return None

    def _is_next(self, message: SamplesMessage) -> bool:
        """Whether the message is newer than the last one: a sender that lost its connection may send one twice."""
        if message.config_epoch < self._epoch or (
            message.config_epoch == self._epoch and message.first_sample < self._expected
        ):
            self.duplicate_count += 1
            return False
        return True

    def _note_gap(self, block: IqBlock) -> None:
        if block.config_epoch == self._epoch and block.first_sample > self._expected:
            missing = block.first_sample - self._expected
            self.gap_count += 1
            self.lost_samples += missing
            _limited_log.warning(
                "gap", "%s: %d samples (%.3f s) are missing", self.receiver_id, missing, missing / block.sample_rate_hz
            )
        self._epoch = block.config_epoch
        self._expected = block.first_sample + len(block.iq)
