"""A source that is watched like a radio's channel: SAME decoding, recording, alerts, and its audio to Redis.

All of it happens in the source's own thread, so that a source which hangs, fails or is slow stands alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from app_core.audio.alert_monitor import AlertMonitor, Keeper
from app_core.audio.file_source import FileSource
from app_core.audio.ingest_config import AnyIngestSettings, FileSettings, StreamSettings
from app_core.audio.ingest_source import BlockSink, IngestSource
from app_core.audio.loudness import LoudnessLeveler
from app_core.audio.sound_source import SoundCardSource
from app_core.audio.stream_source import HTTPIngestSource, IcecastIngestSource, StreamSourceAdapter
from app_core.base.blocks import PcmBlock
from app_core.bridge import keys
from app_core.bridge.pcm_frame import encode_pcm

FRESH_S = 2.0
"""Age of the last audio up to which a source is said to run. [seconds]"""


def make_source(settings: AnyIngestSettings, sink: BlockSink) -> IngestSource:
    """Make the source that a table describes, not yet started."""
    if isinstance(settings, StreamSettings):
        if settings.is_hls:
            return StreamSourceAdapter(settings, sink)
        return (HTTPIngestSource if settings.protocol == "http" else IcecastIngestSource)(settings, sink)
    if isinstance(settings, FileSettings):
        return FileSource(settings, sink)
    return SoundCardSource(settings, sink)


class IngestMonitor:
    """Watch one source.

    Parameters
    ----------
    settings
        Its table.
    keeper
        Takes what is heard.
    publish_pcm
        Takes a PCM frame: channel name of Redis, payload; must not wait.

    Attributes
    ----------
    source
        The worker; its supervisor starts and stops it.
    """

    def __init__(self, settings: AnyIngestSettings, keeper: Keeper, publish_pcm: Callable[[str, bytes], None]) -> None:
        self._settings = settings
        self._keeper = keeper
        self._publish_pcm = publish_pcm
        self._leveler = None if settings.loudness_lufs is None else LoudnessLeveler(settings.loudness_lufs)
        self._monitor = self._fresh_monitor()
        self.source = make_source(settings, self)

    def renew(self) -> None:
        """Replace a source that died, and the decoder that it may have left in the middle of a block."""
        self._monitor = self._fresh_monitor()
        self.source = make_source(self._settings, self)

    # Called in the source's thread.

    def take(self, block: PcmBlock) -> None:
        """As `BlockSink.take`."""
        self._monitor.push(block)
        leveled = [block] if self._leveler is None else self._leveler.push(block)
        for heard in leveled:
            self._publish_pcm(keys.pcm(self._settings.id), encode_pcm(heard))

    def finish(self) -> None:
        """As `BlockSink.finish`: decide what is pending."""
        self._monitor.finish()

    # Called by any thread.

    def status(self) -> dict[str, Any]:
        """Give its health under the names that a radio's channel has, and its own."""
        monitor = self._monitor
        age_s = None if monitor.last_pcm_s is None else time.monotonic() - monitor.last_pcm_s
        return {
            "name": self._settings.name,
            "receiver_id": "",
            "running": age_s is not None and age_s <= FRESH_S,
            "last_pcm_age_s": None if age_s is None else round(age_s, 3),
            "bursts_heard": monitor.bursts_heard,
            "headers_decoded": monitor.headers_decoded,
            "headers_unverified": monitor.headers_unverified,
            "lost_samples": monitor.lost_samples,
            "audited_s": round(monitor.audited_s, 1),
            "last_header": monitor.last_header,
            **self.source.status(),
        }

    def _fresh_monitor(self) -> AlertMonitor:
        # There is no receiver: the source is where it was heard.
        return AlertMonitor(self._settings.id, self._settings.id, self._keeper)
