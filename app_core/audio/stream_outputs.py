"""What takes audio in the stream job, beside the Icecast mounts: the little that the job must know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from app_core.audio.alert_board import AlertBoard
from app_core.audio.pcm_feed import PcmFeed


class StreamOutput(Protocol):
    """A taker of audio: a `Worker`, or something that acts as one."""

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        ...

    def start(self) -> None:
        """Start it."""
        ...

    def stop(self, timeout_s: float = 5.0) -> None:
        """End it."""
        ...

    def status(self) -> dict[str, Any]:
        """Give how it is, for ``audio:streams``."""
        ...


@dataclass(frozen=True, slots=True)
class StreamSurroundings:
    """What an output finds in the stream job.

    Attributes
    ----------
    feed
        The audio of every source.
    entries
        Gives what ``audio:metrics`` last said of each source, by its id; for any thread.
    alerts
        The alerts on the air.
    """

    feed: PcmFeed
    entries: Callable[[], Mapping[str, Mapping[str, Any]]]
    alerts: AlertBoard


OutputMaker = Callable[[StreamSurroundings], StreamOutput]
"""Makes a fresh output: at the start, and after one has died."""
