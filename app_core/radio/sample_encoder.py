"""The last stage before the outbox: blocks of samples to messages, of the whole capture or of a slice of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from app_core.base.blocks import IqBlock
from app_core.bridge import keys
from app_core.bridge.history import Position
from app_core.bridge.messages import plain_number
from app_core.bridge.sample_codec import encode_samples
from app_core.radio.encoding_level import LevelChooser
from app_core.radio.receiver import ReceiverSettings

if TYPE_CHECKING:
    from app_core.radio.decimator import Decimator


class Put(Protocol):
    """Hands a payload to the outbox."""

    def __call__(self, channel: str, payload: bytes, ttl_s: int | None, position: Position | None = None) -> None:
        """Take a payload; must not wait.

        Parameters
        ----------
        channel, payload
            What is published where.
        ttl_s
            Time to live of the key of the same name; None writes none. [seconds]
        position
            Place in the channel's history; None for what has none.
        """
        ...


Tap = Callable[[IqBlock], None]


class SampleEncoder:
    """Encode what one receiver captures.

    Parameters
    ----------
    settings
        The receiver's table.
    put
        Where the messages go.
    tap
        Told every block that is published, as it is published, before its samples are given up; it must not wait.

    Attributes
    ----------
    sequence
        Number of the next message of this stream.
    last_published_s
        When the last message was handed on. [monotonic seconds]
    """

    def __init__(self, settings: ReceiverSettings, put: Put, tap: Tap | None) -> None:
        self._settings = settings
        self._put = put
        self._tap = tap
        self._decimator = _decimator(settings)
        self._chooser = LevelChooser(settings.id, settings.encode_share_max)
        self._published_rate_hz = 0.0
        self.sequence = 0
        self.last_published_s: float | None = None

    def take(self, block: IqBlock, fill_share: float) -> None:
        """Publish the next samples; the ring is full to `fill_share`, 0 to 1."""
        if self._decimator is None:
            self._publish(block, fill_share)
            return
        for part in self._decimator.push(block):
            self._publish(part, fill_share)

    def flush(self) -> None:
        """Publish what waits in the decimator: the samples end here."""
        if self._decimator is not None:
            for part in self._decimator.flush():
                self._publish(part, 0.0)

    def status(self) -> dict[str, Any]:
        """Give the level and its cost, for the metrics."""
        return {
            "encoding_level": self._chooser.level,
            "encode_share": round(self._chooser.share, 4),
            "publish_sample_rate": plain_number(self._published_rate_hz),
        }

    def _publish(self, block: IqBlock, fill_share: float) -> None:
        if self._tap is not None:
            self._tap(block)
        self._published_rate_hz = block.sample_rate_hz
        level = self._chooser.next_level(fill_share)
        begun_s = time.perf_counter()
        payload = encode_samples(block, self._settings.id, self.sequence, level=level)
        self._chooser.note(level, time.perf_counter() - begun_s, len(block.iq) / block.sample_rate_hz)
        self.sequence += 1
        position = Position(block.config_epoch, block.first_sample)
        self._put(keys.samples(self._settings.id), payload, None, position)
        self.last_published_s = time.monotonic()


def _decimator(settings: ReceiverSettings) -> Decimator | None:
    if settings.publish_sample_rate_hz is None:
        return None
    # Not at the head of the file: it brings scipy, which most receivers' program does not carry.
    from app_core.radio.decimator import Decimator

    return Decimator(
        settings.publish_sample_rate_hz, settings.publish_center_frequency_hz, settings.samples_per_message
    )
