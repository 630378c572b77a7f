"""What a source of audio is, and who sets its pace.

A source that is captured live (a radio, a sound card) comes at its own pace, and whatever throttles behind it can only
block it. A network stream comes as fast as the network brings it, so the FFmpeg that decodes it and the one that
encodes it again read at the native rate (``-re``). A file has no pace: its source keeps time by itself.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import Annotated, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, Field

log = logging.getLogger(__name__)


class AudioSourceType(Enum):
    """Kinds of sources."""

    SDR = "sdr"
    STREAM = "stream"
    FILE = "file"
    ALSA = "alsa"
    PULSE = "pulse"
    RTP = "rtp"


class Pacing(Enum):
    """Who sets the pace of a source."""

    LIVE = "live"
    """The hardware: nothing behind it may throttle."""
    NATIVE_RATE = "native rate"
    """FFmpeg, by ``-re``."""
    CLOCK = "clock"
    """The source itself, by this machine's clock."""


_PACING = {
    AudioSourceType.SDR: Pacing.LIVE,
    AudioSourceType.STREAM: Pacing.NATIVE_RATE,
    AudioSourceType.FILE: Pacing.CLOCK,
    AudioSourceType.ALSA: Pacing.LIVE,
    AudioSourceType.PULSE: Pacing.LIVE,
    AudioSourceType.RTP: Pacing.LIVE,
}

NETWORK_SOURCE_NAMES = frozenset({"StreamSourceAdapter", "IcecastIngestSource", "HTTPIngestSource"})
"""Names of the classes whose audio is a network stream."""


class AudioSourceConfig(BaseModel):
    """What is known of any source.

    Attributes
    ----------
    id
        Names the source everywhere: in Redis, in URLs, in recordings.
    source_type
        See `AudioSourceType`.
    name
        For people; empty for the id.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Annotated[str, Field(min_length=1, max_length=64)]
    source_type: AudioSourceType
    name: str = ""

    @property
    def pacing(self) -> Pacing:
        """Who sets the pace; it follows from the kind alone."""
        return _PACING[self.source_type]

    @property
    def title(self) -> str:
        """The name for people."""
        return self.name or self.id


@runtime_checkable
class AudioSource(Protocol):
    """A source of audio, as far as an output must know it."""

    @property
    def config(self) -> AudioSourceConfig:
        """What is known of it."""
        ...

    @property
    def source_name(self) -> str:
        """Name of the class that makes its audio, also where that is another process's."""
        ...


def uses_re_flag(source: object) -> bool:
    """Say whether FFmpeg reads this source's audio with ``-re``, and log why.

    In this order: the name of the class (`AudioSource.source_name` where there is one), the config's `source_type`, and
    for anything else no, which is the safer: without it nothing stalls.
    """
    name = str(getattr(source, "source_name", type(source).__name__))
    if name in NETWORK_SOURCE_NAMES:
        log.info("Using -re flag for %s (network stream)", name)
        return True
    if "sdr" in name.lower():
        log.info("NOT using -re flag for %s (live hardware)", name)
        return False
    source_type = getattr(getattr(source, "config", None), "source_type", None)
    if source_type is AudioSourceType.STREAM:
        log.info("Using -re flag for %s (network stream)", name)
        return True
    if source_type is AudioSourceType.SDR:
        log.info("NOT using -re flag for %s (live hardware)", name)
        return False
    log.info("NOT using -re flag for %s (default)", name)
    return False
